//! Trigger  `GET /console`, `GET /console/{file}` (open: the page holds nothing; it asks for a token)
//! Reads    nothing
//! Writes   nothing
//! Emits    nothing
//! Fails    404 for any other file
//! Config   [`config`]: none
//!
//! The tenant admins' page: plain HTML, CSS and JavaScript in this binary, no build step, no other host. It speaks to the same API
//! as everybody, with the token that its user types in and that it keeps in memory only.

pub mod config;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use runtime::http::{HttpFunction, Problem};
use runtime::{Aws, StartError};
use std::sync::Arc;

const PAGE: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/style.css");
/// Nothing but this page's own files and this API.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The function.
#[derive(Debug)]
pub struct Console;

impl HttpFunction for Console {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(_aws: &Aws) -> Result<Self, StartError> {
        Ok(Self)
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new().route("/console", get(page)).route("/console/{file}", get(file))
    }
}

async fn page() -> Response {
    served("text/html; charset=utf-8", PAGE)
}

async fn file(Path(name): Path<String>) -> Response {
    match name.as_str() {
        "app.js" => served("text/javascript; charset=utf-8", SCRIPT),
        "style.css" => served("text/css; charset=utf-8", STYLE),
        _ => Problem::not_found("the console has no such file").into_response(),
    }
}

fn served(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        // A deployment changes all three files at once, and a mixture of two would be nobody's page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn asked(path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = Arc::new(Console).router().oneshot(request).await.unwrap();
        let policy =
            answer.headers().get(header::CONTENT_SECURITY_POLICY).map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, policy.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_and_its_files_are_there_and_nothing_else_is() {
        for path in ["/console", "/console/app.js", "/console/style.css"] {
            let (status, policy, _) = asked(path).await;
            assert_eq!((status, policy.as_str()), (StatusCode::OK, POLICY), "{path}");
        }
        assert_eq!(asked("/console/lib.rs").await.0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_page_runs_nothing_that_its_policy_forbids_and_keeps_no_token() {
        for inline in ["style=", "onclick", "<style", "javascript:", "http://", "https://"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "localStorage", "sessionStorage", "cookie"]
        {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }
}
