//! The settings lint: finds settings that have no effect or hold too much, each with a remedy.
//!
//! It plans a critical incident that affects everything, once per category, with the same function as routing. So its findings cannot
//! contradict what routing does.

use crate::classification::RuleMatch;
use crate::event::{Event, Format};
use crate::ids::{RecipientId, Scope};
use crate::incident::simulate_opening;
use crate::plan::{Decision, DecisionOutcome, plan_without_history};
use crate::policy::{Catalogue, Policy};
use crate::quiet::QuietHoursOverride;
use crate::reason::Reason;
use crate::tenant::{Destination, OptIn, Recipient, Settings};
use crate::vocabulary::{Category, Channel, ChannelClass, Kind, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One problem in a tenant's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// The code of the problem: `nothing_is_on`, `category_unreachable`, `channel_unreachable`, `destination_silent`,
    /// `quiet_hours_all_day`, `quiet_hours_hold_critical`, `quiet_hours_not_in_plan`, `digest_not_in_plan`, `unknown_component`,
    /// `unknown_region`, `name_not_approved`, or the code of the reason that blocks one destination on one channel.
    pub code: &'static str,
    /// The sentence that explains the problem to an admin.
    pub sentence: String,
    /// What to do about it, as a sentence.
    pub remedy: String,
    /// The setting that causes it, as a path.
    pub setting: String,
    /// The affected category. Absent if none in particular is affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The affected channel. Absent if none in particular is affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelClass>,
    /// The id of the affected recipient or integration. Absent if none in particular is affected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// Returns all findings about a tenant's settings; empty if every enabled category and channel reaches a destination.
#[must_use]
pub fn lint(settings: &Settings, destinations: &[Destination], policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let enabled: Vec<Category> =
        Category::ALL.iter().copied().filter(|category| is_enabled(settings, *category)).collect();
    let names = lint_names(settings);
    if enabled.is_empty() {
        let mut findings = vec![Finding {
            code: "nothing_is_on",
            sentence: "No category is turned on, so nobody is notified of anything.".to_owned(),
            remedy: "Turn on the categories that you want to be notified of.".to_owned(),
            setting: "settings.categories".to_owned(),
            category: None,
            channel: None,
            destination: None,
        }];
        findings.extend(names);
        return findings;
    }
    let mut findings = names;
    let mut all_decisions: Vec<Decision> = Vec::new();
    for category in enabled {
        let decisions = plan_critical_incident(settings, destinations, policy, category, now);
        findings.extend(lint_category(settings, policy, category, &decisions));
        all_decisions.extend(decisions);
    }
    findings.extend(lint_destinations(destinations, &all_decisions));
    findings.extend(lint_digests(settings, destinations, policy));
    findings.extend(lint_quiet_hours(settings, destinations, policy));
    findings.extend(lint_filter_names(destinations, &policy.catalogue));
    findings.extend(lint_warnings(destinations));
    findings
}

/// Finds recipients who opted in to user-level warnings, and of whom nobody knows which user they are.
fn lint_warnings(destinations: &[Destination]) -> Vec<Finding> {
    let is_nobodys = |recipient: &Recipient| {
        let has_opted_in = [OptIn::WarningsEmail, OptIn::WarningsSms].iter().any(|one| recipient.opt_ins.contains(one));
        has_opted_in && recipient.user_id.is_none()
    };
    let recipients = destinations.iter().filter_map(|destination| match destination {
        Destination::Recipient(recipient) => Some(recipient.as_ref()),
        Destination::Integration(_) => None,
    });
    recipients
        .filter(|recipient| is_nobodys(recipient))
        .map(|recipient| Finding {
            code: "user_id_missing",
            sentence: "A recipient opted in to user-level warnings, but has no user id, so it gets none.".to_owned(),
            remedy: "Set the recipient's user id, or remove the opt-in.".to_owned(),
            setting: format!("recipients.{}.user_id", recipient.id),
            category: None,
            channel: None,
            destination: Some(recipient.id.to_string()),
        })
        .collect()
}

/// Finds names that wait for the platform's approval.
fn lint_names(settings: &Settings) -> Vec<Finding> {
    let since = settings.name_requests.since.map(|at| at.strftime(" since %Y-%m-%d").to_string()).unwrap_or_default();
    let finding = |sentence: String, setting: &str| Finding {
        code: "name_not_approved",
        sentence,
        remedy: "Wait for the platform's approval, or remove the name.".to_owned(),
        setting: setting.to_owned(),
        category: None,
        channel: None,
        destination: None,
    };
    let name = settings.waiting_public_name().map(|name| {
        let read = settings.name_for_strangers();
        finding(
            format!("The public name \u{201c}{name}\u{201d} has waited for the platform's approval{since}. Until then strangers read \u{201c}{read}\u{201d}."),
            "settings.public_name",
        )
    });
    let sender = settings.waiting_sender_id().map(|id| {
        let used = match &settings.sms_compliance().sender_id {
            Some(approved) => format!("\u{201c}{approved}\u{201d}"),
            None => "the platform's own sender".to_owned(),
        };
        finding(
            format!("The sender id \u{201c}{id}\u{201d} has waited for the platform's approval{since}. Until then text messages come from {used}."),
            "settings.compliance.sender_id",
        )
    });
    name.into_iter().chain(sender).collect()
}

/// Finds filters on names that the catalogue does not have. Events may still use such a name, but a typo never matches anything.
fn lint_filter_names(destinations: &[Destination], catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    for destination in destinations {
        let filters = destination.filters();
        let components = filters.components.iter().filter(|name| !catalogue.has_component(name));
        let regions = filters.regions.iter().filter(|name| !catalogue.has_region(name));
        let components = components.map(|name| ("unknown_component", "component", "components", name));
        for (code, what, field, name) in
            components.chain(regions.map(|name| ("unknown_region", "region", "regions", name)))
        {
            let kind = if destination.id().starts_with(RecipientId::PREFIX) { "recipients" } else { "integrations" };
            findings.push(Finding {
                code,
                sentence: format!("The filter contains the {what} `{name}`, which isn't in the catalogue."),
                remedy: format!(
                    "Use one of the {field} from GET /v1/tenants/{{tenant}}/catalogue, or keep the name if your monitors use it."
                ),
                setting: format!("{kind}.{}.{field}", destination.id()),
                category: None,
                channel: None,
                destination: Some(destination.id().to_owned()),
            });
        }
    }
    findings
}

/// Finds digests that the tenant's plan does not include.
fn lint_digests(settings: &Settings, destinations: &[Destination], policy: &Policy) -> Vec<Finding> {
    if policy.plans.get(&settings.plan).is_some_and(|plan| plan.digest) {
        return Vec::new();
    }
    let with_digest = destinations
        .iter()
        .filter(|destination| matches!(destination, Destination::Recipient(recipient) if recipient.digest.is_some()));
    let finding = |setting: String, destination: Option<&str>| Finding {
        code: "digest_not_in_plan",
        sentence: "The plan doesn't include digests, so every alert is sent by itself.".to_owned(),
        remedy: "Upgrade the plan, or remove the digest.".to_owned(),
        setting,
        category: None,
        channel: None,
        destination: destination.map(str::to_owned),
    };
    let of_tenant = settings.digest.iter().map(|_| finding("settings.digest".to_owned(), None));
    let of_recipients = with_digest.map(|one| finding(format!("recipients.{}.digest", one.id()), Some(one.id())));
    of_tenant.chain(of_recipients).collect()
}

/// Finds quiet hours that the plan does not include, that last nearly all day, or that hold critical alerts.
fn lint_quiet_hours(settings: &Settings, destinations: &[Destination], policy: &Policy) -> Vec<Finding> {
    /// Quiet hours must leave this many minutes a day to be notified in.
    const MINUTES_LEFT_MIN: i64 = 60;
    let in_plan = policy.plans.get(&settings.plan).is_some_and(|plan| plan.quiet_hours);
    let of_recipients = destinations.iter().filter_map(|destination| match destination {
        Destination::Recipient(recipient) => match &recipient.quiet_hours {
            Some(QuietHoursOverride::Hours(hours)) => Some((hours, Some(recipient.id.as_str()))),
            _ => None,
        },
        Destination::Integration(_) => None,
    });
    let all = settings.quiet_hours.iter().map(|hours| (hours, None)).chain(of_recipients);
    let finding = |code, recipient: Option<&str>, sentence: &str, remedy: &str| Finding {
        code,
        sentence: sentence.to_owned(),
        remedy: remedy.to_owned(),
        setting: recipient.map_or("settings.quiet_hours".to_owned(), |id| format!("recipients.{id}.quiet_hours")),
        category: None,
        channel: None,
        destination: recipient.map(str::to_owned),
    };
    let mut findings = Vec::new();
    for (hours, recipient) in all {
        if !in_plan {
            findings.push(finding(
                "quiet_hours_not_in_plan",
                recipient,
                "The plan doesn't include quiet hours, so alerts are sent at any time.",
                "Upgrade the plan, or remove the quiet hours.",
            ));
            continue;
        }
        if hours.days.is_empty() && hours.duration_minutes() > 24 * 60 - MINUTES_LEFT_MIN {
            findings.push(finding(
                "quiet_hours_all_day",
                recipient,
                "Quiet hours cover the whole day, so alerts that aren't critical arrive once a day.",
                "Shorten the quiet hours, or raise the destination's minimum severity.",
            ));
        }
        if !hours.critical_passes {
            findings.push(finding(
                "quiet_hours_hold_critical",
                recipient,
                "Quiet hours also hold critical alerts, so an outage can go unnoticed until they end.",
                "Let critical alerts through during quiet hours.",
            ));
        }
    }
    findings
}

fn is_enabled(settings: &Settings, category: Category) -> bool {
    settings.categories.get(&category).is_some_and(|chosen| chosen.enabled)
}

/// Plans the most severe incident of a category, so that nothing but the settings can block it.
fn plan_critical_incident(
    settings: &Settings,
    destinations: &[Destination],
    policy: &Policy,
    category: Category,
    now: Timestamp,
) -> Vec<Decision> {
    let blank = Event::blank(Format::Native, "lint");
    let event = Event { event_type: "lint".to_owned(), severity: Severity::Critical, ..blank };
    let rule_match = RuleMatch {
        category: Some(category),
        kind: Kind::Incident,
        rule: "lint".to_owned(),
        public: false,
        public_sentence: String::new(),
        advice: String::new(),
        low_balance: category == Category::Billing,
        warnings: Vec::new(),
    };
    let (incident, update) = simulate_opening(&event, &rule_match, &Scope::Tenant(settings.tenant.clone()), now);
    plan_without_history(&incident, &update, settings, destinations, policy, now)
}

fn is_notified(decision: &Decision) -> bool {
    !matches!(decision.outcome, DecisionOutcome::Skip { .. })
}

/// Returns the most frequent reason for skipping, except roles without the category, which are intended; `None` if there is no other.
fn most_frequent_reason(decisions: &[&Decision]) -> Option<Reason> {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for decision in decisions {
        if let DecisionOutcome::Skip { reason, .. } = decision.outcome
            && reason != Reason::RoleNotInMatrix
        {
            *counts.entry(reason).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(reason, _)| reason)
}

/// Finds an enabled category that reaches nobody, or whose selected channels reach nobody.
fn lint_category(settings: &Settings, policy: &Policy, category: Category, decisions: &[Decision]) -> Vec<Finding> {
    let title = category.title();
    let all: Vec<&Decision> = decisions.iter().collect();
    if !decisions.iter().any(is_notified) {
        let reason = most_frequent_reason(&all);
        return vec![Finding {
            code: "category_unreachable",
            sentence: format!("{title} is on, but nobody can receive it."),
            remedy: match reason {
                Some(reason) => format!("Most destinations are skipped for this reason: {}", reason.sentence()),
                None => "Add a recipient or an integration with a role that receives this category.".to_owned(),
            },
            setting: setting_path(reason.unwrap_or(Reason::RoleNotInMatrix), category),
            category: Some(category),
            channel: None,
            destination: None,
        }];
    }
    let selected = settings.categories.get(&category).map(|chosen| chosen.channels.clone()).unwrap_or_default();
    let included = policy.plans.get(&settings.plan).map(|plan| plan.channels.clone()).unwrap_or_default();
    let mut findings = Vec::new();
    for class in selected {
        let of_class: Vec<&Decision> = decisions.iter().filter(|decision| decision.channel.class() == class).collect();
        if of_class.iter().any(|decision| is_notified(decision)) {
            continue;
        }
        let channel = class.title();
        let (remedy, reason) = if included.contains(&class) {
            match most_frequent_reason(&of_class) {
                Some(reason) => (format!("{} Fix that, or deselect {channel}.", reason.sentence()), reason),
                None => (
                    format!("Add a destination that receives {title} by {channel}, or deselect {channel}."),
                    Reason::RoleNotInMatrix,
                ),
            }
        } else {
            (
                format!("The {} plan doesn't include {channel}. Deselect it, or upgrade the plan.", settings.plan),
                Reason::PlanExcludesChannel,
            )
        };
        findings.push(Finding {
            code: if included.contains(&class) { "channel_unreachable" } else { Reason::PlanExcludesChannel.as_str() },
            sentence: format!("{channel} is selected for {title}, but nobody can receive it on this channel."),
            remedy,
            setting: setting_path(reason, category),
            category: Some(category),
            channel: Some(class),
            destination: None,
        });
    }
    findings
}

/// Returns the setting behind a finding about a category; the lists of destinations if it belongs to single destinations.
fn setting_path(reason: Reason, category: Category) -> String {
    let setting = reason.setting_of(Some(category), "");
    if setting.contains("<id>") { "recipients and integrations".to_owned() } else { setting }
}

/// Finds destinations that are blocked on one channel whatever the category, and destinations that no enabled category reaches.
fn lint_destinations(destinations: &[Destination], decisions: &[Decision]) -> Vec<Finding> {
    /// Reasons that block a destination by itself, whatever the category.
    const BLOCKING: [Reason; 9] = [
        Reason::ContactUnconfirmed,
        Reason::DomainNotAllowed,
        Reason::Dnd,
        Reason::DltRegistrationMissing,
        Reason::OptedOut,
        Reason::EndpointDisabled,
        Reason::PlanLimit,
        Reason::SuppressedBounce,
        Reason::SuppressedComplaint,
    ];
    let mut findings = Vec::new();
    for destination in destinations {
        let id = destination.id();
        let own: Vec<&Decision> = decisions.iter().filter(|decision| decision.destination == id).collect();
        let blocked: BTreeSet<(Channel, Reason)> = own
            .iter()
            .filter_map(|decision| match decision.outcome {
                DecisionOutcome::Skip { reason, .. } if BLOCKING.contains(&reason) => Some((decision.channel, reason)),
                _ => None,
            })
            .collect();
        for (channel, reason) in &blocked {
            findings.push(Finding {
                code: reason.as_str(),
                sentence: reason.sentence().to_owned(),
                remedy: reason.remedy().to_owned(),
                setting: reason.setting_of(None, id),
                category: None,
                channel: Some(channel.class()),
                destination: Some(id.to_owned()),
            });
        }
        if blocked.is_empty() && !own.iter().any(|decision| is_notified(decision)) {
            let reason = most_frequent_reason(&own).unwrap_or(Reason::RoleNotInMatrix);
            if reason == Reason::ComplianceUnconfirmed {
                // Reported once for the channel; it does not belong to one destination.
                continue;
            }
            findings.push(Finding {
                code: "destination_silent",
                sentence: "No category that is turned on reaches this destination.".to_owned(),
                remedy: format!("{} Change that, or remove the destination.", reason.sentence()),
                setting: reason.setting_of(None, id).replace("<category>", "*"),
                category: None,
                channel: None,
                destination: Some(id.to_owned()),
            });
        }
    }
    findings
}
