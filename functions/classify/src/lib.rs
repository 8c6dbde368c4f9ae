//! Trigger  `ClassifyQueue` (FIFO, message group = dedup key)
//! Reads    the event's record, the dedup key, the open incident, maintenance windows, the tenant
//! Writes   event record, incident, timeline, dedup key and reminder in one transaction
//! Emits    routing jobs; a warning to the operators about an event that cannot be routed
//! Fails    AWS fault: retried in order. Unprocessable message: dead letter
//! Config   [`config::Config`]
//!
//! A redelivered event finds its record and emits the jobs stored there again: "already done" never means "nothing to do".
//!
//! What it decides, and in which order, is the story in [`pipeline::classify`].

pub mod config;

use aws::sqs::{OutgoingMessage, Queues};
use config::Config;
use contracts::queue::{FollowUpJob, IncidentReceived, Lane};
use domain::ids::IncidentId;
use domain::incident::{Incident, KeyState, Update};
use domain::policy::Policy;
use pipeline::classify::{Classify as Story, Commit, Emit, ReadKey, ReadReminder, begin};
use pipeline::turn::Classified;
use pipeline::{Answer, Counted, Fault, Turn};
use runtime::queue::{
    Deadline, QueueFunction, QueueSetup, RecordError, RecordMeta, first_turn, next_turn, verdict_result,
};
use runtime::{Aws, StartError, metrics};
use store::incidents::{IncidentChange, KeyWrite};
use store::{StoreError, Table};

/// The Lambda function `classify`.
#[derive(Debug)]
pub struct ClassifyFunction {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

impl QueueFunction for ClassifyFunction {
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

    async fn handle(&self, message: IncidentReceived, meta: &RecordMeta) -> Result<(), RecordError> {
        let mut turn = first_turn(meta);
        let mut story = begin(message, self.config.shards_per_job);
        loop {
            turn.counted.drain(..).for_each(|counted| record(&counted));
            story = match story {
                Story::End(verdict) => return verdict_result(verdict),
                step => self.perform(step, &mut turn, meta.deadline).await,
            };
        }
    }
}

impl ClassifyFunction {
    /// Performs the next effect of a message, and tells the story what came of it.
    async fn perform(&self, story: Story, turn: &mut Turn, deadline: Deadline) -> Story {
        let policy = &self.policy;
        match story {
            Story::Record(step) => {
                let record = self.table.event(&step.message().event_id, step.scope()).await.map_err(fault);
                step.answered(record, policy, next_turn(turn, deadline))
            }
            Story::Tenant(step) => {
                let settings = self.table.settings(step.tenant()).await.map_err(fault);
                step.answered(settings.map(|settings| settings.is_some()), policy, next_turn(turn, deadline))
            }
            Story::Key(step) => {
                let found = self.read_key(&step).await;
                step.answered(found, policy, next_turn(turn, deadline))
            }
            Story::Incident(step) => {
                let incident = self.read_incident(step.id()).await;
                step.answered(incident, policy, next_turn(turn, deadline))
            }
            Story::Reminder(step) => {
                let found = self.read_maintenance(&step).await;
                step.answered(found, policy, next_turn(turn, deadline))
            }
            Story::Windows(step) => {
                let windows = self.table.maintenance_windows(step.scope()).await.map_err(fault);
                step.answered(windows, policy, next_turn(turn, deadline))
            }
            Story::Commit(step) => {
                let written = self.commit(&step).await;
                step.answered(written, next_turn(turn, deadline))
            }
            Story::Emit(step) => {
                let sent = self.emit(&step).await;
                step.answered(sent, next_turn(turn, deadline))
            }
            Story::End(_) => story,
        }
    }

    /// Reads the state of a dedup key and its open incident.
    async fn read_key(&self, step: &ReadKey) -> Answer<(Option<KeyState>, Option<Incident>)> {
        let key_state = self.table.key_state(step.scope(), step.key()).await.map_err(fault)?;
        let open = match key_state.as_ref().filter(|state| state.open) {
            Some(state) => self.read_incident(&state.incident_id).await?,
            None => None,
        };
        Ok((key_state, open))
    }

    async fn read_incident(&self, id: &IncidentId) -> Answer<Option<Incident>> {
        self.table.incident(id).await.map_err(fault)
    }

    /// Reads the maintenance of a reminder, and the update that it was scheduled with.
    async fn read_maintenance(&self, step: &ReadReminder) -> Answer<(Option<Incident>, Option<Update>)> {
        let reminder = step.reminder();
        match self.read_incident(&reminder.incident_id).await? {
            None => Ok((None, None)),
            Some(incident) => {
                let update = self.table.update(&incident.id, reminder.update).await.map_err(fault)?;
                Ok((Some(incident), update))
            }
        }
    }

    /// Writes the decision in one transaction. Returns `false` if another message changed the same incident first.
    async fn commit(&self, step: &Commit) -> Answer<bool> {
        let decision = step.decision();
        let early_resolve = decision.early_resolve.as_ref().zip(decision.record.scope.as_ref());
        let change = IncidentChange {
            record: &decision.record,
            record_write: decision.record_write,
            head: decision.head.as_ref().map(|(incident, replaced_version)| (incident, *replaced_version)),
            update: decision.update.as_ref(),
            suppressed_incidents: &decision.suppressed,
            reminder: step.reminder(),
            previous_key_state: decision.previous_key_state.as_ref(),
            key_without_incident: early_resolve.map(|((hash, state), scope)| KeyWrite { scope, hash, state }),
            list_entry: decision.list_entry.as_ref(),
        };
        self.table.record_change(&change).await.map_err(fault)
    }

    /// Sends jobs to their queues.
    async fn emit(&self, step: &Emit) -> Answer<()> {
        for job in step.jobs() {
            let (url, group, dedup, body) = match job {
                FollowUpJob::Route(route) => {
                    let url = match route.lane() {
                        Lane::Urgent => &self.config.subscription_lookup_queue_url,
                        Lane::Bulk => &self.config.subscription_lookup_bulk_queue_url,
                    };
                    (url, route.message_group_id(), route.deduplication_id(), serde_json::to_string(route))
                }
                FollowUpJob::Receive(received) => {
                    let url = &self.config.classify_queue_url;
                    (url, received.message_group_id(), received.deduplication_id(), serde_json::to_string(received))
                }
            };
            let body = body.map_err(|_| Fault::Unprocessable { reason: "cannot serialize a job".to_owned() })?;
            let outgoing =
                OutgoingMessage { body, group: Some(group), dedup: Some(dedup), ..OutgoingMessage::default() };
            let sent = self.queues.send(url, &outgoing).await;
            sent.map_err(|error| runtime::queue::aws_error(error).into_fault())?;
        }
        Ok(())
    }
}

fn fault(error: StoreError) -> Fault {
    runtime::queue::store_error(error).into_fault()
}

/// Counts what the story counted.
fn record(counted: &Counted) {
    match counted {
        Counted::Classified { outcome: Classified::Included } => metrics::count("IncidentClassified", 1),
        Counted::Classified { outcome: Classified::Repeated } => metrics::count("IncidentRepeated", 1),
        Counted::Classified { outcome: Classified::Excluded } => metrics::count("IncidentExcluded", 1),
        Counted::Classified { outcome: Classified::Unclassified } => metrics::count("IncidentUnclassified", 1),
        _ => {}
    }
}
