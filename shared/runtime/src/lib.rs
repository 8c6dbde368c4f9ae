//! Start-up, event loop and shared services of all Lambda functions.
//!
//! | module | contents |
//! |---|---|
//! | [`mod@config`] | environment variables, with all problems in one error |
//! | [`clock`], [`ids`] | the only code that reads the time and randomness |
//! | [`queue`] | SQS batches: concurrency, FIFO order, panics, deadlines, retries and dead letters |
//! | [`http`] | HTTP functions: from API Gateway events to axum routers, errors as problem+json |
//! | [`EventFunction`] | functions from one JSON value to another: schedules, authorizers, direct invocations |
//! | [`logs`] | events of CloudWatch Logs subscriptions |
//! | [`metrics`] | metrics in the embedded metric format, one line per set of dimensions and invocation |

pub mod clock;
pub mod config;
pub mod http;
pub mod ids;
pub mod logs;
pub mod metrics;
mod pace;
pub mod queue;
mod start;

pub use pace::Pacer;
pub use start::{
    Aws, DirectError, DirectFunction, EventFunction, StartError, run_event, run_http, run_http_and_queue, run_queue,
    run_queue_and_direct,
};
