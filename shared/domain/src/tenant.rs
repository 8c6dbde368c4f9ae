//! A tenant's settings, recipients and integrations, as routing reads them.

use crate::digest::Digest;
use crate::ids::{IntegrationId, RecipientId, TenantId};
use crate::quiet::{QuietHours, QuietHoursOverride};
use crate::reason::Reason;
use crate::vocabulary::{Category, Channel, ChannelClass, Role, Severity, StormMode};
use email_address::EmailAddress;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most destinations in one compiled chunk; 100 keep it below 100 KB.
pub const DESTINATIONS_PER_CHUNK_MAX: usize = 100;

macro_rules! redacted_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the value, for requests and the table, never for a log.
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

redacted_text!(
    /// An e-mail address, normalized: its domain is in lower case.
    Email
);
redacted_text!(
    /// A phone number in E.164 format.
    Phone
);
redacted_text!(
    /// A text that the vault encrypted.
    Sealed
);

impl Email {
    /// Parses and normalizes an address.
    ///
    /// # Errors
    /// A message for the caller, without the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.len() > 254 || !EmailAddress::is_valid(text) || text.contains(['<', '"', ' ', '\r', '\n']) {
            return Err("this is not an e-mail address such as name@example.com");
        }
        let (local, domain) = text.rsplit_once('@').ok_or("an e-mail address has an '@'")?;
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    /// Returns the domain, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// Returns the address in lower case, by which two spellings of one mailbox are compared.
    #[must_use]
    pub fn identity(&self) -> String {
        self.0.to_lowercase()
    }
}

impl Phone {
    /// Parses a number in international form (`+` and country code) and normalizes it to E.164.
    ///
    /// # Errors
    /// A message for the caller, without the number.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "write the number in international form, such as +14155550100";
        let number = phonenumber::parse(None, text.trim()).map_err(|_| REMEDY)?;
        let digits = number.format().mode(phonenumber::Mode::E164).to_string();
        let ok = digits.len() <= 16 && digits.len() >= 8 && digits.starts_with('+');
        if ok { Ok(Self(digits)) } else { Err(REMEDY) }
    }

    /// Returns the ISO 3166 code of the number's country, such as `IN`; `None` if the calling code does not determine it.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        let number = phonenumber::parse(None, &self.0).ok()?;
        number.country().id().map(|id| id.as_ref().to_owned())
    }
}

impl Sealed {
    /// Wraps a text that the vault encrypted.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

/// A tenant's settings for one category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategorySettings {
    /// Whether alerts of the category are sent.
    pub enabled: bool,
    /// Channels selected for the category.
    pub channels: BTreeSet<ChannelClass>,
    /// Until when the category is muted; `None` if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Timestamp>,
}

/// How much of an alert may leave the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentLevel {
    /// The whole alert.
    #[default]
    Full,
    /// Only title, severity and link.
    Minimal,
}

/// What the tenant's data-processing agreement allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataProcessing {
    /// Allowed channels; `None` allows all.
    #[serde(default)]
    pub channels: Option<BTreeSet<ChannelClass>>,
    /// How much of an alert may be sent.
    #[serde(default)]
    pub content: ContentLevel,
}

/// What the rules of the tenant's country require for SMS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsCompliance {
    /// ISO 3166 code of the country whose rules apply, such as `IN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// India: id of the registered entity (DLT), 1–50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlt_entity_id: Option<String>,
    /// India: id of the registered template (DLT), 1–50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dlt_template_id: Option<String>,
    /// Alphanumeric sender id, 3–11 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
}

/// An admin's confirmation that alerts on a channel comply with the notification rules that apply to its recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComplianceConfirmed {
    /// Id of the token, or who else confirmed it.
    pub by: String,
    /// When it was confirmed.
    pub at: Timestamp,
    /// The text that was confirmed.
    pub wording: String,
}

