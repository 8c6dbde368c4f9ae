//! Faults of the AWS calls that pass the proxy, drawn from a seed: what a bad hour of AWS looks like to the functions.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// The service rejects it because of its rate.
    Throttled,
    /// The service is not available.
    Unavailable,
    /// The connection breaks before the call arrives.
    CutBefore,
    /// The connection breaks after the call was made.
    CutAfter,
    /// The call is made late.
    Late,
    /// The call is made, and half of its response arrives.
    Truncated,
    /// One entry of a batch is said to have failed.
    PartlyFailed,
    /// Messages are put on their queue twice.
    Duplicated,
    /// The next call of the operation is made before it.
    Reordered,
}

/// Which calls go wrong. The body of `PUT /faults`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultPlan {
    /// The same seed draws the same faults for the same sequence of calls.
    seed: u64,
    /// One call in so many goes wrong.
    one_in: u64,
    /// The kinds that are drawn.
    kinds: Vec<FaultKind>,
    /// How the operations' names begin, such as `ses.`.
    operations: Vec<String>,
}

/// A fault plan at work.
pub(crate) struct Faults {
    plan: FaultPlan,
    /// The number of calls that the plan is about.
    seen: u64,
    /// How often each fault was drawn, by operation and kind.
    counts: BTreeMap<String, u64>,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        Self { plan, seen: 0, counts: BTreeMap::new() }
    }

    pub(crate) fn counts(&self) -> Value {
        json!(self.counts)
    }

    /// Draws what goes wrong with a call of `operation`; `None` for nothing.
    pub(crate) fn draw(&mut self, operation: &str) -> Option<FaultKind> {
        let FaultPlan { seed, one_in, kinds, operations } = &self.plan;
        if !operations.iter().any(|prefix| operation.starts_with(prefix)) {
            return None;
        }
        self.seen += 1;
        let number = scrambled(seed.wrapping_add(self.seen.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let possible: Vec<FaultKind> = kinds.iter().copied().filter(|kind| kind.is_possible(operation)).collect();
        if possible.is_empty() || !number.is_multiple_of((*one_in).max(1)) {
            return None;
        }
        let place = usize::try_from((number >> 32) % possible.len() as u64).ok()?;
        let kind = possible.get(place).copied()?;
        *self.counts.entry(format!("{operation} {}", kind.name())).or_default() += 1;
        Some(kind)
    }
}

impl FaultKind {
    /// Services never deliver an e-mail or a text message twice by themselves, only batches fail in part, and only of messages the order can
    /// be seen.
    fn is_possible(self, operation: &str) -> bool {
        match self {
            Self::PartlyFailed => operation == "sqs.SendMessageBatch",
            Self::Duplicated | Self::Reordered => operation.starts_with("sqs.SendMessage"),
            _ => true,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::CutBefore => "cut_before",
            Self::CutAfter => "cut_after",
            Self::Late => "late",
            Self::Truncated => "truncated",
            Self::PartlyFailed => "partly_failed",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
        }
    }
}

/// Mixes a number's bits (`splitmix64`), so that neighbors have nothing in common.
fn scrambled(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The response of a service that rejects a call, in the form of its protocol.
pub(crate) fn rejection(operation: &str, kind: Option<FaultKind>) -> anyhow::Result<Response<Full<Bytes>>> {
    let service = operation.split('.').next().unwrap_or_default();
    let (status, code) = match (service, kind == Some(FaultKind::Throttled)) {
        ("dynamodb", true) => (400, "com.amazonaws.dynamodb.v20120810#ThrottlingException"),
        ("dynamodb", false) => (500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        ("sqs", true) => (400, "com.amazonaws.sqs#RequestThrottled"),
        ("sqs", false) => (503, "com.amazonaws.sqs#ServiceUnavailable"),
        ("ses", true) => (400, "Throttling"),
        ("sns", true) => (429, "Throttled"),
        (_, true) => (400, "ThrottlingException"),
        (_, false) => (503, "ServiceUnavailable"),
    };
    let message = if service == "ses" { "Maximum sending rate exceeded." } else { "Rate exceeded." };
    let (content_type, body) = match service {
        "ses" | "sns" => {
            let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
            ("text/xml", format!("<ErrorResponse>{error}<RequestId>fault</RequestId></ErrorResponse>"))
        }
        _ => ("application/x-amz-json-1.0", json!({"__type": code, "message": message}).to_string()),
    };
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(Full::new(Bytes::from(body)))?)
}

/// The response of a batch of messages of which the last is said to have failed.
pub(crate) fn partly_failed(body: &Bytes) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let id = answer.get_mut("Successful")?.as_array_mut()?.pop()?.get("Id")?.clone();
    let failed = json!({"Id": id, "SenderFault": false, "Code": "InternalError", "Message": "try again"});
    match answer.get_mut("Failed").and_then(Value::as_array_mut) {
        Some(all) => all.push(failed),
        None => drop(answer.as_object_mut()?.insert("Failed".to_owned(), json!([failed]))),
    }
    Some(Bytes::from(answer.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(kinds: &[FaultKind], one_in: u64) -> Faults {
        Faults::new(FaultPlan {
            seed: 7,
            one_in,
            kinds: kinds.to_vec(),
            operations: vec!["sqs.".to_owned(), "ses.".to_owned()],
        })
    }

    #[test]
    fn a_seed_draws_the_same_faults_again_and_about_as_many_as_it_was_told() {
        let draws = || {
            let mut faults = faults(&[FaultKind::Throttled, FaultKind::Late], 4);
            (0..4_000).map(|_| faults.draw("ses.SendRawEmail")).collect::<Vec<_>>()
        };
        assert_eq!(draws(), draws());
        let drawn = draws().into_iter().flatten().count();
        assert!((800..1_200).contains(&drawn), "{drawn}");
    }

    #[test]
    fn only_what_can_happen_to_an_operation_is_drawn() {
        let mut all = faults(&[FaultKind::PartlyFailed, FaultKind::Duplicated], 1);
        assert_eq!(all.draw("ses.SendRawEmail"), None);
        assert_eq!(all.draw("sqs.SendMessage"), Some(FaultKind::Duplicated));
        assert_eq!(all.draw("dynamodb.PutItem"), None, "another service");
    }

    #[test]
    fn a_batch_fails_in_part() {
        let body = json!({"Successful": [{"Id": "0"}, {"Id": "1"}], "Failed": []}).to_string();
        let answer: Value = serde_json::from_slice(&partly_failed(&Bytes::from(body)).unwrap()).unwrap();
        assert_eq!((answer["Successful"].as_array().unwrap().len(), &answer["Failed"][0]["Id"]), (1, &json!("1")));
        assert!(partly_failed(&Bytes::from_static(b"{}")).is_none());
    }
}
