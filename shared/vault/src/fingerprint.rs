//! Keyed hashes by which equal addresses, numbers and URLs are recognized.
//!
//! Their keys never change: an address that is suppressed, a lock and a counter are found by them. They were those of generation 1 of the
//! data key; before there is a second generation they are copied into an item of their own, so that generation 1 can end.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::keyring::{Generation, VaultError};

/// Length of a fingerprint in bytes.
const FINGERPRINT_BYTES: usize = 16;
/// Hexadecimal digits of a contact's fingerprint in a link. It tells an old address from the new one, and protects nothing.
const SHORT_FINGERPRINT_DIGITS: usize = 8;
/// Associated data of the keys that are sealed with the lookup key.
const INHERITED_AAD: &str = "fingerprint-keys";

/// What a fingerprint is for. Equal values have different fingerprints for different purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FingerprintPurpose {
    /// An integration's URL.
    IntegrationUrl,
    /// The address or number of a recipient.
    Contact,
    /// The mailbox or number that limits count, however it is spelled.
    LimitedContact,
    /// A confirmation code.
    ConfirmationCode,
    /// One contact of a recipient, in a short link.
    Reader,
}

impl FingerprintPurpose {
    /// Every purpose.
    pub const ALL: [Self; 5] =
        [Self::IntegrationUrl, Self::Contact, Self::LimitedContact, Self::ConfirmationCode, Self::Reader];

    /// The purpose as keys are derived by it and stored.
    const fn as_str(self) -> &'static str {
        match self {
            Self::IntegrationUrl => "integration-url",
            Self::Contact => "contact",
            Self::LimitedContact => "limited-contact",
            Self::ConfirmationCode => "confirmation-code",
            Self::Reader => "reader",
        }
    }
}

/// The keys of fingerprints, one for each purpose.
#[derive(Clone)]
pub struct Fingerprints(BTreeMap<FingerprintPurpose, [u8; 32]>);

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprints(redacted)")
    }
}

impl Fingerprints {
    fn derive(generation: &Generation, purpose: FingerprintPurpose) -> Result<[u8; 32], VaultError> {
        generation.key("fingerprint", purpose.as_str())
    }

