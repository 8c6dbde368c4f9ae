//! Whether a destination may get an update at all: the tenant's settings, the role matrix, reachability and filters.

use super::{Case, PlanInput};
use crate::event::SYSTEM_TYPE_PREFIX;
use crate::ids::Scope;
use crate::incident::{
    DELIVERY_FAILED_TYPE, Incident, ORG_ADMIN_NOTICE_TYPES, SMS_LIMIT_TYPE, Update, WINDOW_MISSED_TYPE,
};
use crate::permission::{refused_for_contact, refused_for_tenant};
use crate::policy::{Allowance, Policy};
use crate::reason::Reason;
use crate::tenant::{Destination, OptIn, Recipient, Settings};
use crate::vocabulary::{Channel, Role, Severity};
use jiff::Timestamp;

/// Returns why the tenant's settings, plan or agreement exclude the update. User-level warnings belong to no category, so no category
/// setting applies to them.
pub(super) fn excluded_by_settings(input: &PlanInput<'_>, case: &Case<'_>) -> Option<Reason> {
    let class = case.channel.class();
    let settings = input.settings;
    let category = input.incident.category.and_then(|category| settings.categories.get(&category));
    if input.incident.category.is_some() && !category.is_some_and(|category| category.enabled) {
        return Some(Reason::CategoryDisabled);
    }
    // A channel that the tenant did not choose needs no word about its lawfulness.
    let refused = refused_for_tenant(input.policy, settings, class);
    if let Some(reason) = refused.filter(|reason| *reason != Reason::ComplianceUnconfirmed) {
        return Some(reason);
    }
    if let Some(category) = category {
        if !category.channels.contains(&class) {
            return Some(Reason::ChannelNotTicked);
        }
        if category.muted_until.is_some_and(|until| input.now < until) {
            return Some(Reason::Muted);
        }
    }
    refused.or_else(|| case.over_plan_limit.then_some(Reason::PlanLimit))
}

/// Returns whether an update concerns what the tenant uses. Only platform-wide incidents can be outside: a tenant's own incident and a test
/// are always its own.
pub(super) fn is_in_footprint(input: &PlanInput<'_>, update: &Update) -> bool {
    let footprint = &input.settings.footprint;
    input.incident.scope != Scope::Platform
        || input.incident.test
        || footprint.is_touched_by(&input.policy.catalogue, &update.components, &update.regions)
}

/// Returns whether an update is the first of its incident that concerns what the tenant uses, which for the tenant is its opening.
pub(super) fn enters_footprint(input: &PlanInput<'_>, update: &Update) -> bool {
    let is_before = |one: &&Update| one.number < update.number;
    let mut before = input.earlier.iter().chain(input.updates).filter(is_before).peekable();
    before.peek().is_some() && is_in_footprint(input, update) && before.all(|one| !is_in_footprint(input, one))
}

/// Returns the role that permits the update by the role matrix; `None` where an opt-in counts instead.
///
/// # Errors
/// Why none of the destination's roles or opt-ins permits it.
pub(super) fn permitted_role(input: &PlanInput<'_>, case: &Case<'_>) -> Result<Option<Role>, Reason> {
    let recipient = match case.destination {
        Destination::Recipient(recipient) => Some(recipient.as_ref()),
        Destination::Integration(_) => None,
    };
    let has_opted_in = |opt_in: OptIn| recipient.is_some_and(|recipient| recipient.opt_ins.contains(&opt_in));
    let Some(category) = input.incident.category else {
        let opted_in = match case.channel {
            Channel::Email => has_opted_in(OptIn::WarningsEmail),
            Channel::Sms => has_opted_in(OptIn::WarningsSms),
            Channel::Slack | Channel::Teams | Channel::Webhook => false,
        };
        let is_theirs =
            input.incident.user_id.is_some() && recipient.is_some_and(|one| one.user_id == input.incident.user_id);
        return match (opted_in, is_theirs) {
            (false, _) => Err(Reason::OptInMissing),
            (true, false) => Err(Reason::OtherUser),
            (true, true) => Ok(None),
        };
    };
    if ORG_ADMIN_NOTICE_TYPES.contains(&input.incident.event_type.as_str()) {
        // Only org admins can fix a failed delivery. They are notified on every channel they have, since one of those may be what fails.
        let is_admin = case.destination.roles().contains(&Role::OrgAdmin);
        return if is_admin { Ok(Some(Role::OrgAdmin)) } else { Err(Reason::RoleNotInMatrix) };
    }
    let mut refusal = Reason::RoleNotInMatrix;
    for &role in case.destination.roles() {
        match input.policy.matrix.allows(role, category, case.channel.class()) {
            Allowance::Yes => return Ok(Some(role)),
            Allowance::OptIn => {
                if has_opted_in(OptIn::ConfigurableEmail) {
                    return Ok(Some(role));
                }
                refusal = Reason::OptInMissing;
            }
            Allowance::LowBalanceOnly => {
                if input.incident.low_balance {
                    return Ok(Some(role));
                }
                refusal = Reason::LowBalanceOnly;
            }
            Allowance::No => {}
        }
    }
    Err(refusal)
}

