//! What somebody is asked who was put on a tenant's list.

use super::email::{Email, escape, one_line};
use super::gsm7;

/// The e-mail that asks whether this address is to get a tenant's alerts. It says who asks, and that nothing comes without a yes.
#[must_use]
pub fn confirmation_email(tenant_name: &str, tenant: &str, link: &str) -> Email {
    let name = one_line(tenant_name);
    let asked = format!("{name} ({tenant}) wants to send incident alerts to this address.");
    let no = "If you do not know of this, do nothing: no alert is sent to an address that is not confirmed.";
    let until = "The link is good for 24 hours.";
    Email {
        subject: format!("Confirm alerts of {name}"),
        text: format!("{asked}\n\nConfirm: {link}\n\n{until}\n{no}\n"),
        html: format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>Confirm \
             alerts</title></head><body style=\"margin:0;padding:24px;font:16px/1.5 -apple-system,'Segoe UI',Roboto,Arial,sans-serif\">\
             <div style=\"max-width:600px;margin:0 auto;overflow-wrap:anywhere\"><h1 style=\"font-size:20px\">Confirm alerts of {}</h1>\
             <p>{}</p><p><a href=\"{}\" style=\"display:inline-block;background:#2563c4;color:#ffffff;text-decoration:none;\
             padding:10px 18px;border-radius:6px;font-weight:600\">Confirm this address</a></p><p>{until} {no}</p></div></body></html>",
            escape(&name),
            escape(&asked),
            escape(link)
        ),
        references: format!("<confirm.{tenant}@tocsin.invalid>"),
        incident: String::new(),
    }
}

/// The SMS that carries a code: one part, and no link, for nobody should learn to follow links from unknown senders.
#[must_use]
pub fn confirmation_sms(tenant_name: &str, tenant: &str, code: &str) -> String {
    let name: String = gsm7::transliterate(&one_line(tenant_name)).chars().take(36).collect();
    // A name in another script would make it three parts; the id is in the admin's own spelling too.
    let name = if gsm7::septets(&name).is_some_and(|septets| septets <= 40) {
        name
    } else {
        tenant.chars().take(36).collect()
    };
    format!(
        "{code} is the code that confirms incident alerts of {name} to this number. Not asked for? Ignore it: no alert is sent."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_asks_and_that_silence_is_a_no() {
        let mail = confirmation_email("Acme <b>\r\nBcc: x", "acme", "https://t.example/confirm?t=1");
        assert_eq!(mail.subject, "Confirm alerts of Acme <b> Bcc: x", "one line, whatever the name holds");
        assert!(mail.text.contains("https://t.example/confirm?t=1") && mail.text.contains("do nothing"));
        assert!(mail.html.contains("Acme &lt;b&gt;") && !mail.html.contains("<b>"));
        for name in ["Acme", "Ünïcode 電話 of a company with a very long name indeed, and more of it"] {
            let text = confirmation_sms(name, "acme", "123456");
            assert!(text.starts_with("123456 ") && gsm7::parts(&text) == 1, "{text}");
        }
    }
}
