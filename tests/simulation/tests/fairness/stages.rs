//! Production's stories, performed against a table in memory: what each message costs, and what it puts on which queue.

use contracts::queue::{Delivery, FollowUpJob, IncidentReceived, Lane, MessageBody, RoutingJob, VERSION};
use domain::attempt::{AttemptFailure, RetryVerdict};
use domain::event::{Event, Format};
use domain::ids::{EventId, IntegrationId, Scope, TenantId};
use domain::policy::Policy;
use domain::rate_limit::RateLimitDecision;
use domain::vocabulary::{Channel, ChannelClass, Severity};
use jiff::Timestamp;
use pipeline::classify::Classify;
use pipeline::deliver::Deliver;
use pipeline::deliver::Message;
use pipeline::route::{Route, RouteContext};
use pipeline::{Accepted, SendFailure, Turn, Verdict, classify, deliver, route};
use simulation::random::Random;
use simulation::table::SimulatedTable;
use std::time::Duration;

/// How long calls take, in milliseconds. DynamoDB answers within single-digit milliseconds (AWS, "What is Amazon DynamoDB?"), and a
/// transaction is two rounds. SQS takes tens of milliseconds (Amazon SQS FAQs). Providers are assumed.
const READ_MS: i64 = 5;
const WRITE_MS: i64 = 7;
const TRANSACTION_MS: i64 = 18;
const SEND_MS: i64 = 20;
const PROVIDER_MS: i64 = 150;
/// How long a slow endpoint keeps a sender: `deliver-webhook` gives up after 15 s.
pub(crate) const SLOW_MS: i64 = 15_000;
/// Shards of a routing job. One tenant's incident has none.
const SHARDS_PER_JOB: u16 = 4;

/// What a queue carries.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// An accepted event, for `classify`.
    Received(Box<IncidentReceived>),
    /// A job of `subscription-lookup`.
    Route(Box<RoutingJob>),
    /// A message of a sender.
    Deliver(Box<Delivery>),
    /// A delivery of a platform-wide incident, or a page of its routing: it takes so long.
    Busy(i64),
}

/// A message that a stage sends: after so many milliseconds, to this queue.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) after_ms: i64,
    pub(crate) queue: String,
    pub(crate) group: String,
    pub(crate) work: Work,
}

/// How a message is received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// When it is its turn, in milliseconds since the model's beginning.
    pub(crate) at_ms: i64,
    /// How often it was received, including this time.
    pub(crate) receives: u32,
    /// The lane of its queue.
    pub(crate) lane: Lane,
    /// Seconds that the invocation has.
    pub(crate) timeout: u64,
    /// Milliseconds until the environment may send again.
    pub(crate) pace_ms: i64,
}

/// What handling one message came to.
#[derive(Debug)]
pub(crate) struct Handled {
    pub(crate) took_ms: i64,
    pub(crate) outputs: Vec<Output>,
    /// After how long the message is visible again; `None` if it is finished.
    pub(crate) again_ms: Option<i64>,
    /// After how long its send began, if it was sent.
    pub(crate) sent_after_ms: Option<i64>,
}

/// The table and the policy that all stages share.
pub(crate) struct Stages {
    pub(crate) table: SimulatedTable,
    pub(crate) policy: Policy,
    pub(crate) random: Random,
    /// When the model begins, in milliseconds since 1970.
    pub(crate) begin_ms: i64,
    runs: u64,
}

/// One invocation's way through a message.
struct Way<'a> {
    random: &'a mut Random,
    turn: Turn,
    begin: i64,
    took_ms: i64,
}

