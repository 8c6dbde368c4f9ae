//! Too much at once: what one person can take, how many incidents of one tenant are told one by one, and what only flaps.
//!
//! Nothing is dropped: what is too much is held, and comes in one message that counts it.

use crate::incident::{KeyState, Step};
use crate::policy::{Ceiling, Flapping, Window};
use crate::schema::Instant;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most messages that a contact's memory holds: more than any window counts.
const REMEMBERED: usize = 64;

/// What was sent to one address or number lately, and when the message comes that holds what was too much. Times are seconds since
/// the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// When messages were sent, or are going to be, ascending.
    #[serde(default)]
    pub sent: Vec<i64>,
    /// When the message with everything that waits comes.
    #[serde(default)]
    pub bundle_at: i64,
    /// When ends went although there was no room, within the last minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<i64>,
    /// When critical first words did: many ends at once are not to keep one back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<i64>,
    /// When the message with the critical first words comes that are more than those.
    #[serde(default)]
    pub critical_at: i64,
}

/// What may go although its contact has had enough for now, so often a minute; each of the two for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// The first word of something critical. More of them wait for the next minute and no longer, however full the windows are.
    Critical,
    /// The end of something that was told.
    End,
}

/// When a contact may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Now.
    Now,
    /// In the one message at that time, a full minute.
    Then(Timestamp),
}

impl Contact {
    /// Whether one more message may go now, and what is to be remembered of it. What waits together has one place in all windows.
    /// `exempt` with how many of its kind may go in a minute.
    #[must_use]
    pub fn ask(&self, windows: &[Window], now: Timestamp, exempt: Option<(Exempt, u32)>) -> (May, Self) {
        let second = now.as_second();
        let longest = windows.iter().map(Window::seconds).max().unwrap_or(0);
        let after = |times: &[i64], limit: i64| times.iter().copied().filter(|at| *at > limit).collect::<Vec<i64>>();
        let mut then = Self {
            // A window ends with a minute, so the minute in which it begins counts whole.
            sent: after(&self.sent, second - longest - 60),
            exempt: after(&self.exempt, second - 60),
            critical: after(&self.critical, second - 60),
            ..*self
        };
        let waits = self.bundle_at > second;
        if !waits && room(windows, &then.sent, second) {
            remember(&mut then.sent, second);
            return (May::Now, then);
        }
        if let Some((kind, most)) = exempt {
            let passed = match kind {
                Exempt::Critical => &mut then.critical,
                Exempt::End => &mut then.exempt,
            };
            if passed.len() < usize::try_from(most).unwrap_or(usize::MAX) {
                passed.push(second);
                remember(&mut then.sent, second);
                return (May::Now, then);
            }
        }
        let next = (second.div_euclid(60) + 1) * 60;
        let place =
            if matches!(exempt, Some((Exempt::Critical, _))) { &mut then.critical_at } else { &mut then.bundle_at };
        if *place > second {
            return (May::Then(moment(*place)), self.clone());
        }
        let mut minute = next;
        while exempt.is_none_or(|(kind, _)| kind != Exempt::Critical) && !room(windows, &then.sent, minute) {
            minute += 60;
        }
        *place = minute;
        // What waits for the same minute already is one message with it.
        if then.bundle_at != then.critical_at {
            remember(&mut then.sent, minute);
        }
        (May::Then(moment(minute)), then)
    }
}

/// Whether each window that ends with the minute of `at` has room. Minutes are the clock's: the next free one is never far.
fn room(windows: &[Window], sent: &[i64], at: i64) -> bool {
    let minute = |second: i64| second.div_euclid(60);
    windows.iter().all(|window| {
        let (last, first) = (minute(at), minute(at) - i64::from(window.minutes));
        let within = sent.iter().filter(|sent| (first + 1..=last).contains(&minute(**sent))).count();
        within < usize::try_from(window.messages).unwrap_or(usize::MAX)
    })
}

