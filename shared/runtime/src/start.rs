//! Initializes a function before its first event and runs its event loop.

use crate::clock::TestClock;
use crate::http::HttpFunction;
use crate::queue::QueueFunction;
use crate::{clock, config, http, metrics, queue};
use futures::FutureExt;
use json_subscriber::JsonLayer;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Instrument;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The process's AWS configuration, shared by all clients of a function.
#[derive(Clone, Debug)]
pub struct Aws {
    config: aws::SdkConfig,
    clock: Option<TestClock>,
}

impl Aws {
    /// Returns the process's SDK configuration.
    #[must_use]
    pub fn config(&self) -> &aws::SdkConfig {
        &self.config
    }
}

/// Why a function could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(Box<dyn Error + Send + Sync>);

impl StartError {
    /// Wraps any error of the start.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl From<config::ConfigError> for StartError {
    fn from(error: config::ConfigError) -> Self {
        Self::new(error)
    }
}

/// A Lambda function from one JSON value to another: for a schedule, an authorizer or direct invocations.
pub trait EventFunction: Send + Sync + Sized + 'static {
    /// Name of the function, in logs and metrics.
    const NAME: &'static str;
    /// Type of the event.
    type In: DeserializeOwned + Send;
    /// Type of the result.
    type Out: Serialize + Send;

    /// Builds the function once per process, at cold start.
    fn start(aws: &Aws) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Handles one event. The invocation ends at `deadline`.
    fn handle(
        &self,
        event: Self::In,
        deadline: queue::Deadline,
    ) -> impl Future<Output = Result<Self::Out, DirectError>> + Send;
}

/// A function that can also be invoked directly, by callers that IAM allows.
pub trait DirectFunction: Send + Sync {
    /// Handles one direct invocation.
    fn handle_direct(&self, event: Value) -> impl Future<Output = Result<Value, DirectError>> + Send;
}

/// Why a direct invocation failed: a kind that the caller can branch on, and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DirectError {
    /// Kind of the error, such as `BadRequest`, `Unavailable` or `Unauthorized`.
    pub kind: &'static str,
    /// What is wrong and how to fix it.
    pub message: String,
}

impl DirectError {
    /// Builds an error of a kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<DirectError> for Diagnostic {
    fn from(error: DirectError) -> Self {
        Self { error_type: error.kind.to_owned(), error_message: error.message }
    }
}

/// True until the process handles its first event.
static COLD: AtomicBool = AtomicBool::new(true);

/// Sets up logs, metrics, the AWS configuration and the test clock.
async fn initialize(function: &'static str) -> Aws {
    init_logs(function);
    std::panic::set_hook(Box::new(|panic| {
        // Only the location: a panic's message may contain a payload.
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panic");
    }));
    metrics::init(function);
    let config = aws::load().await;
    let clock = TestClock::from_env(&config);
    if let Some(clock) = &clock {
        clock.refresh().await;
    }
    Aws { clock, config }
}

/// Sets up logging to stdout from level `info`. Logs of the SDKs below `error` are excluded, because they print requests.
fn init_logs(function: &'static str) {
    let filter = EnvFilter::new("info,aws_config=error,aws_smithy_runtime=error,hyper=error,lambda_runtime=error");
    // Initialized twice only in tests.
    drop(tracing_subscriber::registry().with(filter).with(json_layer(function, std::io::stdout)).try_init());
}

/// Builds the log format: flat JSON lines with the fields of an event and of all spans around it, so that one id finds all lines.
/// CloudWatch adds the time.
fn json_layer<S, W>(function: &'static str, out: W) -> JsonLayer<S, W>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    let mut layer = JsonLayer::new(out);
    layer.add_static_field("function", Value::from(function));
    layer.add_static_field("version", Value::from(env!("CARGO_PKG_VERSION")));
    layer.with_level("level").with_top_level_flattened_span_list().with_flattened_event();
    layer
}

fn invocation_span(context: &lambda_runtime::Context) -> tracing::Span {
    let cold_start = COLD.swap(false, Ordering::Relaxed);
    tracing::info_span!("invocation", request_id = context.request_id, cold_start)
}

fn deadline(context: &lambda_runtime::Context) -> queue::Deadline {
    queue::Deadline::at_epoch_ms(context.deadline)
}

async fn run<F, Fut>(aws: &Aws, handler: F) -> Result<(), StartError>
where
    F: Fn(Value, queue::Deadline) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Value, DirectError>> + Send,
{
    let (handler, clock) = (&handler, aws.clock.as_ref());
    let service = service_fn(move |event: LambdaEvent<Value>| async move {
        let (span, deadline) = (invocation_span(&event.context), deadline(&event.context));
        if let Some(clock) = clock {
            clock.refresh().await;
        }
        // Boxed, because the nested types of handler and SDK exceed the compiler's limit for type layouts.
        let answer = Box::pin(catch_panic(handler(event.payload, deadline))).instrument(span).await;
        metrics::flush();
        answer
    });
    lambda_runtime::run(service).await.map_err(StartError)
}

/// Turns a panic into a failed invocation, without the panic's message, which may contain a payload.
async fn catch_panic<T>(handler: impl Future<Output = Result<T, DirectError>>) -> Result<T, DirectError> {
    let answer = AssertUnwindSafe(handler).catch_unwind().await;
    let answer = answer.unwrap_or_else(|_| {
        Err(DirectError::new("Panic", "internal error; the function's log has the location of the panic"))
    });
    answer.inspect_err(|error| tracing::warn!(error_type = error.kind, error = error.message, "invocation failed"))
}

