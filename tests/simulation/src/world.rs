//! The clock, the invocations, and what goes wrong.

mod effects;
mod names;
mod release;

use crate::coverage::Coverage;
use crate::load::{Load, timestamp};
use crate::queue::{Queue, RECEIVES_MAX};
use crate::random::Random;
use crate::receiver::Receivers;
use crate::table::{DeliveryKey, Table};
use contracts::queue::{Delivery, Lane};
use domain::policy::StormPolicy;
use domain::reason::Reason;
use domain::vocabulary::Channel;
use names::{counted_name, describe, effect_name};
use pipeline::deliver::{Deliver, Message, begin};
use pipeline::{Turn, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

/// When worlds begin: 2027-01-15 08:00 UTC, in milliseconds.
const BEGIN: i64 = 1_800_000_000_000;
/// For so long things go wrong, in milliseconds; then the world is calm.
const FAULTS_LAST: i64 = 3 * 3_600_000;
/// A world that is not quiet after so long never will be: longer than a webhook's retries.
const WORLD_MAX: i64 = 4 * 86_400_000;
/// How far the clocks of two invocations may differ from the world's, in milliseconds.
const SKEW_MAX: i64 = 1_500;

static STORMS: LazyLock<StormPolicy> = LazyLock::new(|| match StormPolicy::embedded() {
    Ok(policy) => policy,
    Err(error) => panic!("the policy of storm protection is invalid: {error}"),
});

/// What happens next, and when.
#[derive(Clone, Debug)]
enum Event {
    /// Something that was planned is put on the queue.
    Enqueue(DeliveryKey, Lane),
    /// A message becomes visible.
    Receive(u64),
    /// An invocation performs its next effect.
    Step(u64),
    /// The due index is read.
    Minute,
}

/// An invocation that handles one message.
#[derive(Clone, Debug)]
struct Invocation {
    message: u64,
    /// How often the message had been received, to tell its own visibility from a later one.
    receives: u32,
    story: Deliver,
    turn: Turn,
    skew: i64,
    deadline: i64,
    /// What this invocation sent and did not mark yet.
    unmarked: Vec<DeliveryKey>,
    /// What it claimed from an invocation that may have sent it, with that one's token.
    claimed_from: Vec<(DeliveryKey, String)>,
}

/// What goes wrong with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    DiesBefore,
    DiesAfter,
    Fails,
    AnswerLost,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DiesBefore => "died before",
            Self::DiesAfter => "died after",
            Self::Fails => "failed",
            Self::AnswerLost => "answer lost",
        }
    }
}

/// One simulated run.
#[derive(Clone, Debug)]
pub struct World {
    now: i64,
    random: Random,
    /// What is planned.
    pub load: Load,
    /// The table.
    pub table: Table,
    /// The queue.
    pub queue: Queue,
    /// The receivers.
    pub receivers: Receivers,
    /// Sends whose mark may be missing: each may arrive once more.
    pub excused: BTreeMap<DeliveryKey, usize>,
    /// The deduplication ids of the notices to org admins.
    pub notices: BTreeSet<String>,
    /// Sends without the right to send.
    pub unclaimed_sends: Vec<String>,
    /// Retries that were sent before their time.
    pub early: Vec<String>,
    /// What was reached.
    pub coverage: Coverage,
    /// One line an effect, if the world is traced.
    pub trace: Vec<String>,
    traced: bool,
    events: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    running: BTreeMap<u64, Invocation>,
    minute_scheduled: bool,
}

