//! Pages that links in messages open. They need no token: the link is signed, and names what it allows.
//!
//! GET shows a page and changes nothing, because mail scanners open links; only POST acts.

pub(crate) mod confirm;
pub(crate) mod read;
pub(crate) mod stop;
pub(crate) mod unsubscribe;

use crate::App;
use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
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
    fn verify<const N: usize>(&self, app: &App, purpose: &str) -> Option<[String; N]> {
        app.keyring.verify_link(purpose, self.t.as_deref()?).ok()?.try_into().ok()
    }
}

/// A page with a heading and a paragraph.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ heading }}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}</style></head>
<body><main><h1>{{ heading }}</h1><p>{{ text }}</p></main></body>
</html>
"#
)]
struct MessagePage<'a> {
    heading: &'a str,
    text: &'a str,
}

/// Responds with a page that has a heading and a paragraph only.
fn message_page(status: StatusCode, heading: &str, text: &str) -> Response {
    html_response(status, &MessagePage { heading, text })
}

fn invalid_link() -> Response {
    let text = "The link may be incomplete. Go back to the message and open the whole link.";
    message_page(StatusCode::NOT_FOUND, "This link doesn't work", text)
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
