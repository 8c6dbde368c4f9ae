//! Who may be written to: one rule per channel, shared by alerts, tests, confirmations, notices, retries and resends.
//!
//! What belongs to the tenant (plan, agreement, compliance) and what belongs to the contact (opt-outs, suppression, country and type of a
//! number) are kept apart, because a resolve goes to whoever got the opening, whatever the tenant's plan says by now.

use crate::policy::Policy;
use crate::reason::Reason;
use crate::tenant::{Recipient, Settings, compliance_wording};
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
        Channel::Sms => refused_for_number(policy, recipient),
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

fn refused_for_number(policy: &Policy, recipient: &Recipient) -> Option<Reason> {
    let Some(facts) = recipient.number_facts() else { return Some(Reason::NoDestination) };
    if recipient.sms_opted_out.is_some() {
        return Some(Reason::OptedOut);
    }
    if !policy.limits.sms.allows(&facts) {
        return Some(Reason::SmsCountryNotAllowed);
    }
    (recipient.dnd && !recipient.sms_consent).then_some(Reason::Dnd)
}
