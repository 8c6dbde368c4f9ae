//! SMS: one GSM-7 part where the text fits, two at most.

use super::gsm7;
use super::{component_names, duration, format_clock, headline, late_report, region_names, suppressed_incident_count};
use crate::alert::{Alert, NotificationReason};
use crate::incident::Change;
use crate::text::clean_line;
use crate::vocabulary::{Phase, Role};
use crate::zone::find_zone;
use jiff::tz::TimeZone;
use unicode_segmentation::UnicodeSegmentation;

/// Maximum number of parts of an SMS. SNS would accept 1,600 characters, which are eleven parts; nobody reads eleven.
const PARTS_MAX: usize = 2;

/// Maximum length of the tenant's name, in characters.
const NAME_MAX: usize = 24;

/// How the text of an SMS is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// GSM 03.38, 160 characters in a single part.
    Gsm7,
    /// UCS-2, 70 characters in a single part.
    Ucs2,
}

/// A rendered SMS, with its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedSms {
    /// The text, in the characters of `encoding`.
    pub text: String,
    /// Number of parts that are billed.
    pub parts: usize,
    /// How the text is encoded.
    pub encoding: Encoding,
}

/// Renders the SMS of an alert.
///
/// Details are left out until the text fits one part, the least important first: the suppressed incidents, the late report, why the reader
/// gets it, the place, the time, and then the end of the title. Headline, tenant and link are never shortened.
#[must_use]
pub fn sms(alert: &Alert, why: &NotificationReason, link: &str) -> RenderedSms {
    let parts = SmsParts::new(alert, why, link);
    let text = parts.choose_text(&parts.candidates(alert));
    let encoding = if gsm7::septets(&text).is_some() { Encoding::Gsm7 } else { Encoding::Ucs2 };
    RenderedSms { parts: gsm7::parts(&text), text, encoding }
}

/// The pieces of an SMS, in GSM-7 characters where possible.
struct SmsParts<'a> {
    /// The headline and the tenant's name.
    head: String,
    title: String,
    /// Components and regions that the title does not name, at most four; empty if there are none.
    places: String,
    /// Since when it lasts, how long it lasted, or when the work is planned, in the reader's zone.
    time: String,
    /// The same in the fewest characters.
    short_time: String,
    /// Why the recipient gets it.
    role: &'static str,
    link: &'a str,
}

impl<'a> SmsParts<'a> {
    fn new(alert: &Alert, why: &NotificationReason, link: &'a str) -> Self {
        let title = some_or(gsm7::for_sms(&clean_line(&alert.title)), &alert.event_type);
        let known = title.to_lowercase();
        let is_new = |place: &&str| !known.contains(&place.to_lowercase());
        let places = component_names(alert).into_iter().chain(region_names(alert)).filter(is_new);
        let places: Vec<&str> = places.take(4).collect();
        let role = match why.role {
            None => "by opt-in",
            Some(Role::OrgAdmin) => "as Org Admin",
            Some(Role::BillingAdmin) => "as Billing Admin",
            Some(Role::TechDevops) => "as Tech/DevOps",
            Some(Role::SupportManager) => "as Support Manager",
        };
        Self {
            head: format!("{} {}", short_headline(alert), short_name(alert)),
            title,
            places: gsm7::for_sms(&clean_line(&places.join(", "))),
            time: gsm7::for_sms(&time(alert)),
            short_time: gsm7::for_sms(time(alert).trim_start_matches("since ").trim_start_matches("after ")),
            role,
            link,
        }
    }

    /// Chooses the most detailed text that fits.
    fn choose_text(&self, candidates: &[String]) -> String {
        let fitting = |parts| candidates.iter().find(|text| gsm7::parts(text) <= parts).cloned();
        if let Some(text) = fitting(1) {
            return text;
        }
        // A second part costs as much as the first, so a shortened title is preferred to it as long as half of the title remains.
        if let Some(text) = self.shortened(1) {
            return text;
        }
        if let Some(text) = fitting(PARTS_MAX) {
            return text;
        }
        self.shortened(PARTS_MAX).unwrap_or_else(|| self.shortest())
    }

