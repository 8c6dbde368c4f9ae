//! The effects of `feedback`.

use super::contacts::ReportFacts;
use super::{Fate, Invocation, World};
use crate::queue::Body;
use crate::table::RowKey;
use crate::table::contacts::row_of;
use contracts::queue::{IncidentReceived, MessageBody};
use domain::delivery::SentMessage;
use domain::ids::{EventId, Scope, TenantId};
use domain::vocabulary::Channel;
use pipeline::feedback::Feedback;
use pipeline::{Fault, Verdict};

/// What an invocation of `feedback` is about, and found.
#[derive(Clone, Debug, Default)]
pub(super) struct ReportState {
    /// What the provider reported; `None` for what a sender reports.
    pub(super) facts: Option<ReportFacts>,
    /// When its message was received first, in milliseconds.
    pub(super) first_at: i64,
    /// Whether anything is known to have been sent with the message.
    known: bool,
    /// The rows that it is about, with their updates.
    rows: Vec<(RowKey, u32)>,
}

/// A report that was handled to its end.
#[derive(Clone, Debug)]
pub struct HandledReport {
    /// What the provider reported.
    pub facts: ReportFacts,
    /// When its message was received first, in milliseconds.
    pub first_at: i64,
    /// Whether anything was known to have been sent with the message.
    pub known: bool,
    /// The rows that it was about, with their updates.
    pub rows: Vec<(RowKey, u32)>,
}

/// A notice to the org admins about a suppressed contact.
#[derive(Clone, Debug)]
pub struct SuppressionNotice {
    /// The recipient's tenant.
    pub tenant: TenantId,
    /// The id of the recipient.
    pub recipient: String,
    /// The notice's event.
    pub event: EventId,
    /// When it was sent, in milliseconds.
    pub at: i64,
}

impl World {
    pub(super) fn perform_feedback(&mut self, story: Feedback, invocation: &mut Invocation, fate: Fate) -> Feedback {
        let turn = &mut invocation.turn;
        match story {
            Feedback::Messages(step) => {
                let sent = self.table.sent_with(step.channel(), step.message_id());
                let report = &mut invocation.report;
                report.known = !sent.is_empty();
                report.rows = sent
                    .iter()
                    .filter_map(|one| match one {
                        SentMessage::Delivery(message) => Some((row_of(message), message.update)),
                        SentMessage::Confirmation(_) => None,
                    })
                    .collect();
                step.answered(fate.answer(sent), turn)
            }
            Feedback::Record(step) => {
                let reports: Vec<_> = step.reports().map(|(message, feedback)| (message.clone(), feedback)).collect();
                let mut answers = Vec::new();
                for (message, feedback) in reports {
                    let left_out = self.is_left_out(fate);
                    if !left_out {
                        self.table.record_report(&message, &feedback);
                    }
                    answers.push(fate.answer(()));
                }
                if fate != Fate::Fails {
                    let ReportState { facts, first_at, known, rows } = invocation.report.clone();
                    self.log.recorded.extend(facts.map(|facts| HandledReport { facts, first_at, known, rows }));
                }
                step.answered(answers, &mut invocation.turn)
            }
            Feedback::Address(step) => {
                if fate != Fate::Fails {
                    self.table.suppress_address(step.id(), step.address());
                }
                step.answered(fate.answer(()), turn)
            }
            Feedback::Recipient(step) => {
                let recipient = self.table.recipient(step.tenant(), step.recipient()).cloned();
                // Half a deployment: what the next version wrote, this one cannot read yet.
                let unreadable = fate == Fate::Done && !self.calm() && self.random.once_in(30);
                let answer = match unreadable {
                    false => fate.answer(recipient),
                    true => Err(Fault::Unreadable { reason: "stored item is invalid".to_owned() }),
                };
                step.answered(answer, turn)
            }
            Feedback::Notice(step) => {
                if fate != Fate::Fails {
                    self.send_notice(step.notice());
                }
                step.answered(fate.answer(()), turn)
            }
            Feedback::Suppress(step) => {
                if fate != Fate::Fails {
                    self.suppress_recipient(step.tenant(), step.recipient(), step.silenced());
                }
                step.answered(fate.answer(()), turn)
            }
            Feedback::End(_) => story,
        }
    }

    fn send_notice(&mut self, notice: &IncidentReceived) {
        let (Some(Scope::Tenant(tenant)), MessageBody::Event(event)) = (notice.scope.clone(), &notice.body) else {
            return;
        };
        let recipient = event.labels.get("recipient").cloned().unwrap_or_default();
        let (event, at) = (notice.event_id.clone(), self.now);
        self.log.suppression_notices.push(SuppressionNotice { tenant, recipient, event, at });
        self.log.accepted.push((notice.event_id.clone(), notice.scope.clone()));
        let (group, dedup) = (notice.message_group_id(), notice.deduplication_id());
        let body = Body::Received(Box::new(notice.clone()));
        self.send_in_order(body, format!("classify {group}"), format!("classify {dedup}"));
    }

    /// Notes that a report was handled to its end: from here on its contact gets nothing.
    pub(super) fn note_handled(&mut self, invocation: &Invocation, verdict: &Verdict) {
        let ReportFacts { channel, kind, contact, .. } = match &invocation.report.facts {
            Some(facts) if *verdict == Verdict::Delete => facts,
            _ => return,
        };
        let ReportState { facts, first_at, known, rows } = invocation.report.clone();
        if known && kind.suppression_reason().is_some() && *channel == Channel::Email {
            self.log.silent.entry(contact.clone()).or_insert(self.now);
        }
        self.log.handled.extend(facts.map(|facts| HandledReport { facts, first_at, known, rows }));
    }
}
