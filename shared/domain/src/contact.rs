//! Confirming that an address or a number is whose the tenant says it is, and wants the alerts. Nobody is written to often:
//! whoever is put on many lists at once (subscribe bombing) gets a few messages a day, and no alert.

use crate::event::{Event, Format};
use crate::health::OWN_SOURCE;
use crate::ids::{IncidentId, TenantId, digest};
use crate::incident::SUPPRESSED;
use crate::reason::Reason;
use crate::tenant::{Email, Phone, Recipient};
use crate::vocabulary::{Category, Severity};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Least pause between two confirmations to one address or number, from whichever tenant.
pub const PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// Most confirmations to one address or number in a day, from all tenants together.
pub const A_DAY: usize = 6;
/// Most of them from one tenant, so that none can use up what another needs.
pub const A_DAY_OF_ONE: usize = 3;
/// Most confirmations that one tenant sends in a day (UTC): its name stands in them, and their readers never asked for mail.
pub const A_TENANTS_DAY: u32 = 500;
/// How long a link or a code is good.
pub const LIFE: SignedDuration = SignedDuration::from_hours(24);
/// Most wrong codes before a new one is needed.
pub const TRIES: u32 = 5;

/// When an address or number was asked, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub tenant: TenantId,
}

/// When a tenant may send the next confirmation; `None` is now.
#[must_use]
pub fn next_at(sent: &[Ask], tenant: &TenantId, now: Timestamp) -> Option<Timestamp> {
    let recent = recent(sent, now);
    let pause = recent.last().and_then(|last| last.at.checked_add(PAUSE).ok()).filter(|at| *at > now);
    let full = |asks: &[&Ask], most: usize| {
        let frees = asks.len().checked_sub(most).and_then(|place| asks.get(place));
        frees.and_then(|first| first.at.checked_add(LIFE).ok())
    };
    let all: Vec<&Ask> = recent.iter().collect();
    let own: Vec<&Ask> = recent.iter().filter(|ask| ask.tenant == *tenant).collect();
    pause.max(full(&all, A_DAY)).max(full(&own, A_DAY_OF_ONE))
}

/// The day that a tenant's confirmations are counted in, and when the next one begins.
#[must_use]
pub fn day(now: Timestamp) -> (i64, Timestamp) {
    let day = now.as_second().div_euclid(86_400);
    (day, Timestamp::from_second((day + 1) * 86_400).unwrap_or(now))
}

/// What is remembered once a tenant has sent another.
#[must_use]
pub fn sent_now(sent: &[Ask], tenant: &TenantId, now: Timestamp) -> Vec<Ask> {
    let mut sent = recent(sent, now);
    sent.push(Ask { at: now, tenant: tenant.clone() });
    sent
}

fn recent(sent: &[Ask], now: Timestamp) -> Vec<Ask> {
    let since = now.saturating_sub(LIFE).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut recent: Vec<Ask> = sent.iter().filter(|ask| ask.at > since).cloned().collect();
    recent.sort_by_key(|ask| ask.at);
    recent
}

/// A confirmation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// A keyed hash of the address or number: another one was never asked.
    pub identity: String,
    /// A keyed hash of the code; empty where a link confirms.
    #[serde(default)]
    pub code: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Wrong codes so far.
    #[serde(default)]
    pub tries: u32,
    /// Why the provider did not take the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a code is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is the one.
    Right,
    /// It is not; so many tries are left.
    Wrong {
        /// Tries left.
        left: u32,
    },
    /// It is too old, there was none, the number is another by now, or too many were wrong: ask for a new one.
    Over,
}

impl Pending {
    /// Judges a code, given by its keyed hash, for a number, given by its.
    #[must_use]
    pub fn judge(&self, identity: &str, code: &str, now: Timestamp) -> Code {
        let fresh = self.sent_at.checked_add(LIFE).is_ok_and(|until| now < until);
        if self.code.is_empty() || self.identity != identity || !fresh || self.tries >= TRIES {
            return Code::Over;
        }
        if self.code == code { Code::Right } else { Code::Wrong { left: TRIES - self.tries - 1 } }
    }
}

/// What an address is remembered by; nothing of it can be read there. Each tenant's by itself: nobody uses up what another may send.
#[must_use]
pub fn of_email(tenant: &TenantId, email: &Email) -> String {
    digest(&["contact", tenant.as_str(), "email", &email.identity()])
}

/// What a number is remembered by.
#[must_use]
pub fn of_phone(tenant: &TenantId, phone: &Phone) -> String {
    digest(&["contact", tenant.as_str(), "sms", phone.expose()])
}

/// Whether what was said of a contact is said of what the recipient has now; what nobody noted counts.
#[must_use]
pub fn is_still(tenant: &TenantId, recipient: &Recipient, reason: Reason, contact: Option<&str>) -> bool {
    let now = match reason {
        Reason::OptedOut => recipient.phone.as_ref().map(|phone| of_phone(tenant, phone)),
        _ => recipient.email.as_ref().map(|email| of_email(tenant, email)),
    };
    contact.is_none_or(|contact| now.as_deref() == Some(contact))
}

