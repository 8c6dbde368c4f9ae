//! Several alerts as one, for channels whose messages hold no list: SMS and chat.

use super::digest::BatchKind;
use super::{headline, late_report, list_title, suppressed_incident_count};
use crate::alert::Alert;
use crate::digest::ALERTS_LISTED_MAX;
use crate::event::truncate_chars;
use crate::maintenance::SuppressedIncidents;
use crate::vocabulary::Status;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Maximum length of an alert's title in the list, in characters.
const TITLE_MAX: usize = 80;

/// Combines `alerts` and `omitted_count` further ones, which are only counted, into one alert.
///
/// Its message lists the titles, open alerts first, then by severity and time. Its links lead to the first of them, whose severity and status
/// it has; places and start are those of all that are known. A single alert is returned as it is; `None` if `alerts` is empty.
#[must_use]
pub fn bundle(alerts: &[&Alert], omitted_count: u32, kind: BatchKind) -> Option<Alert> {
    let mut sorted: Vec<&Alert> = alerts.to_vec();
    sorted.sort_by_key(|alert| (alert.status == Status::Resolved, Reverse(alert.severity), Reverse(alert.at)));
    let worst = *sorted.first()?;
    let count = sorted.len().saturating_add(usize::try_from(omitted_count).unwrap_or(usize::MAX));
    if count == 1 {
        return Some(worst.clone());
    }
    let listed = sorted.len().min(ALERTS_LISTED_MAX);
    let mut message =
        sorted.iter().take(ALERTS_LISTED_MAX).map(|alert| list_line(alert)).collect::<Vec<_>>().join("\n");
    if count > listed {
        message.push_str(&format!("\nand {} more", count - listed));
    }
    let titles = sorted.iter().take(3).map(|alert| short_title(alert)).collect::<Vec<_>>().join("; ");
    let heading = match kind {
        BatchKind::Digest => format!("{count} alerts"),
        BatchKind::Bundle => format!("{count} alerts at once"),
    };
    let all = |names: fn(&Alert) -> &Vec<String>| {
        let distinct: BTreeSet<&String> = sorted.iter().flat_map(|alert| names(alert)).collect();
        distinct.into_iter().cloned().collect::<Vec<_>>()
    };
    Some(Alert {
        title: format!("{heading}: {titles}"),
        message,
        components: all(|alert| &alert.components),
        regions: all(|alert| &alert.regions),
        started_at: sorted.iter().map(|alert| alert.started_at).min().unwrap_or(worst.started_at),
        advice: String::new(),
        links: Vec::new(),
        key_details: Vec::new(),
        openings: None,
        late_source: None,
        suppressed_incidents: SuppressedIncidents::default(),
        ..worst.clone()
    })
}

/// Describes one alert of the list: headline, title, and a remark if it was reported late or suppressed incidents.
fn list_line(alert: &Alert) -> String {
    let line = format!("{}: {}", headline(alert), short_title(alert));
    match late_report(alert).or_else(|| suppressed_incident_count(alert)) {
        Some(remark) => format!("{line} ({remark})"),
        None => line,
    }
}

fn short_title(alert: &Alert) -> String {
    let mut title = list_title(alert);
    truncate_chars(&mut title, TITLE_MAX);
    title
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use crate::vocabulary::Severity;

    #[test]
    fn each_line_shows_late_reports_and_suppressed_incidents() {
        let late = Alert { late_source: Some("2026-11-23T08:02:00Z".parse().unwrap()), ..alert() };
        let maintenance = super::super::tests::maintenance_alert();
        let one = bundle(&[&late, &maintenance], 0, BatchKind::Bundle).unwrap();
        assert!(
            one.message.contains("Outbound calls fail in Mumbai (started 13:32 IST, reported 14:01 IST)"),
            "{}",
            one.message
        );
        assert!(
            one.message.contains("MAINTENANCE SCHEDULED: New carrier (4 incidents during maintenance)"),
            "{}",
            one.message
        );
        assert_eq!(
            (one.late_source, one.suppressed_incidents.count()),
            (None, 0),
            "the remark is in its own line only"
        );
    }

    #[test]
    fn a_bundle_lists_the_worst_alerts_and_counts_the_others() {
        let alerts: Vec<Alert> = (0..12)
            .map(|number| Alert {
                title: format!("Title\n{number}"),
                severity: if number == 7 { Severity::Error } else { Severity::Info },
                ..alert()
            })
            .collect();
        let all: Vec<&Alert> = alerts.iter().collect();
        let one = bundle(&all, 100, BatchKind::Bundle).unwrap();
        assert!(one.title.starts_with("112 alerts at once: Title 7; Title 0;"), "{}", one.title);
        assert_eq!(one.severity, Severity::Error);
        assert_eq!(one.message.lines().count(), 11);
        assert!(
            one.message.starts_with("ERROR: Title 7\nINFO: ") && one.message.ends_with("\nand 102 more"),
            "{}",
            one.message
        );
        assert_eq!(bundle(&[], 3, BatchKind::Bundle), None);
        let digest = bundle(&all, 0, BatchKind::Digest).unwrap();
        assert!(digest.title.starts_with("12 alerts: Title 7; Title 0;"), "{}", digest.title);
        assert_eq!(bundle(&all[..1], 0, BatchKind::Digest).unwrap(), *all[0], "a single alert is unchanged");
    }
}
