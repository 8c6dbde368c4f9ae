//! What the router refuses before it reads anything. The table is a port where nothing listens: a 503 means that a request got as far as
//! the table, and every other status was decided without it.

use super::*;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use domain::ids::TenantId;
use runtime::http::Caller;
use std::collections::BTreeMap;
use tower::ServiceExt;
use vault::Keyring;

fn app() -> App {
    let config = aws::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("eu-central-1"))
        .endpoint_url("http://127.0.0.1:9")
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(
            aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "test"),
        ))
        .build();
    let table = Table::new(&config, "table", 1);
    let keyring = keyring();
    Arc::new(PreferencesApi {
        policy: Policy::embedded().unwrap(),
        kept: crate::kept::KeptAnswers::default(),
        retention_days: 1,
        kms_key_id: "key".into(),
        data_key_settling: domain::data_key::SETTLING,
        fingerprints: keyring.fingerprints().clone(),
        keyring: vault::LazyKeyring::loaded(&config, &table, keyring, runtime::clock::now()),
        table,
        exceptions: Exceptions::default(),
        operator_email: "ops@example.com".into(),
        email_from: "alerts@example.com".into(),
        sms_sender: None,
        support_url: None,
        queues: Queues::new(&config),
        classify_queue_url: "http://127.0.0.1:9/classify".into(),
        email_queue_url: "http://127.0.0.1:9/email".into(),
        sms_queue_url: "http://127.0.0.1:9/sms".into(),
        public_base_url: "https://{api}.example.com/live".into(),
    })
}

fn keyring() -> Keyring {
    Keyring::from_keys(BTreeMap::from([(1, [7; 32])])).unwrap()
}

fn caller(scopes: &[&str], tenants: Option<&[&str]>) -> Caller {
    Caller {
        token_id: "tok_x".into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        tenants: tenants.map(|ids| ids.iter().map(|id| TenantId::parse(id).unwrap()).collect()),
        ..Caller::default()
    }
}

