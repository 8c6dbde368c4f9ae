//! SMS: one GSM-7 part where it fits.

use super::gsm7;
use super::{count_inside, headline, late};
use crate::alert::{Alert, Why};
use crate::vocabulary::Role;

/// Most parts of an SMS: what SNS takes (1,600 characters) would be eleven, and nobody reads eleven.
const PARTS_MAX: usize = 2;

/// How an SMS is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 160 characters a part.
    Gsm7,
    /// 70 characters a part.
    Ucs2,
}

/// An SMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sms {
    /// The text.
    pub text: String,
    /// Parts it costs.
    pub parts: usize,
    /// How it is encoded.
    pub encoding: Encoding,
}

/// The SMS of an alert. What tells least goes first until it fits one part: what work explained, that it was told late, the reason, the
/// time, where, then the title's end; the headline, the tenant and the link are always whole.
#[must_use]
pub fn sms(alert: &Alert, why: &Why, link: &str) -> Sms {
    let title = gsm7::transliterate(&alert.title.replace(['\r', '\n'], " "));
    let head = headline(alert);
    let tenant = alert.tenant.as_str();
    let mut places: Vec<&str> = alert.components.iter().chain(&alert.regions).map(String::as_str).collect();
    places.truncate(4);
    let places = gsm7::transliterate(&places.join(", "));
    let since = alert.started_at.strftime("%H:%MZ").to_string();
    let role = why.role.map_or("by opt-in", |role| match role {
        Role::OrgAdmin => "as Org Admin",
        Role::BillingAdmin => "as Billing Admin",
        Role::TechDevops => "as Tech/DevOps",
        Role::SupportManager => "as Support Manager",
    });
    let mut candidates = Vec::new();
    if !alert.minimal {
        let told = late(alert).unwrap_or_else(|| format!("since {since}"));
        let place = if places.is_empty() { String::new() } else { format!("{places}, ") };
        if let Some(count) = count_inside(alert) {
            candidates.push(format!("{head} {tenant}: {title}. {place}{told}, {count}. You get this {role}. {link}"));
            candidates.push(format!("{head} {tenant}: {title}. {place}{told}, {count} ({role}). {link}"));
        }
        if alert.late_source.is_some() {
            candidates.push(format!("{head} {tenant}: {title}. {place}{told}. You get this {role}. {link}"));
            candidates.push(format!("{head} {tenant}: {title}. {place}{told} ({role}). {link}"));
        }
        if !places.is_empty() {
            candidates.push(format!("{head} {tenant}: {title}. {places}, since {since}. You get this {role}. {link}"));
            candidates.push(format!("{head} {tenant}: {title}. {places}, since {since} ({role}). {link}"));
            candidates.push(format!("{head} {tenant}: {title}. {places} {since} {role} {link}"));
        }
        candidates.push(format!("{head} {tenant}: {title}. Since {since} ({role}). {link}"));
        candidates.push(format!("{head} {tenant}: {title}. {since} {role} {link}"));
    }
    candidates.push(format!("{head} {tenant}: {title} ({role}) {link}"));
    if let Some(text) = candidates.iter().find(|text| gsm7::parts(text) == 1) {
        return measured(text.clone());
    }
    // Nothing whole fits one part. A second part costs as much again, so the title is shortened if half of it still fits.
    let shortened = |parts: usize| {
        let length = title.chars().count();
        (length / 2..length).rev().find_map(|keep| {
            let title: String = title.chars().take(keep).collect();
            let text = format!("{head} {tenant}: {}... {role} {link}", title.trim_end());
            (gsm7::parts(&text) <= parts).then_some(text)
        })
    };
    if let Some(text) = shortened(1) {
        return measured(text);
    }
    if let Some(text) = candidates.iter().find(|text| gsm7::parts(text) <= PARTS_MAX) {
        return measured(text.clone());
    }
    let last = || {
        let room: String = title.chars().take(20).collect();
        format!("{head} {tenant}: {room}... {link}")
    };
    measured(shortened(PARTS_MAX).unwrap_or_else(last))
}

fn measured(text: String) -> Sms {
    let encoding = if gsm7::septets(&text).is_some() { Encoding::Gsm7 } else { Encoding::Ucs2 };
    Sms { parts: gsm7::parts(&text), text, encoding }
}

#[cfg(test)]
mod tests {
    use super::super::tests::alert;
    use super::*;
    use proptest::prelude::*;

    fn admin() -> Why {
        Why { role: Some(Role::OrgAdmin), held: None }
    }

    #[test]
    fn an_ordinary_alert_is_one_part_and_says_it_all() {
        let sms = sms(&alert(), &admin(), "https://status.example.com/status");
        assert_eq!(
            sms.text,
            "CRITICAL acme: Outbound calls fail in Mumbai. voice, ap-south-1, since 08:30Z. You get this as Org Admin. \
             https://status.example.com/status"
        );
        assert_eq!((sms.parts, sms.encoding), (1, Encoding::Gsm7));
    }

    #[test]
    fn what_was_told_late_and_what_work_explained_is_said_where_it_fits() {
        let link = "https://status.example.com/status";
        let late = Alert {
            late_source: Some("2026-11-23T08:02:00Z".parse().unwrap()),
            started_at: "2026-11-23T08:02:00Z".parse().unwrap(),
            ..alert()
        };
        let text = |alert: &Alert| sms(alert, &admin(), link);
        let said = text(&late);
        assert!(said.text.contains("voice, ap-south-1, happened 08:02Z, told us 08:31Z"), "{}", said.text);
        assert_eq!(said.parts, 1);
        let long =
            text(&Alert { title: "Outbound calls fail in Mumbai and in all of the west of India".into(), ..late });
        assert!(long.parts == 1 && long.text.contains("08:02Z") && !long.text.contains("told us"), "{}", long.text);
        let work = text(&super::super::tests::work());
        assert!(work.text.contains(", 4 incidents during it") && work.parts == 1, "{}", work.text);
        let titled = Alert {
            title: "New carrier for everybody in the west of India, region by region".into(),
            ..super::super::tests::work()
        };
        let work = text(&titled);
        assert!(!work.text.contains("during it") && work.parts == 1, "{}", work.text);
    }

    #[test]
    fn a_long_title_is_shortened_before_it_costs_a_second_part() {
        let long = Alert {
            title: "The database cluster of the voice platform answers too slowly — calls may fail".into(),
            ..alert()
        };
        let sms = sms(&long, &admin(), "https://status.example.com/status/incidents/inc_abcdefghijklmnopqrstuvwxyz");
        assert_eq!(sms.parts, 1, "{}", sms.text);
        assert!(sms.text.contains("... as Org Admin https://"), "{}", sms.text);
    }

    #[test]
    fn another_script_is_ucs2() {
        let hindi = Alert { title: "मुंबई में कॉल विफल".into(), ..alert() };
        let sms = sms(&hindi, &admin(), "https://s.example.com");
        assert_eq!(sms.encoding, Encoding::Ucs2);
        assert!(sms.parts <= 2 && sms.text.contains("मुंबई"), "{sms:?}");
    }

    #[test]
    fn a_test_says_so_first() {
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
