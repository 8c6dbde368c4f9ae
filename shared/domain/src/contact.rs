//! Contact confirmation: the owner of an address or number confirms that alerts may be sent to it.
//!
//! Confirmations are rate limited, so that a victim of subscribe bombing gets a few messages a day and no alert.

use crate::event::{Event, Format, SYSTEM_SOURCE};
use crate::ids::{EventId, RecipientId, TenantId, short_hash};
use crate::incident::{ADDRESS_SUPPRESSED_TYPE, SMS_LIMIT_TYPE};
use crate::policy::ConfirmationLimits;
use crate::reason::Reason;
use crate::tenant::{Email, Phone, Recipient, Suppression};
use crate::vocabulary::{Category, Channel, Severity};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Shortest time between two confirmation messages to one address or number, from all tenants together.
pub const CONFIRMATION_INTERVAL_MIN: SignedDuration = SignedDuration::from_secs(60);
/// How long a confirmation link or code is valid.
pub const CONFIRMATION_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// Most wrong codes before a new code is needed.
pub const CODE_TRIES_MAX: u32 = 5;

/// A confirmation message that was sent to an address or number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentConfirmation {
    /// When it was sent.
    pub at: Timestamp,
    /// The tenant that sent it.
    pub tenant: TenantId,
}

/// Returns when a tenant may send the next confirmation to a contact; `None` means now. `sent` are those of all tenants.
#[must_use]
pub fn next_confirmation_at(
    sent: &[SentConfirmation],
    tenant: &TenantId,
    limits: &ConfirmationLimits,
    now: Timestamp,
) -> Option<Timestamp> {
    let recent = within_last_day(sent, now);
    let interval_over = recent.last().and_then(|last| last.at.checked_add(CONFIRMATION_INTERVAL_MIN).ok());
    let all: Vec<&SentConfirmation> = recent.iter().collect();
    let own: Vec<&SentConfirmation> = recent.iter().filter(|confirmation| confirmation.tenant == *tenant).collect();
    interval_over
        .filter(|at| *at > now)
        .max(below_limit_at(&all, limits.contact))
        .max(below_limit_at(&own, limits.contact_by_one_tenant))
}

/// Returns when fewer than `most` confirmations are within 24 hours; `None` if that is so now. `recent` is ascending.
fn below_limit_at(recent: &[&SentConfirmation], most: u32) -> Option<Timestamp> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let oldest_counted = recent.get(recent.len().checked_sub(most)?)?;
    oldest_counted.at.checked_add(CONFIRMATION_LIFETIME).ok()
}

/// Somebody unsubscribed from a tenant's mail: when, and when the tenant last asked whether it may write again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscription {
    /// When the person last unsubscribed from anything.
    pub at: Timestamp,
    /// When the tenant last asked; `None` if it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Version of the item, incremented by each write; 0 if there is no item.
    pub version: u64,
}

impl Unsubscription {
    /// Returns when the tenant may ask again; `None` means now. It may ask once at any time, because a click may have been a mistake.
    #[must_use]
    pub fn next_question_at(&self, limits: &ConfirmationLimits, now: Timestamp) -> Option<Timestamp> {
        let days = SignedDuration::from_hours(24 * i64::from(limits.unsubscribed_days));
        self.asked_at.and_then(|asked| asked.checked_add(days).ok()).filter(|at| *at > now)
    }
}

