//! Wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::queue::<feedback::Feedback>().await
}
