//! The JSON that processes exchange: queue messages, HTTP bodies, intake formats, and messages to Slack, Teams and webhooks.
//!
//! Queue messages only get new fields within a version, and unknown fields are ignored, so that a producer may be deployed before its
//! consumer. HTTP bodies reject unknown fields, so that a misspelled field is never ignored silently.
//!
//! A new intake format is one file here (parse and map, pure) and one line in [`formats::FORMATS`]; CONTRIBUTING.md describes the steps.

pub mod alertmanager;
pub mod cloudevents;
pub mod cloudwatch;
pub mod formats;
pub mod grafana;
pub mod http;
pub mod intake;
pub mod json;
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
