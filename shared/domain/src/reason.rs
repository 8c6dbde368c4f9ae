//! Why somebody was not told, or not yet: a closed list. Every reason has a sentence for a tenant admin, the setting
//! that would change it and what to do about it. There is no free text: a new case is a new entry here, with its test.

use crate::ids::RecipientId;
use crate::vocabulary::Category;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $sentence:literal, $setting:literal, $mend:literal;)+) => {
        /// A reason. Its JSON spelling is what tenants and support read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $text)] $variant),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in JSON and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What a tenant admin reads.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),+ }
            }

            /// Where to change it: a settings path, or who can.
            #[must_use]
            pub const fn setting(self) -> &'static str {
                match self { $(Self::$variant => $setting),+ }
            }

            /// What to do about it.
            #[must_use]
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend),+ }
            }
        }
    };
}

reasons! {
    /// The tenant switched the category off.
    CategoryDisabled = "category_disabled", "This category is switched off for the tenant.", "settings.categories.<category>.enabled",
        "Switch the category on and save.";
    /// The channel is not ticked for the category.
    ChannelNotTicked = "channel_not_ticked", "This channel is not ticked for the category.", "settings.categories.<category>.channels",
        "Tick the channel for this category and save.";
    /// There is nothing to send to.
    NoDestination = "no_destination", "There is no address or number for this channel.", "recipients.<id>.email or .phone",
        "Give the recipient an address or a number for this channel.";
    /// The role matrix gives this role no such channel.
    RoleNotInMatrix = "role_not_in_matrix", "None of this destination's roles gets this category on this channel.", "recipients.<id>.roles or integrations.<id>.audiences",
        "Give it a role that gets this category on this channel; the table of roles says which.";
    /// The recipient would have to opt in.
    OptInMissing = "opt_in_missing", "This is only sent to those who opted in, and this recipient did not.", "recipients.<id>.opt_ins",
        "Have the recipient opt in.";
    /// SMS to this role is for low balance only.
    LowBalanceOnly = "low_balance_only", "By SMS this role only hears of low or exhausted balances.", "fixed by the role matrix",
        "Nothing: that is how the role is meant. Another role or channel carries the rest.";
    /// The plan has no such channel.
    PlanExcludesChannel = "plan_excludes_channel", "The tenant's plan does not include this channel.", "the tenant's plan",
        "Use another channel, or ask for a larger plan.";
    /// The plan's number of recipients or integrations is used up.
    PlanLimit = "plan_limit", "The tenant has more destinations than its plan includes; this one is beyond the limit.", "the tenant's plan",
        "Remove others, or ask for a larger plan.";
    /// The data-processing agreement leaves the channel out.
    AgreementExcludesChannel = "agreement_excludes_channel", "The data-processing agreement does not allow this channel.", "settings.data_processing.channels",
        "Use another channel, or have the agreement changed.";
    /// Below the destination's minimum severity.
    SeverityBelowFilter = "severity_below_filter", "It is less severe than this destination wants to hear of.", "min_severity of the destination",
        "Lower the destination's minimum severity if it should hear of this.";
    /// Another region.
    RegionMismatch = "region_mismatch", "It is in none of this destination's regions.", "regions of the destination",
        "Add the region to the destination's regions, or empty the list to take all.";
    /// Another component.
    ComponentMismatch = "component_mismatch", "It affects none of this destination's components.", "components of the destination",
        "Add the component to the destination's components, or empty the list to take all.";
    /// The integration takes other categories.
    CategoryNotChosen = "category_not_chosen", "This integration was set up for other categories.", "integrations.<id>.categories",
        "Add the category to the integration's categories, or empty the list to take all.";
    /// The category is muted for a while.
    Muted = "muted", "This category is muted for now.", "settings.categories.<category>.muted_until",
        "Wait until the mute ends, or end it now.";
    /// The tenant paused the integration.
    IntegrationPaused = "integration_paused", "This integration is paused.", "integrations.<id>.paused",
        "Take the pause off.";
    /// The endpoint said that it is gone, or failed for too long.
    EndpointDisabled = "endpoint_disabled", "This integration was disabled because its endpoint refused for good or failed for days.", "integrations.<id>: fix the endpoint, then PUT it with \"enabled\": true",
        "Mend the endpoint, send a test alert to it, then enable the integration again.";
    /// The alert is about this very endpoint.
    EndpointIsSubject = "endpoint_is_subject", "The alert is about this endpoint failing, so it is told elsewhere.", "none: the other channels carry it",
        "Nothing: the other channels carry it.";
    /// Tocsin itself has something to say, and this endpoint fails.
    EndpointFailing = "endpoint_failing", "This endpoint fails, so what Tocsin itself has to say is told elsewhere.", "integrations.<id>: mend the endpoint",
        "Mend the endpoint, then send a test alert to it; the other channels carry this.";
    /// The address or number is not confirmed yet.
    ContactUnconfirmed = "contact_unconfirmed", "The address or number was never confirmed.", "recipients.<id>: confirm the contact",
        "Have the address or number confirmed; until then nothing is sent to it.";
    /// Nobody confirmed that alerting by this channel is lawful here.
    ComplianceUnconfirmed = "compliance_unconfirmed", "Nobody has confirmed yet that this channel complies with local notification rules.", "settings.compliance.confirmed",
        "Confirm in the settings that alerting by this channel complies with local notification rules.";
    /// Do-not-disturb registry.
    Dnd = "dnd", "The number is registered as do-not-disturb and no consent is recorded.", "recipients.<id>.sms_consent",
        "Record the recipient's consent to SMS, or use another number or channel.";
    /// The recipient unsubscribed.
    OptedOut = "opted_out", "The recipient unsubscribed from this.", "only the recipient can subscribe again",
        "Ask the recipient to subscribe again: by the link of an earlier e-mail, or by texting START and confirming the number anew.";
    /// The recipient wants to hear no more of this one incident.
    IncidentStopped = "incident_stopped", "The recipient asked not to hear of this incident any more.", "only the recipient could ask for it",
        "Nothing: other incidents reach the recipient.";
    /// The address's domain is not on the allow list.
    DomainNotAllowed = "domain_not_allowed", "The address's domain is not on the tenant's list of allowed domains.", "settings.allowed_email_domains",
        "Put the domain on the list, or use an address of a domain that is on it.";
    /// The address bounced.
    SuppressedBounce = "suppressed_bounce", "Mail to this address bounced for good.", "recipients.<id>.email",
        "Correct the address, or have it confirmed again: the link lifts this.";
    /// The recipient complained.
    SuppressedComplaint = "suppressed_complaint", "The recipient reported an earlier message as spam.", "only the recipient can lift this",
        "Have the address confirmed again: only its owner, by the link, lifts this.";
    /// Somebody else has the same address, number or URL.
    SameDestinationAs = "same_destination_as", "Another destination of this tenant has the same address, number or URL and is told there.", "recipients or integrations: remove the double",
        "Nothing: it is told there. Remove the double if it is not wanted.";
    /// Part of announced work.
    CoveredByMaintenance = "covered_by_maintenance", "It is covered by announced maintenance.", "the maintenance window",
        "Nothing: the maintenance's next message names it.";
    /// A newer update went out instead.
    SupersededBy = "superseded_by", "A newer update of the same incident was sent instead.", "none: the newer message carries it",
        "Nothing: the newer message carries it.";
    /// Collapsed in a storm.
    StormCollapsed = "storm_collapsed", "So much came together that this was only counted, in one message or digest with the others.", "settings.storms, settings.digest",
        "Look at the list of incidents; set storms to \"each\", or switch the digest off, to be told of every one.";
    /// SMS goes out on open, worse severity and resolved only.
    SmsNotForThisChange = "sms_not_for_this_change", "SMS is sent when an incident opens, gets worse or is resolved, not for other updates.", "fixed: e-mail, chat and webhook carry every update",
        "Nothing: the other channels carry every update.";
    /// Never told that it was open, so not told that it is over.
    OpenNotTold = "open_not_told", "It was never told that this was open, so it is not told that it is over.", "see the decision of the first update",
        "Look at why the first update was not told.";
    /// It was not there yet.
    AddedLater = "added_later", "This destination was added after the update was planned.", "none: what comes next reaches it",
        "Nothing: what comes next reaches it.";
    /// Held for quiet hours.
    QuietHours = "quiet_hours", "Held until quiet hours end.", "quiet hours of recipient or tenant",
        "Wait, or change the quiet hours.";
    /// Held for a digest.
    Digest = "digest", "Held for the next digest.", "digest of the recipient",
        "Wait for the digest, or change it.";
    /// Held for the hours in which SMS is allowed.
    RegulatoryWindow = "regulatory_window", "Held until the hours in which SMS is allowed here.", "compliance.yaml",
        "Wait; the law of the number's country says when SMS may be sent.";
    /// Held by a throttle.
    Throttled = "throttled", "Held because so much came at once; it comes together with the others.", "settings.storms",
        "Wait for the message that holds all of them; critical alerts do not wait for it.";
    /// Every attempt failed.
    GaveUp = "gave_up", "Every attempt failed; the last one says why.", "the destination",
        "Mend what the last attempt met, then send it again.";
    /// Too old to be worth sending.
    Expired = "expired", "It became too old before it could be sent.", "none",
        "Nothing: what is so old helps nobody. Look at why it waited.";
    /// The provider will never take it.
    RefusedByProvider = "refused_by_provider", "The provider refused it for good.", "the destination",
        "Look at what the provider said, mend that, then send it again.";
    /// A rule of the product excludes it.
    ExcludedByRule = "excluded_by_rule", "The product does not alert on this kind of event.", "infra/policy/classification.yaml",
        "Nothing: the product does not alert on it. A deployer may change the rule.";
    /// No rule matched.
    Unclassified = "unclassified", "No rule knows this kind of event; the operators were told.", "infra/policy/classification.yaml",
        "Nothing on your side: the operators add a rule.";
    /// The event names no tenant.
    TenantMissing = "tenant_missing", "The event names no tenant; the operators were told.", "label `tenant` of the event, or the token's defaults",
        "Have the source name the tenant, or give its token a default.";
    /// The event names a tenant that does not exist.
    TenantUnknown = "tenant_unknown", "The event names a tenant that does not exist; the operators were told.", "label `tenant` of the event",
        "Correct the tenant's name in the source.";
    /// The token may not post for the tenant.
    TenantNotAllowed = "tenant_not_allowed", "The token may not post for this tenant or for the platform; the operators were told.", "tenants and scopes of the token",
        "Post with a token of this tenant.";
    /// It changed nothing.
    Repeat = "repeat", "It changed nothing about an incident that is already open.", "none",
        "Nothing: it is counted on the open incident.";
    /// It repeats a closed incident.
    Stale = "stale", "It repeats an incident that is already over.", "none",
        "Nothing: the incident is over.";
    /// A resolve with nothing open.
    ResolveWithoutOpen = "resolve_without_open", "It resolves or acknowledges something that was not open.", "none",
        "Nothing: there was nothing to end.";
}

impl Reason {
    /// [`Reason::setting`] spelled for a category and a destination, which may be empty.
    #[must_use]
    pub fn setting_of(self, category: Option<Category>, destination: &str) -> String {
        let mut setting = self.setting().to_owned();
        if let Some(category) = category {
            setting = setting.replace("<category>", category.as_str());
        }
        if !destination.is_empty() {
            // A sentence that names both lists means the one that the destination is in.
            let other = if destination.starts_with(RecipientId::PREFIX) {
                " or integrations.<id>.audiences"
            } else {
                "recipients.<id>.roles or "
            };
            setting = setting.replace(other, "").replace("<id>", destination);
        }
        setting
    }

    /// The reason of a word in JSON.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
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
    fn every_reason_has_a_sentence_and_a_setting_and_no_two_share_a_word() {
        let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.sentence().ends_with('.'), "{reason}");
            assert!(!reason.setting().is_empty(), "{reason}");
            assert!(reason.mend().ends_with('.'), "{reason}");
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
