//! Quiet hours and digests over a night in which the clock is changed, and the hours of text messages.

use crate::{mails, post, stands, until};
use serde_json::json;
use std::time::Duration;
use tests::clock::{Clock, run_release};
use tests::tenant::outcome;
use tests::{Stack, pause, stack, wait};

/// One night in Berlin: its evening, the moment when it ends, and that an hour before and after it nothing has come.
fn night(stack: &Stack, evening: &str, morning: &str, an_hour_early: &str) {
    let mut clock = Clock::at(stack, evening);
    let mut tenant = stack.tenant("enterprise");
    tenant.set(json!({"zone": "Europe/Berlin", "quiet_hours": {"from": "22:00", "to": "07:00"}}));
    let asleep = tenant.person("support_manager", &[]);
    let room = tenant.endpoint("slack", "support_manager");
    let hook = tenant.endpoint("webhook", "tech_devops");
    let held = post(&tenant, "held", json!({}));
    let over = post(&tenant, "over", json!({}));
    let worst = post(&tenant, "worst", json!({"severity": "critical"}));
    stands(&tenant, &worst, (&asleep.id, "email"), &outcome(1, "accepted", ""));
    for (id, channel) in [(&asleep.id, "email"), (&room.id, "slack")] {
        stands(&tenant, &held, (id, channel), &outcome(1, "held", "quiet_hours"));
        assert_eq!(until(&tenant, &held, id, channel), morning, "seven in the morning, by the clock on the wall");
    }
    stands(&tenant, &held, (&hook.id, "webhook"), &outcome(1, "delivered", ""));
    assert_eq!(post(&tenant, "over", json!({"status": "resolved"})), over);
    stands(&tenant, &over, (&asleep.id, "email"), &outcome(2, "held", "quiet_hours"));

    clock.to(an_hour_early);
    pause(3);
    assert_eq!(mails(&tenant, &asleep.email).len(), 1, "it is still night: only what was critical came");
    clock.to(morning);
    stands(&tenant, &held, (&asleep.id, "email"), &outcome(1, "accepted", ""));
    stands(&tenant, &held, (&room.id, "slack"), &outcome(1, "delivered", ""));
    stands(&tenant, &over, (&asleep.id, "email"), &outcome(2, "accepted", ""));
    clock.release();
    pause(3);
    let got = mails(&tenant, &asleep.email);
    let about = |what: &str| got.iter().filter(|mail| mail.contains(&format!("{what} of {}", tenant.id))).count();
    assert_eq!((got.len(), about("held"), about("over"), about("worst")), (3, 1, 1, 1), "{got:?}");
    let both = got.iter().find(|mail| mail.contains(&format!("over of {}", tenant.id))).unwrap();
    assert!(both.contains("RESOLVED") && both.contains("until quiet hours ended"), "one message of both: {both}");
}

#[test]
fn a_digest_is_one_message_though_two_runs_of_release_meet() {
    let stack = &stack!(clock);
    let mut clock = Clock::at(stack, "2027-03-20T08:30:00Z");
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person_with("support_manager", json!({"digest": {"every": "hourly"}, "zone": "UTC"}));
    let of = |n: usize| post(&tenant, &format!("n{n}"), json!({"severity": "warning"}));
    let incidents: Vec<String> = (0..3).map(of).collect();
    for incident in &incidents {
        stands(&tenant, incident, (&person.id, "email"), &outcome(1, "held", "digest"));
    }
    let hold = stack.hold("sqs.SendMessageBatch", &person.id, false);
    std::thread::scope(|scope| {
        let clock = &mut clock;
        let first = scope.spawn(move || clock.to("2027-03-20T09:00:00Z"));
        wait("the digest to be made", Duration::from_secs(60), || hold.is_held().then_some(()));
        assert!(run_release(stack) >= 3, "what the first run puts together is left to it");
        hold.release();
        first.join().unwrap();
    });
    for incident in &incidents {
        stands(&tenant, incident, (&person.id, "email"), &outcome(1, "accepted", ""));
    }
    assert_eq!(run_release(stack), 0, "nothing is claimed any more");
    pause(3);
    let got = mails(&tenant, &person.email);
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].contains("3 alerts") && got[0].contains("3 warning open"), "{}", got[0]);
    assert!(!got[0].contains("resolved"), "{}", got[0]);
}

