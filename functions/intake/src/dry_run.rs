//! `?dry_run=true`: answers which rule matches and how many notifications each channel would send. Nothing is stored or sent.

use crate::App;
use crate::permissions::table_unavailable;
use axum::Json;
use axum::response::{IntoResponse, Response};
use contracts::native::DryRunAnswer;
use domain::classification::Classification;
use domain::event::Event;
use domain::ids::{SHARDS, Scope};
use domain::incident::{Incident, Update, simulate_opening};
use domain::plan::{DecisionOutcome, plan_without_history};
use domain::subscriber::Subscriber;
use domain::tenant::Destination;
use domain::vocabulary::Category;
use runtime::clock;
use runtime::http::Problem;
use std::collections::BTreeMap;

/// How far an event would reach.
#[derive(Default)]
struct Reach {
    /// Tenants whose subscriptions were looked at.
    tenants: usize,
    /// Notifications by channel, sent now or held.
    notifications: BTreeMap<&'static str, u64>,
}

impl Reach {
    /// Adds what the incident's opening would send to one tenant's destinations.
    fn add(&mut self, app: &App, incident: &Incident, update: &Update, subscriber: &Subscriber) {
        self.tenants += 1;
        let destinations: Vec<Destination> =
            subscriber.destinations.iter().map(|(_, destination)| destination.clone()).collect();
        let decisions =
            plan_without_history(incident, update, &subscriber.settings, &destinations, &app.policy, clock::now());
        for decision in decisions.iter().filter(|decision| !matches!(decision.outcome, DecisionOutcome::Skip { .. })) {
            *self.notifications.entry(decision.channel.as_str()).or_default() += 1;
        }
    }
}

/// Answers a dry run of a valid event. Every scope is treated as if the event opened a new incident.
///
/// # Errors
/// 503 if the table fails.
pub(crate) async fn respond(app: &App, event: &Event, scopes: &[Scope]) -> Result<Response, Problem> {
    let included = match app.policy.classify(event) {
        Classification::Included(included) => included,
        Classification::Excluded { rule } => return Ok(answer("excluded", Some(rule), Reach::default(), vec![])),
        Classification::Unclassified => return Ok(answer("unclassified", None, Reach::default(), vec![])),
    };
    // User-level warnings belong to no category, and their subscribers are listed in every one.
    let category = included.category.unwrap_or(Category::Configurable);
    let mut reach = Reach::default();
    for scope in scopes {
        let (incident, update) = simulate_opening(event, &included, scope, clock::now());
        match scope {
            Scope::Tenant(tenant) => {
                if let Some(subscriber) = app.table.subscriber(tenant, category).await.map_err(table_unavailable)? {
                    reach.add(app, &incident, &update, &subscriber);
                }
            }
            Scope::Platform => {
                for shard in 0..SHARDS {
                    let mut after = None;
                    loop {
                        let page =
                            app.table.subscribers(category, shard, after.as_ref()).await.map_err(table_unavailable)?;
                        for subscriber in &page.subscribers {
                            reach.add(app, &incident, &update, subscriber);
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
    let unknown_names = app.policy.catalogue.unknown_name_warnings(&event.components, &event.regions);
    let warnings = included.warnings.into_iter().chain(unknown_names).collect();
    Ok(answer("included", Some(included.rule), reach, warnings))
}

fn answer(classification: &'static str, rule: Option<String>, reach: Reach, warnings: Vec<String>) -> Response {
    let Reach { tenants, notifications: would_notify } = reach;
    Json(DryRunAnswer { dry_run: true, classification, rule, tenants, would_notify, warnings }).into_response()
}