    /// Derives the keys that a generation of the data key has.
    pub(crate) fn of_generation(generation: &Generation) -> Result<Self, VaultError> {
        let keys = FingerprintPurpose::ALL.into_iter();
        keys.map(|purpose| Ok((purpose, Self::derive(generation, purpose)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Seals the keys with the lookup key.
    pub(crate) fn seal(&self, lookup: &Generation) -> Result<String, VaultError> {
        let keys: BTreeMap<&str, String> =
            self.0.iter().map(|(purpose, key)| (purpose.as_str(), STANDARD.encode(key))).collect();
        let json = serde_json::to_vec(&keys).map_err(|_| VaultError::Cipher)?;
        lookup.seal(INHERITED_AAD, &json)
    }

    /// Opens the keys that [`Fingerprints::seal`] sealed. A purpose that did not exist then has a key of the lookup key's own.
    pub(crate) fn open(lookup: &Generation, sealed: &str) -> Result<Self, VaultError> {
        let json = lookup.open(INHERITED_AAD, sealed)?;
        let inherited: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| VaultError::Malformed)?;
        let key = |purpose: FingerprintPurpose| match inherited.get(purpose.as_str()) {
            Some(text) => {
                let bytes = STANDARD.decode(text).map_err(|_| VaultError::Malformed)?;
                <[u8; 32]>::try_from(bytes).map_err(|_| VaultError::Malformed)
            }
            None => Self::derive(lookup, purpose),
        };
        FingerprintPurpose::ALL
            .into_iter()
            .map(|purpose| Ok((purpose, key(purpose)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns a keyed hash of a value as 32 hexadecimal digits. It shows whether two values are equal (two integrations with one URL,
    /// two recipients with one address) without storing them.
    ///
    /// # Errors
    /// [`VaultError`] of the cipher; none in practice.
    pub fn fingerprint(&self, purpose: FingerprintPurpose, value: &str) -> Result<String, VaultError> {
        let key = self.0.get(&purpose).ok_or(VaultError::NoKey)?;
        let mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| VaultError::Cipher)?;
        let digest = mac.chain_update(value).finalize().into_bytes();
        Ok(digest.iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns 32 bits by which a short link names one contact of a recipient. They tell a tenant's contacts apart, and protect nothing.
    ///
    /// # Errors
    /// As [`Fingerprints::fingerprint`].
    pub fn reader_mark(&self, recipient: &str, contact: &str) -> Result<u32, VaultError> {
        let mark = self.fingerprint(FingerprintPurpose::Reader, &format!("{recipient} {contact}"))?;
        u32::from_str_radix(mark.get(..8).unwrap_or_default(), 16).map_err(|_| VaultError::Malformed)
    }

    /// Returns the keyed hash of a normalized address or number.
    ///
    /// # Errors
    /// As [`Fingerprints::fingerprint`].
    pub fn contact(&self, contact: &str) -> Result<String, VaultError> {
        self.fingerprint(FingerprintPurpose::Contact, contact)
    }

    /// Returns the beginning of [`Fingerprints::contact`], for links.
    ///
    /// # Errors
    /// As [`Fingerprints::fingerprint`].
    pub fn short_contact(&self, contact: &str) -> Result<String, VaultError> {
        let mut fingerprint = self.contact(contact)?;
        fingerprint.truncate(SHORT_FINGERPRINT_DIGITS);
        Ok(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(byte: u8) -> Generation {
        Generation::new(&[byte; 32]).unwrap()
    }

    fn first() -> Fingerprints {
        Fingerprints::of_generation(&generation(1)).unwrap()
    }

    const URL: &str = "https://hooks.acme.io/";

    #[test]
    fn fingerprints_differ_by_purpose_value_and_key() {
        let before = first().fingerprint(FingerprintPurpose::IntegrationUrl, URL).unwrap();
        assert_eq!(before.len(), 32);
        assert!(before.chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(first().fingerprint(FingerprintPurpose::Contact, URL).unwrap(), before);
        assert_ne!(first().fingerprint(FingerprintPurpose::IntegrationUrl, "https://hooks.acme.io/x").unwrap(), before);
        let other = Fingerprints::of_generation(&generation(9)).unwrap();
        assert_ne!(other.fingerprint(FingerprintPurpose::IntegrationUrl, URL).unwrap(), before);
        assert!(first().contact("a").unwrap().starts_with(&first().short_contact("a").unwrap()));
    }

    /// What the release before the lookup key wrote into tables.
    #[test]
    fn fingerprints_of_generation_1_are_those_of_released_versions() {
        let released = [
            (FingerprintPurpose::IntegrationUrl, "d33d06a1b70296c714354268c4871846"),
            (FingerprintPurpose::Contact, "c1b01f8c9b10e80df626f147f550e594"),
            (FingerprintPurpose::LimitedContact, "c138385fa500dacea24b58b87f11a259"),
            (FingerprintPurpose::ConfirmationCode, "16aa4821d0c32eac22be32f9b8093d06"),
        ];
        for (purpose, expected) in released {
            assert_eq!(first().fingerprint(purpose, URL).unwrap(), expected, "{purpose:?}");
        }
    }

    #[test]
    fn the_lookup_key_keeps_the_fingerprints_of_the_first_generation() {
        let lookup = generation(7);
        let sealed = first().seal(&lookup).unwrap();
        let kept = Fingerprints::open(&lookup, &sealed).unwrap();
        for purpose in FingerprintPurpose::ALL {
            assert_eq!(kept.fingerprint(purpose, URL), first().fingerprint(purpose, URL), "{purpose:?}");
        }
        assert_eq!(Fingerprints::open(&generation(8), &sealed).err(), Some(VaultError::NotGenuine));
        assert_eq!(format!("{kept:?}"), "Fingerprints(redacted)");
    }

    #[test]
    fn a_purpose_that_is_not_among_the_kept_keys_has_one_of_the_lookup_key() {
        let lookup = generation(7);
        let mut some = first();
        some.0.remove(&FingerprintPurpose::Contact);
        let kept = Fingerprints::open(&lookup, &some.seal(&lookup).unwrap()).unwrap();
        let own = Fingerprints::of_generation(&lookup).unwrap();
        assert_eq!(kept.contact("a"), own.contact("a"));
        let code = |keys: &Fingerprints| keys.fingerprint(FingerprintPurpose::ConfirmationCode, "a");
        assert_eq!(code(&kept), code(&first()));
    }
}
