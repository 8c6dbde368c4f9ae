use super::*;
use serde::Deserialize;
use serde_json::json;
use std::sync::Mutex;
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, ResponseTemplate};

#[derive(Deserialize)]
struct ScriptedMessage {
    action: String,
}

impl Correlated for ScriptedMessage {
    fn correlation_id(&self) -> &str {
        &self.action
    }
}

#[derive(Default)]
struct ScriptedFunction {
    done: Mutex<Vec<String>>,
}

impl QueueFunction for ScriptedFunction {
    const NAME: &'static str = "scripted";
    type Message = ScriptedMessage;

    async fn start(_aws: &Aws) -> Result<Self, StartError> {
        Ok(Self::default())
    }

    fn setup(&self) -> QueueSetup {
        QueueSetup { dead_letters: None, sources: Vec::new() }
    }

    fn read(&self, body: &str, meta: &RecordMeta) -> Result<ScriptedMessage, RecordError> {
        assert!(body != "unreadable", "secret");
        serde_json::from_str(body)
            .map_err(|error| RecordError::unprocessable(&format!("{} {}", meta.message_id, error.line())))
    }

    async fn handle(&self, message: ScriptedMessage, _meta: &RecordMeta) -> Result<(), RecordError> {
        match message.action.as_str() {
            "panic" => panic!("secret"),
            "retry" => return Err(RecordError::retry("x", "y")),
            "later" => return Err(RecordError::retry_after(Duration::from_secs(7), "leased")),
            "unreadable item" => return Err(RecordError::unreadable_item("stored item is invalid".to_owned())),
            "newer" => return Err(RecordError::newer_message(2)),
            "poison" => return Err(RecordError::unprocessable("unknown type")),
            "slow" => tokio::time::sleep(Duration::from_secs(3_600)).await,
            _ => {}
        }
        self.done.lock().unwrap().push(message.action);
        Ok(())
    }
}

/// A fake SQS on loopback. `send_status` is its response status to SendMessage.
async fn sqs(send_status: u16) -> MockServer {
    let server = MockServer::start().await;
    let sent = match send_status {
        200 => json!({"MessageId": "m"}),
        _ => json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"}),
    };
    let calls = [("SendMessage", send_status, sent), ("ChangeMessageVisibility", 200, json!({}))];
    for (call, status, body) in calls {
        let answer = ResponseTemplate::new(status).set_body_json(body);
        Mock::given(header("x-amz-target", format!("AmazonSQS.{call}"))).respond_with(answer).mount(&server).await;
    }
    server
}

/// The result of a batch, and the calls that it made to SQS.
struct BatchResult {
    failed: Vec<String>,
    done: Vec<String>,
    /// Receipt handles of returned records with their pause in seconds, in the order of the calls.
    back: Vec<(String, u64)>,
    dead_letters: Vec<Value>,
}

async fn run_on(server: &MockServer, queue: &str, records: &[(&str, &str)], left: Duration) -> BatchResult {
    run_received(server, queue, records, left, 2, 1_000).await
}