/// What a day's confirmations are counted by, beside the contact itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmationCounter<'a> {
    /// The mail domain, of one tenant's confirmations.
    Domain(&'a str),
    /// The recipient, whatever its address becomes.
    Recipient(&'a RecipientId),
    /// The integration of the token that asked, which a rotation keeps.
    Token(&'a str),
    /// The tenant.
    Tenant,
}

impl ConfirmationCounter<'_> {
    /// Returns the most confirmations per day (UTC).
    #[must_use]
    pub fn limit(self, limits: &ConfirmationLimits) -> u32 {
        match self {
            Self::Domain(_) => limits.domain,
            Self::Recipient(_) => limits.recipient,
            Self::Token(_) => limits.token,
            Self::Tenant => limits.tenant,
        }
    }

    /// Returns the counter's key within the tenant: a hash that reveals no domain.
    #[must_use]
    pub fn key(self) -> String {
        match self {
            Self::Domain(domain) => short_hash(&["domain", domain]),
            Self::Recipient(recipient) => short_hash(&["recipient", recipient.as_str()]),
            Self::Token(token) => short_hash(&["token", token]),
            Self::Tenant => short_hash(&["tenant"]),
        }
    }
}

/// Returns the UTC day in which confirmations are counted (days since 1970-01-01), and when the next day starts.
#[must_use]
pub fn utc_day(now: Timestamp) -> (i64, Timestamp) {
    let day = now.as_second().div_euclid(86_400);
    (day, Timestamp::from_second((day + 1) * 86_400).unwrap_or(now))
}

/// Returns the confirmations of the last 24 hours plus one that is sent now.
#[must_use]
pub fn record_confirmation(sent: &[SentConfirmation], tenant: &TenantId, now: Timestamp) -> Vec<SentConfirmation> {
    let mut sent = within_last_day(sent, now);
    sent.push(SentConfirmation { at: now, tenant: tenant.clone() });
    sent
}

fn within_last_day(sent: &[SentConfirmation], now: Timestamp) -> Vec<SentConfirmation> {
    let since = now.saturating_sub(CONFIRMATION_LIFETIME).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut recent: Vec<SentConfirmation> =
        sent.iter().filter(|confirmation| confirmation.at > since).cloned().collect();
    recent.sort_by_key(|confirmation| confirmation.at);
    recent
}

/// A confirmation that was sent and not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingConfirmation {
    /// Keyed hash of the address or number that was asked.
    pub identity: String,
    /// Keyed hash of the code; empty if a link confirms.
    #[serde(default)]
    pub code: String,
    /// When the message was sent.
    pub sent_at: Timestamp,
    /// Number of wrong codes entered so far.
    #[serde(default)]
    pub tries: u32,
    /// Why the provider rejected the message; `None` if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The result of checking a confirmation code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeCheck {
    /// The code is correct.
    Correct,
    /// The code is wrong.
    Wrong {
        /// Number of tries left.
        left: u32,
    },
    /// A new code is needed: it expired, none was sent, the number changed, or too many tries were wrong.
    NewCodeNeeded,
}

impl PendingConfirmation {
    /// Checks a code for a number; both are keyed hashes.
    #[must_use]
    pub fn check_code(&self, identity: &str, code: &str, now: Timestamp) -> CodeCheck {
        let fresh = self.sent_at.checked_add(CONFIRMATION_LIFETIME).is_ok_and(|until| now < until);
        if self.code.is_empty() || self.identity != identity || !fresh || self.tries >= CODE_TRIES_MAX {
            return CodeCheck::NewCodeNeeded;
        }
        if self.code == code { CodeCheck::Correct } else { CodeCheck::Wrong { left: CODE_TRIES_MAX - self.tries - 1 } }
    }
}

/// Returns the key of an address in rate limits and provider feedback: a hash that does not reveal the address.
///
/// Keys differ between tenants, so no tenant uses up the limit of another.
#[must_use]
pub fn email_contact_key(tenant: &TenantId, email: &Email) -> String {
    short_hash(&["contact", tenant.as_str(), "email", &email.identity()])
}

/// Returns the key of a phone number, like [`email_contact_key`].
#[must_use]
pub fn phone_contact_key(tenant: &TenantId, phone: &Phone) -> String {
    short_hash(&["contact", tenant.as_str(), "sms", phone.expose()])
}

/// Returns whether a report about `contact` still applies to the recipient's current address or number. `None` (an old record) applies.
fn applies_to_current_contact(tenant: &TenantId, recipient: &Recipient, reason: Reason, contact: Option<&str>) -> bool {
    let now = match reason {
        Reason::OptedOut => recipient.phone.as_ref().map(|phone| phone_contact_key(tenant, phone)),
        _ => recipient.email.as_ref().map(|email| email_contact_key(tenant, email)),
    };
    contact.is_none_or(|contact| now.as_deref() == Some(contact))
}

