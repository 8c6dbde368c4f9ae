//! The story of a received event, update, note or reminder: what it does to an incident, in one transaction, and the jobs that follow.
//!
//! A redelivered message finds its record and emits the jobs stored there again: "already done" never means "nothing to do". An event that
//! its source sends again is known by another time of acceptance: it is counted, and emits nothing. A lost race is decided again.
//!
//! | Module | Has |
//! |---|---|
//! | [`decide`] | what a message does |

pub mod decide;
#[cfg(test)]
mod tests;

use crate::turn::{Answer, Classified, Counted, Turn, Verdict};
use contracts::queue::{FollowUpJob, IncidentReceived, MessageBody};
use decide::{ClassifyDecision, KeyContext, WindowRules};
use domain::event_record::{EventRecord, EventRecordWrite};
use domain::ids::{IncidentId, Scope, TenantId};
use domain::incident::{EventArrival, Incident, KeyState, ReminderContent, Update, hash_dedup_key};
use domain::maintenance::{MaintenanceWindow, Reminder};
use domain::policy::Policy;
use domain::reason::Reason;
use domain::vocabulary::Status;
use jiff::Timestamp;

/// Number of times that a lost race is decided again before the message returns to its queue.
const LOST_RACES_MAX: usize = 5;

/// The next effect of a message.
#[must_use]
#[derive(Debug)]
pub enum Classify {
    /// Read the record that an earlier delivery of the same event stored.
    Record(Box<ReadRecord>),
    /// Read whether a tenant exists.
    Tenant(Box<CheckTenant>),
    /// Read the state of a dedup key and its open incident.
    Key(Box<ReadKey>),
    /// Read the incident of an update.
    Incident(Box<ReadIncident>),
    /// Read the maintenance of a reminder.
    Reminder(Box<ReadReminder>),
    /// Read the maintenance windows that may suppress the incident.
    Windows(Box<ReadWindows>),
    /// Write everything in one transaction.
    Commit(Box<Commit>),
    /// Send jobs to their queues.
    Emit(Box<Emit>),
    /// Nothing: the story is over.
    End(Verdict),
}

/// The message, and how often it was decided.
#[derive(Debug)]
struct Job {
    message: IncidentReceived,
    shards_per_job: u16,
    lost_races: usize,
    /// When the same event was accepted before, if its source sends it again.
    earlier: Option<Timestamp>,
}

/// What was found under a message's dedup key.
#[derive(Debug)]
struct Found {
    scope: Scope,
    key: String,
    key_state: Option<KeyState>,
    open: Option<Incident>,
}

/// Reads the record that an earlier delivery of the same event stored.
#[derive(Debug)]
pub struct ReadRecord {
    job: Job,
    scope: Option<Scope>,
    /// What was decided, if the record is looked for under the decision's scope.
    decided: Option<ClassifyDecision>,
}

/// Reads whether a tenant exists.
#[derive(Debug)]
pub struct CheckTenant {
    job: Job,
    tenant: TenantId,
}

/// Reads the state of a dedup key and its open incident.
#[derive(Debug)]
pub struct ReadKey {
    job: Job,
    scope: Scope,
    key: String,
}

/// Reads the incident of an update.
#[derive(Debug)]
pub struct ReadIncident {
    job: Job,
    id: IncidentId,
}

/// Reads the maintenance of a reminder.
#[derive(Debug)]
pub struct ReadReminder {
    job: Job,
    reminder: Reminder,
}

/// Reads the maintenance windows that may suppress the incident.
#[derive(Debug)]
pub struct ReadWindows {
    job: Job,
    found: Found,
}

/// Writes everything in one transaction.
#[derive(Debug)]
pub struct Commit {
    job: Job,
    decision: ClassifyDecision,
    reminder: Option<Reminder>,
}

/// Sends jobs to their queues.
#[derive(Debug)]
pub struct Emit {
    jobs: Vec<FollowUpJob>,
}

/// Begins the story of a message. A platform-wide update is routed in jobs of `shards_per_job` shards.
pub fn begin(message: IncidentReceived, shards_per_job: u16) -> Classify {
    look_for_record(Job { message, shards_per_job, lost_races: 0, earlier: None })
}

