//! The notices about what is not delivered: a critical alert that was given up or is late, text messages that a limit holds back.

use contracts::queue::{Delivery, IncidentReceived};
use domain::attempt::explain_cause;
use domain::contact::sms_limit_event;
use domain::event::{Event, Format, SYSTEM_SOURCE, SYSTEM_TYPE_PREFIX};
use domain::ids::EventId;
use domain::incident::{Change, DELIVERY_FAILED_TYPE, WINDOW_MISSED_TYPE};
use domain::vocabulary::Severity;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Builds the notice that a day's limit of text messages is used up. A repeated one has the same event id.
pub(super) fn sms_limit_notice(delivery: &Delivery, now: Timestamp) -> IncidentReceived {
    let alert = &delivery.alert;
    let (event_id, event) = sms_limit_event(&alert.tenant, alert.category, now);
    IncidentReceived::system_event(&alert.tenant, event, event_id, &delivery.correlation_id, now)
}

/// Builds the notice, by which the tenant's org admins learn on another channel that a critical alert was given up: one incident for each
/// incident, update, destination and channel. `None` for other severities, for test alerts, and for Tocsin's own system events, so that an
/// undeliverable notice never causes another notice.
pub(super) fn undelivered_notice(delivery: &Delivery, cause: &str, now: Timestamp) -> Option<IncidentReceived> {
    let alert = &delivery.alert;
    let channel = delivery.channel;
    let (sentence, _) = explain_cause(cause);
    let update = alert.update.to_string();
    let parts = [alert.incident_id.as_str(), alert.tenant.as_str(), &update, &delivery.destination, channel.as_str()];
    let notice = Notice {
        event_type: DELIVERY_FAILED_TYPE,
        event_id: EventId::derived(&parts),
        dedup_key: format!("{}:{}:{channel}:{}", alert.incident_id, delivery.destination, alert.update),
        title: format!("Not delivered by {}: {}", channel.title(), alert.title),
        message: format!(
            "The critical alert \"{}\" ({}) could not be delivered to {} by {}. {sentence} (Cause: {cause}.) \
             You receive this notice because you are an organization admin.",
            alert.title,
            alert.incident_id,
            delivery.destination,
            channel.title()
        ),
        cause,
    };
    notice.about(delivery, now)
}

/// Builds the notice that the opening of a critical incident misses the tenant's alert window on one channel, since it is not tried again
/// before `next_at`. `None` if the window lasts longer, for what was held on purpose, for other updates, and where nobody is notified of
/// [undelivered alerts](undelivered_notice) either.
///
/// One incident for each incident and tenant, and at most one event an hour: the notices of its other deliveries have the same id.
pub(super) fn window_missed_notice(
    delivery: &Delivery,
    cause: &str,
    next_at: Timestamp,
    now: Timestamp,
) -> Option<IncidentReceived> {
    let alert = &delivery.alert;
    let is_opening = matches!(alert.change, Change::Opened | Change::SeverityRaised);
    let window = SignedDuration::from_secs(delivery.window_seconds.into());
    let in_time = alert.at.saturating_add(window).is_ok_and(|end| next_at <= end);
    if !is_opening || in_time || delivery.why.held.is_some() || delivery.resend_requested {
        return None;
    }
    let hour = now.as_second().div_euclid(3_600).to_string();
    let notice = Notice {
        event_type: WINDOW_MISSED_TYPE,
        event_id: EventId::derived(&["window_missed", alert.incident_id.as_str(), alert.tenant.as_str(), &hour]),
        dedup_key: format!("{}:window", alert.incident_id),
        title: format!("Late by {}: {}", delivery.channel.title(), alert.title),
        message: format!(
            "The critical alert \"{}\" ({}) has not reached {} by {} within the alert window of {} seconds. It is tried again. \
             You receive this notice because you are an organization admin.",
            alert.title,
            alert.incident_id,
            delivery.destination,
            delivery.channel.title(),
            delivery.window_seconds
        ),
        cause,
    };
    notice.about(delivery, now)
}

/// A notice to the org admins about one delivery of a critical alert.
struct Notice<'a> {
    event_type: &'static str,
    event_id: EventId,
    dedup_key: String,
    title: String,
    message: String,
    cause: &'a str,
}

impl Notice<'_> {
    fn about(self, delivery: &Delivery, now: Timestamp) -> Option<IncidentReceived> {
        let alert = &delivery.alert;
        let category = alert.category?;
        if alert.severity != Severity::Critical || alert.event_type.starts_with(SYSTEM_TYPE_PREFIX) || alert.test {
            return None;
        }
        let labels = BTreeMap::from([
            ("category".to_owned(), category.as_str().to_owned()),
            ("channel".to_owned(), delivery.channel.as_str().to_owned()),
            ("cause".to_owned(), self.cause.to_owned()),
            ("destination".to_owned(), delivery.destination.clone()),
            ("incident_id".to_owned(), alert.incident_id.to_string()),
        ]);
        let event = Event {
            event_type: self.event_type.to_owned(),
            dedup_key: self.dedup_key,
            severity: Severity::Critical,
            title: self.title,
            message: self.message,
            tenant_ids: vec![alert.tenant.clone()],
            labels,
            public: Some(false),
            ..Event::blank(Format::Native, SYSTEM_SOURCE)
        };
        Some(IncidentReceived::system_event(&alert.tenant, event, self.event_id, &delivery.correlation_id, now))
    }
}
