//! Messages that ask an address or a phone number to confirm that it wants a tenant's alerts.

use super::email::{RenderedEmail, one_line, render_html};
use super::gsm7;
use askama::Template;

#[derive(Template)]
#[template(path = "confirmation.html")]
struct ConfirmationPage<'a> {
    heading: &'a str,
    request: &'a str,
    link: &'a str,
    expiry: &'a str,
    ignore: &'a str,
}

/// Renders the e-mail that asks an address to confirm a tenant's alerts. It names the tenant that asks, and says that ignoring the
/// e-mail means no.
#[must_use]
pub fn confirmation_email(tenant_name: &str, tenant: &str, link: &str) -> RenderedEmail {
    let name = one_line(tenant_name);
    let page = ConfirmationPage {
        heading: &format!("Confirm alerts from {name}"),
        request: &format!("{name} ({tenant}) wants to send incident alerts to this address."),
        link,
        expiry: "This link expires in 24 hours.",
        ignore: "If you didn't expect this e-mail, ignore it. We don't send alerts to an address that isn't confirmed.",
    };
    let ConfirmationPage { heading, request, expiry, ignore, .. } = page;
    RenderedEmail {
        subject: heading.to_owned(),
        text: format!("{request}\n\nConfirm: {link}\n\n{expiry}\n{ignore}\n"),
        html: render_html(&page),
        references: format!("<confirm.{tenant}@tocsin.invalid>"),
        incident: String::new(),
    }
}

/// Renders the SMS that carries a confirmation code, in one part. It has no link, because nobody should get used to following links
/// from unknown senders.
#[must_use]
pub fn confirmation_sms(tenant_name: &str, tenant: &str, code: &str) -> String {
    let name: String = gsm7::for_sms(&one_line(tenant_name)).chars().take(36).collect();
    // A name in another script would need three parts. The tenant's id always fits one.
    let name = if !name.is_empty() && gsm7::septets(&name).is_some_and(|septets| septets <= 40) {
        name
    } else {
        tenant.chars().take(36).collect()
    };
    format!(
        "{code} is your code to confirm incident alerts from {name} to this number. Didn't ask for it? Ignore this text; \
         we won't send alerts."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_names_the_tenant_and_says_that_ignoring_it_means_no() {
        let mail = confirmation_email("Acme <b>\r\nBcc: x", "acme", "https://t.example/confirm?t=1");
        assert_eq!(mail.subject, "Confirm alerts from Acme <b> Bcc: x", "one line, whatever the name holds");
        assert!(mail.text.contains("https://t.example/confirm?t=1") && mail.text.contains("ignore it"));
        assert!(mail.html.contains("Acme &#60;b&#62;") && !mail.html.contains("<b>"));
        for name in ["Acme", "Ünïcode 電話 of a company with a very long name indeed, and more of it"] {
            let text = confirmation_sms(name, "acme", "123456");
            assert!(text.starts_with("123456 ") && gsm7::parts(&text) == 1, "{text}");
        }
    }
}
