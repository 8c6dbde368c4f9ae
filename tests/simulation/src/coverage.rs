//! What the worlds of a run reached, so that a check which never had anything to check is noticed.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<String, u64>);

/// The effects of a delivery's story.
pub const EFFECTS: [&str; 13] = [
    "slot",
    "predecessor",
    "claim",
    "limit",
    "send",
    "endpoint",
    "disable",
    "notify",
    "write",
    "schedule",
    "release",
    "enqueue",
    "settle",
];

impl Coverage {
    /// Counts one.
    pub fn count(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (name, many) in &other.0 {
            *self.0.entry(name.clone()).or_default() += many;
        }
    }

    /// The names that a run over many worlds must reach and this one did not.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let crashes = EFFECTS.iter().flat_map(|effect| {
            ["done", "died before", "died after", "failed", "answer lost"].map(|how| format!("{effect}: {how}"))
        });
        let ends = ["accepted", "gave_up", "refused_by_provider", "endpoint_disabled", "superseded"];
        let ends = ends.map(|end| format!("end: {end}"));
        let channels = ["email", "sms", "slack", "teams", "webhook"].map(|channel| format!("channel: {channel}"));
        let verdicts = ["delete", "return", "fault", "deadline"].map(|verdict| format!("verdict: {verdict}"));
        // A claim is lost only where two clocks differ by more than a lease's margin, which the worlds do not go beyond.
        let counted = [
            "DuplicateSuppressed",
            "Deferred",
            "ProviderThrottled",
            "QuotaExhausted",
            "ListDelivered",
            "AttemptFailed",
            "GivenUp",
            "Delivered",
        ];
        let counted = counted.map(|name| format!("counted: {name}"));
        let release = ["released", "died before its deletion"].map(|name| format!("release: {name}"));
        let all = crashes.chain(ends).chain(channels).chain(verdicts).chain(counted).chain(release);
        // These two have no answer that could fail.
        let never = ["settle: failed", "settle: answer lost", "send: failed", "send: answer lost"];
        all.filter(|name| !never.contains(&name.as_str()) && !self.0.contains_key(name)).collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(name, many)| format!("{name} {many}")).collect();
        write!(f, "{}", all.join(", "))
    }
}
