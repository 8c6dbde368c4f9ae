//! `/unsubscribe`: GET shows a page and changes nothing, because mail scanners open links; only POST acts (RFC 8058).

use super::{LinkQuery, html_response, invalid_link, message_page, try_again_later};
use crate::App;
use crate::access::LimitedBody;
use crate::notices::{self, SubscriptionChange};
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::{RecipientId, TenantId};
use domain::tenant::{Destination, Recipient};
use domain::vocabulary::Category;
use runtime::{clock, ids};
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};

/// How often a recipient is read again when somebody else writes it at the same time.
const SAVE_ATTEMPTS_MAX: usize = 5;

/// What a link unsubscribes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Category(Category),
    /// User-level warnings, which belong to no category.
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

    /// Switches the topic. `false` if it already was so.
    fn switch(self, recipient: &mut Recipient, off: bool) -> bool {
        let changes = self.is_unsubscribed(recipient) != off;
        match self {
            Self::Category(category) if off => drop(recipient.unsubscribed.insert(category)),
            Self::Category(category) => drop(recipient.unsubscribed.remove(&category)),
            Self::Warnings => recipient.unsubscribed_warnings = off,
        }
        changes
    }
}

/// The link's meaning, as far as it can be known without reading anything.
struct UnsubscribeLink {
    tenant: TenantId,
    recipient: RecipientId,
    topic: Topic,
}

fn parse_link(app: &App, query: &LinkQuery) -> Option<UnsubscribeLink> {
    let [tenant, recipient, topic] = query.verify(app, "unsubscribe")?;
    Some(UnsubscribeLink {
        tenant: TenantId::parse(&tenant).ok()?,
        recipient: RecipientId::parse(&recipient)?,
        topic: Topic::parse(&topic)?,
    })
}

/// One form, and what it does.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ heading }}</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem;cursor:pointer}</style></head>
<body><main><h1>{{ heading }}</h1><p>{{ text }}</p>
<form method="post"><button type="submit" name="action" value="{{ action }}">{{ button }}</button></form></main></body>
</html>
"#
)]
struct Form<'a> {
    heading: &'a str,
    text: String,
    action: &'a str,
    button: &'a str,
}

fn form_page(off: bool, heading: &str, text: String) -> Response {
    let (action, button) = if off { ("resubscribe", "Subscribe again") } else { ("unsubscribe", "Unsubscribe") };
    html_response(StatusCode::OK, &Form { heading, text, action, button })
}

/// `GET /unsubscribe?t=`
pub(crate) async fn show(State(app): State<App>, Query(query): Query<LinkQuery>) -> Response {
    let Some(link) = parse_link(&app, &query) else { return invalid_link() };
    let (name, recipient) = match load_recipient(&app, &link).await {
        Ok(Some(found)) => found,
        Ok(None) => return recipient_gone(),
        Err(response) => return response,
    };
    let what = link.topic.title();
    if recipient.shared {
        let text = format!(
            "Several people read this address, so no single one of them can unsubscribe it from {what} alerts of {name}. The \
             admins of {name} can: ask them here."
        );
        let form = Form { heading: "Ask to unsubscribe?", text, action: "ask", button: "Ask the admins" };
        return html_response(StatusCode::OK, &form);
    }
    if link.topic.is_unsubscribed(&recipient) {
        let text = format!("You get no {what} alerts of {name} by e-mail. You can have them again.");
        form_page(true, "You are unsubscribed", text)
    } else {
        let text = format!("You will get no more {what} alerts of {name} by e-mail. Other alerts and channels stay.");
        form_page(false, "Unsubscribe?", text)
    }
}

/// `POST /unsubscribe?t=`: the page's button, or a mail client's one click (`List-Unsubscribe=One-Click`).
pub(crate) async fn submit(State(app): State<App>, Query(query): Query<LinkQuery>, body: LimitedBody) -> Response {
    let Some(link) = parse_link(&app, &query) else { return invalid_link() };
    let off = !is_resubscribe(&body.0);
    for _ in 0..SAVE_ATTEMPTS_MAX {
        let (name, mut recipient) = match load_recipient(&app, &link).await {
            Ok(Some(found)) => found,
            Ok(None) => return recipient_gone(),
            Err(response) => return response,
        };
        if recipient.shared {
            return forward_to_admins(&app, &link, &recipient, &name).await;
        }
        if !link.topic.switch(&mut recipient, off) {
            return result_page(off, link.topic, &name);
        }
        recipient.version += 1;
        let what = if off { "recipient.unsubscribed" } else { "recipient.resubscribed" };
        let audit = AuditRecord {
            at: clock::now(),
            who: "recipient".to_owned(),
            what: what.to_owned(),
            object: link.recipient.to_string(),
        };
        let setting = TenantChange::Destination(Destination::Recipient(Box::new(recipient.clone())));
        match app.table.save(&link.tenant, &setting, &audit, &ids::id_suffix()).await {
            Ok(SaveOutcome::Saved) => {
                tracing::info!(tenant = %link.tenant, recipient = %link.recipient, what, "a recipient's own choice");
                let did = if off { SubscriptionChange::Unsubscribed } else { SubscriptionChange::Resubscribed };
                notices::notify_admins(&app, &link.tenant, &recipient, link.topic.code(), did).await;
                return result_page(off, link.topic, &name);
            }
            Ok(SaveOutcome::VersionConflict) => {}
            Ok(SaveOutcome::NoTenant | SaveOutcome::AddressInUse { .. }) => return recipient_gone(),
            Err(error) => return unavailable(&error),
        }
    }
    try_again_later()
}

