//! Starts the function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::run_http::<test_alert::TestAlert>().await
}
