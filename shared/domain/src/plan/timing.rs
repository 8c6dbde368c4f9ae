//! When an eligible destination gets an update: at once, after quiet hours, with a digest or bundle, or after maintenance.

use super::eligibility::is_system_incident;
use super::{Case, DecisionOutcome, PlanInput};
use crate::incident::Incident;
use crate::policy::Policy;
use crate::quiet::QuietHoursOverride;
use crate::reason::Reason;
use crate::tenant::{Destination, Settings};
use crate::vocabulary::{Channel, Role, Severity, StormMode};
use jiff::Timestamp;

/// Most closing times that a hold skips over: two a day for more than a week, within which every day of the week occurs.
const HOLD_STEPS_MAX: usize = 17;

/// Delivers now, or holds until the destination may be notified. A test alert is never held.
pub(super) fn schedule(input: &PlanInput<'_>, case: &Case<'_>, role: Option<Role>) -> DecisionOutcome {
    if let Some(outcome) = suppress_by_maintenance(input, case, role) {
        return outcome;
    }
    if input.incident.test {
        return DecisionOutcome::Deliver { role };
    }
    // An alert that waited for a digest is not held for a bundle next, nor the other way around: it would never be sent.
    let was_batched = matches!(input.released_from, Some(Reason::Digest | Reason::Throttled));
    if !was_batched {
        let severity = case.update.severity;
        let digest = next_digest_at(input.settings, case.destination, case.channel, severity, input.policy, input.now);
        if let Some(at) = digest {
            let until = sending_hours(input, case, true).first_open(at);
            return DecisionOutcome::Hold { until, reason: Reason::Digest, role };
        }
    }
    let hours = sending_hours(input, case, !case.resolves_delivered());
    if !was_batched && let Some(at) = bundle_at(input, case) {
        return DecisionOutcome::Hold { until: hours.first_open(at), reason: Reason::Throttled, role };
    }
    match hours.closed_until(input.now) {
        Some((at, reason)) => DecisionOutcome::Hold { until: hours.first_open(at), reason, role },
        None => DecisionOutcome::Deliver { role },
    }
}

fn sending_hours<'a>(input: &PlanInput<'a>, case: &Case<'a>, quiet_hours_apply: bool) -> SendingHours<'a> {
    SendingHours {
        incident: input.incident,
        settings: input.settings,
        destination: case.destination,
        channel: case.channel,
        severity: case.update.severity,
        policy: input.policy,
        quiet_hours_apply,
    }
}

/// The hours in which messages about an incident may be sent to one channel of a destination.
#[derive(Clone, Copy, Debug)]
pub struct SendingHours<'a> {
    /// The incident that the message is about.
    pub incident: &'a Incident,
    /// Settings of the tenant.
    pub settings: &'a Settings,
    /// The recipient or integration.
    pub destination: &'a Destination,
    /// The channel of the destination.
    pub channel: Channel,
    /// Severity of the update.
    pub severity: Severity,
    /// The deployer's policy.
    pub policy: &'a Policy,
    /// Whether quiet hours count. The regulatory SMS window always does.
    pub quiet_hours_apply: bool,
}

impl SendingHours<'_> {
    /// Returns until when, and why, nothing may be sent at `at`; `None` if it may be sent.
    #[must_use]
    pub fn closed_until(&self, at: Timestamp) -> Option<(Timestamp, Reason)> {
        if self.quiet_hours_apply {
            let quiet =
                quiet_hours_until(self.settings, self.destination, self.channel, self.severity, self.policy, at);
            if let Some(until) = quiet {
                return Some((until, Reason::QuietHours));
            }
        }
        self.sms_window_opens_at(at).map(|until| (until, Reason::RegulatoryWindow))
    }

    /// Returns the first time from `at` on at which sending is allowed.
    ///
    /// A hold must not end inside other closed hours, or it would be moved again. Where hours exclude each other for good, the result is more
    /// than a week away.
    pub(super) fn first_open(&self, at: Timestamp) -> Timestamp {
        let next = |at: &Timestamp| self.closed_until(*at).map(|(until, _)| until);
        std::iter::successors(Some(at), next).take(HOLD_STEPS_MAX).last().unwrap_or(at)
    }

    /// Returns when the regulatory SMS window of the number's country opens; `None` if it is open or there is none.
    ///
    /// A number that does not reveal its country gets the tenant's. System events are exempt: a notice about a failed delivery cannot
    /// wait for the morning.
    fn sms_window_opens_at(&self, at: Timestamp) -> Option<Timestamp> {
        let kind = self.incident.kind;
        let compliance = &self.policy.compliance;
        // Parsing a phone number is slow, so the cheap conditions come first.
        if is_system_incident(self.incident) || self.channel != Channel::Sms || !compliance.restricts_sms_hours(kind) {
            return None;
        }
        let Destination::Recipient(recipient) = self.destination else { return None };
        let phone = recipient.phone.as_ref()?;
        let country = phone.country().or_else(|| self.settings.compliance.country.clone())?;
        compliance.country(&country)?.sms_hours.as_ref()?.closed_until(kind, at)
    }
}