fn look_for_record(job: Job) -> Classify {
    let scope = job.message.scope.clone();
    Classify::Record(Box::new(ReadRecord { job, scope, decided: None }))
}

fn park(reason: &str) -> Classify {
    Classify::End(Verdict::Park { reason: reason.to_owned() })
}

/// The jobs of a stored record.
fn emit(record: &EventRecord) -> Classify {
    match record.jobs.iter().map(|job| serde_json::from_str(job)).collect::<Result<Vec<FollowUpJob>, _>>() {
        Ok(jobs) if jobs.is_empty() => Classify::End(Verdict::Delete),
        Ok(jobs) => Classify::Emit(Box::new(Emit { jobs })),
        Err(_) => park("cannot read a stored job"),
    }
}

impl Job {
    fn arrival<'a>(&'a self, scope: &'a Scope, key: &'a str) -> EventArrival<'a> {
        let message = &self.message;
        EventArrival {
            event_id: &message.event_id,
            scope,
            key,
            integration_id: &message.integration_id,
            correlation_id: &message.correlation_id,
            accepted_at: message.accepted_at,
        }
    }

    /// Finds out whether the message can be routed.
    fn check_scope(self, policy: &Policy) -> Classify {
        if let Some(reason) = self.message.unroutable {
            return self.unroutable(reason, policy);
        }
        match &self.message.scope {
            None => self.unroutable(Reason::TenantMissing, policy),
            // The maintenance was routed when it was announced. A deleted tenant has nobody left to notify.
            Some(_) if matches!(self.message.body, MessageBody::Reminder(_)) => self.read_what_it_is_about(policy),
            Some(Scope::Tenant(tenant)) => {
                let tenant = tenant.clone();
                Classify::Tenant(Box::new(CheckTenant { job: self, tenant }))
            }
            Some(Scope::Platform) => self.read_what_it_is_about(policy),
        }
    }

    fn unroutable(self, reason: Reason, policy: &Policy) -> Classify {
        let decision = decide::decide_unroutable(&self.message, reason);
        self.decided(decision, policy)
    }

    fn read_what_it_is_about(self, policy: &Policy) -> Classify {
        let Some(scope) = self.message.scope.clone() else { return self.unroutable(Reason::TenantMissing, policy) };
        let hash = |source: &str, key: &str| hash_dedup_key(&scope, &self.message.integration_id, source, key);
        let key = match &self.message.body {
            MessageBody::Event(event) => hash(&event.source, &event.dedup_key),
            MessageBody::Note(note) => hash(&note.source, &note.dedup_key),
            MessageBody::Reminder(reminder) => {
                let reminder = reminder.clone();
                return Classify::Reminder(Box::new(ReadReminder { job: self, reminder }));
            }
            MessageBody::Update { incident_id, .. } => {
                let id = incident_id.clone();
                return Classify::Incident(Box::new(ReadIncident { job: self, id }));
            }
        };
        Classify::Key(Box::new(ReadKey { job: self, scope, key }))
    }

    /// Goes on with what was found: reads the maintenance windows if they matter. A maintenance may suppress an incident that opens, and a
    /// suppressed incident may have become worse.
    fn found(self, found: Found, policy: &Policy) -> Classify {
        let opens = match &self.message.body {
            MessageBody::Event(event) => found.open.is_none() && event.status != Some(Status::Resolved),
            _ => false,
        };
        let suppressed = found.open.as_ref().is_some_and(|incident| incident.covered.is_some());
        if opens || suppressed {
            return Classify::Windows(Box::new(ReadWindows { job: self, found }));
        }
        self.decide(found, &[], policy)
    }

    fn decide(self, found: Found, windows: &[MaintenanceWindow], policy: &Policy) -> Classify {
        let Found { scope, key, key_state, open } = found;
        let (message, shards) = (&self.message, self.shards_per_job);
        let arrival = self.arrival(&scope, &key);
        let suppression = WindowRules { windows, covered_max: policy.maintenance.covered_max() };
        let decision = match (&message.body, &open) {
            (MessageBody::Event(event), open) => {
                let context = KeyContext { key_state, open: open.as_ref(), windows };
                decide::decide_event(policy, event, message, &arrival, context, shards)
            }
            (MessageBody::Note(note), open) => {
                decide::decide_note(note, open.as_ref(), suppression, message, &arrival, shards)
            }
            (MessageBody::Update { status, message: text, .. }, Some(incident)) => {
                decide::decide_update(incident, suppression, *status, text, message, &arrival, shards)
            }
            (MessageBody::Update { .. }, None) | (MessageBody::Reminder(_), _) => {
                return park("the incident of this message is not in the table");
            }
        };
        self.decided(decision, policy)
    }

    fn decided(self, decision: ClassifyDecision, policy: &Policy) -> Classify {
        // Events that cannot be routed are stored without a scope. Another tenant's part of the same event may be stored there; it does not
        // mean that this part is done.
        if decision.record.scope != self.message.scope {
            let scope = decision.record.scope.clone();
            return Classify::Record(Box::new(ReadRecord { job: self, scope, decided: Some(decision) }));
        }
        self.commit(decision, policy)
    }

    /// Whether the message's event reports a state, which its source does again and again.
    fn repeats_state(&self) -> bool {
        matches!(&self.message.body, MessageBody::Event(event) if event.format.repeats_state())
    }

    fn commit(self, decision: ClassifyDecision, policy: &Policy) -> Classify {
        let record_write = match (self.earlier, &decision.head, &decision.update) {
            (None, _, _) => EventRecordWrite::New,
            (Some(accepted_at), _, Some(_)) => EventRecordWrite::Replace { accepted_at },
            (Some(_), Some(_), None) => EventRecordWrite::Keep,
            // Nothing changes, and the first one's record says why.
            (Some(_), None, None) => return Classify::End(Verdict::Delete),
        };
        let decision = ClassifyDecision { record_write, ..decision };
        let updated = decision.head.as_ref().filter(|_| decision.update.is_some());
        let reminder = updated.and_then(|(incident, _)| {
            let lead_time = policy.maintenance.reminder_lead_time();
            incident.schedule_reminder(lead_time, &self.message.correlation_id, self.message.accepted_at)
        });
        Classify::Commit(Box::new(Commit { job: self, decision, reminder }))
    }
}

