//! What is planned in a world: tenants, destinations, incidents with their updates, digests and storms.

use crate::random::Random;
use crate::receiver::Temper;
use crate::table::DeliveryKey;
use contracts::queue::{Delivery, Lane};
use domain::due::{Hold, ScheduledDelivery};
use domain::reason::Reason;
use domain::vocabulary::{Channel, ChannelClass};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The tenants of a world.
const TENANTS: [&str; 2] = ["acme", "globex"];
/// The destinations of each tenant, with their channels. Ids get the tenant's name.
const DESTINATIONS: [(&str, &[Channel]); 6] = [
    ("rcp_Ada", &[Channel::Email, Channel::Sms]),
    ("rcp_Bo", &[Channel::Email, Channel::Sms]),
    ("rcp_Cy", &[Channel::Email]),
    ("int_Slack", &[Channel::Slack]),
    ("int_Teams", &[Channel::Teams]),
    ("int_Hook", &[Channel::Webhook]),
];

/// What is planned in a world.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// All deliveries, as their first attempt.
    pub deliveries: BTreeMap<DeliveryKey, Delivery>,
    /// What is put on a queue, and when (in milliseconds).
    pub enqueued: Vec<(i64, DeliveryKey, Lane)>,
    /// What is held for a digest.
    pub held: Vec<ScheduledDelivery>,
    /// How the destinations answer.
    pub tempers: BTreeMap<String, Temper>,
}

/// Where an update is in its incident.
struct Place<'a> {
    tenant: &'a str,
    incident: &'a str,
    update: u32,
    last: bool,
    at: Timestamp,
}

impl Load {
    /// Plans a world that begins at `begin` (in milliseconds).
    #[must_use]
    pub fn new(begin: i64, random: &mut Random) -> Self {
        let mut load = Self::default();
        for tenant in TENANTS {
            for (name, _) in DESTINATIONS {
                let temper = match random.between(0, 20) {
                    0 => Temper::Dead,
                    1 => Temper::Refusing,
                    2 if name.starts_with("int_") => Temper::Gone,
                    3..=6 => Temper::Flaky,
                    _ => Temper::Good,
                };
                load.tempers.insert(format!("{name}{tenant}"), temper);
            }
        }
        let storm = random.once_in(10);
        let incidents = if storm { random.between(15, 25) } else { random.between(1, 5) };
        for number in 0..incidents {
            let tenant = if storm { TENANTS[0] } else { random.pick(&TENANTS).copied().unwrap_or(TENANTS[0]) };
            let updates = if storm { 1 } else { u32::try_from(random.between(1, 4)).unwrap_or(1) };
            let mut at = begin + random.between(0, if storm { 50_000 } else { 1_800_000 });
            let severity = random.pick(&["critical", "error", "warning"]).copied().unwrap_or("error");
            let mut heard: BTreeMap<(String, Channel), u32> = BTreeMap::new();
            for update in 1..=updates {
                let incident = format!("inc{number}");
                let place = Place { tenant, incident: &incident, update, last: update == updates, at: timestamp(at) };
                load.add_update(&place, severity, &mut heard, random);
                at += random.between(500, 900_000);
            }
        }
        load
    }

    fn add_update(
        &mut self,
        place: &Place<'_>,
        severity: &str,
        heard: &mut BTreeMap<(String, Channel), u32>,
        random: &mut Random,
    ) {
        let lane = if random.once_in(3) { Lane::Bulk } else { Lane::Urgent };
        let at = place.at.as_millisecond();
        for (name, channels) in DESTINATIONS {
            let destination = format!("{name}{}", place.tenant);
            for channel in channels {
                if random.once_in(4) {
                    continue;
                }
                let mut delivery = build(place, severity, &destination, *channel);
                if *channel == Channel::Webhook {
                    // Only updates that are planned together wait for each other.
                    delivery.follows =
                        heard.get(&(destination.clone(), *channel)).copied().filter(|_| random.once_in(2));
                    if random.once_in(8) {
                        delivery.endpoint = domain::health::EndpointHealth::HalfOpen;
                    }
                }
                heard.insert((destination.clone(), *channel), place.update);
                let key = DeliveryKey::of(&delivery);
                let listed = *channel == Channel::Email && name == "rcp_Cy";
                if listed {
                    let later = timestamp((at / 600_000 + 1) * 600_000);
                    self.held.push(digest_entry(&delivery, later));
                } else {
                    self.enqueued.push((at + random.between(0, 3_000), key.clone(), lane));
                }
                self.deliveries.insert(key, delivery);
            }
        }
    }
}

/// The due entry of a delivery that is held for a digest.
fn digest_entry(delivery: &Delivery, at: Timestamp) -> ScheduledDelivery {
    ScheduledDelivery {
        at,
        tenant: delivery.alert.tenant.clone(),
        destination: delivery.destination.clone(),
        channel: delivery.channel,
        incident_id: delivery.alert.incident_id.clone(),
        update: delivery.alert.update,
        attempt: 1,
        plain: false,
        role: None,
        held: Some(Hold { since: delivery.alert.at, reason: Reason::Digest, always_listed: false }),
        held_before: None,
        omitted_count: 0,
        rebatched: false,
        resend_requested: false,
    }
}

/// Builds the first attempt of a delivery, as `subscription-lookup` enqueues it.
fn build(place: &Place<'_>, severity: &str, destination: &str, channel: Channel) -> Delivery {
    let Place { tenant, incident, update, last, at } = place;
    let resolved = *last && *update > 1;
    let (change, status) = match (update, resolved) {
        (1, _) => ("opened", "investigating"),
        (_, true) => ("resolved", "resolved"),
        _ => ("text_added", "investigating"),
    };
    let phone = if destination.starts_with("rcp_Ada") { "+14155550101" } else { "+14155550102" };
    let target = match channel.class() {
        ChannelClass::Email => json!({"to": "email", "address": format!("{destination}@example.com")}),
        ChannelClass::Sms => json!({"to": "sms", "phone": phone, "compliance": {}}),
        ChannelClass::Chat => json!({"to": "chat", "url": "sealed", "fingerprint": destination}),
        ChannelClass::Webhook => json!({"to": "webhook", "url": "sealed", "secret": "sealed"}),
    };
    let alert = json!({
        "tenant": tenant, "incident_id": incident, "update": update, "event_id": format!("evt{incident}{update}"),
        "platform_wide": false, "category": "infrastructure", "kind": "incident", "event_type": "voice.down",
        "severity": severity, "status": status, "title": format!("{incident} is down"), "started_at": at, "at": at,
        "change": change, "zone": "UTC", "public": false,
    });
    let delivery: Value = json!({
        "v": 1, "correlation_id": format!("c-{incident}-{update}"), "alert": alert, "why": {"role": null},
        "destination": destination, "channel": channel, "target": target, "attempt": 1, "window_seconds": 60,
        "bundle": true,
    });
    match serde_json::from_value(delivery) {
        Ok(delivery) => delivery,
        Err(error) => panic!("the simulation plans an invalid delivery: {error}"),
    }
}

/// A time of the world.
#[must_use]
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}
