//! The HTTP client for endpoints that tenants configure (Slack, Teams and webhooks) and for the identity provider's keys.
//!
//! Three checks keep a tenant's URL from reaching our own network (SSRF):
//!
//! 1. [`check_url`] rejects, when a URL is saved, everything that can be rejected without a name server.
//! 2. [`Client::post`] repeats the check of scheme, credentials, port and address literals before each call.
//! 3. The client's resolver rejects a name if *any* of its addresses is not public. The connection uses exactly the addresses that were
//!    checked, so that a name cannot resolve differently between the check and the call.

mod client;
mod forbidden;
#[cfg(test)]
mod loopback;
mod resolve;
mod sign;
mod url;

pub use crate::client::{BuildError, Client, ClientOptions, RESPONSE_BYTES_MAX, Response, SendError, TIMEOUT_MAX};
pub use crate::forbidden::forbidden_block;
pub use crate::sign::{SignError, check_secret, encode_secret, sign};
pub use crate::url::{Exceptions, ExceptionsError, SecretUrl, UrlProblem, check_url};
