//! What happens before the first event, and around each.

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

/// AWS, as every function has it: one configuration a process.
#[derive(Clone, Debug)]
pub struct Aws {
    config: aws::SdkConfig,
    clock: Option<TestClock>,
}

impl Aws {
    /// The process's one SDK configuration.
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
    /// From any error of the start.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl From<config::ConfigError> for StartError {
    fn from(error: config::ConfigError) -> Self {
        Self::new(error)
    }
}

/// A function that answers one JSON with another: a schedule, an authorizer, a direct invocation.
pub trait EventFunction: Send + Sync + Sized + 'static {
    /// The function's name.
    const NAME: &'static str;
    /// What comes in.
    type In: DeserializeOwned + Send;
    /// What goes out.
    type Out: Serialize + Send;

    /// Builds the function.
    fn start(aws: &Aws) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Handles one event; `deadline` is when the invocation ends.
    fn handle(
        &self,
        event: Self::In,
        deadline: queue::Deadline,
    ) -> impl Future<Output = Result<Self::Out, DirectError>> + Send;
}

/// What a function answers when it is invoked directly, by somebody whom IAM allowed to.
pub trait Direct: Send + Sync {
    /// Handles one direct invocation.
    fn direct(&self, event: Value) -> impl Future<Output = Result<Value, DirectError>> + Send;
}

/// Why an invocation failed: a type that the caller can branch on and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DirectError {
    /// Such as `BadRequest`, `Unavailable`, `Unauthorized`.
    pub kind: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl DirectError {
    /// An error of a kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<DirectError> for Diagnostic {
    fn from(error: DirectError) -> Self {
        Self { error_type: error.kind.to_owned(), error_message: error.message }
    }
}

static COLD: AtomicBool = AtomicBool::new(true);