impl ReadRecord {
    /// The message, whose event id and scope name the record.
    #[must_use]
    pub fn message(&self) -> &IncidentReceived {
        &self.job.message
    }

    /// The scope under which the record is stored.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Goes on with the record, if there is one.
    pub fn answered(self, answer: Answer<Option<EventRecord>>, policy: &Policy, turn: &mut Turn) -> Classify {
        let Self { mut job, decided, .. } = self;
        match (answer, decided) {
            (Err(fault), _) => Classify::End(fault.into()),
            // It is another part of the same request, which cannot be routed either, for another reason.
            (Ok(Some(record)), Some(decision))
                if record.accepted_at == job.message.accepted_at && record.reason != decision.record.reason =>
            {
                emit(&decision.record)
            }
            // The queue delivers the message again: the function may have died before it sent the jobs.
            (Ok(Some(record)), _) if record.accepted_at == job.message.accepted_at => emit(&record),
            // The source sends its event again. A monitor reports a state that may have come back; anything else is a second copy.
            (Ok(Some(record)), None) if job.repeats_state() => {
                job.earlier = Some(record.accepted_at);
                job.check_scope(policy)
            }
            (Ok(Some(_)), _) => {
                turn.count(Counted::Classified { outcome: Classified::Repeated });
                Classify::End(Verdict::Delete)
            }
            (Ok(None), Some(decision)) => job.commit(decision, policy),
            (Ok(None), None) => job.check_scope(policy),
        }
    }
}

impl CheckTenant {
    /// The tenant that the message names.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Goes on with whether the tenant exists.
    pub fn answered(self, answer: Answer<bool>, policy: &Policy, _: &mut Turn) -> Classify {
        match answer {
            Err(fault) => Classify::End(fault.into()),
            Ok(true) => self.job.read_what_it_is_about(policy),
            Ok(false) => self.job.unroutable(Reason::TenantUnknown, policy),
        }
    }
}

impl ReadKey {
    /// The scope of the dedup key.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The dedup key's hash.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Goes on with the key's state, and its incident if it is open.
    pub fn answered(
        self,
        answer: Answer<(Option<KeyState>, Option<Incident>)>,
        policy: &Policy,
        _: &mut Turn,
    ) -> Classify {
        let Self { job, scope, key } = self;
        match answer {
            Err(fault) => Classify::End(fault.into()),
            Ok((Some(KeyState { open: true, .. }), None)) => park("the incident of this message is not in the table"),
            // A note needs no state: it is about what is open.
            Ok((key_state, open)) => job.found(Found { scope, key, key_state, open }, policy),
        }
    }
}

