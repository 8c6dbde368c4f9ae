//! A tenant's settings, its recipients and integrations, and the facts that routing reads of them.

use crate::digest::Digest;
use crate::ids::{IntegrationId, RecipientId, TenantId};
use crate::quiet::{OwnQuietHours, QuietHours};
use crate::reason::Reason;
use crate::vocabulary::{Category, Channel, ChannelClass, Role, Severity, Storms};
use email_address::EmailAddress;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most destinations of one compiled chunk: 100 keep it under 100 KB.
pub const CHUNK_MAX: usize = 100;

macro_rules! private {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The value itself: for the wire and the table, never for a log.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

private!(
    /// An e-mail address, normalised: the domain in lower case, as it is compared for "the same address".
    Email
);
private!(
    /// A phone number in E.164.
    Phone
);
private!(
    /// Text that the vault sealed.
    Sealed
);

impl Email {
    /// Parses and normalises an address.
    ///
    /// # Errors
    /// A sentence for the caller, without the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.len() > 254 || !EmailAddress::is_valid(text) || text.contains(['<', '"', ' ', '\r', '\n']) {
            return Err("this is not an e-mail address such as name@example.com");
        }
        let (local, domain) = text.rsplit_once('@').ok_or("an e-mail address has an '@'")?;
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    /// The domain, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// What two spellings of one mailbox share: everything in lower case.
    #[must_use]
    pub fn identity(&self) -> String {
        self.0.to_lowercase()
    }
}

impl Phone {
    /// Parses a number in international form (`+` and country code) and normalises it to E.164.
    ///
    /// # Errors
    /// A sentence for the caller, without the number.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const MEND: &str = "write the number in international form, such as +14155550100";
        let number = phonenumber::parse(None, text.trim()).map_err(|_| MEND)?;
        let digits = number.format().mode(phonenumber::Mode::E164).to_string();
        let ok = digits.len() <= 16 && digits.len() >= 8 && digits.starts_with('+');
        if ok { Ok(Self(digits)) } else { Err(MEND) }
    }

    /// The ISO 3166 code of the number's country, such as `IN`, if the calling code tells.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        let number = phonenumber::parse(None, &self.0).ok()?;
        number.country().id().map(|id| id.as_ref().to_owned())
    }
}

impl Sealed {
    /// Wraps what the vault wrote.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

/// What a tenant chose for a category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategorySettings {
    /// Switched on.
    pub enabled: bool,
    /// Ticked channels.
    pub channels: BTreeSet<ChannelClass>,
    /// Muted until then; nobody is told before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
}

/// How much of an alert leaves the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Everything.
    #[default]
    Full,
    /// Title, severity and link only.
    Minimal,
}

/// What the data-processing agreement allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataProcessing {
    /// The channels it allows; `None` allows all.
    #[serde(default)]
    pub channels: Option<BTreeSet<ChannelClass>>,
    /// How much may be said.
    #[serde(default)]
    pub content: Content,
}

/// What SMS needs by law in the tenant's country.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsCompliance {
    /// ISO 3166 code of the country whose rules apply, such as `IN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// India: the registered entity (DLT), 1–50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlt_entity_id: Option<String>,
    /// India: the registered template (DLT), 1–50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlt_template_id: Option<String>,
    /// Alphanumeric sender, 3–11 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
}

/// Somebody's word that alerting by a channel complies with the notification rules that apply to its recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComplianceConfirmed {
    /// The token's id, or who else said it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In which words.
    pub wording: String,
}

/// The words by which an admin confirms that alerting by a channel is lawful; `None` for channels whose receivers are machines
/// or the tenant's own rooms.
#[must_use]
pub fn compliance_wording(class: ChannelClass) -> Option<String> {
    match class {
        ChannelClass::Email | ChannelClass::Sms => Some(format!(
            "I confirm that alerting these recipients by {} complies with the notification rules that apply to them.",
            class.title()
        )),
        ChannelClass::Chat | ChannelClass::Webhook => None,
    }
}

