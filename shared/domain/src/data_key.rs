//! The generations of the data key: when one may end, and what must be true before.
//!
//! The newest generation seals secrets and signs links. Older ones open what they sealed and prove what they signed, until nothing needs
//! them. A leaked one ends at once for links, and for secrets as soon as they are sealed again.

use crate::link::LinkPurpose;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a process uses its keyring before it looks whether the data keys have changed.
pub const RECHECK: SignedDuration = SignedDuration::from_secs(30);
/// How long a process uses a keyring that it could not check. After that it fails, and messages are tried again.
pub const UNCHECKED_MAX: SignedDuration = SignedDuration::from_secs(120);
/// After this long, no process seals or signs with an earlier generation: [`UNCHECKED_MAX`] and the 20 seconds that an invocation of a
/// function that seals may take, rounded up.
pub const SETTLING: SignedDuration = SignedDuration::from_secs(180);
/// How many items are named that cannot be sealed again.
const EXAMPLES_MAX: usize = 10;

/// One generation of the data key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyGeneration {
    /// Its number, from 1 and without gaps.
    pub number: u32,
    /// When it was made. From then on it seals and signs, until the next one is made.
    pub created_at: Timestamp,
    /// From when no process seals or signs with an earlier one.
    pub settled_at: Timestamp,
    /// When its links were ended before their time; `None` if they live out their lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links_ended_at: Option<Timestamp>,
    /// When its key was deleted; `None` while it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

impl DataKeyGeneration {
    /// A generation that is made at `now`. `settling` is [`SETTLING`] outside the local stack.
    #[must_use]
    pub fn made(number: u32, now: Timestamp, settling: SignedDuration) -> Self {
        let settled_at = now.saturating_add(settling).unwrap_or(Timestamp::MAX);
        Self { number, created_at: now, settled_at, links_ended_at: None, retired_at: None }
    }

    /// Whether a link that it signed may still work.
    #[must_use]
    pub fn has_links(&self) -> bool {
        self.links_ended_at.is_none() && self.retired_at.is_none()
    }
}

/// A pass over sealed values, which seals each with the newest generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResealPass {
    /// The generation that it seals with.
    pub generation: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it had seen everything; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Where it goes on; `None` at the beginning and after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Values that it sealed again.
    #[serde(default)]
    pub resealed: u64,
    /// Values by the generation that they were sealed by when the pass had seen them.
    #[serde(default)]
    pub sealed_by: BTreeMap<String, u64>,
    /// Items that could not be read. What is sealed in them is not known.
    #[serde(default)]
    pub unread: u64,
    /// Values that no generation opens. They were lost before the pass.
    #[serde(default)]
    pub unopened: u64,
    /// Some of the unread and unopened, by name.
    #[serde(default)]
    pub examples: Vec<String>,
}

impl ResealPass {
    /// Begins a pass.
    #[must_use]
    pub fn new(generation: u32, now: Timestamp) -> Self {
        Self {
            generation,
            started_at: now,
            finished_at: None,
            cursor: None,
            resealed: 0,
            sealed_by: BTreeMap::new(),
            unread: 0,
            unopened: 0,
            examples: Vec::new(),
        }
    }

    /// Returns the pass to work on: the stored one if it goes on, or if it has seen everything since every process seals with `newest`;
    /// otherwise another one.
    #[must_use]
    pub fn resume(stored: Option<Self>, newest: &DataKeyGeneration, now: Timestamp) -> Self {
        match stored {
            Some(pass) if pass.generation == newest.number && pass.finished_at.is_none() => pass,
            Some(pass) if pass.is_complete(newest) => pass,
            // What a finished pass saw too early is seen again.
            _ => Self::new(newest.number, now),
        }
    }

    /// Whether nothing is sealed by an earlier generation than `newest`: the pass began when no process sealed with an earlier one any more,
    /// and read everything.
    #[must_use]
    pub fn is_complete(&self, newest: &DataKeyGeneration) -> bool {
        self.finished_at.is_some()
            && self.generation == newest.number
            && self.unread == 0
            && self.started_at >= newest.settled_at
            && self.left() == 0
    }

