//! Metrics in the embedded metric format: a line on stdout that CloudWatch turns into metrics, never an API call.
//!
//! Namespace `Tocsin`, dimension `function`, and at most one more of few values (`channel`, `decision`, `format`). The tenant
//! is never a dimension: it would cost a metric a tenant.
//!
//! | metric | the question it answers |
//! |---|---|
//! | `IncidentAccepted` by `format` | is anything coming in? |
//! | `IncidentClassified`, `IncidentRepeated`, `IncidentExcluded`, `IncidentUnclassified` | what became of it? |
//! | `DeliveryPlanned` by `decision` | how many are told, held, skipped? |
//! | `DeliveryDelivered` by `channel` | how many did a provider or receiver take? |
//! | `DeliveryGivenUp` by `channel` | whom could we not reach? |
//! | `AttemptFailed` by `channel` | who is failing? |
//! | `AlertLatencyMs`, `DeliveryLate` | from acceptance to acceptance: inside the tenant's window? |
//! | `DeadLetter` by `source` | what can nobody handle? |
//! | `AwsFault` | what goes back to its queue for AWS's fault or ours? |
//! | `DuplicateSuppressed`, `ClaimLost` | what at-least-once cost |
//! | `ProviderThrottled`, `ProviderQuotaExhausted` by `channel` | is a provider's quota too small? |
//! | `IntegrationDisabled` by `channel` | which endpoints said that they are gone? |
//! | `DueReleased`, `DueEnded`, `DueLeft`, `DueBehind` | does the due index keep up? |

use metrics_cloudwatch_embedded::{Builder, Collector};
use std::io::Write;
use std::sync::OnceLock;

static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();

pub(crate) fn start(function: &'static str) {
    let built = Builder::new().cloudwatch_namespace("Tocsin").with_dimension("function", function).init();
    match built {
        Ok(collector) => drop(COLLECTOR.set(collector)),
        Err(error) => tracing::error!(%error, "there will be no metrics"),
    }
}

pub(crate) fn flush() {
    flush_to(&mut std::io::stdout().lock());
}

pub(crate) fn flush_to(out: &mut impl Write) {
    if let Some(collector) = COLLECTOR.get()
        && let Err(error) = collector.flush(&mut *out).and_then(|()| out.flush())
    {
        tracing::error!(%error, "the metrics of this invocation are lost");
    }
}

/// Counts `n` of `name`.
pub fn count(name: &'static str, n: u64) {
    ::metrics::counter!(name).increment(n);
}

/// Counts `n` of `name` under one more dimension of few values.
pub fn count_by(name: &'static str, dimension: &'static str, value: &str, n: u64) {
    ::metrics::counter!(name, dimension => value.to_owned()).increment(n);
}

/// Observes a time in milliseconds.
pub fn observe_ms(name: &'static str, milliseconds: i64) {
    let value = f64::from(u32::try_from(milliseconds.max(0)).unwrap_or(u32::MAX));
    ::metrics::histogram!(name).record(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn lines() -> Vec<Value> {
        let mut out = Vec::new();
        flush_to(&mut out);
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_invocation_leaves_one_line_a_set_of_dimensions_and_nothing_when_nothing_happened() {
        start("classify");
        assert!(lines().is_empty());
        count("DuplicateSuppressed", 2);
        count("DuplicateSuppressed", 1);
        observe_ms("AlertLatencyMs", 40);
        observe_ms("AlertLatencyMs", -3);
        count_by("DeliveryPlanned", "decision", "hold", 4);
        let lines_now = lines();
        assert_eq!(lines_now.len(), 2);
        let plain = lines_now.iter().find(|line| line.get("decision").is_none()).unwrap();
        assert_eq!(plain["function"], json!("classify"));
        assert_eq!(plain["DuplicateSuppressed"], json!(3));
        assert_eq!(plain["AlertLatencyMs"], json!([40.0, 0.0]));
        let directive = &plain["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&directive["Namespace"], &directive["Dimensions"]), (&json!("Tocsin"), &json!([["function"]])));
        let split = lines_now.iter().find(|line| line.get("decision").is_some()).unwrap();
        assert_eq!((&split["decision"], &split["DeliveryPlanned"]), (&json!("hold"), &json!(4)));
        assert_eq!(split["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["function", "decision"]]));
        assert!(lines().is_empty(), "a count is told once");
    }
}
