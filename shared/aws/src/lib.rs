//! Thin clients of SQS, SES, SNS and KMS, whose errors say what the caller can do next.
//!
//! No error contains a payload, address, phone number or URL, so all of them may be logged.

mod config;
mod error;
pub mod kms;
pub mod ses;
pub mod sns;
pub mod sqs;

pub use crate::config::load;
pub use crate::error::AwsError;
pub use aws_config::{BehaviorVersion, SdkConfig};