/// Summer time begins.
#[test]
fn quiet_hours_end_on_time_in_the_night_that_is_an_hour_shorter() {
    let stack = &stack!(clock);
    night(stack, "2027-03-27T21:30:00Z", "2027-03-28T05:00:00Z", "2027-03-28T04:00:00Z");
}

/// Summer time ends.
#[test]
fn quiet_hours_end_on_time_in_the_night_that_is_an_hour_longer() {
    let stack = &stack!(clock);
    night(stack, "2027-10-30T21:30:00Z", "2027-10-31T06:00:00Z", "2027-10-31T05:00:00Z");
}

#[test]
fn digests_come_hourly_or_at_each_readers_morning_with_every_alert_once() {
    let stack = &stack!(clock);
    // Half past three in the morning in Kathmandu (+5:45), an hour and a half before the change of summer time in New York.
    let mut clock = Clock::at(stack, "2027-03-13T21:45:00Z");
    let mut tenant = stack.tenant("enterprise");
    let hourly =
        tenant.person_with("support_manager", json!({"digest": {"every": "hourly"}, "zone": "America/New_York"}));
    let daily = json!({"digest": {"every": "daily", "at": "08:00", "below": "critical"}, "zone": "Asia/Kathmandu"});
    let daily = tenant.person_with("support_manager", daily);
    let texted = json!({"digest": {"every": "hourly", "channels": ["sms"]}, "zone": "UTC"});
    let texted = tenant.person_with("org_admin", texted);
    let warning = |key: &str| post(&tenant, key, json!({"severity": "warning"}));
    let first: Vec<String> = (0..3).map(|n| warning(&format!("first{n}"))).collect();
    let error = post(&tenant, "error", json!({}));
    stands(&tenant, &error, (&hourly.id, "email"), &outcome(1, "accepted", ""));
    for incident in &first {
        stands(&tenant, incident, (&hourly.id, "email"), &outcome(1, "held", "digest"));
        stands(&tenant, incident, (&texted.id, "sms"), &outcome(1, "held", "digest"));
        stands(&tenant, incident, (&texted.id, "email"), &outcome(1, "accepted", ""));
    }
    stands(&tenant, &error, (&texted.id, "sms"), &outcome(1, "accepted", ""));
    assert_eq!(until(&tenant, &first[0], &hourly.id, "email"), "2027-03-13T22:00:00Z");
    assert_eq!(until(&tenant, &error, &daily.id, "email"), "2027-03-14T02:15:00Z", "eight o'clock in Kathmandu");
    clock.to("2027-03-13T22:00:00Z");
    for incident in &first {
        stands(&tenant, incident, (&hourly.id, "email"), &outcome(1, "accepted", ""));
        stands(&tenant, incident, (&texted.id, "sms"), &outcome(1, "accepted", ""));
    }
    let texts = stack.texts(&texted.phone);
    assert_eq!(texts.len(), 2, "the error, and three in one: {texts:?}");
    assert!(texts[1].text.contains("3 alerts: first"), "{texts:?}");
    // What opens while the digest goes out is in the next one.
    let second = warning("second");
    stands(&tenant, &second, (&hourly.id, "email"), &outcome(1, "held", "digest"));
    assert_eq!(post(&tenant, "first0", json!({"severity": "warning", "status": "resolved"})), first[0]);
    stands(&tenant, &first[0], (&hourly.id, "email"), &outcome(2, "held", "digest"));
    clock.to("2027-03-13T23:00:00Z");
    stands(&tenant, &second, (&hourly.id, "email"), &outcome(1, "accepted", ""));
    stands(&tenant, &first[0], (&hourly.id, "email"), &outcome(2, "accepted", ""));
    let digests: Vec<String> =
        mails(&tenant, &hourly.email).into_iter().filter(|mail| mail.contains("digest of")).collect();
    assert_eq!(digests.len(), 2, "{digests:?}");
    assert!(digests[0].contains("3 alerts") && digests[0].contains("3 warning open"), "{}", digests[0]);
    assert!(digests[1].contains("2 alerts") && digests[1].contains("1 warning open; 1 resolved"), "{}", digests[1]);

    assert!(mails(&tenant, &daily.email).is_empty());
    clock.to("2027-03-14T02:15:00Z");
    for incident in first.iter().chain([&error, &second]) {
        let last = if incident == &first[0] { 2 } else { 1 };
        stands(&tenant, incident, (&daily.id, "email"), &outcome(last, "accepted", ""));
    }
    // The next hour and the next morning bring nothing: nothing is in two digests.
    clock.to("2027-03-14T08:00:00Z");
    clock.to("2027-03-15T02:15:00Z");
    pause(3);
    let morning = mails(&tenant, &daily.email);
    assert_eq!(morning.len(), 1, "{morning:?}");
    assert!(morning[0].contains("5 alerts"), "{}", morning[0]);
    assert!(morning[0].contains("1 error, 3 warning open; 1 resolved"), "{}", morning[0]);
    assert_eq!(mails(&tenant, &hourly.email).len(), 3);
}