impl Way<'_> {
    /// A call of about so many milliseconds, a third more or less.
    fn call(&mut self, ms: i64) {
        let took = self.random.between(ms * 2 / 3, ms * 4 / 3 + 1).max(1);
        self.wait(took);
    }

    fn wait(&mut self, ms: i64) {
        self.took_ms += ms;
        self.turn.now = Timestamp::from_millisecond(self.begin + self.took_ms).unwrap();
        self.turn.left = self.turn.left.saturating_sub(Duration::from_millis(u64::try_from(ms).unwrap()));
        self.turn.counted.clear();
    }

    fn done(self, outputs: Vec<Output>, verdict: &Verdict, sent_after_ms: Option<i64>) -> Handled {
        let again_ms = match verdict {
            Verdict::Delete => None,
            Verdict::Return { pause, .. } => Some(i64::try_from(pause.as_millis()).unwrap()),
            other => panic!("{other:?}"),
        };
        Handled { took_ms: self.took_ms, outputs, again_ms, sent_after_ms }
    }
}

/// An alert of a tenant.
pub(crate) fn alert(tenant: &TenantId, key: &str, severity: Severity, at: Timestamp) -> IncidentReceived {
    let event = Event {
        event_type: "voice.routing_failure".to_owned(),
        dedup_key: key.to_owned(),
        severity,
        title: "Calls fail".to_owned(),
        ..Event::blank(Format::Native, "monitor")
    };
    IncidentReceived {
        v: VERSION,
        event_id: EventId::derived(&[tenant.as_str(), key]),
        correlation_id: "c".to_owned(),
        accepted_at: at,
        integration_id: IntegrationId::new("monitor"),
        scope: Some(Scope::Tenant(tenant.clone())),
        unroutable: None,
        body: MessageBody::Event(Box::new(event)),
    }
}

/// The logical id of the queue of a channel and lane.
fn queue_of(channel: Channel, lane: Lane) -> String {
    let class = match channel.class() {
        ChannelClass::Email => "Email",
        ChannelClass::Sms => "Sms",
        ChannelClass::Chat => "Chat",
        ChannelClass::Webhook => "Webhook",
    };
    format!("Deliver{class}{}Queue", if lane == Lane::Bulk { "Bulk" } else { "" })
}

impl Stages {
    pub(crate) fn new(table: SimulatedTable, seed: u64, begin: Timestamp) -> Self {
        let policy = Policy::embedded().unwrap();
        Self { table, policy, random: Random::new(seed), begin_ms: begin.as_millisecond(), runs: 0 }
    }

    /// Handles one message.
    pub(crate) fn handle(&mut self, work: &Work, received: &Received) -> Handled {
        self.runs += 1;
        let begin = self.begin_ms + received.at_ms;
        let turn = Turn {
            now: Timestamp::from_millisecond(begin).unwrap(),
            left: Duration::from_secs(received.timeout),
            receives: received.receives,
            lane: received.lane,
            jitter: self.random.fraction(),
            token: format!("t{}", self.runs),
            counted: Vec::new(),
        };
        let pace_ms = received.pace_ms;
        let Self { table, policy, random, .. } = self;
        let mut way = Way { random, turn, begin, took_ms: 0 };
        match work {
            Work::Received(message) => run_classify(table, policy, way, (**message).clone()),
            Work::Route(job) => run_route(table, policy, way, (**job).clone()),
            Work::Deliver(delivery) => run_delivery(table, policy, way, (**delivery).clone(), pace_ms),
            Work::Busy(ms) => {
                way.wait(pace_ms);
                way.call(*ms);
                way.done(Vec::new(), &Verdict::Delete, Some(pace_ms))
            }
        }
    }
}

