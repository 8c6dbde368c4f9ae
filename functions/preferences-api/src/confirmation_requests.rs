//! Confirmation of addresses and numbers: asks the owner of a recipient's e-mail address or phone number whether it may receive alerts.
//!
//! The request goes through the channel's own queue. An address is confirmed by a link, a number by a code that the admin enters.

use crate::App;
use crate::access::storage_problem;
use aws::sqs::OutgoingMessage;
use contracts::http::ConfirmationView;
use contracts::queue::{ConfirmationRequest, DeliveryTarget, Question, VERSION};
use domain::attempt::CAUSE_CODE_LOST;
use domain::contact::{
    CONFIRMATION_INTERVAL_MIN, CONFIRMATION_LIFETIME, ConfirmationCounter, PendingConfirmation, Unsubscription,
    next_confirmation_at, record_confirmation, utc_day,
};
use domain::ids::{SuppressionId, TenantId};
use domain::permission::{refused_for_contact, refused_for_tenant};
use domain::reason::Reason;
use domain::suppression::Resubscription;
use domain::tenant::{Email, Recipient, Sealed, Settings};
use domain::vocabulary::Channel;
use jiff::Timestamp;
use runtime::http::Problem;
use runtime::{clock, ids};
use std::collections::BTreeMap;
use store::contacts::{ConfirmationHistory, RecipientChannel};
use vault::FingerprintPurpose;

/// Who asks for a confirmation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The id of the integration of the caller's token, which a rotation keeps.
    pub(crate) integration_id: &'a str,
    /// The id of the caller's request.
    pub(crate) correlation: &'a str,
}

/// On what occasion a confirmation is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A recipient was saved with a new address or number. Nobody is asked again about a suppressed one.
    AfterSave,
    /// An admin asked for it.
    Requested,
}

/// What to do about an address whose owner was asked often enough.
pub(crate) const ASKED_ENOUGH: &str = "Its owner was asked three times and did not allow it; use another address.";

/// Why no confirmation was requested.
pub(crate) enum RequestFailure {
    /// The owner of a suppressed address was asked as often as ever possible.
    AskedEnough(Reason),
    /// The contact or the tenant has had too many requests; the next one is allowed at this time.
    RateLimited(Timestamp),
    /// The owner unsubscribed and was asked lately; the next question is allowed at this time.
    UnsubscribedAndAsked(Timestamp),
    /// A setting forbids sending to this address or number.
    Withheld(Reason),
    /// The table, the queue or the encryption failed.
    Internal,
}

/// Returns the channels on which the recipient's address or number needs a confirmation.
pub(crate) fn unconfirmed_channels(recipient: &Recipient) -> Vec<Channel> {
    // An address that bounced or complained must be confirmed again, and so must a number whose owner opted out of text messages.
    let unsubscribed = !recipient.unsubscribed.is_empty() || recipient.unsubscribed_warnings;
    let email_needs_it = !recipient.email_confirmed || recipient.suppressed.is_some() || unsubscribed;
    let phone_needs_it = !recipient.phone_confirmed || recipient.sms_opted_out.is_some();
    let mut channels = Vec::new();
    if recipient.email.is_some() && email_needs_it {
        channels.push(Channel::Email);
    }
    if recipient.phone.is_some() && phone_needs_it {
        channels.push(Channel::Sms);
    }
    channels
}

/// Returns the keyed hash of the recipient's normalized address or number; `None` if it has none on this channel.
pub(crate) fn contact_fingerprint(app: &App, recipient: &Recipient, channel: Channel) -> Option<String> {
    let contact = match channel {
        Channel::Email => recipient.email.as_ref()?.identity(),
        _ => recipient.phone.as_ref()?.expose().to_owned(),
    };
    app.fingerprints.contact(&contact).ok()
}

/// Requests a confirmation of each new address or number of a recipient that was just saved, and returns the state of each unconfirmed one.
/// A failure does not undo the save; it is part of that state.
pub(crate) async fn request_after_save(
    app: &App,
    settings: &Settings,
    before: Option<&Recipient>,
    recipient: &Recipient,
    asker: Asker<'_>,
) -> Option<BTreeMap<String, ConfirmationView>> {
    let mut states = BTreeMap::new();
    for channel in unconfirmed_channels(recipient) {
        let now = clock::now();
        let same = before.is_some_and(|before| {
            contact_fingerprint(app, before, channel) == contact_fingerprint(app, recipient, channel)
        });
        let view = if same {
            confirmation_state(app, &settings.tenant, recipient, channel).await.ok()?
        } else {
            match request_confirmation(app, settings, recipient, channel, asker, Occasion::AfterSave, now).await {
                Ok(()) => sent_view(now),
                Err(failure) => failure_view(&failure),
            }
        };
        states.insert(channel.as_str().to_owned(), view);
    }
    (!states.is_empty()).then_some(states)
}