/// A contact of a recipient to which nothing more is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilencedContact {
    /// Why nothing more is sent, and since when.
    pub suppression: Suppression,
    /// Hash of the address or number; `None` on a record stored without one.
    pub contact: Option<String>,
}

impl SilencedContact {
    /// Suppresses the recipient's contact, if it is still this one. Returns whether that changed anything.
    pub fn suppress(&self, tenant: &TenantId, recipient: &mut Recipient) -> bool {
        applies_to_current_contact(tenant, recipient, self.suppression.reason, self.contact.as_deref())
            && recipient.suppress(&self.suppression)
    }
}

/// Builds the system event that notifies org admins that a text message was not sent because a day's limit is used up: one incident a day and
/// tenant, whatever was held back.
#[must_use]
pub fn sms_limit_event(tenant: &TenantId, category: Option<Category>, now: Timestamp) -> (EventId, Event) {
    let (day, _) = utc_day(now);
    let category = category.unwrap_or(Category::Configurable);
    let event = Event {
        event_type: SMS_LIMIT_TYPE.to_owned(),
        dedup_key: format!("sms-limit:{day}"),
        severity: Severity::Warning,
        title: "Text messages are held back by today's limit".to_owned(),
        message: "At least one alert wasn't sent by SMS, because today's limit of text messages is used up for a number, for your \
                  organization or for the whole platform. It begins anew at midnight UTC. Alerts on other channels are sent as always; \
                  the explanation of each incident names what wasn't sent."
            .to_owned(),
        tenant_ids: vec![tenant.clone()],
        labels: [
            ("category".to_owned(), category.as_str().to_owned()),
            ("channel".to_owned(), Channel::Sms.as_str().to_owned()),
        ]
        .into(),
        public: Some(false),
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    };
    (EventId::derived(&[SMS_LIMIT_TYPE, tenant.as_str(), &day.to_string()]), event)
}

