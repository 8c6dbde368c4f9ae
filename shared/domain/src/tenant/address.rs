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

    /// Returns the wire form in lower case, by which two spellings of one mailbox are compared. Tags and dots stay: they may be another
    /// person's mailbox.
    #[must_use]
    pub fn identity(&self) -> String {
        self.to_wire().to_lowercase()
    }

    /// Returns the mailbox that limits count: the [`identity`](Self::identity) without a `+…` tag, and at Google without dots, so that no
    /// spelling of one mailbox has a limit of its own.
    #[must_use]
    pub fn limited_mailbox(&self) -> String {
        let identity = self.identity();
        let (local, domain) = identity.rsplit_once('@').unwrap_or((&identity, ""));
        // A tag is what follows the first plus sign (RFC 5233). A local part that is all tag keeps it.
        let untagged = local.split('+').next().filter(|untagged| !untagged.is_empty()).unwrap_or(local);
        if GOOGLE_DOMAINS.contains(&domain) {
            return format!("{}@{}", untagged.replace('.', ""), GOOGLE_DOMAINS[0]);
        }
        format!("{untagged}@{domain}")
    }

    /// Returns the domain in lower case and in Punycode.
    #[must_use]
    pub fn wire_domain(&self) -> String {
        self.identity().rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default()
    }
}

/// Names of one mail domain whose mailboxes ignore dots (Google: "Dots don't matter in Gmail addresses").
const GOOGLE_DOMAINS: [&str; 2] = ["gmail.com", "googlemail.com"];

/// The kind of a phone number by libphonenumber's patterns of its country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    /// A landline.
    FixedLine,
    /// A mobile phone.
    Mobile,
    /// A landline or a mobile phone: the country's plan does not distinguish them, as in the US.
    FixedLineOrMobile,
    /// Free for the caller.
    TollFree,
    /// A premium-rate number, whose owner is paid for what is sent there.
    PremiumRate,
    /// The cost is shared between caller and owner.
    SharedCost,
    /// A number of an internet telephone service.
    Voip,
    /// A personal number, which is forwarded to others.
    PersonalNumber,
    /// A pager.
    Pager,
    /// A company's universal access number.
    Uan,
    /// A voicemail service.
    Voicemail,
    /// Of no known pattern.
    Unknown,
}

impl From<Type> for NumberType {
    fn from(kind: Type) -> Self {
        match kind {
            Type::FixedLine => Self::FixedLine,
            Type::Mobile => Self::Mobile,
            Type::FixedLineOrMobile => Self::FixedLineOrMobile,
            Type::TollFree => Self::TollFree,
            Type::PremiumRate => Self::PremiumRate,
            Type::SharedCost => Self::SharedCost,
            Type::Voip => Self::Voip,
            Type::PersonalNumber => Self::PersonalNumber,
            Type::Pager => Self::Pager,
            Type::Uan => Self::Uan,
            Type::Voicemail => Self::Voicemail,
            _ => Self::Unknown,
        }
    }
}

/// What libphonenumber knows of a number. It is stored with the number, so that planning needs no telephone data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberFacts {
    /// ISO 3166 code of the number's country, such as `IN`; `None` for a global service (+881, +979) and for what no country has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The kind of number.
    #[serde(rename = "type")]
    pub number_type: NumberType,
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

    /// Returns the ISO 3166 code of the number's country, such as `IN`; `None` if the number does not determine it.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        self.facts().country
    }

    /// Returns what libphonenumber knows of the number. Several countries share one calling code, and the number's own digits decide.
    #[must_use]
    pub fn facts(&self) -> NumberFacts {
        let Ok(number) = phonenumber::parse(None, &self.0) else {
            return NumberFacts { country: None, number_type: NumberType::Unknown };
        };
        NumberFacts {
            country: number.country().id().map(|id| id.as_ref().to_owned()),
            number_type: number.number_type(&DATABASE).into(),
        }
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
    fn limits_count_mailboxes_however_they_are_spelled() {
        let mailbox = |text: &str| Email::parse(text).unwrap().limited_mailbox();
        for (text, expected) in [
            ("Victim+1@Example.com", "victim@example.com"),
            ("victim+a+b@example.com", "victim@example.com"),
            ("vic.tim@example.com", "vic.tim@example.com"),
            ("V.i.c.tim+9@gmail.com", "victim@gmail.com"),
            ("vic.tim@GoogleMail.com", "victim@gmail.com"),
            ("ops+1@b\u{fc}cher.example", "ops@xn--bcher-kva.example"),
            ("+tag@example.com", "+tag@example.com"),
        ] {
            assert_eq!(mailbox(text), expected, "{text}");
        }
        assert_ne!(Email::parse("victim+1@example.com").unwrap().identity(), mailbox("victim@example.com"));
        assert_eq!(Email::parse("a@B\u{fc}cher.example").unwrap().wire_domain(), "xn--bcher-kva.example");
    }

    #[test]
    fn a_numbers_own_digits_tell_its_country_and_type() {
        use NumberType::{FixedLine, FixedLineOrMobile, Mobile, PremiumRate, TollFree, Voip};
        for (text, country, number_type) in [
            ("+14155550100", Some("US"), FixedLineOrMobile),
            ("+14165550100", Some("CA"), FixedLineOrMobile),
            ("+18765550100", Some("JM"), Mobile),
            ("+18095550100", Some("DO"), FixedLineOrMobile),
            ("+12423591234", Some("BS"), Mobile),
            ("+19005550100", Some("US"), PremiumRate),
            ("+18005550100", Some("US"), TollFree),
            ("+447400123456", Some("GB"), Mobile),
            ("+447797712345", Some("JE"), Mobile),
            ("+447624123456", Some("IM"), Mobile),
            ("+442071838750", Some("GB"), FixedLine),
            ("+445612345678", Some("GB"), Voip),
            ("+4915123456789", Some("DE"), Mobile),
            ("+919876543210", Some("IN"), Mobile),
            ("+61412345678", Some("AU"), Mobile),
            ("+6581234567", Some("SG"), Mobile),
            ("+33612345678", Some("FR"), Mobile),
        ] {
            let facts = Phone::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).facts();
            assert_eq!((facts.country.as_deref(), facts.number_type), (country, number_type), "{text}");
        }
        for global in ["+979123456789", "+881612345678", "+882161234567"] {
            if let Ok(phone) = Phone::parse(global) {
                assert_eq!(phone.facts().country, None, "{global}");
            }
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
