//! Starts the Lambda function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::run_http_and_queue(intake::Alarms::new).await
}