/// Builds the system event that notifies org admins when a contact is suppressed: its address bounced, its owner reported spam, or the owner
/// of the phone opted out of SMS, or of the address out of everything. `cause` is the incident, or what else the message was about. It contains
/// no address and no number. The recipient's version tells it from the suppression before, after which the owner allowed messages again.
#[must_use]
pub fn suppression_event(
    tenant: &TenantId,
    recipient: &Recipient,
    reason: Reason,
    category: Option<Category>,
    cause: &str,
) -> Event {
    let category = category.unwrap_or(Category::Configurable);
    let name = &recipient.name;
    let (title, what) = match reason {
        Reason::SuppressedComplaint => (
            format!("{name} reported an alert as spam"),
            "reported one of our e-mails as spam, so we no longer send e-mail there. If that was a mistake, ask for a resubscription: \
             only the owner of the address can allow e-mail again.",
        ),
        Reason::SuppressedByOwner => (
            format!("{name} asked us never to write again"),
            "asked us never to write to that address again, so we no longer send e-mail there. If that was a mistake, ask for a \
             resubscription: only the owner of the address can allow e-mail again.",
        ),
        Reason::OptedOut => (
            format!("{name} opted out of SMS"),
            "replied STOP to a text message, so we no longer send SMS there. To resume, the recipient texts START, and then you have \
             the number confirmed again.",
        ),
        _ => (
            format!("E-mail to {name} bounced"),
            "has an address that a mail server rejected permanently, so we no longer send e-mail there. Correct the address, or ask for \
             a resubscription.",
        ),
    };
    Event {
        event_type: ADDRESS_SUPPRESSED_TYPE.to_owned(),
        dedup_key: format!("{}:{reason}:{cause}:{}", recipient.id, recipient.version),
        severity: Severity::Warning,
        title,
        message: format!("{name} ({}) {what}", recipient.id),
        tenant_ids: vec![tenant.clone()],
        labels: [
            ("category".to_owned(), category.as_str().to_owned()),
            ("recipient".to_owned(), recipient.id.to_string()),
        ]
        .into(),
        public: Some(false),
        ..Event::blank(Format::Native, SYSTEM_SOURCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sent(confirmations: &[(i64, &str)]) -> Vec<SentConfirmation> {
        confirmations
            .iter()
            .map(|(second, tenant)| SentConfirmation { at: at(*second), tenant: TenantId::parse(tenant).unwrap() })
            .collect()
    }

    #[test]
    fn somebody_who_unsubscribed_is_asked_once_and_then_once_a_month() {
        let limits = crate::policy::Policy::embedded().unwrap().limits.confirmations;
        let never_asked = Unsubscription { at: at(0), asked_at: None, version: 1 };
        assert_eq!(never_asked.next_question_at(&limits, at(1)), None);
        let asked = Unsubscription { asked_at: Some(at(10)), ..never_asked };
        let month = 30 * 86_400;
        assert_eq!(asked.next_question_at(&limits, at(11)), Some(at(10 + month)));
        assert_eq!(asked.next_question_at(&limits, at(10 + month)), None);
    }

    #[test]
    fn confirmations_are_a_minute_apart_and_limited_per_tenant_and_day() {
        let limits = crate::policy::Policy::embedded().unwrap().limits.confirmations;
        let next = |earlier: &[(i64, &str)], tenant: &str, now: i64| {
            next_confirmation_at(&sent(earlier), &TenantId::parse(tenant).unwrap(), &limits, at(now))
        };
        assert_eq!(next(&[], "acme", 0), None);
        assert_eq!(next(&[(100, "acme")], "globex", 130), Some(at(160)));
        assert_eq!(next(&[(100, "acme")], "acme", 160), None);
        let three = [(0, "acme"), (100, "acme"), (200, "acme")];
        assert_eq!(next(&three, "acme", 500), Some(at(86_400)));
        assert_eq!(next(&three, "acme", 86_400), None, "the first one is a day old");
        assert_eq!(next(&three, "globex", 500), None, "each tenant has a limit of its own");
        let six = [three.as_slice(), &[(300, "globex"), (400, "globex"), (500, "initech")]].concat();
        assert_eq!(next(&six, "initech", 600), Some(at(86_400)), "the limit of all tenants together");
        let acme = TenantId::parse("acme").unwrap();
        let left = [(100, "acme"), (200, "acme"), (86_450, "acme")];
        assert_eq!(record_confirmation(&sent(&three), &acme, at(86_450)), sent(&left));
    }

    #[test]
    fn every_counter_has_a_key_and_a_limit_of_its_own() {
        let limits = ConfirmationLimits {
            contact: 1,
            contact_by_one_tenant: 2,
            domain: 3,
            recipient: 4,
            tenant: 5,
            token: 6,
            unsubscribed_days: 7,
        };
        let recipient = RecipientId::new("a");
        let counters = [
            (ConfirmationCounter::Domain("example.com"), 3),
            (ConfirmationCounter::Domain("example.org"), 3),
            (ConfirmationCounter::Recipient(&recipient), 4),
            (ConfirmationCounter::Tenant, 5),
            (ConfirmationCounter::Token("example.com"), 6),
        ];
        let keys: std::collections::BTreeSet<String> = counters.iter().map(|(counter, _)| counter.key()).collect();
        assert_eq!(keys.len(), counters.len());
        assert!(counters.iter().all(|(counter, limit)| counter.limit(&limits) == *limit));
        assert!(keys.iter().all(|key| !key.contains("example")));
    }

    #[test]
    fn a_tenants_day_is_a_utc_day() {
        assert_eq!(utc_day(at(86_399)), (0, at(86_400)));
        assert_eq!(utc_day(at(86_400)), (1, at(172_800)));
    }

    #[test]
    fn a_code_is_valid_for_its_number_for_a_day_and_five_tries() {
        let pending =
            PendingConfirmation { identity: "n".into(), code: "c".into(), sent_at: at(0), tries: 0, refused: None };
        assert_eq!(pending.check_code("n", "c", at(10)), CodeCheck::Correct);
        assert_eq!(pending.check_code("n", "x", at(10)), CodeCheck::Wrong { left: 4 });
        assert_eq!(pending.check_code("other", "c", at(10)), CodeCheck::NewCodeNeeded);
        assert_eq!(pending.check_code("n", "c", at(86_400)), CodeCheck::NewCodeNeeded);
        assert_eq!(
            PendingConfirmation { tries: 5, ..pending.clone() }.check_code("n", "c", at(10)),
            CodeCheck::NewCodeNeeded
        );
        assert_eq!(
            PendingConfirmation { code: String::new(), ..pending }.check_code("n", "", at(10)),
            CodeCheck::NewCodeNeeded,
            "a link has no code"
        );
    }

    #[test]
    fn the_suppression_event_matches_a_rule_and_contains_no_address() {
        use crate::classification::Classification;
        use crate::policy::Policy;
        let recipient: Recipient = serde_json::from_value(serde_json::json!({"id": "rcp_a", "name": "Ops",
            "email": "ops@example.com", "phone": "+14155550100", "roles": ["org_admin"], "version": 3}))
        .unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        for category in [None, Some(Category::Billing)] {
            for reason in
                [Reason::SuppressedBounce, Reason::SuppressedComplaint, Reason::SuppressedByOwner, Reason::OptedOut]
            {
                let event = suppression_event(&tenant, &recipient, reason, category, "inc_a");
                let verdict = Policy::embedded().unwrap().classify(&event);
                let expected = Some(category.unwrap_or(Category::Configurable));
                assert!(matches!(verdict, Classification::Included(included) if included.category == expected));
                let text = serde_json::to_string(&event).unwrap();
                assert!(!text.contains("ops@example.com") && !text.contains("4155550100"), "{text}");
            }
        }
    }

    #[test]
    fn one_notice_a_day_says_that_text_messages_are_held_back() {
        use crate::classification::Classification;
        let tenant = TenantId::parse("acme").unwrap();
        let (id, event) = sms_limit_event(&tenant, Some(Category::Billing), at(86_399));
        let (same_day, _) = sms_limit_event(&tenant, None, at(0));
        let (next_day, next) = sms_limit_event(&tenant, None, at(86_400));
        assert!(id == same_day && id != next_day && event.dedup_key != next.dedup_key);
        for event in [event, next] {
            let verdict = crate::policy::Policy::embedded().unwrap().classify(&event);
            assert!(matches!(verdict, Classification::Included(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_report_about_an_old_address_does_not_apply_to_the_new_one() {
        let tenant = TenantId::parse("acme").unwrap();
        let recipient: Recipient = serde_json::from_value(serde_json::json!({"id": "rcp_a", "name": "Ops",
            "email": "new@example.com", "phone": "+14155550100", "roles": ["org_admin"], "version": 3}))
        .unwrap();
        let [old, new] =
            ["old@example.com", "NEW@example.com"].map(|text| email_contact_key(&tenant, &Email::parse(text).unwrap()));
        let marked = |reason, contact: Option<&String>| {
            let (mut after, suppression) = (recipient.clone(), Suppression { reason, at: at(0) });
            let changed = SilencedContact { suppression, contact: contact.cloned() }.suppress(&tenant, &mut after);
            assert_eq!(changed, after != recipient);
            changed
        };
        let bounced = |contact| marked(Reason::SuppressedBounce, contact);
        assert!(!bounced(Some(&old)) && bounced(Some(&new)) && bounced(None));
        let phone = phone_contact_key(&tenant, &Phone::parse("+14155550100").unwrap());
        assert!(marked(Reason::OptedOut, Some(&phone)));
        assert!(!marked(Reason::OptedOut, Some(&new)));
    }
}
