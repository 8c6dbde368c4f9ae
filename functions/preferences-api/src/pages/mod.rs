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
use domain::link::{LinkPurpose, ShortRead, is_alive};
use domain::tenant::{Email, Recipient};
use runtime::clock;
use serde::Deserialize;
use vault::{LoadError, VaultError};

/// Attempts to save a recipient while others change it at the same time.
const SAVE_ATTEMPTS_MAX: usize = 5;

/// The query of a signed link.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkQuery {
    t: Option<String>,
}

impl LinkQuery {
    /// Verifies the signature for `purpose` and returns the signed parts. Links of a generation of the data key end at once if it leaked, so a
    /// link that looks good is verified with the data keys as they are at this moment. One that is forged, or over by what it says itself,
    /// costs no read.
    async fn verify(
        &self,
        app: &App,
        purpose: LinkPurpose,
        is_over: fn(&[String]) -> bool,
    ) -> Result<Vec<String>, LinkFault> {
        let token = self.t.as_deref().ok_or(LinkFault::Invalid)?;
        let known = app.keyring.get(clock::now()).await.map_err(|error| LinkFault::of_keys(&error))?;
        match known.verify_link(purpose.as_str(), token) {
            Ok(parts) if is_over(&parts) => return Err(LinkFault::Expired),
            Ok(_) | Err(VaultError::UnknownGeneration(_)) => {}
            Err(error) => return Err(LinkFault::of_link(&error)),
        }
        let current = app.keyring.reload(clock::now()).await.map_err(|error| LinkFault::of_keys(&error))?;
        let parts = current.verify_link(purpose.as_str(), token).map_err(|error| LinkFault::of_link(&error))?;
        if is_over(&parts) { Err(LinkFault::Expired) } else { Ok(parts) }
    }

    /// As [`Self::verify`], without the last part, which is the last day on which the link works.
    async fn verify_alive<const N: usize>(&self, app: &App, purpose: LinkPurpose) -> Result<[String; N], LinkFault> {
        without_day(self.verify(app, purpose, is_day_over).await?)
    }
}

/// Verifies the link of a text message, as [`LinkQuery::verify`] does the others.
async fn verify_short(app: &App, purpose: LinkPurpose, token: &str) -> Result<ShortRead, LinkFault> {
    let read = |payload: &[u8]| match ShortRead::decode(payload) {
        Some(read) if is_alive(&read.last_day.to_string(), clock::now()) => Ok(read),
        Some(_) => Err(LinkFault::Expired),
        None => Err(LinkFault::Invalid),
    };
    let known = app.keyring.get(clock::now()).await.map_err(|error| LinkFault::of_keys(&error))?;
    match known.verify_short_link(purpose.as_str(), token) {
        Ok(payload) => drop(read(&payload)?),
        Err(VaultError::UnknownGeneration(_)) => {}
        Err(error) => return Err(LinkFault::of_link(&error)),
    }
    let current = app.keyring.reload(clock::now()).await.map_err(|error| LinkFault::of_keys(&error))?;
    let payload = current.verify_short_link(purpose.as_str(), token).map_err(|error| LinkFault::of_link(&error))?;
    read(&payload)
}

/// Whether the last day is over on which a link with these parts works.
fn is_day_over(parts: &[String]) -> bool {
    !parts.last().is_some_and(|day| is_alive(day, clock::now()))
}

/// Returns the parts of a link without its last day, if there are as many as it has.
fn without_day<const N: usize>(mut parts: Vec<String>) -> Result<[String; N], LinkFault> {
    let _day = parts.pop();
    parts.try_into().map_err(|_| LinkFault::Invalid)
}

/// Why a link does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkFault {
    /// It is incomplete, or not ours.
    Invalid,
    /// Its last day is over.
    Expired,
    /// Links of its time were ended, because the key that signed them leaked.
    Ended,
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

    /// Logs that the data keys cannot be loaded.
    fn of_keys(error: &LoadError) -> Self {
        tracing::error!(%error, "cannot load the data keys");
        Self::Unavailable
    }

    fn of_link(error: &VaultError) -> Self {
        match error {
            VaultError::LinksEnded(_) => Self::Ended,
            _ => Self::Invalid,
        }
    }
}

impl IntoResponse for LinkFault {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid => invalid_link(),
            Self::Expired => link_expired(),
            Self::Ended => links_ended(),
            Self::OldContact => old_contact(),
            Self::Unavailable => try_again_later(),
        }
    }
}

/// Whether a link with the fingerprint `contact` was sent to the address or number that the recipient still has.
fn is_current_contact(app: &App, recipient: &Recipient, contact: &str) -> bool {
    let fingerprint = |contact: String| app.fingerprints.short_contact(&contact).ok();
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

fn links_ended() -> Response {
    let text = "For security, all links in older messages were turned off. Open the one in a newer message. If you have none, ask the person who \
                added you. Nothing was changed.";
    message_page(StatusCode::GONE, "This link was turned off", text)
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
