//! Metrics in CloudWatch's embedded metric format: lines on stdout, without API calls.
//!
//! The namespace is `Tocsin`. The dimensions are `function` and at most one more with few values, such as `channel` or `format`. The
//! tenant is never a dimension, because each tenant would add a paid metric. `docs/operate.md` says what each metric counts.

use metrics_cloudwatch_embedded::{Builder, Collector};
use std::io::Write;
use std::sync::OnceLock;

static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();

/// Sets up the collector for all metrics of the process, with the dimension `function`.
pub(crate) fn init(function: &'static str) {
    let built = Builder::new().cloudwatch_namespace("Tocsin").with_dimension("function", function).init();
    match built {
        Ok(collector) => drop(COLLECTOR.set(collector)),
        Err(error) => tracing::error!(%error, "cannot set up metrics; this process reports none"),
    }
}

/// Writes the metrics collected since the last flush to stdout.
pub(crate) fn flush() {
    flush_to(&mut std::io::stdout().lock());
}

/// Writes the metrics collected since the last flush to `out`.
pub(crate) fn flush_to(out: &mut impl Write) {
    if let Some(collector) = COLLECTOR.get()
        && let Err(error) = collector.flush(&mut *out).and_then(|()| out.flush())
    {
        tracing::error!(%error, "cannot write metrics; those of this invocation are lost");
    }
}

/// Adds `n` to the counter `name`.
pub fn count(name: &'static str, n: u64) {
    ::metrics::counter!(name).increment(n);
}

/// Adds `n` to the counter `name` with one more dimension, which must have few values.
pub fn count_by(name: &'static str, dimension: &'static str, value: &str, n: u64) {
    ::metrics::counter!(name, dimension => value.to_owned()).increment(n);
}

/// Records a duration in milliseconds; negative values count as 0.
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
    fn an_invocation_writes_one_line_per_set_of_dimensions() {
        init("classify");
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
        assert!(lines().is_empty(), "a flush resets the counters");
    }
}
