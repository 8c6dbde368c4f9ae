//! Providers, mail servers and owners of contacts: what they report about an accepted message, and what they do with a question.

use super::{Event, World, timestamp};
use crate::queue::Body;
use crate::random::Random;
use crate::scenario::contacts::{self, Owner};
use crate::table::contacts::PendingKey;
use contracts::queue::{ConfirmationRequest, DeliveryTarget, Lane, Question, VERSION};
use domain::contact::{CONFIRMATION_LIFETIME, PendingConfirmation, SilencedContact, email_contact_key};
use domain::delivery::FeedbackKind;
use domain::ids::{RecipientId, SuppressionId, TenantId};
use domain::permission::{refused_for_contact, refused_for_tenant};
use domain::reason::Reason;
use domain::suppression::{AddressSuppression, Resubscription};
use domain::tenant::{Email, Recipient, Suppression};
use domain::vocabulary::{Category, Channel};
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The e-mail address or phone number of a target; `None` for an endpoint.
pub(super) fn contact_of(target: &DeliveryTarget) -> Option<String> {
    match target {
        DeliveryTarget::Email { address, .. } => Some(address.identity()),
        DeliveryTarget::Sms { phone, .. } => Some(phone.expose().to_owned()),
        DeliveryTarget::Chat { .. } | DeliveryTarget::Webhook { .. } => None,
    }
}

/// A provider's report, as the simulation knows it beside its text.
#[derive(Clone, Debug)]
pub struct ReportFacts {
    /// The channel of the message.
    pub channel: Channel,
    /// The provider's id of the message.
    pub id: String,
    /// The outcome that is reported.
    pub kind: FeedbackKind,
    /// The contact that the message went to.
    pub contact: String,
}

/// What a contact was reported or asked for, and when; in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spell {
    /// The recipient's tenant.
    pub tenant: TenantId,
    /// The recipient.
    pub recipient: RecipientId,
    /// The channel on which nothing more is sent.
    pub channel: Channel,
    /// Why nothing more is sent.
    pub reason: Reason,
    /// When the recipient was marked.
    pub from: i64,
    /// When its owner allowed it again, or the contact was replaced; `None` while it lasts.
    pub until: Option<i64>,
}

/// A question to the owner of a contact.
#[derive(Clone, Debug)]
pub struct QuestionRecord {
    /// The tenant that asks.
    pub tenant: TenantId,
    /// The address or number.
    pub contact: String,
    /// What is asked.
    pub question: Question,
    /// When it was asked for.
    pub at: Timestamp,
    /// How often the provider accepted it.
    pub arrivals: usize,
    /// How often it may have been accepted again, because nobody learned of it.
    pub excused: usize,
    /// Whether a refusal is recorded.
    pub refused: bool,
}

/// Everything outside of Tocsin that has to do with contacts.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) random: Random,
    owners: BTreeMap<String, Owner>,
    /// The numbers to which SNS sends nothing.
    stopped: BTreeSet<String>,
}

impl Outside {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: contacts::random(seed), owners: BTreeMap::new(), stopped: BTreeSet::new() }
    }

    fn owner(&mut self, channel: Channel, contact: &str) -> Owner {
        let random = &mut self.random;
        *self.owners.entry(contact.to_owned()).or_insert_with(|| Owner::new(channel, random))
    }

    /// Whether SNS refuses a message to a number at once.
    pub(super) fn refuses(&mut self, channel: Channel, contact: &str) -> bool {
        channel == Channel::Sms && self.stopped.contains(contact) && self.random.percent(70)
    }

    /// What will be reported about a message.
    fn reports(&mut self, channel: Channel, contact: &str) -> Vec<FeedbackKind> {
        use FeedbackKind::{Bounced, Complained, Deferred, Delivered, OptedOut, Rejected};
        let owner = self.owner(channel, contact);
        if channel == Channel::Sms {
            let stops = owner == Owner::Stopping && self.random.percent(25);
            if stops {
                self.stopped.insert(contact.to_owned());
            }
            return match self.random.between(0, 10) {
                _ if self.stopped.contains(contact) => vec![OptedOut],
                0 => vec![Rejected],
                1..=5 => vec![Delivered],
                _ => vec![],
            };
        }
        match (owner, self.random.between(0, 10)) {
            (Owner::Missing, 0 | 1) => vec![Deferred, Bounced],
            (Owner::Missing, _) => vec![Bounced],
            (Owner::Complaining, 0..=3) => vec![Delivered, Complained],
            (_, 0) => vec![Rejected],
            (_, 1) => vec![Deferred, Delivered],
            (_, 2..=6) => vec![Delivered],
            _ => vec![],
        }
    }
}