    /// Lists the possible texts with the whole title, the most detailed first.
    fn candidates(&self, alert: &Alert) -> Vec<String> {
        let Self { head, title, places, time, short_time, role, link } = self;
        let shortest = [format!("{head}: {title} ({role}) {link}"), format!("{head}: {title} {link}")];
        if alert.minimal {
            return shortest.into();
        }
        let title_and_place = if places.is_empty() { title.clone() } else { format!("{title}. {places}") };
        let mut texts = Vec::new();
        if let Some(count) = suppressed_incident_count(alert) {
            texts.push(format!("{head}: {title_and_place}, {time}, {count}. You get this {role}. {link}"));
            texts.push(format!("{head}: {title_and_place}, {time}, {count} ({role}). {link}"));
            texts.push(format!("{head}: {title}, {time}, {count}. {link}"));
        }
        if let Some(late) = late_report(alert) {
            texts.push(format!("{head}: {title_and_place}, {late}. You get this {role}. {link}"));
            texts.push(format!("{head}: {title_and_place}, {late} ({role}). {link}"));
            texts.push(format!("{head}: {title}, {late}. {link}"));
        }
        texts.push(format!("{head}: {title_and_place}, {time}. You get this {role}. {link}"));
        texts.push(format!("{head}: {title_and_place}, {time} ({role}). {link}"));
        texts.push(format!("{head}: {title_and_place}, {time}. {link}"));
        texts.push(format!("{head}: {title}, {time} ({role}). {link}"));
        texts.push(format!("{head}: {title}, {time}. {link}"));
        texts.push(format!("{head}: {title}, {short_time} {link}"));
        texts.extend(shortest);
        texts
    }

    /// Shortens the title until the text fits `parts` parts; `None` if that would cut more than half of the title.
    fn shortened(&self, parts: usize) -> Option<String> {
        let Self { head, title, link, .. } = self;
        let length = title.chars().count();
        (length / 2..length).rev().find_map(|keep| {
            let text = format!("{head}: {}... {link}", cut_title(title, keep));
            (gsm7::parts(&text) <= parts).then_some(text)
        })
    }

    /// The text of last resort: 20 characters of the title, and the link.
    fn shortest(&self) -> String {
        if self.title.chars().count() <= 20 {
            return format!("{}: {} {}", self.head, self.title, self.link);
        }
        format!("{}: {}... {}", self.head, cut_title(&self.title, 20), self.link)
    }
}

/// Returns the tenant's name in at most [`NAME_MAX`] characters; its id where the name needs another alphabet, which would double the message.
fn short_name(alert: &Alert) -> String {
    let name = gsm7::for_sms(&clean_line(alert.tenant_title()));
    match gsm7::septets(&name) {
        Some(1..) => cut_title(&name, NAME_MAX),
        _ => cut_title(alert.tenant.as_str(), NAME_MAX),
    }
}

/// Returns the headline. That a maintenance is only planned is clear from its hours, which need the room.
fn short_headline(alert: &Alert) -> String {
    let is_planned = alert.maintenance.is_some_and(|planned| planned.phase == Phase::Scheduled);
    match alert.change {
        Change::Opened | Change::Reminded if is_planned && !alert.test => "MAINTENANCE".to_owned(),
        _ => headline(alert),
    }
}

/// Returns when it happens or happened, in the reader's zone.
fn time(alert: &Alert) -> String {
    let clock = |at| format_clock(at, alert.at, &alert.zone);
    let planned = alert.maintenance.and_then(|planned| Some((planned, planned.until?)));
    match (alert.resolved_at, planned) {
        (Some(resolved_at), _) => match duration(alert) {
            Some(duration) => format!("after {duration}"),
            None => clock(resolved_at),
        },
        (None, Some((planned, until))) if planned.phase == Phase::Scheduled => {
            let zone = find_zone(&alert.zone).unwrap_or(TimeZone::UTC);
            let from = planned.from.to_zoned_datetime(zone).strftime("%-d %b %H:%M").to_string();
            format!("{from}-{}", format_clock(until, planned.from, &alert.zone))
        }
        (None, Some((_, until))) => format!("until {}", clock(until)),
        (None, None) => {
            let planned = alert.maintenance.filter(|planned| planned.phase == Phase::Scheduled);
            let word = if planned.is_some() { "from" } else { "since" };
            format!("{word} {}", clock(alert.maintenance.map_or(alert.started_at, |planned| planned.from)))
        }
    }
}

/// A title of nothing but emoji is empty in a text message.
fn some_or(title: String, event_type: &str) -> String {
    if title.is_empty() { gsm7::for_sms(event_type) } else { title }
}