/// Runs a function that consumes queues.
///
/// # Errors
/// [`StartError`] if the function cannot start.
pub async fn run_queue<F: QueueFunction>() -> Result<(), StartError> {
    let aws = initialize(F::NAME).await;
    let worker = Arc::new(queue::QueueWorker::new(F::start(&aws).await.inspect_err(log_start_error)?, &aws));
    run(&aws, move |event, deadline| {
        let worker = Arc::clone(&worker);
        async move { worker.handle_batch(event, deadline).await }
    })
    .await
}

/// Runs a function that consumes queues and can be invoked directly.
///
/// # Errors
/// [`StartError`] if the function cannot start.
pub async fn run_queue_and_direct<F: QueueFunction + DirectFunction>() -> Result<(), StartError> {
    let aws = initialize(F::NAME).await;
    let worker = Arc::new(queue::QueueWorker::new(F::start(&aws).await.inspect_err(log_start_error)?, &aws));
    run(&aws, move |event, deadline| {
        let worker = Arc::clone(&worker);
        async move {
            if event.get("Records").is_some() {
                worker.handle_batch(event, deadline).await
            } else {
                worker.function().handle_direct(event).await
            }
        }
    })
    .await
}

/// Runs a function behind the HTTP API. Events that are not requests of the API are direct invocations.
///
/// # Errors
/// [`StartError`] if the function cannot start.
pub async fn run_http<F: HttpFunction>() -> Result<(), StartError> {
    let aws = initialize(F::NAME).await;
    let function = Arc::new(F::start(&aws).await.inspect_err(log_start_error)?);
    let router = Arc::clone(&function).router();
    run(&aws, move |event, deadline| {
        let (function, router) = (Arc::clone(&function), router.clone());
        async move {
            if event.get("httpMethod").is_some() {
                http::serve(router, event, deadline).await
            } else {
                function.handle_direct(event).await
            }
        }
    })
    .await
}

/// Runs a function behind the HTTP API that also consumes queues. `queue` builds the queue side of the same function.
///
/// # Errors
/// [`StartError`] if the function cannot start.
pub async fn run_http_and_queue<F: HttpFunction, Q: QueueFunction>(queue: fn(Arc<F>) -> Q) -> Result<(), StartError> {
    let aws = initialize(F::NAME).await;
    let function = Arc::new(F::start(&aws).await.inspect_err(log_start_error)?);
    let router = Arc::clone(&function).router();
    let worker = Arc::new(queue::QueueWorker::new(queue(function), &aws));
    run(&aws, move |event, deadline| {
        let (worker, router) = (Arc::clone(&worker), router.clone());
        async move {
            if event.get("httpMethod").is_some() {
                http::serve(router, event, deadline).await
            } else {
                worker.handle_batch(event, deadline).await
            }
        }
    })
    .await
}

/// Runs an [`EventFunction`].
///
/// # Errors
/// [`StartError`] if the function cannot start.
pub async fn run_event<F: EventFunction>() -> Result<(), StartError> {
    let aws = initialize(F::NAME).await;
    let function = Arc::new(F::start(&aws).await.inspect_err(log_start_error)?);
    run(&aws, move |event, deadline| {
        let function = Arc::clone(&function);
        async move {
            let event = serde_json::from_value(event).map_err(|error| {
                DirectError::new(
                    "BadRequest",
                    format!("the event does not match the expected format (line {})", error.line()),
                )
            })?;
            let answer = function.handle(event, deadline).await?;
            serde_json::to_value(answer).map_err(|_| DirectError::new("Internal", "the result cannot be serialized"))
        }
    })
    .await
}

fn log_start_error(error: &StartError) {
    tracing::error!(%error, at = %clock::now(), "function cannot start");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{self, Write};
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_line_has_the_fields_of_all_spans_around_it() {
        let buffer = Buffer::default();
        let out = buffer.clone();
        let subscriber = tracing_subscriber::registry().with(json_layer("classify", move || out.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let invocation = tracing::info_span!("invocation", request_id = "r-1", cold_start = true);
            let _outer = invocation.enter();
            let record = tracing::info_span!("record", correlation_id = tracing::field::Empty, message_id = "m-1");
            let _inner = record.enter();
            record.record("correlation_id", "c-1");
            tracing::warn!(pause_s = 5, "AWS fault");
        });
        let line: Value = serde_json::from_slice(&buffer.0.lock().unwrap()).unwrap();
        let expected = json!({
            "level": "WARN", "name": "record", "function": "classify", "version": env!("CARGO_PKG_VERSION"), "request_id": "r-1",
            "cold_start": true, "correlation_id": "c-1", "message_id": "m-1", "pause_s": 5, "message": "AWS fault",
        });
        assert_eq!(line, expected);
    }

    #[tokio::test]
    async fn a_panics_message_does_not_reach_the_caller() {
        let error = catch_panic::<()>(async { panic!("secret") }).await.unwrap_err();
        assert_eq!(error.kind, "Panic");
        let diagnostic = Diagnostic::from(error);
        assert!(diagnostic.error_type == "Panic" && !diagnostic.error_message.contains("secret"));
    }
}
