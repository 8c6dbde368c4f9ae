//! End-to-end tests on a stack that `cargo xtask test` starts. Each test creates its own tenants, so they run side by side. Platform-wide
//! incidents, which reach every tenant, are in `serial`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by a panic"
)]

#[path = "e2e/alertmanager.rs"]
mod alertmanager;
#[path = "e2e/aliases.rs"]
mod aliases;
#[path = "e2e/aws_limits.rs"]
mod aws_limits;
#[path = "e2e/browser.rs"]
mod browser;
#[path = "e2e/categories.rs"]
mod categories;
#[path = "e2e/confirmations.rs"]
mod confirmations;
#[path = "e2e/console.rs"]
mod console;
#[path = "e2e/decisions.rs"]
mod decisions;
#[path = "e2e/digests.rs"]
mod digests;
#[path = "e2e/drop_in.rs"]
mod drop_in;
#[path = "e2e/due_shards.rs"]
mod due_shards;
#[path = "e2e/explain.rs"]
mod explain;
#[path = "e2e/feedback.rs"]
mod feedback;
#[path = "e2e/first_alert.rs"]
mod first_alert;
#[path = "e2e/health.rs"]
mod health;
#[path = "e2e/identity.rs"]
mod identity;
#[path = "e2e/incoming.rs"]
mod incoming;
#[path = "e2e/ledger.rs"]
mod ledger;
#[path = "e2e/lifecycle.rs"]
mod lifecycle;
#[path = "e2e/links.rs"]
mod links;
#[path = "e2e/maintenance.rs"]
mod maintenance;
#[path = "e2e/openapi.rs"]
mod openapi;
#[path = "e2e/parallel.rs"]
mod parallel;
#[path = "e2e/pictures.rs"]
mod pictures;
#[path = "e2e/pipeline.rs"]
mod pipeline;
#[path = "e2e/poison.rs"]
mod poison;
#[path = "e2e/quiet_hours.rs"]
mod quiet_hours;
#[path = "e2e/reasons.rs"]
mod reasons;
#[path = "e2e/rows.rs"]
mod rows;
#[path = "e2e/security.rs"]
mod security;
#[path = "e2e/serial.rs"]
mod serial;
#[path = "e2e/storms.rs"]
mod storms;
#[path = "e2e/strangers.rs"]
mod strangers;
#[path = "e2e/test_alert.rs"]
mod test_alert;
#[path = "e2e/troubleshooting.rs"]
mod troubleshooting;
#[path = "e2e/webhooks.rs"]
mod webhooks;
