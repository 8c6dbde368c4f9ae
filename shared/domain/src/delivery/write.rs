//! What each write does to a delivery row: the rules that the table's conditional writes carry out.
//!
//! `store` expresses them as conditions and update expressions of DynamoDB. A test compares generated sequences of writes on both.

use super::{ClaimRefusal, DeliveryRow, DeliveryState, ProviderFeedback, claim_refusal};
use crate::reason::Reason;
use crate::vocabulary::Channel;
use jiff::Timestamp;

/// Milliseconds after the end of its lease when a claim counts as abandoned. A message whose claimant died comes again within that time:
/// hidden for a quarter of an hour at most (the longest pause after a fault), and for one visibility timeout before that. If it does not, a
/// queue had delivered it twice, and the other one's function deleted it: then nobody else would ever settle the row.
pub const ABANDONED_AFTER_MS: i64 = 20 * 60_000;

/// A write to a delivery row. Updates and attempts are numbered from 1; times are in Unix milliseconds where they end in `_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowWrite<'a> {
    /// Claims an attempt until `lease_until_ms`. A lease of 0 is none.
    Claim {
        /// Number of the update.
        update: u32,
        /// Number of the attempt.
        attempt: u32,
        /// The token that the claim's mark must present.
        token: &'a str,
        /// When the claim is made.
        now_ms: i64,
        /// When the lease expires.
        lease_until_ms: i64,
        /// Channel of the delivery.
        channel: Channel,
    },
    /// Gives an unused claim back.
    Release {
        /// The claim's token.
        token: &'a str,
    },
    /// Marks the claimed update as accepted.
    Accept {
        /// Number of the update.
        update: u32,
        /// Number of the attempt.
        attempt: u32,
        /// The claim's token.
        token: &'a str,
        /// When the attempt ended.
        at: Timestamp,
        /// The provider's id of the message, if it returned one.
        provider_id: Option<&'a str>,
        /// Milliseconds since intake accepted the event.
        latency_ms: i64,
        /// Whether the latency exceeds the tenant's alert window.
        late: bool,
    },
    /// Marks the claimed update as failed for good.
    Fail {
        /// Number of the update.
        update: u32,
        /// Number of the attempt.
        attempt: u32,
        /// The claim's token.
        token: &'a str,
        /// When the attempt ended.
        at: Timestamp,
        /// Why the delivery ended.
        reason: Reason,
        /// The cause of the last attempt's failure, if an attempt was made.
        cause: Option<&'a str>,
    },
    /// Marks a failed attempt that is retried.
    Retry {
        /// Number of the attempt that failed.
        attempt: u32,
        /// The claim's token.
        token: &'a str,
        /// When the attempt ended.
        at: Timestamp,
        /// When the next attempt is due.
        next_at_ms: i64,
        /// The cause of the failure.
        cause: &'a str,
    },
    /// Notes that a claimed attempt was not made and that its message waits on its queue.
    Wait {
        /// Number of the attempt that was not made.
        attempt: u32,
        /// The claim's token.
        token: &'a str,
        /// When it was noted.
        at: Timestamp,
        /// When the attempt is due.
        next_at_ms: i64,
        /// Why it waits.
        reason: Reason,
    },
    /// Defers a claimed attempt that was not made.
    Defer {
        /// Number of the attempt that was not made.
        attempt: u32,
        /// The claim's token.
        token: &'a str,
        /// When it was deferred.
        at: Timestamp,
        /// When the attempt is due.
        next_at_ms: i64,
        /// Why it is deferred.
        reason: Reason,
    },
    /// Records that a delivery which nobody is sending waits: until another time than planned, or for another reason.
    Reschedule {
        /// Number of the update.
        update: u32,
        /// Number of the attempt.
        attempt: u32,
        /// When the write is made.
        now_ms: i64,
        /// Until when it waits.
        next_at_ms: i64,
        /// Why it waits.
        reason: Reason,
        /// Channel of the delivery.
        channel: Channel,
    },
    /// Records that a held delivery goes onto its queue.
    Queue {
        /// Number of the update.
        update: u32,
        /// Number of the attempt.
        attempt: u32,
        /// When the write is made.
        now_ms: i64,
        /// Channel of the delivery.
        channel: Channel,
    },
    /// Reopens a delivery that failed for good, because an admin sends it again.
    Reopen {
        /// Number of the update.
        update: u32,
        /// When it was reopened.
        at: Timestamp,
        /// When the next attempt is due.
        next_at_ms: i64,
    },
    /// Records a provider's report about the message of an update. Reports come late, twice and in any order; the one of the highest rank
    /// counts.
    Report {
        /// The report.
        feedback: &'a ProviderFeedback,
    },
}