/// What the org admins are told when a contact gets nothing more: its address bounced or complained, or its phone's owner stopped text
/// messages. It names no address and no number.
#[must_use]
pub fn silenced(
    tenant: &TenantId,
    recipient: &Recipient,
    reason: Reason,
    category: Option<Category>,
    incident: &IncidentId,
) -> Event {
    let category = category.unwrap_or(Category::Configurable);
    let name = &recipient.name;
    let (title, what) = match reason {
        Reason::SuppressedComplaint => (
            format!("{name} reported an alert as spam"),
            "reported one of our e-mails as spam, so no more are sent there. Ask for the address to be confirmed again if that was a mistake.",
        ),
        Reason::OptedOut => (
            format!("{name} stopped text messages"),
            "answered STOP to a text message, so no more are sent there. Whoever wants them again texts START, and then has the number \
             confirmed again.",
        ),
        _ => (
            format!("E-mail to {name} bounces"),
            "has an address that the mail server refuses for good, so no more e-mails are sent there. Correct the address, or ask for it to \
             be confirmed again.",
        ),
    };
    Event {
        event_type: SUPPRESSED.to_owned(),
        dedup_key: format!("{}:{reason}:{incident}", recipient.id),
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
        ..Event::blank(Format::Native, OWN_SOURCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sent(asks: &[(i64, &str)]) -> Vec<Ask> {
        asks.iter().map(|(second, tenant)| Ask { at: at(*second), tenant: TenantId::parse(tenant).unwrap() }).collect()
    }

    #[test]
    fn a_minute_lies_between_two_and_no_tenant_uses_up_the_day() {
        let next = |asks: &[(i64, &str)], tenant: &str, now: i64| {
            next_at(&sent(asks), &TenantId::parse(tenant).unwrap(), at(now))
        };
        assert_eq!(next(&[], "acme", 0), None);
        assert_eq!(next(&[(100, "acme")], "globex", 130), Some(at(160)));
        assert_eq!(next(&[(100, "acme")], "acme", 160), None);
        let three = [(0, "acme"), (100, "acme"), (200, "acme")];
        assert_eq!(next(&three, "acme", 500), Some(at(86_400)));
        assert_eq!(next(&three, "acme", 86_400), None, "the first is a day old");
        assert_eq!(next(&three, "globex", 500), None, "what one tenant has used up is its own");
        let six = [three.as_slice(), &[(300, "globex"), (400, "globex"), (500, "initech")]].concat();
        assert_eq!(next(&six, "initech", 600), Some(at(86_400)), "nobody is written to for ever");
        let acme = TenantId::parse("acme").unwrap();
        let left = [(100, "acme"), (200, "acme"), (86_450, "acme")];
        assert_eq!(sent_now(&sent(&three), &acme, at(86_450)), sent(&left));
    }

    #[test]
    fn a_tenants_day_is_utcs() {
        assert_eq!(day(at(86_399)), (0, at(86_400)));
        assert_eq!(day(at(86_400)), (1, at(172_800)));
    }

    #[test]
    fn a_code_is_good_for_its_number_for_a_day_and_five_tries() {
        let pending = Pending { identity: "n".into(), code: "c".into(), sent_at: at(0), tries: 0, refused: None };
        assert_eq!(pending.judge("n", "c", at(10)), Code::Right);
        assert_eq!(pending.judge("n", "x", at(10)), Code::Wrong { left: 4 });
        assert_eq!(pending.judge("other", "c", at(10)), Code::Over);
        assert_eq!(pending.judge("n", "c", at(86_400)), Code::Over);
        assert_eq!(Pending { tries: 5, ..pending.clone() }.judge("n", "c", at(10)), Code::Over);
        assert_eq!(Pending { code: String::new(), ..pending }.judge("n", "", at(10)), Code::Over, "a link has no code");
    }

    #[test]
    fn the_notice_has_a_rule_and_names_no_address() {
        use crate::classification::Verdict;
        use crate::policy::Policy;
        let recipient: Recipient = serde_json::from_value(serde_json::json!({"id": "rcp_a", "name": "Ops",
            "email": "ops@example.com", "phone": "+14155550100", "roles": ["org_admin"], "version": 3}))
        .unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        for category in [None, Some(Category::Billing)] {
            for reason in [Reason::SuppressedBounce, Reason::SuppressedComplaint, Reason::OptedOut] {
                let event = silenced(&tenant, &recipient, reason, category, &IncidentId::new("a"));
                let verdict = Policy::embedded().unwrap().classify(&event);
                let expected = Some(category.unwrap_or(Category::Configurable));
                assert!(matches!(verdict, Verdict::Included(included) if included.category == expected));
                let text = serde_json::to_string(&event).unwrap();
                assert!(!text.contains("ops@example.com") && !text.contains("4155550100"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_said_of_an_old_address_is_not_said_of_the_new_one() {
        let tenant = TenantId::parse("acme").unwrap();
        let recipient: Recipient = serde_json::from_value(serde_json::json!({"id": "rcp_a", "name": "Ops",
            "email": "new@example.com", "phone": "+14155550100", "roles": ["org_admin"], "version": 3}))
        .unwrap();
        let [old, new] =
            ["old@example.com", "NEW@example.com"].map(|text| of_email(&tenant, &Email::parse(text).unwrap()));
        let bounced = |contact| is_still(&tenant, &recipient, Reason::SuppressedBounce, contact);
        assert!(!bounced(Some(&old)) && bounced(Some(&new)) && bounced(None));
        let phone = of_phone(&tenant, &Phone::parse("+14155550100").unwrap());
        assert!(is_still(&tenant, &recipient, Reason::OptedOut, Some(&phone)));
        assert!(!is_still(&tenant, &recipient, Reason::OptedOut, Some(&new)));
    }
}
