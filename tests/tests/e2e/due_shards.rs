//! The due index across an upgrade: release 0.1.0 had eight shards, of which each destination's belongs to the schedule of its shard of 64.

use crate::rows::config;
use domain::due::ScheduledDelivery;
use domain::ids::{DUE_SCHEDULES, DUE_SHARDS, IncidentId, TenantId};
use domain::vocabulary::Channel;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use store::Table;
use tests::{pause, stack, unique};

/// Entries of a tenant in the due index, by destination and shard.
async fn entries(table: &Table, tenant: &TenantId, until: Timestamp) -> BTreeSet<(String, u16)> {
    let mut found = BTreeSet::new();
    for shard in 0..DUE_SHARDS {
        let page = table.due_page(shard, until, None, 1_000).await.unwrap();
        let own = page.items.into_iter().filter(|item| item.due.tenant == *tenant);
        found.extend(own.map(|item| (item.due.destination.clone(), item.shard())));
    }
    found
}

#[tokio::test]
async fn what_functions_of_either_release_write_is_released_from_its_shard() {
    let stack = &stack!();
    let table = Table::new(&config(stack), &stack.text("/table"), 90);
    let earlier = table.clone().with_due_index(DUE_SCHEDULES, "earlier");
    let tenant = TenantId::parse(&format!("shards-{}", unique())).unwrap();
    let soon = stack_now().saturating_add(SignedDuration::from_mins(2)).unwrap();
    // Of an incident that is gone: `release` ends them and deletes their entries.
    let due = |number: u32| ScheduledDelivery {
        at: soon,
        tenant: tenant.clone(),
        destination: format!("rcp_{number}"),
        channel: Channel::Email,
        incident_id: IncidentId::new(&unique()),
        update: 1,
        attempt: 2,
        plain: false,
        role: None,
        held: None,
        held_before: None,
        omitted_count: 0,
        rebatched: false,
        resend_requested: false,
    };
    let mut expected = BTreeSet::new();
    for number in 0..24 {
        // A deployment is half done: one function after the other writes to 64 shards, and one delivery is written by both.
        let due = due(number);
        if number % 3 != 0 {
            earlier.schedule(&due).await.unwrap();
            expected.insert((due.destination.clone(), due.shard(DUE_SCHEDULES)));
        }
        if number % 3 != 1 {
            table.schedule(&due).await.unwrap();
            expected.insert((due.destination.clone(), due.shard(DUE_SHARDS)));
        }
    }
    let schedules: BTreeSet<u16> = expected.iter().map(|(_, shard)| shard % DUE_SCHEDULES).collect();
    assert_eq!(entries(&table, &tenant, soon).await, expected);
    assert!(schedules.len() > 4 && expected.iter().any(|(_, shard)| *shard >= DUE_SCHEDULES), "{expected:?}");
    for _ in 0..100 {
        if entries(&table, &tenant, soon).await.is_empty() {
            return;
        }
        pause(3);
    }
    panic!("left in the due index after five minutes: {:?}", entries(&table, &tenant, soon).await);
}

#[tokio::test]
async fn places_of_a_run_are_read_as_they_were_saved_and_are_no_entries() {
    use domain::due::{DuePlace, DuePlaces};
    let stack = &stack!();
    let table = Table::new(&config(stack), &stack.text("/table"), 90);
    // No schedule reads it.
    let (shard, now) = (1_000, stack_now());
    assert_eq!(table.due_places(shard).await.unwrap(), DuePlaces::default());
    let place = |shard, after: Option<&str>| DuePlace { shard, after: after.map(str::to_owned) };
    let places =
        DuePlaces { places: vec![place(11, Some("0029383040#acme#rcp_a#email#inc_a#000001")), place(3, None)] };
    table.save_due_places(shard, &places, now).await.unwrap();
    assert_eq!(table.due_places(shard).await.unwrap(), places);
    let page = table.due_page(shard, now, None, 10).await.unwrap();
    assert_eq!((page.items.len(), page.unreadable), (0, 0));
}

fn stack_now() -> Timestamp {
    tests::in_seconds(0).parse().unwrap()
}
