//! Wiring only.

// The future of a whole function is many futures deep.
#![recursion_limit = "256"]

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::event::<authorizer::Authorizer>().await
}
