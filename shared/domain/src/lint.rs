//! What a tenant's settings cannot do although they look as if they could: each finding with its remedy.
//!
//! It asks the plan itself, with a critical incident of each category that is about everything, so that it cannot say what
//! routing does not do.

use crate::classification::RuleMatch;
use crate::event::{Event, Format};
use crate::ids::{RecipientId, Scope};
use crate::incident::simulate_opening;
use crate::plan::{Decision, DecisionOutcome, plan_without_history};
use crate::policy::{Catalogue, Policy};
use crate::quiet::QuietHoursOverride;
use crate::reason::Reason;
use crate::tenant::{Destination, Settings};
use crate::vocabulary::{Category, Channel, ChannelClass, Kind, Severity};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// `nothing_is_on`, `category_unreachable`, `channel_unreachable`, `destination_silent`, `quiet_hours_all_day`,
    /// `quiet_hours_hold_critical`, `quiet_hours_not_in_plan`, `digest_not_in_plan`, `unknown_component`,
    /// `unknown_region`, or the reason that stops one destination on one channel.
    pub code: &'static str,
    /// What is so.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
    /// The setting.
    pub setting: String,
    /// The category that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The channel that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelClass>,
    /// The recipient or integration that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// Everything that a tenant should know of its settings; empty where all that is switched on can reach somebody.
#[must_use]
pub fn lint(settings: &Settings, destinations: &[Destination], policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let on: Vec<Category> = Category::ALL.iter().copied().filter(|category| is_on(settings, *category)).collect();
    if on.is_empty() {
        return vec![Finding {
            code: "nothing_is_on",
            sentence: "No category is switched on: nobody is told of anything.".to_owned(),
            remedy: "Switch on the categories that you want to hear of.".to_owned(),
            setting: "settings.categories".to_owned(),
            category: None,
            channel: None,
            destination: None,
        }];
    }
    let mut findings = Vec::new();
    let mut decided: Vec<Decision> = Vec::new();
    for category in on {
        let decisions = would(settings, destinations, policy, category, now);
        findings.extend(of_category(settings, policy, category, &decisions));
        decided.extend(decisions);
    }
    findings.extend(of_destinations(destinations, &decided));
    findings.extend(of_quiet_hours(settings, destinations, policy));
    findings.extend(of_names(destinations, &policy.catalogue));
    findings
}

/// Filters by what the catalogue does not have: an event may name it all the same, but a typing error names nothing for ever.
fn of_names(destinations: &[Destination], catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    for destination in destinations {
        let filters = destination.filters();
        let components = filters.components.iter().filter(|name| !catalogue.has_component(name));
        let regions = filters.regions.iter().filter(|name| !catalogue.has_region(name));
        let components = components.map(|name| ("unknown_component", "component", "components", name));
        for (code, what, field, name) in
            components.chain(regions.map(|name| ("unknown_region", "region", "regions", name)))
        {
            let whose = if destination.id().starts_with(RecipientId::PREFIX) { "recipients" } else { "integrations" };
            findings.push(Finding {
                code,
                sentence: format!("The filter names the {what} `{name}`, which the catalogue does not have."),
                remedy: format!("Take one of the {field} of GET /v1/tenants/{{tenant}}/catalogue, or leave the name if your monitors use it."),
                setting: format!("{whose}.{}.{field}", destination.id()),
                category: None,
                channel: None,
                destination: Some(destination.id().to_owned()),
            });
        }
    }
    findings
}

