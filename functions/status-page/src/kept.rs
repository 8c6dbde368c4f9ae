//! What was read lately, kept in the process for a few seconds: whatever is asked, and however often, each environment reads the table at most
//! that often.

use domain::ids::IncidentId;
use domain::status::{PublishedIncident, PublishedUpdate};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::public::PublicIncidents;

/// How long a read counts. Browsers and caches keep a response for 15 seconds anyway.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// The most timelines kept. Beyond that all are forgotten, so that no number of incidents fills the memory.
const TIMELINES_MAX: usize = 500;

/// A timeline that was read lately.
#[derive(Debug)]
struct KeptTimeline {
    read_at: Instant,
    /// How many entries were asked for.
    entries: usize,
    /// The incident's last change that was known then.
    updated_at: Timestamp,
    timeline: Arc<Vec<PublishedUpdate>>,
}

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

    /// Returns an incident's timeline, if it was read lately with at least `entries` entries, and not before the incident's last change: a page
    /// that says "Resolved" has the update that says so.
    pub(crate) fn timeline(
        &self,
        incident: &PublishedIncident,
        entries: usize,
        now: Instant,
    ) -> Option<Arc<Vec<PublishedUpdate>>> {
        let kept = self.timelines.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&incident.id)?;
        let is_fresh = now.duration_since(kept.read_at) < KEPT_FOR && kept.updated_at >= incident.updated_at;
        (is_fresh && kept.entries >= entries).then(|| kept.timeline.clone())
    }

    /// Keeps a timeline that was read at `now` with `entries` entries.
    pub(crate) fn keep_timeline(
        &self,
        incident: &PublishedIncident,
        entries: usize,
        timeline: Vec<PublishedUpdate>,
        now: Instant,
    ) -> Arc<Vec<PublishedUpdate>> {
        let timeline = Arc::new(timeline);
        let mut kept = self.timelines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TIMELINES_MAX {
            kept.clear();
        }
        let updated_at = incident.updated_at;
        kept.insert(
            incident.id.clone(),
            KeptTimeline { read_at: now, entries, updated_at, timeline: timeline.clone() },
        );
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

        let incident = |id: &str, second: i64| -> PublishedIncident {
            serde_json::from_value(
                serde_json::json!({"id": format!("inc_{id}"), "title": "t", "status": "investigating",
                "severity": "error", "components": [], "regions": [], "started_at": "2026-11-23T00:00:00Z",
                "updated_at": Timestamp::from_second(second).unwrap(), "resolved_at": null}),
            )
            .unwrap()
        };
        let one = incident("a", 1);
        kept.keep_timeline(&one, 10, Vec::new(), now);
        assert!(kept.timeline(&one, 10, now).is_some() && kept.timeline(&one, 11, now).is_none());
        assert!(kept.timeline(&incident("a", 2), 10, now).is_none(), "it has changed since");
        for number in 0..=TIMELINES_MAX {
            kept.keep_timeline(&incident(&format!("n{number}"), 1), 1, Vec::new(), now);
        }
        assert!(kept.timelines.lock().unwrap().len() <= TIMELINES_MAX);
    }
}
