//! One tenant's flood beside another tenant's critical alert, with the concurrency that AWS documents: the alert takes at most twice as long as on
//! a calm stack, at every stage and in all, apart from what [`allowance`] names.
//!
//! A model in discrete events. Queues, batches, concurrency and pace are the template's; what happens to a message is production's stories, with
//! its groups, lanes, buckets and rate limits; how AWS serves groups is what AWS documents. How long a call takes is assumed. CPU is not
//! modelled, and neither are cold starts, which cost a calm stack the same.

#![allow(clippy::print_stdout, reason = "the table is the result of the run")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by a panic")]

mod aws;
mod stages;
mod template;

use aws::{Queue, QueuedMessage};
use contracts::queue::Lane;
use domain::ids::TenantId;
use domain::rate_limit::{Admission, Bucket};
use domain::vocabulary::Severity;
use jiff::Timestamp;
use simulation::sample::{self, AT};
use simulation::table::SimulatedTable;
use stages::{Output, Received, Stages, Work, alert};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// How long the model runs, in milliseconds.
const LASTS_MS: i64 = 100_000;
/// Milliseconds of one `SendMessageBatch` of ten messages.
const SEND_BATCH_MS: i64 = 20;
/// What a request takes before its messages are sent: authorizer, tenant, buckets.
const REQUEST_MS: i64 = 40;

/// What goes on beside the critical alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    Calm,
    /// So many requests of so many alerts each, by one token of one tenant, at once.
    Requests(usize, usize, Severity),
    /// A tenant's alerts go to webhooks that never answer: 300 deliveries.
    SlowWebhooks,
    /// A platform-wide incident for so many tenants.
    Platform(usize),
}

enum Event {
    /// A request of a tenant for so many messages.
    Request {
        tenant: TenantId,
        alerts: Vec<Work>,
        watched: bool,
    },
    Arrives(String, QueuedMessage),
    Ends {
        queue: String,
        environment: usize,
        batch: Vec<(String, i64)>,
    },
    Returns(String, QueuedMessage),
    Scales(String),
}

struct Model {
    stages: Stages,
    queues: BTreeMap<String, Queue>,
    events: BinaryHeap<Reverse<(i64, u64)>>,
    happening: BTreeMap<u64, Event>,
    scheduled: u64,
    buckets: BTreeMap<String, Bucket>,
    /// How long the watched alert took at each stage: the longest, where it has several messages.
    took: BTreeMap<String, i64>,
    /// When the watched alert was posted, and when the last of its messages was sent.
    posted_at: i64,
    sent_at: i64,
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

impl Model {
    fn new(capacity: &'static str, seed: u64) -> Self {
        let with = |name: &str, hooks: Vec<String>| {
            let mut all: Vec<_> = (0..3).map(|n| sample::recipient(&format!("rcp_{name}{n}"), false)).collect();
            all.push(sample::endpoint(&format!("int_{name}c"), "slack"));
            all.extend(hooks.into_iter().map(|id| sample::endpoint(&id, "webhook")));
            sample::subscriber(name, all)
        };
        let tenants = vec![
            with("quiet", vec!["int_quieth".to_owned()]),
            with("noisy", vec!["int_noisyh".to_owned()]),
            with("slow", (0..5).map(|n| format!("int_slow{n}")).collect()),
        ];
        let table = SimulatedTable::new(tenants, false);
        let queues =
            template::mappings(capacity).into_iter().map(|(name, mapping)| (name, Queue::new(mapping))).collect();
        Self {
            stages: Stages::new(table, seed, AT.parse().unwrap()),
            queues,
            events: BinaryHeap::new(),
            happening: BTreeMap::new(),
            scheduled: 0,
            buckets: BTreeMap::new(),
            took: BTreeMap::new(),
            posted_at: 0,
            sent_at: 0,
        }
    }