/// Why a write was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowRefusal {
    /// The delivery cannot be claimed.
    Claim(ClaimRefusal),
    /// An earlier claimant may have sent it and did not mark it.
    MaybeSending,
    /// The claim was lost: another claimant took over, or the mark was made before.
    ClaimLost,
    /// Only a failed delivery whose row has no newer update can be reopened; and a report counts only if it is about the row's newest update,
    /// and of a higher rank than the one before.
    NotPossible,
}

impl DeliveryRow {
    /// Returns the row after a write; `None` if there is still no row.
    ///
    /// # Errors
    /// [`RowRefusal`]: the write's condition does not hold, and nothing changed.
    pub fn apply(row: Option<&Self>, write: &RowWrite<'_>) -> Result<Option<Self>, RowRefusal> {
        match *write {
            RowWrite::Claim { update, attempt, token, now_ms, lease_until_ms, channel } => {
                if let Some(refusal) = claim_refusal(row, update, attempt, now_ms) {
                    return Err(RowRefusal::Claim(refusal));
                }
                let before = row.cloned().unwrap_or_else(|| Self::unclaimed(channel));
                let tried = before.tried_by_now();
                Ok(Some(Self {
                    latest: update,
                    tried,
                    state: DeliveryState::Sending,
                    attempts: attempt.saturating_sub(1),
                    lease_until_ms,
                    token: token.to_owned(),
                    channel,
                    ..before
                }))
            }
            // A release of a claim that was lost is no error: there is nothing to do about it.
            RowWrite::Release { token } => Ok(row.map(|row| match row.token == token {
                true => Self { lease_until_ms: 0, ..row.clone() },
                false => row.clone(),
            })),
            RowWrite::Accept { update, attempt, token, at, provider_id, latency_ms, late } => {
                let row = own_and_unmarked(row, token, update)?.clone();
                Ok(Some(Self {
                    notified: update,
                    latency_ms: Some(latency_ms),
                    late,
                    provider_id: provider_id.map(str::to_owned).or_else(|| row.provider_id.clone()),
                    cause: None,
                    reason: None,
                    ..row.ended(DeliveryState::Accepted, update, attempt, at)
                }))
            }
            RowWrite::Fail { update, attempt, token, at, reason, cause } => {
                let row = own_and_unmarked(row, token, update)?.clone();
                let cause = cause.map(str::to_owned).or_else(|| row.cause.clone());
                // A bundle that counts an alert without listing it notifies its recipient.
                let notified = if reason == Reason::StormCollapsed { update } else { row.notified };
                // An attempt may have arrived although it failed.
                let tried = if attempt > 0 { update } else { row.tried };
                let row = row.ended(DeliveryState::Failed, update, attempt, at);
                Ok(Some(Self { reason: Some(reason), cause, notified, tried, ..row }))
            }
            RowWrite::Retry { attempt, token, at, next_at_ms, cause } => {
                let row = own(row, token)?.clone();
                let cause = Some(cause.to_owned());
                Ok(Some(Self { cause, reason: None, tried: row.latest, ..row.waiting(attempt, at, next_at_ms) }))
            }
            RowWrite::Wait { attempt, token, at, next_at_ms, reason } => {
                let row = own(row, token)?.clone();
                let row = row.waiting(attempt.saturating_sub(1), at, next_at_ms);
                Ok(Some(Self { state: DeliveryState::Queued, reason: Some(reason), ..row }))
            }
            RowWrite::Defer { attempt, token, at, next_at_ms, reason } => {
                let row = own(row, token)?.clone();
                Ok(Some(Self { reason: Some(reason), ..row.waiting(attempt.saturating_sub(1), at, next_at_ms) }))
            }
            RowWrite::Reschedule { update, attempt, now_ms, next_at_ms, reason, channel } => {
                check_unsent(row, update, attempt, now_ms)?;
                let row = Self::about(row, update, attempt, channel);
                let (state, next_at_ms) = (DeliveryState::Retrying, Some(next_at_ms));
                Ok(Some(Self { state, next_at_ms, reason: Some(reason), ..row }))
            }
            RowWrite::Queue { update, attempt, now_ms, channel } => {
                check_unsent(row, update, attempt, now_ms)?;
                let row = Self::about(row, update, attempt, channel);
                Ok(Some(Self { state: DeliveryState::Queued, ..row }))
            }
            RowWrite::Reopen { update, at, next_at_ms } => {
                let failed =
                    |row: &&Self| row.state == DeliveryState::Failed && row.latest == update && row.done == update;
                let row = row.filter(failed).ok_or(RowRefusal::NotPossible)?.clone();
                // The attempt count stays, so that the next attempt has a number that no claim has used.
                let attempts = row.attempts;
                Ok(Some(Self {
                    done: update.saturating_sub(1),
                    token: String::new(),
                    reason: None,
                    ..row.waiting(attempts, at, next_at_ms)
                }))
            }
            RowWrite::Report { feedback } => {
                let counts = |before: &ProviderFeedback| {
                    before.kind.rank() < feedback.kind.rank() || before.update < feedback.update
                };
                let about = row.filter(|row| row.latest == feedback.update);
                let row =
                    about.filter(|row| row.feedback.as_ref().is_none_or(counts)).ok_or(RowRefusal::NotPossible)?;
                Ok(Some(Self { feedback: Some(feedback.clone()), ..row.clone() }))
            }
        }
    }

