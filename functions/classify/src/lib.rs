//! Trigger  `ClassifyQueue` (FIFO, message group = dedup key)
//! Reads    the event's record, the dedup key, the open incident, maintenance windows, the tenant
//! Writes   event record, incident, timeline, dedup key and reminder in one transaction
//! Emits    routing jobs; a warning to the operators about an event that cannot be routed
//! Fails    AWS fault: retried in order. Unprocessable message: dead letter
//! Config   [`config::Config`]
//!
//! A redelivered event finds its record and emits the jobs stored there again: "already done" never means "nothing to do".

pub mod config;
mod decide;

use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::{FollowUpJob, IncidentReceived, MessageBody};
use decide::ClassifyDecision;
use domain::event_record::EventRecord;
use domain::ids::{IncidentId, Scope};
use domain::incident::{EventArrival, Incident, KeyState, ReminderContent};
use domain::maintenance::{MaintenanceWindow, Reminder};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::vocabulary::Status;
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError, clock, metrics};
use store::Table;
use store::incidents::{IncidentChange, KeyWrite};

/// The Lambda function `classify`.
#[derive(Debug)]
pub struct Classify {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// Number of times that a lost race is decided again before the message returns to its queue.
const LOST_RACES_MAX: usize = 5;

impl QueueFunction for Classify {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type Message = IncidentReceived;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        Ok(Self {
            policy: Policy::embedded().map_err(StartError::new)?,
            table,
            queues: Queues::new(aws.config()),
            config,
        })
    }

    fn setup(&self) -> QueueSetup {
        QueueSetup::fifo(&self.config.dead_letter_queue_url, &[&self.config.classify_queue_url])
    }

    async fn handle(&self, message: IncidentReceived, _meta: &RecordMeta) -> Result<(), RecordError> {
        for _ in 0..LOST_RACES_MAX {
            if let Some(record) = self.read_event_record(&message, message.scope.as_ref()).await? {
                return self.emit_jobs(&record).await;
            }
            let decision = self.decide(&message).await?;
            // Events that cannot be routed are stored without a scope. Another tenant's part of the same event may be stored there; it
            // does not mean that this part is done.
            if decision.record.scope != message.scope
                && let Some(record) = self.read_event_record(&message, decision.record.scope.as_ref()).await?
            {
                return self.emit_jobs(&record).await;
            }
            let updated = decision.head.as_ref().filter(|_| decision.update.is_some());
            let reminder = updated.and_then(|(incident, _)| {
                incident.schedule_reminder(
                    self.policy.maintenance.reminder_lead_time(),
                    &message.correlation_id,
                    message.accepted_at,
                )
            });
            let change = IncidentChange {
                record: &decision.record,
                head: decision.head.as_ref().map(|(incident, replaced_version)| (incident, *replaced_version)),
                update: decision.update.as_ref(),
                suppressed_incidents: &decision.suppressed,
                reminder: reminder.as_ref(),
                previous_key_state: decision.previous_key_state.as_ref(),
                key_without_incident: decision
                    .early_resolve
                    .as_ref()
                    .zip(decision.record.scope.as_ref())
                    .map(|((hash, state), scope)| KeyWrite { scope, hash, state }),
                list_entry: decision.list_entry.as_ref(),
            };
            if self.table.record_change(&change).await.map_err(runtime::queue::store_error)? {
                count_event(&decision.record);
                return self.emit_jobs(&decision.record).await;
            }
        }
        Err(RecordError::retry("race", "another message changed the same incident first, five times in a row"))
    }
}

impl Classify {
    /// Reads the maintenance windows if they matter: for an event that opens an incident, or one on a suppressed incident.
    async fn read_maintenance_windows(
        &self,
        scope: &Scope,
        before: Option<&Incident>,
        opens: bool,
    ) -> Result<Vec<MaintenanceWindow>, RecordError> {
        if !opens && before.is_none_or(|incident| incident.covered.is_none()) {
            return Ok(Vec::new());
        }
        self.table.maintenance_windows(scope).await.map_err(runtime::queue::store_error)
    }

    /// Reads the record that an earlier delivery of the same event stored.
    async fn read_event_record(
        &self,
        message: &IncidentReceived,
        scope: Option<&Scope>,
    ) -> Result<Option<EventRecord>, RecordError> {
        self.table.event(&message.event_id, scope).await.map_err(runtime::queue::store_error)
    }

