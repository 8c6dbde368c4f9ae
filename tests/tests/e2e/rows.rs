//! What `domain` says a write does to a delivery row is what the table's conditional writes do: generated sequences of writes on both.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use domain::delivery::{
    ABANDONED_AFTER_MS, AttemptKey, ClaimRefusal, DeliveryResult, DeliveryRow, FailedAttempt, FeedbackKind,
    ProviderFeedback, ProviderMessage, RowRefusal, RowWrite, delivery_row_key, thread_of_row,
};
use domain::due::ScheduledDelivery;
use domain::ids::{IncidentId, TenantId};
use domain::reason::Reason;
use domain::vocabulary::Channel;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use store::Table;
use store::deliveries::{RowOf, WaitsIn};
use tests::{Stack, stack, unique};

/// Sequences of writes, each on a row of its own.
const SEQUENCES: usize = 60;

/// What three of four sequences begin with, so that late writes find a row to change.
const FIRST_STEPS: [Step; 3] = [
    Step::Claim { update: 1, attempt: 1, token: "a", lease_ms: 5_000 },
    Step::Fail { update: 1, attempt: 1, token: "a", has_cause: true },
    Step::Reopen { update: 1 },
];

pub(crate) fn config(stack: &Stack) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(stack.text("/region")))
        .endpoint_url(stack.text("/emulator_url"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

/// A write, with owned texts. They are a second apart, and in every fifth sequence so long that claims are abandoned in between.
#[derive(Clone, Copy, Debug)]
enum Step {
    Claim { update: u32, attempt: u32, token: &'static str, lease_ms: i64 },
    Release { token: &'static str },
    Accept { update: u32, attempt: u32, token: &'static str, has_id: bool },
    Fail { update: u32, attempt: u32, token: &'static str, has_cause: bool },
    Retry { update: u32, attempt: u32, token: &'static str },
    Defer { update: u32, attempt: u32, token: &'static str },
    Wait { update: u32, attempt: u32, token: &'static str },
    Reschedule { update: u32, attempt: u32 },
    Queue { update: u32, attempt: u32 },
    Reopen { update: u32 },
    Report { update: u32, kind: FeedbackKind },
}

fn any_step() -> impl Strategy<Value = Step> {
    let (update, attempt) = (1..=3u32, 1..=3u32);
    let token = prop::sample::select(vec!["a", "b"]);
    let lease = prop::sample::select(vec![0i64, 500, 1_500, 5_000]);
    let kind = prop::sample::select(vec![FeedbackKind::Deferred, FeedbackKind::Delivered, FeedbackKind::Bounced]);
    let of = (update.clone(), attempt.clone(), token.clone());
    prop_oneof![
        6 => (of.clone(), lease)
            .prop_map(|((update, attempt, token), lease_ms)| Step::Claim { update, attempt, token, lease_ms }),
        1 => token.prop_map(|token| Step::Release { token }),
        3 => (of.clone(), any::<bool>())
            .prop_map(|((update, attempt, token), has_id)| Step::Accept { update, attempt, token, has_id }),
        3 => (of.clone(), any::<bool>())
            .prop_map(|((update, attempt, token), has_cause)| Step::Fail { update, attempt, token, has_cause }),
        3 => of.clone().prop_map(|(update, attempt, token)| Step::Retry { update, attempt, token }),
        2 => of.clone().prop_map(|(update, attempt, token)| Step::Defer { update, attempt, token }),
        2 => of.prop_map(|(update, attempt, token)| Step::Wait { update, attempt, token }),
        2 => (update.clone(), attempt.clone()).prop_map(|(update, attempt)| Step::Reschedule { update, attempt }),
        2 => (update.clone(), attempt).prop_map(|(update, attempt)| Step::Queue { update, attempt }),
        2 => update.clone().prop_map(|update| Step::Reopen { update }),
        3 => (update, kind).prop_map(|(update, kind)| Step::Report { update, kind }),
    ]
}

/// How a write ended: done, refused, or refused because the delivery cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Done,
    Refused,
    Unclaimable(ClaimRefusal),
}

impl From<Result<Option<DeliveryRow>, RowRefusal>> for End {
    fn from(result: Result<Option<DeliveryRow>, RowRefusal>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(RowRefusal::Claim(refusal)) => Self::Unclaimable(refusal),
            Err(_) => Self::Refused,
        }
    }
}

/// The rows of one incident, and the writes to them.
struct Rows<'a> {
    table: &'a Table,
    incident: IncidentId,
    tenant: TenantId,
}

impl Rows<'_> {
    fn key<'a>(&'a self, row: &'a str, update: u32, attempt: u32) -> AttemptKey<'a> {
        AttemptKey { incident: &self.incident, tenant: &self.tenant, row, channel: Channel::Email, update, attempt }
    }

    fn due(&self, at: Timestamp, update: u32, attempt: u32) -> ScheduledDelivery {
        ScheduledDelivery {
            // So late that `release` leaves it alone.
            at: at.saturating_add(jiff::SignedDuration::from_hours(24 * 365)).unwrap(),
            tenant: self.tenant.clone(),
            destination: "rcp_rows".to_owned(),
            channel: Channel::Email,
            incident_id: self.incident.clone(),
            update,
            attempt,
            plain: false,
            role: None,
            held: None,
            held_before: None,
            omitted_count: 0,
            rebatched: false,
            resend_requested: false,
        }
    }

    /// The same write as a rule. `feedback` is what a report says.
    fn write<'a>(&self, step: Step, now: Timestamp, feedback: &'a ProviderFeedback) -> RowWrite<'a> {
        let now_ms = now.as_millisecond();
        let next = |update, attempt| self.due(now, update, attempt).at.as_millisecond();
        match step {
            Step::Claim { update, attempt, token, lease_ms } => {
                let lease_until_ms = if lease_ms == 0 { 0 } else { now_ms + lease_ms };
                RowWrite::Claim { update, attempt, token, now_ms, lease_until_ms, channel: Channel::Email }
            }
            Step::Release { token } => RowWrite::Release { token },
            Step::Accept { update, attempt, token, has_id } => RowWrite::Accept {
                update,
                attempt,
                token,
                at: now,
                provider_id: has_id.then_some("m-1"),
                latency_ms: 7,
                late: true,
            },
            Step::Fail { update, attempt, token, has_cause } => RowWrite::Fail {
                update,
                attempt,
                token,
                at: now,
                reason: Reason::GaveUp,
                cause: has_cause.then_some("dns"),
            },
            Step::Retry { update, attempt, token } => {
                RowWrite::Retry { attempt, token, at: now, next_at_ms: next(update, attempt), cause: "dns" }
            }
            Step::Defer { update, attempt, token } => RowWrite::Defer {
                attempt,
                token,
                at: now,
                next_at_ms: next(update, attempt),
                reason: Reason::Throttled,
            },
            Step::Wait { update, attempt, token } => {
                RowWrite::Wait { attempt, token, at: now, next_at_ms: next(update, attempt), reason: Reason::Throttled }
            }
            Step::Reschedule { update, attempt } => RowWrite::Reschedule {
                update,
                attempt,
                now_ms,
                next_at_ms: next(update, attempt),
                reason: Reason::QuietHours,
                channel: Channel::Email,
            },
            Step::Queue { update, attempt } => RowWrite::Queue { update, attempt, now_ms, channel: Channel::Email },
            Step::Reopen { update } => RowWrite::Reopen { update, at: now, next_at_ms: next(update, 1) },
            Step::Report { .. } => RowWrite::Report { feedback },
        }
    }

    /// What a report says, if the step is one.
    fn feedback(step: Step, now: Timestamp) -> ProviderFeedback {
        let (update, kind) = match step {
            Step::Report { update, kind } => (update, kind),
            _ => (0, FeedbackKind::Deferred),
        };
        ProviderFeedback { update, kind, at: now, text: "250 ok".to_owned() }
    }

    /// What `release` read of the row before it writes.
    async fn row_of(&self, row: &str, update: u32) -> RowOf {
        let stored = self.table.delivery(&self.incident, &self.tenant, row).await.unwrap();
        if stored.is_some_and(|stored| stored.latest == update) { RowOf::ThisUpdate } else { RowOf::AnOlderUpdate }
    }

    /// The write on the table.
    async fn perform(&self, row: &str, step: Step, now: Timestamp) -> End {
        let marked = |marked: bool| if marked { End::Done } else { End::Refused };
        let failed = |update, attempt| FailedAttempt {
            update,
            attempt,
            at: now,
            cause: "dns".to_owned(),
            status: None,
            response: String::new(),
            took_ms: 3,
        };
        match step {
            Step::Claim { update, attempt, token, lease_ms } => {
                let lease = if lease_ms == 0 { 0 } else { now.as_millisecond() + lease_ms };
                match self.table.claim(self.key(row, update, attempt), token, now, lease).await.unwrap() {
                    Ok(_) => End::Done,
                    Err(refusal) => End::Unclaimable(refusal),
                }
            }
            Step::Release { token } => {
                self.table.release_claim(self.key(row, 1, 1), token).await.unwrap();
                End::Done
            }
            Step::Accept { update, attempt, token, has_id } => {
                let end = DeliveryResult::Accepted { provider_id: has_id.then_some("m-1"), latency_ms: 7, late: true };
                marked(self.table.mark_ended(self.key(row, update, attempt), token, now, &end, None).await.unwrap())
            }
            Step::Fail { update, attempt, token, has_cause } => {
                let (key, attempt) = (self.key(row, update, attempt), failed(update, attempt));
                let end = DeliveryResult::Failed { reason: Reason::GaveUp };
                let attempt = has_cause.then_some(&attempt);
                marked(self.table.mark_ended(key, token, now, &end, attempt).await.unwrap())
            }
            Step::Retry { update, attempt, token } => {
                let (key, due) = (self.key(row, update, attempt), self.due(now, update, attempt));
                let attempt = failed(update, attempt);
                marked(self.table.mark_retrying(key, token, now, due.at, &attempt, Some(&due)).await.unwrap())
            }
            Step::Defer { update, attempt, token } => {
                let (key, due) = (self.key(row, update, attempt), self.due(now, update, attempt));
                marked(
                    self.table
                        .mark_deferred(key, token, now, due.at, Reason::Throttled, WaitsIn::NewEntry(&due))
                        .await
                        .unwrap(),
                )
            }
            Step::Wait { update, attempt, token } => {
                let (key, until) = (self.key(row, update, attempt), self.due(now, update, attempt).at);
                marked(
                    self.table.mark_deferred(key, token, now, until, Reason::Throttled, WaitsIn::Queue).await.unwrap(),
                )
            }
            Step::Reschedule { update, attempt } => {
                let (key, due) = (self.key(row, update, attempt), self.due(now, update, attempt));
                let (of, reason) = (self.row_of(row, update).await, Reason::QuietHours);
                let done = self.table.reschedule(key, &due, due.at, reason, of, now).await.unwrap();
                done.map_or_else(End::Unclaimable, |()| End::Done)
            }
            Step::Queue { update, attempt } => {
                let (key, of) = (self.key(row, update, attempt), self.row_of(row, update).await);
                let done = self.table.mark_queued(key, of, now).await.unwrap();
                done.map_or_else(End::Unclaimable, |()| End::Done)
            }
            Step::Reopen { update } => {
                let due = self.due(now, update, 1);
                marked(self.table.reopen(self.key(row, update, 1), now, &due).await.unwrap())
            }
            Step::Report { update, .. } => {
                let message = ProviderMessage {
                    tenant: self.tenant.clone(),
                    incident_id: self.incident.clone(),
                    row: row.to_owned(),
                    destination: "rcp_rows".to_owned(),
                    update,
                    category: None,
                    contact: None,
                    suppression: None,
                };
                marked(self.table.record_feedback(&message, &Self::feedback(step, now)).await.unwrap())
            }
        }
    }
}

/// What planning reads of a row.
fn without_explanations(row: DeliveryRow) -> DeliveryRow {
    let token = String::new();
    DeliveryRow { token, feedback: None, cause: None, provider_id: None, latency_ms: None, late: false, ..row }
}

/// Where the table cannot tell two refusals apart, it asks the caller to wait a second.
fn is_same(rule: &End, table: &End, step: Step, now: Timestamp) -> bool {
    let schedules = matches!(step, Step::Reschedule { .. } | Step::Queue { .. });
    let a_second = ClaimRefusal::Leased { until_ms: now.as_millisecond() + 1_000 };
    rule == table || (schedules && *rule == End::Refused && *table == End::Unclaimable(a_second))
}

#[tokio::test]
async fn the_table_changes_a_delivery_row_as_the_rules_say() {
    let stack = &stack!();
    let table = &Table::new(&config(stack), &stack.text("/table"), 90);
    let tenant = TenantId::parse(&format!("rows-{}", unique())).unwrap();
    let rows = Rows { table, incident: IncidentId::new("rows"), tenant };
    let mut runner = TestRunner::deterministic();
    let mut reached = std::collections::BTreeMap::<String, usize>::new();
    for sequence in 0..SEQUENCES {
        let generated = prop::collection::vec(any_step(), 3..10).new_tree(&mut runner).unwrap().current();
        let steps: Vec<Step> = FIRST_STEPS[..sequence % 4].iter().copied().chain(generated).collect();
        let (row, mut expected) =
            (delivery_row_key(&format!("rcp_rows_{sequence}"), Channel::Email, 1), None::<DeliveryRow>);
        for (place, step) in steps.iter().enumerate() {
            let apart = if sequence % 5 == 4 { ABANDONED_AFTER_MS + 2_000 } else { 1_000 };
            let now = at(i64::try_from(place).unwrap() * apart);
            let feedback = Rows::feedback(*step, now);
            let applied = DeliveryRow::apply(expected.as_ref(), &rows.write(*step, now, &feedback));
            let rule = End::from(applied.clone());
            let done = rows.perform(&row, *step, now).await;
            assert!(is_same(&rule, &done, *step, now), "{step:?} of {steps:?}: rule {rule:?}, table {done:?}");
            expected = applied.unwrap_or(expected);
            let stored = table.delivery(&rows.incident, &rows.tenant, &row).await.unwrap();
            assert_eq!(stored, expected, "after {step:?} of {steps:?}");
            let planned = table.with_rows(&rows.incident, &rows.tenant, Vec::new()).await.unwrap();
            let thread = thread_of_row(&row).unwrap();
            let for_planning = expected.clone().map(without_explanations);
            assert_eq!(planned.rows.get(&thread), for_planning.as_ref(), "after {step:?} of {steps:?}");
            let name = format!("{step:?}").split(' ').next().unwrap_or_default().to_owned();
            *reached.entry(format!("{name} {}", if rule == End::Done { "done" } else { "refused" })).or_default() += 1;
        }
    }
    // Each write was both carried out and refused; only a release is never refused.
    assert_eq!(reached.len(), 21, "{reached:?}");
}

#[tokio::test]
async fn what_was_scheduled_again_in_the_same_minute_is_not_deleted_with_the_entry_before() {
    let stack = &stack!();
    let table = &Table::new(&config(stack), &stack.text("/table"), 90);
    let tenant = TenantId::parse(&format!("due-{}", unique())).unwrap();
    let rows = Rows { table, incident: IncidentId::new("due"), tenant };
    // Far ahead, so that `release` does not take it.
    let later: Timestamp = "2100-01-01T10:00:05Z".parse().unwrap();
    let entry = |attempt: u32| ScheduledDelivery {
        at: later.saturating_add(jiff::SignedDuration::from_secs(attempt.into())).unwrap(),
        ..rows.due(later, 1, attempt)
    };
    let found = async || {
        let mut found = Vec::new();
        for shard in 0..domain::ids::DUE_SHARDS {
            let page = table.due_page(shard, later, None, 1_000).await.unwrap();
            found.extend(page.items.into_iter().filter(|item| item.due.tenant == rows.tenant));
        }
        found
    };
    table.schedule(&entry(2)).await.unwrap();
    let read = found().await;
    assert_eq!(read.len(), 1);
    table.schedule(&entry(3)).await.unwrap();
    table.schedule(&entry(1)).await.unwrap();
    table.delete_due_item(&read[0]).await.unwrap();
    let left = found().await;
    assert_eq!(left.iter().map(|item| item.due.attempt).collect::<Vec<_>>(), [3], "the next attempt stays");
    // The same attempt, for another reason: a contact's rate limit deferred it into the same minute.
    let hold = domain::due::Hold { since: later, reason: Reason::Throttled, always_listed: false };
    table.schedule(&ScheduledDelivery { held: Some(hold), ..entry(3) }).await.unwrap();
    table.delete_due_item(&left[0]).await.unwrap();
    let left = found().await;
    assert_eq!(left.iter().map(|item| item.due.held).collect::<Vec<_>>(), [Some(hold)]);
    // The same once more: a copy of the message keeps the place that the first one got.
    table.schedule(&ScheduledDelivery { held: Some(hold), ..entry(3) }).await.unwrap();
    table.delete_due_item(&left[0]).await.unwrap();
    let left = found().await;
    assert_eq!(
        left.iter().map(|item| item.due.held).collect::<Vec<_>>(),
        [Some(hold)],
        "whoever wrote it relies on it"
    );
    table.delete_due_item(&left[0]).await.unwrap();
    assert!(found().await.is_empty());
}
