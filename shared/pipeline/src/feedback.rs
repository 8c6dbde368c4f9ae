//! The story of a provider's report: find what was sent with its message → record it on the rows of deliveries → suppress the address for
//! the whole stack → suppress the recipient's contact.
//!
//! The notice to the org admins goes out before the suppression is written: a suppressed contact ends the story at once, so a crash in
//! between would otherwise leave them without notice. A repeated notice has the same event id, and changes nothing; the notice of the next
//! suppression has another one, because the recipient changed in between.

use crate::turn::{Answer, Counted, Turn, Verdict};
use contracts::queue::{ContactRefused, IncidentReceived};
use contracts::{ses, sns};
use domain::contact::{SilencedContact, suppression_event};
use domain::delivery::{ConfirmationMessage, FeedbackKind, ProviderFeedback, ProviderMessage, SentMessage};
use domain::ids::{EventId, RecipientId, SuppressionId, TenantId};
use domain::reason::Reason;
use domain::suppression::{AddressSuppression, suppresses_addresses};
use domain::tenant::{Recipient, Suppression};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use std::time::Duration;

/// How often an unknown message id is looked up. SES may report a message before its id is stored.
const LOOKUPS_MAX: u32 = 4;
/// The pause between two lookups.
const LOOKUP_PAUSE: Duration = Duration::from_secs(20);

/// The next effect of a report.
#[must_use]
#[derive(Clone, Debug)]
pub enum Feedback {
    /// Read what was sent with the message.
    Messages(ReadMessages),
    /// Record the report on the rows of the deliveries.
    Record(RecordReport),
    /// Suppress the address for the whole stack.
    Address(SuppressAddress),
    /// Read the recipient whose contact is to be suppressed.
    Recipient(ReadRecipient),
    /// Notify the org admins of a suppressed contact.
    Notice(SendNotice),
    /// Write the suppression, with the compiled subscriptions that it changes.
    Suppress(SuppressContact),
    /// Nothing: the story is over.
    End(Verdict),
}

/// A provider's report about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProviderReport {
    channel: Channel,
    message_id: String,
    kind: FeedbackKind,
    text: String,
    /// Whether the account's sending quota is used up.
    quota_exhausted: bool,
}

/// Reads what was sent with the message.
#[derive(Clone, Debug)]
pub struct ReadMessages {
    report: ProviderReport,
}

/// Records the report on the rows of the deliveries. A digest has many, which are written side by side.
#[derive(Clone, Debug)]
pub struct RecordReport {
    kind: FeedbackKind,
    at: Timestamp,
    text: String,
    first: ProviderMessage,
    /// The deliveries that were sent with the same message.
    rest: Vec<ProviderMessage>,
}

/// The contact that is to be suppressed, and why.
#[derive(Clone, Debug)]
struct Suppressing {
    tenant: TenantId,
    recipient: RecipientId,
    /// What the message was about: an incident, or a confirmation.
    about: String,
    category: Option<Category>,
    silenced: SilencedContact,
}

/// Suppresses the address for the whole stack. Before the recipient is read: whoever has the address by now, its owner is protected.
#[derive(Clone, Debug)]
pub struct SuppressAddress {
    id: SuppressionId,
    address: AddressSuppression,
    suppressing: Suppressing,
}

/// Reads the recipient whose contact is to be suppressed.
#[derive(Clone, Debug)]
pub struct ReadRecipient {
    suppressing: Suppressing,
}

/// Notifies the org admins of a suppressed contact.
#[derive(Clone, Debug)]
pub struct SendNotice {
    suppressing: Suppressing,
    notice: Box<IncidentReceived>,
}

/// Writes the suppression, with the compiled subscriptions that it changes.
#[derive(Clone, Debug)]
pub struct SuppressContact {
    suppressing: Suppressing,
}

/// The `about` of a confirmation.
const CONFIRMATION: &str = "confirmation";

