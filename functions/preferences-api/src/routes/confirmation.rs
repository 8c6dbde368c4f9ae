//! Confirming that an address or a number is whose the tenant says it is. The question goes through the channel's own queue; an
//! address answers by a link, a number by a code that the admin enters.

use super::recipients::{find, store};
use super::settings_of;
use crate::App;
use crate::access::{self, Limited, MANAGE, answer, tagged};
use crate::check::recipient as check;
use aws::sqs::Outgoing;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{AskConfirmationBody, ConfirmBody, ConfirmationView};
use contracts::problem::FieldError;
use contracts::queue::{Confirmation, Target, VERSION};
use domain::contact::{A_TENANTS_DAY, Code, LIFE, Pending, day, next_at, sent_now};
use domain::ids::TenantId;
use domain::reason::Reason;
use domain::tenant::{Recipient, Sealed, Settings};
use domain::vocabulary::Channel;
use jiff::Timestamp;
use runtime::http::{Caller, Correlation, Problem};
use runtime::{clock, ids};
use std::collections::BTreeMap;
use store::contacts::Asked;

/// What addresses and numbers are fingerprinted for.
const CONTACT: &str = "contact";
/// What codes are fingerprinted for.
const CODE: &str = "confirmation-code";

/// Why nobody was asked.
enum Unasked {
    /// Asked often enough.
    TooSoon(Timestamp),
    /// A setting forbids to write there.
    Withheld(Reason),
    /// The table, the queue or the keys.
    Fault,
}

/// The channels on which a recipient has something that is not confirmed.
fn unconfirmed(recipient: &Recipient) -> Vec<Channel> {
    // An address that bounced or complained is asked anew, and so is a number whose owner stopped text messages.
    let asked = !recipient.email_confirmed || recipient.suppressed.is_some();
    let email = (recipient.email.is_some() && asked).then_some(Channel::Email);
    let asked = !recipient.phone_confirmed || recipient.sms_opted_out.is_some();
    let sms = (recipient.phone.is_some() && asked).then_some(Channel::Sms);
    email.into_iter().chain(sms).collect()
}

/// What is asked on a channel: the normalised address or number, and its keyed hash.
pub(crate) fn identity(app: &App, recipient: &Recipient, channel: Channel) -> Option<String> {
    let contact = match channel {
        Channel::Email => recipient.email.as_ref()?.identity(),
        _ => recipient.phone.as_ref()?.expose().to_owned(),
    };
    app.keyring.fingerprint(CONTACT, &contact).ok()
}

/// Asks whoever is new on a recipient. The recipient is saved: what goes wrong here takes nothing back, and is said.
pub(crate) async fn after_write(
    app: &App,
    settings: &Settings,
    before: Option<&Recipient>,
    recipient: &Recipient,
    correlation: &Correlation,
) -> Option<BTreeMap<String, ConfirmationView>> {
    let mut said = BTreeMap::new();
    for channel in unconfirmed(recipient) {
        let now = clock::now();
        let same = before.is_some_and(|before| identity(app, before, channel) == identity(app, recipient, channel));
        let view = match same {
            true => stands(app, &settings.tenant, recipient, channel).await.ok()?,
            false => match ask(app, settings, recipient, channel, &correlation.0, now).await {
                Ok(()) => sent(now),
                Err(unasked) => view(&unasked),
            },
        };
        said.insert(channel.as_str().to_owned(), view);
    }
    (!said.is_empty()).then_some(said)
}

/// How the confirmations of a recipient stand, where one is not confirmed.
pub(crate) async fn standing(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
) -> Result<Option<BTreeMap<String, ConfirmationView>>, Problem> {
    let mut said = BTreeMap::new();
    for channel in unconfirmed(recipient) {
        said.insert(channel.as_str().to_owned(), stands(app, tenant, recipient, channel).await?);
    }
    Ok((!said.is_empty()).then_some(said))
}

async fn stands(
    app: &App,
    tenant: &TenantId,
    recipient: &Recipient,
    channel: Channel,
) -> Result<ConfirmationView, Problem> {
    let pending = app.table.pending(tenant, &recipient.id, channel).await.map_err(access::table)?;
    let asked = pending.filter(|pending| identity(app, recipient, channel).as_ref() == Some(&pending.identity));
    Ok(match asked {
        Some(Pending { refused: Some(cause), sent_at, .. }) => ConfirmationView {
            state: "refused".to_owned(),
            mend: format!("The provider did not take it ({cause}). Correct the address or number."),
            sent_at: Some(sent_at),
            next_at: None,
        },
        Some(pending) => sent(pending.sent_at),
        None => view(&Unasked::Fault),
    })
}

