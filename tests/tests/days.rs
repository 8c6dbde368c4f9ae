//! Days of the system's life in minutes, on the running stack, by a clock that only its tests may set: hours across the change of
//! summer time, digests, maintenance, an endpoint that is dead for days, a storm. They have a stack of their own, and run one at a time on it,
//! for its clock is everybody's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

#[path = "days/endpoint.rs"]
mod endpoint;
#[path = "days/hours.rs"]
mod hours;
#[path = "days/kills.rs"]
mod kills;
#[path = "days/maintenance.rs"]
mod maintenance;
#[path = "days/storm.rs"]
mod storm;

use serde_json::{Value, json};
use std::time::Duration;
use tests::tenant::Tenant;
use tests::{stack, wait};

/// One test, for the endpoints wait for a queue while the days of the others pass.
#[test]
fn days_in_minutes() {
    let stack = stack!(clock);
    let dead = endpoint::two_die(&stack);
    hours::digests_come_hourly_or_at_each_readers_morning_with_every_alert_once(&stack);
    hours::a_digest_is_one_message_though_two_runs_of_release_meet(&stack);
    hours::quiet_hours_end_on_time_in_the_night_that_is_an_hour_shorter(&stack);
    maintenance::an_incident_inside_maintenance_is_listed_in_it_and_one_that_outlasts_it_is_sent_at_its_end(&stack);
    hours::the_regulatory_sms_window_of_a_numbers_country_holds_announcements(&stack);
    hours::a_retry_in_quiet_hours_is_held_until_morning(&stack);
    endpoint::five_days_of_failures_disable_an_endpoint_and_a_probe_a_day_later_enables_it(&stack);
    hours::quiet_hours_end_on_time_in_the_night_that_is_an_hour_longer(&stack);
    hours::a_time_zone_changed_while_a_delivery_is_held_counts_when_it_is_due(&stack);
    endpoint::a_recovered_endpoint_gets_everything_sent_since(&stack, &dead);
}

/// Posts an event of a tenant and gives back its incident.
fn post(tenant: &Tenant, key: &str, more: Value) -> String {
    let mut event = json!({"type": "voice.routing_failure", "severity": "error", "title": format!("{key} of {}", tenant.id),
        "dedup_key": key, "tenant_ids": [tenant.id]});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    tenant.stack.incident_of(&tenant.stack.post(event))
}

/// The words of the e-mails to somebody about this tenant.
fn mails(tenant: &Tenant, to: &str) -> Vec<String> {
    let all = tenant.stack.mails(&tenant.id).into_iter();
    all.filter(|mail| mail.to == to).map(|mail| mail.text).collect()
}

/// Waits until the newest entry of an incident's explanation for a destination says so.
fn stands(tenant: &Tenant, incident: &str, (id, channel): (&str, &str), expected: &(u64, String, String)) {
    let what = format!("{id} {channel} to be {expected:?}");
    wait(&what, Duration::from_secs(60), || {
        (tenant.explained(incident, id, channel).last() == Some(expected)).then_some(())
    });
}

/// Returns until when a delivery is held, according to the explanation.
fn until(tenant: &Tenant, incident: &str, id: &str, channel: &str) -> String {
    let known = tenant.get(&format!("/incidents/{incident}/explain"));
    let mut all = known["decisions"].as_array().unwrap().iter().rev();
    let mine = all.find(|one| (one["recipient_id"] == id || one["integration_id"] == id) && one["channel"] == channel);
    mine.and_then(|one| one["until"].as_str()).unwrap_or_default().to_owned()
}
