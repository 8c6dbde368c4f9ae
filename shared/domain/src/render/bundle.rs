//! Many alerts as one, for channels that have no list of their own: SMS and chat.

use super::email::one_line;
use super::{count_inside, headline, late};
use crate::alert::Alert;
use crate::digest::SHOWN;
use crate::event::cut_chars;
use crate::maintenance::Inside;
use crate::vocabulary::Status;
use std::cmp::Reverse;

/// Characters of a title in the list.
const TITLE_MAX: usize = 80;

/// One alert that stands for several and for `more` that are only counted: it names each title, the worst first, and leads to the
/// worst. `storm`: they came because so much came at once; else its reader collects them. `None` for none.
#[must_use]
pub fn bundle(alerts: &[&Alert], more: u32, storm: bool) -> Option<Alert> {
    let mut sorted: Vec<&Alert> = alerts.to_vec();
    sorted.sort_by_key(|alert| (alert.status == Status::Resolved, Reverse(alert.severity), Reverse(alert.at)));
    let worst = *sorted.first()?;
    let all = sorted.len().saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
    let name = |alert: &Alert| {
        let mut title = one_line(&alert.title);
        cut_chars(&mut title, TITLE_MAX);
        title
    };
    let aside = |alert: &Alert| late(alert).or_else(|| count_inside(alert)).map(|aside| format!(" ({aside})"));
    let line = |alert: &&Alert| format!("{}: {}{}", headline(alert), name(alert), aside(alert).unwrap_or_default());
    let lines = sorted.iter().take(SHOWN).map(line);
    let mut message = lines.collect::<Vec<_>>().join("\n");
    let beyond = all - sorted.len().min(SHOWN);
    if beyond > 0 {
        message.push_str(&format!("\nand {beyond} more"));
    }
    let titles = sorted.iter().take(3).map(|alert| name(alert)).collect::<Vec<_>>().join("; ");
    if all == 1 {
        return Some(worst.clone());
    }
    let at_once = if storm { " at once" } else { "" };
    Some(Alert {
        title: format!("{all} alerts{at_once}: {titles}"),
        message,
        links: Vec::new(),
        openings: None,
        late_source: None,
        inside: Inside::default(),
        ..worst.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use crate::vocabulary::Severity;

    #[test]
    fn each_line_says_what_was_told_late_and_what_work_explained() {
        let late = Alert { late_source: Some("2026-11-23T08:02:00Z".parse().unwrap()), ..alert() };
        let work = super::super::tests::work();
        let one = bundle(&[&late, &work], 0, true).unwrap();
        assert!(
            one.message.contains("Outbound calls fail in Mumbai (happened 08:02Z, told us 08:31Z)"),
            "{}",
            one.message
        );
        assert!(one.message.contains("MAINTENANCE: New carrier (4 incidents during it)"), "{}", one.message);
        assert_eq!((one.late_source, one.inside.count()), (None, 0), "it is said of the line that it is true of");
    }

    #[test]
    fn one_alert_names_the_worst_and_counts_the_others() {
        let alerts: Vec<Alert> = (0..12)
            .map(|number| Alert {
                title: format!("Title\n{number}"),
                severity: if number == 7 { Severity::Error } else { Severity::Info },
                ..alert()
            })
            .collect();
        let all: Vec<&Alert> = alerts.iter().collect();
        let one = bundle(&all, 100, true).unwrap();
        assert!(one.title.starts_with("112 alerts at once: Title 7; Title 0;"), "{}", one.title);
        assert_eq!(one.severity, Severity::Error);
        assert_eq!(one.message.lines().count(), 11);
        assert!(
            one.message.starts_with("ERROR: Title 7\nINFO: ") && one.message.ends_with("\nand 102 more"),
            "{}",
            one.message
        );
        assert_eq!(bundle(&[], 3, true), None);
        let digest = bundle(&all, 0, false).unwrap();
        assert!(digest.title.starts_with("12 alerts: Title 7; Title 0;"), "{}", digest.title);
        assert_eq!(bundle(&all[..1], 0, false).unwrap(), *all[0], "one is itself");
    }
}