/// The body of a report: SES's notification, or a line of SNS's log.
fn report_body(ReportFacts { channel, id, kind, .. }: &ReportFacts) -> String {
    let mail = json!({ "messageId": id });
    let body = match (channel, kind) {
        (Channel::Sms, kind) => {
            let (status, says) = match kind {
                FeedbackKind::Delivered => ("SUCCESS", "Message has been accepted by phone carrier"),
                FeedbackKind::OptedOut => ("FAILURE", "Phone number is opted out"),
                _ => ("FAILURE", "Unknown error attempting to reach phone"),
            };
            json!({"notification": {"messageId": id}, "delivery": {"providerResponse": says}, "status": status})
        }
        (_, FeedbackKind::Bounced) => {
            json!({"eventType": "Bounce", "mail": mail, "bounce": {"bounceType": "Permanent"}})
        }
        (_, FeedbackKind::Complained) => json!({"eventType": "Complaint", "mail": mail, "complaint": {}}),
        (_, FeedbackKind::Rejected) => {
            json!({"eventType": "Reject", "mail": mail, "reject": {"reason": "Bad content"}})
        }
        (_, FeedbackKind::Deferred) => json!({"eventType": "DeliveryDelay", "mail": mail, "deliveryDelay": {}}),
        _ => json!({"eventType": "Delivery", "mail": mail, "delivery": {"smtpResponse": "250 ok"}}),
    };
    body.to_string()
}

impl World {
    /// The provider accepted a message: its reports come some time, now and then before its id is noted, twice, and in any order.
    pub(super) fn report_later(&mut self, channel: Channel, contact: &str, id: &str) {
        if !self.scenario.contacts {
            return;
        }
        for kind in self.outside.reports(channel, contact) {
            let facts = ReportFacts { channel, id: id.to_owned(), kind, contact: contact.to_owned() };
            if kind.suppression_reason().is_some() {
                self.log.refusing.insert(contact.to_owned());
            }
            self.log.reported.entry((channel, id.to_owned())).or_default().insert(kind.rank());
            let copies = if self.scenario.faults && self.outside.random.once_in(6) { 2 } else { 1 };
            for _ in 0..copies {
                let random = &mut self.outside.random;
                let delay = match random.between(0, 10) {
                    0 => random.between(0, 5),
                    1..=5 => random.between(5, 3_000),
                    6..=8 => random.between(1_000, 600_000),
                    _ => random.between(600_000, 6 * 3_600_000),
                };
                let body = Body::Report { text: report_body(&facts), facts: Some(facts.clone()) };
                self.send(body, Lane::Urgent, delay);
            }
        }
    }

    /// Counts what was reached about contacts.
    pub(super) fn count_contacts(&mut self) {
        for report in &self.log.handled {
            self.coverage.count(format!("report: {}", report.facts.kind.as_str()));
        }
        for feedback in self.table.rows.values().filter_map(|row| row.feedback.as_ref()) {
            self.coverage.count(format!("row: {}", feedback.kind.as_str()));
        }
        for (place, spell) in self.log.spells.iter().enumerate() {
            self.coverage.count(format!("marked: {}", spell.reason));
            let before = &self.log.spells[..place];
            if before.iter().any(|one| (&one.recipient, one.reason) == (&spell.recipient, spell.reason)) {
                self.coverage.count("marked: again");
            }
        }
        for question in self.log.questions.values() {
            let end = match question.arrivals {
                0 => "question: refused",
                1 => "question: arrived",
                _ => "question: arrived twice",
            };
            self.coverage.count(end);
        }
    }

    /// Nothing arrives at an address once a bounce or complaint about it was handled, whichever tenant sends, until its owner allows it.
    pub(super) fn check_silence(&mut self, channel: Channel, contact: &str, what: &str) {
        if let Some(since) = self.log.silent.get(contact).filter(|_| channel == Channel::Email) {
            let since = timestamp(*since);
            self.log.findings.push(format!("{what} was sent to {contact}, whose report was handled at {since}"));
        }
    }

    fn recipient_at(&self, tenant: usize, destination: usize) -> Option<(TenantId, Recipient)> {
        let subscriber = self.table.tenants.get(tenant)?;
        match subscriber.destinations.get(destination) {
            Some((_, domain::tenant::Destination::Recipient(one))) => {
                Some((subscriber.settings.tenant.clone(), (**one).clone()))
            }
            _ => None,
        }
    }

