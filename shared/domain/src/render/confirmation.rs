//! Messages that ask an address or a phone number to confirm that it wants a tenant's alerts.

use super::email::{RenderedEmail, one_line, render_html};
use super::gsm7;
use askama::Template;

#[derive(Template)]
#[template(path = "confirmation.html")]
struct QuestionPage<'a> {
    title: &'a str,
    heading: &'a str,
    request: &'a str,
    link: &'a str,
    button: &'a str,
    expiry: &'a str,
    ignore: &'a str,
    never_link: &'a str,
    never: &'a str,
}

/// The link of a question, and the one by which its reader is never asked again.
#[derive(Clone, Copy, Debug)]
pub struct QuestionLinks<'a> {
    /// Opens the page that agrees.
    pub agree: &'a str,
    /// Opens the page that refuses for ever.
    pub never: &'a str,
}

const NEVER: &str = "Never write to this address again";
const EXPIRY: &str = "This link expires in 24 hours.";

/// Renders the e-mail that asks an address to confirm a tenant's alerts. `name` is the tenant's id, or a name that the platform approved: its
/// reader has not agreed to anything. It says that ignoring it means no.
#[must_use]
pub fn confirmation_email(name: &str, tenant: &str, links: QuestionLinks<'_>) -> RenderedEmail {
    let who = asker(&one_line(name), tenant);
    let page = QuestionPage {
        title: "Confirm alerts",
        heading: &format!("Confirm incident alerts from {who}"),
        request: &format!("{} wants to send incident alerts to this address.", capitalized(&who)),
        link: links.agree,
        button: "Confirm this address",
        expiry: EXPIRY,
        ignore: "If you didn't expect this e-mail, ignore it. We don't send alerts to an address that isn't confirmed.",
        never_link: links.never,
        never: NEVER,
    };
    question_email(&page, format!("<confirm.{tenant}@tocsin.invalid>"))
}

/// Renders the e-mail that asks somebody who unsubscribed whether alerts are welcome again. `name` is as in [`confirmation_email`].
#[must_use]
pub fn subscribe_again_email(name: &str, tenant: &str, links: QuestionLinks<'_>) -> RenderedEmail {
    let who = asker(&one_line(name), tenant);
    let page = QuestionPage {
        title: "Subscribe again",
        heading: &format!("Get incident alerts from {who} again?"),
        request: &format!("You unsubscribed from alerts. {} asks whether you want them again.", capitalized(&who)),
        link: links.agree,
        button: "Subscribe again",
        expiry: EXPIRY,
        ignore: "If you don't want that, ignore this e-mail. You stay unsubscribed.",
        never_link: links.never,
        never: NEVER,
    };
    question_email(&page, format!("<resubscribe.{tenant}@tocsin.invalid>"))
}

/// Renders the one e-mail that a suppressed address gets: it asks whether mail is welcome again, and names nobody but the tenant's id.
#[must_use]
pub fn allow_again_email(tenant: &str, links: QuestionLinks<'_>) -> RenderedEmail {
    let page = QuestionPage {
        title: "Allow e-mail again",
        heading: "Allow incident alerts by e-mail again?",
        request: &format!(
            "We stopped all e-mail to this address, because a message bounced or because its owner asked us to. The organization \
             \"{tenant}\" would like to send incident alerts to it."
        ),
        link: links.agree,
        button: "Allow e-mail again",
        expiry: EXPIRY,
        ignore: "If you don't want that, ignore this e-mail. Nothing is sent to this address.",
        never_link: links.never,
        never: NEVER,
    };
    question_email(&page, format!("<resubscribe.{tenant}@tocsin.invalid>"))
}

fn question_email(page: &QuestionPage<'_>, references: String) -> RenderedEmail {
    let QuestionPage { heading, request, link, button, expiry, ignore, never_link, never, .. } = page;
    RenderedEmail {
        subject: (*heading).to_owned(),
        preheader: (*request).to_owned(),
        important: false,
        text: format!("{request}\n\n{button}: {link}\n\n{expiry}\n{ignore}\n\n{never}: {never_link}\n"),
        html: render_html(page),
        references,
        incident: String::new(),
    }
}

/// Names who asks: an approved name, or the tenant's id as such.
fn asker(name: &str, tenant: &str) -> String {
    if name == tenant { format!("the organization \"{tenant}\"") } else { format!("{name} (\"{tenant}\")") }
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// Renders the SMS that carries a confirmation code, in one part. `name` is as in [`confirmation_email`]. It has no link, because nobody
/// should get used to following links from unknown senders.
#[must_use]
pub fn confirmation_sms(name: &str, tenant: &str, code: &str) -> String {
    let name: String = gsm7::for_sms(&one_line(name)).chars().take(36).collect();
    // A name in another script would need three parts. The tenant's id always fits one.
    let name = if !name.is_empty() && gsm7::septets(&name).is_some_and(|septets| septets <= 40) {
        name
    } else {
        tenant.chars().take(36).collect()
    };
    format!(
        "{code} is your code for incident alerts from {name}. Didn't ask for it? Ignore this text, and you get none. Reply STOP to \
         block us."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_without_an_approved_name_is_its_id_and_nothing_else() {
        let links = QuestionLinks { agree: "https://t.example/a", never: "https://t.example/b" };
        let mail = confirmation_email("acme", "acme", links);
        assert_eq!(mail.subject, "Confirm incident alerts from the organization \"acme\"");
        assert!(mail.text.starts_with("The organization \"acme\" wants to send"), "{}", mail.text);
        let again = allow_again_email("acme", links);
        assert!(again.text.contains("We stopped all e-mail") && again.html.contains("https://t.example/b"));
    }

    #[test]
    fn a_confirmation_names_the_tenant_and_says_that_ignoring_it_means_no() {
        let links = QuestionLinks { agree: "https://t.example/confirm?t=1", never: "https://t.example/never?t=2" };
        let mail = confirmation_email("Acme <b>\r\nBcc: x", "acme", links);
        let subject = "Confirm incident alerts from Acme <b> Bcc: x (\"acme\")";
        assert_eq!(mail.subject, subject, "one line, whatever the name holds");
        assert!(mail.text.contains("https://t.example/confirm?t=1") && mail.text.contains("ignore it"));
        assert!(mail.text.contains("Never write to this address again: https://t.example/never?t=2"));
        assert!(mail.html.contains("Acme &#60;b&#62;") && !mail.html.contains("<b>"));
        for name in ["Acme", "Ünïcode 電話 of a company with a very long name indeed, and more of it"] {
            let text = confirmation_sms(name, "acme", "123456");
            assert!(text.starts_with("123456 ") && gsm7::parts(&text) == 1, "{text}");
        }
    }
}