/// A tenant's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whose.
    pub tenant: TenantId,
    /// The tenant's name for people.
    pub name: String,
    /// The plan's id in `plans.yaml`.
    pub plan: String,
    /// IANA zone for everything that is local time.
    pub zone: String,
    /// Seconds within which an alert should be with the provider.
    pub alert_window_seconds: u32,
    /// The three categories.
    pub categories: BTreeMap<Category, CategorySettings>,
    /// Domains that alerts may be mailed to; empty allows all.
    #[serde(default)]
    pub allowed_email_domains: Vec<String>,
    /// SMS rules.
    #[serde(default)]
    pub compliance: SmsCompliance,
    /// For which channels somebody confirmed that alerting complies with local notification rules.
    #[serde(default)]
    pub compliance_confirmed: BTreeMap<ChannelClass, ComplianceConfirmed>,
    /// The data-processing agreement.
    #[serde(default)]
    pub data_processing: DataProcessing,
    /// When people and rooms are not disturbed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// What becomes of more than a person can take.
    #[serde(default = "bundle")]
    pub storms: Storms,
    /// Goes up by one with each write; the ETag.
    pub version: u64,
}

fn bundle() -> Storms {
    Storms::Bundle
}

/// What a recipient asked for beyond the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptIn {
    /// Configurable incidents by e-mail, for an org admin.
    ConfigurableEmail,
    /// User-level warnings by e-mail.
    WarningsEmail,
    /// User-level warnings by SMS.
    WarningsSms,
}

/// What a destination wants to hear of. Empty takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Regions.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Components.
    #[serde(default)]
    pub components: Vec<String>,
    /// The least severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
}

/// Why and since when an address gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// `suppressed_bounce` or `suppressed_complaint`; of a number `opted_out`.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
}

/// A person who may be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Its name in the system.
    pub id: RecipientId,
    /// Its name for people.
    pub name: String,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Whether the address was confirmed.
    #[serde(default)]
    pub email_confirmed: bool,
    /// Phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    /// Whether the number was confirmed.
    #[serde(default)]
    pub phone_confirmed: bool,
    /// 1 to 4 roles.
    pub roles: BTreeSet<Role>,
    /// Filters.
    #[serde(flatten)]
    pub filters: Filters,
    /// Opt-ins.
    #[serde(default)]
    pub opt_ins: BTreeSet<OptIn>,
    /// Categories that the recipient unsubscribed from by e-mail.
    #[serde(default)]
    pub unsubscribed: BTreeSet<Category>,
    /// True when the recipient unsubscribed from user-level warnings by e-mail.
    #[serde(default)]
    pub unsubscribed_warnings: bool,
    /// The number is in a do-not-disturb registry.
    #[serde(default)]
    pub dnd: bool,
    /// Consent to SMS is recorded, which overrides `dnd`.
    #[serde(default)]
    pub sms_consent: bool,
    /// IANA zone in which this person reads times; `None` is the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Why nothing more is sent to the address, until its owner confirms it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppressed>,
    /// Since when the phone's owner wants no text messages, until the number is confirmed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_opted_out: Option<Timestamp>,
    /// What of its e-mails is collected; `None` is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its own word on quiet hours; `None` leaves it to the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<OwnQuietHours>,
    /// Several people read this address: no single one of them may unsubscribe it.
    #[serde(default)]
    pub shared: bool,
    /// When it was added: what was planned before did not know it.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Goes up by one with each write; the ETag.
    pub version: u64,
}

impl Recipient {
    /// Sends nothing more to the address, or to the number where the phone's owner stopped text messages. `false` where that is so
    /// already, or there is none.
    pub fn silence(&mut self, suppressed: &Suppressed) -> bool {
        match suppressed.reason {
            Reason::OptedOut if self.phone.is_none() || self.sms_opted_out.is_some() => false,
            Reason::OptedOut => {
                self.sms_opted_out = Some(suppressed.at);
                true
            }
            _ if self.email.is_none() || self.suppressed.is_some() => false,
            _ => {
                self.suppressed = Some(*suppressed);
                true
            }
        }
    }
}

/// Why an integration no longer gets anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// When.
    pub at: Timestamp,
    /// What the receiver said: `http_410`, or Slack's code such as `no_service`; or that it only failed for too long.
    pub cause: String,
    /// From when on an alert tries whether it is back; `None` where it said itself that it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_at: Option<Timestamp>,
}

impl Disabled {
    /// Whether an alert may try it now.
    #[must_use]
    pub fn is_half_open(&self, now: Timestamp) -> bool {
        self.probe_at.is_some_and(|at| now >= at)
    }
}

/// A secret that a rotation replaced; it signs beside the new one until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The sealed secret.
    pub secret: Sealed,
    /// Until when it signs.
    pub until: Timestamp,
}