/// Returns the state of the confirmation for each unconfirmed address or number; `None` if all are confirmed.
pub(crate) async fn confirmation_states(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
) -> Result<Option<BTreeMap<String, ConfirmationView>>, Problem> {
    let mut states = BTreeMap::new();
    for channel in unconfirmed_channels(recipient) {
        states.insert(channel.as_str().to_owned(), confirmation_state(app, tenant, recipient, channel).await?);
    }
    Ok((!states.is_empty()).then_some(states))
}

/// Returns the state of the latest confirmation request on a channel.
async fn confirmation_state(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
    channel: Channel,
) -> Result<ConfirmationView, Problem> {
    let pending = app.table.pending_confirmation(tenant, &recipient.id, channel).await.map_err(storage_problem)?;
    // A request to an earlier address or number does not count.
    let current =
        pending.filter(|pending| contact_fingerprint(app, recipient, channel).as_ref() == Some(&pending.identity));
    Ok(match current {
        Some(PendingConfirmation { refused: Some(cause), sent_at, .. }) => ConfirmationView {
            state: "refused".to_owned(),
            remedy: refusal_remedy(&cause),
            sent_at: Some(sent_at),
            next_at: None,
        },
        Some(pending) => sent_view(pending.sent_at),
        None => failure_view(
            &recipient
                .suppressed
                .filter(|_| channel == Channel::Email)
                .map_or(RequestFailure::Internal, |suppressed| RequestFailure::Withheld(suppressed.reason)),
        ),
    })
}

/// Returns what to do about a confirmation that was not accepted: by a rule of Tocsin, or by the provider.
fn refusal_remedy(cause: &str) -> String {
    if cause == CAUSE_CODE_LOST {
        return "The code was on its way when the key that protected it was replaced. Request it again.".to_owned();
    }
    match Reason::parse(cause) {
        Some(reason) => format!("{} {}", reason.sentence(), reason.remedy()),
        None => format!("The provider rejected the address or number ({cause}). Correct it."),
    }
}

/// Returns the state of a confirmation that was requested at `at`.
pub(crate) fn sent_view(at: Timestamp) -> ConfirmationView {
    ConfirmationView {
        state: "sent".to_owned(),
        remedy:
            "Wait for the recipient. The link in the e-mail, or the code in the text message, is valid for 24 hours."
                .to_owned(),
        sent_at: Some(at),
        next_at: None,
    }
}

/// Why somebody who unsubscribed is not asked again before a day.
pub(crate) fn unsubscribed_and_asked(at: Timestamp) -> String {
    format!(
        "The owner of this address unsubscribed from your alerts, and was asked whether to get them again. The next question can be asked on {}.",
        at.strftime("%Y-%m-%d")
    )
}

/// Returns the state of a confirmation that could not be requested.
fn failure_view(failure: &RequestFailure) -> ConfirmationView {
    let (state, remedy, next_at) = match failure {
        RequestFailure::RateLimited(at) => (
            "too_soon",
            "Too many confirmations were requested. Try again at the time in `next_at`.".to_owned(),
            Some(*at),
        ),
        RequestFailure::UnsubscribedAndAsked(at) => ("too_soon", unsubscribed_and_asked(*at), Some(*at)),
        RequestFailure::Withheld(reason) => ("withheld", format!("{} {}", reason.sentence(), reason.remedy()), None),
        RequestFailure::AskedEnough(reason) => ("withheld", format!("{} {ASKED_ENOUGH}", reason.sentence()), None),
        RequestFailure::Internal => ("not_sent", "Request it again with POST …/confirmation.".to_owned(), None),
    };
    ConfirmationView { state: state.to_owned(), remedy, sent_at: None, next_at }
}

