//! Confirmation of addresses and numbers: asks the owner of a recipient's e-mail address or phone number whether it may receive alerts.
//!
//! The request goes through the channel's own queue. An address is confirmed by a link, a number by a code that the admin enters.

use crate::App;
use crate::access::storage_problem;
use aws::sqs::OutgoingMessage;
use contracts::http::ConfirmationView;
use contracts::queue::{ConfirmationRequest, DeliveryTarget, VERSION};
use domain::contact::{
    CONFIRMATION_LIFETIME, PendingConfirmation, TENANT_CONFIRMATIONS_PER_DAY_MAX, next_confirmation_at,
    record_confirmation, utc_day,
};
use domain::ids::TenantId;
use domain::reason::Reason;
use domain::tenant::{Recipient, Sealed, Settings};
use domain::vocabulary::Channel;
use jiff::Timestamp;
use runtime::http::{CorrelationId, Problem};
use runtime::{clock, ids};
use std::collections::BTreeMap;
use store::contacts::ConfirmationHistory;

/// What addresses and numbers are fingerprinted for.
const CONTACT_PURPOSE: &str = "contact";
/// What codes are fingerprinted for.
const CODE_PURPOSE: &str = "confirmation-code";

/// Why nobody was asked.
pub(crate) enum RequestFailure {
    /// Asked often enough.
    RateLimited(Timestamp),
    /// A setting forbids to write there.
    Withheld(Reason),
    /// The table, the queue or the keys.
    Internal,
}

/// The channels on which a recipient has something that is not confirmed.
pub(crate) fn unconfirmed_channels(recipient: &Recipient) -> Vec<Channel> {
    // An address that bounced or complained is asked anew, and so is a number whose owner stopped text messages.
    let asked = !recipient.email_confirmed || recipient.suppressed.is_some();
    let email = (recipient.email.is_some() && asked).then_some(Channel::Email);
    let asked = !recipient.phone_confirmed || recipient.sms_opted_out.is_some();
    let sms = (recipient.phone.is_some() && asked).then_some(Channel::Sms);
    email.into_iter().chain(sms).collect()
}

/// What is asked on a channel: the normalised address or number, and its keyed hash.
pub(crate) fn contact_fingerprint(app: &App, recipient: &Recipient, channel: Channel) -> Option<String> {
    let contact = match channel {
        Channel::Email => recipient.email.as_ref()?.identity(),
        _ => recipient.phone.as_ref()?.expose().to_owned(),
    };
    app.keyring.fingerprint(CONTACT_PURPOSE, &contact).ok()
}

/// Asks whoever is new on a recipient. The recipient is saved: what goes wrong here takes nothing back, and is said.
pub(crate) async fn request_after_save(
    app: &App,
    settings: &Settings,
    before: Option<&Recipient>,
    recipient: &Recipient,
    correlation: &CorrelationId,
) -> Option<BTreeMap<String, ConfirmationView>> {
    let mut said = BTreeMap::new();
    for channel in unconfirmed_channels(recipient) {
        let now = clock::now();
        let same = before.is_some_and(|before| {
            contact_fingerprint(app, before, channel) == contact_fingerprint(app, recipient, channel)
        });
        let view = match same {
            true => confirmation_state(app, &settings.tenant, recipient, channel).await.ok()?,
            false => match request_confirmation(app, settings, recipient, channel, &correlation.0, now).await {
                Ok(()) => sent_view(now),
                Err(failure) => failure_view(&failure),
            },
        };
        said.insert(channel.as_str().to_owned(), view);
    }
    (!said.is_empty()).then_some(said)
}

/// How the confirmations of a recipient stand, where one is not confirmed.
pub(crate) async fn confirmation_states(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
) -> Result<Option<BTreeMap<String, ConfirmationView>>, Problem> {
    let mut said = BTreeMap::new();
    for channel in unconfirmed_channels(recipient) {
        said.insert(channel.as_str().to_owned(), confirmation_state(app, tenant, recipient, channel).await?);
    }
    Ok((!said.is_empty()).then_some(said))
}

async fn confirmation_state(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
    channel: Channel,
) -> Result<ConfirmationView, Problem> {
    let pending = app.table.pending_confirmation(tenant, &recipient.id, channel).await.map_err(storage_problem)?;
    let asked =
        pending.filter(|pending| contact_fingerprint(app, recipient, channel).as_ref() == Some(&pending.identity));
    Ok(match asked {
        Some(PendingConfirmation { refused: Some(cause), sent_at, .. }) => ConfirmationView {
            state: "refused".to_owned(),
            remedy: format!("The provider did not take it ({cause}). Correct the address or number."),
            sent_at: Some(sent_at),
            next_at: None,
        },
        Some(pending) => sent_view(pending.sent_at),
        None => failure_view(&RequestFailure::Internal),
    })
}

pub(crate) fn sent_view(at: Timestamp) -> ConfirmationView {
    ConfirmationView {
        state: "sent".to_owned(),
        remedy: "Wait for the recipient: the link in the e-mail, or the code of the SMS, is good for 24 hours."
            .to_owned(),
        sent_at: Some(at),
        next_at: None,
    }
}

