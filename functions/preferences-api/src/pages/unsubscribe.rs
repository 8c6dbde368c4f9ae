//! `/unsubscribe`: unsubscribes an e-mail address from a category or from warnings, or subscribes it again. POST also serves the one-click
//! button of mail clients (RFC 8058).

use super::{
    LinkFault, LinkQuery, QuestionForm, SAVE_ATTEMPTS_MAX, html_response, is_current_contact, message_page,
    old_contact, storage_failed, try_again_later,
};
use crate::App;
use crate::access::LimitedBody;
use crate::confirmation_requests::record_unsubscription;
use crate::notices::{self, SubscriptionChange};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ids::{RecipientId, TenantId};
use domain::link::LinkPurpose;
use domain::tenant::{Destination, Recipient};
use domain::vocabulary::Category;
use runtime::{clock, ids};
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};

/// What a link unsubscribes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Category(Category),
    /// User-level warnings, which have no category.
    Warnings,
}

impl Topic {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "warnings" => Some(Self::Warnings),
            _ => Category::parse(text).map(Self::Category),
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Category(category) => category.as_str(),
            Self::Warnings => "warnings",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Category(category) => category.title(),
            Self::Warnings => "user-level warning",
        }
    }

    fn is_unsubscribed(self, recipient: &Recipient) -> bool {
        match self {
            Self::Category(category) => recipient.unsubscribed.contains(&category),
            Self::Warnings => recipient.unsubscribed_warnings,
        }
    }

    /// Applies the action to the recipient. Returns whether that changed anything.
    fn apply(self, action: Action, recipient: &mut Recipient) -> bool {
        let unsubscribed = action == Action::Unsubscribe;
        let changes = self.is_unsubscribed(recipient) != unsubscribed;
        match self {
            Self::Category(category) if unsubscribed => drop(recipient.unsubscribed.insert(category)),
            Self::Category(category) => drop(recipient.unsubscribed.remove(&category)),
            Self::Warnings => recipient.unsubscribed_warnings = unsubscribed,
        }
        changes
    }
}

/// What a request does with the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Unsubscribe,
    Resubscribe,
}

impl Action {
    /// Reads the body of a POST. Only the page's own button asks to resubscribe; everything else is an unsubscribe, because mail clients
    /// write their one-click request in several ways.
    fn of_body(body: &[u8]) -> Self {
        let resubscribes =
            url::form_urlencoded::parse(body).any(|(name, value)| name == "action" && value == "resubscribe");
        if resubscribes { Self::Resubscribe } else { Self::Unsubscribe }
    }

    /// The action that undoes this one.
    fn opposite(self) -> Self {
        match self {
            Self::Unsubscribe => Self::Resubscribe,
            Self::Resubscribe => Self::Unsubscribe,
        }
    }
}

/// The content of an unsubscribe link.
struct UnsubscribeLink {
    tenant: TenantId,
    recipient: RecipientId,
    topic: Topic,
    /// The fingerprint of the address that it was sent to.
    contact: String,
}

async fn parse_link(app: &App, query: &LinkQuery) -> Result<UnsubscribeLink, LinkFault> {
    let [tenant, recipient, topic, contact] = query.verify_alive(app, LinkPurpose::Unsubscribe).await?;
    let link = || {
        Some(UnsubscribeLink {
            tenant: TenantId::parse(&tenant).ok()?,
            recipient: RecipientId::parse(&recipient)?,
            topic: Topic::parse(&topic)?,
            contact,
        })
    };
    link().ok_or(LinkFault::Invalid)
}

/// Responds with a page whose button does `action`.
fn form_page(action: Action, heading: &str, text: &str) -> Response {
    let (action, button) = match action {
        Action::Unsubscribe => ("unsubscribe", "Unsubscribe"),
        Action::Resubscribe => ("resubscribe", "Subscribe again"),
    };
    html_response(StatusCode::OK, &QuestionForm { heading, text, button, action, after: None })
}