/// Begins the story of a queue message: a contact that a delivery met and that refuses messages, a line of SNS's log, or an SES notification.
pub fn begin(body: &str, turn: &mut Turn) -> Feedback {
    if let Ok(refused) = serde_json::from_str::<ContactRefused>(body) {
        if refused.reason == Reason::OptedOut {
            turn.count(Counted::FeedbackReceived { kind: FeedbackKind::OptedOut });
        }
        let ContactRefused { tenant, recipient, incident_id, category, contact, reason, .. } = refused;
        let suppression = Suppression { reason, at: turn.now };
        let silenced = SilencedContact { suppression, contact: Some(contact) };
        return suppress(None, Suppressing { tenant, recipient, about: incident_id.to_string(), category, silenced });
    }
    match parse_report(body) {
        Err(reason) => Feedback::End(Verdict::Park { reason }),
        // Opens, clicks and sends, which SES reports only if that is switched on. They are not used.
        Ok(None) => Feedback::End(Verdict::Delete),
        Ok(Some(report)) => Feedback::Messages(ReadMessages { report }),
    }
}

/// Parses a line of SNS's log or an SES notification. `None` for a kind of event that is not used.
///
/// # Errors
/// The message is neither of the two.
fn parse_report(body: &str) -> Result<Option<ProviderReport>, String> {
    if let Ok(line) = sns::parse(body.as_bytes()) {
        let sns::SmsDeliveryStatus { message_id, kind, text, quota_exhausted } = line;
        return Ok(Some(ProviderReport { channel: Channel::Sms, message_id, kind, text, quota_exhausted }));
    }
    let notification = ses::parse(body.as_bytes()).map_err(|error| {
        let what = "neither an SES notification nor a line of SNS's delivery log";
        format!("{what}: {}: {}", error.pointer, error.detail)
    })?;
    let Some((kind, text)) = notification.feedback() else { return Ok(None) };
    let message_id = notification.message_id;
    Ok(Some(ProviderReport { channel: Channel::Email, message_id, kind, text, quota_exhausted: false }))
}

/// Suppresses the address for the whole stack, if it is known and not suppressed already, and then the recipient's contact.
fn suppress(address: Option<SuppressionId>, suppressing: Suppressing) -> Feedback {
    let Suppression { reason, at } = suppressing.silenced.suppression;
    match address.filter(|_| suppresses_addresses(reason)) {
        Some(id) => {
            Feedback::Address(SuppressAddress { id, address: AddressSuppression::new(reason, at), suppressing })
        }
        None => Feedback::Recipient(ReadRecipient { suppressing }),
    }
}

impl ReadMessages {
    /// The channel of the message.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.report.channel
    }

    /// The provider's id of the message.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.report.message_id
    }

    /// Goes on with what was sent with the message; nothing if its id is unknown, or not stored yet.
    pub fn answered(self, answer: Answer<Vec<SentMessage>>, turn: &mut Turn) -> Feedback {
        let ProviderReport { channel, kind, text, quota_exhausted, .. } = self.report;
        let mut messages = match answer {
            Ok(messages) => messages.into_iter(),
            Err(fault) => return Feedback::End(fault.into()),
        };
        if quota_exhausted {
            turn.count(Counted::QuotaExhausted { channel });
        }
        let Some(message) = messages.next() else {
            if turn.receives < LOOKUPS_MAX {
                return Feedback::End(Verdict::Return { pause: LOOKUP_PAUSE, code: "message_not_known_yet" });
            }
            // Another stack may send from the same address or account.
            turn.count(Counted::FeedbackUnknown);
            return Feedback::End(Verdict::Delete);
        };
        turn.count(Counted::FeedbackReceived { kind });
        let first = match message {
            SentMessage::Delivery(message) => message,
            SentMessage::Confirmation(message) => return after_confirmation(message, kind, turn),
        };
        let rest = messages.filter_map(|sent| match sent {
            SentMessage::Delivery(message) => Some(message),
            SentMessage::Confirmation(_) => None,
        });
        Feedback::Record(RecordReport { kind, at: turn.now, text, first, rest: rest.collect() })
    }
}

/// A report about a confirmation request has no row. A bounce or a complaint suppresses its address like any other.
fn after_confirmation(message: ConfirmationMessage, kind: FeedbackKind, turn: &Turn) -> Feedback {
    let ConfirmationMessage { tenant, recipient, contact, suppression: address } = message;
    let Some(reason) = kind.suppression_reason() else { return Feedback::End(Verdict::Delete) };
    let suppression = Suppression { reason, at: turn.now };
    let silenced = SilencedContact { suppression, contact: Some(contact) };
    suppress(Some(address), Suppressing { tenant, recipient, about: CONFIRMATION.to_owned(), category: None, silenced })
}

