//! What a routing job does next, answer by answer.

use super::enqueue::ENQUEUED_BYTES_MAX;
use super::*;
use contracts::queue::Lane;
use domain::ids::IncidentId;
use domain::plan::DecisionOutcome;
use domain::reason::Reason;
use serde_json::json;
use std::collections::BTreeSet;

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
        place: None,
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
    let [delivery] = step.deliveries() else { panic!("{} deliveries", step.deliveries().len()) };
    assert_eq!(step.lane(delivery), Lane::Urgent);
    // What goes to a failing endpoint takes the bulk lane, but for a test.
    let mut failing = delivery.clone();
    failing.endpoint = domain::health::EndpointHealth::Failing { since: failing.alert.at };
    assert_eq!(step.lane(&failing), Lane::Bulk);
    failing.alert.test = true;
    assert_eq!(step.lane(&failing), Lane::Urgent);
    // And so does what goes to a slow one. All of a tenant's is one group on either lane.
    let mut slow = delivery.clone();
    slow.slow = Some(slow.alert.at);
    assert_eq!((step.lane(&slow), step.group(&slow)), (Lane::Bulk, "acme".to_owned()));
    slow.alert.test = true;
    assert_eq!(step.lane(&slow), Lane::Urgent);
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
    let page = |next: Option<&str>| TenantPage {
        tenants: vec![],
        unreadable: vec![],
        next: next.map(|id| TenantId::parse(id).unwrap()),
    };
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
    let page = TenantPage { tenants, unreadable: vec![], next: Some(acme()) };
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