/// Returns why nothing can be sent to this channel, whatever the settings: no address, unconfirmed, paused, disabled or opted out.
///
/// A deferred delivery is checked again right before it is sent.
#[must_use]
pub fn unreachable_reason(
    policy: &Policy,
    incident: &Incident,
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    now: Timestamp,
) -> Option<Reason> {
    match destination {
        Destination::Integration(integration) => {
            if integration.paused {
                return Some(Reason::IntegrationPaused);
            }
            // A test alert shows whether the endpoint works again, so it is always sent. From its probe time on, so are the tenant's alerts.
            let disabled = integration
                .disabled
                .as_ref()
                .is_some_and(|disabled| !disabled.is_half_open(now) || is_system_incident(incident));
            (disabled && !incident.test).then_some(Reason::EndpointDisabled)
        }
        Destination::Recipient(recipient) => refused_for_contact(policy, settings, recipient, channel)
            .or_else(|| has_not_agreed(incident, recipient, channel)),
    }
}

/// Returns why the owner of the address or number does not want the message: unsubscribed, or not confirmed.
fn has_not_agreed(incident: &Incident, recipient: &Recipient, channel: Channel) -> Option<Reason> {
    if channel == Channel::Sms {
        return (!recipient.phone_confirmed).then_some(Reason::ContactUnconfirmed);
    }
    let unsubscribed = match incident.category {
        Some(category) => recipient.unsubscribed.contains(&category),
        None => recipient.unsubscribed_warnings,
    };
    if unsubscribed {
        return Some(Reason::OptedOut);
    }
    (!recipient.email_confirmed).then_some(Reason::ContactUnconfirmed)
}

/// Returns which filter of the destination excludes the update.
///
/// An empty filter accepts everything. An update without regions or components passes every such filter. Several values match on any
/// overlap.
pub(super) fn excluded_by_filters(input: &PlanInput<'_>, case: &Case<'_>) -> Option<Reason> {
    let filters = case.destination.filters();
    let update = case.update;
    if let (Destination::Integration(integration), Some(category)) = (case.destination, input.incident.category)
        && !integration.categories.is_empty()
        && !integration.categories.contains(&category)
    {
        return Some(Reason::CategoryNotChosen);
    }
    if is_about_this_channel(input.incident, update, case) {
        return Some(Reason::EndpointIsSubject);
    }
    if matches!(case.destination, Destination::Integration(integration) if integration.failing.is_some())
        && is_system_incident(input.incident)
        && !input.incident.test
    {
        return Some(Reason::EndpointFailing);
    }
    // A lowered severity does not exclude a destination that was notified of the higher one.
    if !case.planned_before && min_severity(input, case).is_some_and(|least| update.severity < least) {
        return Some(Reason::SeverityBelowFilter);
    }
    if is_filtered_out(&filters.regions, &update.regions) {
        return Some(Reason::RegionMismatch);
    }
    is_filtered_out(&filters.components, &update.components).then_some(Reason::ComponentMismatch)
}

/// Returns the minimum severity that counts: the destination's for this category, the destination's, the category's or the tenant's.
///
/// Notices about Tocsin itself, such as failed deliveries, and tests are not what a tenant filters by category or for everybody.
fn min_severity(input: &PlanInput<'_>, case: &Case<'_>) -> Option<Severity> {
    let filters = case.destination.filters();
    let category = input.incident.category;
    let own = category.and_then(|category| filters.min_severities.get(&category).copied()).or(filters.min_severity);
    let of_tenant = || {
        let chosen = category.and_then(|category| input.settings.categories.get(&category));
        chosen.and_then(|chosen| chosen.min_severity).or(input.settings.min_severity)
    };
    own.or_else(|| of_tenant().filter(|_| !is_system_incident(input.incident) && !input.incident.test))
}

/// Returns whether the incident was opened by a system event (`tocsin.…`), not by a tenant's source.
pub(super) fn is_system_incident(incident: &Incident) -> bool {
    incident.event_type.starts_with(SYSTEM_TYPE_PREFIX)
}

/// Returns whether the incident reports a problem of the very channel or endpoint that it would be sent to.
fn is_about_this_channel(incident: &Incident, update: &Update, case: &Case<'_>) -> bool {
    if [DELIVERY_FAILED_TYPE, WINDOW_MISSED_TYPE, SMS_LIMIT_TYPE].contains(&incident.event_type.as_str()) {
        return update.labels.get("channel").is_some_and(|failed| failed == case.channel.as_str());
    }
    is_system_incident(incident) && incident.dedup_key == case.destination.id()
}

fn is_filtered_out(wanted: &[String], affected: &[String]) -> bool {
    !wanted.is_empty() && !affected.is_empty() && !affected.iter().any(|name| wanted.contains(name))
}
