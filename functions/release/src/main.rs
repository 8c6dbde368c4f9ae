//! Wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::run_event::<release::ReleaseFunction>().await
}