    /// Ends what is known of a recipient's contact: it is allowed again, or another one.
    pub(super) fn end_spell(&mut self, tenant: &TenantId, recipient: &RecipientId, channel: Channel) {
        let now = self.now;
        self.log.replaced.insert((tenant.clone(), recipient.clone(), channel), now);
        let spells = self.log.spells.iter_mut();
        let mut open = spells.filter(|one| {
            (&one.tenant, &one.recipient, one.channel) == (tenant, recipient, channel) && one.until.is_none()
        });
        if let Some(spell) = open.next() {
            spell.until = Some(now);
        }
    }

    /// Marks a recipient's contact, if it is not marked, and notes since when.
    pub(super) fn suppress_recipient(
        &mut self,
        tenant: &TenantId,
        recipient: &RecipientId,
        silenced: &SilencedContact,
    ) {
        if !self.table.suppress_contact(tenant, recipient, silenced) {
            return;
        }
        let why = silenced.suppression;
        let channel = if why.reason == Reason::OptedOut { Channel::Sms } else { Channel::Email };
        let (tenant, recipient, reason) = (tenant.clone(), recipient.clone(), why.reason);
        let contact = self.table.recipient(&tenant, &recipient).and_then(|one| current_contact(one, channel));
        if contact.as_ref().is_none_or(|contact| !self.log.refusing.contains(contact)) {
            self.log.findings.push(format!("{recipient} is marked as {reason}, and nobody reported {contact:?}"));
        }
        self.log.spells.push(Spell { tenant, recipient, channel, reason, from: self.now, until: None });
    }

    pub(super) fn change_address(&mut self, tenant: usize, destination: usize, second: bool) {
        let Some((tenant, recipient)) = self.recipient_at(tenant, destination) else { return };
        let first = Email::parse(&format!("{}@example.com", recipient.name)).ok();
        let address = if second { contacts::second_address(&recipient.name) } else { first };
        if address.as_ref().map(Email::identity) == recipient.email.as_ref().map(Email::identity) {
            return;
        }
        self.end_spell(&tenant, &recipient.id, Channel::Email);
        // The platform vouches for some addresses; the owners of others are asked.
        let confirmed = self.outside.random.once_in(2);
        self.table.change_recipient(&tenant, &recipient.id, |one| {
            (one.email, one.email_confirmed, one.suppressed) = (address, confirmed, None);
            one.unsubscribed.clear();
        });
    }

    pub(super) fn unsubscribe(&mut self, tenant: usize, destination: usize, category: Category) {
        let Some((tenant, recipient)) = self.recipient_at(tenant, destination) else { return };
        self.table.change_recipient(&tenant, &recipient.id, |one| {
            one.unsubscribed.insert(category);
        });
    }

    /// The owner of an address wants no mail at all any more.
    pub(super) fn never_again(&mut self, tenant: usize, destination: usize) {
        let Some((tenant, recipient)) = self.recipient_at(tenant, destination) else { return };
        let Some(address) = recipient.email else { return };
        let (reason, at) = (Reason::SuppressedByOwner, self.now());
        self.table.suppress_address(&SuppressionId::of(&address), &AddressSuppression::new(reason, at));
        self.log.refusing.insert(address.identity());
        self.log.silent.entry(address.identity()).or_insert(self.now);
        let contact = Some(email_contact_key(&tenant, &address));
        let silenced = SilencedContact { suppression: Suppression { reason, at }, contact };
        self.suppress_recipient(&tenant, &recipient.id, &silenced);
    }