/// Handles the unsubscribe link of an address that several people read: the admins are asked instead.
async fn forward_to_admins(app: &App, link: &UnsubscribeLink, recipient: &Recipient, name: &str) -> Response {
    let audit = AuditRecord {
        at: clock::now(),
        who: "recipient".to_owned(),
        what: "recipient.unsubscribe_asked".to_owned(),
        object: link.recipient.to_string(),
    };
    if let Err(error) = app.table.record_audit(&link.tenant, &audit, &ids::id_suffix()).await {
        return unavailable(&error);
    }
    notices::notify_admins(app, &link.tenant, recipient, link.topic.code(), SubscriptionChange::UnsubscribeRequested)
        .await;
    let text = format!("The admins of {name} were asked. Until they change something, alerts go on coming.");
    message_page(StatusCode::ACCEPTED, "The admins were asked", &text)
}

/// Only the page's own button asks for it; whatever else is posted is an unsubscribe, in whichever form a mail client
/// writes it.
fn is_resubscribe(body: &[u8]) -> bool {
    url::form_urlencoded::parse(body).any(|(name, value)| name == "action" && value == "resubscribe")
}

fn result_page(off: bool, topic: Topic, name: &str) -> Response {
    let what = topic.title();
    if off {
        let text =
            format!("You get no more {what} alerts of {name} by e-mail. If that was a mistake, take it back here.");
        form_page(true, "You are unsubscribed", text)
    } else {
        let text = format!("You get {what} alerts of {name} by e-mail again.");
        form_page(false, "You are subscribed again", text)
    }
}

fn recipient_gone() -> Response {
    let text = "This address is no longer on the list, so nothing more is sent to it.";
    message_page(StatusCode::NOT_FOUND, "Nothing to unsubscribe from", text)
}

/// The tenant's name and the recipient, if both still exist.
async fn load_recipient(app: &App, link: &UnsubscribeLink) -> Result<Option<(String, Recipient)>, Response> {
    let settings = app.table.settings(&link.tenant);
    let recipient = app.table.recipient(&link.tenant, &link.recipient);
    let (settings, recipient) = futures::try_join!(settings, recipient).map_err(|error| unavailable(&error))?;
    Ok(settings.map(|settings| settings.name).zip(recipient))
}

fn unavailable(error: &store::StoreError) -> Response {
    tracing::error!(%error, "the table did not answer");
    try_again_later()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::http::{Private, RecipientBody};

    fn recipient() -> Recipient {
        let body = RecipientBody {
            name: "Ops".into(),
            email: Some(Private::new("ops@example.com")),
            roles: vec!["org_admin".into()],
            ..RecipientBody::default()
        };
        crate::check::recipient::check_recipient(
            None,
            &RecipientId::new("a"),
            &body,
            crate::check::recipient::ConfirmedFlag::Ignored,
        )
        .unwrap()
    }

    #[test]
    fn a_topic_is_switched_off_and_on_and_nothing_else_is() {
        for word in ["infrastructure", "billing", "configurable", "warnings"] {
            let topic = Topic::parse(word).unwrap();
            let before = recipient();
            let mut after = before.clone();
            assert!(topic.switch(&mut after, true), "{word}");
            assert!(topic.is_unsubscribed(&after) && !topic.switch(&mut after, true), "{word}");
            let others =
                ["infrastructure", "billing", "configurable", "warnings"].into_iter().filter(|other| *other != word);
            assert!(others.filter_map(Topic::parse).all(|other| !other.is_unsubscribed(&after)), "{word}");
            assert!(topic.switch(&mut after, false));
            assert_eq!(after, before);
        }
        assert_eq!(Topic::parse("everything"), None);
    }

    #[test]
    fn one_click_unsubscribes_and_only_the_pages_button_takes_it_back() {
        for body in ["List-Unsubscribe=One-Click", "", "action=unsubscribe", "--x\r\nContent-Disposition: form-data"] {
            assert!(!is_resubscribe(body.as_bytes()), "{body}");
        }
        assert!(is_resubscribe(b"action=resubscribe"));
    }

    #[test]
    fn a_tenants_name_is_words_on_the_page() {
        let form = Form { heading: "h", text: "of <script>alert(1)</script>".into(), action: "a", button: "b" };
        let html = form.render().unwrap();
        assert!(!html.contains("<script>") && html.contains("method=\"post\""), "{html}");
    }
}
