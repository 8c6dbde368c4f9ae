//! The clock, the invocations, and what goes wrong.

mod classify;
mod confirm;
mod contacts;
mod deliver;
mod feedback;
mod log;
mod names;
mod people;
mod release;
mod route;

use crate::coverage::Coverage;
use crate::queue::{Body, RECEIVES_MAX, SimulatedQueues};
use crate::random::Random;
use crate::receiver::Receivers;
use crate::scenario::{EVENT_KINDS, Scenario, Scene};
use crate::table::{DeliveryKey, SimulatedTable};
pub use contacts::{QuestionRecord, ReportFacts, Spell, current_contact};
use contracts::queue::{ConfirmationRequest, Lane};
use deliver::SenderState;
use domain::plan::DecisionOutcome;
use domain::policy::{Policy, PolicyFiles};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use feedback::ReportState;
pub use feedback::{HandledReport, SuppressionNotice};
use jiff::Timestamp;
pub use log::{DeferredRecord, Log, RefusalRecord, SentRecord};
use names::{counted_name, describe, effect_name};
use pipeline::classify::Classify;
use pipeline::confirm::Confirm;
use pipeline::deliver::Deliver;
use pipeline::feedback::Feedback;
use pipeline::release::Release;
use pipeline::route::Route;
use pipeline::{Answer, Fault, Turn, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

/// After the last scene things go wrong for so long, in milliseconds; then the world is calm.
const FAULTS_LAST: i64 = 3 * 3_600_000;
/// How long a world runs on after its last scene, in milliseconds: longer than any hold.
const RUN_ON: i64 = 9 * 86_400_000;
/// At which receive `runtime` gives up a message about an item that cannot be read.
const UNREADABLE_RECEIVES_MAX: u32 = 9;
/// How far the clocks of two invocations may differ from the world's, in milliseconds.
pub const SKEW_MAX: i64 = 1_500;
/// One effect in so many goes wrong in each of four ways.
const FAULTS_ONE_IN: i64 = 80;

/// The embedded policy with further rules: one for each generated kind of event, as it is and with a low balance.
pub static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let rule = |event_kind: usize, low_balance: bool| {
        let (category, kind) = EVENT_KINDS[event_kind];
        let event_type = event_type(event_kind, low_balance);
        let example = serde_json::json!({"source": "monitor", "type": event_type, "severity": "error", "title": "t"});
        serde_json::json!({
            "id": event_type.replace('.', "-"), "category": category, "kind": kind, "types": [event_type],
            "low_balance": low_balance, "document": "none", "examples": [example],
        })
    };
    let rules: Vec<_> = (0..EVENT_KINDS.len()).flat_map(|kind| [rule(kind, false), rule(kind, true)]).collect();
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    let classification = format!("{}\n{rules}", PolicyFiles::EMBEDDED.classification);
    match Policy::parse(&PolicyFiles { classification: &classification, ..PolicyFiles::EMBEDDED }) {
        Ok(policy) => policy,
        Err(errors) => panic!("the policy of the worlds is invalid: {errors:?}"),
    }
});

/// The event type of a generated kind of event.
fn event_type(event_kind: usize, low_balance: bool) -> String {
    format!("x.kind{event_kind}{}", if low_balance { ".low" } else { "" })
}

/// What happens next, and when.
#[derive(Clone, Debug)]
enum Event {
    /// A scene of the scenario, by its number.
    Scene(usize),
    /// A message becomes visible.
    Receive(u64),
    /// An invocation performs its next effect.
    Step(u64),
    /// The schedule of `release` fires.
    Minute,
    /// The owner of a contact allows what was asked.
    Answer {
        /// The question.
        request: Box<ConfirmationRequest>,
        /// The channel of the contact.
        channel: Channel,
    },
}

/// A story of one of the functions.
#[allow(clippy::large_enum_variant, reason = "there are few at a time")]
#[derive(Debug)]
enum Story {
    Classify(Classify),
    Route(Route),
    Deliver(Deliver),
    Release(Release),
    Feedback(Feedback),
    Confirm(Confirm),
}

/// One invocation of a function.
#[derive(Debug)]
struct Invocation {
    /// Number of its message; `None` for a scheduled run.
    message: Option<u64>,
    /// How often the message had been received, to tell its own visibility from a later one.
    receives: u32,
    story: Story,
    turn: Turn,
    skew: i64,
    deadline: i64,
    /// Whether something went wrong: then nobody expects it to be in time.
    disturbed: bool,
    /// Whether one of several writes that are made side by side is done and another is not.
    halfway: bool,
    /// What this run of `release` put into lists, with the number of the attempt.
    listed: BTreeSet<(DeliveryKey, u32)>,
    sender: SenderState,
    report: ReportState,
    /// The question that it sent, by the id of the admin's request.
    question: Option<String>,
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