    /// An admin asks the owner of a contact. The rules and their order are those of `preferences-api`.
    pub(super) fn ask(&mut self, tenant: usize, destination: usize, channel: Channel) {
        let Some((tenant, recipient)) = self.recipient_at(tenant, destination) else { return };
        let Some(settings) = self.table.tenant(&tenant).map(|one| one.settings.clone()) else { return };
        let (policy, now) = (&super::POLICY, self.now());
        let address = recipient.email.clone().filter(|_| channel == Channel::Email);
        let suppression = address.as_ref().and_then(|address| self.table.address_suppression(address).cloned());
        let asked = Recipient { suppressed: None, sms_opted_out: None, ..recipient.clone() };
        let refused = refused_for_tenant(policy, &settings, channel.class())
            .or_else(|| refused_for_contact(policy, &settings, &asked, channel));
        let may_ask = suppression.as_ref().is_none_or(|one| one.may_ask(now) == Resubscription::Now);
        let Some(contact) = current_contact(&recipient, channel).filter(|_| refused.is_none() && may_ask) else {
            return;
        };
        let domain = address.as_ref().map(Email::wire_domain);
        let limits = &policy.limits.confirmations;
        if !self.table.count_request(&tenant, &recipient.id, &contact, domain.as_deref(), limits, now) {
            self.coverage.count("question: over a limit");
            return;
        }
        let question = match (&address, &suppression) {
            (Some(address), Some(before)) => {
                let id = SuppressionId::of(address);
                self.table.contacts.suppressions.insert(id, before.asked_at(now));
                Question::AllowAgain
            }
            (Some(_), None) if recipient.email_confirmed && recipient.suppressed.is_none() => Question::SubscribeAgain,
            _ => Question::Confirm,
        };
        let target = match (address, recipient.phone.clone()) {
            (Some(address), _) => DeliveryTarget::Email { address, shared: false },
            (None, Some(phone)) => DeliveryTarget::Sms { phone, compliance: settings.sms_compliance() },
            (None, None) => return,
        };
        self.scheduled += 1;
        let request = ConfirmationRequest {
            v: VERSION,
            correlation_id: format!("q{}", self.scheduled),
            tenant: tenant.clone(),
            tenant_name: settings.name.clone(),
            recipient: recipient.id.clone(),
            identity: contact.clone(),
            until: now.saturating_add(CONFIRMATION_LIFETIME).unwrap_or(now),
            code: None,
            target,
            question,
        };
        let pending = PendingConfirmation {
            identity: contact.clone(),
            code: String::new(),
            sent_at: now,
            tries: 0,
            refused: None,
        };
        let place: PendingKey = (tenant.clone(), recipient.id, channel);
        self.table.contacts.pending.insert(place, pending);
        let record = QuestionRecord { tenant, contact, question, at: now, arrivals: 0, excused: 0, refused: false };
        self.log.questions.insert(request.correlation_id.clone(), record);
        self.send(Body::Confirmation { request: Box::new(request), channel }, Lane::Urgent, 0);
    }

    /// A question arrived: its owner answers it some time, or does not.
    pub(super) fn answer_later(&mut self, request: &ConfirmationRequest, channel: Channel) {
        let owner = self.outside.owner(channel, &request.identity);
        let random = &mut self.outside.random;
        // Of a mailbox that does not exist, somebody may hear and create it.
        let percent = if owner == Owner::Missing { 50 } else { 70 };
        if random.percent(percent) {
            let delay = random.between(1_000, 7_200_000);
            let (request, at) = (Box::new(request.clone()), self.now + delay);
            self.schedule(at, Event::Answer { request, channel });
        }
    }

    /// The owner of a contact allows what was asked.
    pub(super) fn allow(&mut self, request: &ConfirmationRequest, channel: Channel) {
        let ConfirmationRequest { tenant, recipient: id, identity, until, target, question, .. } = request;
        let recipient = self.table.recipient(tenant, id);
        let current = recipient.and_then(|one| current_contact(one, channel)).as_ref() == Some(identity);
        if !current || *until <= self.now() {
            return;
        }
        if self.outside.random.once_in(2) {
            self.outside.owners.insert(identity.clone(), Owner::Willing);
        }
        let DeliveryTarget::Email { address, .. } = target else {
            // The owner texts START before the admin enters the code.
            self.outside.stopped.remove(identity);
            self.log.lifted.insert(identity.clone(), self.now);
            self.end_spell(tenant, id, Channel::Sms);
            self.table.change_recipient(tenant, id, |one| (one.phone_confirmed, one.sms_opted_out) = (true, None));
            return;
        };
        let suppression = SuppressionId::of(address);
        if *question == Question::Confirm && self.table.contacts.suppressions.contains_key(&suppression) {
            return;
        }
        if question.is_resubscription() {
            self.table.contacts.suppressions.remove(&suppression);
            self.log.silent.remove(identity);
            self.log.lifted.insert(identity.clone(), self.now);
            self.coverage.count("question: allowed again");
        }
        self.end_spell(tenant, id, Channel::Email);
        let again = question.is_resubscription();
        self.table.change_recipient(tenant, id, |one| {
            (one.email_confirmed, one.suppressed) = (true, None);
            if again {
                one.unsubscribed.clear();
                one.unsubscribed_warnings = false;
            }
        });
    }
}

/// The contact that a recipient has on a channel.
pub fn current_contact(recipient: &Recipient, channel: Channel) -> Option<String> {
    match channel {
        Channel::Email => recipient.email.as_ref().map(Email::identity),
        _ => recipient.phone.as_ref().map(|phone| phone.expose().to_owned()),
    }
}