fn remember(sent: &mut Vec<i64>, at: i64) {
    sent.push(at);
    sent.sort_unstable();
    let beyond = sent.len().saturating_sub(REMEMBERED);
    sent.drain(..beyond);
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

impl Ceiling {
    /// The number of the window that a moment is in, and its end.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> (i64, Timestamp) {
        let length = i64::from(self.minutes.max(1)) * 60;
        let number = now.as_second().div_euclid(length);
        (number, moment((number + 1) * length))
    }
}

/// How often the incidents of one key opened within the window that its first opening began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Openings {
    /// The first of them.
    #[schemars(with = "Instant")]
    pub since: Timestamp,
    /// How many, with this one.
    pub count: u32,
}

impl Openings {
    /// One more opening, after those that the key remembers.
    #[must_use]
    pub fn again(before: Option<Self>, flapping: &Flapping, now: Timestamp) -> Self {
        let window = SignedDuration::from_mins(i64::from(flapping.minutes));
        match before.filter(|before| now.duration_since(before.since) < window) {
            Some(before) => Self { since: before.since, count: before.count.saturating_add(1) },
            None => Self { since: now, count: 1 },
        }
    }

    /// Until when what flaps is held; `None` while it does not.
    #[must_use]
    pub fn held_until(&self, flapping: &Flapping) -> Option<Timestamp> {
        (self.count > flapping.openings).then(|| {
            let window = SignedDuration::from_mins(i64::from(flapping.minutes));
            self.since.saturating_add(window).unwrap_or(self.since)
        })
    }
}