    fn answer<T>(self, value: T) -> Answer<T> {
        match self {
            Self::Fails | Self::AnswerLost => Err(Fault::Unavailable { code: self.name().to_owned() }),
            Self::Done | Self::DiesBefore | Self::DiesAfter => Ok(value),
        }
    }
}

/// One simulated run.
#[derive(Debug)]
pub struct World {
    now: i64,
    random: Random,
    /// What happens in it.
    pub scenario: Scenario,
    /// The table that all functions share.
    pub table: SimulatedTable,
    /// The queues between the functions.
    pub queues: SimulatedQueues,
    /// The receivers, with what arrived there.
    pub receivers: Receivers,
    /// What happened, for the checks.
    pub log: Log,
    /// What was reached, for the last line of a run.
    pub coverage: Coverage,
    /// One line an effect, if the world is traced.
    pub trace: Vec<String>,
    traced: bool,
    /// The last scene, in milliseconds.
    last_scene: i64,
    events: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    running: BTreeMap<u64, Invocation>,
    /// When the schedule of `release` fires next, if there is something for it.
    next_minute: Option<i64>,
    limits: deliver::Limits,
    outside: contacts::Outside,
    /// When the message of each report was received first, by its number.
    first_received: BTreeMap<u64, i64>,
}

impl World {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let scenario = Scenario::new(seed, &mut random);
        let receivers = Receivers::new(&scenario, &mut random);
        let begin = scenario.begin.as_millisecond();
        let mut world = Self {
            now: begin,
            random,
            table: SimulatedTable::new(scenario.tenants.clone(), scenario.upgrading),
            queues: SimulatedQueues::default(),
            receivers,
            log: Log::default(),
            coverage: Coverage::default(),
            trace: Vec::new(),
            traced,
            last_scene: scenario.scenes.last().map_or(begin, |(at, _)| at.as_millisecond()),
            events: BTreeMap::new(),
            scheduled: 0,
            running: BTreeMap::new(),
            next_minute: None,
            limits: deliver::Limits::default(),
            outside: contacts::Outside::new(seed),
            first_received: BTreeMap::new(),
            scenario,
        };
        for number in 0..world.scenario.scenes.len() {
            let at = world.scenario.scenes[number].0.as_millisecond();
            world.schedule(at, Event::Scene(number));
        }
        world
    }

    /// The time of the world.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        timestamp(self.now)
    }

    /// Runs until nothing is left to do.
    pub fn run(&mut self) {
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > self.last_scene + RUN_ON {
                break;
            }
            self.now = self.now.max(at);
            match event {
                Event::Scene(number) => self.perform_scene(&self.scenario.scenes[number].1.clone()),
                Event::Receive(number) => self.receive(number),
                Event::Step(invocation) => self.step(invocation),
                Event::Minute => self.release_minute(),
                Event::Answer { request, channel } => {
                    self.note(|| format!("{} is answered", request.correlation_id));
                    self.allow(&request, channel);
                }
            }
            self.schedule_minute();
        }
        for ends in self.table.ends.values() {
            if let Some(end) = ends.last() {
                let name = end.outcome.map_or_else(Reason::as_str, |()| "accepted");
                self.coverage.count(format!("end: {name}"));
            }
        }
        self.count_contacts();
        for (state, many) in &self.table.states {
            self.coverage.count_many(format!("state: {state}"), *many);
        }
        for decision in self.table.plans.values().flatten().flat_map(|plan| &plan.decisions) {
            self.coverage.count(match &decision.outcome {
                DecisionOutcome::Deliver { .. } => "planned: deliver".to_owned(),
                DecisionOutcome::Hold { reason, .. } => format!("planned: hold for {}", reason.as_str()),
                DecisionOutcome::Skip { reason, .. } => format!("planned: skip for {}", reason.as_str()),
            });
        }
    }

    fn perform_scene(&mut self, scene: &Scene) {
        self.note(|| format!("{scene:?}"));
        match scene {
            Scene::Event(spec) => self.receive_event(spec),
            Scene::OperatorUpdate { tenant, key, status } => self.post_operator_update(*tenant, *key, *status),
            Scene::Stop { tenant, destination, key } => self.stop_notifications(*tenant, *destination, *key),
            Scene::Setting { tenant, to } => self.change_setting(*tenant, to),
            Scene::Ask { tenant, destination, channel } => self.ask(*tenant, *destination, *channel),
            Scene::Address { tenant, destination, second } => self.change_address(*tenant, *destination, *second),
            Scene::Unsubscribe { tenant, destination, category } => self.unsubscribe(*tenant, *destination, *category),
            Scene::Never { tenant, destination } => self.never_again(*tenant, *destination),
        }
    }

    fn calm(&self) -> bool {
        !self.scenario.faults || self.now > self.last_scene + FAULTS_LAST
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

    fn send(&mut self, body: Body, lane: Lane, delay_ms: i64) {
        let visible_at = self.now + delay_ms;
        let number = self.queues.send(body, lane, visible_at);
        self.schedule(visible_at, Event::Receive(number));
    }

    fn send_in_order(&mut self, body: Body, group: String, dedup: String) {
        if let Some(number) = self.queues.send_in_order(body, group, dedup, self.now) {
            self.schedule(self.now, Event::Receive(number));
        }
    }

    /// A function receives a message, if it is its turn.
    fn receive(&mut self, number: u64) {
        if !self.queues.is_next(number, self.now) {
            return;
        }
        let Some(queued) = self.queues.messages.get_mut(&number) else { return };
        if queued.receives >= RECEIVES_MAX {
            self.delete_message(number, Some("too many receives"));
            return;
        }
        queued.receives += 1;
        let (receives, lane, body) = (queued.receives, queued.lane, queued.body.clone());
        // Now and then other messages of the batch have used most of the time.
        let hurried = self.scenario.faults && self.random.once_in(10);
        let (timeout, hidden) = match &body {
            Body::Received(_) => (20_000, 120_000),
            Body::Routing(_) if hurried => (31_500, 360_000),
            Body::Routing(_) => (60_000, 360_000),
            Body::Delivery { message, .. } => match message.members().first().map(|first| first.channel) {
                Some(Channel::Webhook) => (20_000, 120_000),
                _ => (8_000, 48_000),
            },
            Body::Confirmation { .. } => (8_000, 48_000),
            Body::Report { .. } => (20_000, 120_000),
        };
        queued.visible_at = self.now + hidden;
        self.schedule(self.now + hidden, Event::Receive(number));
        // Standard queues deliver at least once: now and then to two functions at the same time.
        let standard = !matches!(body, Body::Received(_) | Body::Routing(_));
        let copies = if standard && !self.calm() && self.random.once_in(30) { 2 } else { 1 };
        if let (Body::Confirmation { request, .. }, 2) = (&body, copies) {
            // No row says that a question was sent.
            let question = self.log.questions.get_mut(&request.correlation_id);
            question.into_iter().for_each(|question| question.excused += 1);
        }
        for _ in 0..copies {
            let mut turn = self.first_turn(timeout, receives, lane);
            let mut report = ReportState::default();
            let (story, sender) = match body.clone() {
                Body::Received(message) => (Story::Classify(classify::begin(*message)), SenderState::default()),
                Body::Routing(job) => (Story::Route(pipeline::route::begin(*job)), SenderState::default()),
                Body::Delivery { message, version } => {
                    let sender = SenderState::of(&message, version);
                    (Story::Deliver(pipeline::deliver::begin(message, &mut turn)), sender)
                }
                Body::Confirmation { request, channel } => {
                    (Story::Confirm(pipeline::confirm::begin(request, channel)), SenderState::default())
                }
                Body::Report { text, facts: about } => {
                    report.facts = about;
                    report.first_at = *self.first_received.entry(number).or_insert(self.now);
                    (Story::Feedback(pipeline::feedback::begin(&text, &mut turn)), SenderState::default())
                }
            };
            let disturbed = copies > 1 || receives > 1;
            let id = self.start(Some(number), receives, story, turn, timeout, sender, disturbed);
            if let Some(invocation) = self.running.get_mut(&id) {
                invocation.report = report;
            }
        }
    }

    /// What an invocation that may last `timeout` milliseconds begins with.
    fn first_turn(&mut self, timeout: i64, receives: u32, lane: Lane) -> Turn {
        self.scheduled += 1;
        let skew = if self.scenario.faults { self.random.between(-SKEW_MAX, SKEW_MAX + 1) } else { 0 };
        Turn {
            now: timestamp(self.now + skew),
            left: left(self.now + timeout, self.now),
            receives,
            lane,
            jitter: self.random.fraction(),
            token: format!("t{}", self.scheduled),
            counted: Vec::new(),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one invocation, from two places")]
    fn start(
        &mut self,
        message: Option<u64>,
        receives: u32,
        story: Story,
        turn: Turn,
        timeout: i64,
        sender: SenderState,
        disturbed: bool,
    ) -> u64 {
        let skew = turn.now.as_millisecond() - self.now;
        self.scheduled += 1;
        let id = self.scheduled;
        // A new environment starts slowly, and a queue takes its time.
        let slow = !self.calm() && self.random.once_in(15);
        let wait = self.random.between(1, if slow { 3_000 } else { 60 });
        let deadline = self.now + timeout;
        let (halfway, listed, report, question) = (false, BTreeSet::new(), ReportState::default(), None);
        let invocation = Invocation {
            message,
            receives,
            story,
            turn,
            skew,
            deadline,
            disturbed,
            halfway,
            listed,
            sender,
            report,
            question,
        };
        self.running.insert(id, invocation);
        self.schedule(self.now + wait, Event::Step(id));
        id
    }

    /// An invocation performs its next effect, or dies.
    fn step(&mut self, id: u64) {
        let Some(mut invocation) = self.running.remove(&id) else { return };
        let effect = effect_name(&invocation.story);
        // A function's loop ends a second before Lambda does, and returns the message.
        if self.now >= invocation.deadline - 1_000 && effect != "end" {
            self.coverage.count("verdict: deadline");
            self.note(|| format!("{} reached its deadline before: {effect}", invocation.turn.token));
            self.disturb(&mut invocation);
            self.abandon_send(&invocation);
            self.excuse(&invocation);
            self.return_message(&invocation, 0);
            return;
        }
        if let Some(verdict) = ended(&invocation.story) {
            self.end(&invocation, verdict);
            return;
        }
        let fate = self.fate();
        self.coverage.count(format!("{effect}: {}", fate.name()));
        if fate != Fate::Done {
            self.disturb(&mut invocation);
        }
        if fate == Fate::DiesBefore {
            self.note(|| format!("{} died before: {effect}", invocation.turn.token));
            self.excuse(&invocation);
            return;
        }
        invocation.turn.left = left(invocation.deadline, self.now);
        // The answer comes at the time of the invocation's own clock.
        let started = std::mem::replace(&mut invocation.turn.now, timestamp(self.now + invocation.skew));
        let described = if self.traced { describe(&invocation.story) } else { String::new() };
        let story = std::mem::replace(&mut invocation.story, Story::Deliver(Deliver::End(Verdict::Delete)));
        invocation.story = match story {
            Story::Classify(story) => Story::Classify(self.perform_classify(story, &mut invocation, fate)),
            Story::Route(story) => Story::Route(self.perform_route(story, &mut invocation, fate)),
            Story::Release(story) => Story::Release(self.perform_release(story, &mut invocation, fate)),
            Story::Deliver(story) => Story::Deliver(self.perform_delivery(story, &mut invocation, fate, started)),
            Story::Feedback(story) => Story::Feedback(self.perform_feedback(story, &mut invocation, fate)),
            Story::Confirm(story) => Story::Confirm(self.perform_confirm(story, &mut invocation, fate)),
        };
        self.note(|| format!("{} {effect}: {} — {described}", invocation.turn.token, fate.name()));
        if fate == Fate::DiesAfter {
            self.excuse(&invocation);
            return;
        }
        for counted in std::mem::take(&mut invocation.turn.counted) {
            self.coverage.count(format!("counted: {}", counted_name(&counted)));
        }
        let wait = self.latency(&mut invocation);
        if invocation.disturbed {
            self.disturb(&mut invocation);
        }
        self.schedule(self.now + wait, Event::Step(id));
        self.running.insert(id, invocation);
    }

    fn fate(&mut self) -> Fate {
        if self.calm() {
            return Fate::Done;
        }
        match self.random.between(0, FAULTS_ONE_IN) {
            0 => Fate::DiesBefore,
            1 => Fate::DiesAfter,
            2 => Fate::Fails,
            3 => Fate::AnswerLost,
            _ => Fate::Done,
        }
    }

    /// How long until the next effect takes place, in milliseconds.
    fn latency(&mut self, invocation: &mut Invocation) -> i64 {
        let slow = !self.calm() && self.random.once_in(40);
        invocation.disturbed |= slow;
        let pause = match &invocation.story {
            Story::Deliver(Deliver::Write(write)) => write.pause().unwrap_or_default().as_millis(),
            _ => 0,
        };
        let sends = matches!(invocation.story, Story::Deliver(Deliver::Send(_)) | Story::Confirm(Confirm::Send(_)));
        i64::try_from(pause).unwrap_or(0)
            + match (sends, slow) {
                (true, true) => self.random.between(1_000, 20_000),
                (true, false) => self.random.between(20, 800),
                (false, true) => self.random.between(200, 8_000),
                (false, false) => self.random.between(1, 30),
            }
    }

    /// Notes what an invocation is busy with, because something went wrong: it may come late, or again.
    fn disturb(&mut self, invocation: &mut Invocation) {
        invocation.disturbed = true;
        match &invocation.story {
            Story::Deliver(_) => {
                self.log.disturbed.extend(invocation.sender.keys.iter().map(|key| key.thread.clone()));
            }
            Story::Route(story) => {
                if let Some(incident) = route::incident(story) {
                    let all = self.table.tenants.iter().map(|one| (incident.clone(), one.settings.tenant.clone()));
                    self.log.disturbed_plans.extend(all);
                }
            }
            // Whatever is due waits for the next run.
            Story::Release(_) => {
                let due = self.table.due_entries().filter(|due| due.at.as_millisecond() <= self.now + 120_000);
                self.log.disturbed_releases.extend(due.map(|due| DeliveryKey::of_due(due).thread));
            }
            Story::Classify(_) | Story::Feedback(_) | Story::Confirm(_) => {}
        }
    }

    /// What an invocation sent and did not mark is sent once more: the one duplicate that cannot be ruled out.
    fn excuse(&mut self, invocation: &Invocation) {
        for key in &invocation.sender.unmarked {
            *self.log.excused.entry(key.clone()).or_default() += 1;
        }
        self.excuse_question(invocation);
    }

    fn return_message(&mut self, invocation: &Invocation, pause_ms: i64) {
        let visible_at = self.now + pause_ms;
        let Some(number) = invocation.message else { return };
        if let Some(queued) =
            self.queues.messages.get_mut(&number).filter(|queued| queued.receives == invocation.receives)
        {
            queued.visible_at = visible_at;
            self.schedule(visible_at, Event::Receive(number));
        }
    }

    /// Returns a message as `runtime` does after a fault: each time for longer.
    fn return_after_fault(&mut self, invocation: &Invocation) {
        let doublings = invocation.receives.saturating_sub(1).min(10);
        self.return_message(invocation, (5_000_i64 << doublings).min(900_000));
    }

    /// Deletes a message; with a reason it becomes a dead letter.
    fn delete_message(&mut self, number: u64, dead: Option<&str>) {
        let Some((queued, next)) = self.queues.delete(number) else { return };
        if let Some(reason) = dead {
            self.queues.dead.push((queued.body, reason.to_owned()));
        }
        if let Some(next) = next {
            self.schedule(self.now, Event::Receive(next));
        }
    }

    fn end(&mut self, invocation: &Invocation, verdict: Verdict) {
        for key in &invocation.sender.unmarked {
            *self.log.excused.entry(key.clone()).or_default() += 1;
        }
        self.note_handled(invocation, &verdict);
        if verdict != Verdict::Delete {
            self.excuse_question(invocation);
        }
        self.note(|| format!("{} ended: {verdict:?}", invocation.turn.token));
        match verdict {
            Verdict::Delete => {
                self.coverage.count("verdict: delete");
                // A deletion may get lost, too.
                let Some(number) = invocation.message else { return };
                if self.calm() || !self.random.once_in(60) {
                    self.delete_message(number, None);
                } else {
                    self.excuse_question(invocation);
                }
            }
            Verdict::Return { pause, .. } => {
                self.coverage.count("verdict: return");
                self.return_message(invocation, i64::try_from(pause.as_millis()).unwrap_or(0));
            }
            Verdict::Fault { .. } => {
                self.coverage.count("verdict: fault");
                self.return_after_fault(invocation);
            }
            Verdict::Unreadable { .. } if invocation.receives < UNREADABLE_RECEIVES_MAX => {
                self.coverage.count("verdict: unreadable");
                self.return_after_fault(invocation);
            }
            Verdict::Unreadable { reason } | Verdict::Park { reason } => {
                if let Some(number) = invocation.message {
                    self.delete_message(number, Some(&reason));
                }
            }
        }
    }
}

/// How a story ended; `None` if it goes on.
fn ended(story: &Story) -> Option<Verdict> {
    match story {
        Story::Classify(Classify::End(verdict))
        | Story::Route(Route::End(verdict))
        | Story::Deliver(Deliver::End(verdict))
        | Story::Feedback(Feedback::End(verdict))
        | Story::Confirm(Confirm::End(verdict)) => Some(verdict.clone()),
        Story::Release(Release::End(_)) => Some(Verdict::Delete),
        _ => None,
    }
}

fn left(deadline: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(deadline - 1_000 - now).unwrap_or(0))
}

/// A time of the world, in milliseconds since 1970.
#[must_use]
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}