    /// Whether a claimant may have sent its attempt and did not mark it. A claim that was released unused has no lease.
    #[must_use]
    pub fn has_unsettled_claim(&self) -> bool {
        self.state == DeliveryState::Sending && self.lease_until_ms != 0
    }

    /// The newest update that may have arrived: one whose claimant died may have been sent.
    fn tried_by_now(&self) -> u32 {
        if self.has_unsettled_claim() { self.latest } else { self.tried }
    }

    /// The row of an update that was not attempted yet: what an older update left on it goes, but for what its recipient got.
    fn about(row: Option<&Self>, update: u32, attempt: u32, channel: Channel) -> Self {
        let (attempts, token) = (attempt.saturating_sub(1), String::new());
        let tried = row.map_or(0, Self::tried_by_now);
        match row {
            Some(row) if row.latest == update => Self { attempts, token, tried, lease_until_ms: 0, ..row.clone() },
            _ => {
                let before = row.cloned().unwrap_or_else(|| Self::unclaimed(channel));
                let (reason, cause, next_at_ms) = (None, None, None);
                Self { latest: update, attempts, token, tried, lease_until_ms: 0, reason, cause, next_at_ms, ..before }
            }
        }
    }

    /// A row of nothing, which a first write fills.
    fn unclaimed(channel: Channel) -> Self {
        Self {
            latest: 0,
            done: 0,
            notified: 0,
            tried: 0,
            state: DeliveryState::Sending,
            attempts: 0,
            lease_until_ms: 0,
            token: String::new(),
            channel,
            feedback: None,
            next_at_ms: None,
            cause: None,
            reason: None,
            provider_id: None,
            at: None,
            latency_ms: None,
            late: false,
        }
    }

    /// The row after the last attempt of an update.
    fn ended(self, state: DeliveryState, update: u32, attempt: u32, at: Timestamp) -> Self {
        Self { done: update, state, attempts: attempt, lease_until_ms: 0, at: Some(at), next_at_ms: None, ..self }
    }

    /// The row between two attempts, of which `attempts` are over.
    fn waiting(self, attempts: u32, at: Timestamp, next_at_ms: i64) -> Self {
        let (state, next_at_ms) = (DeliveryState::Retrying, Some(next_at_ms));
        Self { state, attempts, lease_until_ms: 0, at: Some(at), next_at_ms, ..self }
    }
}

fn own<'a>(row: Option<&'a DeliveryRow>, token: &str) -> Result<&'a DeliveryRow, RowRefusal> {
    row.filter(|row| row.token == token).ok_or(RowRefusal::ClaimLost)
}

/// A repeated mark, whose first response was lost, is refused, so that it adds no second entry to the history.
fn own_and_unmarked<'a>(row: Option<&'a DeliveryRow>, token: &str, update: u32) -> Result<&'a DeliveryRow, RowRefusal> {
    own(row, token)?;
    row.filter(|row| row.done < update).ok_or(RowRefusal::ClaimLost)
}

