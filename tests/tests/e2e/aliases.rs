//! An alias lives as long as its incident is open, and dies with its key.

use super::rows::config;
use domain::event::{Event, Format};
use domain::event_record::{EventRecord, EventRecordWrite};
use domain::ids::{EventId, IntegrationId, Scope, TenantId};
use domain::incident::{Incident, KeyState, simulate_opening};
use domain::policy::Policy;
use jiff::{SignedDuration, Timestamp};
use store::Table;
use store::aliases::SourceKey;
use store::incidents::IncidentChange;
use tests::{stack, unique};

fn record(incident: &Incident, at: Timestamp) -> EventRecord {
    EventRecord {
        event_id: EventId::new(&unique()),
        scope: Some(incident.scope.clone()),
        accepted_at: at,
        classification: "included".to_owned(),
        category: incident.category,
        rule: None,
        reason: None,
        incident_id: Some(incident.id.to_string()),
        update: None,
        event_type: incident.event_type.clone(),
        title: String::new(),
        warnings: Vec::new(),
        jobs: Vec::new(),
    }
}

#[tokio::test]
async fn an_open_incident_can_be_closed_by_its_key_however_old_it_is() {
    let stack = &stack!();
    let table = &Table::new(&config(stack), &stack.text("/table"), 90);
    let mark = unique();
    let now: Timestamp = "2027-01-01T10:00:00Z".parse().unwrap();
    let scope = Scope::Tenant(TenantId::parse(&format!("alias-{mark}")).unwrap());
    let event = Event {
        event_type: "api.outage".to_owned(),
        dedup_key: mark.clone(),
        ..Event::blank(Format::PagerDuty, "pagerduty")
    };
    let policy = Policy::embedded().unwrap();
    let domain::classification::Classification::Included(rule) = policy.classify(&event) else { panic!("no rule") };
    let (opened, _) = simulate_opening(&event, &rule, &scope, now);
    let integration = IntegrationId::new(&mark);
    let incident = Incident { key: mark.clone(), integration_id: integration.clone(), ..opened };
    let key = SourceKey { integration: &integration, source: "pagerduty", dedup_key: &mark };
    let later = |hours: i64| now + SignedDuration::from_hours(hours);
    let found = async |at: Timestamp| table.open_alias_scopes(key, at).await.unwrap();

    // Intake notes it before the opening is queued.
    table.add_alias_scopes(key, std::slice::from_ref(&scope), now).await.unwrap();
    assert_eq!(found(now).await, std::slice::from_ref(&scope));
    let write = async |incident: &Incident, replaces: u64, previous: Option<&KeyState>, at: Timestamp| {
        let change = IncidentChange {
            record: &record(incident, at),
            record_write: EventRecordWrite::New,
            head: Some((incident, replaces)),
            update: None,
            suppressed_incidents: &[],
            reminder: None,
            previous_key_state: previous,
            key_without_incident: None,
            list_entry: None,
        };
        assert!(table.record_change(&change).await.unwrap());
    };
    write(&incident, 0, None, now).await;
    // Another trigger of the open key changes nothing.
    table.add_alias_scopes(key, std::slice::from_ref(&scope), later(1)).await.unwrap();
    assert_eq!(found(later(24 * 400)).await, std::slice::from_ref(&scope), "beyond the retention of what is closed");

    let closed = Incident { resolved_at: Some(later(2)), version: 2, ..incident.clone() };
    write(&closed, 1, Some(&KeyState::of(&incident)), later(2)).await;
    assert_eq!(found(later(3)).await, std::slice::from_ref(&scope), "a client may close it twice");
    assert!(found(later(27)).await.is_empty(), "a day later it can be closed no more");
    assert_eq!(table.alias_scopes(key, later(27)).await.unwrap(), std::slice::from_ref(&scope), "but it can be read");
    table.add_alias_scopes(key, std::slice::from_ref(&scope), later(28)).await.unwrap();
    assert_eq!(found(later(28)).await, [scope], "it opens again");
}