    /// Values that are still sealed by an earlier generation.
    #[must_use]
    pub fn left(&self) -> u64 {
        let newest = self.generation.to_string();
        self.sealed_by.iter().filter(|(generation, _)| **generation != newest).map(|(_, count)| count).sum()
    }

    /// Counts a value that is sealed by `generation` from here on.
    pub fn count_sealed(&mut self, generation: u32) {
        *self.sealed_by.entry(generation.to_string()).or_default() += 1;
    }

    /// Counts a value that was sealed again.
    pub fn count_resealed(&mut self) {
        self.resealed += 1;
        self.count_sealed(self.generation);
    }

    /// Counts an item that could not be read.
    pub fn count_unread(&mut self, name: String) {
        self.unread += 1;
        self.name(name);
    }

    /// Counts a value that no generation opens.
    pub fn count_unopened(&mut self, name: String) {
        self.unopened += 1;
        self.name(name);
    }

    fn name(&mut self, name: String) {
        if self.examples.len() < EXAMPLES_MAX && !self.examples.contains(&name) {
            self.examples.push(name);
        }
    }
}

/// Returns until when links may work that this generation signed: `None` if it is the newest one, or if its links have ended.
#[must_use]
pub fn links_work_until(generation: &DataKeyGeneration, ring: &[DataKeyGeneration]) -> Option<Timestamp> {
    let next = ring.iter().find(|other| other.number == generation.number + 1)?;
    if !generation.has_links() {
        return None;
    }
    let longest = LinkPurpose::ALL.iter().map(|purpose| purpose.lifetime()).max()?;
    // A link works until the end of its last day.
    next.settled_at.saturating_add(longest + SignedDuration::from_hours(24)).ok()
}

/// What a retirement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// There is no such generation.
    Unknown,
    /// It is the newest one, which seals and signs.
    Newest,
    /// Links that it signed work until then.
    Links(Timestamp),
    /// Processes may seal with it until then.
    Settling(Timestamp),
    /// A pass over the sealed values has not seen all of them, or some are still sealed by it.
    Sealed,
}