/// A claimant that died may have sent the delivery. Its queue message is redelivered, which then settles the row; unless the claim is
/// abandoned.
fn check_unsent(row: Option<&DeliveryRow>, update: u32, attempt: u32, now_ms: i64) -> Result<(), RowRefusal> {
    if let Some(refusal) = claim_refusal(row, update, attempt, now_ms) {
        return Err(RowRefusal::Claim(refusal));
    }
    let abandoned = |row: &DeliveryRow| row.lease_until_ms < now_ms - ABANDONED_AFTER_MS;
    let may_be_sending = |row: &DeliveryRow| row.has_unsettled_claim() && !abandoned(row);
    if row.is_some_and(may_be_sending) { Err(RowRefusal::MaybeSending) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn at() -> Timestamp {
        Timestamp::from_millisecond(NOW).unwrap()
    }

    fn claim(update: u32, attempt: u32, token: &str) -> RowWrite<'_> {
        RowWrite::Claim { update, attempt, token, now_ms: NOW, lease_until_ms: NOW + 100, channel: Channel::Email }
    }

    /// Applies writes to a row that does not exist yet; panics where one is refused.
    fn after(writes: &[RowWrite<'_>]) -> Option<DeliveryRow> {
        writes.iter().fold(None, |row, write| DeliveryRow::apply(row.as_ref(), write).unwrap())
    }

    #[test]
    fn only_the_latest_claimant_marks_and_only_once() {
        let row = after(&[claim(1, 1, "a")]);
        let accept = |token| RowWrite::Accept {
            update: 1,
            attempt: 1,
            token,
            at: at(),
            provider_id: None,
            latency_ms: 5,
            late: false,
        };
        assert_eq!(DeliveryRow::apply(row.as_ref(), &accept("b")), Err(RowRefusal::ClaimLost));
        let accepted = DeliveryRow::apply(row.as_ref(), &accept("a")).unwrap();
        assert_eq!(accepted.as_ref().map(|row| (row.done, row.state)), Some((1, DeliveryState::Accepted)));
        assert_eq!(
            DeliveryRow::apply(accepted.as_ref(), &accept("a")),
            Err(RowRefusal::ClaimLost),
            "the same mark again"
        );
        assert_eq!(
            DeliveryRow::apply(accepted.as_ref(), &claim(1, 2, "c")),
            Err(RowRefusal::Claim(ClaimRefusal::Done { accepted_by: Some("a".to_owned()) }))
        );
    }

    #[test]
    fn a_reopened_delivery_is_claimed_with_the_next_attempt() {
        let fail =
            RowWrite::Fail { update: 1, attempt: 3, token: "a", at: at(), reason: Reason::GaveUp, cause: Some("dns") };
        let reopen = RowWrite::Reopen { update: 1, at: at(), next_at_ms: NOW };
        let row = after(&[claim(1, 3, "a"), fail, reopen]);
        assert_eq!(row.as_ref().map(|row| (row.done, row.attempts, row.token.as_str())), Some((0, 3, "")));
        assert!(matches!(
            DeliveryRow::apply(row.as_ref(), &claim(1, 3, "b")),
            Err(RowRefusal::Claim(ClaimRefusal::AttemptOver { attempts: 3, .. }))
        ));
        assert!(DeliveryRow::apply(row.as_ref(), &claim(1, 4, "b")).is_ok());
        assert_eq!(DeliveryRow::apply(row.as_ref(), &reopen), Err(RowRefusal::NotPossible));
    }

    #[test]
    fn what_may_have_been_sent_is_not_rescheduled() {
        let expired =
            RowWrite::Claim { update: 1, attempt: 1, token: "a", now_ms: 0, lease_until_ms: 10, channel: Channel::Sms };
        let row = after(&[expired]);
        let queue = |now_ms| RowWrite::Queue { update: 1, attempt: 1, now_ms, channel: Channel::Sms };
        let reschedule = RowWrite::Reschedule {
            update: 1,
            attempt: 1,
            now_ms: NOW,
            next_at_ms: 5,
            reason: Reason::QuietHours,
            channel: Channel::Sms,
        };
        for write in [queue(NOW), reschedule] {
            assert_eq!(DeliveryRow::apply(row.as_ref(), &write), Err(RowRefusal::MaybeSending));
        }
        let later = DeliveryRow::apply(row.as_ref(), &queue(11 + ABANDONED_AFTER_MS)).unwrap();
        assert_eq!(later.map(|row| row.tried), Some(1), "nobody else settles it any more, and it may have arrived");
        let released = DeliveryRow::apply(row.as_ref(), &RowWrite::Release { token: "a" }).unwrap();
        assert!(DeliveryRow::apply(released.as_ref(), &queue(NOW)).is_ok());
        let waiting = DeliveryRow::apply(None, &reschedule).unwrap();
        let known = waiting.as_ref().map(|row| (row.latest, row.done, row.state, row.next_at_ms));
        assert_eq!(known, Some((1, 0, DeliveryState::Retrying, Some(5))), "the first write makes the row");
        let queued = DeliveryRow::apply(waiting.as_ref(), &queue(NOW)).unwrap().unwrap();
        assert_eq!((queued.state, queued.reason), (DeliveryState::Queued, Some(Reason::QuietHours)));
    }

    #[test]
    fn an_attempt_that_may_have_been_sent_counts_as_tried_whatever_its_successor_does() {
        let died = RowWrite::Claim {
            update: 1,
            attempt: 1,
            token: "a",
            now_ms: 0,
            lease_until_ms: 10,
            channel: Channel::Email,
        };
        let wait = RowWrite::Wait { attempt: 1, token: "b", at: at(), next_at_ms: 2, reason: Reason::ProviderLimit };
        let row = after(&[died, claim(1, 1, "b"), wait]).unwrap();
        assert_eq!((row.tried, row.notified, row.attempts), (1, 0, 0));
        let before = super::super::earlier_claim(Some(&row), 1, 1);
        assert!(before.may_have_sent.is_some(), "the next claimant knows it, too");
        let newer = after(&[died, claim(2, 1, "b")]).unwrap();
        assert_eq!((newer.tried, newer.latest), (1, 2));
        let unused = after(&[died, RowWrite::Release { token: "a" }, claim(1, 1, "b"), wait]).unwrap();
        assert_eq!(unused.tried, 0);
        assert_eq!(super::super::earlier_claim(Some(&unused), 1, 1).may_have_sent, None);
    }

    #[test]
    fn of_the_reports_about_an_update_the_gravest_counts_in_whatever_order_they_come() {
        use super::super::FeedbackKind::{self, Bounced, Complained, Deferred, Delivered};
        let feedback = |update, kind| ProviderFeedback { update, kind, at: at(), text: String::new() };
        let report = |row: Option<&DeliveryRow>, update, kind: FeedbackKind| {
            DeliveryRow::apply(row, &RowWrite::Report { feedback: &feedback(update, kind) })
        };
        let accept = RowWrite::Accept {
            update: 2,
            attempt: 1,
            token: "a",
            at: at(),
            provider_id: None,
            latency_ms: 5,
            late: false,
        };
        let row = after(&[claim(2, 1, "a"), accept]);
        assert_eq!(report(None, 2, Bounced), Err(RowRefusal::NotPossible), "there is no row");
        assert_eq!(report(row.as_ref(), 1, Bounced), Err(RowRefusal::NotPossible), "the row is about a newer update");
        let delivered = report(row.as_ref(), 2, Delivered).unwrap();
        assert_eq!(report(delivered.as_ref(), 2, Deferred), Err(RowRefusal::NotPossible));
        assert_eq!(report(delivered.as_ref(), 2, Delivered), Err(RowRefusal::NotPossible), "the same one again");
        let complained = report(delivered.as_ref(), 2, Complained).unwrap();
        assert_eq!(complained.as_ref().and_then(|row| row.feedback.clone()), Some(feedback(2, Complained)));
        let next = DeliveryRow::apply(complained.as_ref(), &claim(3, 1, "b")).unwrap();
        let next = report(next.as_ref(), 3, Deferred).unwrap();
        assert_eq!(
            next.and_then(|row| row.feedback),
            Some(feedback(3, Deferred)),
            "that one was about an older update"
        );
    }

    #[test]
    fn what_a_recipient_got_outlives_newer_updates() {
        let accept = RowWrite::Accept {
            update: 1,
            attempt: 1,
            token: "a",
            at: at(),
            provider_id: None,
            latency_ms: 5,
            late: false,
        };
        let fail = |reason| RowWrite::Fail { update: 2, attempt: 1, token: "b", at: at(), reason, cause: None };
        let after_failure = after(&[claim(1, 1, "a"), accept, claim(2, 1, "b"), fail(Reason::GaveUp)]);
        assert_eq!(after_failure.map(|row| row.notified), Some(1));
        let counted = after(&[claim(2, 1, "b"), fail(Reason::StormCollapsed)]);
        assert_eq!(counted.map(|row| row.notified), Some(2), "a bundle counted it");
        let skipped = after(&[claim(2, 1, "b"), fail(Reason::OptedOut)]);
        assert_eq!(skipped.map(|row| row.notified), Some(0));
    }
}