#[test]
fn a_retry_in_quiet_hours_is_held_until_morning() {
    let stack = &stack!(clock);
    let mut clock = Clock::at(stack, "2027-06-14T21:58:30Z");
    let mut tenant = stack.tenant("enterprise");
    tenant.set(json!({"zone": "UTC", "quiet_hours": {"from": "22:00", "to": "07:00"}}));
    let room = tenant.endpoint("slack", "support_manager");
    stack.behave(&room.path, json!({"status": 503}));
    let incident = post(&tenant, "late", json!({}));
    wait("its third attempt", Duration::from_secs(90), || (stack.inbox(&room.path).len() == 3).then_some(()));
    stands(&tenant, &incident, (&room.id, "slack"), &outcome(1, "pending", ""));
    // The fourth is due two minutes later.
    clock.to("2027-06-14T22:02:00Z");
    stands(&tenant, &incident, (&room.id, "slack"), &outcome(1, "held", "quiet_hours"));
    assert_eq!(until(&tenant, &incident, &room.id, "slack"), "2027-06-15T07:00:00Z");
    stack.heal(&room.path);
    clock.to("2027-06-15T06:00:00Z");
    pause(3);
    assert_eq!(stack.inbox(&room.path).len(), 3, "it is still night");
    clock.to("2027-06-15T07:00:00Z");
    stands(&tenant, &incident, (&room.id, "slack"), &outcome(1, "delivered", ""));
    let last = stack.inbox(&room.path).pop().unwrap();
    assert!(tests::receive::body(&last).to_string().contains("until quiet hours ended"), "{last}");
}