fn sent(at: Timestamp) -> ConfirmationView {
    ConfirmationView {
        state: "sent".to_owned(),
        mend: "Wait for the recipient: the link in the e-mail, or the code of the SMS, is good for 24 hours."
            .to_owned(),
        sent_at: Some(at),
        next_at: None,
    }
}

fn view(unasked: &Unasked) -> ConfirmationView {
    let (state, mend, next_at) = match unasked {
        Unasked::TooSoon(at) => ("too_soon", "It was asked often already. Ask again then.".to_owned(), Some(*at)),
        Unasked::Withheld(reason) => ("withheld", format!("{} {}", reason.sentence(), reason.mend()), None),
        Unasked::Fault => ("not_sent", "Ask again by POST …/confirmation.".to_owned(), None),
    };
    ConfirmationView { state: state.to_owned(), mend, sent_at: None, next_at }
}

/// `POST /v1/tenants/{tenant}/recipients/{id}/confirmation`
pub(crate) async fn again(
    State(app): State<App>,
    caller: Caller,
    correlation: Correlation,
    Path((path, id)): Path<(String, String)>,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let settings = settings_of(&app, &tenant).await?;
    let recipient = find(&app, &tenant, &id).await?;
    let body: AskConfirmationBody = body.parse()?;
    let channel = of_person(&body.channel)?;
    if !unconfirmed(&recipient).contains(&channel) {
        return Err(Problem::conflict("there is nothing to confirm on this channel: it is confirmed, or empty"));
    }
    let now = clock::now();
    match ask(&app, &settings, &recipient, channel, &correlation.0, now).await {
        Ok(()) => Ok(answer(StatusCode::ACCEPTED, &sent(now))),
        Err(Unasked::TooSoon(at)) => {
            let seconds = u32::try_from((at.as_second() - now.as_second()).max(1)).unwrap_or(u32::MAX);
            let detail = "this address or number was asked often already; ask again after the seconds in Retry-After";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds))
        }
        Err(Unasked::Withheld(reason)) => {
            Err(Problem::conflict(&format!("{}: {} {}", reason.as_str(), reason.sentence(), reason.mend())))
        }
        Err(Unasked::Fault) => Err(Problem::unavailable()),
    }
}

fn of_person(word: &str) -> Result<Channel, Problem> {
    match Channel::parse(word) {
        Some(channel @ (Channel::Email | Channel::Sms)) => Ok(channel),
        _ => Err(Problem::fields(vec![FieldError::new("/channel", "must be email or sms")])),
    }
}

async fn ask(
    app: &App,
    settings: &Settings,
    recipient: &Recipient,
    channel: Channel,
    correlation: &str,
    now: Timestamp,
) -> Result<(), Unasked> {
    if let Some(reason) = withheld(settings, recipient, channel) {
        return Err(Unasked::Withheld(reason));
    }
    let identity = identity(app, recipient, channel).ok_or(Unasked::Fault)?;
    let asked = app.table.asked(&identity).await.map_err(fault)?;
    let tenant = &settings.tenant;
    if let Some(at) = next_at(&asked.sent, tenant, now) {
        return Err(Unasked::TooSoon(at));
    }
    let (day, tomorrow) = day(now);
    if !app.table.count_asked(tenant, day, A_TENANTS_DAY, now).await.map_err(fault)? {
        return Err(Unasked::TooSoon(tomorrow));
    }
    let code = (channel == Channel::Sms).then(six_digits);
    let (target, url) = match channel {
        Channel::Email => {
            let (address, shared) = (recipient.email.clone().ok_or(Unasked::Fault)?, recipient.shared);
            (Target::Email { address, shared }, &app.email_queue_url)
        }
        _ => {
            let (phone, compliance) = (recipient.phone.clone().ok_or(Unasked::Fault)?, settings.compliance.clone());
            (Target::Sms { phone, compliance }, &app.sms_queue_url)
        }
    };
    let hash = match &code {
        Some(code) => hash_of(app, &identity, code).ok_or(Unasked::Fault)?,
        None => String::new(),
    };
    let pending = Pending { identity: identity.clone(), code: hash, sent_at: now, tries: 0, refused: None };
    let next = Asked { sent: sent_now(&asked.sent, tenant, now), ..asked };
    // First noted, then sent: what is noted and not sent costs a minute; what is sent and not noted would be no limit.
    if !app.table.ask(&identity, &next, (tenant, &recipient.id, channel), &pending, now).await.map_err(fault)? {
        return Err(Unasked::TooSoon(now.saturating_add(domain::contact::PAUSE).unwrap_or(now)));
    }
    let code = match &code {
        Some(code) => {
            let aad = vault::aad(tenant.as_str(), recipient.id.as_str());
            let sealed = app.keyring.seal(&aad, code.as_bytes()).map_err(|_| Unasked::Fault)?;
            Some(Sealed::new(sealed.into()))
        }
        None => None,
    };
    let confirmation = Confirmation {
        v: VERSION,
        correlation_id: correlation.to_owned(),
        tenant: tenant.clone(),
        tenant_name: settings.name.clone(),
        recipient: recipient.id.clone(),
        identity,
        until: now.saturating_add(LIFE).unwrap_or(now),
        code,
        target,
    };
    let body = serde_json::to_string(&confirmation).map_err(|_| Unasked::Fault)?;
    let outgoing = Outgoing { body, group: Some(tenant.to_string()), ..Outgoing::default() };
    app.queues.send(url, &outgoing).await.map_err(|error| {
        tracing::error!(%error, %tenant, "a confirmation could not be queued");
        Unasked::Fault
    })
}