/// Quiet hours that leave no time to tell anything in, that hold even what is critical, or that the plan does not have.
fn of_quiet_hours(settings: &Settings, destinations: &[Destination], policy: &Policy) -> Vec<Finding> {
    /// Shorter than this, what is left of a day is no time to be told anything in; in minutes.
    const LEAST_AWAKE: i64 = 60;
    let in_plan = policy.plans.get(&settings.plan).is_some_and(|plan| plan.quiet_hours);
    let own = destinations.iter().filter_map(|destination| match destination {
        Destination::Recipient(recipient) => match &recipient.quiet_hours {
            Some(QuietHoursOverride::Hours(hours)) => Some((hours, Some(recipient.id.as_str()))),
            _ => None,
        },
        Destination::Integration(_) => None,
    });
    let all = settings.quiet_hours.iter().map(|hours| (hours, None)).chain(own);
    let finding = |code, sentence: &str, remedy: &str, whose: Option<&str>| Finding {
        code,
        sentence: sentence.to_owned(),
        remedy: remedy.to_owned(),
        setting: whose.map_or("settings.quiet_hours".to_owned(), |id| format!("recipients.{id}.quiet_hours")),
        category: None,
        channel: None,
        destination: whose.map(str::to_owned),
    };
    let mut findings = Vec::new();
    let collects =
        |destination: &&Destination| matches!(destination, Destination::Recipient(one) if one.digest.is_some());
    if !policy.plans.get(&settings.plan).is_some_and(|plan| plan.digest) {
        for destination in destinations.iter().filter(collects) {
            let (sentence, remedy) = (
                "The plan has no digests: every alert is sent by itself.",
                "Ask for a larger plan, or take the digest out.",
            );
            let finding = finding("digest_not_in_plan", sentence, remedy, Some(destination.id()));
            findings.push(Finding { setting: format!("recipients.{}.digest", destination.id()), ..finding });
        }
    }
    for (hours, whose) in all {
        if !in_plan {
            let remedy = "Ask for a larger plan, or take the quiet hours out.";
            let sentence = "The plan has no quiet hours: alerts are sent at any time.";
            findings.push(finding("quiet_hours_not_in_plan", sentence, remedy, whose));
            continue;
        }
        if hours.days.is_empty() && hours.duration_minutes() > 24 * 60 - LEAST_AWAKE {
            let sentence = "Quiet hours cover the whole day: what is not critical comes once a day.";
            findings.push(finding(
                "quiet_hours_all_day",
                sentence,
                "Shorten them, or raise the least severity that the destination hears of.",
                whose,
            ));
        }
        if !hours.critical_passes {
            let sentence = "Quiet hours hold critical alerts as well: somebody may sleep through an outage.";
            findings.push(finding("quiet_hours_hold_critical", sentence, "Let critical alerts pass.", whose));
        }
    }
    findings
}

fn is_on(settings: &Settings, category: Category) -> bool {
    settings.categories.get(&category).is_some_and(|chosen| chosen.enabled)
}

/// The decisions on the worst incident that a category can have: nothing but the settings stops it.
fn would(
    settings: &Settings,
    destinations: &[Destination],
    policy: &Policy,
    category: Category,
    now: Timestamp,
) -> Vec<Decision> {
    let blank = Event::blank(Format::Native, "lint");
    let event = Event { event_type: "lint".to_owned(), severity: Severity::Critical, ..blank };
    let included = RuleMatch {
        category: Some(category),
        kind: Kind::Incident,
        rule: "lint".to_owned(),
        public: false,
        public_sentence: String::new(),
        low_balance: category == Category::Billing,
        warnings: Vec::new(),
    };
    let (incident, update) = simulate_opening(&event, &included, &Scope::Tenant(settings.tenant.clone()), now);
    plan_without_history(&incident, &update, settings, destinations, policy, now)
}

fn is_told(decision: &Decision) -> bool {
    !matches!(decision.outcome, DecisionOutcome::Skip { .. })
}