async fn send(caller: &Caller, method: &str, path: &str, body: &str) -> Response {
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(caller.clone());
    app().router().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Every route below a tenant, with each of its methods.
const TENANT_ROUTES: &[(&str, &str)] = &[
    ("GET", ""),
    ("GET", "/settings"),
    ("PUT", "/settings"),
    ("PATCH", "/settings"),
    ("GET", "/recipients"),
    ("POST", "/recipients"),
    ("GET", "/recipients/rcp_a"),
    ("PUT", "/recipients/rcp_a"),
    ("PATCH", "/recipients/rcp_a"),
    ("DELETE", "/recipients/rcp_a"),
    ("POST", "/recipients/rcp_a/confirmation"),
    ("POST", "/recipients/rcp_a/confirm"),
    ("GET", "/integrations"),
    ("POST", "/integrations"),
    ("GET", "/integrations/int_a"),
    ("PUT", "/integrations/int_a"),
    ("PATCH", "/integrations/int_a"),
    ("DELETE", "/integrations/int_a"),
    ("POST", "/integrations/int_a/secret"),
    ("GET", "/incidents"),
    ("GET", "/incidents/inc_a"),
    ("GET", "/incidents/inc_a/explain"),
    ("GET", "/incidents/inc_a/support"),
    ("POST", "/incidents/inc_a/resend"),
    ("GET", "/deliveries"),
    ("GET", "/catalogue"),
    ("GET", "/audit"),
    ("POST", "/explain"),
    ("GET", "/lint"),
];

#[tokio::test]
async fn no_route_reaches_another_tenant() {
    let acme = caller(&["alerts:manage", "alerts:read"], Some(&["acme"]));
    for (method, path) in TENANT_ROUTES {
        let theirs = send(&acme, method, &format!("/v1/tenants/globex{path}"), "{}").await;
        assert_eq!(theirs.status(), StatusCode::NOT_FOUND, "{method} {path}");
        assert!(text(theirs).await.contains("This tenant does not exist"), "{method} {path}");
        let own = send(&acme, method, &format!("/v1/tenants/acme{path}"), "{}").await;
        assert_eq!(own.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: the own tenant is reached");
    }
}

#[tokio::test]
async fn no_route_accepts_a_caller_without_token_or_with_posting_scopes_only() {
    for who in [Caller::anonymous(), caller(&["incidents:write", "alerts:test"], None)] {
        for (method, path) in TENANT_ROUTES {
            let answer = send(&who, method, &format!("/v1/tenants/acme{path}"), "{}").await;
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/v1/tokens"),
            ("POST", "/v1/tokens"),
            ("DELETE", "/v1/tokens/tok_a"),
            ("POST", "/v1/tokens/tok_a/rotate"),
        ] {
            assert_eq!(send(&who, method, path, "{}").await.status(), StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_read_scope_changes_nothing() {
    for scope in ["alerts:read", "support:read"] {
        let reader = caller(&[scope], Some(&["acme"]));
        for (method, path) in TENANT_ROUTES {
            let answer = send(&reader, method, &format!("/v1/tenants/acme{path}"), "{}").await;
            // Explain changes nothing, although it is a POST.
            let reads = *method == "GET" || *path == "/explain";
            let expected = if reads { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
            assert_eq!(answer.status(), expected, "{scope} {method} {path}");
        }
    }
}

#[tokio::test]
async fn only_a_platform_admin_creates_tenants() {
    let body = r#"{"name":"Acme","plan":"starter","zone":"UTC"}"#;
    let manager = caller(&["alerts:manage"], None);
    assert_eq!(send(&manager, "PUT", "/v1/tenants/acme", body).await.status(), StatusCode::FORBIDDEN);
    let admin = caller(&["platform:admin"], None);
    let bad = send(&admin, "PUT", "/v1/tenants/ACME", body).await;
    assert_eq!(bad.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(bad).await.contains("a-z, 0-9"));
    assert_eq!(send(&admin, "PUT", "/v1/tenants/acme", body).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let narrow = caller(&["platform:admin"], Some(&["globex"]));
    assert_eq!(send(&narrow, "PUT", "/v1/tenants/acme", body).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tokens_of_other_tenants_are_neither_listed_nor_issued() {
    let manager = caller(&["alerts:manage"], Some(&["acme"]));
    assert_eq!(send(&manager, "GET", "/v1/tokens", "").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    for path in ["/v1/tokens?tenant=globex", "/v1/tokens?tenant=platform"] {
        assert_eq!(send(&manager, "GET", path, "").await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(send(&manager, "DELETE", "/v1/tokens/tok_a?tenant=globex", "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(send(&manager, "GET", "/v1/tokens?tenant=acme", "").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let theirs = r#"{"name":"a","scopes":["platform:admin"],"tenants":["globex"]}"#;
    let answer = send(&manager, "POST", "/v1/tokens", theirs).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let body = text(answer).await;
    assert!(body.contains("/scopes/0") && body.contains("/tenants/0"), "{body}");
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let admin = caller(&["platform:admin"], None);
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(64 * 1024));
    assert_eq!(send(&admin, "PUT", "/v1/tenants/acme", &body).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn only_a_validly_signed_link_opens_a_page() {
    let nobody = Caller::anonymous();
    let keyring = keyring();
    // Each ends with the last day on which it works.
    let good = keyring.sign_link("unsubscribe", &["acme", "rcp_a", "billing", "0a1b2c3d", "99999"]).unwrap();
    let for_reading = keyring.sign_link("read", &["acme", "inc_a", "99999"]).unwrap();
    let never = keyring.sign_link("never", &["acme", "rcp_a", "sup_a", "99999"]).unwrap();
    let short = |purpose, last_day| {
        let incident = domain::ids::IncidentId::derived(&["a"]);
        let read = domain::link::ShortRead { incident, tenant: None, reader: 1, last_day };
        format!("/r/{}", keyring.sign_short_link(purpose, &read.encode().unwrap()).unwrap())
    };
    for (method, path) in [
        ("GET", "/unsubscribe".to_owned()),
        ("GET", "/unsubscribe?t=x".to_owned()),
        ("POST", format!("/unsubscribe?t={good}x")),
        ("GET", format!("/unsubscribe?t={for_reading}")),
        ("GET", format!("/read?t={good}")),
        ("GET", "/r/x".to_owned()),
        ("GET", format!("/r/{for_reading}")),
        ("GET", short("stop", 65_535)),
        ("GET", format!("{}A", short("read", 65_535))),
        ("POST", format!("/never?t={good}")),
        ("POST", format!("/resubscribe?t={never}")),
    ] {
        let answer = send(&nobody, method, &path, "").await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
        assert!(text(answer).await.contains("<h1>"));
    }
    for (purpose, path, parts) in [
        ("unsubscribe", "/unsubscribe", vec!["acme", "rcp_a", "billing", "0a1b2c3d", "20000"]),
        ("stop", "/stop", vec!["acme", "rcp_a", "inc_a", "0a1b2c3d", "20000"]),
        ("read", "/read", vec!["acme", "inc_a", "20000"]),
        ("read", "/read", vec!["acme", "inc_a", "abcde", "0a1b2c3d", "20000"]),
        ("never", "/never", vec!["acme", "rcp_a", "sup_a", "20000"]),
    ] {
        let link = keyring.sign_link(purpose, &parts).unwrap();
        let answer = send(&nobody, "GET", &format!("{path}?t={link}"), "").await;
        assert_eq!(answer.status(), StatusCode::GONE, "{purpose}");
        assert!(text(answer).await.contains("This link has expired"), "{purpose}");
    }
    assert_eq!(send(&nobody, "GET", &short("read", 20_000), "").await.status(), StatusCode::GONE);
    // Whether a good link's generation has ended is asked of the table, which does not answer here.
    for (method, path) in [
        ("GET", format!("/never?t={never}")),
        ("GET", format!("/unsubscribe?t={good}")),
        ("POST", format!("/unsubscribe?t={good}")),
        ("GET", format!("/read?t={for_reading}")),
        ("GET", short("read", 65_535)),
        ("POST", format!("/never?t={never}")),
    ] {
        let answer = send(&nobody, method, &path, "List-Unsubscribe=One-Click").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
    }
}

#[tokio::test]
async fn a_wrong_operator_command_is_explained() {
    let app = app();
    for event in [serde_json::json!({}), serde_json::json!({"bootstrap": "x"})] {
        assert!(app.handle_direct(event).await.unwrap_err().message.contains("platform_admin"));
    }
    let error = app.handle_direct(serde_json::json!({"recompile": "ACME"})).await.unwrap_err();
    assert_eq!(error.kind, "BadRequest");
}

#[test]
fn the_event_of_this_function_is_one_of_api_gateway() {
    let event: Value = serde_json::from_str(include_str!("../event.json")).unwrap();
    let caller = Caller::from_context(&event["requestContext"]["authorizer"]);
    assert!(caller.has_scope("alerts:manage") && caller.can_access_tenant(&TenantId::parse("acme").unwrap()));
    let body = event["body"].as_str().unwrap();
    assert!(contracts::problem::parse_json::<contracts::http::RecipientBody>(body.as_bytes()).is_ok());
}