impl ReadIncident {
    /// The incident that the operator's update names.
    #[must_use]
    pub fn id(&self) -> &IncidentId {
        &self.id
    }

    /// Goes on with the incident.
    pub fn answered(self, answer: Answer<Option<Incident>>, policy: &Policy, _: &mut Turn) -> Classify {
        match answer {
            Err(fault) => Classify::End(fault.into()),
            Ok(None) => park("the incident of this message is not in the table"),
            Ok(Some(incident)) => {
                let (scope, key) = (incident.scope.clone(), incident.key.clone());
                self.job.found(Found { scope, key, key_state: None, open: Some(incident) }, policy)
            }
        }
    }
}

impl ReadReminder {
    /// The reminder that is due, with its maintenance and update.
    #[must_use]
    pub fn reminder(&self) -> &Reminder {
        &self.reminder
    }

    /// Goes on with the maintenance and the update that the reminder was scheduled with. A maintenance that was canceled long ago may have
    /// expired from the table.
    pub fn answered(
        self,
        answer: Answer<(Option<Incident>, Option<Update>)>,
        policy: &Policy,
        turn: &mut Turn,
    ) -> Classify {
        let Self { job, reminder } = self;
        let decision = match answer {
            Err(fault) => return Classify::End(fault.into()),
            Ok((None, _)) => decide::decide_expired_reminder(&job.message, &reminder),
            Ok((Some(incident), update)) => {
                let arrival = job.arrival(&incident.scope, &incident.key);
                let content = ReminderContent { update_number: reminder.update, update: update.as_ref() };
                let shards = job.shards_per_job;
                decide::decide_reminder(&incident, content, &job.message, &arrival, turn.now, shards)
            }
        };
        job.decided(decision, policy)
    }
}

impl ReadWindows {
    /// The scope whose maintenance windows are read, with the platform's own.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.found.scope
    }

    /// Goes on with the windows.
    pub fn answered(self, answer: Answer<Vec<MaintenanceWindow>>, policy: &Policy, _: &mut Turn) -> Classify {
        match answer {
            Err(fault) => Classify::End(fault.into()),
            Ok(windows) => self.job.decide(self.found, &windows, policy),
        }
    }
}

impl Commit {
    /// What is written, all of it or nothing.
    #[must_use]
    pub fn decision(&self) -> &ClassifyDecision {
        &self.decision
    }

    /// The reminder to schedule, if the incident is a maintenance.
    #[must_use]
    pub fn reminder(&self) -> Option<&Reminder> {
        self.reminder.as_ref()
    }

    /// Goes on with whether it was written. `false` says that another message changed the same incident first.
    pub fn answered(self, answer: Answer<bool>, turn: &mut Turn) -> Classify {
        let Self { mut job, decision, .. } = self;
        match answer {
            Err(fault) => Classify::End(fault.into()),
            Ok(true) => {
                turn.count(Counted::Classified { outcome: outcome(&decision.record) });
                emit(&decision.record)
            }
            Ok(false) => {
                job.lost_races += 1;
                job.earlier = None;
                if job.lost_races < LOST_RACES_MAX {
                    return look_for_record(job);
                }
                let code = "race: another message changed the same incident first, five times in a row".to_owned();
                Classify::End(Verdict::Fault { code })
            }
        }
    }
}

impl Emit {
    /// The jobs, in the order in which they are sent.
    #[must_use]
    pub fn jobs(&self) -> &[FollowUpJob] {
        &self.jobs
    }

    /// Ends the story. A fault returns the message, whose record then has the jobs.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Classify {
        Classify::End(answer.map_or_else(Verdict::from, |()| Verdict::Delete))
    }
}

/// Returns how an event was classified, for metrics.
fn outcome(record: &EventRecord) -> Classified {
    match record.classification.as_str() {
        "excluded" => Classified::Excluded,
        "unclassified" => Classified::Unclassified,
        _ if record.reason.is_some() => Classified::Repeated,
        _ => Classified::Included,
    }
}
