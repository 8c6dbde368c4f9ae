//! A digest: what was collected since the last one, in one e-mail.

use super::email::{Email, colour, escape, one_line};
use super::{INSIDE, headline, inside, lasted, status_of, when};
use crate::alert::Alert;
use crate::digest::SHOWN;
use crate::event::cut_chars;
use crate::ids::TenantId;
use crate::vocabulary::Status;
use jiff::Timestamp;
use std::cmp::Reverse;

/// Most characters of a title in a digest.
const TITLE_MAX: usize = 150;

/// One alert of a digest.
#[derive(Clone, Copy, Debug)]
pub struct Collected<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// Where to read on.
    pub url: &'a str,
}

/// Why and since when alerts come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// Since when.
    pub since: Timestamp,
    /// How many more there were, which are only counted.
    pub more: u32,
    /// True where so much came at once; else the recipient has a digest.
    pub storm: bool,
}

/// What comes together, in one e-mail: the worst and newest first, at most [`SHOWN`], and how many more there are. `unsubscribe` is what a link stops, and the link, for each category that is in it.
#[must_use]
pub fn digest_email(
    (tenant, zone): (&TenantId, &str),
    all: &[Collected<'_>],
    together: Together,
    unsubscribe: &[(String, String)],
) -> Email {
    let mut sorted: Vec<&Collected<'_>> = all.iter().collect();
    sorted
        .sort_by_key(|one| (one.alert.status == Status::Resolved, Reverse(one.alert.severity), Reverse(one.alert.at)));
    let over = all.iter().filter(|one| one.alert.status == Status::Resolved).count();
    let beyond = usize::try_from(together.more).unwrap_or(usize::MAX);
    let count = match all.len().saturating_add(beyond) {
        1 => "1 alert".to_owned(),
        number => format!("{number} alerts"),
    };
    let split = match together.more {
        0 => format!("{} open, {over} resolved", all.len() - over),
        _ => "too much at once".to_owned(),
    };
    let began = format!("Collected for {tenant} since {}.", when(together.since, zone));
    let (mut text, mut rows) = (format!("{count}: {split}\n{began}\n\n"), String::new());
    for Collected { alert, url } in sorted.iter().take(SHOWN) {
        let mut title = one_line(&alert.title);
        cut_chars(&mut title, TITLE_MAX);
        let stands = stands(alert);
        text.push_str(&format!("{}: {title}\n  {stands}\n  {url}\n\n", headline(alert)));
        rows.push_str(&format!(
            "<li style=\"margin:0 0 14px\"><span style=\"background:{};color:#ffffff;font-size:12px;font-weight:700;padding:2px 8px;\
             border-radius:4px\">{}</span> <a href=\"{}\" style=\"color:#2563c4;font-weight:600\">{}</a><br>\
             <span class=\"quiet\" style=\"color:#5b6470;font-size:14px\">{}</span></li>",
            colour(alert),
            escape(&headline(alert)),
            escape(url),
            escape(&title),
            escape(&stands)
        ));
    }
    let more = match all.len().saturating_sub(SHOWN).saturating_add(beyond) {
        0 => String::new(),
        number => format!("And {number} more, in the delivery log of the console."),
    };
    if !more.is_empty() {
        text.push_str(&format!("{more}\n\n"));
    }
    let why = match together.storm {
        true => "You get this together because so much came at once; critical alerts come by themselves.",
        false => "You get this together because you have a digest; what is worse comes at once.",
    };
    let label = if together.storm { "BUNDLE" } else { "DIGEST" };
    text.push_str(&format!("{why}\n"));
    let mut links = String::new();
    for (what, url) in unsubscribe {
        text.push_str(&format!("Stop e-mail alerts of {what}: {url}\n"));
        links.push_str(&format!(
            "<br><a href=\"{}\" class=\"quiet\" style=\"color:#5b6470\">Stop e-mail alerts of {}</a>",
            escape(url),
            escape(what)
        ));
    }
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{count}</title>\
         <style>@media (prefers-color-scheme:dark){{body{{background:#14171c!important;color:#e8eaed!important}}\
         .quiet{{color:#a3acb8!important}}a{{color:#8ab4f8!important}}}}</style></head>\
         <body style=\"margin:0;padding:20px 12px;background:#ffffff;color:#1b2027;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,\
         sans-serif\"><div style=\"max-width:600px;margin:0 auto;overflow-wrap:anywhere\">\
         <h1 style=\"font-size:20px;line-height:1.3;margin:0 0 4px\">{count}: {split}</h1><p style=\"margin:0 0 16px\">{}</p>\
         <ul style=\"list-style:none;padding:0;margin:0 0 16px\">{rows}</ul><p>{more}</p>\
         <p class=\"quiet\" style=\"color:#5b6470;font-size:13px\">{why}{links}</p></div></body></html>",
        escape(&began)
    );
    Email {
        subject: format!("[{label}] {count}: {split}"),
        text,
        html,
        references: format!("<digest.{tenant}@tocsin.invalid>"),
        incident: String::new(),
    }
}

/// How one alert stands, in a line.
fn stands(alert: &Alert) -> String {
    let since = when(alert.started_at, &alert.zone);
    let stands = status_of(alert.kind, alert.status);
    let mut words = match (alert.resolved_at, alert.late_source) {
        (Some(end), _) => vec![format!("{stands} after {}, began {since}", lasted(alert.started_at, end))],
        (None, Some(happened)) => {
            let (happened, told) = (when(happened, &alert.zone), when(alert.at, &alert.zone));
            vec![format!("{stands}, happened {happened}, reported to us {told}")]
        }
        (None, None) => vec![format!("{stands}, since {since}")],
    };
    words.extend(
        [&alert.components, &alert.regions].into_iter().filter(|list| !list.is_empty()).map(|list| list.join(", ")),
    );
    let inside = inside(alert);
    words.extend((!inside.is_empty()).then(|| format!("{INSIDE}: {}", inside.join("; "))));
    words.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use crate::vocabulary::Severity;

    #[test]
    fn it_shows_ten_the_worst_first_and_counts_the_others() {
        let alerts: Vec<Alert> = (0..13)
            .map(|number| Alert {
                title: format!("Title {number}"),
                severity: if number == 11 { Severity::Warning } else { Severity::Info },
                status: if number == 12 { Status::Resolved } else { Status::Investigating },
                ..alert()
            })
            .collect();
        let all: Vec<Collected<'_>> =
            alerts.iter().map(|alert| Collected { alert, url: "https://t.example/x" }).collect();
        let stop = [("Infrastructure".to_owned(), "https://t.example/u".to_owned())];
        let since = alert().started_at;
        let together = Together { since, more: 0, storm: false };
        let mail = digest_email((&alert().tenant, "Asia/Kolkata"), &all, together, &stop);
        assert_eq!(mail.subject, "[DIGEST] 13 alerts: 12 open, 1 resolved");
        assert!(
            mail.text.contains("And 3 more") && mail.text.contains("since Mon 23 Nov 2026, 14:00 IST"),
            "{}",
            mail.text
        );
        assert!(mail.text.find("Title 11").unwrap() < mail.text.find("Title 1\n").unwrap(), "{}", mail.text);
        assert!(!mail.text.contains("Title 12"), "what is over is last");
        assert_eq!(mail.html.matches("<li").count(), 10);
        assert!(mail.text.contains("Stop e-mail alerts of Infrastructure: https://t.example/u"));
        let storm = digest_email((&alert().tenant, "UTC"), &all, Together { since, more: 4_887, storm: true }, &stop);
        assert_eq!(storm.subject, "[BUNDLE] 4900 alerts: too much at once");
        assert!(storm.text.contains("And 4890 more") && storm.text.contains("so much came at once"), "{}", storm.text);
    }

    #[test]
    fn each_line_says_what_was_told_late_and_what_work_explained() {
        let late = Alert { late_source: Some("2026-11-23T08:02:00Z".parse().unwrap()), ..alert() };
        let said = stands(&late);
        assert!(
            said.contains("happened Mon 23 Nov 2026, 13:32 IST (UTC+05:30), reported to us Mon 23 Nov 2026, 14:01 IST"),
            "{said}"
        );
        let said = stands(&super::super::tests::work());
        assert!(
            said.starts_with("Scheduled, since") && said.contains("During this work: Calls <b>fail</b>: since"),
            "{said}"
        );
        assert!(said.ends_with("; and 2 more"), "{said}");
    }

    #[test]
    fn nothing_of_a_source_becomes_markup() {
        let evil = Alert { title: "<script>\r\nBcc: x".into(), regions: vec!["<b>".into()], ..alert() };
        let together = Together { since: evil.at, more: 0, storm: false };
        let mail = digest_email((&evil.tenant, "UTC"), &[Collected { alert: &evil, url: "u" }], together, &[]);
        assert!(!mail.html.contains("<script") && !mail.html.contains("<b>"), "{}", mail.html);
        assert_eq!(mail.subject, "[DIGEST] 1 alert: 1 open, 0 resolved");
    }
}