fn run_classify(table: &mut SimulatedTable, policy: &Policy, mut way: Way<'_>, message: IncidentReceived) -> Handled {
    let mut outputs = Vec::new();
    let mut story = classify::begin(message, SHARDS_PER_JOB);
    loop {
        story = match story {
            Classify::Record(step) => {
                way.call(READ_MS);
                let record = table.records.get(&(step.message().event_id.clone(), step.scope().cloned())).cloned();
                step.answered(Ok(record), policy, &mut way.turn)
            }
            Classify::Tenant(step) => {
                way.call(READ_MS);
                let known = table.tenant(step.tenant()).is_some();
                step.answered(Ok(known), policy, &mut way.turn)
            }
            Classify::Key(step) => {
                way.call(READ_MS);
                let (state, open) = (table.keys.get(step.key()).cloned(), table.open_incident(step.key()).cloned());
                step.answered(Ok((state, open)), policy, &mut way.turn)
            }
            Classify::Windows(step) => {
                way.call(READ_MS);
                let windows = table.maintenance_windows(step.scope());
                step.answered(Ok(windows), policy, &mut way.turn)
            }
            Classify::Commit(step) => {
                way.call(TRANSACTION_MS);
                let written = table.commit(&step);
                step.answered(Ok(written), &mut way.turn)
            }
            Classify::Emit(step) => {
                way.call(SEND_MS);
                for job in step.jobs() {
                    let FollowUpJob::Route(job) = job else { panic!("nobody warns the operators") };
                    let (group, bulk) = (job.message_group_id(), job.lane() == Lane::Bulk);
                    let queue = format!("SubscriptionLookup{}Queue", if bulk { "Bulk" } else { "" });
                    outputs.push(Output {
                        after_ms: way.took_ms,
                        queue,
                        group,
                        work: Work::Route(Box::new(job.clone())),
                    });
                }
                step.answered(Ok(()), &mut way.turn)
            }
            Classify::End(verdict) => return way.done(outputs, &verdict, None),
            other => panic!("{other:?}"),
        };
    }
}

fn run_route(table: &mut SimulatedTable, policy: &Policy, mut way: Way<'_>, job: RoutingJob) -> Handled {
    let mut outputs = Vec::new();
    let mut story = route::begin(job);
    loop {
        story = match story {
            Route::Context(step) => {
                way.call(2 * READ_MS);
                let record = &table.incidents[&step.job().incident_id];
                let context = RouteContext {
                    incident: Some(record.incident.clone()),
                    updates: record.updates.clone(),
                    suppressed: Vec::new(),
                    place: None,
                };
                step.answered(Ok(context), &mut way.turn)
            }
            Route::Tenant(step) => {
                way.call(2 * READ_MS);
                let plans = table.plan_history(&step.incident().id, step.tenant(), step.earlier_plans());
                let read = (table.tenant(step.tenant()).cloned(), plans);
                step.answered(Ok(read), policy, &mut way.turn)
            }
            Route::Count(step) => {
                way.call(WRITE_MS);
                let opened = table.count_opening(step.tenant(), step.at(), policy);
                step.answered(Ok(opened), policy, &mut way.turn)
            }
            Route::Store(step) => {
                way.call(WRITE_MS);
                let incident = step.incident().id.clone();
                let plans: Vec<_> = step.plans().cloned().collect();
                let answers = plans.iter().map(|plan| Ok(table.store_plan(&incident, plan))).collect();
                step.answered(answers, &mut way.turn)
            }
            Route::Hold(step) => {
                // Sixteen at a time.
                (0..step.entries().len().div_ceil(16)).for_each(|_| way.call(WRITE_MS));
                step.entries().iter().for_each(|entry| table.schedule(entry, false));
                step.answered(Ok(()), &mut way.turn)
            }
            Route::Enqueue(step) => {
                // The queues one after the other, the batches of a queue side by side.
                let queue = |one: &Delivery| queue_of(one.channel, step.lane(one));
                let queues: std::collections::BTreeSet<String> = step.deliveries().iter().map(queue).collect();
                queues.iter().for_each(|_| way.call(SEND_MS));
                for one in step.deliveries() {
                    let work = Work::Deliver(Box::new(one.clone()));
                    outputs.push(Output { after_ms: way.took_ms, queue: queue(one), group: step.group(one), work });
                }
                step.answered(Ok(()), &mut way.turn)
            }
            Route::End(verdict) => return way.done(outputs, &verdict, None),
            other => panic!("{other:?}"),
        };
    }
}

