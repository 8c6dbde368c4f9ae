//! Why a destination was not notified, or not yet: a closed list.
//!
//! Every reason has a sentence for a tenant admin, the setting that would change it and a remedy. There is no free text: a new case is a new
//! entry here, with its test.

use crate::ids::RecipientId;
use crate::vocabulary::Category;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $sentence:literal, $setting:literal, $remedy:literal;)+) => {
        /// Why a destination was not notified, or not yet. Tenants and support see its code in the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $text)] $variant),+ }

        impl Reason {
            /// All reasons, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the code in JSON and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Returns the sentence that explains the reason to a tenant admin.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),+ }
            }

            /// Returns where to change it: a settings path, or who can.
            #[must_use]
            pub const fn setting(self) -> &'static str {
                match self { $(Self::$variant => $setting),+ }
            }

            /// Returns what to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }
        }
    };
}

reasons! {
    /// The tenant disabled the category.
    CategoryDisabled = "category_disabled", "This category is turned off for the tenant.", "settings.categories.<category>.enabled",
        "Turn on the category and save.";
    /// The channel is not selected for the category.
    ChannelNotTicked = "channel_not_ticked", "This channel isn't selected for the category.", "settings.categories.<category>.channels",
        "Select the channel for this category and save.";
    /// The recipient has no address or number for the channel.
    NoDestination = "no_destination", "There is no e-mail address or phone number for this channel.", "recipients.<id>.email or .phone",
        "Add an e-mail address or a phone number to the recipient.";
    /// The role matrix grants none of the destination's roles this category on this channel.
    RoleNotInMatrix = "role_not_in_matrix", "None of this destination's roles receives this category on this channel.", "recipients.<id>.roles or integrations.<id>.audiences",
        "Add a role that receives this category on this channel; see the role matrix.";
    /// A platform-wide incident affects only components or regions that the tenant does not use.
    NotInFootprint = "not_in_footprint", "The incident doesn't affect any component or region that you use.", "settings.footprint",
        "No action needed. If you use what is affected, have it added to the footprint.";
    /// The alert needs an opt-in that the recipient did not give.
    OptInMissing = "opt_in_missing", "This alert requires an opt-in, and this recipient hasn't opted in.", "recipients.<id>.opt_ins",
        "Ask the recipient to opt in.";
    /// The warning is about another user.
    OtherUser = "other_user", "This warning is about another user.", "recipients.<id>.user_id",
        "No action needed. If this recipient is that user, enter the user's ID at the recipient.";
    /// The role matrix grants this role SMS about low balances only.
    LowBalanceOnly = "low_balance_only", "By SMS, this role receives only alerts about low or exhausted balances.", "fixed by the role matrix",
        "No action needed. Use another role or channel for other alerts.";
    /// The tenant's plan does not include the channel.
    PlanExcludesChannel = "plan_excludes_channel", "The tenant's plan doesn't include this channel.", "the tenant's plan",
        "Use another channel, or upgrade the plan.";
    /// The tenant has more recipients or integrations than its plan includes.
    PlanLimit = "plan_limit", "The tenant has more destinations than its plan includes, and this one is over the limit.", "the tenant's plan",
        "Remove other destinations, or upgrade the plan.";
    /// The data-processing agreement does not allow the channel.
    AgreementExcludesChannel = "agreement_excludes_channel", "The data-processing agreement doesn't allow this channel.", "settings.data_processing.channels",
        "Use another channel, or have the agreement changed.";
    /// The severity is below the destination's minimum.
    SeverityBelowFilter = "severity_below_filter", "The severity is below the minimum of this destination, this category or the tenant.", "min_severity of the destination, settings.categories.<category>.min_severity or settings.min_severity",
        "Lower the minimum severity to receive alerts like this; the destination's own takes precedence.";
    /// The destination filters for other regions.
    RegionMismatch = "region_mismatch", "None of the affected regions is in this destination's region filter.", "regions of the destination",
        "Add the region to the destination's filter, or clear the filter to receive all regions.";
    /// The destination filters for other components.
    ComponentMismatch = "component_mismatch", "None of the affected components is in this destination's component filter.", "components of the destination",
        "Add the component to the destination's filter, or clear the filter to receive all components.";
    /// The integration is set up for other categories.
    CategoryNotChosen = "category_not_chosen", "This integration is set up for other categories.", "integrations.<id>.categories",
        "Add the category to the integration, or clear its list to receive all categories.";
    /// The tenant muted the category for a while.
    Muted = "muted", "This category is muted.", "settings.categories.<category>.muted_until",
        "Wait until the mute ends, or unmute the category.";
    /// The tenant paused the integration.
    IntegrationPaused = "integration_paused", "This integration is paused.", "integrations.<id>.paused",
        "Resume the integration.";
    /// The integration is disabled because its endpoint no longer exists or failed for too long.
    EndpointDisabled = "endpoint_disabled", "This integration was disabled because its endpoint rejected alerts permanently or failed for days.", "integrations.<id>: fix the endpoint, then PATCH it with \"enabled\": true",
        "Fix the endpoint, send it a test alert, then enable the integration again.";
    /// The alert is about the very endpoint or channel that it would be sent to.
    EndpointIsSubject = "endpoint_is_subject", "This alert is about this endpoint or channel failing, so it is sent through other channels.", "none: it is sent through other channels",
        "No action needed: it is sent through other channels.";
    /// A system alert would be sent to an endpoint that is failing.
    EndpointFailing = "endpoint_failing", "This endpoint is failing, so alerts about Tocsin itself are sent through other channels.", "integrations.<id>: fix the endpoint",
        "Fix the endpoint, then send it a test alert.";
    /// The address or number is not confirmed yet.
    ContactUnconfirmed = "contact_unconfirmed", "The address or number isn't confirmed yet.", "recipients.<id>: confirm the contact",
        "Have the address or number confirmed. Until then, nothing is sent to it.";
    /// Nobody confirmed that alerts on this channel are lawful for the tenant's recipients.
    ComplianceUnconfirmed = "compliance_unconfirmed", "Nobody has confirmed yet that alerts on this channel comply with local notification rules.", "settings.compliance.confirmed",
        "Confirm in the settings that alerts on this channel comply with local notification rules.";
    /// The number is in a do-not-disturb registry.
    Dnd = "dnd", "The number is in a do-not-disturb registry, and no consent is recorded.", "recipients.<id>.sms_consent",
        "Record the recipient's consent to SMS, or use another number or channel.";
    /// Text messages do not go to the number's country, or to its type of number.
    SmsCountryNotAllowed = "sms_country_not_allowed", "Text messages aren't sent to this country or to this type of number.", "infra/policy/limits.yaml",
        "Use the number of a mobile phone in a country that we send to, or another channel. The operators can allow more countries.";
    /// The number's country requires a registered entity and template (DLT), and the tenant has none.
    DltRegistrationMissing = "dlt_registration_missing", "SMS to this country requires a registered entity and template (DLT), and the settings have none.", "settings.compliance.dlt_entity_id and .dlt_template_id",
        "Enter the IDs of the registered entity and template under SMS registration in the settings, or use another channel.";
    /// The daily limit of text messages is used up.
    SmsLimitReached = "sms_limit_reached", "Today's limit of text messages is used up for this number, this tenant or the whole platform.", "infra/policy/limits.yaml",
        "Use another channel until midnight UTC, or ask the operators for a higher limit.";
    /// The recipient unsubscribed from e-mail, or opted out of SMS.
    OptedOut = "opted_out", "The recipient unsubscribed from these alerts.", "only the recipient can resubscribe",
        "Ask the recipient to resubscribe: with the link in an earlier e-mail, or by texting START and confirming the number again.";
    /// The recipient stopped notifications about this incident.
    IncidentStopped = "incident_stopped", "The recipient stopped notifications about this incident.", "none: only the recipient can stop an incident",
        "No action needed: the recipient still receives other incidents.";
    /// The domain of the address is not on the allow list.
    DomainNotAllowed = "domain_not_allowed", "The domain of the address isn't on the tenant's list of allowed domains.", "settings.allowed_email_domains",
        "Add the domain to the list, or use an address with an allowed domain.";
    /// E-mail to the address bounced permanently.
    SuppressedBounce = "suppressed_bounce", "E-mail to this address bounced permanently.", "recipients.<id>.email",
        "Correct the address, or ask for a resubscription: we send its owner one e-mail with a link that allows e-mail again.";
    /// The recipient reported an e-mail as spam.
    SuppressedComplaint = "suppressed_complaint", "The owner of this address reported an e-mail of ours as spam.", "only the owner of the address can change this",
        "Ask for a resubscription: we send the owner one e-mail with a link that allows e-mail again.";
    /// The owner of the address asked never to get e-mail from us again.
    SuppressedByOwner = "suppressed_by_owner", "The owner of this address asked us never to write to it again.", "only the owner of the address can change this",
        "Ask for a resubscription: we send the owner one e-mail with a link that allows e-mail again.";
    /// Another destination has the same address, number or URL.
    SameDestinationAs = "same_destination_as", "Another destination of this tenant has the same address, number or URL and receives the alert.", "recipients or integrations: remove the duplicate",
        "No action needed: the other destination receives it. Remove the duplicate if you don't need it.";
    /// The incident is inside a maintenance window.
    CoveredByMaintenance = "covered_by_maintenance", "Suppressed by maintenance: the incident is inside a scheduled maintenance window.", "the maintenance window",
        "No action needed: the next message about the maintenance lists it.";
    /// A newer update was sent instead.
    SupersededBy = "superseded_by", "A newer update of the same incident was sent instead.", "none: the newer update is sent",
        "No action needed: the newer update includes it.";
    /// Only counted in a bundle or a digest that holds too many alerts to list.
    StormCollapsed = "storm_collapsed", "There were too many alerts, so this one was only counted in a combined message or a digest.", "settings.storms, digest of the recipient",
        "See the list of incidents. To receive every alert, set storms to \"each\" or turn off the digest.";
    /// SMS is sent for openings, raised severity and resolves only.
    SmsNotForThisChange = "sms_not_for_this_change", "SMS is sent only when an incident opens, gets worse or is resolved.", "fixed: e-mail, chat and webhooks get every update",
        "No action needed: the other channels get every update.";
    /// The opening was not sent here, so the resolve is not either.
    OpenNotTold = "open_not_told", "The opening of this incident wasn't sent here, so the resolve isn't either.", "see the decision on the first update",
        "See why the first update wasn't sent.";
    /// The destination was added after the update was planned.
    AddedLater = "added_later", "This destination was added after the update was planned.", "none: it receives the next update",
        "No action needed: it receives the next update.";
    /// Held until quiet hours end.
    QuietHours = "quiet_hours", "Held until quiet hours end.", "quiet hours of the recipient or the tenant",
        "Wait, or change the quiet hours.";
    /// Held for the next digest.
    Digest = "digest", "Held for the next digest.", "digest of the recipient or the tenant",
        "Wait for the digest, or change it.";
    /// Held until the regulatory SMS window of the number's country opens.
    RegulatoryWindow = "regulatory_window", "Held until the hours in which SMS is allowed in this country.", "compliance.yaml",
        "Wait. The rules of the number's country determine when SMS can be sent.";
    /// Deferred by a rate limit or by storm protection.
    Throttled = "throttled", "Held because there were too many alerts at once; they are sent in one combined message.", "settings.storms",
        "Wait for the combined message. Critical alerts are sent without waiting.";
    /// A test alert over the rate limit of its contact.
    ContactLimit = "contact_limit", "This address or number got as many messages as it may get for now, so the test wasn't sent there.", "infra/policy/storms.yaml",
        "Wait a few minutes, then send the test again. A real alert would be sent in one combined message.";
    /// Deferred because its provider throttles us or has no quota left.
    ProviderLimit = "provider_limit", "Waiting because the provider accepts no more messages from us for now.", "none: the provider limits Tocsin, not this tenant",
        "No action needed: it is sent when the provider accepts messages again.";
    /// Every delivery attempt failed, and no further one follows.
    GaveUp = "gave_up", "Every delivery attempt failed; the last one shows the cause.", "the destination",
        "Fix the cause of the last failure, then send it again.";
    /// The update became too old to be worth sending.
    Expired = "expired", "It became too old before it could be sent.", "none",
        "No action needed. Check why it was delayed.";
    /// The provider rejected the message permanently.
    RefusedByProvider = "refused_by_provider", "The provider rejected it permanently.", "the destination",
        "Check the provider's response, fix the cause, then send it again.";
    /// A classification rule excludes the event.
    ExcludedByRule = "excluded_by_rule", "A classification rule excludes this type of event.", "infra/policy/classification.yaml",
        "No action needed. The operators can change the rule.";
    /// No classification rule matches the event.
    Unclassified = "unclassified", "No classification rule matches this event; the operators were notified.", "infra/policy/classification.yaml",
        "No action needed: the operators add a rule.";
    /// The event names no tenant.
    TenantMissing = "tenant_missing", "The event doesn't name a tenant; the operators were notified.", "label `tenant` of the event, or the token's defaults",
        "Add the `tenant` label in the source, or set a default tenant for its token.";
    /// The user-level warning names no user.
    UserMissing = "user_missing", "The warning doesn't name its user, so nobody is notified.", "`user_id` of the event, or its label `user_id`",
        "Add the label `user_id` in the source.";
    /// The event continues the open warning of another user.
    UserDiffers = "user_differs", "The warning has the dedup key of another user's open warning, so nobody is notified.", "`dedup_key` of the event",
        "Give each user's warnings a dedup key of their own in the source.";
    /// The event names a tenant that does not exist.
    TenantUnknown = "tenant_unknown", "The event names a tenant that doesn't exist; the operators were notified.", "label `tenant` of the event",
        "Correct the tenant's name in the source.";
    /// The token must not send events for the tenant or the platform.
    TenantNotAllowed = "tenant_not_allowed", "The token can't send events for this tenant or for the platform; the operators were notified.", "tenants and scopes of the token",
        "Use a token of this tenant.";
    /// The event repeats an open incident and changes nothing.
    Repeat = "repeat", "It repeats an open incident and changes nothing.", "none",
        "No action needed: it is counted on the open incident.";
    /// The event repeats a resolved incident.
    Stale = "stale", "It repeats an incident that is already resolved.", "none",
        "No action needed: the incident is resolved.";
    /// The event resolves or acknowledges an incident that is not open.
    ResolveWithoutOpen = "resolve_without_open", "It resolves or acknowledges an incident that isn't open.", "none",
        "No action needed: there is no open incident.";
}