/// Whether the key of a generation may be deleted at `now`. `passes` are those over everything that is sealed.
///
/// # Errors
/// What it waits for.
pub fn may_retire(
    number: u32,
    ring: &[DataKeyGeneration],
    passes: &[Option<ResealPass>],
    now: Timestamp,
) -> Result<(), NotYet> {
    let generation = ring.iter().find(|one| one.number == number).ok_or(NotYet::Unknown)?;
    let newest = ring.iter().max_by_key(|one| one.number).ok_or(NotYet::Unknown)?;
    if newest.number == number {
        return Err(NotYet::Newest);
    }
    if let Some(until) = links_work_until(generation, ring).filter(|until| *until > now) {
        return Err(NotYet::Links(until));
    }
    if newest.settled_at > now {
        return Err(NotYet::Settling(newest.settled_at));
    }
    let complete = |pass: &Option<ResealPass>| pass.as_ref().is_some_and(|pass| pass.is_complete(newest));
    if passes.iter().all(complete) { Ok(()) } else { Err(NotYet::Sealed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).unwrap()
    }

    fn generation(number: u32, created: i64) -> DataKeyGeneration {
        DataKeyGeneration::made(number, at(created), SETTLING)
    }

    /// Generation 1, and 2 from second 1000.
    fn ring() -> Vec<DataKeyGeneration> {
        vec![generation(1, 0), generation(2, 1_000)]
    }

    fn pass(started: i64) -> Option<ResealPass> {
        let mut pass = ResealPass::new(2, at(started));
        pass.count_resealed();
        pass.finished_at = Some(at(started + 10));
        Some(pass)
    }

    const DAY: i64 = 86_400;

    #[test]
    fn a_generation_is_kept_for_as_long_as_any_link_that_it_signed() {
        let ring = ring();
        let good = [pass(2_000), pass(2_000)];
        let until = at(1_000 + 180 + 401 * DAY);
        assert_eq!(links_work_until(&ring[0], &ring), Some(until));
        assert_eq!(may_retire(1, &ring, &good, at(3_000)), Err(NotYet::Links(until)));
        assert_eq!(may_retire(1, &ring, &good, at(1_000 + 179 + 401 * DAY)), Err(NotYet::Links(until)));
        assert_eq!(may_retire(1, &ring, &good, until), Ok(()));
        // Whatever a link is for, its last day is over by then.
        for purpose in LinkPurpose::ALL {
            let last = crate::link::expiry_day(*purpose, at(1_000 + 180)).to_string();
            assert!(!crate::link::is_alive(&last, until), "{purpose:?}");
        }
        assert_eq!(links_work_until(&ring[1], &ring), None, "nobody knows when the newest will be replaced");
    }

    #[test]
    fn without_links_a_generation_ends_once_nothing_can_be_sealed_by_it() {
        let mut ring = ring();
        ring[0].links_ended_at = Some(at(1_001));
        let settled = at(1_180);
        assert_eq!(may_retire(1, &ring, &[pass(1_001), pass(1_001)], at(1_179)), Err(NotYet::Settling(settled)));
        assert_eq!(may_retire(1, &ring, &[pass(1_001), pass(1_180)], at(1_300)), Err(NotYet::Sealed), "seen too early");
        assert_eq!(may_retire(1, &ring, &[pass(1_180), None], at(1_300)), Err(NotYet::Sealed));
        assert_eq!(may_retire(1, &ring, &[pass(1_180), pass(1_180)], at(1_300)), Ok(()));
        let spoilt = |spoil: fn(&mut ResealPass)| {
            let mut bad = pass(1_180).unwrap();
            spoil(&mut bad);
            may_retire(1, &ring, &[pass(1_180), Some(bad)], at(1_300))
        };
        assert_eq!(spoilt(|pass| pass.finished_at = None), Err(NotYet::Sealed));
        assert_eq!(spoilt(|pass| pass.count_unread("acme".into())), Err(NotYet::Sealed));
        assert_eq!(spoilt(|pass| pass.count_sealed(1)), Err(NotYet::Sealed));
        assert_eq!(spoilt(|pass| pass.generation = 1), Err(NotYet::Sealed));
        assert_eq!(spoilt(|pass| pass.count_unopened("x".into())), Ok(()), "what nobody can open needs no key");
    }

    #[test]
    fn the_newest_generation_and_one_that_never_was_do_not_end() {
        assert_eq!(may_retire(2, &ring(), &[], at(500 * DAY)), Err(NotYet::Newest));
        assert_eq!(may_retire(3, &ring(), &[], at(500 * DAY)), Err(NotYet::Unknown));
        assert_eq!(may_retire(1, &[], &[], at(0)), Err(NotYet::Unknown));
    }

    #[test]
    fn a_pass_goes_on_and_begins_again_only_if_it_saw_too_little() {
        let newest = generation(2, 1_000);
        let mut begun = ResealPass::new(2, at(1_001));
        begun.cursor = Some("7".into());
        assert_eq!(ResealPass::resume(Some(begun.clone()), &newest, at(5_000)), begun);
        assert_eq!(ResealPass::resume(pass(1_200), &newest, at(5_000)), pass(1_200).unwrap());
        for stale in [None, pass(1_100), Some(ResealPass { generation: 1, ..begun })] {
            assert_eq!(ResealPass::resume(stale, &newest, at(5_000)), ResealPass::new(2, at(5_000)));
        }
    }

    #[test]
    fn a_pass_names_a_few_of_what_it_could_not_read() {
        let mut pass = ResealPass::new(2, at(0));
        for number in 0..30 {
            pass.count_unread(format!("t{}", number / 2));
        }
        assert_eq!((pass.unread, pass.examples.len()), (30, 10));
    }
}