async fn run_received(
    server: &MockServer,
    queue: &str,
    records: &[(&str, &str)],
    left: Duration,
    receives: u32,
    sent_at_ms: i64,
) -> BatchResult {
    let config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("eu-west-1"))
        .credentials_provider(fake_credentials())
        .endpoint_url(server.uri())
        .build();
    let dead = if queue.ends_with(".fifo") { "dead.fifo" } else { "dead" };
    let setup = QueueSetup {
        dead_letters: Some(format!("{}/1/{dead}", server.uri())),
        sources: vec![(format!("{}/1/{queue}", server.uri()), Lane::Bulk)],
    };
    let worker = QueueWorker { function: ScriptedFunction::default(), setup, queues: Queues::new(&config) };
    let records: Vec<Value> = records
        .iter()
        .enumerate()
        .map(|(index, (group, body))| {
            json!({"messageId": index.to_string(), "receiptHandle": format!("r{index}"), "body": body,
                "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": receives.to_string(), "SentTimestamp": sent_at_ms.to_string()},
                "messageAttributes": {}, "eventSourceARN": format!("arn:aws:sqs:eu-west-1:1:{queue}"),
                "eventSource": "aws:sqs"})
        })
        .collect();
    let at = clock::now().as_millisecond() + i64::try_from(left.as_millis()).unwrap();
    let deadline = Deadline::at_epoch_ms(u64::try_from(at).unwrap());
    let answer = worker.handle_batch(json!({"Records": records}), deadline).await.unwrap();
    let failed = answer["batchItemFailures"].as_array().unwrap().iter();
    let mut done = worker.function.done.lock().unwrap().clone();
    done.sort();
    let mut found = BatchResult {
        failed: failed.map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect(),
        done,
        back: Vec::new(),
        dead_letters: Vec::new(),
    };
    for request in server.received_requests().await.unwrap() {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        match body["VisibilityTimeout"].as_u64() {
            Some(seconds) => found.back.push((body["ReceiptHandle"].as_str().unwrap().to_owned(), seconds)),
            None => found.dead_letters.push(body),
        }
    }
    found
}

async fn run(queue: &str, records: &[(&str, &str)], left: Duration) -> BatchResult {
    run_on(&sqs(200).await, queue, records, left).await
}

fn fake_credentials() -> aws_sdk_sqs::config::SharedCredentialsProvider {
    aws_sdk_sqs::config::SharedCredentialsProvider::new(aws_sdk_sqs::config::Credentials::new(
        "test", "test", None, None, "test",
    ))
}

fn receipts(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(receipt, seconds)| ((*receipt).to_owned(), *seconds)).collect()
}

const AMPLE: Duration = Duration::from_secs(30);

fn message(action: &str) -> String {
    json!({"action": action}).to_string()
}

#[tokio::test]
async fn a_failing_record_does_not_affect_the_others() {
    let bodies = [
        message("a"),
        message("panic"),
        "{".to_owned(),
        message("retry"),
        message("later"),
        message("poison"),
        message("b"),
    ];
    let records: Vec<_> = bodies.iter().map(|body| ("g", body.as_str())).collect();
    let mut left = run("standard", &records, AMPLE).await;
    assert_eq!(left.failed, ["3", "4"]);
    assert_eq!(left.done, ["a", "b"]);
    left.back.sort();
    assert_eq!(
        left.back,
        receipts(&[("r3", 10), ("r4", 7)]),
        "an AWS fault's pause doubles; a lease has its own pause"
    );
    let mut reasons: Vec<_> = left.dead_letters.iter().map(|letter| attribute(letter, "reason").unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["2 1", "the function panicked while handling the message", "unknown type"]);
}

fn attribute<'a>(letter: &'a Value, name: &str) -> Option<&'a str> {
    letter["MessageAttributes"][name]["StringValue"].as_str()
}

#[tokio::test]
async fn a_dead_letter_has_its_origin_and_the_original_body() {
    let odd = message("poison");
    let left = run("incidents.fifo", &[("one", &odd)], AMPLE).await;
    assert!(left.failed.is_empty() && left.back.is_empty());
    let letter = left.dead_letters.first().unwrap();
    assert_eq!(letter["MessageBody"], json!(odd));
    assert_eq!((&letter["MessageGroupId"], &letter["MessageDeduplicationId"]), (&json!("one"), &json!("0")));
    assert!(letter["QueueUrl"].as_str().unwrap().ends_with("/dead.fifo"));
    assert_eq!(attribute(letter, dead_letter_attributes::REASON), Some("unknown type"));
    assert_eq!(attribute(letter, dead_letter_attributes::SOURCE_QUEUE), Some("incidents.fifo"));
    assert_eq!(attribute(letter, dead_letter_attributes::MESSAGE_ID), Some("0"));
    assert_eq!(attribute(letter, dead_letter_attributes::CORRELATION_ID), Some("poison"));
    assert_eq!(attribute(letter, dead_letter_attributes::FIRST_SENT_AT), Some("1970-01-01T00:00:01Z"));

    let left = run("standard", &[("one", "unreadable")], AMPLE).await;
    let letter = left.dead_letters.first().unwrap();
    assert_eq!(
        attribute(letter, dead_letter_attributes::REASON),
        Some("the function panicked while handling the message"),
        "a panic in `read` is caught, too"
    );
    assert!(
        letter.get("MessageGroupId").is_none() && attribute(letter, dead_letter_attributes::CORRELATION_ID).is_none()
    );
}

