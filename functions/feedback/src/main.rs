//! Starts the Lambda function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::run_queue_and_direct::<feedback::FeedbackFunction>().await
}
