//! A maintenance from its announcement to its end, with incidents inside.

use crate::{mails, post, stands};
use jiff::SignedDuration;
use serde_json::json;
use tests::clock::Clock;
use tests::tenant::outcome;
use tests::{pause, stack};

#[test]
fn an_incident_inside_maintenance_is_listed_in_it_and_one_that_outlasts_it_is_sent_at_its_end() {
    let stack = &stack!(clock);
    let mut clock = Clock::at(stack, "2027-05-03T01:00:00Z");
    let mut tenant = stack.tenant("enterprise");
    let person = tenant.person("support_manager", &[]);
    let hook = tenant.endpoint("webhook", "tech_devops");
    let place = json!({"components": ["voice"], "regions": ["ap-south-1"]});
    let with = |more: serde_json::Value| {
        let mut all = place.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let hours = json!({"type": "maintenance.announced", "starts_at": "2027-05-04T01:00:00Z", "ends_at": "2027-05-04T03:00:00Z"});
    let work = post(&tenant, "work", with(hours));
    stands(&tenant, &work, (&person.id, "email"), &outcome(1, "accepted", ""));
    // The day before, the same place breaks: nothing explains it yet.
    let before = post(&tenant, "before", with(json!({})));
    stands(&tenant, &before, (&person.id, "email"), &outcome(1, "accepted", ""));
    // An hour before it begins everybody is reminded, without a word of the upstream.
    clock.to("2027-05-03T23:59:00Z");
    pause(2);
    stands(&tenant, &work, (&person.id, "email"), &outcome(1, "accepted", ""));
    clock.to("2027-05-04T00:00:00Z");
    stands(&tenant, &work, (&person.id, "email"), &outcome(2, "accepted", ""));
    assert!(mails(&tenant, &person.email).iter().any(|mail| mail.contains("this is a reminder")));
    clock.to("2027-05-04T01:00:30Z");
    assert_eq!(post(&tenant, "work", with(json!({"type": "maintenance.started"}))), work);
    stands(&tenant, &work, (&person.id, "email"), &outcome(3, "accepted", ""));
    let (short, long) = (post(&tenant, "short", with(json!({}))), post(&tenant, "long", with(json!({}))));
    for incident in [&short, &long] {
        stands(&tenant, incident, (&person.id, "email"), &outcome(1, "held", "covered_by_maintenance"));
        stands(&tenant, incident, (&hook.id, "webhook"), &outcome(1, "delivered", ""));
    }
    clock.pass(SignedDuration::from_mins(30));
    assert_eq!(post(&tenant, "short", with(json!({"status": "resolved"}))), short);
    stands(&tenant, &short, (&person.id, "email"), &outcome(2, "skipped", "covered_by_maintenance"));
    assert_eq!(post(&tenant, "work", with(json!({"type": "maintenance.verifying"}))), work);
    clock.to("2027-05-04T03:00:00Z");
    stands(&tenant, &long, (&person.id, "email"), &outcome(1, "accepted", ""));
    assert_eq!(post(&tenant, "work", with(json!({"type": "maintenance.completed"}))), work);
    stands(&tenant, &work, (&person.id, "email"), &outcome(5, "accepted", ""));
    pause(2);
    let got = mails(&tenant, &person.email);
    let about = |what: &str| got.iter().filter(|mail| mail.contains(&format!("{what} of {}", tenant.id))).count();
    // Both messages of the work that came after it name the short one, and both name the long one.
    assert_eq!((about("work"), about("before"), about("short"), about("long")), (5, 1, 2, 3), "{got:?}");
    assert!(got.iter().filter(|mail| mail.contains("Incidents during this maintenance:")).count() == 2, "{got:?}");
    assert!(got.iter().any(|mail| mail.contains("it is still open after the maintenance window")));

    // Work that ends before its time explains nothing any more.
    let hours = json!({"type": "maintenance.announced", "starts_at": "2027-05-05T01:00:00Z", "ends_at": "2027-05-05T09:00:00Z"});
    let early = post(&tenant, "early", with(hours));
    clock.to("2027-05-05T01:00:30Z");
    let outlives = post(&tenant, "outlives", with(json!({})));
    stands(&tenant, &outlives, (&person.id, "email"), &outcome(1, "held", "covered_by_maintenance"));
    clock.to("2027-05-05T02:00:00Z");
    assert_eq!(post(&tenant, "early", with(json!({"type": "maintenance.completed"}))), early);
    stands(&tenant, &early, (&person.id, "email"), &outcome(2, "accepted", ""));
    clock.pass(SignedDuration::from_mins(11));
    stands(&tenant, &outlives, (&person.id, "email"), &outcome(1, "accepted", ""));
    assert_eq!(post(&tenant, "outlives", with(json!({"status": "resolved"}))), outlives);
    stands(&tenant, &outlives, (&person.id, "email"), &outcome(2, "accepted", ""));
}