#[tokio::test]
async fn a_message_that_the_dead_letter_queue_rejects_stays_on_its_queue() {
    let odd = message("poison");
    let left = run_on(&sqs(400).await, "standard", &[("g", &odd)], AMPLE).await;
    assert_eq!(left.failed, ["0"]);
    assert_eq!(left.back, receipts(&[("r0", 10)]));
}

#[tokio::test]
async fn a_fifo_group_stops_at_its_first_failure_while_other_groups_continue() {
    let bodies = [message("a"), message("retry"), message("b"), message("c"), message("d")];
    let groups = ["one", "one", "two", "one", "two"];
    let records: Vec<_> = groups.into_iter().zip(bodies.iter().map(String::as_str)).collect();
    let left = run("incidents.fifo", &records, AMPLE).await;
    assert_eq!(left.failed, ["1", "3"]);
    assert_eq!(left.done, ["a", "b", "d"]);
    assert_eq!(left.back, receipts(&[("r1", 10), ("r3", 10)]), "a hidden message would lock its group");
}

#[tokio::test]
async fn an_unprocessable_message_does_not_stop_its_group() {
    let bodies = [message("poison"), message("a")];
    let records: Vec<_> = bodies.iter().map(|body| ("one", body.as_str())).collect();
    let left = run("incidents.fifo", &records, AMPLE).await;
    assert_eq!((left.failed.len(), left.done, left.dead_letters.len()), (0, vec!["a".to_owned()], 1));
}

#[tokio::test]
async fn unfinished_records_are_returned_to_the_queue_at_the_deadline() {
    let bodies = [message("slow"), message("a")];
    let records: Vec<_> = bodies.iter().map(|body| ("g", body.as_str())).collect();
    let left = run("standard", &records, DEADLINE_RESERVE + Duration::from_millis(300)).await;
    assert_eq!((left.failed, left.done), (vec!["0".to_owned()], vec!["a".to_owned()]));
    assert_eq!(left.back, receipts(&[("r0", 10)]), "a second receive pauses");
    let mut left = run("standard", &records, DEADLINE_RESERVE - Duration::from_millis(100)).await;
    left.back.sort();
    assert_eq!((left.failed.len(), left.done.len()), (2, 0), "no record is started without time");
    assert_eq!(left.back, receipts(&[("r0", 0), ("r1", 0)]));
}

#[tokio::test]
async fn only_faults_of_aws_or_our_own_are_counted() {
    metrics::init("scripted");
    let counted = || {
        let mut out = Vec::new();
        metrics::flush_to(&mut out);
        serde_json::from_slice::<Value>(&out).map_or(json!(0), |line| line["AwsFault"].clone())
    };
    let once = [("g", message("a")), ("g", message("later")), ("g", message("poison"))];
    let records: Vec<_> = once.iter().map(|(group, body)| (*group, body.as_str())).collect();
    drop(run("standard", &records, AMPLE).await);
    assert_eq!(counted(), 0, "leases and dead letters are not faults");
    let faults = [message("retry"), message("slow")];
    let records: Vec<_> = faults.iter().map(|body| ("g", body.as_str())).collect();
    drop(run("standard", &records, DEADLINE_RESERVE + Duration::from_millis(300)).await);
    assert_eq!(counted(), 2, "a fault, and a deadline reached again");
    drop(run_on(&sqs(400).await, "standard", &[("g", &message("poison"))], AMPLE).await);
    assert_eq!(counted(), 1, "an unprocessable message that the dead-letter queue rejects");
}

