//! The router while AWS is unreachable: its endpoint is a port on which nothing listens.

use super::*;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use domain::ids::TenantId;
use runtime::http::Caller;
use serde_json::json;
use tower::ServiceExt;

const KEY: &str = "AbCdEfGhIjKlMnOpQrStUvWxYz012345";

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
    let url = |name: &str| format!("http://127.0.0.1:9/1/{name}");
    Arc::new(Intake {
        policy: Policy::embedded().unwrap(),
        table: Table::new(&config, "table", 1),
        queues: Queues::new(&config),
        config: Config {
            table_name: "table".into(),
            queue_url: url("intake"),
            dead_letter_queue_url: url("dead"),
            classify_queue_url: url("classify.fifo"),
            retention_days: 1,
        },
    })
}

async fn post(path: &str, content_type: &str, body: &serde_json::Value) -> Response {
    let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
    let request = request.header(header::AUTHORIZATION, format!("GenieKey {KEY}"));
    let mut request = request.body(Body::from(body.to_string())).unwrap();
    // The authorizer's result. PagerDuty's and Opsgenie's routes bypass it.
    request.extensions_mut().insert(Caller {
        token_id: "tok_x".into(),
        integration_id: "int_x".into(),
        scopes: ["incidents:write".to_owned()].into(),
        tenants: Some([TenantId::parse("acme").unwrap()].into()),
        ..Caller::default()
    });
    app().router().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn each_product_gets_the_status_on_which_its_clients_retry() {
    let alerts = |version: &str| json!({"version": version, "alerts": [{"status": "firing", "labels": {"alertname": "A", "tenant": "acme"}}]});
    let cloudevent =
        json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"tenant_ids": ["acme"]}});
    let trigger = json!({"routing_key": KEY, "event_action": "resolve", "dedup_key": "k"});
    let json = "application/json";
    for (path, content_type, body, status) in [
        ("/v2/enqueue", json, trigger.clone(), 429),
        ("/v2/change/enqueue", json, trigger, 429),
        ("/v2/alerts", json, json!({"message": "m"}), 429),
        ("/v2/alerts/a/close?identifierType=alias", json, json!({}), 429),
        ("/v1/intake/alertmanager", json, alerts("4"), 503),
        ("/v1/intake/grafana", json, alerts("1"), 503),
        ("/v1/intake/cloudevents", "application/cloudevents+json", cloudevent, 503),
        ("/v1/intake/cloudwatch", json, json!({"AlarmName": "a", "NewStateValue": "ALARM"}), 503),
    ] {
        let answer = post(path, content_type, &body).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5", "{path}");
    }
}

#[test]
fn platform_wide_events_need_the_scope_and_a_token_for_all_tenants() {
    let caller = |scopes: &[&str], tenants: Option<&str>| Caller {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        tenants: tenants.map(|id| [TenantId::parse(id).unwrap()].into()),
        ..Caller::default()
    };
    assert!(permissions::may_post_platform_wide(&caller(&["incidents:platform"], None)));
    assert!(!permissions::may_post_platform_wide(&caller(&["incidents:platform"], Some("acme"))));
    assert!(!permissions::may_post_platform_wide(&caller(&["incidents:write"], None)));
}

#[tokio::test]
async fn a_reserved_event_type_is_rejected() {
    for reserved in ["test.alert", "tocsin.delivery_failed", "tocsin.anything"] {
        let event = json!({"source": "s", "type": reserved, "title": "t", "tenant_ids": ["acme"]});
        for path in ["/v1/incidents", "/v1/incidents?dry_run=true"] {
            let answer = post(path, "application/json", &event).await;
            assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{reserved}");
            let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["errors"][0]["pointer"], "/type", "{problem}");
            assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("/test-alert"), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_malformed_key_is_rejected_without_reading_the_table() {
    let short = json!({"routing_key": "short", "event_action": "trigger"});
    assert_eq!(post("/v2/enqueue", "application/json", &short).await.status(), StatusCode::BAD_REQUEST);
    let request = Request::post("/v2/alerts").header(header::AUTHORIZATION, "Bearer x").body(Body::from("{}")).unwrap();
    assert_eq!(app().router().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
