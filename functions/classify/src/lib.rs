//! Trigger  `ClassifyQueue` (FIFO, one group an incident key)
//! Reads    the event's record, the key, the open incident, the tenant
//! Writes   event, incident, timeline, key and what is to be reminded of in one transaction
//! Emits    routing jobs; a note to the operators about what nobody can place
//! Fails    AWS fault: retried in order. Poison: dead letter
//! Config   [`config::Config`]
//!
//! A redelivered event finds its record and emits the jobs stored there again: "already done" never means "nothing to do".

pub mod config;
mod decide;

use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::{FollowUpJob, IncidentReceived, MessageBody};
use decide::Decided;
use domain::ids::{IncidentId, Scope};
use domain::incident::{EventArrival, Incident, KeyState};
use domain::maintenance::{MaintenanceWindow, Reminder};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::vocabulary::Status;
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError, clock, metrics};
use store::Table;
use store::events::EventRecord;
use store::incidents::IncidentChange;

/// The function.
#[derive(Debug)]
pub struct Classify {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// How often a lost race is decided again before the record goes back to its queue.
const RACES: usize = 5;

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
        for _ in 0..RACES {
            if let Some(record) = self.recorded(&message, message.scope.as_ref()).await? {
                return self.emit(&record).await;
            }
            let decided = self.decide(&message).await?;
            // What cannot be placed is stored under no scope. Another tenant's part of the same event may stand there, and says
            // nothing about this one.
            if decided.record.scope != message.scope
                && let Some(record) = self.recorded(&message, decided.record.scope.as_ref()).await?
            {
                return self.emit(&record).await;
            }
            let spoken = decided.head.as_ref().filter(|_| decided.update.is_some());
            let reminder = spoken.and_then(|(incident, _)| {
                incident.schedule_reminder(
                    self.policy.maintenance.reminder_lead_time(),
                    &message.correlation_id,
                    message.accepted_at,
                )
            });
            let change = IncidentChange {
                record: &decided.record,
                head: decided.head.as_ref().map(|(incident, before)| (incident, *before)),
                update: decided.update.as_ref(),
                suppressed_incidents: &decided.explained,
                reminder: reminder.as_ref(),
                previous_key_state: decided.key_before.as_ref(),
                key_without_incident: decided
                    .key_alone
                    .as_ref()
                    .zip(decided.record.scope.as_ref())
                    .map(|((key, state), scope)| (scope, key.as_str(), state)),
                list_entry: decided.seen.as_ref(),
            };
            if self.table.record_change(&change).await.map_err(runtime::queue::store_error)? {
                count(&decided.record);
                return self.emit(&decided.record).await;
            }
        }
        Err(RecordError::retry("race", "another writer was first five times"))
    }
}

