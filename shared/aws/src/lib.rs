//! SQS, SES, SNS and KMS: thin, with errors named by what to do next.
//!
//! No error here carries a payload, an address, a phone number or a URL: every one of them may be logged.

mod config;
mod error;
pub mod kms;
pub mod ses;
pub mod sns;
pub mod sqs;

pub use crate::config::load;
pub use crate::error::AwsError;
pub use aws_config::{BehaviorVersion, SdkConfig};