/// A Slack, Teams or webhook destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integration {
    /// Its name in the system.
    pub id: IntegrationId,
    /// Its name for people.
    pub name: String,
    /// `Slack`, `Teams` or `Webhook`.
    pub kind: Channel,
    /// The sealed URL: for Slack and Teams the URL is the credential.
    pub url: Sealed,
    /// The URL's host, which may be shown.
    pub host: String,
    /// A keyed hash of the normalised URL: equal for equal URLs, and says nothing else.
    pub fingerprint: String,
    /// The sealed signing secret of a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
    /// The secret before the last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<OldSecret>,
    /// Categories it takes; empty takes all.
    #[serde(default)]
    pub categories: BTreeSet<Category>,
    /// 1 to 4 roles it stands for.
    pub audiences: BTreeSet<Role>,
    /// Filters.
    #[serde(flatten)]
    pub filters: Filters,
    /// The tenant paused it.
    #[serde(default)]
    pub paused: bool,
    /// The endpoint refused for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// Since when its owner knows that it fails; the days until it is disabled count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Timestamp>,
    /// When it was added: what was planned before did not know it.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Goes up by one with each write; the ETag.
    pub version: u64,
}

/// Somebody or something that may be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Destination {
    /// A person.
    Recipient(Box<Recipient>),
    /// An integration.
    Integration(Box<Integration>),
}

impl Destination {
    /// Its id as text: what decisions, rows and messages call it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Recipient(recipient) => recipient.id.as_str(),
            Self::Integration(integration) => integration.id.as_str(),
        }
    }

    /// When it was added.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        match self {
            Self::Recipient(recipient) => recipient.created_at,
            Self::Integration(integration) => integration.created_at,
        }
    }

    /// Its filters.
    #[must_use]
    pub fn filters(&self) -> &Filters {
        match self {
            Self::Recipient(recipient) => &recipient.filters,
            Self::Integration(integration) => &integration.filters,
        }
    }

    /// The roles it is told as.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<Role> {
        match self {
            Self::Recipient(recipient) => &recipient.roles,
            Self::Integration(integration) => &integration.audiences,
        }
    }

    /// Every channel it could be told on.
    #[must_use]
    pub fn channels(&self) -> &'static [Channel] {
        match self {
            Self::Recipient(_) => &[Channel::Email, Channel::Sms],
            Self::Integration(integration) => match integration.kind {
                Channel::Slack => &[Channel::Slack],
                Channel::Teams => &[Channel::Teams],
                _ => &[Channel::Webhook],
            },
        }
    }

    /// What makes two destinations the same one on `channel`; `None` when it has no such address.
    #[must_use]
    pub fn identity(&self, channel: Channel) -> Option<String> {
        match (self, channel) {
            (Self::Recipient(recipient), Channel::Email) => recipient.email.as_ref().map(Email::identity),
            (Self::Recipient(recipient), Channel::Sms) => recipient.phone.as_ref().map(|p| p.expose().to_owned()),
            (Self::Integration(integration), _) => Some(integration.fingerprint.clone()),
            _ => None,
        }
    }
}

/// One compiled chunk of a tenant's destinations: facts, never the outcome of a rule. Chunk 0 carries the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Whose.
    pub tenant: TenantId,
    /// From 0; a destination keeps its chunk for life.
    pub number: u32,
    /// The settings; only in chunk 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// At most [`CHUNK_MAX`] destinations.
    pub destinations: Vec<Destination>,
    /// Goes up by one with each write.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised_and_never_printed() {
        let email = Email::parse(" Ops.Team@EXAMPLE.com ").unwrap();
        assert_eq!((email.expose(), email.domain()), ("Ops.Team@example.com", "example.com"));
        assert_eq!(email.identity(), "ops.team@example.com");
        assert_eq!(format!("{email:?}"), "Email(redacted)");
        for bad in ["", "a", "a@", "@b", "a b@example.com", "x@example.com\r\nBcc: y@example.com", "A <a@example.com>"]
        {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_e164() {
        assert_eq!(Phone::parse("+91 98765 43210").unwrap().expose(), "+919876543210");
        assert_eq!(Phone::parse("+91 98765 43210").unwrap().country().as_deref(), Some("IN"));
        for bad in ["", "12", "98765 43210", "+", "+abc"] {
            assert!(Phone::parse(bad).is_err(), "{bad}");
        }
    }
}