impl RecordReport {
    /// The deliveries, which name their rows, each with the report to record; in the order of the answers.
    pub fn reports(&self) -> impl Iterator<Item = (&ProviderMessage, ProviderFeedback)> {
        std::iter::once(&self.first).chain(&self.rest).map(|message| {
            let (kind, at, text) = (self.kind, self.at, self.text.clone());
            (message, ProviderFeedback { update: message.update, kind, at, text })
        })
    }

    /// Goes on with one answer per delivery. A report that nothing reaches the contact suppresses it.
    pub fn answered(self, answers: Vec<Answer<()>>, _: &mut Turn) -> Feedback {
        let Self { kind, at, first: message, .. } = self;
        if let Some(fault) = answers.into_iter().find_map(Result::err) {
            return Feedback::End(fault.into());
        }
        // All deliveries of one message went to the same contact of the same recipient.
        let recipient = RecipientId::parse(&message.destination);
        let Some((reason, recipient)) = kind.suppression_reason().zip(recipient) else {
            return Feedback::End(Verdict::Delete);
        };
        let ProviderMessage { tenant, incident_id, category, contact, suppression: address, .. } = message;
        let silenced = SilencedContact { suppression: Suppression { reason, at }, contact };
        suppress(address, Suppressing { tenant, recipient, about: incident_id.to_string(), category, silenced })
    }
}

impl SuppressAddress {
    /// The id of the suppression.
    #[must_use]
    pub fn id(&self) -> &SuppressionId {
        &self.id
    }

    /// What is written, unless the address is suppressed already.
    #[must_use]
    pub fn address(&self) -> &AddressSuppression {
        &self.address
    }

    /// Goes on with the recipient.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Feedback {
        match answer {
            Ok(()) => Feedback::Recipient(ReadRecipient { suppressing: self.suppressing }),
            Err(fault) => Feedback::End(fault.into()),
        }
    }
}

impl ReadRecipient {
    /// The recipient's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.suppressing.tenant
    }

    /// The recipient.
    #[must_use]
    pub fn recipient(&self) -> &RecipientId {
        &self.suppressing.recipient
    }

    /// Goes on with the recipient. One who is gone, who has another contact by now, or whose contact is suppressed already, is left alone.
    pub fn answered(self, answer: Answer<Option<Recipient>>, turn: &mut Turn) -> Feedback {
        let suppressing = self.suppressing;
        let Suppressing { tenant, recipient: id, about, category, silenced } = &suppressing;
        let recipient = match answer {
            Ok(Some(recipient)) => recipient,
            Ok(None) => return Feedback::End(Verdict::Delete),
            Err(fault) => return Feedback::End(fault.into()),
        };
        if !silenced.suppress(tenant, &mut recipient.clone()) {
            return Feedback::End(Verdict::Delete);
        }
        let reason = silenced.suppression.reason;
        let event = suppression_event(tenant, &recipient, reason, *category, about);
        let event_id = EventId::derived(&[id.as_str(), about, reason.as_str(), &recipient.version.to_string()]);
        let correlation_id = event_id.to_string();
        let notice = Box::new(IncidentReceived::system_event(tenant, event, event_id, &correlation_id, turn.now));
        Feedback::Notice(SendNotice { suppressing, notice })
    }
}

impl SendNotice {
    /// The notice, for the queue of received events.
    #[must_use]
    pub fn notice(&self) -> &IncidentReceived {
        &self.notice
    }

    /// Goes on after the notice was sent.
    pub fn answered(self, answer: Answer<()>, _: &mut Turn) -> Feedback {
        match answer {
            Ok(()) => Feedback::Suppress(SuppressContact { suppressing: self.suppressing }),
            Err(fault) => Feedback::End(fault.into()),
        }
    }
}

impl SuppressContact {
    /// The recipient's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.suppressing.tenant
    }

    /// The recipient.
    #[must_use]
    pub fn recipient(&self) -> &RecipientId {
        &self.suppressing.recipient
    }

    /// What is written to the recipient, if it still has the contact.
    #[must_use]
    pub fn silenced(&self) -> &SilencedContact {
        &self.suppressing.silenced
    }

    /// Goes on after the suppression was written.
    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Feedback {
        if let Err(fault) = answer {
            return Feedback::End(fault.into());
        }
        let Suppressing { tenant, recipient, silenced, .. } = self.suppressing;
        let reason = silenced.suppression.reason;
        turn.count(Counted::ContactSuppressed { tenant, recipient, reason });
        Feedback::End(Verdict::Delete)
    }
}

#[cfg(test)]
mod tests;