fn failure_view(failure: &RequestFailure) -> ConfirmationView {
    let (state, remedy, next_at) = match failure {
        RequestFailure::RateLimited(at) => {
            ("too_soon", "It was asked often already. Ask again then.".to_owned(), Some(*at))
        }
        RequestFailure::Withheld(reason) => ("withheld", format!("{} {}", reason.sentence(), reason.remedy()), None),
        RequestFailure::Internal => ("not_sent", "Ask again by POST …/confirmation.".to_owned(), None),
    };
    ConfirmationView { state: state.to_owned(), remedy, sent_at: None, next_at }
}

pub(crate) async fn request_confirmation(
    app: &App,
    settings: &Settings,
    recipient: &Recipient,
    channel: Channel,
    correlation: &str,
    now: Timestamp,
) -> Result<(), RequestFailure> {
    if let Some(reason) = withhold_reason(settings, recipient, channel) {
        return Err(RequestFailure::Withheld(reason));
    }
    let identity = contact_fingerprint(app, recipient, channel).ok_or(RequestFailure::Internal)?;
    let asked = app.table.confirmation_history(&identity).await.map_err(storage_failure)?;
    let tenant = &settings.tenant;
    if let Some(at) = next_confirmation_at(&asked.sent, tenant, now) {
        return Err(RequestFailure::RateLimited(at));
    }
    let (day, tomorrow) = utc_day(now);
    if !app
        .table
        .count_confirmation(tenant, day, TENANT_CONFIRMATIONS_PER_DAY_MAX, now)
        .await
        .map_err(storage_failure)?
    {
        return Err(RequestFailure::RateLimited(tomorrow));
    }
    let code = (channel == Channel::Sms).then(random_code);
    let (target, url) = match channel {
        Channel::Email => {
            let (address, shared) = (recipient.email.clone().ok_or(RequestFailure::Internal)?, recipient.shared);
            (DeliveryTarget::Email { address, shared }, &app.email_queue_url)
        }
        _ => {
            let (phone, compliance) =
                (recipient.phone.clone().ok_or(RequestFailure::Internal)?, settings.compliance.clone());
            (DeliveryTarget::Sms { phone, compliance }, &app.sms_queue_url)
        }
    };
    let hash = match &code {
        Some(code) => code_hash(app, &identity, code).ok_or(RequestFailure::Internal)?,
        None => String::new(),
    };
    let pending = PendingConfirmation { identity: identity.clone(), code: hash, sent_at: now, tries: 0, refused: None };
    let next = ConfirmationHistory { sent: record_confirmation(&asked.sent, tenant, now), ..asked };
    // First noted, then sent: what is noted and not sent costs a minute; what is sent and not noted would be no limit.
    if !app
        .table
        .record_confirmation(&identity, &next, (tenant, &recipient.id, channel), &pending, now)
        .await
        .map_err(storage_failure)?
    {
        return Err(RequestFailure::RateLimited(
            now.saturating_add(domain::contact::CONFIRMATION_INTERVAL_MIN).unwrap_or(now),
        ));
    }
    let code = match &code {
        Some(code) => {
            let aad = vault::integration_aad(tenant.as_str(), recipient.id.as_str());
            let sealed = app.keyring.seal(&aad, code.as_bytes()).map_err(|_| RequestFailure::Internal)?;
            Some(Sealed::new(sealed.into()))
        }
        None => None,
    };
    let confirmation = ConfirmationRequest {
        v: VERSION,
        correlation_id: correlation.to_owned(),
        tenant: tenant.clone(),
        tenant_name: settings.name.clone(),
        recipient: recipient.id.clone(),
        identity,
        until: now.saturating_add(CONFIRMATION_LIFETIME).unwrap_or(now),
        code,
        target,
    };
    let body = serde_json::to_string(&confirmation).map_err(|_| RequestFailure::Internal)?;
    let outgoing = OutgoingMessage { body, group: Some(tenant.to_string()), ..OutgoingMessage::default() };
    app.queues.send(url, &outgoing).await.map_err(|error| {
        tracing::error!(%error, %tenant, "a confirmation could not be queued");
        RequestFailure::Internal
    })
}

/// Why nothing may be written there, whatever its owner would answer.
fn withhold_reason(settings: &Settings, recipient: &Recipient, channel: Channel) -> Option<Reason> {
    match channel {
        Channel::Email => {
            let domain = recipient.email.as_ref().map(domain::tenant::Email::domain)?;
            let allowed = &settings.allowed_email_domains;
            let outside = !allowed.is_empty() && !allowed.iter().any(|known| known == domain);
            outside.then_some(Reason::DomainNotAllowed)
        }
        _ => (recipient.dnd && !recipient.sms_consent).then_some(Reason::Dnd),
    }
}

/// A code's keyed hash, bound to the number that it was sent to.
pub(crate) fn code_hash(app: &App, identity: &str, code: &str) -> Option<String> {
    app.keyring.fingerprint(CODE_PURPOSE, &format!("{identity}.{code}")).ok()
}

/// Six digits, each as likely as any other.
fn random_code() -> String {
    // 2^64 is so much larger than a million that the rest of the division favours nobody.
    format!("{:06}", u64::from_le_bytes(ids::random_bytes::<8>()) % 1_000_000)
}

fn storage_failure(error: store::StoreError) -> RequestFailure {
    tracing::error!(%error, "the table did not answer");
    RequestFailure::Internal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        for _ in 0..100 {
            let code = random_code();
            assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        }
    }
}
