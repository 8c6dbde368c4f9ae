use super::*;
use domain::delivery::{DeliveryRow, HistoryEntry};
use domain::vocabulary::Role;

fn decision(channel: Channel, update: u32, outcome: DecisionOutcome) -> Decision {
    Decision { update, destination: "rcp_1".into(), channel, outcome, last_sent: None }
}

fn listed(state: DeliveryState, latest: u32, history: Vec<HistoryEntry>) -> ListedDelivery {
    let delivery = DeliveryRow {
        latest,
        done: if history.is_empty() { 0 } else { latest },
        notified: 0,
        tried: 0,
        state,
        attempts: 1,
        lease_until_ms: 0,
        token: String::new(),
        channel: Channel::Email,
        feedback: None,
        next_at_ms: Some(9_000),
        cause: None,
        reason: None,
        provider_id: None,
        at: None,
        late: false,
        latency_ms: None,
    };
    let at = Timestamp::UNIX_EPOCH;
    let failed = |update| FailedAttempt {
        update,
        attempt: 1,
        at,
        cause: "http_500".into(),
        status: Some(500),
        response: "oops".into(),
        took_ms: 1,
    };
    ListedDelivery {
        row: delivery_row_key("rcp_1", Channel::Email, 1),
        delivery,
        history,
        attempts: vec![failed(1), failed(2)],
    }
}

fn entry(listed: Option<&ListedDelivery>, decision: &Decision) -> ExplainEntry {
    let names = DestinationNames::from([("rcp_1", "Ops")]);
    let rows = listed.map(|listed| (listed.row.as_str(), listed)).into_iter().collect();
    let late_source = Some(Timestamp::UNIX_EPOCH);
    EntryBuilder { category: Some(Category::Billing), names: &names, rows, late_source }.entry(decision)
}

const DELIVER: DecisionOutcome = DecisionOutcome::Deliver { role: Some(Role::BillingAdmin) };

#[test]
fn an_entry_shows_the_current_status_of_its_delivery() {
    let ended = |update, outcome: &str| HistoryEntry {
        update,
        outcome: outcome.into(),
        at: Timestamp::UNIX_EPOCH,
        attempts: 2,
    };
    let first = decision(Channel::Email, 1, DELIVER);
    let pending = entry(None, &first);
    assert_eq!((pending.outcome.as_str(), pending.recipient_id.as_deref()), ("pending", Some("rcp_1")));
    let accepted = entry(Some(&listed(DeliveryState::Accepted, 1, vec![ended(1, "accepted")])), &first);
    assert_eq!((accepted.outcome.as_str(), accepted.attempts.len()), ("accepted", 1), "never shown as delivered");
    let failed = entry(Some(&listed(DeliveryState::Failed, 1, vec![ended(1, "gave_up")])), &first);
    assert_eq!((failed.outcome.as_str(), failed.reason.unwrap().reason.as_str()), ("failed", "gave_up"));
    let retrying = entry(Some(&listed(DeliveryState::Retrying, 1, vec![])), &first);
    assert_eq!((retrying.outcome.as_str(), retrying.until.is_some()), ("pending", true));
    let row = ListedDelivery {
        delivery: DeliveryRow {
            reason: Some(Reason::QuietHours),
            ..listed(DeliveryState::Retrying, 1, vec![]).delivery
        },
        ..listed(DeliveryState::Retrying, 1, vec![])
    };
    let asleep = entry(Some(&row), &first);
    assert_eq!((asleep.outcome.as_str(), asleep.reason.unwrap().reason.as_str()), ("held", "quiet_hours"));
    assert_eq!(asleep.attempts.len(), 1, "it was tried before");
    let newer = entry(Some(&row), &decision(Channel::Email, 2, DELIVER));
    assert_eq!((newer.outcome.as_str(), newer.until), ("pending", None), "it waits for nothing");
    let again = ListedDelivery {
        delivery: DeliveryRow { done: 0, ..listed(DeliveryState::Retrying, 1, vec![]).delivery },
        ..listed(DeliveryState::Failed, 1, vec![ended(1, "gave_up")])
    };
    assert_eq!(entry(Some(&again), &first).outcome, "pending", "sent again");
    let newer = entry(Some(&listed(DeliveryState::Sending, 2, vec![])), &first);
    assert_eq!((newer.reason.unwrap().reason.as_str(), newer.by.as_deref()), ("superseded_by", Some("2")));
    let hook = Decision { destination: "int_1".into(), ..decision(Channel::Webhook, 2, DELIVER) };
    let row = ListedDelivery {
        row: delivery_row_key("int_1", Channel::Webhook, 2),
        ..listed(DeliveryState::Accepted, 2, vec![ended(2, "accepted")])
    };
    let hook = entry(Some(&row), &hook);
    assert_eq!((hook.outcome.as_str(), hook.integration_id.as_deref()), ("delivered", Some("int_1")));
    assert_eq!(
        (pending.late_source, hook.late_source),
        (Some(Timestamp::UNIX_EPOCH), None),
        "only the opening was reported late"
    );
}

#[test]
fn a_destination_without_a_decision_is_pending_until_routing_is_done() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let recipient = |created_at: Timestamp| -> Recipient {
        let recipient = serde_json::json!({"id": "rcp_2", "name": "Late", "roles": ["org_admin"], "version": 1,
            "created_at": created_at});
        serde_json::from_value(recipient).unwrap()
    };
    let outcome_of = |planned: Option<u32>, created_at| {
        let plan = |update| StoredPlan {
            tenant: TenantId::parse("acme").unwrap(),
            chunk: 0,
            update,
            at: at(10),
            settings_version: 1,
            decisions: vec![decision(Channel::Email, update, DELIVER)],
            carried: Vec::new(),
        };
        let ledger = Ledger {
            plans: planned.map(plan).into_iter().collect(),
            deliveries: vec![],
            category: None,
            updates: 2,
            last_seen: at(100),
            test_of: None,
            late_source: None,
        };
        let destinations = Destinations { recipients: vec![recipient(created_at)], integrations: vec![] };
        let entries = ledger.entries(&destinations);
        entries.into_iter().find(|entry| entry.recipient_id.as_deref() == Some("rcp_2")).unwrap().outcome
    };
    assert_eq!(outcome_of(None, at(50)), "pending", "routing is delayed");
    assert_eq!(outcome_of(Some(1), at(50)), "pending", "the second update is not planned yet");
    assert_eq!(outcome_of(None, at(150)), "skipped");
    assert_eq!(outcome_of(Some(2), at(50)), "skipped", "routing is done");
}

#[test]
fn a_skip_names_the_setting() {
    let skip = DecisionOutcome::Skip { reason: Reason::CategoryDisabled, by: None };
    let entry = entry(None, &decision(Channel::Email, 1, skip));
    let reason = entry.reason.unwrap();
    assert_eq!((entry.outcome.as_str(), reason.setting.as_str()), ("skipped", "settings.categories.billing.enabled"));
}
