//! What the worlds of a run reached, so that a check which never had anything to check is noticed.

use std::collections::BTreeMap;

/// How often something was reached, by its name.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<String, u64>);

/// The effects of all stories. Worlds have no reminders.
pub const EFFECTS: &[&str] = &[
    "classify.record",
    "classify.tenant",
    "classify.key",
    "classify.incident",
    "classify.windows",
    "classify.commit",
    "classify.emit",
    "route.context",
    "route.tenant",
    "route.page",
    "route.count",
    "route.store",
    "route.hold",
    "route.enqueue",
    "route.separate",
    "route.continue",
    "route.save",
    "deliver.slot",
    "deliver.predecessor",
    "deliver.claim",
    "deliver.limit",
    "deliver.send",
    "deliver.refusal",
    "deliver.endpoint",
    "deliver.disable",
    "deliver.notify",
    "deliver.write",
    "deliver.schedule",
    "deliver.release",
    "deliver.enqueue",
    "deliver.settle",
    "release.places",
    "release.page",
    "release.lease",
    "release.facts",
    "release.queued",
    "release.behind",
    "release.reschedule",
    "release.enqueue",
    "release.end_rows",
    "release.delete",
    "release.unlease",
    "release.save_places",
    "feedback.messages",
    "feedback.record",
    "feedback.address",
    "feedback.recipient",
    "feedback.notice",
    "feedback.suppress",
    "confirm.send",
    "confirm.name",
    "confirm.refuse",
];

/// What else every run over many worlds reaches. A claim is lost only where two clocks differ by more than a lease's margin, which the worlds
/// do not go beyond.
const OTHERS: &[&str] = &[
    "verdict: delete",
    "verdict: return",
    "verdict: fault",
    "verdict: unreadable",
    "verdict: deadline",
    "channel: email",
    "channel: sms",
    "channel: slack",
    "channel: teams",
    "channel: webhook",
    "planned: deliver",
    "planned: hold for covered_by_maintenance",
    "planned: hold for digest",
    "planned: hold for quiet_hours",
    "planned: hold for regulatory_window",
    "planned: hold for throttled",
    "planned: skip for category_disabled",
    "planned: skip for component_mismatch",
    "planned: skip for covered_by_maintenance",
    "planned: skip for endpoint_disabled",
    "planned: skip for incident_stopped",
    "planned: skip for integration_paused",
    "planned: skip for low_balance_only",
    "planned: skip for muted",
    "planned: skip for no_destination",
    "planned: skip for not_in_footprint",
    "planned: skip for open_not_told",
    "planned: skip for opt_in_missing",
    "planned: skip for other_user",
    "planned: skip for plan_excludes_channel",
    "planned: skip for region_mismatch",
    "planned: skip for role_not_in_matrix",
    "planned: skip for severity_below_filter",
    "planned: skip for sms_not_for_this_change",
    "planned: skip for superseded_by",
    "state: queued",
    "state: sending",
    "state: retrying",
    "state: accepted",
    "state: failed",
    "end: accepted",
    "end: gave_up",
    "end: refused_by_provider",
    "end: endpoint_disabled",
    "end: storm_collapsed",
    "end: superseded_by",
    "counted: DuplicateSuppressed",
    "counted: Deferred",
    "counted: WindowMissed",
    "counted: ProviderThrottled",
    "counted: QuotaExhausted",
    "counted: ListDelivered",
    "counted: AttemptFailed",
    "counted: GivenUp",
    "counted: Delivered",
    "counted: Classified",
    "counted: Planned",
    "counted: StormHeld",
    "counted: TenantsSeparated",
    "counted: EndedUnsent",
    "counted: ConfirmationSent",
    "counted: ConfirmationRefused",
    "counted: FeedbackReceived",
    "counted: FeedbackUnknown",
    "counted: ContactSuppressed",
    "planned: skip for contact_unconfirmed",
    "planned: skip for opted_out",
    "planned: skip for suppressed_bounce",
    "planned: skip for suppressed_complaint",
    "planned: skip for suppressed_by_owner",
    "end: opted_out",
    "end: suppressed_bounce",
    "end: suppressed_complaint",
    "report: deferred",
    "report: delivered",
    "report: rejected",
    "report: bounced",
    "report: complained",
    "report: opted_out",
    "row: deferred",
    "row: delivered",
    "row: rejected",
    "row: bounced",
    "row: complained",
    "row: opted_out",
    "marked: suppressed_bounce",
    "marked: suppressed_complaint",
    "marked: suppressed_by_owner",
    "marked: opted_out",
    "marked: again",
    "question: over a limit",
    "question: arrived",
    "question: refused",
    "question: arrived twice",
    "question: allowed again",
    "classify.commit: lost",
    "release.lease: elsewhere",
];

impl Coverage {
    /// Counts one more of a name.
    pub fn count(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }

    /// Counts more of a name.
    pub fn count_many(&mut self, name: String, many: u64) {
        *self.0.entry(name).or_default() += many;
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
        crashes.chain(OTHERS.iter().map(|name| (*name).to_owned())).filter(|name| !self.0.contains_key(name)).collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(name, many)| format!("{name} {many}")).collect();
        write!(f, "{}", all.join(", "))
    }
}