/// `GET /unsubscribe?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    let (name, recipient) = match load_recipient(&app, &link).await {
        Ok(Some(found)) => found,
        Ok(None) => return recipient_gone(),
        Err(response) => return response,
    };
    let what = link.topic.title();
    if recipient.shared {
        let text = format!(
            "Several people share this address, so one of them can't unsubscribe it from {what} alerts from {name}. You can ask \
             the admins of {name} to do it."
        );
        let heading = "Ask to unsubscribe?";
        let form = QuestionForm { heading, text: &text, button: "Ask the admins", action: "ask", after: None };
        return html_response(StatusCode::OK, &form);
    }
    if link.topic.is_unsubscribed(&recipient) {
        let text = format!("You don't get {what} alerts from {name} by e-mail. You can subscribe again.");
        form_page(Action::Resubscribe, "You are unsubscribed", &text)
    } else {
        let text =
            format!("You will stop getting {what} alerts from {name} by e-mail. Other alerts and channels stay on.");
        form_page(Action::Unsubscribe, "Unsubscribe?", &text)
    }
}

/// `POST /unsubscribe?t=`: the page's button, or a mail client's one click (`List-Unsubscribe=One-Click`).
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>, body: LimitedBody) -> Response {
    let link = match parse_link(&app, &query).await {
        Ok(link) => link,
        Err(fault) => return fault.into_response(),
    };
    let action = Action::of_body(&body.0);
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let (name, mut recipient) = match load_recipient(&app, &link).await {
            Ok(Some(found)) => found,
            Ok(None) => return recipient_gone(),
            Err(response) => return response,
        };
        if recipient.shared {
            return forward_to_admins(&app, &link, &recipient, &name).await;
        }
        if !link.topic.apply(action, &mut recipient) {
            return result_page(action, link.topic, &name);
        }
        if action == Action::Unsubscribe
            && let Err(error) = record_unsubscription(&app, &link.tenant, &recipient, clock::now()).await
        {
            return storage_failed(&error);
        }
        recipient.version += 1;
        let (what, change) = match action {
            Action::Unsubscribe => ("recipient.unsubscribed", SubscriptionChange::Unsubscribed),
            Action::Resubscribe => ("recipient.resubscribed", SubscriptionChange::Resubscribed),
        };
        let audit = AuditRecord {
            at: clock::now(),
            who: "recipient".to_owned(),
            what: what.to_owned(),
            object: link.recipient.to_string(),
        };
        let setting = TenantChange::Destination(Destination::Recipient(Box::new(recipient.clone())));
        match app.table.save(&link.tenant, &setting, &audit, &ids::id_suffix()).await {
            Ok(SaveOutcome::Saved) => {
                tracing::info!(tenant = %link.tenant, recipient = %link.recipient, what, "a recipient changed a subscription");
                notices::notify_admins(&app, &link.tenant, &recipient, link.topic.code(), change).await;
                return result_page(action, link.topic, &name);
            }
            Ok(SaveOutcome::VersionConflict) => {}
            Ok(SaveOutcome::NoTenant | SaveOutcome::AddressInUse { .. }) => return recipient_gone(),
            Err(error) => return storage_failed(&error),
        }
    }
    try_again_later()
}

/// Notifies the admins instead of unsubscribing an address that several people share.
async fn forward_to_admins(app: &App, link: &UnsubscribeLink, recipient: &Recipient, name: &str) -> Response {
    let audit = AuditRecord {
        at: clock::now(),
        who: "recipient".to_owned(),
        what: "recipient.unsubscribe_asked".to_owned(),
        object: link.recipient.to_string(),
    };
    if let Err(error) = app.table.record_audit(&link.tenant, &audit, &ids::id_suffix()).await {
        return storage_failed(&error);
    }
    notices::notify_admins(app, &link.tenant, recipient, link.topic.code(), SubscriptionChange::UnsubscribeRequested)
        .await;
    let text = format!("The admins of {name} were notified. You keep getting these alerts until they make a change.");
    message_page(StatusCode::ACCEPTED, "Request sent", &text)
}

