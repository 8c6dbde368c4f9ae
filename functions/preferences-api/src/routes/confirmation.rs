//! Routes that confirm a recipient's address or number: send the confirmation again, and enter the code of a text message.

use super::load_settings;
use super::recipients::{find_recipient, save_recipient};
use crate::App;
use crate::access::{self, LimitedBody, MANAGE_SCOPES, json_response, json_with_etag};
use crate::check::recipient::recipient_body;
use crate::confirmation_requests::{
    ASKED_ENOUGH, Asker, Occasion, RequestFailure, code_hash, contact_fingerprint, request_confirmation, sent_view,
    unconfirmed_channels, unsubscribed_and_asked,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{ConfirmBody, SendConfirmationBody};
use contracts::problem::FieldError;
use domain::contact::CodeCheck;
use domain::tenant::Recipient;
use domain::vocabulary::Channel;
use runtime::clock;
use runtime::http::{Caller, CorrelationId, Problem};

/// `POST /v1/tenants/{tenant}/recipients/{id}/confirmation`
pub(crate) async fn resend(
    State(app): State<App>,
    caller: Caller,
    correlation: CorrelationId,
    Path((path, id)): Path<(String, String)>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let recipient = find_recipient(&app, &tenant, &id).await?;
    let body: SendConfirmationBody = body.parse()?;
    let channel = parse_channel(&body.channel)?;
    if !unconfirmed_channels(&recipient).contains(&channel) {
        return Err(Problem::conflict(
            "there is nothing to confirm: the recipient has no such contact, or it is already confirmed",
        ));
    }
    let now = clock::now();
    let asker = Asker { integration_id: &caller.integration_id, correlation: &correlation.0 };
    match request_confirmation(&app, &settings, &recipient, channel, asker, Occasion::Requested, now).await {
        Ok(()) => Ok(json_response(StatusCode::ACCEPTED, &sent_view(now))),
        Err(RequestFailure::RateLimited(at)) => {
            let seconds = u32::try_from((at.as_second() - now.as_second()).max(1)).unwrap_or(u32::MAX);
            let detail =
                "too many confirmation requests for this address or number; try again after the seconds in Retry-After";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds))
        }
        Err(RequestFailure::UnsubscribedAndAsked(at)) => {
            let seconds = u32::try_from((at.as_second() - now.as_second()).max(1)).unwrap_or(u32::MAX);
            let detail = format!("unsubscribed: {}", unsubscribed_and_asked(at));
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, &detail).retry_after(seconds))
        }
        Err(RequestFailure::Withheld(reason)) => {
            Err(Problem::conflict(&format!("{}: {} {}", reason.as_str(), reason.sentence(), reason.remedy())))
        }
        Err(RequestFailure::AskedEnough(reason)) => {
            Err(Problem::conflict(&format!("{}: {} {ASKED_ENOUGH}", reason.as_str(), reason.sentence())))
        }
        Err(RequestFailure::Internal) => Err(Problem::unavailable()),
    }
}

/// Parses the channel of a confirmation: `email` or `sms`.
fn parse_channel(word: &str) -> Result<Channel, Problem> {
    match Channel::parse(word) {
        Some(channel @ (Channel::Email | Channel::Sms)) => Ok(channel),
        _ => Err(Problem::invalid_fields(vec![FieldError::new("/channel", "must be email or sms")])),
    }
}

/// `POST /v1/tenants/{tenant}/recipients/{id}/confirm`: confirms a number with the code that its owner received.
pub(crate) async fn confirm_by_code(
    State(app): State<App>,
    caller: Caller,
    Path((path, id)): Path<(String, String)>,
    body: LimitedBody,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, MANAGE_SCOPES)?;
    let recipient = find_recipient(&app, &tenant, &id).await?;
    let body: ConfirmBody = body.parse()?;
    if parse_channel(&body.channel)? == Channel::Email {
        let detail = "must be sms: an e-mail address is confirmed with the link that was sent to it";
        return Err(Problem::invalid_fields(vec![FieldError::new("/channel", detail)]));
    }
    if recipient.phone.is_none() || (recipient.phone_confirmed && recipient.sms_opted_out.is_none()) {
        return Err(Problem::conflict(
            "there is nothing to confirm: the recipient has no such contact, or it is already confirmed",
        ));
    }
    let code_error = |detail: String| Problem::invalid_fields(vec![FieldError::new("/code", detail)]);
    let new_code_needed =
        || code_error("has expired or was tried too often; request a new code with POST …/confirmation".to_owned());
    let pending =
        app.table.pending_confirmation(&tenant, &recipient.id, Channel::Sms).await.map_err(access::storage_problem)?;
    let (Some(pending), Some(identity)) = (pending, contact_fingerprint(&app, &recipient, Channel::Sms)) else {
        return Err(new_code_needed());
    };
    let code: String = body.code.chars().filter(char::is_ascii_digit).collect();
    let hash = code_hash(&app, &identity, &code).ok_or_else(Problem::internal)?;
    // The try is counted before the code is checked, so that two guesses at the same time are two tries.
    let counted = app.table.count_wrong_code(&tenant, &recipient.id, Channel::Sms, pending.tries);
    if !counted.await.map_err(access::storage_problem)? {
        return Err(Problem::conflict("another code was entered at the same time; enter it again"));
    }
    match pending.check_code(&identity, &hash, clock::now()) {
        CodeCheck::NewCodeNeeded => Err(new_code_needed()),
        CodeCheck::Wrong { left } => Err(code_error(format!("is not the code that was sent; {left} tries left"))),
        CodeCheck::Correct => {
            let version = recipient.version + 1;
            let next = Recipient { phone_confirmed: true, sms_opted_out: None, version, ..recipient };
            save_recipient(&app, &caller, &tenant, &next, "recipient.phone_confirmed").await?;
            Ok(json_with_etag(StatusCode::OK, next.version, &recipient_body(&next)))
        }
    }
}