/// Sends a confirmation request to the recipient's address or number.
///
/// # Errors
/// Why nothing was sent.
pub(crate) async fn request_confirmation(
    app: &App,
    settings: &Settings,
    recipient: &Recipient,
    channel: Channel,
    asker: Asker<'_>,
    occasion: Occasion,
    now: Timestamp,
) -> Result<(), RequestFailure> {
    let suppressed = match recipient.email.as_ref().filter(|_| channel == Channel::Email).map(SuppressionId::of) {
        Some(id) => app.table.address_suppression(&id).await.map_err(storage_failure)?.map(|found| (id, found)),
        None => None,
    };
    // Of a suppressed address only its owner can be asked, and only rarely; it is suppressed at the recipient as well.
    let asked = Recipient { suppressed: None, sms_opted_out: None, ..recipient.clone() };
    let refused = refused_for_tenant(&app.policy, settings, channel.class())
        .or_else(|| refused_for_contact(&app.policy, settings, &asked, channel));
    if let Some(reason) = refused {
        return Err(RequestFailure::Withheld(reason));
    }
    if let Some((_, suppression)) = &suppressed {
        match (occasion, suppression.may_ask(now)) {
            (Occasion::AfterSave, _) => return Err(RequestFailure::Withheld(suppression.reason)),
            (_, Resubscription::Later(at)) => return Err(RequestFailure::RateLimited(at)),
            (_, Resubscription::Never) => return Err(RequestFailure::AskedEnough(suppression.reason)),
            (_, Resubscription::Now) => {}
        }
    }
    let identity = contact_fingerprint(app, recipient, channel).ok_or(RequestFailure::Internal)?;
    let limited = limited_contact(app, recipient, channel).ok_or(RequestFailure::Internal)?;
    let tenant = &settings.tenant;
    let unsubscription = match channel {
        Channel::Email => {
            let recorded = app.table.unsubscription(tenant, &limited).await.map_err(storage_failure)?;
            // Whoever unsubscribed under release 0.1.0 has no record of it.
            let is_unsubscribed = !recipient.unsubscribed.is_empty() || recipient.unsubscribed_warnings;
            recorded.or_else(|| is_unsubscribed.then_some(Unsubscription { at: now, asked_at: None, version: 0 }))
        }
        _ => None,
    };
    if let Some(at) = unsubscription.and_then(|one| one.next_question_at(&app.policy.limits.confirmations, now)) {
        return Err(RequestFailure::UnsubscribedAndAsked(at));
    }
    let history = app.table.confirmation_history(&limited).await.map_err(storage_failure)?;
    if let Some(at) = next_confirmation_at(&history.sent, tenant, &app.policy.limits.confirmations, now) {
        return Err(RequestFailure::RateLimited(at));
    }
    count_for_limits(app, tenant, recipient, channel, asker, now).await?;
    let (target, queue_url) = delivery_target(app, settings, recipient, channel).ok_or(RequestFailure::Internal)?;
    let code = (channel == Channel::Sms).then(random_code);
    let hash = match &code {
        Some(code) => code_hash(app, &identity, code).ok_or(RequestFailure::Internal)?,
        None => String::new(),
    };
    let pending = PendingConfirmation { identity: identity.clone(), code: hash, sent_at: now, tries: 0, refused: None };
    let next = ConfirmationHistory { sent: record_confirmation(&history.sent, tenant, now), ..history };
    // Recorded before it is sent: a request that is recorded but not sent costs a minute; one that is sent but not recorded would escape
    // the limit.
    let contact = RecipientChannel { tenant, recipient: &recipient.id, channel };
    let recorded = app.table.record_confirmation(&limited, &next, contact, &pending, now);
    if !recorded.await.map_err(storage_failure)? {
        return Err(RequestFailure::RateLimited(now.saturating_add(CONFIRMATION_INTERVAL_MIN).unwrap_or(now)));
    }
    if let Some((id, suppression)) = &suppressed {
        let after = suppression.asked_at(now);
        if !app.table.record_resubscription_request(id, &after).await.map_err(storage_failure)? {
            return Err(RequestFailure::RateLimited(now.saturating_add(CONFIRMATION_INTERVAL_MIN).unwrap_or(now)));
        }
    }
    if let Some(unsubscription) = unsubscription {
        let asked = Unsubscription { asked_at: Some(now), ..unsubscription };
        if !app.table.put_unsubscription(tenant, &limited, asked, now).await.map_err(storage_failure)? {
            return Err(RequestFailure::RateLimited(now.saturating_add(CONFIRMATION_INTERVAL_MIN).unwrap_or(now)));
        }
    }
    let question = if suppressed.is_some() {
        Question::AllowAgain
    } else if channel == Channel::Email && recipient.email_confirmed && recipient.suppressed.is_none() {
        Question::SubscribeAgain
    } else {
        Question::Confirm
    };
    let code = match code {
        Some(code) => Some(seal_code(app, tenant, recipient, &code).await?),
        None => None,
    };
    let confirmation = ConfirmationRequest {
        v: VERSION,
        correlation_id: asker.correlation.to_owned(),
        tenant: tenant.clone(),
        tenant_name: settings.name_for_strangers().to_owned(),
        recipient: recipient.id.clone(),
        identity,
        until: now.saturating_add(CONFIRMATION_LIFETIME).unwrap_or(now),
        code,
        target,
        question,
    };
    let body = serde_json::to_string(&confirmation).map_err(|_| RequestFailure::Internal)?;
    let outgoing = OutgoingMessage { body, group: Some(tenant.to_string()), ..OutgoingMessage::default() };
    let Err(error) = app.queues.send(queue_url, &outgoing).await else { return Ok(()) };
    tracing::error!(%error, %tenant, "cannot queue a confirmation request");
    if let Some(unsubscription) = unsubscription {
        // Nobody was asked, so the month does not begin. If this fails too, the tenant waits for it.
        let not_asked = Unsubscription { version: unsubscription.version + 1, ..unsubscription };
        if let Err(error) = app.table.put_unsubscription(tenant, &limited, not_asked, now).await {
            tracing::warn!(%error, %tenant, "a question that was not sent counts");
        }
    }
    Err(RequestFailure::Internal)
}

