//! Wiring only.

// The future of a whole function is many futures deep.
#![recursion_limit = "256"]

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), runtime::StartError> {
    runtime::http::<preferences_api::PreferencesApi>().await
}