#[test]
fn a_time_zone_changed_while_a_delivery_is_held_counts_when_it_is_due() {
    let stack = &stack!(clock);
    let mut clock = Clock::at(stack, "2028-02-28T22:30:00Z");
    let mut tenant = stack.tenant("enterprise");
    tenant.set(json!({"zone": "UTC", "quiet_hours": {"from": "22:00", "to": "07:00"}}));
    let person = tenant.person("support_manager", &[]);
    let held = post(&tenant, "held", json!({}));
    stands(&tenant, &held, (&person.id, "email"), &outcome(1, "held", "quiet_hours"));
    assert_eq!(until(&tenant, &held, &person.id, "email"), "2028-02-29T07:00:00Z", "a leap day");
    let over = post(&tenant, "over", json!({}));
    stands(&tenant, &over, (&person.id, "email"), &outcome(1, "held", "quiet_hours"));
    tenant.set(json!({"zone": "America/New_York"}));
    clock.to("2028-02-29T07:00:00Z");
    pause(3);
    assert!(mails(&tenant, &person.email).is_empty(), "two in the morning where its readers are by now");
    assert_eq!(until(&tenant, &held, &person.id, "email"), "2028-02-29T12:00:00Z", "and so it is said");
    // Its plan says that the open came at seven, which by now is twelve: both become one message.
    assert_eq!(post(&tenant, "over", json!({"status": "resolved"})), over);
    stands(&tenant, &over, (&person.id, "email"), &outcome(2, "held", "quiet_hours"));
    clock.to("2028-02-29T12:00:00Z");
    for (incident, update) in [(&held, 1), (&over, 2)] {
        stands(&tenant, incident, (&person.id, "email"), &outcome(update, "accepted", ""));
    }
    assert_eq!(mails(&tenant, &person.email).len(), 2);

    // What a setting ended while it waited has no end to tell, though the setting is back by then.
    clock.to("2028-02-29T22:30:00-05:00");
    let (ended, resent) = (post(&tenant, "ended", json!({})), post(&tenant, "resent", json!({})));
    for incident in [&ended, &resent] {
        stands(&tenant, incident, (&person.id, "email"), &outcome(1, "held", "quiet_hours"));
    }
    tenant.set(json!({"categories": {"infrastructure": {"enabled": false}}}));
    clock.to("2028-03-01T07:00:00-05:00");
    for incident in [&ended, &resent] {
        stands(&tenant, incident, (&person.id, "email"), &outcome(1, "skipped", "category_disabled"));
    }
    tenant.set(json!({"categories": {"infrastructure": {"enabled": true}}}));
    // What an admin has sent after all has an end to tell.
    let path = tenant.path(&format!("/incidents/{resent}/resend"));
    let again = json!({"recipient_id": person.id, "channel": "email"});
    let answer = stack.call("POST", &path, &tenant.token, Some(&again));
    assert_eq!(answer.status, 202, "{}", answer.body);
    clock.release();
    stands(&tenant, &resent, (&person.id, "email"), &outcome(1, "accepted", ""));
    assert_eq!(post(&tenant, "resent", json!({"status": "resolved"})), resent);
    stands(&tenant, &resent, (&person.id, "email"), &outcome(2, "accepted", ""));
    // What it is about may be gone by the time that something is due: that ends with its reason, too.
    clock.to("2028-03-01T22:30:00-05:00");
    let expired = post(&tenant, "expired", json!({}));
    stands(&tenant, &expired, (&person.id, "email"), &outcome(1, "held", "quiet_hours"));
    let table = stack.text("/table");
    assert_eq!(stack.aws(&["expire", &table, &expired]), 2, "the incident and its first update");
    clock.to("2028-03-02T07:00:00-05:00");
    let (pk, sk) = (format!("INC#{expired}#{}", tenant.id), format!("THREAD#{}#email", person.id));
    wait("it to end", Duration::from_secs(30), || {
        let row = stack.aws(&["row", &table, &pk, &sk]);
        (row["state"] == "failed" && row["reason"] == "expired").then_some(())
    });
    assert_eq!(post(&tenant, "ended", json!({"status": "resolved"})), ended);
    stands(&tenant, &ended, (&person.id, "email"), &outcome(2, "skipped", "open_not_told"));
    assert_eq!(mails(&tenant, &person.email).len(), 4);
}

#[test]
fn the_regulatory_sms_window_of_a_numbers_country_holds_announcements() {
    let stack = &stack!(clock);
    // Half past three in the morning in India.
    let mut clock = Clock::at(stack, "2027-06-01T22:00:00Z");
    let mut tenant = stack.tenant("enterprise");
    tenant.set(
        json!({"compliance": {"dlt_entity_id": "1101", "dlt_template_id": "2202", "confirmed": ["email", "sms"]}}),
    );
    let [a, b] = tests::random::<2>();
    let phone = format!("+9198{:03}{:05}", a, u32::from(b) * 257 % 100_000);
    let person =
        tenant.person_with("org_admin", json!({"phone": phone, "opt_ins": ["warnings_sms"], "user_id": "u-1"}));
    let warning = post(&tenant, "careful", json!({"type": "user.warning", "severity": "warning", "user_id": "u-1"}));
    stands(&tenant, &warning, (&person.id, "sms"), &outcome(1, "held", "regulatory_window"));
    assert_eq!(until(&tenant, &warning, &person.id, "sms"), "2027-06-02T04:30:00Z", "ten in the morning in India");
    let known = tenant.get(&format!("/incidents/{warning}/explain"));
    let why = known["decisions"].as_array().unwrap().iter().find(|one| one["reason"] == "regulatory_window").unwrap();
    assert_eq!(why["setting"], "compliance.yaml", "{why}");
    let alert = post(&tenant, "alert", json!({}));
    stands(&tenant, &alert, (&person.id, "sms"), &outcome(1, "accepted", ""));
    clock.to("2027-06-02T04:29:00Z");
    pause(2);
    assert_eq!(stack.texts(&phone).len(), 1, "an alert goes at any hour, and nothing else yet");
    clock.to("2027-06-02T04:30:00Z");
    stands(&tenant, &warning, (&person.id, "sms"), &outcome(1, "accepted", ""));
    assert_eq!(stack.texts(&phone).len(), 2);
}
