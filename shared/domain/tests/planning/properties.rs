//! What holds for every plan, over generated tenants and incidents.

use super::*;

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL)
}

prop_compose! {
    fn any_recipient()(name in "[a-f]", roles in prop::collection::btree_set(any_role(), 1..=4), email in any::<bool>(),
        confirmed in any::<bool>(), least in prop::option::of(prop::sample::select(Severity::ALL)),
        regions in prop::collection::vec("[xy]", 0..2)) -> Recipient {
        let mut recipient = recipient(&name, OrgAdmin);
        recipient.roles = roles;
        recipient.email_confirmed = confirmed;
        recipient.filters = Filters { min_severity: least, regions, ..Filters::default() };
        if !email { recipient.email = None; }
        recipient
    }
}

prop_compose! {
    fn any_endpoint()(name in "[g-l]", kind in prop::sample::select(vec![Channel::Slack, Channel::Teams, Channel::Webhook]),
        roles in prop::collection::btree_set(any_role(), 1..=4), paused in any::<bool>()) -> Integration {
        Integration { audiences: roles, paused, ..endpoint(&name, kind, OrgAdmin) }
    }
}

prop_compose! {
    fn any_settings()(plan in prop::sample::select(vec!["starter", "business", "enterprise"]),
        enabled in prop::collection::vec(any::<bool>(), 3), ticks in prop::collection::vec(any::<u8>(), 3)) -> Settings {
        let mut settings = Settings { plan: plan.to_owned(), ..settings() };
        for ((category, enabled), ticks) in settings.categories.values_mut().zip(enabled).zip(ticks) {
            category.enabled = enabled;
            category.channels = ChannelClass::ALL.iter().enumerate()
                .filter(|(bit, _)| ticks >> bit & 1 == 1).map(|(_, class)| *class).collect();
        }
        settings
    }
}

prop_compose! {
    fn any_updates()(changes in prop::collection::vec((prop::sample::select(vec![Change::StatusChanged,
        Change::SeverityRaised, Change::TextAdded, Change::ScopeChanged]), prop::sample::select(Severity::ALL)), 0..4),
        resolved in any::<bool>()) -> Vec<Update> {
        let mut updates = vec![update(1, Change::Opened, Severity::Error)];
        for (change, severity) in changes {
            updates.push(update(u32::try_from(updates.len()).unwrap() + 1, change, severity));
        }
        if resolved {
            updates.push(update(u32::try_from(updates.len()).unwrap() + 1, Change::Resolved, Severity::Error));
        }
        updates
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A plan has one decision for every destination and channel, never delivers twice to one address, and sends the resolve exactly
    /// where an earlier update was delivered.
    #[test]
    fn every_plan_is_complete_and_symmetric(
        people in prop::collection::vec(any_recipient(), 0..5),
        endpoints in prop::collection::vec(any_endpoint(), 0..5),
        first in any_settings(),
        later in any_settings(),
        category in prop::sample::select(Category::ALL),
        updates in any_updates(),
    ) {
        let mut destinations: Vec<Destination> = Vec::new();
        for destination in people.into_iter().map(to).chain(endpoints.into_iter().map(to_endpoint)) {
            if destinations.iter().all(|other| other.id() != destination.id()) {
                destinations.push(destination);
            }
        }
        let incident = incident(category);
        let mut all: Vec<Decision> = Vec::new();
        for (place, update) in updates.iter().enumerate() {
            let settings = if place == 0 { &first } else { &later };
            let history = history_of(&all);
            let round = plan_updates(&incident, std::slice::from_ref(update), settings, &destinations, &history);
            let expected: usize = destinations.iter().map(|destination| destination.channels().len()).sum();
            prop_assert_eq!(round.len(), expected);
            let mut sent = BTreeSet::new();
            for decision in &round {
                if matches!(decision.outcome, DecisionOutcome::Deliver { .. }) {
                    let destination = destinations.iter().find(|d| d.id() == decision.destination).unwrap();
                    prop_assert!(sent.insert((decision.channel, destination.identity(decision.channel).unwrap())));
                }
            }
            if update.change == Change::Resolved {
                for decision in &round {
                    let was_notified = all.iter().any(|earlier| earlier.destination == decision.destination
                        && earlier.channel == decision.channel && matches!(earlier.outcome, DecisionOutcome::Deliver { .. }));
                    prop_assert_eq!(was_notified, matches!(decision.outcome, DecisionOutcome::Deliver { .. }), "{:?}", decision);
                }
            }
            all.extend(round);
        }
    }
}
