//! Wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::run_http::<status_page::StatusPage>().await
}
