//! Accepted events become messages on classify's queue.

use crate::Intake;
use crate::permissions::integration_id;
use aws::sqs::OutgoingMessage;
use axum::http::StatusCode;
use contracts::queue::{IncidentReceived, MessageBody, VERSION};
use domain::ids::{EventId, Scope, TenantId};
use domain::reason::Reason;
use jiff::Timestamp;
use runtime::http::{Caller, Problem};
use runtime::{clock, metrics};
use std::collections::BTreeSet;

/// The id and time of an accepted event. All messages of one event share them.
pub(crate) struct EventStamp {
    pub(crate) event_id: EventId,
    pub(crate) at: Timestamp,
    pub(crate) correlation_id: String,
}

impl EventStamp {
    /// Builds the message for one scope. `trouble` is why the event cannot be attributed to a tenant.
    pub(crate) fn message(
        &self,
        caller: &Caller,
        scope: Option<Scope>,
        trouble: Option<Reason>,
        body: MessageBody,
    ) -> IncidentReceived {
        IncidentReceived {
            v: VERSION,
            event_id: self.event_id.clone(),
            correlation_id: self.correlation_id.clone(),
            accepted_at: self.at,
            integration_id: integration_id(caller),
            scope,
            unroutable: trouble,
            body,
        }
    }
}

/// Sends all messages to classify's queue, unless the caller's token or its tenant floods it.
///
/// # Errors
/// 503 with Retry-After for a flood, and if any message could not be sent. The caller then sends the request again; of the messages that did
/// arrive there are records.
pub(crate) async fn enqueue(app: &Intake, caller: &Caller, messages: Vec<IncidentReceived>) -> Result<(), Problem> {
    admit(app, caller, &messages).await?;
    let mut outgoing = Vec::with_capacity(messages.len());
    for message in &messages {
        let body = serde_json::to_string(message).map_err(|_| Problem::internal())?;
        outgoing.push(OutgoingMessage {
            body,
            group: Some(message.message_group_id()),
            dedup: Some(message.deduplication_id()),
            ..OutgoingMessage::default()
        });
    }
    app.queues.send_all(&app.config.classify_queue_url, outgoing).await.map_err(|unsent| {
        tracing::error!(error = %unsent, "cannot queue accepted events");
        Problem::unavailable()
    })
}

/// Takes the messages out of the bucket of the caller's token and, if all are about one tenant, of that tenant.
///
/// # Errors
/// 503 with Retry-After if a bucket is in debt. A bucket that cannot be read lets everything in: no alert is refused for a fault of ours.
async fn admit(app: &Intake, caller: &Caller, messages: &[IncidentReceived]) -> Result<(), Problem> {
    let now = messages.first().map_or_else(clock::now, |first| first.accepted_at);
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let limits = app.policy.limits.intake;
    let all_tenants = caller.can_access_all_tenants();
    let token_limit = if all_tenants { limits.all_tenants_token } else { limits.token };
    let tenants: BTreeSet<&TenantId> = messages.iter().filter_map(|one| one.scope.as_ref()?.tenant()).collect();
    let tenant = tenants.first().filter(|_| tenants.len() == 1 && !all_tenants);
    let token_name = ["intake token", caller.token_id.as_str()];
    let let_in = |error: store::StoreError| tracing::warn!(%error, "cannot read a bucket; the request is let in");
    // The token first: what it may not send is not taken from its tenant, whose other tokens would have to wait for it.
    let mut debt =
        app.table.take_from_bucket(&token_name, count, token_limit, now).await.map_err(let_in).unwrap_or(None);
    if let (None, Some(tenant)) = (debt, tenant) {
        let tenant_name = ["intake tenant", tenant.as_str()];
        debt =
            app.table.take_from_bucket(&tenant_name, count, limits.tenant, now).await.map_err(let_in).unwrap_or(None);
        if debt.is_some() {
            app.table.return_to_bucket(&token_name, count, token_limit, now).await.map_err(let_in).unwrap_or(());
        }
    }
    let Some(seconds) = debt else { return Ok(()) };
    metrics::count("IntakeFloodRefused", 1);
    let detail =
        "this token or tenant sends more than it may; send the same request again after the time in Retry-After";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(seconds))
}
