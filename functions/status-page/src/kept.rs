//! What was read lately, kept in the process for a few seconds: whatever is asked, and however often, each environment reads the table at most
//! that often.

use domain::ids::IncidentId;
use domain::status::PublishedUpdate;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::public::PublicIncidents;

/// How long a read counts. Browsers and caches keep a response for 15 seconds anyway.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// The most timelines kept. Beyond that all are forgotten, so that no number of incidents fills the memory.
const TIMELINES_MAX: usize = 500;

/// A timeline, with how many entries were asked for.
type KeptTimeline = (Instant, usize, Arc<Vec<PublishedUpdate>>);

/// The list of incidents and their timelines, as read lately.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    incidents: Mutex<Option<(Instant, Arc<PublicIncidents>)>>,
    timelines: Mutex<BTreeMap<IncidentId, KeptTimeline>>,
}

impl Kept {
    /// Returns the list, if it was read lately.
    pub(crate) fn incidents(&self, now: Instant) -> Option<Arc<PublicIncidents>> {
        let kept = self.incidents.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(at, _)| now.duration_since(*at) < KEPT_FOR).map(|(_, all)| all.clone())
    }

    /// Keeps the list that was read at `now`.
    pub(crate) fn keep_incidents(&self, all: PublicIncidents, now: Instant) -> Arc<PublicIncidents> {
        let all = Arc::new(all);
        *self.incidents.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, all.clone()));
        all
    }

    /// Returns an incident's timeline, if it was read lately with at least `entries` entries.
    pub(crate) fn timeline(&self, id: &IncidentId, entries: usize, now: Instant) -> Option<Arc<Vec<PublishedUpdate>>> {
        let kept = self.timelines.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, asked, timeline) = kept.get(id)?;
        (now.duration_since(*at) < KEPT_FOR && *asked >= entries).then(|| timeline.clone())
    }

    /// Keeps a timeline that was read at `now` with `entries` entries.
    pub(crate) fn keep_timeline(
        &self,
        id: &IncidentId,
        entries: usize,
        timeline: Vec<PublishedUpdate>,
        now: Instant,
    ) -> Arc<Vec<PublishedUpdate>> {
        let timeline = Arc::new(timeline);
        let mut kept = self.timelines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TIMELINES_MAX {
            kept.clear();
        }
        kept.insert(id.clone(), (now, entries, timeline.clone()));
        timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_counts_for_five_seconds_and_memory_is_bounded() {
        let (kept, now) = (Kept::default(), Instant::now());
        assert!(kept.incidents(now).is_none());
        kept.keep_incidents(PublicIncidents { incidents: Vec::new(), complete_since: None }, now);
        assert!(kept.incidents(now + Duration::from_millis(4_999)).is_some());
        assert!(kept.incidents(now + KEPT_FOR).is_none());

        let id = IncidentId::new("a");
        kept.keep_timeline(&id, 10, Vec::new(), now);
        assert!(kept.timeline(&id, 10, now).is_some() && kept.timeline(&id, 11, now).is_none());
        for number in 0..=TIMELINES_MAX {
            kept.keep_timeline(&IncidentId::new(&format!("n{number}")), 1, Vec::new(), now);
        }
        assert!(kept.timelines.lock().unwrap().len() <= TIMELINES_MAX);
    }
}