    fn schedule(&mut self, at: i64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled)));
        self.happening.insert(self.scheduled, event);
    }

    fn run(&mut self) {
        while let Some(Reverse((now, number))) = self.events.pop() {
            if now > LASTS_MS {
                return;
            }
            match self.happening.remove(&number).unwrap() {
                Event::Request { tenant, alerts, watched } => self.accept(now, tenant, alerts, watched),
                Event::Arrives(queue, message) => {
                    self.queues.get_mut(&queue).unwrap().put(message);
                    self.serve(&queue, now);
                }
                Event::Returns(queue, message) => {
                    self.queues.get_mut(&queue).unwrap().put_back(message);
                    self.serve(&queue, now);
                }
                Event::Ends { queue, environment, batch } => {
                    self.queues.get_mut(&queue).unwrap().end(environment, now, &batch);
                    self.serve(&queue, now);
                }
                Event::Scales(queue) => {
                    if self.queues.get_mut(&queue).unwrap().scale() {
                        self.schedule(now + 1_000, Event::Scales(queue.clone()));
                    }
                    self.serve(&queue, now);
                }
            }
        }
    }

    /// Whether a bucket admits so many messages.
    fn admit(&mut self, name: String, messages: usize, now: i64, is_token: bool) -> Result<(), u32> {
        let limits = self.stages.policy.limits.intake;
        let limit = if is_token { limits.token } else { limits.tenant };
        let before = self.buckets.get(&name).copied();
        match Bucket::admit(before, u32::try_from(messages).unwrap(), limit, self.stages.begin_ms + now) {
            Admission::Admitted(bucket) => {
                self.buckets.insert(name, bucket);
                Ok(())
            }
            Admission::InDebt { retry_after } => Err(retry_after),
        }
    }

    /// Takes a request in, or lets its client come again after Retry-After.
    fn accept(&mut self, now: i64, tenant: TenantId, alerts: Vec<Work>, watched: bool) {
        let admitted = self
            .admit(format!("token of {tenant}"), alerts.len(), now, true)
            .and_then(|()| self.admit(tenant.to_string(), alerts.len(), now, false));
        if let Err(retry_after) = admitted {
            assert!(!watched, "the critical alert is refused");
            self.schedule(now + i64::from(retry_after) * 1_000, Event::Request { tenant, alerts, watched });
            return;
        }
        if watched {
            self.took.insert("intake".to_owned(), REQUEST_MS + SEND_BATCH_MS);
            self.posted_at = now;
        }
        for (place, work) in alerts.into_iter().enumerate() {
            let Work::Received(message) = &work else { panic!("no alert") };
            // A FIFO queue gets one batch after the other.
            let at = now + REQUEST_MS + SEND_BATCH_MS * (i64::try_from(place).unwrap() / 10 + 1);
            let group = message.message_group_id();
            let queued = QueuedMessage { sent_at: at, group, work, receives: 1, watched };
            self.schedule(at, Event::Arrives("ClassifyQueue".to_owned(), queued));
        }
    }

    fn serve(&mut self, name: &str, now: i64) {
        while let Some((environment, batch)) = self.queues.get_mut(name).unwrap().receive(now) {
            self.invoke(name, environment, batch, now);
        }
    }

    /// Runs one batch. The messages of a group of a FIFO queue come one after the other, all others side by side.
    fn invoke(&mut self, name: &str, environment: usize, batch: Vec<QueuedMessage>, now: i64) {
        let (is_fifo, timeout, interval, mut may_send_at) = {
            let queue = &self.queues[name];
            let Queue { mapping, may_send_at, .. } = queue;
            (mapping.is_fifo, mapping.timeout, i64::try_from(mapping.interval_ms).unwrap(), may_send_at[environment])
        };
        let lane = if name.contains("Bulk") { Lane::Bulk } else { Lane::Urgent };
        let (mut ends, mut free_at, mut last) = (Vec::new(), BTreeMap::<String, i64>::new(), now);
        for message in batch {
            let begin = if is_fifo { free_at.get(&message.group).copied().unwrap_or(now) } else { now };
            let pace_ms = (may_send_at - begin).max(0);
            let received = Received { at_ms: begin, receives: message.receives, lane, timeout, pace_ms };
            let handled = self.stages.handle(&message.work, &received);
            if let Some(after) = handled.sent_after_ms {
                may_send_at = begin + after + interval;
            }
            let end = begin + handled.took_ms;
            free_at.insert(message.group.clone(), end);
            last = last.max(end);
            ends.push((message.group.clone(), handled.took_ms));
            if message.watched && handled.again_ms.is_none() {
                let took = self.took.entry(name.to_owned()).or_default();
                *took = (*took).max(end - message.sent_at);
                if handled.sent_after_ms.is_some() {
                    self.sent_at = self.sent_at.max(end);
                }
            }
            for Output { after_ms, queue, group, work } in handled.outputs {
                let at = begin + after_ms;
                let queued = QueuedMessage { sent_at: at, group, work, receives: 1, watched: message.watched };
                self.schedule(at, Event::Arrives(queue, queued));
            }
            if let Some(pause) = handled.again_ms {
                let again = QueuedMessage { receives: message.receives + 1, ..message };
                self.schedule(end + pause, Event::Returns(name.to_owned(), again));
            }
        }
        self.queues.get_mut(name).unwrap().may_send_at[environment] = may_send_at;
        self.schedule(last, Event::Ends { queue: name.to_owned(), environment, batch: ends });
    }

    fn flood(&mut self, flood: Flood) {
        let at: Timestamp = AT.parse().unwrap();
        let alerts = |name: &str, request: usize, number: usize, severity: Severity| -> Vec<Work> {
            let one = |n| alert(&tenant(name), &format!("{request}-{n}"), severity, at);
            (0..number).map(|n| Work::Received(Box::new(one(n)))).collect()
        };
        match flood {
            Flood::Calm => {}
            Flood::Requests(requests, number, severity) => {
                for request in 0..requests {
                    let alerts = alerts("noisy", request, number, severity);
                    self.schedule(0, Event::Request { tenant: tenant("noisy"), alerts, watched: false });
                }
            }
            Flood::SlowWebhooks => {
                let alerts = alerts("slow", 0, 60, Severity::Error);
                self.schedule(0, Event::Request { tenant: tenant("slow"), alerts, watched: false });
            }
            Flood::Platform(tenants) => {
                // Sixteen jobs of half a minute each, and a delivery on each bulk queue for every tenant.
                let busy = |sent_at, group: &str, ms| QueuedMessage {
                    sent_at,
                    group: group.to_owned(),
                    work: Work::Busy(ms),
                    receives: 1,
                    watched: false,
                };
                for job in 0..16 {
                    let page = busy(0, &format!("inc_p-{job}"), 30_000);
                    self.schedule(0, Event::Arrives("SubscriptionLookupBulkQueue".to_owned(), page));
                }
                for number in 0..tenants {
                    let at = 30_000 * i64::try_from(number).unwrap() / i64::try_from(tenants).unwrap();
                    for queue in ["DeliverEmailBulkQueue", "DeliverChatBulkQueue", "DeliverWebhookBulkQueue"] {
                        self.schedule(at, Event::Arrives(queue.to_owned(), busy(at, "inc_p", 180)));
                    }
                }
            }
        }
    }
}

