//! Addresses, phone numbers and encrypted texts. Their types never print their values.

use email_address::EmailAddress;
use phonenumber::metadata::{DATABASE, Descriptor};
use phonenumber::{Metadata, Type};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! redacted_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the value, for requests and the table, never for a log.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

redacted_text!(
    /// An e-mail address, normalized: its domain is in lower case, and may hold letters beyond ASCII.
    Email
);
redacted_text!(
    /// A phone number in E.164 format.
    Phone
);
redacted_text!(
    /// A text that the vault encrypted.
    Sealed
);

impl Email {
    /// Parses and normalizes an address. An internationalized domain is kept as it was typed, in lower case.
    ///
    /// # Errors
    /// A message for the caller, without the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or("an e-mail address has an '@', such as name@example.com")?;
        if !local.is_ascii() {
            return Err(
                "the part before the '@' has characters that are not ASCII, and the mail service does not deliver to \
                        such a mailbox; use an address of ASCII characters, such as name@example.com",
            );
        }
        let ascii = idna::domain_to_ascii_strict(domain).unwrap_or_default();
        let wire = format!("{local}@{ascii}");
        let is_plain = !text.contains(['<', '"', '[', ' ', '\r', '\n']);
        if ascii.is_empty() || wire.len() > 254 || !is_plain || !EmailAddress::is_valid(&wire) {
            return Err("this is not an e-mail address such as name@example.com");
        }
        Ok(Self(format!("{local}@{}", domain.to_lowercase())))
    }

    /// Whether the address is in a domain, however that is spelled.
    #[must_use]
    pub fn is_in_domain(&self, domain: &str) -> bool {
        let wire = self.to_wire();
        let own = wire.rsplit_once('@').map_or("", |(_, domain)| domain);
        idna::domain_to_ascii_strict(domain).is_ok_and(|domain| !domain.is_empty() && domain == own)
    }

    /// Returns the address for SES and for headers: an internationalized domain is in Punycode (RFC 5891), such as `xn--bcher-kva.example`.
    #[must_use]
    pub fn to_wire(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or((&self.0, ""));
        let ascii = idna::domain_to_ascii_strict(domain);
        ascii.map_or_else(|_| self.0.clone(), |domain| format!("{local}@{domain}"))
    }

    /// Returns the wire form in lower case, by which two spellings of one mailbox are compared.
    #[must_use]
    pub fn identity(&self) -> String {
        self.to_wire().to_lowercase()
    }
}

impl Phone {
    /// Parses a number in international form (`+` and country code) and normalizes it to E.164.
    ///
    /// # Errors
    /// A message for the caller, without the number: for extensions, for short codes and for what is no number of its country by
    /// libphonenumber's general patterns. A country may have given out newer ranges than the patterns of single types know.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "write the number in international form, such as +14155550100";
        let text = text.trim();
        let text = text.strip_prefix("tel:").unwrap_or(text);
        if (3..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(
                "this is a short code, which text messages from outside do not reach; write a phone number in international \
                        form, such as +14155550100",
            );
        }
        let number = phonenumber::parse(None, text).map_err(|_| REMEDY)?;
        if text.chars().any(char::is_alphabetic) && number.extension().is_none() {
            return Err(
                "a number has digits only, not letters of a keypad; write it in international form, such as +14155550100",
            );
        }
        if number.extension().is_some() {
            return Err(
                "a text message does not reach an extension; write the number of a mobile phone, without an extension",
            );
        }
        let digits = number.format().mode(phonenumber::Mode::E164).to_string();
        if !(8..=16).contains(&digits.len()) || !digits.starts_with('+') {
            return Err(REMEDY);
        }
        let national = number.national().to_string();
        let countries = DATABASE.by_code(&number.code().value()).unwrap_or_default();
        if !countries.iter().any(|country| is_possible_in(country, &national)) {
            return Err("no such number can exist in this country; check its country code and its length");
        }
        Ok(Self(digits))
    }

    /// Returns the ISO 3166 code of the number's country, such as `IN`; `None` if the calling code does not determine it.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        let number = phonenumber::parse(None, &self.0).ok()?;
        number.country().id().map(|id| id.as_ref().to_owned())
    }
}

