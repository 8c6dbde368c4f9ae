//! Starts the function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::event::<authorizer::Authorizer>().await
}