    /// Reads what the message depends on and decides about it.
    async fn decide(&self, message: &IncidentReceived) -> Result<ClassifyDecision, RecordError> {
        let unroutable = match (&message.unroutable, &message.scope) {
            (Some(reason), _) => Some(*reason),
            (None, None) => Some(Reason::TenantMissing),
            // The maintenance was routed when it was announced. A deleted tenant has nobody left to notify.
            (None, Some(_)) if matches!(message.body, MessageBody::Reminder(_)) => None,
            (None, Some(Scope::Tenant(tenant))) => {
                let known = self.table.settings(tenant).await.map_err(runtime::queue::store_error)?.is_some();
                (!known).then_some(Reason::TenantUnknown)
            }
            (None, Some(Scope::Platform)) => None,
        };
        let scope = match (unroutable, &message.scope) {
            (None, Some(scope)) => scope.clone(),
            _ => return Ok(decide::decide_unroutable(message, unroutable.unwrap_or(Reason::TenantMissing))),
        };
        match &message.body {
            MessageBody::Event(event) => {
                let key =
                    domain::incident::hash_dedup_key(&scope, &message.integration_id, &event.source, &event.dedup_key);
                let (key_state, open) = self.read_key(&scope, &key).await?;
                let arrival = arrival(message, &scope, &key);
                let shards = self.config.shards_per_job;
                // A maintenance may suppress an incident that opens. A suppressed incident may have become worse.
                let opens = open.is_none() && event.status != Some(Status::Resolved);
                let windows = self.read_maintenance_windows(&scope, open.as_ref(), opens).await?;
                let context = decide::KeyContext { key_state, open: open.as_ref(), windows: &windows };
                Ok(decide::decide_event(&self.policy, event, message, &arrival, context, shards))
            }
            MessageBody::Note(note) => {
                let key =
                    domain::incident::hash_dedup_key(&scope, &message.integration_id, &note.source, &note.dedup_key);
                let (_, open) = self.read_key(&scope, &key).await?;
                let windows = self.read_maintenance_windows(&scope, open.as_ref(), false).await?;
                let arrival = arrival(message, &scope, &key);
                Ok(decide::decide_note(note, open.as_ref(), &windows, message, &arrival, self.config.shards_per_job))
            }
            MessageBody::Reminder(reminder) => self.decide_reminder(message, reminder).await,
            MessageBody::Update { incident_id, status, message: text, .. } => {
                let incident = self.read_incident(incident_id).await?;
                let windows = self.read_maintenance_windows(&incident.scope, Some(&incident), false).await?;
                let arrival = arrival(message, &incident.scope, &incident.key);
                Ok(decide::decide_update(
                    &incident,
                    &windows,
                    *status,
                    text,
                    message,
                    &arrival,
                    self.config.shards_per_job,
                ))
            }
        }
    }

    /// Decides about a due reminder. A maintenance that was canceled long ago may have expired from the table.
    async fn decide_reminder(
        &self,
        message: &IncidentReceived,
        reminder: &Reminder,
    ) -> Result<ClassifyDecision, RecordError> {
        let Some(incident) = self.table.incident(&reminder.incident_id).await.map_err(runtime::queue::store_error)?
        else {
            return Ok(decide::decide_expired_reminder(message, reminder));
        };
        let update = self.table.update(&incident.id, reminder.update).await.map_err(runtime::queue::store_error)?;
        let arrival = arrival(message, &incident.scope, &incident.key);
        let content = ReminderContent { update_number: reminder.update, update: update.as_ref() };
        Ok(decide::decide_reminder(&incident, content, message, &arrival, clock::now(), self.config.shards_per_job))
    }

    /// Reads the state of a dedup key and its open incident.
    async fn read_key(&self, scope: &Scope, key: &str) -> Result<(Option<KeyState>, Option<Incident>), RecordError> {
        let key_state = self.table.key_state(scope, key).await.map_err(runtime::queue::store_error)?;
        let open = match key_state.as_ref().filter(|state| state.open) {
            Some(state) => Some(self.read_incident(&state.incident_id).await?),
            None => None,
        };
        Ok((key_state, open))
    }

    async fn read_incident(&self, id: &IncidentId) -> Result<Incident, RecordError> {
        let incident = self.table.incident(id).await.map_err(runtime::queue::store_error)?;
        incident.ok_or_else(|| RecordError::unprocessable("the incident of this message is not in the table"))
    }

    /// Sends the jobs of a stored record to their queues.
    async fn emit_jobs(&self, record: &EventRecord) -> Result<(), RecordError> {
        for job in &record.jobs {
            let job: FollowUpJob =
                serde_json::from_str(job).map_err(|_| RecordError::unprocessable("cannot read a stored job"))?;
            let (url, group, dedup, body) = match &job {
                FollowUpJob::Route(route) => {
                    let body = serde_json::to_string(route);
                    (
                        &self.config.subscription_lookup_queue_url,
                        route.message_group_id(),
                        route.deduplication_id(),
                        body,
                    )
                }
                FollowUpJob::Receive(received) => {
                    let body = serde_json::to_string(received);
                    (&self.config.classify_queue_url, received.message_group_id(), received.deduplication_id(), body)
                }
            };
            let body = body.map_err(|_| RecordError::unprocessable("cannot serialize a job"))?;
            let outgoing =
                OutgoingMessage { body, group: Some(group), dedup: Some(dedup), ..OutgoingMessage::default() };
            self.queues.send(url, &outgoing).await.map_err(runtime::queue::aws_error)?;
        }
        Ok(())
    }
}

fn arrival<'a>(message: &'a IncidentReceived, scope: &'a Scope, key: &'a str) -> EventArrival<'a> {
    EventArrival {
        event_id: &message.event_id,
        scope,
        key,
        integration_id: &message.integration_id,
        correlation_id: &message.correlation_id,
        accepted_at: message.accepted_at,
    }
}

/// Counts the event by its classification.
fn count_event(record: &EventRecord) {
    match record.classification.as_str() {
        "excluded" => metrics::count("IncidentExcluded", 1),
        "unclassified" => metrics::count("IncidentUnclassified", 1),
        _ if record.reason.is_some() => metrics::count("IncidentRepeated", 1),
        _ => metrics::count("IncidentClassified", 1),
    }
}