/// Whether a national number has a length of one of the country's types of numbers, and its general pattern.
fn is_possible_in(country: &Metadata, national: &str) -> bool {
    let types =
        [Type::FixedLine, Type::Mobile, Type::Voip, Type::Pager, Type::PersonalNumber, Type::Uan, Type::TollFree];
    let mut lengths =
        types.iter().filter_map(|kind| country.descriptors().get(*kind)).flat_map(Descriptor::possible_length);
    lengths.any(|length| usize::from(*length) == national.len()) && country.descriptors().general().is_match(national)
}

impl Sealed {
    /// Wraps a text that the vault encrypted.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalized_and_never_printed() {
        let email = Email::parse(" Ops.Team@EXAMPLE.com ").unwrap();
        assert_eq!(email.expose(), "Ops.Team@example.com");
        assert!(email.is_in_domain("Example.com") && !email.is_in_domain("ample.com") && !email.is_in_domain(""));
        assert_eq!(email.identity(), "ops.team@example.com");
        assert_eq!(format!("{email:?}"), "Email(redacted)");
        for bad in ["", "a", "a@", "@b", "a b@example.com", "x@example.com\r\nBcc: y@example.com", "A <a@example.com>"]
        {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_internationalized_domain_is_one_mailbox_however_it_is_spelled() {
        let typed = Email::parse("Ops@BÜCHER.example").unwrap();
        assert_eq!((typed.expose(), typed.to_wire().as_str()), ("Ops@bücher.example", "Ops@xn--bcher-kva.example"));
        assert!(typed.is_in_domain("xn--bcher-kva.example") && typed.is_in_domain("Bücher.example"));
        for same in [
            "ops@xn--bcher-kva.example",
            "ops@XN--BCHER-KVA.example",
            "ops@bu\u{308}cher.example",
            "ops@bücher。example",
        ] {
            assert_eq!(Email::parse(same).unwrap().identity(), typed.identity(), "{same}");
        }
        for (japanese, wire) in
            [("a@例え.テスト", "a@xn--r8jz45g.xn--zckzah"), ("a@straße.example", "a@xn--strae-oqa.example")]
        {
            assert_eq!(Email::parse(japanese).unwrap().to_wire(), wire);
        }
        assert!(Email::parse("bücher@example.com").unwrap_err().contains("not ASCII"));
        for bad in ["a@-x.example", "a@x..example", "a@[192.0.2.1]", "a@xn--a.example", "a@b_c.example"] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(
            Email::parse(&format!("a@{}.example", "ü".repeat(60))).is_err(),
            "a label has 63 characters in Punycode"
        );
    }

    #[test]
    fn numbers_that_no_text_message_reaches_are_refused() {
        for (text, words) in [
            ("+1 (202) 555-0123 ext. 45", "extension"),
            ("+1 202 555 0123 x45", "extension"),
            ("+1 800 FLOWERS", "letters"),
            ("12345", "short code"),
            ("911", "short code"),
            ("+1 000 000 0000", "number"),
            ("+1 123 456 7890", "no such number"),
            ("+44 1", "international form"),
            ("+1202555012", "no such number"),
            ("+12025550123456", "no such number"),
            ("+999 1234 5678", "international form"),
        ] {
            let error = Phone::parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        for (text, expected) in [
            ("+1 (202) 555-0123", "+12025550123"),
            ("tel:+1-202-555-0123", "+12025550123"),
            ("+49 1512 3456789", "+4915123456789"),
            ("+44 7400 123456", "+447400123456"),
            ("+39 06 1234 5678", "+390612345678"),
            ("+852 5123 4567", "+85251234567"),
            ("+33 6 12 34 56 78", "+33612345678"),
            ("+55 11 96123-4567", "+5511961234567"),
        ] {
            assert_eq!(Phone::parse(text).map(|phone| phone.0).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn phone_numbers_are_e164() {
        assert_eq!(Phone::parse("+91 98765 43210").unwrap().expose(), "+919876543210");
        assert_eq!(Phone::parse("+91 98765 43210").unwrap().country().as_deref(), Some("IN"));
        for bad in ["", "12", "98765 43210", "+", "+abc"] {
            assert!(Phone::parse(bad).is_err(), "{bad}");
        }
    }
}
