use super::*;
use crate::clock;
use axum::extract::{Path, Query};
use axum::routing::{get, post};
use std::collections::BTreeMap;

fn event(method: &str, path: &str, body: &str) -> Value {
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": method,
        "headers": {"host": "x.test", "content-type": "application/json"}, "multiValueHeaders": {},
        "queryStringParameters": {"q": "a b&c"}, "multiValueQueryStringParameters": {"q": ["a b&c"]},
        "pathParameters": {}, "stageVariables": null, "body": body, "isBase64Encoded": false,
        "requestContext": {"stage": "live", "requestId": "r-1", "httpMethod": method, "identity": {},
            "authorizer": {"token_id": "tok_1", "integration_id": "int_1", "scopes": "a b", "tenants": "acme,globex",
                "defaults": "{\"type\":\"x\"}"}}
    })
}

async fn answer(event: Value) -> Value {
    let router = Router::new()
        .route(
            "/echo/{name}",
            get(|Path(name): Path<String>, Query(q): Query<BTreeMap<String, String>>, caller: Caller| async move {
                format!("{name} {} {}", q["q"], caller.scopes.len())
            }),
        )
        .route("/body", post(|body: String| async move { body.len().to_string() }))
        .route("/panic", get(|| async { panic!("secret") as () }))
        .route("/slow", get(|| async { tokio::time::sleep(std::time::Duration::from_secs(3_600)).await }))
        .route(
            "/header-count",
            get(|headers: http::HeaderMap| async move { headers.get_all("x-many").iter().count().to_string() }),
        );
    let soon = clock::now().as_millisecond() + 1_300;
    serve(router, event, Deadline::at_epoch_ms(u64::try_from(soon).unwrap())).await.unwrap()
}

#[tokio::test]
async fn a_request_reaches_its_route_with_query_and_caller() {
    let got = answer(event("GET", "/echo/x", "")).await;
    assert_eq!((got["statusCode"].as_u64(), got["body"].as_str()), (Some(200), Some("x a b&c 2")));
    assert_eq!(got["multiValueHeaders"]["x-correlation-id"], json!(["r-1"]));
}

#[tokio::test]
async fn headers_path_query_and_body_arrive_unchanged() {
    let mut many = event("GET", "/header-count", "");
    many["headers"]["x-many"] = json!("b");
    many["multiValueHeaders"] = json!({"x-many": ["a", "b"]});
    assert_eq!(answer(many).await["body"], json!("2"));
    let mut odd = event("GET", "/echo/München 1%2F2", "");
    odd["multiValueQueryStringParameters"] = json!(null);
    assert_eq!(answer(odd).await["body"], json!("München 1/2 a b&c 2"));
    let mut encoded = event("POST", "/body", &STANDARD.encode([0_u8, 159, 146]));
    encoded["isBase64Encoded"] = json!(true);
    assert_eq!(answer(encoded.clone()).await["statusCode"], 400, "a String extractor requires UTF-8");
    encoded["body"] = json!(STANDARD.encode("four"));
    assert_eq!(answer(encoded).await["body"], json!("4"));
}

#[tokio::test]
async fn the_correlation_id_is_the_callers_or_the_traces_or_the_requests() {
    let id = async |name: &str, value: &str| {
        let mut event = event("GET", "/header-count", "");
        event["headers"][name] = json!(value);
        answer(event).await["multiValueHeaders"][CORRELATION_HEADER][0].as_str().unwrap().to_owned()
    };
    assert_eq!(id("X-Correlation-Id", "abc-1").await, "abc-1");
    assert_eq!(id("X-Amzn-Trace-Id", "Parent=2;Root=1-67-ab;Sampled=0").await, "1-67-ab");
    assert_eq!(id("X-Correlation-Id", "a b\"").await, "r-1");
}

#[tokio::test]
async fn every_error_response_is_problem_json() {
    for (event, status) in [
        (event("GET", "/nowhere", ""), 404),
        (event("POST", "/echo/x", ""), 405),
        (event("GET", "/panic", ""), 500),
        (event("GET", "/slow", ""), 503),
        (event("POST", "/body", &"x".repeat(BODY_MAX + 1)), 413),
    ] {
        let got = answer(event).await;
        assert_eq!(got["statusCode"], status);
        assert_eq!(got["multiValueHeaders"]["content-type"], json!(["application/problem+json"]), "{status}");
        assert!(!got["body"].as_str().unwrap().contains("secret"));
    }
    let fits = answer(event("POST", "/body", &"x".repeat(BODY_MAX))).await;
    assert_eq!(fits["body"], json!(BODY_MAX.to_string()));
}

#[test]
fn a_caller_is_built_from_the_authorizers_context() {
    let caller = Caller::from_context(&event("GET", "/", "")["requestContext"]["authorizer"]);
    assert!(caller.has_scope("a") && !caller.has_scope("c"));
    assert!(caller.can_access_tenant(&TenantId::parse("acme").unwrap()));
    assert!(!caller.can_access_tenant(&TenantId::parse("initech").unwrap()));
    assert!(!caller.can_access_all_tenants());
    assert!(Caller::from_context(&json!({"tenants": "*"})).can_access_all_tenants());
    let anonymous = Caller::from_context(&json!({}));
    assert!(!anonymous.can_access_all_tenants() && !anonymous.can_access_tenant(&TenantId::parse("acme").unwrap()));
}

#[test]
fn invalid_json_is_400_and_invalid_fields_are_422() {
    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[serde(rename = "title")]
        _title: String,
    }
    let problem = |body: &str| {
        Problem::invalid_fields(vec![contracts::problem::parse_json::<Body>(body.as_bytes()).unwrap_err()])
    };
    assert_eq!(problem("{").status, StatusCode::BAD_REQUEST);
    assert_eq!(problem("7").status, StatusCode::UNPROCESSABLE_ENTITY);
    let missing = problem("{}");
    assert_eq!(missing.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(missing.detail, "/title: is required; add this field");
}

#[test]
fn paths_and_queries_are_percent_encoded() {
    let path = utf8_percent_encode("/a b%2Fü\"<>?#\\^`{|}\u{7f}&+~", NOT_IN_PATH).to_string();
    assert_eq!(path, "/a%20b%2F%C3%BC%22%3C%3E%3F%23%5C%5E%60%7B%7C%7D%7F&+~");
    assert_eq!(encode_query("a-_.~ %2F&=+ü").to_string(), "a-_.~%20%252F%26%3D%2B%C3%BC");
}
