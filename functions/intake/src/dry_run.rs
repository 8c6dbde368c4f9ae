//! `?dry_run=true`: the rule and the number of people per channel, by the same rules, and nothing else happens.

use crate::App;
use crate::accept::unavailable;
use axum::Json;
use axum::response::{IntoResponse, Response};
use contracts::native::DryRunAnswer;
use domain::classification::Verdict;
use domain::event::Event;
use domain::ids::{SHARDS, Scope};
use domain::incident::{Incident, Update, imagined};
use domain::plan::{Outcome, afresh};
use domain::tenant::Destination;
use domain::vocabulary::Category;
use runtime::clock;
use runtime::http::Problem;
use std::collections::BTreeMap;
use store::subscriptions::Subscriber;

/// Answers a dry run.
pub(crate) async fn answer(app: &App, event: &Event, scopes: &[Scope]) -> Result<Response, Problem> {
    let included = match app.policy.classify(event) {
        Verdict::Included(included) => included,
        Verdict::Excluded { rule } => return Ok(said("excluded", Some(rule), (BTreeMap::new(), 0), vec![])),
        Verdict::Unclassified => return Ok(said("unclassified", None, (BTreeMap::new(), 0), vec![])),
    };
    let (mut told, mut tenants) = (BTreeMap::new(), 0_usize);
    for scope in scopes {
        let (incident, update) = imagined(event, &included, scope, clock::now());
        // User-level warnings belong to no category; their subscribers are in every one.
        let category = included.category.unwrap_or(Category::Configurable);
        match scope {
            Scope::Tenant(tenant) => {
                if let Some(subscriber) = app.table.subscriber(tenant, category).await.map_err(unavailable)? {
                    count(app, &incident, &update, &subscriber, &mut told);
                    tenants += 1;
                }
            }
            Scope::Platform => {
                for shard in 0..SHARDS {
                    let mut after = None;
                    loop {
                        let page = app.table.subscribers(category, shard, after.as_ref()).await.map_err(unavailable)?;
                        for subscriber in &page.subscribers {
                            count(app, &incident, &update, subscriber, &mut told);
                            tenants += 1;
                        }
                        after = page.next;
                        if after.is_none() {
                            break;
                        }
                    }
                }
            }
        }
    }
    let strangers = app.policy.catalogue.strangers(&event.components, &event.regions);
    Ok(said("included", Some(included.rule), (told, tenants), included.warnings.into_iter().chain(strangers).collect()))
}

fn count(
    app: &App,
    incident: &Incident,
    update: &Update,
    subscriber: &Subscriber,
    told: &mut BTreeMap<&'static str, u64>,
) {
    let destinations: Vec<Destination> =
        subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
    let decisions = afresh((incident, update), &subscriber.settings, &destinations, &app.policy, clock::now());
    for decision in decisions.iter().filter(|decision| !matches!(decision.outcome, Outcome::Skip { .. })) {
        *told.entry(decision.channel.as_str()).or_default() += 1;
    }
}

fn said(
    classification: &'static str,
    rule: Option<String>,
    (would_tell, tenants): (BTreeMap<&'static str, u64>, usize),
    warnings: Vec<String>,
) -> Response {
    Json(DryRunAnswer { dry_run: true, classification, rule, tenants, would_tell, warnings }).into_response()
}
