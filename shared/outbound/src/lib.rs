//! The one HTTP client with which Tocsin calls what tenants configured (Slack, Teams and webhook endpoints) and
//! reads the identity provider's keys.
//!
//! Three walls keep a tenant's URL from reaching our own network. [`check_url`] refuses at save time what can be
//! refused without a name server. [`Client::post`] checks the same again and refuses address literals. The resolver
//! inside the client refuses every name of which *any* address is not public, and hands exactly the addresses that it
//! checked to the connection, so that a name cannot change its answer between the check and the call.

mod client;
mod forbidden;
#[cfg(test)]
mod loopback;
mod resolve;
mod sign;
mod url;

pub use crate::client::{BuildError, Client, LONGEST_RESPONSE, MAX_TIMEOUT, Options, Response, SendError};
pub use crate::forbidden::forbidden;
pub use crate::sign::{SignError, check_secret, secret_from, sign};
pub use crate::url::{BadException, Exceptions, SecretUrl, UrlProblem, check_url};
