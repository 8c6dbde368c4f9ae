//! Providers and endpoints: what they accept, and how they fail.

use crate::random::Random;
use crate::scenario::Scenario;
use crate::table::DeliveryKey;
use domain::attempt::{AttemptFailure, RetryVerdict};
use domain::tenant::Destination;
use domain::vocabulary::{Channel, ChannelClass};
use pipeline::{Accepted, SendFailure};
use std::collections::BTreeMap;

/// How a destination answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// It accepts almost everything.
    Good,
    /// It fails often, for as long as there are faults.
    Flaky,
    /// It never accepts anything.
    Dead,
    /// It refuses everything permanently.
    Refusing,
    /// It says that it is gone.
    Gone,
}

/// A message that arrived.
#[derive(Clone, Debug)]
pub struct ArrivedMessage {
    /// When it arrived, in milliseconds since 1970.
    pub at: i64,
    /// Number of the attempt.
    pub attempt: u32,
}

/// All receivers of a world.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// How each destination answers.
    pub tempers: BTreeMap<String, Temper>,
    /// What arrived, in the order of its arrival.
    pub inbox: BTreeMap<DeliveryKey, Vec<ArrivedMessage>>,
}

/// What one request does and answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Whether the message arrived.
    pub arrived: bool,
    /// What the sender learns.
    pub answer: Result<Accepted, SendFailure>,
}

impl Receivers {
    /// The receivers of a scenario's destinations. Without faults all are good.
    #[must_use]
    pub fn new(scenario: &Scenario, random: &mut Random) -> Self {
        let mut tempers = BTreeMap::new();
        for (_, destination) in scenario.tenants.iter().flat_map(|one| &one.destinations) {
            let is_endpoint = matches!(destination, Destination::Integration(_));
            let temper = match random.between(0, 24) {
                _ if !scenario.faults => Temper::Good,
                0 => Temper::Dead,
                1 => Temper::Refusing,
                2 if is_endpoint => Temper::Gone,
                3..=6 => Temper::Flaky,
                _ => Temper::Good,
            };
            tempers.insert(destination.id().to_owned(), temper);
        }
        Self { tempers, inbox: BTreeMap::new() }
    }

    /// Answers one request to `destination`. `calm` is after the time of faults.
    pub fn answer(&self, destination: &str, channel: Channel, calm: bool, random: &mut Random) -> Reply {
        let temper = self.tempers.get(destination).copied().unwrap_or(Temper::Good);
        let refused = |answer| Reply { arrived: false, answer: Err(answer) };
        match temper {
            Temper::Dead => return refused(failed("http_500", RetryVerdict::Retry, false, false)),
            Temper::Refusing => return refused(failed("http_403", RetryVerdict::Refused, false, false)),
            Temper::Gone => return refused(failed("http_410", RetryVerdict::Gone, false, false)),
            Temper::Good | Temper::Flaky => {}
        }
        let accepted =
            Reply { arrived: true, answer: Ok(Accepted { provider_id: Some(format!("m-{}", random.number())) }) };
        if calm || !random.once_in(if temper == Temper::Flaky { 2 } else { 12 }) {
            return accepted;
        }
        let provider = matches!(channel.class(), ChannelClass::Email | ChannelClass::Sms);
        match random.between(0, 8) {
            0 | 1 => refused(failed("http_503", RetryVerdict::Retry, false, channel == Channel::Slack)),
            // The answer came too late: nobody knows whether the message arrived.
            2 => Reply { arrived: random.once_in(2), answer: Err(failed("timeout", RetryVerdict::Retry, true, false)) },
            3 => refused(failed("http_429", RetryVerdict::Retry, true, false)),
            4 | 5 if provider => refused(SendFailure::Throttled),
            6 if provider => refused(SendFailure::QuotaExhausted),
            7 => refused(SendFailure::unavailable("kms")),
            _ => accepted,
        }
    }

    /// Records that a message arrived.
    pub fn arrive(&mut self, key: DeliveryKey, at: i64, attempt: u32) {
        self.inbox.entry(key).or_default().push(ArrivedMessage { at, attempt });
    }
}

fn failed(cause: &str, verdict: RetryVerdict, slow_down: bool, plain: bool) -> SendFailure {
    let failed = AttemptFailure { cause: cause.to_owned(), retry_after: None, slow_down, verdict };
    SendFailure::Failed { failed, status: None, response: String::new(), plain }
}
