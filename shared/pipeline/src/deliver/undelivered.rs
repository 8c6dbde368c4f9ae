//! The notices about what is not delivered: a critical alert that was given up, text messages that a limit holds back.

use contracts::queue::{Delivery, IncidentReceived};
use domain::attempt::explain_cause;
use domain::contact::sms_limit_event;
use domain::event::{Event, Format, SYSTEM_SOURCE, SYSTEM_TYPE_PREFIX};
use domain::ids::EventId;
use domain::incident::DELIVERY_FAILED_TYPE;
use domain::vocabulary::Severity;
use jiff::Timestamp;
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
    let category = alert.category?;
    if alert.severity != Severity::Critical || alert.event_type.starts_with(SYSTEM_TYPE_PREFIX) || alert.test {
        return None;
    }
    let channel = delivery.channel;
    let labels = BTreeMap::from([
        ("category".to_owned(), category.as_str().to_owned()),
        ("channel".to_owned(), channel.as_str().to_owned()),
        ("cause".to_owned(), cause.to_owned()),
        ("destination".to_owned(), delivery.destination.clone()),
        ("incident_id".to_owned(), alert.incident_id.to_string()),
    ]);
    let (sentence, _) = explain_cause(cause);
    let event = Event {
        event_type: DELIVERY_FAILED_TYPE.to_owned(),
        dedup_key: format!("{}:{}:{channel}:{}", alert.incident_id, delivery.destination, alert.update),
        severity: Severity::Critical,
        title: format!("Not delivered by {}: {}", channel.title(), alert.title),
        message: format!(
            "The critical alert \"{}\" ({}) could not be delivered to {} by {}. {sentence} (Cause: {cause}.) \
             You receive this notice because you are an organization admin.",
            alert.title,
            alert.incident_id,
            delivery.destination,
            channel.title()
        ),
        tenant_ids: vec![alert.tenant.clone()],
        labels,
        public: Some(false),
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    };
    let update = alert.update.to_string();
    let parts = [alert.incident_id.as_str(), alert.tenant.as_str(), &update, &delivery.destination, channel.as_str()];
    Some(IncidentReceived::system_event(&alert.tenant, event, EventId::derived(&parts), &delivery.correlation_id, now))
}