/// The same step, where what opens knows how often its key opened lately.
#[must_use]
pub fn counted(step: Step, remembered: Option<&KeyState>, flapping: &Flapping, now: Timestamp) -> Step {
    match step {
        Step::Open(mut pair) => {
            pair.0.openings = Some(Openings::again(remembered.and_then(|key| key.openings), flapping, now));
            Step::Open(pair)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use proptest::prelude::*;

    const CRITICAL: Option<(Exempt, u32)> = Some((Exempt::Critical, 3));
    const END: Option<(Exempt, u32)> = Some((Exempt::End, 3));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// What came of messages at these seconds: 0 for at once, else the second of the bundle.
    fn told(windows: &[Window], seconds: &[i64]) -> Vec<i64> {
        let mut contact = Contact::default();
        let ask = |second: &i64| {
            let (may, after) = contact.ask(windows, at(*second), None);
            contact = after;
            match may {
                May::Now => 0,
                May::Then(then) => then.as_second() - 1_800_000_000,
            }
        };
        seconds.iter().map(ask).collect()
    }

    #[test]
    fn what_is_too_much_waits_for_one_message_in_the_next_free_minute() {
        let one = [Window { messages: 1, minutes: 1 }];
        assert_eq!(told(&one, &[0, 1, 2, 59, 60, 61, 119, 120]), [0, 60, 60, 60, 120, 120, 120, 180]);
        assert_eq!(told(&one, &[0, 70, 200]), [0, 0, 0]);
        assert_eq!(
            told(&one, &[50, 55, 61]),
            [0, 60, 120],
            "the next minute is free, whenever in this one the first was"
        );
        let two = [Window { messages: 2, minutes: 1 }, Window { messages: 3, minutes: 15 }];
        // The second window is full until the first of its three is a quarter of an hour old.
        assert_eq!(told(&two, &[0, 1, 2, 61, 62]), [0, 0, 60, 900, 900]);
        assert_eq!(told(&two, &[0, 1, 2, 121, 122, 905]), [0, 0, 60, 900, 900, 0]);
    }

    #[test]
    fn a_critical_first_word_goes_at_once_three_times_a_minute() {
        let one = [Window { messages: 1, minutes: 1 }];
        let mut contact = Contact::default();
        let mut ask = |second, exempt| {
            let (may, after) = contact.ask(&one, at(second), exempt);
            contact = after;
            may
        };
        assert_eq!(ask(0, None), May::Now);
        assert_eq!(ask(1, None), May::Then(at(60)));
        for second in 2..5 {
            assert_eq!(ask(second, CRITICAL), May::Now);
        }
        assert_eq!(ask(5, CRITICAL), May::Then(at(60)), "the fourth within a minute");
        assert_eq!(ask(63, CRITICAL), May::Now);
    }

    #[test]
    fn a_storm_of_others_does_not_keep_back_what_is_critical() {
        let ten = [Window { messages: 10, minutes: 1 }];
        let mut contact = Contact::default();
        let mut ask = |second, exempt| {
            let (may, after) = contact.ask(&ten, at(second), exempt);
            contact = after;
            may
        };
        assert!((0..10).all(|second| ask(second, None) == May::Now));
        assert_eq!(ask(10, None), May::Then(at(60)));
        assert!((11..14).all(|second| ask(second, CRITICAL) == May::Now));
        assert_eq!(ask(14, CRITICAL), May::Then(at(60)));
    }

    #[test]
    fn many_ends_do_not_keep_back_what_is_critical() {
        let sms = [Window { messages: 1, minutes: 1 }, Window { messages: 5, minutes: 15 }];
        let mut contact = Contact::default();
        let mut ask = |second, exempt| {
            let (may, after) = contact.ask(&sms, at(second), exempt);
            contact = after;
            may
        };
        // Six ends: one has room, three may go without, the others wait until all windows have room.
        assert!((0..4).all(|second| ask(second, END) == May::Now));
        assert_eq!(ask(4, END), May::Then(at(60)));
        assert_eq!(ask(61, END), May::Now, "of a new minute");
        assert_eq!(ask(62, None), May::Then(at(900)));
        // Whatever waits and however full it is: three at once, the rest in the next minute, together.
        assert!((63..66).all(|second| ask(second, CRITICAL) == May::Now));
        assert_eq!((ask(66, CRITICAL), ask(67, CRITICAL)), (May::Then(at(120)), May::Then(at(120))));
        assert_eq!(ask(68, None), May::Then(at(900)), "what else waits keeps its place");
        assert_eq!(ask(124, CRITICAL), May::Now);
    }

    #[test]
    fn windows_of_the_ceiling_are_the_clocks() {
        let ceiling = Ceiling { incidents: 1, minutes: 5 };
        let (first, end) = ceiling.window(at(1));
        assert_eq!((end, ceiling.window(at(299)).0), (at(300), first));
        assert_eq!(ceiling.window(at(300)), (first + 1, at(600)));
    }

    #[test]
    fn what_opens_again_and_again_is_held_until_its_window_ends() {
        let flapping = Flapping { openings: 2, minutes: 30 };
        let first = Openings::again(None, &flapping, at(0));
        let second = Openings::again(Some(first), &flapping, at(100));
        let third = Openings::again(Some(second), &flapping, at(1_799));
        assert_eq!((first.count, second.held_until(&flapping)), (1, None));
        assert_eq!((third.count, third.held_until(&flapping)), (3, Some(at(1_800))));
        let later = Openings::again(Some(third), &flapping, at(1_800));
        assert_eq!(later, Openings { since: at(1_800), count: 1 }, "the window is fixed, not pushed on");
    }

    proptest! {
        #[test]
        fn no_window_ever_has_more_than_it_may(gaps in proptest::collection::vec(0i64..90, 1..200)) {
            let policy = Policy::embedded().unwrap();
            for windows in policy.storms.contacts.values() {
                let mut contact = Contact::default();
                let (mut second, mut sent) = (0, std::collections::BTreeSet::new());
                for gap in &gaps {
                    second += gap;
                    let (may, after) = contact.ask(windows, at(second), None);
                    contact = after;
                    match may {
                        May::Now => {
                            sent.insert((second, sent.len()));
                        }
                        // One message, however many wait for it.
                        May::Then(then) => {
                            prop_assert!(then > at(second) && then.as_second() % 60 == 0);
                            sent.insert((then.as_second() - 1_800_000_000, usize::MAX));
                        }
                    }
                }
                for window in windows {
                    let first = |end: &i64| end / 60 - i64::from(window.minutes) + 1;
                    for (end, _) in &sent {
                        let within = sent.iter().filter(|(one, _)| (first(end)..=end / 60).contains(&(one / 60))).count();
                        prop_assert!(within <= usize::try_from(window.messages).unwrap(), "{within} in {window:?}");
                    }
                }
            }
        }
    }
}