/// Runs one world with a critical alert at `at`. Returns how long each stage took, and all of them.
fn latencies(capacity: &'static str, flood: Flood, seed: u64, at: i64) -> BTreeMap<String, i64> {
    let mut model = Model::new(capacity, seed);
    model.flood(flood);
    let posted = Work::Received(Box::new(alert(&tenant("quiet"), "critical", Severity::Critical, AT.parse().unwrap())));
    model.schedule(at, Event::Request { tenant: tenant("quiet"), alerts: vec![posted], watched: true });
    let queues: Vec<String> = model.queues.keys().cloned().collect();
    queues.into_iter().for_each(|queue| model.schedule(0, Event::Scales(queue)));
    model.run();
    assert!(model.sent_at > 0, "the alert was not sent");
    let mut took = model.took;
    took.insert("in all".to_owned(), model.sent_at - model.posted_at);
    took
}

/// The floods, each with the milliseconds within which the critical alert comes.
const FLOODS: [(Flood, i64); 5] = [
    (Flood::Requests(1, 700, Severity::Error), 3_000),
    (Flood::Requests(50, 700, Severity::Error), 5_000),
    (Flood::Requests(50, 700, Severity::Critical), 10_000),
    (Flood::SlowWebhooks, 20_000),
    (Flood::Platform(100_000), 30_000),
];
const SEEDS: u64 = 4;

/// How much longer than twice the calm time a stage may take. Two floods are not kept from another tenant's alert entirely:
///
/// - The provider's rate is shared. An environment sends one message an interval, so a batch of another tenant is in its way for at most as long as
///   that takes.
/// - Slow webhooks hold every batch of their lane for as long as a sender waits for an endpoint.
fn allowance(flood: Flood, stage: &str, mappings: &BTreeMap<String, template::Mapping>) -> i64 {
    let email = &mappings["DeliverEmailQueue"];
    let paced = i64::try_from(email.interval_ms).unwrap() * i64::try_from(email.batch).unwrap();
    match (flood, stage) {
        (Flood::SlowWebhooks, "DeliverWebhookQueue" | "in all") => stages::SLOW_MS,
        (Flood::Requests(..) | Flood::SlowWebhooks, "DeliverEmailQueue" | "in all") => paced,
        _ => 0,
    }
}

/// The longest that the alert took at each stage, and in all.
fn worst(capacity: &'static str, flood: Flood, within: i64) -> BTreeMap<String, i64> {
    let mut worst = BTreeMap::<String, i64>::new();
    for seed in 0..SEEDS {
        let at = simulation::random::Random::new(seed + 1_000).between(0, within);
        for (stage, took) in latencies(capacity, flood, seed, at) {
            let longest = worst.entry(stage).or_default();
            *longest = (*longest).max(took);
        }
    }
    worst
}

#[test]
fn a_critical_alert_beside_a_flood_takes_at_most_twice_as_long_but_for_shared_rates_and_slow_endpoints() {
    let mut broken = Vec::new();
    for capacity in ["medium", "large"] {
        let mappings = template::mappings(capacity);
        let calm = worst(capacity, Flood::Calm, 3_000);
        println!("{capacity}, calm: {calm:?}");
        for (flood, within) in FLOODS {
            let beside = worst(capacity, flood, within);
            println!("{capacity}, {flood:?}: {beside:?}");
            for (stage, took) in &beside {
                let (calm, allowed) = (calm[stage], allowance(flood, stage, &mappings));
                if *took > 2 * calm + allowed {
                    broken.push(format!(
                        "{capacity}, {flood:?}, {stage}: {took} ms beside the flood, {calm} ms on a calm stack"
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