/// Why nothing may be written there, whatever its owner would answer.
fn withheld(settings: &Settings, recipient: &Recipient, channel: Channel) -> Option<Reason> {
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

/// `POST /v1/tenants/{tenant}/recipients/{id}/confirm`: the code that a number's owner got.
pub(crate) async fn by_code(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    body: Limited,
) -> Result<Response, Problem> {
    let tenant = caller.speaking_for(&path, MANAGE)?;
    let recipient = find(&app, &tenant, &id).await?;
    let body: ConfirmBody = body.parse()?;
    if of_person(&body.channel)? == Channel::Email {
        let detail = "an e-mail address is confirmed by the link that was sent to it";
        return Err(Problem::fields(vec![FieldError::new("/channel", detail)]));
    }
    if recipient.phone.is_none() || (recipient.phone_confirmed && recipient.sms_opted_out.is_none()) {
        return Err(Problem::conflict("there is nothing to confirm on this channel: it is confirmed, or empty"));
    }
    let wrong = |detail: String| Problem::fields(vec![FieldError::new("/code", detail)]);
    let over = || wrong("is too old, or was tried too often; ask for a new one by POST …/confirmation".to_owned());
    let pending = app.table.pending(&tenant, &recipient.id, Channel::Sms).await.map_err(access::table)?;
    let (Some(pending), Some(identity)) = (pending, identity(&app, &recipient, Channel::Sms)) else {
        return Err(over());
    };
    let code: String = body.code.chars().filter(char::is_ascii_digit).collect();
    let hash = hash_of(&app, &identity, &code).ok_or_else(Problem::internal)?;
    // Counted before it is judged, right or wrong: two guesses at the same time are two tries.
    let counted = app.table.count_try(&tenant, &recipient.id, Channel::Sms, pending.tries);
    if !counted.await.map_err(access::table)? {
        return Err(Problem::conflict("somebody entered a code at the same moment; enter it again"));
    }
    match pending.judge(&identity, &hash, clock::now()) {
        Code::Over => Err(over()),
        Code::Wrong { left } => Err(wrong(format!("is not the code that was sent; {left} tries are left"))),
        Code::Right => {
            let version = recipient.version + 1;
            let next = Recipient { phone_confirmed: true, sms_opted_out: None, version, ..recipient };
            store(&app, &caller, &tenant, &next, "recipient.phone_confirmed").await?;
            Ok(tagged(StatusCode::OK, next.version, &check::body_of(&next)))
        }
    }
}

/// A code's keyed hash, bound to the number that it was sent to.
fn hash_of(app: &App, identity: &str, code: &str) -> Option<String> {
    app.keyring.fingerprint(CODE, &format!("{identity}.{code}")).ok()
}

/// Six digits, each as likely as any other.
fn six_digits() -> String {
    // 2^64 is so much larger than a million that the rest of the division favours nobody.
    format!("{:06}", u64::from_le_bytes(ids::bytes::<8>()) % 1_000_000)
}

fn fault(error: store::StoreError) -> Unasked {
    tracing::error!(%error, "the table did not answer");
    Unasked::Fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        for _ in 0..100 {
            let code = six_digits();
            assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        }
    }
}