/// Returns the text by which an admin confirms that alerts on a channel are lawful; `None` for webhooks and the tenant's own chat channels,
/// which need no confirmation.
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
    /// Id of the tenant.
    pub tenant: TenantId,
    /// Display name of the tenant.
    pub name: String,
    /// Id of the tenant's plan in `plans.yaml`.
    pub plan: String,
    /// IANA time zone for every local time of the tenant.
    pub zone: String,
    /// The alert window: seconds within which the provider should accept an alert.
    pub alert_window_seconds: u32,
    /// Settings of the three categories.
    pub categories: BTreeMap<Category, CategorySettings>,
    /// Domains that alerts may be e-mailed to; empty allows all.
    #[serde(default)]
    pub allowed_email_domains: Vec<String>,
    /// Regulatory data for SMS.
    #[serde(default)]
    pub compliance: SmsCompliance,
    /// Confirmations that alerts comply with local notification rules, by channel.
    #[serde(default)]
    pub compliance_confirmed: BTreeMap<ChannelClass, ComplianceConfirmed>,
    /// What the data-processing agreement allows.
    #[serde(default)]
    pub data_processing: DataProcessing,
    /// Hours in which people and chat channels are not notified; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// Storm protection: whether too many alerts are bundled or sent one by one.
    #[serde(default = "bundle_storms")]
    pub storms: StormMode,
    /// Increases by one with each write; used as the ETag.
    pub version: u64,
}

fn bundle_storms() -> StormMode {
    StormMode::Bundle
}

/// An alert that a recipient opted in to, beyond the role matrix.
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

/// Filters of a destination. An empty filter accepts everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Names of regions to be notified of.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Names of components to be notified of.
    #[serde(default)]
    pub components: Vec<String>,
    /// Minimum severity; `None` accepts every severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
}

/// Why and since when nothing is sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// `suppressed_bounce` or `suppressed_complaint`; `opted_out` for a number.
    pub reason: Reason,
    /// When it was suppressed.
    pub at: Timestamp,
}

/// A person, or a shared mailbox, that may be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Id of the recipient (`rcp_…`).
    pub id: RecipientId,
    /// Display name.
    pub name: String,
    /// E-mail address; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Whether the owner confirmed the address.
    #[serde(default)]
    pub email_confirmed: bool,
    /// Phone number; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Phone>,
    /// Whether the owner confirmed the number.
    #[serde(default)]
    pub phone_confirmed: bool,
    /// Roles of the recipient, 1 to 4.
    pub roles: BTreeSet<Role>,
    /// Filters on regions, components and severity.
    #[serde(flatten)]
    pub filters: Filters,
    /// Alerts that the recipient opted in to.
    #[serde(default)]
    pub opt_ins: BTreeSet<OptIn>,
    /// Categories whose e-mails the recipient unsubscribed from.
    #[serde(default)]
    pub unsubscribed: BTreeSet<Category>,
    /// Whether the recipient unsubscribed from e-mails about user-level warnings.
    #[serde(default)]
    pub unsubscribed_warnings: bool,
    /// Whether the number is in a do-not-disturb registry.
    #[serde(default)]
    pub dnd: bool,
    /// Whether consent to SMS is recorded, which overrides `dnd`.
    #[serde(default)]
    pub sms_consent: bool,
    /// IANA time zone of the recipient; `None` means the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Why nothing is sent to the address until its owner confirms it again; `None` if it is not suppressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppression>,
    /// When the owner of the phone opted out of SMS; `None` once the number is confirmed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_opted_out: Option<Timestamp>,
    /// Which alerts are put into a digest; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Quiet hours that replace the tenant's; `None` keeps the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHoursOverride>,
    /// Whether several people read this address. Then no single one of them can unsubscribe it.
    #[serde(default)]
    pub shared: bool,
    /// When it was added. Earlier plans do not include it.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Increases by one with each write; used as the ETag.
    pub version: u64,
}