impl World {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let load = Load::new(BEGIN, &mut random);
        let receivers = Receivers { tempers: load.tempers.clone(), ..Receivers::default() };
        let mut world = Self {
            now: BEGIN,
            random,
            table: Table::default(),
            queue: Queue::default(),
            receivers,
            excused: BTreeMap::new(),
            notices: BTreeSet::new(),
            unclaimed_sends: Vec::new(),
            early: Vec::new(),
            coverage: Coverage::default(),
            trace: Vec::new(),
            traced,
            events: BTreeMap::new(),
            scheduled: 0,
            running: BTreeMap::new(),
            minute_scheduled: false,
            load,
        };
        for (at, key, lane) in world.load.enqueued.clone() {
            world.schedule(at, Event::Enqueue(key, lane));
        }
        for due in world.load.held.clone() {
            world.table.schedule(&due, false);
        }
        world.schedule_minute();
        world
    }

    /// Runs until nothing is left to do.
    pub fn run(&mut self) {
        self.run_events();
        for key in self.load.deliveries.keys() {
            let end = match self.table.ends.get(key).and_then(|ends| ends.last()) {
                Some(end) => end.outcome.map_or_else(Reason::as_str, |()| "accepted"),
                None => "superseded",
            };
            self.coverage.count(format!("end: {end}"));
        }
    }

    fn run_events(&mut self) {
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > BEGIN + WORLD_MAX {
                return;
            }
            self.now = self.now.max(at);
            match event {
                Event::Enqueue(key, lane) => {
                    if let Some(delivery) = self.load.deliveries.get(&key) {
                        let message = Message::Single(Box::new(delivery.clone()));
                        self.note(|| format!("planned {key}"));
                        self.send(message, lane, 0);
                    }
                }
                Event::Receive(number) => self.receive(number),
                Event::Step(invocation) => self.step(invocation),
                Event::Minute => self.release_due(),
            }
        }
    }

    fn calm(&self) -> bool {
        self.now > BEGIN + FAULTS_LAST
    }

    fn schedule(&mut self, at: i64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            let line = format!("{} {}", timestamp(self.now).strftime("%d %H:%M:%S%.3f"), line());
            self.trace.push(line);
        }
    }

    fn send(&mut self, message: Message, lane: Lane, delay_ms: i64) {
        let visible_at = self.now + delay_ms;
        let number = self.queue.send(message, lane, visible_at);
        self.schedule(visible_at, Event::Receive(number));
    }

    /// A function receives a message, if it is still there and visible.
    fn receive(&mut self, number: u64) {
        let Some(queued) = self.queue.messages.get_mut(&number).filter(|queued| queued.visible_at <= self.now) else {
            return;
        };
        if queued.receives >= RECEIVES_MAX {
            self.queue.park(number, "too many receives");
            return;
        }
        queued.receives += 1;
        let webhook = queued.message.members().first().is_some_and(|first| first.channel == Channel::Webhook);
        let (timeout, hidden) = if webhook { (20_000, 120_000) } else { (8_000, 48_000) };
        queued.visible_at = self.now + hidden;
        let (receives, lane, message, visible_at) =
            (queued.receives, queued.lane, queued.message.clone(), queued.visible_at);
        self.schedule(visible_at, Event::Receive(number));
        // Standard queues deliver at least once: now and then to two functions at the same time.
        let copies = if !self.calm() && self.random.once_in(30) { 2 } else { 1 };
        for _ in 0..copies {
            self.scheduled += 1;
            let id = self.scheduled;
            let (skew, deadline) = (self.random.between(-SKEW_MAX, SKEW_MAX + 1), self.now + timeout);
            let mut turn = Turn {
                now: timestamp(self.now + skew),
                left: left(deadline, self.now),
                receives,
                lane,
                jitter: self.random.fraction(),
                token: format!("t{id}"),
                counted: Vec::new(),
            };
            let story = begin(message.clone(), &mut turn);
            let invocation = Invocation {
                message: number,
                receives,
                story,
                turn,
                skew,
                deadline,
                unmarked: Vec::new(),
                claimed_from: Vec::new(),
            };
            self.running.insert(id, invocation);
            let wait = self.random.between(1, 200);
            self.schedule(self.now + wait, Event::Step(id));
        }
    }

    /// An invocation performs its next effect, or dies.
    fn step(&mut self, id: u64) {
        let Some(mut invocation) = self.running.remove(&id) else { return };
        let effect = effect_name(&invocation.story);
        // The loop of the function ends a second before Lambda does, and returns the message.
        if self.now >= invocation.deadline - 1_000 && !matches!(invocation.story, Deliver::End(_)) {
            self.coverage.count("verdict: deadline");
            self.note(|| format!("t{id} reached its deadline before: {effect}"));
            if let Deliver::Send(send) = &invocation.story {
                // The request may have arrived although nobody waited for the answer.
                let members: Vec<Delivery> = send.message().members().to_vec();
                self.arrive_unanswered(&members);
            }
            self.excuse(&invocation);
            self.return_message(&invocation, 0);
            return;
        }
        if let Deliver::End(verdict) = &invocation.story {
            self.end(&invocation, verdict.clone());
            return;
        }
        let fate = self.fate();
        self.coverage.count(format!("{effect}: {}", fate.name()));
        if fate == Fate::DiesBefore {
            self.note(|| format!("t{id} died before: {effect}"));
            self.excuse(&invocation);
            return;
        }
        invocation.turn.left = left(invocation.deadline, self.now);
        let described = if self.traced { describe(&invocation.story) } else { String::new() };
        let story = self.perform(&mut invocation, fate);
        self.note(|| format!("t{id} {effect}: {} — {described}", fate.name()));
        if fate == Fate::DiesAfter {
            self.excuse(&invocation);
            return;
        }
        for counted in std::mem::take(&mut invocation.turn.counted) {
            self.coverage.count(format!("counted: {}", counted_name(&counted)));
        }
        invocation.story = story;
        let wait = self.latency(&invocation.story);
        self.schedule(self.now + wait, Event::Step(id));
        self.running.insert(id, invocation);
    }

    fn fate(&mut self) -> Fate {
        if self.calm() {
            return Fate::Done;
        }
        match self.random.between(0, 80) {
            0 => Fate::DiesBefore,
            1 => Fate::DiesAfter,
            2 => Fate::Fails,
            3 => Fate::AnswerLost,
            _ => Fate::Done,
        }
    }

    /// How long until the next effect takes place, in milliseconds.
    fn latency(&mut self, story: &Deliver) -> i64 {
        let slow = !self.calm() && self.random.once_in(40);
        let pause = match story {
            Deliver::Write(write) => i64::try_from(write.pause().unwrap_or_default().as_millis()).unwrap_or(0),
            _ => 0,
        };
        pause
            + match story {
                Deliver::Send(_) if slow => self.random.between(1_000, 20_000),
                Deliver::Send(_) => self.random.between(20, 800),
                _ if slow => self.random.between(200, 8_000),
                _ => self.random.between(1, 30),
            }
    }

    /// What an invocation sent and did not mark is sent once more: the one duplicate that cannot be ruled out.
    fn excuse(&mut self, invocation: &Invocation) {
        for key in &invocation.unmarked {
            *self.excused.entry(key.clone()).or_default() += 1;
        }
    }

    fn return_message(&mut self, invocation: &Invocation, pause_ms: i64) {
        let visible_at = self.now + pause_ms;
        let own = |queued: &&mut crate::queue::Queued| queued.receives == invocation.receives;
        if let Some(queued) = self.queue.messages.get_mut(&invocation.message).filter(own) {
            queued.visible_at = visible_at;
            self.schedule(visible_at, Event::Receive(invocation.message));
        }
    }

    fn end(&mut self, invocation: &Invocation, verdict: Verdict) {
        self.excuse(invocation);
        self.note(|| format!("{} ended: {verdict:?}", invocation.turn.token));
        match verdict {
            Verdict::Delete => {
                self.coverage.count("verdict: delete");
                // A deletion may get lost, too.
                if self.calm() || !self.random.once_in(60) {
                    self.queue.messages.remove(&invocation.message);
                }
            }
            Verdict::Return { pause, .. } => {
                self.coverage.count("verdict: return");
                self.return_message(invocation, i64::try_from(pause.as_millis()).unwrap_or(0));
            }
            Verdict::Fault { .. } => {
                self.coverage.count("verdict: fault");
                let doublings = invocation.receives.saturating_sub(1).min(10);
                self.return_message(invocation, (5_000_i64 << doublings).min(900_000));
            }
            Verdict::Park { reason } => self.queue.park(invocation.message, &reason),
        }
    }
}

fn left(deadline: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(deadline - 1_000 - now).unwrap_or(0))
}
