//! Start-up and outer loop of every function, once.
//!
//! | module | what every function would otherwise repeat |
//! |---|---|
//! | [`mod@config`] | the environment, read once, every fault in one error |
//! | [`clock`], [`ids`] | the only readers of time and of randomness |
//! | [`mod@queue`] | the batch loop: all in flight at once, panic fence, deadline guard, FIFO order, dead letters |
//! | [`mod@http`] | API Gateway in, axum, problem+json out |
//! | [`event`](EventFunction) | one JSON in, one JSON out: schedules, authorizers, direct invocations |
//! | [`logs`] | what a subscription of a log group hands over |
//! | [`metrics`] | counts in the embedded metric format, one line a kind an invocation |

pub mod clock;
pub mod config;
pub mod http;
pub mod ids;
pub mod logs;
pub mod metrics;
mod pace;
pub mod queue;
mod start;

pub use pace::Pace;
pub use start::{
    Aws, Direct, DirectError, EventFunction, StartError, run_event as event, run_http as http,
    run_http_and_queue as http_and_queue, run_queue as queue, run_queue_and_direct as queue_and_direct,
};