/// Responds with the result of an action, and a button to undo it.
fn result_page(action: Action, topic: Topic, name: &str) -> Response {
    let what = topic.title();
    let (heading, text) = match action {
        Action::Unsubscribe => (
            "You are unsubscribed",
            format!("You won't get {what} alerts from {name} by e-mail. If this was a mistake, subscribe again here."),
        ),
        Action::Resubscribe => {
            ("You are subscribed again", format!("You get {what} alerts from {name} by e-mail again."))
        }
    };
    form_page(action.opposite(), heading, &text)
}

fn recipient_gone() -> Response {
    let text = "This address was removed, so no more alerts are sent to it.";
    message_page(StatusCode::NOT_FOUND, "Nothing to unsubscribe from", text)
}

/// Reads the tenant's name and the recipient; `None` if one of them no longer exists. The error is the page to show.
async fn load_recipient(app: &App, link: &UnsubscribeLink) -> Result<Option<(String, Recipient)>, Response> {
    let settings = app.table.settings(&link.tenant);
    let recipient = app.table.recipient(&link.tenant, &link.recipient);
    let (settings, recipient) = futures::try_join!(settings, recipient).map_err(|error| storage_failed(&error))?;
    let Some((settings, recipient)) = settings.zip(recipient) else { return Ok(None) };
    if !is_current_contact(app, &recipient, &link.contact) {
        return Err(old_contact());
    }
    Ok(Some((settings.name, recipient)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::recipient::{ConfirmedFlag, check_recipient};
    use askama::Template;
    use contracts::http::{Private, RecipientBody};

    fn recipient() -> Recipient {
        let body = RecipientBody {
            name: "Ops".into(),
            email: Some(Private::new("ops@example.com")),
            roles: vec!["org_admin".into()],
            ..RecipientBody::default()
        };
        check_recipient(
            &domain::policy::Policy::embedded().unwrap().limits.sms,
            None,
            &RecipientId::new("a"),
            &body,
            ConfirmedFlag::Ignored,
        )
        .unwrap()
    }

    #[test]
    fn unsubscribing_changes_one_topic_and_resubscribing_undoes_it() {
        for word in ["infrastructure", "billing", "configurable", "warnings"] {
            let topic = Topic::parse(word).unwrap();
            let before = recipient();
            let mut after = before.clone();
            assert!(topic.apply(Action::Unsubscribe, &mut after), "{word}");
            assert!(topic.is_unsubscribed(&after) && !topic.apply(Action::Unsubscribe, &mut after), "{word}");
            let others =
                ["infrastructure", "billing", "configurable", "warnings"].into_iter().filter(|other| *other != word);
            assert!(others.filter_map(Topic::parse).all(|other| !other.is_unsubscribed(&after)), "{word}");
            assert!(topic.apply(Action::Resubscribe, &mut after));
            assert_eq!(after, before);
        }
        assert_eq!(Topic::parse("everything"), None);
    }

    #[test]
    fn one_click_unsubscribes_and_only_the_pages_button_resubscribes() {
        for body in ["List-Unsubscribe=One-Click", "", "action=unsubscribe", "--x\r\nContent-Disposition: form-data"] {
            assert!(Action::of_body(body.as_bytes()) == Action::Unsubscribe, "{body}");
        }
        assert_eq!(Action::of_body(b"action=resubscribe"), Action::Resubscribe);
    }

    #[test]
    fn a_tenants_name_is_escaped_on_the_page() {
        let text = "of <script>alert(1)</script>";
        let form = QuestionForm { heading: "h", text, button: "b", action: "a", after: None };
        let html = form.render().unwrap();
        assert!(!html.contains("<script>") && html.contains("method=\"post\""), "{html}");
    }
}