#[tokio::test]
async fn returning_records_ends_before_the_invocation() {
    let server = MockServer::start().await;
    let hangs = ResponseTemplate::new(200).set_body_json(json!({})).set_delay(Duration::from_secs(30));
    Mock::given(wiremock::matchers::any()).respond_with(hangs).mount(&server).await;
    let (start, whole) = (std::time::Instant::now(), DEADLINE_RESERVE + Duration::from_millis(500));
    let bodies = [message("retry"), message("poison"), message("slow")];
    let records: Vec<_> = bodies.iter().map(|body| ("g", body.as_str())).collect();
    let left = run_on(&server, "standard", &records, whole).await;
    assert_eq!(left.failed, ["0", "1", "2"]);
    assert!(start.elapsed() < whole, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_record_without_an_id_fails_the_whole_batch() {
    let worker = QueueWorker {
        function: ScriptedFunction::default(),
        setup: ScriptedFunction::default().setup(),
        queues: Queues::new(
            &aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build(),
        ),
    };
    let deadline = Deadline::at_epoch_ms(u64::MAX);
    for id in [json!(null), json!("")] {
        let event = json!({"Records": [{"messageId": id, "body": message("a")}]});
        assert!(worker.handle_batch(event, deadline).await.is_err());
    }
    assert!(worker.function.done.lock().unwrap().is_empty());
}

#[test]
fn the_batch_response_has_lambdas_format() {
    let text = serde_json::to_string(&batch_response(vec!["a".into()])).unwrap();
    assert_eq!(text, r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#);
    assert_eq!(serde_json::to_string(&batch_response(vec![])).unwrap(), r#"{"batchItemFailures":[]}"#);
}

#[test]
fn pauses_double_up_to_fifteen_minutes() {
    let seconds: Vec<u64> = [1, 2, 3, 8, 9, 20].map(|count| pause_after(count).as_secs()).into();
    assert_eq!(seconds, [5, 10, 20, 640, 900, 900]);
}

#[tokio::test]
async fn what_this_version_cannot_read_is_tried_again_and_is_a_dead_letter_only_after_a_deployment() {
    let handled = async |action: &str, receives: u32, sent_at_ms: i64| {
        let body = json!({"correlation_id": "c-1", "action": action}).to_string();
        let server = sqs(200).await;
        run_received(&server, "q.fifo", &[("g", &body)], Duration::from_secs(20), receives, sent_at_ms).await
    };
    let just_now = clock::now().as_millisecond();
    for (action, last) in [("unreadable item", 9), ("newer", 20)] {
        let early = [1, 2, last - 1].map(|receives| (receives, 1_000));
        // Received often for other reasons, such as a lease.
        let young = (last, just_now);
        for (receives, sent_at_ms) in early.into_iter().chain((last < 20).then_some(young)) {
            let result = handled(action, receives, sent_at_ms).await;
            let pause = (5_u64 << (receives - 1)).min(900);
            assert_eq!(result.back, [("r0".to_owned(), pause)], "{action} at receive {receives}");
            assert!(result.dead_letters.is_empty() && result.failed == ["0"]);
        }
        let result = handled(action, last, 1_000).await;
        assert_eq!((result.dead_letters.len(), result.failed.len()), (1, 0), "{action}");
    }
    assert_eq!(handled("newer", 20, just_now).await.dead_letters.len(), 1, "SQS would move it without a reason");
}

#[test]
fn a_newer_version_is_found_at_the_top_of_a_message_only() {
    assert_eq!(newer_version(r#"{"v":1,"details":{"v":9}}"#), None);
    assert_eq!(newer_version(r#"{"details":{"v":1},"v":2}"#), Some(2));
    for without in ["", "null", "[]", r#"{"v":"2"}"#, r#"{"details":{"v":9}}"#] {
        assert_eq!(newer_version(without), None, "{without}");
    }
}