impl Classify {
    /// The hours of announced work, where they matter: it explains what opens, and may explain what it explained.
    async fn windows(
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

    async fn recorded(
        &self,
        message: &IncidentReceived,
        scope: Option<&Scope>,
    ) -> Result<Option<EventRecord>, RecordError> {
        self.table.event(&message.event_id, scope).await.map_err(runtime::queue::store_error)
    }

    async fn decide(&self, message: &IncidentReceived) -> Result<Decided, RecordError> {
        let trouble = match (&message.unroutable, &message.scope) {
            (Some(reason), _) => Some(*reason),
            (None, None) => Some(Reason::TenantMissing),
            // The work was placed when it was announced; of a tenant that is gone nobody is left to be told.
            (None, Some(_)) if matches!(message.body, MessageBody::Reminder(_)) => None,
            (None, Some(Scope::Tenant(tenant))) => {
                let known = self.table.settings(tenant).await.map_err(runtime::queue::store_error)?.is_some();
                (!known).then_some(Reason::TenantUnknown)
            }
            (None, Some(Scope::Platform)) => None,
        };
        let scope = match (trouble, &message.scope) {
            (None, Some(scope)) => scope.clone(),
            _ => return Ok(decide::unplaced(message, trouble.unwrap_or(Reason::TenantMissing))),
        };
        match &message.body {
            MessageBody::Event(event) => {
                let key =
                    domain::incident::hash_dedup_key(&scope, &message.integration_id, &event.source, &event.dedup_key);
                let (remembered, open) = self.remembered(&scope, &key).await?;
                let arrival = arrival(message, &scope, &key);
                let shards = self.config.shards_per_job;
                // Announced work explains what opens; what it once explained may have become worse.
                let opens = open.is_none() && event.status != Some(Status::Resolved);
                let windows = self.windows(&scope, open.as_ref(), opens).await?;
                let known = decide::Known { remembered, open: open.as_ref(), windows: &windows };
                Ok(decide::event(&self.policy, event, message, &arrival, known, shards))
            }
            MessageBody::Note(note) => {
                let key =
                    domain::incident::hash_dedup_key(&scope, &message.integration_id, &note.source, &note.dedup_key);
                let (_, open) = self.remembered(&scope, &key).await?;
                let windows = self.windows(&scope, open.as_ref(), false).await?;
                let arrival = arrival(message, &scope, &key);
                Ok(decide::note(note, (open.as_ref(), &windows), message, &arrival, self.config.shards_per_job))
            }
            MessageBody::Reminder(reminder) => self.reminded(message, reminder).await,
            MessageBody::Update { incident_id, status, message: words, .. } => {
                let incident = self.head(incident_id).await?;
                let windows = self.windows(&incident.scope, Some(&incident), false).await?;
                let arrival = arrival(message, &incident.scope, &incident.key);
                Ok(decide::update((&incident, &windows), *status, words, message, &arrival, self.config.shards_per_job))
            }
        }
    }

    /// It is time to remind of announced work. What was called off long ago is not kept any more.
    async fn reminded(&self, message: &IncidentReceived, reminder: &Reminder) -> Result<Decided, RecordError> {
        let Some(incident) = self.table.incident(&reminder.incident_id).await.map_err(runtime::queue::store_error)?
        else {
            return Ok(decide::forgotten(message, reminder));
        };
        let said = self.table.update(&incident.id, reminder.update).await.map_err(runtime::queue::store_error)?;
        let arrival = arrival(message, &incident.scope, &incident.key);
        let (again, now) = ((reminder.update, said.as_ref()), clock::now());
        Ok(decide::reminder(&incident, again, message, &arrival, now, self.config.shards_per_job))
    }

    /// What a key remembers, and the incident that is open on it.
    async fn remembered(&self, scope: &Scope, key: &str) -> Result<(Option<KeyState>, Option<Incident>), RecordError> {
        let remembered = self.table.key_state(scope, key).await.map_err(runtime::queue::store_error)?;
        let open = match remembered.as_ref().filter(|state| state.open) {
            Some(state) => Some(self.head(&state.incident_id).await?),
            None => None,
        };
        Ok((remembered, open))
    }

    async fn head(&self, id: &IncidentId) -> Result<Incident, RecordError> {
        let incident = self.table.incident(id).await.map_err(runtime::queue::store_error)?;
        incident.ok_or_else(|| RecordError::unprocessable("the incident that this is about is not in the table"))
    }

    async fn emit(&self, record: &EventRecord) -> Result<(), RecordError> {
        for job in &record.jobs {
            let job: FollowUpJob = serde_json::from_value(job.clone())
                .map_err(|_| RecordError::unprocessable("a stored routing job cannot be read"))?;
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
            let body = body.map_err(|_| RecordError::unprocessable("a routing job cannot be written"))?;
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

/// One count for what became of the event, named for the question that a user asks.
fn count(record: &EventRecord) {
    match record.classification.as_str() {
        "excluded" => metrics::count("IncidentExcluded", 1),
        "unclassified" => metrics::count("IncidentUnclassified", 1),
        _ if record.reason.is_some() => metrics::count("IncidentRepeated", 1),
        _ => metrics::count("IncidentClassified", 1),
    }
}
