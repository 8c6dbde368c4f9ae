//! What a routing job does next, answer by answer.

use super::enqueue::ENQUEUED_BYTES_MAX;
use super::*;
use contracts::queue::Lane;
use domain::ids::IncidentId;
use domain::plan::DecisionOutcome;
use domain::reason::Reason;
use serde_json::json;

const AT: &str = "2026-11-23T12:00:00Z";

fn policy() -> Policy {
    Policy::embedded().unwrap()
}

fn turn() -> Turn {
    Turn {
        now: AT.parse().unwrap(),
        left: Duration::from_secs(50),
        receives: 1,
        lane: Lane::Urgent,
        jitter: 0.0,
        token: "run".to_owned(),
        counted: Vec::new(),
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn job(route: RoutingTarget) -> RoutingJob {
    RoutingJob { v: 1, correlation_id: "c-1".to_owned(), incident_id: IncidentId::new("a"), update: 1, route }
}

fn shards() -> RoutingJob {
    job(RoutingTarget::Shards { first: 4, next: 4, end: 6, after: None })
}

fn context() -> RouteContext {
    let incident = json!({"id": "inc_a", "scope": {"tenant": "acme"}, "key": "k", "integration_id": "int_s",
        "source": "monitor", "event_type": "api.outage", "dedup_key": "d", "category": "infrastructure",
        "kind": "incident", "rule": "r", "severity": "error", "status": "investigating", "title": "Down",
        "components": [], "regions": [], "public": false, "started_at": AT, "last_seen": AT, "updates": 1, "version": 1});
    let update = json!({"number": 1, "event_id": "evt_a", "correlation_id": "c-1", "accepted_at": AT,
        "change": "opened", "status": "investigating", "severity": "error", "title": "Down", "message": "",
        "components": [], "regions": []});
    RouteContext {
        incident: serde_json::from_value(incident).ok(),
        updates: vec![serde_json::from_value(update).unwrap()],
        suppressed: Vec::new(),
    }
}

/// A tenant with one recipient, who gets e-mail.
fn subscriber(tenant: &str, storms: &str) -> Subscriber {
    let settings = json!({"tenant": tenant, "name": "Acme", "plan": "enterprise", "zone": "UTC",
        "alert_window_seconds": 60, "categories": {"infrastructure": {"enabled": true, "channels": ["email"]}}, "storms": storms, "version": 1,
        "compliance_confirmed": {"email": {"at": AT, "by": "usr_a", "wording": "yes"}}});
    let recipient = json!({"id": "rcp_a", "name": "Ada", "email": "ada@acme.test", "email_confirmed": true,
        "roles": ["tech_devops"], "version": 1});
    let recipient = serde_json::from_value(recipient).unwrap();
    Subscriber {
        settings: serde_json::from_value(settings).unwrap(),
        destinations: vec![(0, domain::tenant::Destination::Recipient(Box::new(recipient)))],
    }
}

fn read(job: RoutingJob, turn: &mut Turn) -> Route {
    let Route::Context(step) = begin(job) else { panic!("the incident is not read first") };
    step.answered(Ok(context()), turn)
}

/// Tells the story of one tenant's job until its plans are to be stored.
fn until_store(storms: &str, plans: PlanHistory, opened: u32, turn: &mut Turn) -> Route {
    let Route::Tenant(step) = read(job(RoutingTarget::Tenant(acme())), turn) else { panic!("no tenant is read") };
    match step.answered(Ok((Some(subscriber("acme", storms)), plans)), &policy(), turn) {
        Route::Count(step) => step.answered(Ok(opened), &policy(), turn),
        other => other,
    }
}

fn parked(story: Route) -> String {
    let Route::End(Verdict::Park { reason }) = story else { panic!("{story:?}") };
    reason
}

#[test]
fn a_plan_is_stored_before_anything_of_it_is_enqueued() {
    let mut turn = turn();
    let Route::Store(step) = until_store("each", PlanHistory::default(), 0, &mut turn) else { panic!("no plan") };
    let plans: Vec<StoredPlan> = step.plans().cloned().collect();
    assert_eq!((plans.len(), plans[0].update), (1, 1));
    let Route::Enqueue(step) = step.answered(plans.into_iter().map(Ok).collect(), &mut turn) else { panic!() };
    assert_eq!((step.deliveries().len(), step.lane()), (1, Lane::Urgent));
    assert_eq!(step.group(&step.deliveries()[0]), "acme");
    assert!(matches!(step.answered(Ok(()), &mut turn), Route::End(Verdict::Delete)));
    let planned = |outcome| Counted::Planned { outcome };
    assert_eq!(turn.counted, [planned("deliver"), planned("skip")], "e-mail is selected, SMS is not");
}

#[test]
fn a_plan_that_an_earlier_run_stored_counts_and_not_the_one_of_this_run() {
    let mut turn = turn();
    let Route::Store(step) = until_store("each", PlanHistory::default(), 0, &mut turn) else { panic!() };
    let stored: Vec<Answer<StoredPlan>> = step
        .plans()
        .map(|plan| {
            let mut plan = plan.clone();
            let skip = DecisionOutcome::Skip { reason: Reason::OptedOut, by: None };
            assert!(matches!(plan.decisions[0].outcome, DecisionOutcome::Deliver { .. }), "{plan:?}");
            plan.decisions.iter_mut().for_each(|decision| decision.outcome = skip.clone());
            Ok(plan)
        })
        .collect();
    let story = step.answered(stored, &mut turn);
    assert!(matches!(story, Route::End(Verdict::Delete)), "nothing is enqueued that the stored plan skips: {story:?}");
}

#[test]
fn a_redelivered_job_enqueues_what_is_stored_and_plans_nothing() {
    let mut turn = Turn { receives: 2, ..turn() };
    let Route::Store(step) = until_store("each", PlanHistory::default(), 0, &mut turn) else { panic!() };
    let plans = PlanHistory { plans: step.plans().cloned().collect(), ..PlanHistory::default() };
    let Route::Enqueue(step) = until_store("each", plans, 0, &mut turn) else { panic!("not enqueued again") };
    assert_eq!(step.deliveries().len(), 1);
}

#[test]
fn a_planned_delivery_whose_destination_is_gone_when_its_job_comes_again_is_ended_with_a_record() {
    let mut turn = Turn { receives: 2, ..turn() };
    let Route::Store(step) = until_store("each", PlanHistory::default(), 0, &mut turn) else { panic!() };
    let plans = PlanHistory { plans: step.plans().cloned().collect(), ..PlanHistory::default() };
    let mut without_address = subscriber("acme", "each");
    let domain::tenant::Destination::Recipient(ada) = &mut without_address.destinations[0].1 else { panic!() };
    ada.email = None;
    let without_anybody = Subscriber { destinations: Vec::new(), ..subscriber("acme", "each") };
    for subscriber in [without_address, without_anybody] {
        let Route::Tenant(step) = read(job(RoutingTarget::Tenant(acme())), &mut turn) else { panic!() };
        let Route::Hold(step) = step.answered(Ok((Some(subscriber), plans.clone())), &policy(), &mut turn) else {
            panic!("it is dropped without a record")
        };
        let [entry] = step.entries() else { panic!("{:?}", step.entries()) };
        let (destination, at) = (entry.destination.as_str(), entry.at);
        assert_eq!((destination, at, entry.held), ("rcp_a", turn.now, None), "release decides about it at once");
        assert!(matches!(step.answered(Ok(()), &mut turn), Route::End(Verdict::Delete)));
    }
}

#[test]
fn what_is_missing_is_put_aside_with_the_reason() {
    let mut turn = turn();
    let Route::Context(step) = begin(shards()) else { panic!() };
    let story = step.answered(Ok(RouteContext::default()), &mut turn);
    assert_eq!(parked(story), "the incident of this job is not in the table");
    let Route::Context(step) = begin(shards()) else { panic!() };
    let story = step.answered(Ok(RouteContext { updates: Vec::new(), ..context() }), &mut turn);
    assert_eq!(parked(story), "the update of this job is not in the table");
    let Route::Tenant(step) = read(job(RoutingTarget::Tenant(acme())), &mut turn) else { panic!() };
    let story = step.answered(Ok((None, PlanHistory::default())), &policy(), &mut turn);
    assert_eq!(parked(story), "the tenant has no compiled subscription");
}

#[test]
fn an_opening_over_the_ceiling_is_held_and_the_due_index_comes_before_the_queue() {
    let mut turn = turn();
    let over = policy().storms.ceiling.incidents + 1;
    let Route::Store(step) = until_store("bundle", PlanHistory::default(), over, &mut turn) else { panic!() };
    let plans: Vec<Answer<StoredPlan>> = step.plans().cloned().map(Ok).collect();
    let Route::Hold(step) = step.answered(plans, &mut turn) else { panic!("not held") };
    assert_eq!(step.entries().len(), 1);
    assert!(matches!(step.answered(Ok(()), &mut turn), Route::End(Verdict::Delete)));
    let planned = |outcome| Counted::Planned { outcome };
    assert_eq!(turn.counted, [Counted::StormHeld, planned("hold"), planned("skip")]);
}

#[test]
fn pages_follow_each_other_through_a_shard_and_to_the_next() {
    let mut turn = turn();
    let page = |next: Option<&str>| TenantPage { tenants: vec![], next: next.map(|id| TenantId::parse(id).unwrap()) };
    let Route::Page(step) = read(shards(), &mut turn) else { panic!("no page is read") };
    assert_eq!((step.shard(), step.after()), (4, None));
    let Route::Page(step) = step.answered(Ok(page(Some("acme"))), &policy(), &mut turn) else { panic!() };
    assert_eq!((step.shard(), step.after()), (4, Some(&acme())));
    let Route::Page(step) = step.answered(Ok(page(None)), &policy(), &mut turn) else { panic!() };
    assert_eq!((step.shard(), step.after()), (5, None));
    let story = step.answered(Ok(page(None)), &policy(), &mut turn);
    assert!(matches!(story, Route::End(Verdict::Delete)), "the last shard is done: {story:?}");
}

#[test]
fn a_job_without_time_continues_in_a_message_of_its_own() {
    let mut turn = turn();
    let Route::Page(step) = read(shards(), &mut turn) else { panic!() };
    turn.left = PAGE_RESERVE - Duration::from_secs(1);
    let tenants = vec![(subscriber("acme", "each"), PlanHistory::default())];
    let page = TenantPage { tenants, next: Some(acme()) };
    let Route::Store(step) = step.answered(Ok(page), &policy(), &mut turn) else {
        panic!("a page that was read is done")
    };
    let plans: Vec<Answer<StoredPlan>> = step.plans().cloned().map(Ok).collect();
    let Route::Enqueue(step) = step.answered(plans, &mut turn) else { panic!() };
    let Route::Continue(step) = step.answered(Ok(()), &mut turn) else { panic!("it does not continue") };
    let expected = RoutingTarget::Shards { first: 4, next: 4, end: 6, after: Some(acme()) };
    assert_eq!(step.job().route, expected);
    assert!(matches!(step.answered(Ok(()), &mut turn), Route::End(Verdict::Delete)));

    // A next message with the same place would be dropped as a duplicate of this one.
    let story = read(shards(), &mut turn);
    assert!(matches!(story, Route::End(Verdict::Return { code: "no_time_for_a_page", .. })), "{story:?}");
}

#[test]
fn a_fault_of_aws_returns_the_job_whatever_it_interrupts() {
    let fault = || crate::Fault::Unavailable { code: "ThrottlingException".to_owned() };
    let is_fault = |story: Route| matches!(story, Route::End(Verdict::Fault { .. }));
    let mut turn = turn();
    let Route::Context(step) = begin(shards()) else { panic!() };
    assert!(is_fault(step.answered(Err(fault()), &mut turn)));
    let Route::Page(step) = read(shards(), &mut turn) else { panic!() };
    assert!(is_fault(step.answered(Err(fault()), &policy(), &mut turn)));
    let Route::Store(step) = until_store("each", PlanHistory::default(), 0, &mut turn) else { panic!() };
    assert!(is_fault(step.answered(vec![Err(fault())], &mut turn)));
    let Route::Store(step) = until_store("each", PlanHistory::default(), 0, &mut turn) else { panic!() };
    let plans: Vec<Answer<StoredPlan>> = step.plans().cloned().map(Ok).collect();
    let Route::Enqueue(step) = step.answered(plans, &mut turn) else { panic!() };
    assert!(is_fault(step.answered(Err(fault()), &mut turn)));
}

#[test]
fn the_cursor_advances_within_a_shard_and_then_to_the_next() {
    let acme = TenantId::parse("acme").ok();
    let start = Cursor { shard: 4, after: None };
    let further = advance(start, acme.clone());
    assert_eq!(further, Cursor { shard: 4, after: acme });
    assert_eq!(advance(further, None), Cursor { shard: 5, after: None });
}

#[test]
fn a_large_update_is_built_and_sent_a_few_messages_at_a_time() {
    let mut turn = turn();
    let mut context = context();
    // 30 KB of data for each of 180 webhooks.
    context.updates[0].details.insert("dump".to_owned(), json!("x".repeat(30_000)));
    let Route::Context(step) = begin(job(RoutingTarget::Tenant(acme()))) else { panic!() };
    let Route::Tenant(step) = step.answered(Ok(context), &mut turn) else { panic!() };
    let mut subscriber = subscriber("acme", "each");
    subscriber.settings.categories.values_mut().for_each(|category| {
        category.channels.insert(domain::vocabulary::ChannelClass::Webhook);
    });
    subscriber.destinations = (0..180).map(|number| (number / 100, webhook(number))).collect();
    let Route::Store(step) = step.answered(Ok((Some(subscriber), PlanHistory::default())), &policy(), &mut turn) else {
        panic!("no plan")
    };
    let plans: Vec<Answer<StoredPlan>> = step.plans().cloned().map(Ok).collect();
    let mut story = step.answered(plans, &mut turn);
    let mut sent = std::collections::BTreeSet::new();
    let mut batches = 0;
    while let Route::Enqueue(step) = story {
        let bytes: usize = step.deliveries().iter().map(|one| serde_json::to_string(one).unwrap().len()).sum();
        assert!(bytes <= ENQUEUED_BYTES_MAX, "{bytes} bytes at once");
        sent.extend(step.deliveries().iter().map(|delivery| delivery.destination.clone()));
        batches += 1;
        story = step.answered(Ok(()), &mut turn);
    }
    assert!(matches!(story, Route::End(Verdict::Delete)));
    assert_eq!((sent.len(), batches), (180, 6));
}

/// A webhook for the role that the matrix selects.
fn webhook(number: u32) -> domain::tenant::Destination {
    let integration = json!({"id": format!("int_{number}"), "name": "Hook", "kind": "webhook", "url": "v1.1.u",
        "host": "x.test", "fingerprint": number.to_string(), "secret": "v1.1.s", "audiences": ["tech_devops"], "version": 1});
    domain::tenant::Destination::Integration(Box::new(serde_json::from_value(integration).unwrap()))
}
