//! System events of the preferences API: a recipient changed a subscription by a link, or a failing endpoint was removed. They go
//! through the queue that all events go through.

use crate::PreferencesApi;
use aws::sqs::OutgoingMessage;
use contracts::queue::IncidentReceived;
use domain::contact::suppression_event;
use domain::event::{Event, Format, SYSTEM_SOURCE};
use domain::health;
use domain::ids::{EventId, TenantId};
use domain::incident::{NAME_REQUESTED_TYPE, UNSUBSCRIBED_TYPE};
use domain::reason::Reason;
use domain::tenant::{Integration, Recipient, Settings};
use domain::vocabulary::{Category, Severity, Status};
use jiff::Timestamp;
use runtime::{clock, ids};

/// What a recipient did with the unsubscribe link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionChange {
    /// The recipient unsubscribed from a topic.
    Unsubscribed,
    /// The recipient subscribed to the topic again.
    Resubscribed,
    /// Somebody asked the admins to unsubscribe an address that several people share.
    UnsubscribeRequested,
}

/// Notifies the org admins of a change. The change is already saved and audited, so a failed send is only logged.
pub(crate) async fn notify_admins(
    app: &PreferencesApi,
    tenant: &TenantId,
    recipient: &Recipient,
    topic: &str,
    change: SubscriptionChange,
) {
    if let Err(error) = send_event(app, &build_notice(tenant, recipient, topic, change, clock::now())).await {
        tracing::error!(%error, %tenant, recipient = %recipient.id, "cannot notify the org admins that a recipient changed a subscription");
    }
}

/// Notifies the org admins that the owner of an address wants no e-mail any more. A failed send is only logged, as in [`notify_admins`].
pub(crate) async fn notify_of_suppression(
    app: &PreferencesApi,
    tenant: &TenantId,
    recipient: &Recipient,
    reason: Reason,
) {
    let event = suppression_event(tenant, recipient, reason, None, "question");
    let event_id = EventId::new(&ids::id_suffix());
    let received = IncidentReceived::system_event(tenant, event, event_id, &ids::id_suffix(), clock::now());
    if let Err(error) = send_event(app, &received).await {
        tracing::error!(%error, %tenant, recipient = %recipient.id, "cannot notify the org admins that an address is suppressed");
    }
}

/// Notifies the platform that a tenant wants names approved. A failed send is only logged: the list of what waits has them.
pub(crate) async fn notify_platform_of_names(app: &PreferencesApi, settings: &Settings) {
    let received = build_name_notice(settings, clock::now());
    if let Err(error) = send_event(app, &received).await {
        tracing::error!(%error, tenant = %settings.tenant, "cannot notify the platform of a name that waits for its approval");
    }
}

fn build_name_notice(settings: &Settings, now: Timestamp) -> IncidentReceived {
    let tenant = &settings.tenant;
    let name = settings.waiting_public_name().map(|name| format!("the public name \u{201c}{name}\u{201d}"));
    let sender = settings.waiting_sender_id().map(|id| format!("the SMS sender id \u{201c}{id}\u{201d}"));
    let wants: Vec<String> = name.into_iter().chain(sender).collect();
    let wants = wants.join(" and ");
    let event = Event {
        event_type: NAME_REQUESTED_TYPE.to_owned(),
        dedup_key: format!("{tenant}:{}:{}", settings.name_requests.day, settings.name_requests.notices),
        severity: Severity::Warning,
        title: format!("{tenant} wants a name approved"),
        message: format!(
            "The tenant {tenant} wants {wants}. Until you approve it, strangers read the tenant's id and text messages have the stack's \
             sender. Approve or decline it in the tenant's settings; GET /v1/name-requests lists everything that waits."
        ),
        tenant_ids: vec![TenantId::operators()],
        labels: [("tenant".to_owned(), tenant.to_string())].into(),
        public: Some(false),
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    };
    IncidentReceived::system_event(
        &TenantId::operators(),
        event,
        EventId::new(&ids::id_suffix()),
        &ids::id_suffix(),
        now,
    )
}

/// Resolves the incident about a failing endpoint after that endpoint was removed. A failed send is only logged.
pub(crate) async fn resolve_endpoint_incident(app: &PreferencesApi, tenant: &TenantId, integration: &Integration) {
    if integration.failing.is_none() {
        return;
    }
    let event = health::endpoint_notice_event(tenant, integration, health::EndpointNotice::Removed, "");
    let received =
        IncidentReceived::system_event(tenant, event, EventId::new(&ids::id_suffix()), &ids::id_suffix(), clock::now());
    if let Err(error) = send_event(app, &received).await {
        tracing::error!(%error, %tenant, integration = %integration.id, "the incident about a removed endpoint could not be resolved");
    }
}

