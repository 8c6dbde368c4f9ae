//! The pages that a link in a message leads to. The link is signed, so there is no token; what it may do, it says.

pub(crate) mod confirm;
pub(crate) mod read;
pub(crate) mod stop;
pub(crate) mod unsubscribe;

use crate::App;
use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// The query of a signed link.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkQuery {
    t: Option<String>,
}

impl LinkQuery {
    /// The parts of a genuine link for `purpose`.
    fn verify<const N: usize>(&self, app: &App, purpose: &str) -> Option<[String; N]> {
        app.keyring.verify_link(purpose, self.t.as_deref()?).ok()?.try_into().ok()
    }
}

/// A page with nothing but words.
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

/// A page that says why there is no other.
fn message_page(status: StatusCode, heading: &str, text: &str) -> Response {
    html_response(status, &MessagePage { heading, text })
}

fn invalid_link() -> Response {
    let text = "The link is incomplete or was changed on the way. Open it from the message again, in full.";
    message_page(StatusCode::NOT_FOUND, "This link does not work", text)
}

fn try_again_later() -> Response {
    let text = "Something that this page needs did not answer. Nothing was changed. Please try again in a minute.";
    let mut response = message_page(StatusCode::SERVICE_UNAVAILABLE, "Not right now", text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// An HTML answer that runs no script, sends its address nowhere and is kept by nobody: the address is the credential.
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