/// The reason that stops most of these, where one does; roles that the matrix leaves out are as they should be.
fn usual(decisions: &[&Decision]) -> Option<Reason> {
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

fn of_category(settings: &Settings, policy: &Policy, category: Category, decisions: &[Decision]) -> Vec<Finding> {
    let title = category.title();
    let all: Vec<&Decision> = decisions.iter().collect();
    if !decisions.iter().any(is_told) {
        let usual = usual(&all);
        return vec![Finding {
            code: "category_unreachable",
            sentence: format!("{title} is on, but nobody can receive it."),
            remedy: match usual {
                Some(reason) => format!("{} Most are stopped by that.", reason.sentence()),
                None => "Add a recipient or an integration with a role that gets this category.".to_owned(),
            },
            setting: setting(usual.unwrap_or(Reason::RoleNotInMatrix), category),
            category: Some(category),
            channel: None,
            destination: None,
        }];
    }
    let ticked = settings.categories.get(&category).map(|chosen| chosen.channels.clone()).unwrap_or_default();
    let included = policy.plans.get(&settings.plan).map(|plan| plan.channels.clone()).unwrap_or_default();
    let mut findings = Vec::new();
    for class in ticked {
        let of_class: Vec<&Decision> = decisions.iter().filter(|decision| decision.channel.class() == class).collect();
        if of_class.iter().any(|decision| is_told(decision)) {
            continue;
        }
        let channel = class.title();
        let (remedy, by) = if included.contains(&class) {
            match usual(&of_class) {
                Some(reason) => (format!("{} Mend that, or untick {channel}.", reason.sentence()), reason),
                None => (format!("Add somebody who gets {title} by {channel}, or untick it."), Reason::RoleNotInMatrix),
            }
        } else {
            (
                format!("The plan {} has no {channel}; untick it, or ask for a larger plan.", settings.plan),
                Reason::PlanExcludesChannel,
            )
        };
        findings.push(Finding {
            code: if included.contains(&class) { "channel_unreachable" } else { Reason::PlanExcludesChannel.as_str() },
            sentence: format!("{channel} is ticked for {title}, but nobody gets it that way."),
            remedy,
            setting: setting(by, category),
            category: Some(category),
            channel: Some(class),
            destination: None,
        });
    }
    findings
}

/// Where a category's finding is mended: a setting of no single destination is in the lists of them.
fn setting(reason: Reason, category: Category) -> String {
    let setting = reason.setting_of(Some(category), "");
    if setting.contains("<id>") { "recipients and integrations".to_owned() } else { setting }
}

/// What stops one destination on one channel whatever the category, and destinations that nothing ever reaches.
fn of_destinations(destinations: &[Destination], decided: &[Decision]) -> Vec<Finding> {
    const OWN: [Reason; 8] = [
        Reason::ContactUnconfirmed,
        Reason::DomainNotAllowed,
        Reason::Dnd,
        Reason::OptedOut,
        Reason::EndpointDisabled,
        Reason::PlanLimit,
        Reason::SuppressedBounce,
        Reason::SuppressedComplaint,
    ];
    let mut findings = Vec::new();
    for destination in destinations {
        let id = destination.id();
        let own: Vec<&Decision> = decided.iter().filter(|decision| decision.destination == id).collect();
        let stopped: BTreeSet<(Channel, Reason)> = own
            .iter()
            .filter_map(|decision| match decision.outcome {
                DecisionOutcome::Skip { reason, .. } if OWN.contains(&reason) => Some((decision.channel, reason)),
                _ => None,
            })
            .collect();
        for (channel, reason) in &stopped {
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
        if stopped.is_empty() && !own.iter().any(|decision| is_told(decision)) {
            let why = usual(&own).unwrap_or(Reason::RoleNotInMatrix);
            if why == Reason::ComplianceUnconfirmed {
                // Said once, of the channel; it is nobody's own.
                continue;
            }
            findings.push(Finding {
                code: "destination_silent",
                sentence: "Nothing that is switched on ever reaches this destination.".to_owned(),
                remedy: format!("{} Change that, or remove the destination.", why.sentence()),
                setting: why.setting_of(None, id).replace("<category>", "*"),
                category: None,
                channel: None,
                destination: Some(id.to_owned()),
            });
        }
    }
    findings
}
