//! Every kind of message on every channel, as its reader gets it: `snapshots/messages__<kind>.snap`, and the HTML of its e-mail in
//! `snapshots/messages__html_<kind>.snap`. `e2e/pictures.rs` makes pictures of the e-mails.

#![expect(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod samples;

use contracts::{slack, teams, webhook};
use domain::alert::{Alert, NotificationReason};
use domain::render::{self, AlertLinks, BatchKind, DigestContent, DigestEntry, RenderedEmail, UnsubscribeLink, gsm7};
use samples::{INCIDENT_URL, alert, alerts, held, links, several, why};
use serde_json::Value;

/// A short link for a tenant id of four letters.
const SHORT_URL: &str = "https://alerts.example.com/r/AYgQVjnHDVdNnGlNvV5aoJ3q2-8AVxJhY21lCfR0yGkQ3kq0_1ZJq7nXQw";

fn email_text(email: &RenderedEmail) -> String {
    let importance = if email.important { "Importance: high\n" } else { "" };
    let RenderedEmail { subject, preheader, references, text, .. } = email;
    format!("=== E-MAIL\nSubject: {subject}\n{importance}References: {references}\nPreheader: {preheader}\n\n{text}\n")
}

fn sms_text(text: &str) -> String {
    let units = gsm7::septets(text).map_or_else(|| "UCS-2".to_owned(), |septets| format!("{septets} septets"));
    format!("=== SMS, {} part(s), {units}\n{text}\n\n", gsm7::parts(text))
}

fn json(name: &str, body: &Value) -> String {
    format!("=== {name}\n{}\n\n", serde_json::to_string_pretty(body).unwrap())
}

fn chat(alert: &Alert, why: &NotificationReason) -> String {
    let links = AlertLinks { unsubscribe_url: None, stop_url: None, ..links() };
    json("SLACK", &slack::build_message(alert, why, &links)) + &json("TEAMS", &teams::build_message(alert, why, &links))
}

fn all_channels(alert: &Alert, why: &NotificationReason) -> String {
    let body = serde_json::to_value(webhook::build_body(alert, why, INCIDENT_URL)).unwrap();
    email_text(&render::email(alert, why, &links()))
        + &sms_text(&render::sms(alert, why, SHORT_URL).text)
        + &chat(alert, why)
        + &json("WEBHOOK", &body)
}

#[test]
fn every_kind_of_alert_reads_as_its_snapshot_on_every_channel() {
    for (name, alert) in alerts() {
        insta::assert_snapshot!(name, all_channels(&alert, &why()));
        insta::assert_snapshot!(format!("html_{name}"), render::email(&alert, &why(), &links()).html);
    }
    insta::assert_snapshot!("held", all_channels(&alert(), &held()));
}

#[test]
fn bundles_and_digests_read_as_their_snapshots() {
    let alerts = several();
    let entries: Vec<DigestEntry<'_>> = alerts.iter().map(|alert| DigestEntry { alert, url: INCIDENT_URL }).collect();
    let unsubscribe = [UnsubscribeLink {
        category: "Infrastructure".into(),
        url: "https://alerts.example.com/unsubscribe?t=1.x".into(),
    }];
    for (name, kind, omitted_count) in [("bundle", BatchKind::Bundle, 100), ("digest", BatchKind::Digest, 0)] {
        let email = render::digest_email(&DigestContent {
            tenant: &alerts[0].tenant,
            zone: "Asia/Kolkata",
            kind,
            since: alerts[0].at,
            entries: &entries,
            omitted_count,
            unsubscribe: &unsubscribe,
        });
        let one = render::bundle(&alerts.iter().collect::<Vec<_>>(), omitted_count, kind).unwrap();
        let sms = render::sms(&one, &why(), SHORT_URL);
        insta::assert_snapshot!(name, email_text(&email) + &sms_text(&sms.text) + &chat(&one, &why()));
        insta::assert_snapshot!(format!("html_{name}"), email.html);
    }
}

#[test]
fn questions_to_people_who_have_not_agreed_read_as_their_snapshots() {
    let links = render::QuestionLinks {
        agree: "https://alerts.example.com/confirm?t=1.x",
        never: "https://alerts.example.com/never?t=1.y",
    };
    let text = sms_text(&render::confirmation_sms("Acme Voice", "acme", "123456"));
    let confirmation = render::confirmation_email("Acme Voice", "acme", links);
    insta::assert_snapshot!("confirmation", email_text(&confirmation) + &text);
    insta::assert_snapshot!("html_confirmation", confirmation.html);
    insta::assert_snapshot!("subscribe_again", email_text(&render::subscribe_again_email("Acme Voice", "acme", links)));
    insta::assert_snapshot!("allow_again", email_text(&render::allow_again_email("acme", links)));
}

#[test]
fn ordinary_text_messages_have_one_part() {
    for (name, alert) in alerts() {
        let sms = render::sms(&alert, &why(), SHORT_URL);
        assert_eq!(sms.parts, 1, "{name}: {}", sms.text);
    }
}

/// Gmail and Outlook begin a new thread for a new subject.
#[test]
fn all_e_mails_about_an_incident_have_one_subject_and_different_preheaders() {
    let email = |name: &str| {
        let (_, alert) = alerts().into_iter().find(|(one, _)| *one == name).unwrap();
        render::email(&alert, &why(), &links())
    };
    let all = ["opening", "update", "resolution"].map(email);
    assert!(all.iter().all(|email| email.subject == "[CRITICAL] Acme Voice: Outbound calls fail in Mumbai"));
    assert!(all.iter().all(|email| email.references == all[0].references));
    let mut preheaders: Vec<&str> = all.iter().map(|email| email.preheader.as_str()).collect();
    preheaders.dedup();
    assert_eq!(preheaders.len(), 3, "{preheaders:?}");
}
