//! Pages that links in messages open. They need no token: the link is signed, and names what it allows.
//!
//! GET shows a page and changes nothing, because mail scanners open links; only POST acts.

pub(crate) mod confirm;
pub(crate) mod never;
pub(crate) mod read;
pub(crate) mod resubscribe;
pub(crate) mod stop;
pub(crate) mod unsubscribe;

use crate::App;
use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::link::{LinkPurpose, is_alive};
use domain::tenant::{Email, Recipient};
use runtime::clock;
use serde::Deserialize;

/// Attempts to save a recipient while others change it at the same time.
const SAVE_ATTEMPTS_MAX: usize = 5;

/// The query of a signed link.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkQuery {
    t: Option<String>,
}

impl LinkQuery {
    /// Verifies the signature for `purpose` and returns the signed parts; `None` if the link is not valid.
    fn verify<const N: usize>(&self, app: &App, purpose: LinkPurpose) -> Option<[String; N]> {
        app.keyring.verify_link(purpose.as_str(), self.t.as_deref()?).ok()?.try_into().ok()
    }

    /// As [`Self::verify`], without the last part, which is the last day on which the link works.
    fn verify_alive<const N: usize>(&self, app: &App, purpose: LinkPurpose) -> Result<[String; N], LinkFault> {
        let parts = self.t.as_deref().and_then(|token| app.keyring.verify_link(purpose.as_str(), token).ok());
        let mut parts = parts.filter(|parts| parts.len() == N + 1).ok_or(LinkFault::Invalid)?;
        let last_day = parts.pop().unwrap_or_default();
        if !is_alive(&last_day, clock::now()) {
            return Err(LinkFault::Expired);
        }
        parts.try_into().map_err(|_| LinkFault::Invalid)
    }
}

/// Why a link does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkFault {
    /// It is incomplete, or not ours.
    Invalid,
    /// Its last day is over.
    Expired,
    /// It was sent to an address or number that the recipient no longer has, or the recipient was deleted.
    OldContact,
    /// The table failed.
    Unavailable,
}

impl LinkFault {
    /// Logs that the table failed.
    fn of_table(error: &store::StoreError) -> Self {
        tracing::error!(%error, "a table operation failed");
        Self::Unavailable
    }
}

impl IntoResponse for LinkFault {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid => invalid_link(),
            Self::Expired => link_expired(),
            Self::OldContact => old_contact(),
            Self::Unavailable => try_again_later(),
        }
    }
}

/// Whether a link with the fingerprint `contact` was sent to the address or number that the recipient still has.
fn is_current_contact(app: &App, recipient: &Recipient, contact: &str) -> bool {
    let fingerprint = |contact: String| app.keyring.short_contact_fingerprint(&contact).ok();
    contacts(recipient).filter_map(fingerprint).any(|current| current == contact)
}

/// Returns the normalized address and number of a recipient.
fn contacts(recipient: &Recipient) -> impl Iterator<Item = String> {
    let email = recipient.email.as_ref().map(Email::identity);
    let phone = recipient.phone.as_ref().map(|phone| phone.expose().to_owned());
    email.into_iter().chain(phone)
}

/// A page with one button that posts.
#[derive(Template)]
#[template(path = "question.html")]
struct QuestionForm<'a> {
    heading: &'a str,
    text: &'a str,
    button: &'a str,
    /// What the button posts as `action`.
    action: &'a str,
    /// What happens to whoever does not want that.
    after: Option<&'a str>,
}

/// A page with a heading and a paragraph.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    heading: &'a str,
    text: &'a str,
}

/// Responds with a page that has a heading and a paragraph only.
fn message_page(status: StatusCode, heading: &str, text: &str) -> Response {
    html_response(status, &MessagePage { heading, text })
}

fn invalid_link() -> Response {
    let text =
        "The link may be incomplete, or too old. Open the whole link from the message, or the one in a newer message.";
    message_page(StatusCode::NOT_FOUND, "This link doesn't work", text)
}

fn link_expired() -> Response {
    let text = "Links in messages work for a limited time. Open the one in a newer message. Nothing was changed.";
    message_page(StatusCode::GONE, "This link has expired", text)
}

fn old_contact() -> Response {
    let text = "It was sent to an address or number that was removed or replaced since. Nothing was changed, and whoever gets alerts now isn't \
                affected.";
    message_page(StatusCode::GONE, "This link is for an earlier address", text)
}

fn try_again_later() -> Response {
    let text = "This page is temporarily unavailable. Nothing was changed.";
    let mut response = message_page(StatusCode::SERVICE_UNAVAILABLE, "Try again in a minute", text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// Logs that the table failed, and asks the reader to try again.
fn storage_failed(error: &store::StoreError) -> Response {
    tracing::error!(%error, "a table operation failed");
    try_again_later()
}

/// Responds with an HTML page that runs no script, sends no referrer and is not cached: its URL is a credential.
pub(crate) fn html_response(status: StatusCode, template: &impl Template) -> Response {
    let Ok(html) = template.render() else {
        return runtime::http::Problem::internal().into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ];
    let mut response = (status, headers, html).into_response();
    response.headers_mut().insert("x-robots-tag", HeaderValue::from_static("noindex"));
    response
}