async fn prepare(function: &'static str) -> Aws {
    logs(function);
    std::panic::set_hook(Box::new(|panic| {
        // Where, never what: a panic's message may hold a payload.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    metrics::start(function);
    let config = aws::load().await;
    let clock = TestClock::of_environment(&config);
    if let Some(clock) = &clock {
        clock.follow().await;
    }
    Aws { clock, config }
}

/// Logs to stdout from `info` up. The SDKs' own logs stay out: they print requests.
fn logs(function: &'static str) {
    let filter = EnvFilter::new("info,aws_config=error,aws_smithy_runtime=error,hyper=error,lambda_runtime=error");
    // A second initialisation can only be a test's.
    drop(tracing_subscriber::registry().with(filter).with(lines(function, std::io::stdout)).try_init());
}

/// JSON lines, flat: the fields of every span around an event stand beside its own, so that one id finds every line.
/// CloudWatch adds the time.
fn lines<S, W>(function: &'static str, out: W) -> JsonLayer<S, W>
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

fn invocation(context: &lambda_runtime::Context) -> tracing::Span {
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
        let (span, deadline) = (invocation(&event.context), deadline(&event.context));
        if let Some(clock) = clock {
            clock.follow().await;
        }
        // Boxed, or the types of a handler and the SDK within are deeper than the compiler computes layouts.
        let answer = Box::pin(fenced(handler(event.payload, deadline))).instrument(span).await;
        metrics::flush();
        answer
    });
    lambda_runtime::run(service).await.map_err(StartError)
}

/// A panic fails its invocation and nothing else, and its message, which may hold a payload, reaches nobody.
async fn fenced<T>(work: impl Future<Output = Result<T, DirectError>>) -> Result<T, DirectError> {
    let answer = AssertUnwindSafe(work).catch_unwind().await;
    let answer =
        answer.unwrap_or_else(|_| Err(DirectError::new("Panic", "this is a bug of ours; the log names its place")));
    answer.inspect_err(|error| tracing::warn!(error_type = error.kind, error = error.message, "the invocation failed"))
}

/// Runs a function that is fed by queues.
///
/// # Errors
/// [`StartError`] where it cannot start.
pub async fn run_queue<F: QueueFunction>() -> Result<(), StartError> {
    let aws = prepare(F::NAME).await;
    let worker = Arc::new(queue::Worker::new(F::start(&aws).await.inspect_err(report)?, &aws));
    run(&aws, move |event, deadline| {
        let worker = Arc::clone(&worker);
        async move { worker.batch(event, deadline).await }
    })
    .await
}

/// Runs a function that is fed by queues and can be invoked directly.
///
/// # Errors
/// [`StartError`] where it cannot start.
pub async fn run_queue_and_direct<F: QueueFunction + Direct>() -> Result<(), StartError> {
    let aws = prepare(F::NAME).await;
    let worker = Arc::new(queue::Worker::new(F::start(&aws).await.inspect_err(report)?, &aws));
    run(&aws, move |event, deadline| {
        let worker = Arc::clone(&worker);
        async move {
            if event.get("Records").is_some() {
                worker.batch(event, deadline).await
            } else {
                worker.function().direct(event).await
            }
        }
    })
    .await
}

/// Runs a function behind the API; what is not a request of the API is a direct invocation.
///
/// # Errors
/// [`StartError`] where it cannot start.
pub async fn run_http<F: HttpFunction>() -> Result<(), StartError> {
    let aws = prepare(F::NAME).await;
    let function = Arc::new(F::start(&aws).await.inspect_err(report)?);
    let router = Arc::clone(&function).router();
    run(&aws, move |event, deadline| {
        let (function, router) = (Arc::clone(&function), router.clone());
        async move {
            if event.get("httpMethod").is_some() {
                http::serve(router, event, deadline).await
            } else {
                function.direct(event).await
            }
        }
    })
    .await
}

/// Runs a function behind the API that a queue feeds as well; `queue` makes the queue's side of the same function.
///
/// # Errors
/// [`StartError`] where it cannot start.
pub async fn run_http_and_queue<F: HttpFunction, Q: QueueFunction>(queue: fn(Arc<F>) -> Q) -> Result<(), StartError> {
    let aws = prepare(F::NAME).await;
    let function = Arc::new(F::start(&aws).await.inspect_err(report)?);
    let router = Arc::clone(&function).router();
    let worker = Arc::new(queue::Worker::new(queue(function), &aws));
    run(&aws, move |event, deadline| {
        let (worker, router) = (Arc::clone(&worker), router.clone());
        async move {
            if event.get("httpMethod").is_some() {
                http::serve(router, event, deadline).await
            } else {
                worker.batch(event, deadline).await
            }
        }
    })
    .await
}

/// Runs a function that answers one JSON with another.
///
/// # Errors
/// [`StartError`] where it cannot start.
pub async fn run_event<F: EventFunction>() -> Result<(), StartError> {
    let aws = prepare(F::NAME).await;
    let function = Arc::new(F::start(&aws).await.inspect_err(report)?);
    run(&aws, move |event, deadline| {
        let function = Arc::clone(&function);
        async move {
            let event = serde_json::from_value(event).map_err(|error| {
                DirectError::new("BadRequest", format!("the event does not fit: line {}", error.line()))
            })?;
            let answer = function.handle(event, deadline).await?;
            serde_json::to_value(answer).map_err(|_| DirectError::new("Internal", "the answer cannot be written"))
        }
    })
    .await
}

fn report(error: &StartError) {
    tracing::error!(%error, at = %clock::now(), "the function cannot start");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{self, Write};
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_carries_everything_around_it() {
        let page = Page::default();
        let out = page.clone();
        let subscriber = tracing_subscriber::registry().with(lines("classify", move || out.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let invocation = tracing::info_span!("invocation", request_id = "r-1", cold_start = true);
            let _outer = invocation.enter();
            let record = tracing::info_span!("record", correlation_id = tracing::field::Empty, message_id = "m-1");
            let _inner = record.enter();
            record.record("correlation_id", "c-1");
            tracing::warn!(pause_s = 5, "AWS fault");
        });
        let line: Value = serde_json::from_slice(&page.0.lock().unwrap()).unwrap();
        let expected = json!({
            "level": "WARN", "name": "record", "function": "classify", "version": env!("CARGO_PKG_VERSION"), "request_id": "r-1",
            "cold_start": true, "correlation_id": "c-1", "message_id": "m-1", "pause_s": 5, "message": "AWS fault",
        });
        assert_eq!(line, expected);
    }

    #[tokio::test]
    async fn a_panic_says_nothing_to_the_caller() {
        let error = fenced::<()>(async { panic!("secret") }).await.unwrap_err();
        assert_eq!(error.kind, "Panic");
        let diagnostic = Diagnostic::from(error);
        assert!(diagnostic.error_type == "Panic" && !diagnostic.error_message.contains("secret"));
    }
}
