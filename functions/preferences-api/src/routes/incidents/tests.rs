use super::*;
use domain::delivery::{DeliveryRow, FailedAttempt, HistoryEntry, delivery_row_key};
use domain::reason::Reason;
use domain::vocabulary::{Channel, Role};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn the_default_period_is_the_last_week_and_wrong_parameters_are_reported() {
    let now = at(1_000_000_000);
    let filter = IncidentParams::default().to_filter(now).unwrap();
    assert_eq!((filter.to, filter.from), (now, at(1_000_000_000 - 7 * 86_400)));
    assert_eq!((filter.limit, filter.excluded), (50, false));
    let params = IncidentParams {
        from: Some("yesterday".into()),
        to: Some("2001-01-01T00:00:00Z".into()),
        include: Some("all".into()),
        limit: Some("0".into()),
        cursor: Some("x".into()),
    };
    let pointers: Vec<String> = params.to_filter(now).unwrap_err().into_iter().map(|error| error.pointer).collect();
    assert_eq!(pointers, ["query:from", "query:include", "query:limit", "query:cursor"]);
    let backwards =
        IncidentParams { from: Some("2002-01-01T00:00:00Z".into()), to: params.to, ..IncidentParams::default() };
    assert_eq!(backwards.to_filter(now).unwrap_err()[0].pointer, "query:from");
}

#[test]
fn a_tenant_sees_its_own_incidents_and_platform_wide_ones() {
    let tenant = |id: &str| TenantId::parse(id).unwrap();
    assert!(is_visible(&Scope::Platform, &tenant("acme")));
    assert!(is_visible(&Scope::Tenant(tenant("acme")), &tenant("acme")));
    assert!(!is_visible(&Scope::Tenant(tenant("globex")), &tenant("acme")));
    assert!(!is_visible(&Scope::Tenant(tenant("platform")), &tenant("acme")));
}

#[test]
fn a_skipped_decision_shows_its_reason_and_the_setting_that_would_change_it() {
    let names: DestinationNames<'_> = [("rcp_1", "Ops")].into();
    let decision = |destination: &str, outcome| Decision {
        update: 2,
        destination: destination.into(),
        channel: Channel::Email,
        outcome,
        last_sent: None,
    };
    let skip = |reason| DecisionOutcome::Skip { reason, by: None };
    let category = Some(Category::Billing);
    let view = decision_view(&decision("rcp_1", skip(Reason::ChannelNotTicked)), category, &names);
    assert_eq!((view.outcome.as_str(), view.name.as_deref()), ("skip", Some("Ops")));
    let reason = view.reason.unwrap();
    assert_eq!(
        (reason.reason.as_str(), reason.setting.as_str()),
        ("channel_not_ticked", "settings.categories.billing.channels")
    );
    let setting = |id: &str| {
        decision_view(&decision(id, skip(Reason::RoleNotInMatrix)), category, &names).reason.unwrap().setting
    };
    assert_eq!(setting("rcp_1"), "recipients.rcp_1.roles");
    assert_eq!(setting("int_1"), "integrations.int_1.audiences");
    let sent =
        decision_view(&decision("int_9", DecisionOutcome::Deliver { role: Some(Role::OrgAdmin) }), category, &names);
    assert_eq!(
        (sent.outcome.as_str(), sent.role, sent.name, sent.reason),
        ("deliver", Some(Role::OrgAdmin), None, None)
    );
}

#[test]
fn a_delivery_shows_its_state_history_and_failed_attempts() {
    let row = DeliveryRow {
        latest: 2,
        done: 1,
        notified: 1,
        tried: 0,
        state: DeliveryState::Retrying,
        attempts: 1,
        lease_until_ms: 0,
        token: "SECRET".into(),
        channel: Channel::Webhook,
        feedback: None,
        next_at_ms: Some(5_000),
        cause: Some("http_500".into()),
        reason: None,
        provider_id: None,
        at: None,
        latency_ms: Some(120),
        late: false,
    };
    let listed = ListedDelivery {
        row: delivery_row_key("int_1", Channel::Webhook, 2),
        delivery: row,
        history: vec![HistoryEntry { update: 1, outcome: "accepted".into(), at: at(1), attempts: 1 }],
        attempts: vec![FailedAttempt {
            update: 2,
            attempt: 1,
            at: at(2),
            cause: "http_500".into(),
            status: Some(500),
            response: "oops".into(),
            took_ms: 30,
        }],
    };
    let names: DestinationNames<'_> = [("int_1", "Hook")].into();
    let view = delivery_view(&listed, None, &names, &[]);
    assert_eq!(
        (view.destination.as_str(), view.name.as_deref(), view.state.as_str()),
        ("int_1", Some("Hook"), "retrying")
    );
    assert_eq!((view.next_at, view.outcome.as_str()), (Some(at(5)), "retrying"));
    assert_eq!((view.history.len(), view.failed_attempts[0].status), (1, Some(500)));
    assert!(!serde_json::to_string(&view).unwrap().contains("SECRET"));
    // The explanation takes precedence, because it includes later feedback.
    let entry = serde_json::json!({"update": 2, "integration_id": "int_1", "name": "Hook", "channel": "webhook",
        "outcome": "failed", "reason": "suppressed_bounce", "sentence": "s", "setting": "x", "remedy": "m",
        "late_source": "1970-01-01T00:00:07Z", "attempts": [{"update": 2, "attempt": 0, "at": at(3), "cause": "bounced",
        "sentence": "s", "remedy": "m", "response": "gone", "took_ms": 0}]});
    let view = delivery_view(&listed, None, &names, &[serde_json::from_value(entry).unwrap()]);
    assert_eq!((view.state.as_str(), view.outcome.as_str()), ("retrying", "failed"));
    assert_eq!(view.reason.unwrap().reason, "suppressed_bounce");
    assert_eq!((view.late_source, view.failed_attempts.len()), (Some(at(7)), 2));
}