/// The first characters of a title, at most `keep`. No letter loses its vowel sign or accent.
fn cut_title(title: &str, keep: usize) -> String {
    let mut kept = String::new();
    let mut length = 0;
    for grapheme in title.graphemes(true) {
        length += grapheme.chars().count();
        if length > keep {
            break;
        }
        kept.push_str(grapheme);
    }
    kept.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use proptest::prelude::*;

    fn admin() -> NotificationReason {
        NotificationReason { role: Some(Role::OrgAdmin), held: None }
    }

    #[test]
    fn an_ordinary_alert_fits_one_part_with_all_details() {
        let sms = sms(&alert(), &admin(), "https://status.example.com/status");
        assert_eq!(
            sms.text,
            "CRITICAL Acme Voice: Outbound calls fail in Mumbai. Voice calls, since 14:00 IST. You get this as Org Admin. \
             https://status.example.com/status"
        );
        assert_eq!((sms.parts, sms.encoding), (1, Encoding::Gsm7));
    }

    #[test]
    fn a_maintenance_is_measured_by_its_own_hours() {
        let planned = |phase, from: &str, until: Option<&str>| crate::maintenance::MaintenanceSchedule {
            phase,
            from: from.parse().unwrap(),
            until: until.map(|at| at.parse().unwrap()),
        };
        let text = |maintenance, change, resolved_at: Option<&str>| {
            let resolved_at = resolved_at.map(|at| at.parse().unwrap());
            let alert = Alert {
                maintenance: Some(maintenance),
                change,
                resolved_at,
                kind: crate::vocabulary::Kind::Advisory,
                ..alert()
            };
            sms(&alert, &admin(), "https://s.test/r/x").text
        };
        // Announced on the 23rd for the 25th.
        let done = planned(Phase::Completed, "2026-11-25T02:00:00Z", Some("2026-11-25T04:00:00Z"));
        let completed = text(done, crate::incident::Change::Resolved, Some("2026-11-25T03:30:00Z"));
        assert!(completed.contains("after 1 h 30 min"), "{completed}");
        let canceled = text(done, crate::incident::Change::Resolved, Some("2026-11-24T03:30:00Z"));
        assert!(!canceled.contains("after"), "{canceled}");
        let open_ended = planned(Phase::Scheduled, "2026-11-25T02:00:00Z", None);
        let announced = text(open_ended, crate::incident::Change::Opened, None);
        assert!(announced.contains("from ") && !announced.contains("since"), "{announced}");
    }

    #[test]
    fn ordinary_messages_fit_one_part_with_our_own_links() {
        // The longest link of a tenant id of ten letters, below a host name of 18.
        let link = format!("https://alerts.example.com/r/{}", "x".repeat(68));
        let resolved = Alert {
            change: crate::incident::Change::Resolved,
            status: crate::vocabulary::Status::Resolved,
            resolved_at: "2026-11-23T09:12:00Z".parse().ok(),
            ..alert()
        };
        for (alert, start) in [
            (alert(), "CRITICAL Acme Voice: Outbound calls fail in Mumbai"),
            (resolved, "RESOLVED Acme Voice: Outbound calls fail in Mumbai"),
            (Alert { title: "Balance below 100".into(), ..alert() }, "CRITICAL Acme Voice: Balance below 100"),
        ] {
            let sms = sms(&alert, &admin(), &link);
            assert_eq!(sms.parts, 1, "{}", sms.text);
            assert!(sms.text.starts_with(start) && sms.text.ends_with(&link), "{}", sms.text);
        }
    }

    #[test]
    fn times_are_in_the_readers_zone_and_name_their_day_where_it_is_another() {
        let link = "https://s.example.com";
        let text = |alert: &Alert| sms(alert, &admin(), link).text;
        let later = Alert { at: "2026-11-24T20:00:00Z".parse().unwrap(), ..alert() };
        assert!(text(&later).contains("since 23 Nov 14:00 IST"), "{}", text(&later));
        let schedule = crate::maintenance::MaintenanceSchedule {
            phase: crate::vocabulary::Phase::Scheduled,
            from: "2026-11-25T20:30:00Z".parse().unwrap(),
            until: "2026-11-25T22:30:00Z".parse().ok(),
        };
        let planned = Alert { maintenance: Some(schedule), ..super::super::tests::maintenance_alert() };
        assert!(
            text(&planned).contains("MAINTENANCE Acme Voice: New carrier. Voice calls, Mumbai, 26 Nov 02:00-04:00 IST"),
            "{}",
            text(&planned)
        );
        let other_script = Alert { tenant_name: "アクメ".into(), ..alert() };
        assert!(text(&other_script).starts_with("CRITICAL acme: "), "{}", text(&other_script));
    }

    #[test]
    fn late_reports_and_suppressed_incidents_are_shown_where_they_fit() {
        let link = "https://status.example.com/status";
        let late = Alert {
            late_source: Some("2026-11-23T08:02:00Z".parse().unwrap()),
            started_at: "2026-11-23T08:02:00Z".parse().unwrap(),
            ..alert()
        };
        let text = |alert: &Alert| sms(alert, &admin(), link);
        let message = text(&late);
        assert!(message.text.contains("Voice calls, started 13:32 IST, reported 14:01 IST"), "{}", message.text);
        assert_eq!(message.parts, 1);
        let long = text(&Alert {
            title: "Outbound calls fail in Mumbai and in all of the west of India, and texts too".into(),
            ..late
        });
        assert!(long.parts == 1 && long.text.contains("13:32 IST") && !long.text.contains("reported"), "{}", long.text);
        let maintenance = text(&super::super::tests::maintenance_alert());
        assert!(maintenance.text.contains(", 4 incidents during maintenance"), "{}", maintenance.text);
        assert_eq!(maintenance.parts, 1);
        let titled = Alert {
            title: "New carrier for everybody in the west of India, region by region".into(),
            ..super::super::tests::maintenance_alert()
        };
        let long_title = text(&titled);
        assert!(!long_title.text.contains("during maintenance") && long_title.parts == 1, "{}", long_title.text);
    }

    #[test]
    fn a_long_title_is_shortened_before_it_costs_a_second_part() {
        let long = Alert {
            title: "The database cluster of the voice platform answers too slowly — calls may fail".into(),
            ..alert()
        };
        let sms = sms(&long, &admin(), "https://status.example.com/status/incidents/inc_abcdefghijklmnopqrstuvwxyz");
        assert_eq!(sms.parts, 1, "{}", sms.text);
        assert!(sms.text.contains("... https://"), "{}", sms.text);
    }

    #[test]
    fn another_script_is_encoded_as_ucs2() {
        let hindi = Alert { title: "मुंबई में कॉल विफल".into(), ..alert() };
        let sms = sms(&hindi, &admin(), "https://s.example.com");
        assert_eq!(sms.encoding, Encoding::Ucs2);
        assert!(sms.parts <= 2 && sms.text.contains("मुंबई"), "{sms:?}");
    }

    #[test]
    fn one_odd_character_costs_no_words_and_no_ellipsis() {
        let link = "https://s.example.com";
        for (title, shown) in [
            ("Login broken since 1️⃣0:00 for everybody", "Login broken since 10:00 for everybody"),
            ("Checkout fails ❌ in all regions", "Checkout fails in all regions"),
            ("Größe “5” – Łódź", "Größe \"5\" - Lodz"),
        ] {
            let sms = sms(&Alert { title: title.into(), ..alert() }, &admin(), link);
            assert_eq!((sms.encoding, sms.parts), (Encoding::Gsm7, 1), "{sms:?}");
            assert!(sms.text.contains(shown) && !sms.text.contains("..."), "{}", sms.text);
        }
    }

    #[test]
    fn a_cut_title_ends_with_a_whole_letter() {
        assert_eq!(cut_title("मुंबई", 1), "");
        assert_eq!(cut_title("मुंबई", 3), "मुं");
        assert_eq!(cut_title("cafe\u{301} is down", 4), "caf");
        assert_eq!(cut_title("API is down", 4), "API");
        let emoji = sms(&Alert { title: "❌❌".into(), ..alert() }, &admin(), "https://s.example.com");
        assert!(emoji.text.starts_with("CRITICAL Acme Voice: voice.routing_failure"), "{}", emoji.text);
    }

    #[test]
    fn a_test_alert_starts_with_test() {
        let sms = sms(&Alert { test: true, ..alert() }, &admin(), "https://s.example.com");
        assert!(sms.text.starts_with("TEST CRITICAL"));
    }

    proptest! {
        #[test]
        fn any_alert_fits_two_parts_with_its_link_whole(title in ".{1,255}", component in ".{0,60}", minimal in any::<bool>()) {
            let alert = Alert { title, components: vec![component], minimal, ..alert() };
            let link = "https://abcdefghij.execute-api.us-east-1.amazonaws.com/live/status";
            let sms = sms(&alert, &admin(), link);
            prop_assert!(sms.parts <= 2, "{} parts: {}", sms.parts, sms.text);
            prop_assert!(sms.text.ends_with(link));
        }
    }
}