fn run_delivery(
    table: &mut SimulatedTable,
    policy: &Policy,
    mut way: Way<'_>,
    delivery: Delivery,
    pace_ms: i64,
) -> Handled {
    let (mut outputs, mut sent_after_ms) = (Vec::new(), None);
    let mut story = deliver::begin(Message::Single(Box::new(delivery)), &mut way.turn);
    loop {
        story = match story {
            Deliver::Predecessor(step) => {
                way.call(READ_MS);
                step.answered(Ok(None), &mut way.turn)
            }
            Deliver::Claim(step) => {
                way.call(WRITE_MS);
                let members = step.members().to_vec();
                let answers = members.iter().map(|member| Ok(table.claim(&step, member))).collect();
                step.answered(answers, &mut way.turn)
            }
            Deliver::Slot(step) => {
                way.call(WRITE_MS);
                let now = way.turn.now.as_millisecond();
                let slot = table.reserve_slot(step.fingerprint(), now, step.within_ms());
                step.answered(Ok(slot), &mut way.turn)
            }
            Deliver::Limit(step) => {
                way.call(2 * WRITE_MS);
                let decision: RateLimitDecision = table.reserve_place(&step, &policy.storms, way.turn.now);
                step.answered(Ok(decision), &mut way.turn)
            }
            Deliver::Send(step) => {
                way.wait((pace_ms - way.took_ms).max(0));
                sent_after_ms = Some(way.took_ms);
                let is_slow = |one: &Delivery| one.channel == Channel::Webhook && one.destination.contains("slow");
                let slow = step.message().members().iter().any(is_slow);
                let answer = if slow {
                    way.wait(SLOW_MS);
                    let failed = AttemptFailure {
                        cause: "timeout".to_owned(),
                        retry_after: None,
                        slow_down: true,
                        verdict: RetryVerdict::Retry,
                    };
                    Err(SendFailure::Failed { failed, status: None, response: String::new(), plain: false })
                } else {
                    way.call(PROVIDER_MS);
                    Ok(Accepted { provider_id: Some("m".to_owned()) })
                };
                step.answered(answer, &mut way.turn)
            }
            Deliver::Write(step) => {
                way.call(TRANSACTION_MS);
                let marks: Vec<_> = step.marks().map(|(member, mark)| (member.clone(), mark.clone())).collect();
                let answers =
                    marks.iter().map(|(member, mark)| Ok(table.mark(member, mark, step.token(), step.at()))).collect();
                step.answered(answers, &mut way.turn)
            }
            Deliver::Endpoint(step) => {
                way.call(WRITE_MS);
                step.answered(Ok(None), &mut way.turn)
            }
            Deliver::Enqueue(step) => {
                way.call(SEND_MS);
                let again = step.delivery().clone();
                let after_ms = way.took_ms + i64::from(step.delay_seconds()) * 1_000;
                let (queue, group) = (queue_of(again.channel, step.lane()), again.alert.incident_id.to_string());
                outputs.push(Output { after_ms, queue, group, work: Work::Deliver(Box::new(again)) });
                step.answered(Ok(()), &mut way.turn)
            }
            Deliver::Release(step) => {
                way.call(WRITE_MS);
                step.members().iter().for_each(|member| table.release(member, step.token()));
                step.answered(Ok(()), &mut way.turn)
            }
            Deliver::Schedule(step) => {
                way.call(WRITE_MS);
                table.schedule(step.entry(), true);
                step.answered(Ok(()), &mut way.turn)
            }
            Deliver::Notify(step) => {
                way.call(SEND_MS);
                step.answered(Ok(()), &mut way.turn)
            }
            Deliver::Settle(step) => {
                way.call(WRITE_MS);
                step.answered((), &mut way.turn)
            }
            Deliver::End(verdict) => return way.done(outputs, &verdict, sent_after_ms),
            other => panic!("{other:?}"),
        };
    }
}
