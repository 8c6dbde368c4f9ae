//! Who may be written to: one rule per channel, shared by alerts, tests, confirmations, notices, retries and resends.
//!
//! What belongs to the tenant (plan, agreement, compliance) and what belongs to the contact (opt-outs, suppression, country and type of a
//! number) are kept apart, because a resolve goes to whoever got the opening, whatever the tenant's plan says by now.

use crate::policy::Policy;
use crate::reason::Reason;
use crate::tenant::{Recipient, Settings, SmsCompliance, compliance_wording};
use crate::vocabulary::{Channel, ChannelClass};

/// Returns why the tenant may not write to anybody on these channels: its plan, its agreement, or nobody who confirmed that it is lawful.
#[must_use]
pub fn refused_for_tenant(policy: &Policy, settings: &Settings, class: ChannelClass) -> Option<Reason> {
    if !policy.plans.get(&settings.plan).is_some_and(|plan| plan.channels.contains(&class)) {
        return Some(Reason::PlanExcludesChannel);
    }
    if settings.data_processing.channels.as_ref().is_some_and(|channels| !channels.contains(&class)) {
        return Some(Reason::AgreementExcludesChannel);
    }
    let needs_word = compliance_wording(class).is_some();
    (needs_word && !settings.compliance_confirmed.contains_key(&class)).then_some(Reason::ComplianceUnconfirmed)
}

/// Returns why nothing may be written to the recipient's address or number, whether or not its owner has confirmed it. A suppressed address
/// or a number that opted out gets no confirmation either.
#[must_use]
pub fn refused_for_contact(
    policy: &Policy,
    settings: &Settings,
    recipient: &Recipient,
    channel: Channel,
) -> Option<Reason> {
    match channel {
        Channel::Email => refused_for_address(settings, recipient),
        Channel::Sms => refused_for_number(policy, settings, recipient),
        Channel::Slack | Channel::Teams | Channel::Webhook => Some(Reason::NoDestination),
    }
}

fn refused_for_address(settings: &Settings, recipient: &Recipient) -> Option<Reason> {
    let Some(email) = &recipient.email else { return Some(Reason::NoDestination) };
    if let Some(suppressed) = recipient.suppressed {
        return Some(suppressed.reason);
    }
    let allowed = &settings.allowed_email_domains;
    let outside = !allowed.is_empty() && !allowed.iter().any(|domain| email.is_in_domain(domain));
    outside.then_some(Reason::DomainNotAllowed)
}

fn refused_for_number(policy: &Policy, settings: &Settings, recipient: &Recipient) -> Option<Reason> {
    let Some(facts) = recipient.number_facts() else { return Some(Reason::NoDestination) };
    if recipient.sms_opted_out.is_some() {
        return Some(Reason::OptedOut);
    }
    if !policy.limits.sms.allows(&facts) {
        return Some(Reason::SmsCountryNotAllowed);
    }
    if lacks_registration(policy, &settings.compliance, facts.country.as_deref()) {
        return Some(Reason::DltRegistrationMissing);
    }
    (recipient.dnd && !recipient.sms_consent).then_some(Reason::Dnd)
}

/// Whether a number's country requires a registered entity and template for text messages (DLT) that the tenant does not have. A number that
/// does not reveal its country has the tenant's.
#[must_use]
pub fn lacks_registration(policy: &Policy, compliance: &SmsCompliance, country: Option<&str>) -> bool {
    requires_registration(policy, compliance, country)
        && (compliance.dlt_entity_id.is_none() || compliance.dlt_template_id.is_none())
}

/// Whether text messages to a number of this country must name the tenant's registered entity and template (DLT).
#[must_use]
pub fn requires_registration(policy: &Policy, compliance: &SmsCompliance, country: Option<&str>) -> bool {
    let country = country.or(compliance.country.as_deref());
    country.and_then(|code| policy.compliance.country(code)).is_some_and(|rules| rules.dlt_required)
}
