//! Addresses, phone numbers and encrypted texts. Their types never print their values.

use email_address::EmailAddress;
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
    /// An e-mail address, normalized: its domain is in lower case.
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
    /// Parses and normalizes an address.
    ///
    /// # Errors
    /// A message for the caller, without the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.len() > 254 || !EmailAddress::is_valid(text) || text.contains(['<', '"', ' ', '\r', '\n']) {
            return Err("this is not an e-mail address such as name@example.com");
        }
        let (local, domain) = text.rsplit_once('@').ok_or("an e-mail address has an '@'")?;
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    /// Returns the domain, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// Returns the address in lower case, by which two spellings of one mailbox are compared.
    #[must_use]
    pub fn identity(&self) -> String {
        self.0.to_lowercase()
    }
}

impl Phone {
    /// Parses a number in international form (`+` and country code) and normalizes it to E.164.
    ///
    /// # Errors
    /// A message for the caller, without the number.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "write the number in international form, such as +14155550100";
        let number = phonenumber::parse(None, text.trim()).map_err(|_| REMEDY)?;
        let digits = number.format().mode(phonenumber::Mode::E164).to_string();
        let ok = digits.len() <= 16 && digits.len() >= 8 && digits.starts_with('+');
        if ok { Ok(Self(digits)) } else { Err(REMEDY) }
    }

    /// Returns the ISO 3166 code of the number's country, such as `IN`; `None` if the calling code does not determine it.
    #[must_use]
    pub fn country(&self) -> Option<String> {
        let number = phonenumber::parse(None, &self.0).ok()?;
        number.country().id().map(|id| id.as_ref().to_owned())
    }
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
        assert_eq!((email.expose(), email.domain()), ("Ops.Team@example.com", "example.com"));
        assert_eq!(email.identity(), "ops.team@example.com");
        assert_eq!(format!("{email:?}"), "Email(redacted)");
        for bad in ["", "a", "a@", "@b", "a b@example.com", "x@example.com\r\nBcc: y@example.com", "A <a@example.com>"]
        {
            assert!(Email::parse(bad).is_err(), "{bad}");
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