/// Holds an incident inside a maintenance window until the window ends; skips it if it was resolved by then.
///
/// `None` where maintenance does not apply: the incident is worse than the window announced, the destination was notified of it already, or
/// it is a webhook. Webhooks are sent everything; their messages name the window.
fn suppress_by_maintenance(input: &PlanInput<'_>, case: &Case<'_>, role: Option<Role>) -> Option<DecisionOutcome> {
    if case.channel == Channel::Webhook || case.reached {
        return None;
    }
    let cover = input.incident.covered.as_ref()?;
    if input.incident.resolved_at.is_some_and(|at| at <= cover.until) {
        return Some(DecisionOutcome::Skip { reason: Reason::CoveredByMaintenance, by: Some(cover.by.to_string()) });
    }
    if case.update.severity > cover.up_to || input.now >= cover.until {
        return None;
    }
    let until = sending_hours(input, case, true).first_open(cover.until);
    Some(DecisionOutcome::Hold { until, reason: Reason::CoveredByMaintenance, role })
}

/// Returns when the bundle is sent that storm protection puts this update in; `None` if the update is sent by itself.
///
/// Bundled are: incidents of a tenant over the ceiling, a flapping key, and updates of an incident whose opening is in a bundle. Critical
/// updates and webhooks are never bundled.
fn bundle_at(input: &PlanInput<'_>, case: &Case<'_>) -> Option<Timestamp> {
    let storms = &input.policy.storms;
    if input.settings.storms == StormMode::Each
        || case.channel == Channel::Webhook
        || case.update.severity == Severity::Critical
    {
        return None;
    }
    // Messages deferred by the rate limit of one contact are not marked as bundled here. Their resolves reserve a slot of their own.
    let was_bundled = input.history.was_bundled(case.destination.id(), case.channel);
    let bundled_until = input.history.bundled_until(case.destination.id(), case.channel);
    if let Some(until) = bundled_until.filter(|until| was_bundled && input.now < *until) {
        return Some(until);
    }
    if !case.planned_before {
        let flapping = input.incident.openings.and_then(|openings| openings.flapping_until(&storms.flapping));
        return flapping.filter(|until| input.now < *until).max(input.storm_until);
    }
    // The resolves of incidents that were opened in one bundle are bundled as well.
    (case.resolves_delivered() && was_bundled).then(|| storms.ceiling.window_at(input.now).1)
}

/// Returns when the digest is sent that holds an alert of `severity`; `None` if the alert is sent by itself.
///
/// Only recipients have digests.
#[must_use]
pub fn next_digest_at(
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    severity: Severity,
    policy: &Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    let Destination::Recipient(recipient) = destination else { return None };
    let digest = recipient.digest_or(settings.digest.as_ref());
    let digest = digest.filter(|digest| digest.channels.contains(&channel.class()))?;
    if severity >= digest.below || !policy.plans.get(&settings.plan)?.digest {
        return None;
    }
    Some(digest.next_after(recipient.zone.as_deref().unwrap_or(&settings.zone), now))
}

/// Returns until when quiet hours hold an alert of `severity`; `None` if they do not.
///
/// A recipient's own quiet hours replace the tenant's. Webhooks have none.
#[must_use]
pub fn quiet_hours_until(
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    severity: Severity,
    policy: &Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    if channel == Channel::Webhook || !policy.plans.get(&settings.plan)?.quiet_hours {
        return None;
    }
    let own = match destination {
        Destination::Recipient(recipient) => recipient.quiet_hours.as_ref().map(|own| (own, recipient.zone.as_deref())),
        Destination::Integration(_) => None,
    };
    let (hours, zone) = match own {
        Some((QuietHoursOverride::Off, _)) => return None,
        Some((QuietHoursOverride::Hours(hours), zone)) => (hours, zone.unwrap_or(&settings.zone)),
        None => (settings.quiet_hours.as_ref()?, settings.zone.as_str()),
    };
    if severity == Severity::Critical && hours.critical_passes { None } else { hours.active_until(zone, now) }
}
