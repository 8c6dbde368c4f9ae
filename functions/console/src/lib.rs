//! Trigger  `GET /console`, `GET /console/{file}` (no token needed: the page holds no data and asks its user for a token)
//! Reads    nothing
//! Writes   nothing
//! Emits    nothing
//! Fails    404 for any other file
//! Config   [`config`]: none
//!
//! The tenant admins' page: plain HTML, CSS and JavaScript embedded in this binary, without a build step and without other hosts. The page
//! calls the public API with the token that its user enters, and keeps that token in memory only.

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
/// `app.js`: one module, kept in a file per subject. `main.js` is last because it runs when the page loads.
const SCRIPT: &str = concat!(
    include_str!("page/app/labels.js"),
    include_str!("page/app/elements.js"),
    include_str!("page/app/api.js"),
    include_str!("page/app/forms.js"),
    include_str!("page/app/settings.js"),
    include_str!("page/app/recipients.js"),
    include_str!("page/app/integrations.js"),
    include_str!("page/app/test_alert.js"),
    include_str!("page/app/history.js"),
    include_str!("page/app/main.js"),
);
const STYLE: &str = include_str!("page/style.css");
/// The content security policy: allows this page's own files and this API, nothing else.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The Lambda function that serves the page.
#[derive(Debug)]
pub struct Console;

impl HttpFunction for Console {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    async fn start(_aws: &Aws) -> Result<Self, StartError> {
        Ok(Self)
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new().route("/console", get(page)).route("/console/{file}", get(asset))
    }
}

async fn page() -> Response {
    respond("text/html; charset=utf-8", PAGE)
}

async fn asset(Path(name): Path<String>) -> Response {
    match name.as_str() {
        "app.js" => respond("text/javascript; charset=utf-8", SCRIPT),
        "style.css" => respond("text/css; charset=utf-8", STYLE),
        _ => Problem::not_found("The console has no such file. Open /console.").into_response(),
    }
}

fn respond(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        // The three files of a deployment only work together, so a browser must not mix them with cached ones.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, SECURITY_POLICY),
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

    async fn get_file(path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = Arc::new(Console).router().oneshot(request).await.unwrap();
        let policy =
            response.headers().get(header::CONTENT_SECURITY_POLICY).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, policy.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_the_page_and_its_two_files_are_served() {
        for path in ["/console", "/console/app.js", "/console/style.css"] {
            let (status, policy, _) = get_file(path).await;
            assert_eq!((status, policy.as_str()), (StatusCode::OK, SECURITY_POLICY), "{path}");
        }
        assert_eq!(get_file("/console/lib.rs").await.0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_page_has_no_inline_code_and_the_script_stores_no_token() {
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