fn fault() -> Fault {
    Fault::Unavailable { code: "ThrottlingException".to_owned() }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// A page of the tenants `a`, `b` and `c`, each with one recipient, on which the shard ends.
fn page_of_three() -> TenantPage {
    let tenants = ["a", "b", "c"].map(|name| (subscriber(name, "each"), PlanHistory::default()));
    TenantPage { tenants: tenants.into(), unreadable: vec![], next: None }
}

/// Tells the story of a platform-wide job until the plans of its second page, which has three tenants, are to be stored.
fn until_second_page(turn: &mut Turn) -> StorePlans {
    let Route::Page(step) = read(shards(), turn) else { panic!("no page is read") };
    let page = TenantPage { next: Some(tenant("0")), ..TenantPage::default() };
    let Route::Page(step) = step.answered(Ok(page), &policy(), turn) else { panic!("no second page") };
    let Route::Store(step) = step.answered(Ok(page_of_three()), &policy(), turn) else { panic!("no plans") };
    step
}

fn stored(step: &StorePlans) -> Vec<Answer<StoredPlan>> {
    step.plans().cloned().map(Ok).collect()
}

fn place(shard: u16, after: Option<&str>) -> RoutingPlace {
    RoutingPlace { shard, after: after.map(tenant) }
}

/// The saved place of a story that comes again because of a fault.
fn saved_place(story: Route, turn: &mut Turn) -> RoutingPlace {
    let Route::Save(step) = story else { panic!("no place is saved: {story:?}") };
    assert_eq!((step.incident().as_str(), step.job()), ("inc_a", PlannedShards { update: 1, first: 4 }));
    let place = step.place().clone();
    let story = step.answered(Err(fault()), turn);
    assert!(matches!(story, Route::End(Verdict::Fault { .. } | Verdict::Return { .. })), "{story:?}");
    place
}

#[test]
fn a_fault_after_the_first_page_saves_the_place_whatever_it_interrupts() {
    let mut turn = turn();
    let Route::Page(step) = read(shards(), &mut turn) else { panic!() };
    let page = TenantPage { next: Some(tenant("0")), ..TenantPage::default() };
    let Route::Page(step) = step.answered(Ok(page), &policy(), &mut turn) else { panic!() };
    let story = step.answered(Err(fault()), &policy(), &mut turn);
    assert_eq!(saved_place(story, &mut turn), place(4, Some("0")), "reading the second page");
    let mut answers = stored(&until_second_page(&mut turn));
    *answers.last_mut().unwrap() = Err(fault());
    let story = until_second_page(&mut turn).answered(answers, &mut turn);
    assert_eq!(saved_place(story, &mut turn), place(4, Some("0")), "storing its plans");
    let step = until_second_page(&mut turn);
    let answers = stored(&step);
    let Route::Enqueue(step) = step.answered(answers, &mut turn) else { panic!() };
    let again = until_second_page(&mut turn);
    let answers = stored(&again);
    assert_eq!(saved_place(step.answered(Err(fault()), &mut turn), &mut turn), place(4, Some("0")), "enqueueing");
    let Route::Enqueue(step) = again.answered(answers, &mut turn) else { panic!() };
    turn.left = PAGE_RESERVE - Duration::from_secs(1);
    let Route::Continue(step) = step.answered(Ok(()), &mut turn) else { panic!("there is another shard") };
    assert_eq!(saved_place(step.answered(Err(fault()), &mut turn), &mut turn), place(5, None), "continuing");
}

#[test]
fn a_job_that_comes_again_goes_on_at_the_saved_place() {
    let mut turn = Turn { receives: 2, ..turn() };
    for (saved, expected) in [
        (Some(place(4, Some("k"))), place(4, Some("k"))),
        (Some(place(5, None)), place(5, None)),
        (None, place(4, None)),
    ] {
        let Route::Context(step) = begin(shards()) else { panic!() };
        assert_eq!(step.saved_place(&turn), Some(PlannedShards { update: 1, first: 4 }));
        let story = step.answered(Ok(RouteContext { place: saved, ..context() }), &mut turn);
        let Route::Page(step) = story else { panic!("{story:?}") };
        assert_eq!(place(step.shard(), step.after().map(TenantId::as_str)), expected);
    }
    // A message that is further on than the saved place of an earlier one.
    let further = job(RoutingTarget::Shards { first: 4, next: 5, end: 6, after: Some(tenant("m")) });
    let Route::Context(step) = begin(further) else { panic!() };
    let story = step.answered(Ok(RouteContext { place: Some(place(4, Some("k"))), ..context() }), &mut turn);
    let Route::Page(step) = story else { panic!("{story:?}") };
    assert_eq!(place(step.shard(), step.after().map(TenantId::as_str)), place(5, Some("m")));
    let Route::Context(step) = begin(shards()) else { panic!() };
    assert_eq!(step.saved_place(&Turn { receives: 1, ..turn }), None, "nothing was saved before the first run");
}

#[test]
fn a_page_that_takes_too_long_goes_on_after_the_last_tenant_that_is_done() {
    let mut turn = turn();
    let mut context = context();
    context.updates[0].message = "x".repeat(ENQUEUED_BYTES_MAX * 2 / 3);
    let Route::Context(step) = begin(shards()) else { panic!() };
    let Route::Page(step) = step.answered(Ok(context), &mut turn) else { panic!() };
    let Route::Store(step) = step.answered(Ok(page_of_three()), &policy(), &mut turn) else { panic!() };
    let answers = stored(&step);
    let Route::Enqueue(step) = step.answered(answers, &mut turn) else { panic!() };
    assert_eq!(step.deliveries().len(), 1, "one message fills a batch");
    let Route::Enqueue(step) = step.answered(Ok(()), &mut turn) else { panic!() };
    turn.left = Duration::from_secs(7);
    let story = step.answered(Ok(()), &mut turn);
    assert_eq!(saved_place(story, &mut turn), place(4, Some("b")), "c did not fit into the second batch");
}

#[test]
fn a_tenant_that_cannot_be_read_gets_a_job_of_its_own_and_holds_up_nobody() {
    let mut turn = turn();
    let Route::Page(step) = read(shards(), &mut turn) else { panic!() };
    let page = TenantPage { unreadable: vec![tenant("broken")], ..page_of_three() };
    let Route::Store(step) = step.answered(Ok(page), &policy(), &mut turn) else { panic!() };
    let mut answers = stored(&step);
    let of_b = step.plans().position(|plan| plan.tenant == tenant("b")).unwrap();
    answers[of_b] = Err(Fault::Unreadable { reason: "a stored plan".to_owned() });
    let Route::Separate(step) = step.answered(answers, &mut turn) else { panic!("they are forgotten") };
    let own_jobs = ["broken", "b"].map(|name| job(RoutingTarget::Tenant(tenant(name))));
    assert_eq!(step.jobs(), own_jobs);
    let groups: BTreeSet<String> = step.jobs().iter().map(RoutingJob::message_group_id).collect();
    assert_eq!(
        groups,
        BTreeSet::from(["inc_a-b".to_owned(), "inc_a-broken".to_owned()]),
        "neither waits for the other"
    );
    assert!(turn.counted.contains(&Counted::TenantsSeparated { tenants: 2 }));
    let Route::Enqueue(step) = step.answered(Ok(()), &mut turn) else { panic!("the others wait for them") };
    let reached: Vec<&str> = step.deliveries().iter().map(|one| one.alert.tenant.as_str()).collect();
    assert_eq!(reached, ["a", "c"]);
    // In its own job, the same fault returns the message: an item of a newer version is readable when the deployment is over.
    let Route::Tenant(step) = read(job(RoutingTarget::Tenant(tenant("b"))), &mut turn) else { panic!() };
    let story = step.answered(Err(Fault::Unreadable { reason: "a stored plan".to_owned() }), &policy(), &mut turn);
    assert!(matches!(story, Route::End(Verdict::Unreadable { reason }) if reason == "a stored plan"));
}

#[test]
fn the_place_advances_within_a_shard_and_then_to_the_next() {
    let acme = TenantId::parse("acme").ok();
    let start = RoutingPlace { shard: 4, after: None };
    let further = advance(start, acme.clone());
    assert_eq!(further, RoutingPlace { shard: 4, after: acme });
    assert_eq!(advance(further, None), RoutingPlace { shard: 5, after: None });
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
    let mut sent = BTreeSet::new();
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
