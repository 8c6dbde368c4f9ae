//! Every JSON that crosses a process: queue messages, HTTP bodies, intake formats, what Slack, Teams and webhooks receive.
//!
//! Additive within a version: unknown fields of queue messages are ignored, so that a producer may be briefly ahead of a
//! consumer. HTTP bodies refuse unknown fields, because a misspelt field must not be lost in silence.
//!
//! A new intake format is one file here (parse and map, pure) and one line in [`formats::FORMATS`]; CONTRIBUTING.md shows how.

pub mod alertmanager;
pub mod cloudevents;
pub mod cloudwatch;
pub mod formats;
pub mod grafana;
pub mod http;
pub mod intake;
pub mod native;
pub mod openapi;
pub mod opsgenie;
pub mod pagerduty;
pub mod problem;
pub mod queue;
pub mod ses;
pub mod slack;
pub mod sns;
pub mod statuspage;
pub mod teams;
pub mod webhook;