async fn send_event(app: &PreferencesApi, received: &IncidentReceived) -> Result<(), String> {
    let body = serde_json::to_string(received).map_err(|error| error.to_string())?;
    let (group, dedup) = (Some(received.message_group_id()), Some(received.deduplication_id()));
    let outgoing = OutgoingMessage { body, group, dedup, ..OutgoingMessage::default() };
    app.queues.send(&app.classify_queue_url, &outgoing).await.map_err(|error| error.to_string())
}

fn build_notice(
    tenant: &TenantId,
    recipient: &Recipient,
    topic: &str,
    change: SubscriptionChange,
    now: Timestamp,
) -> IncidentReceived {
    // User-level warnings have no category; a notice about one tenant's settings belongs to the configurable one.
    let category = Category::parse(topic).unwrap_or(Category::Configurable);
    let what = Category::parse(topic).map_or("user-level warning", Category::title);
    let name = &recipient.name;
    let (title, message) = match change {
        SubscriptionChange::Unsubscribed => (
            format!("{name} unsubscribed from {what} alerts by e-mail"),
            format!(
                "{name} ({}) no longer gets {what} alerts by e-mail. Only the recipient can subscribe again, with the link in an earlier \
                 message. If somebody else should get these alerts, add a recipient.",
                recipient.id
            ),
        ),
        SubscriptionChange::Resubscribed => {
            (format!("{name} subscribed to {what} alerts by e-mail again"), String::new())
        }
        SubscriptionChange::UnsubscribeRequested => (
            format!("Somebody asked to unsubscribe {name} from {what} alerts by e-mail"),
            format!(
                "{name} ({}) is a shared address, so nothing was changed. Delete the recipient, change its roles, or leave it as it is.",
                recipient.id
            ),
        ),
    };
    let event = Event {
        event_type: UNSUBSCRIBED_TYPE.to_owned(),
        dedup_key: format!("{}:{topic}", recipient.id),
        severity: Severity::Warning,
        title,
        message,
        status: (change == SubscriptionChange::Resubscribed).then_some(Status::Resolved),
        tenant_ids: vec![tenant.clone()],
        labels: [
            ("category".to_owned(), category.as_str().to_owned()),
            ("recipient".to_owned(), recipient.id.to_string()),
        ]
        .into(),
        public: Some(false),
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    };
    IncidentReceived::system_event(tenant, event, EventId::new(&ids::id_suffix()), &ids::id_suffix(), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::http::{Private, RecipientBody};
    use contracts::queue::MessageBody;
    use domain::ids::RecipientId;

    #[test]
    fn a_notice_is_classified_holds_no_address_and_is_resolved_by_resubscribing() {
        let body = RecipientBody {
            name: "Ops".into(),
            email: Some(Private::new("ops@example.com")),
            roles: vec!["org_admin".into()],
            ..RecipientBody::default()
        };
        let recipient = crate::check::recipient::check_recipient(
            &domain::policy::Policy::embedded().unwrap().limits.sms,
            None,
            &RecipientId::new("a"),
            &body,
            crate::check::recipient::ConfirmedFlag::Ignored,
        )
        .unwrap();
        let policy = domain::policy::Policy::embedded().unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let mut keys = Vec::new();
        for (topic, change) in [
            ("infrastructure", SubscriptionChange::Unsubscribed),
            ("infrastructure", SubscriptionChange::Resubscribed),
            ("warnings", SubscriptionChange::UnsubscribeRequested),
        ] {
            let received = build_notice(&tenant, &recipient, topic, change, Timestamp::UNIX_EPOCH);
            let MessageBody::Event(event) = &received.body else { panic!("{received:?}") };
            assert!(matches!(policy.classify(event), domain::classification::Classification::Included(_)), "{topic}");
            assert!(!serde_json::to_string(&received).unwrap().contains("ops@example.com"));
            assert_eq!(event.status == Some(Status::Resolved), change == SubscriptionChange::Resubscribed);
            keys.push(received.message_group_id());
        }
        assert!(keys[0] == keys[1] && keys[0] != keys[2]);
    }
}