/// Returns where the request goes, and the URL of the queue for it; `None` if the recipient has nothing on this channel.
fn delivery_target<'a>(
    app: &'a App,
    settings: &Settings,
    recipient: &Recipient,
    channel: Channel,
) -> Option<(DeliveryTarget, &'a str)> {
    if channel == Channel::Email {
        let address = recipient.email.clone()?;
        Some((DeliveryTarget::Email { address, shared: recipient.shared }, &app.email_queue_url))
    } else {
        let phone = recipient.phone.clone()?;
        Some((DeliveryTarget::Sms { phone, compliance: settings.sms_compliance() }, &app.sms_queue_url))
    }
}

/// Encrypts a code for its way through the queue.
async fn seal_code(app: &App, tenant: &TenantId, recipient: &Recipient, code: &str) -> Result<Sealed, RequestFailure> {
    let aad = vault::owner_aad(tenant.as_str(), recipient.id.as_str());
    let keyring = app.keyring.get(clock::now()).await.map_err(|error| {
        tracing::error!(%error, "cannot load the data keys");
        RequestFailure::Internal
    })?;
    let sealed = keyring.seal(&aad, code.as_bytes()).map_err(|_| RequestFailure::Internal)?;
    Ok(Sealed::new(sealed.into()))
}

/// Returns the keyed hash by which limits count the recipient's mailbox or number, however it is spelled.
fn limited_contact(app: &App, recipient: &Recipient, channel: Channel) -> Option<String> {
    let contact = match channel {
        Channel::Email => recipient.email.as_ref()?.limited_mailbox(),
        _ => recipient.phone.as_ref()?.expose().to_owned(),
    };
    app.fingerprints.fingerprint(FingerprintPurpose::LimitedContact, &contact).ok()
}

/// Records that the owner of a recipient's address unsubscribed from the tenant's mail. It is remembered by the mailbox: deleting the recipient
/// and adding it again does not make anybody a stranger who may be asked.
pub(crate) async fn record_unsubscription(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
    now: Timestamp,
) -> Result<(), store::StoreError> {
    let Some(mailbox) = limited_contact(app, recipient, Channel::Email) else { return Ok(()) };
    let before = app.table.unsubscription(tenant, &mailbox).await?;
    let (asked_at, version) = before.map_or((None, 0), |before| (before.asked_at, before.version));
    // If another click was recorded meanwhile, it says the same.
    app.table.put_unsubscription(tenant, &mailbox, Unsubscription { at: now, asked_at, version }, now).await.map(drop)
}

/// Counts a request against every limit per day.
async fn count_for_limits(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
    channel: Channel,
    asker: Asker<'_>,
    now: Timestamp,
) -> Result<(), RequestFailure> {
    let domain = recipient.email.as_ref().filter(|_| channel == Channel::Email).map(Email::wire_domain);
    let domain = domain.as_deref().map(ConfirmationCounter::Domain);
    let others = [
        ConfirmationCounter::Recipient(&recipient.id),
        ConfirmationCounter::Token(asker.integration_id),
        ConfirmationCounter::Tenant,
    ];
    for counter in domain.into_iter().chain(others) {
        let limit = counter.limit(&app.policy.limits.confirmations);
        if !app.table.count_confirmation(tenant, counter, limit, now).await.map_err(storage_failure)? {
            let (_, tomorrow) = utc_day(now);
            return Err(RequestFailure::RateLimited(tomorrow));
        }
    }
    Ok(())
}

/// Returns the keyed hash of a code, bound to the number that it was sent to.
pub(crate) fn code_hash(app: &App, identity: &str, code: &str) -> Option<String> {
    app.fingerprints.fingerprint(FingerprintPurpose::ConfirmationCode, &format!("{identity}.{code}")).ok()
}

/// Returns a random code of six digits.
fn random_code() -> String {
    // The bias of the modulo is negligible, because 2^64 is so much larger than a million.
    format!("{:06}", u64::from_le_bytes(ids::random_bytes::<8>()) % 1_000_000)
}

fn storage_failure(error: store::StoreError) -> RequestFailure {
    tracing::error!(%error, "a table operation failed");
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