impl Reason {
    /// Returns [`Reason::setting`] with its placeholders filled in for a category and a destination id; an empty id leaves `<id>`.
    #[must_use]
    pub fn setting_of(self, category: Option<Category>, destination: &str) -> String {
        let mut setting = self.setting().to_owned();
        if let Some(category) = category {
            setting = setting.replace("<category>", category.as_str());
        }
        if !destination.is_empty() {
            // A setting that names recipients and integrations is reduced to the kind of the destination.
            let other = if destination.starts_with(RecipientId::PREFIX) {
                " or integrations.<id>.audiences"
            } else {
                "recipients.<id>.roles or "
            };
            setting = setting.replace(other, "").replace("<id>", destination);
        }
        setting
    }

    /// Returns [`Reason::sentence`] with what the reason refers to, where that says more: for [`Reason::NotInFootprint`] what the tenant uses.
    #[must_use]
    pub fn sentence_about(self, by: Option<&str>) -> String {
        match (self, by) {
            (Self::NotInFootprint, Some(used)) => format!("The incident doesn't affect you: you use {used}."),
            _ => self.sentence().to_owned(),
        }
    }

    /// Parses the code of a reason.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_has_a_sentence_a_setting_a_remedy_and_a_unique_code() {
        let mut codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.sentence().ends_with('.'), "{reason}");
            assert!(!reason.setting().is_empty(), "{reason}");
            assert!(reason.remedy().ends_with('.'), "{reason}");
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