impl Recipient {
    /// Suppresses the address, or the number if the reason is an SMS opt-out. Returns whether anything changed; `false` if it is suppressed
    /// already or missing.
    pub fn suppress(&mut self, suppressed: &Suppression) -> bool {
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

/// Why and since when an integration is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disablement {
    /// When it was disabled.
    pub at: Timestamp,
    /// The cause: `http_410`, Slack's code such as `no_service`, or `failing_too_long`.
    pub cause: String,
    /// From when on an alert probes the endpoint; `None` if the endpoint said that it no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_at: Option<Timestamp>,
}

impl Disablement {
    /// Returns whether an alert may probe the endpoint at `now`.
    #[must_use]
    pub fn is_half_open(&self, now: Timestamp) -> bool {
        self.probe_at.is_some_and(|at| now >= at)
    }
}

/// A signing secret that was rotated out. Webhooks are signed with both secrets until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    /// The encrypted secret.
    pub secret: Sealed,
    /// When it expires.
    pub until: Timestamp,
}

/// A Slack, Teams or webhook endpoint that may be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integration {
    /// Id of the integration (`int_…`).
    pub id: IntegrationId,
    /// Display name.
    pub name: String,
    /// The kind of endpoint: `Slack`, `Teams` or `Webhook`.
    pub kind: Channel,
    /// The encrypted URL. For Slack and Teams the URL is the credential.
    pub url: Sealed,
    /// Host of the URL, which may be displayed.
    pub host: String,
    /// Keyed hash of the normalized URL: equal for equal URLs, and reveals nothing else.
    pub fingerprint: String,
    /// The encrypted signing secret; only for webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Sealed>,
    /// The secret before the last rotation; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret: Option<OldSecret>,
    /// Categories it receives; empty means all.
    #[serde(default)]
    pub categories: BTreeSet<Category>,
    /// Roles whose alerts it receives, 1 to 4.
    pub audiences: BTreeSet<Role>,
    /// Filters on regions, components and severity.
    #[serde(flatten)]
    pub filters: Filters,
    /// Whether the tenant paused it.
    #[serde(default)]
    pub paused: bool,
    /// Why it is disabled; `None` if it is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disablement>,
    /// When the tenant was notified that it is failing; the days until it is disabled count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Timestamp>,
    /// When it was added. Earlier plans do not include it.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Increases by one with each write; used as the ETag.
    pub version: u64,
}

/// A recipient or an integration that may be notified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Destination {
    /// A person, by e-mail and SMS.
    Recipient(Box<Recipient>),
    /// A Slack, Teams or webhook endpoint.
    Integration(Box<Integration>),
}

impl Destination {
    /// Returns its id, as used in decisions, rows and messages.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Recipient(recipient) => recipient.id.as_str(),
            Self::Integration(integration) => integration.id.as_str(),
        }
    }

    /// Returns when it was added.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        match self {
            Self::Recipient(recipient) => recipient.created_at,
            Self::Integration(integration) => integration.created_at,
        }
    }

    /// Returns its filters.
    #[must_use]
    pub fn filters(&self) -> &Filters {
        match self {
            Self::Recipient(recipient) => &recipient.filters,
            Self::Integration(integration) => &integration.filters,
        }
    }

    /// Returns the roles for which it is notified.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<Role> {
        match self {
            Self::Recipient(recipient) => &recipient.roles,
            Self::Integration(integration) => &integration.audiences,
        }
    }

    /// Returns every channel on which it could be notified.
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

    /// Returns the address, number or URL hash by which two destinations are the same on `channel`; `None` if it has none.
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

/// One compiled chunk of a tenant's destinations. It holds facts, never the outcome of a rule. Chunk 0 also holds the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Id of the tenant.
    pub tenant: TenantId,
    /// Number of the chunk, from 0. A destination never changes its chunk.
    pub number: u32,
    /// The tenant's settings; only in chunk 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// At most [`DESTINATIONS_PER_CHUNK_MAX`] destinations.
    pub destinations: Vec<Destination>,
    /// Increases by one with each write.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalized_and_never_printed() {
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
    fn phone_numbers_are_e164() {
        assert_eq!(Phone::parse("+91 98765 43210").unwrap().expose(), "+919876543210");
        assert_eq!(Phone::parse("+91 98765 43210").unwrap().country().as_deref(), Some("IN"));
        for bad in ["", "12", "98765 43210", "+", "+abc"] {
            assert!(Phone::parse(bad).is_err(), "{bad}");
        }
    }
}
