//! Seals secrets for storage in the table and in messages.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::keyring::{Generation, Keyring, VaultError};

/// Length of an AES-GCM nonce in bytes.
const NONCE_BYTES: usize = 12;

/// A sealed secret as text: `v1.<generation>.<base64 of nonce and ciphertext>`. Prints redacted.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Returns the text to store. Do not log it, although it is encrypted.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the generation that sealed it, and what is encoded.
    fn parts(&self) -> Result<(u32, &str), VaultError> {
        let (number, encoded) =
            self.0.strip_prefix("v1.").and_then(|rest| rest.split_once('.')).ok_or(VaultError::Malformed)?;
        Ok((number.parse().map_err(|_| VaultError::Malformed)?, encoded))
    }

    /// Returns the generation that sealed it; `None` if the text is not in the expected format.
    pub fn generation(&self) -> Option<u32> {
        self.parts().ok().map(|(number, _)| number)
    }
}

/// Wraps text from the table or from a message without checking it. [`Keyring::open`] checks it.
impl From<String> for Sealed {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        sealed.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(redacted)")
    }
}

/// Returns the associated data that binds a sealed value to its owner: an integration, a recipient or a dead letter. A value copied to
/// another tenant or owner does not open.
pub fn owner_aad(tenant: &str, owner_id: &str) -> String {
    // Neither part can contain a slash (tenant ids are [a-z0-9-]), so different pairs give different texts.
    format!("integration/{tenant}/{owner_id}")
}

impl Keyring {
    /// Seals a secret with the newest generation. `aad` identifies what the secret belongs to and is needed to open it.
    ///
    /// # Errors
    /// Only if the operating system returns no random bytes.
    pub fn seal(&self, aad: &str, plaintext: &[u8]) -> Result<Sealed, VaultError> {
        let (number, generation) = self.newest()?;
        Ok(Sealed(format!("v1.{number}.{}", generation.seal(aad, plaintext)?)))
    }

    /// Opens a secret that [`Keyring::seal`] sealed with the same `aad`.
    ///
    /// # Errors
    /// If the text is malformed, altered, sealed with another `aad`, or of an unknown generation.
    pub fn open(&self, aad: &str, sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
        let (number, encoded) = sealed.parts()?;
        self.generation(number)?.open(aad, encoded)
    }

    /// Seals a secret again with the newest generation. Returns `None` if that one sealed it.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub fn reseal(&self, aad: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        if sealed.generation() == Some(self.newest_generation()?) {
            return Ok(None);
        }
        self.seal(aad, &self.open(aad, sealed)?).map(Some)
    }

    /// Returns the number of the newest generation, which seals.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] without a generation; none in practice.
    pub fn newest_generation(&self) -> Result<u32, VaultError> {
        self.newest().map(|(number, _)| number)
    }
}

impl Generation {
    /// Encrypts a text under its associated data: nonce and ciphertext as base64.
    pub(crate) fn seal(&self, aad: &str, plaintext: &[u8]) -> Result<String, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| VaultError::Cipher)?;
        let payload = Payload { msg: plaintext, aad: aad.as_bytes() };
        let ciphertext = self.cipher.encrypt(&nonce.into(), payload).map_err(|_| VaultError::Cipher)?;
        let mut bytes = nonce.to_vec();
        bytes.extend(ciphertext);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens what [`Generation::seal`] made with the same associated data.
    pub(crate) fn open(&self, aad: &str, encoded: &str) -> Result<Vec<u8>, VaultError> {
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| VaultError::Malformed)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Malformed)?;
        let payload = Payload { msg: ciphertext, aad: aad.as_bytes() };
        self.cipher.decrypt(&(*nonce).into(), payload).map_err(|_| VaultError::NotGenuine)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::from_keys([(1, [1; 32])].into()).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_only_with_its_aad() {
        let keyring = keyring();
        let sealed = keyring.seal(&owner_aad("acme", "i1"), b"https://hooks.slack.com/services/x").unwrap();
        assert_eq!(keyring.open(&owner_aad("acme", "i1"), &sealed).unwrap(), b"https://hooks.slack.com/services/x");
        for wrong in [owner_aad("globex", "i1"), owner_aad("acme", "i2"), String::new()] {
            assert_eq!(keyring.open(&wrong, &sealed), Err(VaultError::NotGenuine), "{wrong}");
        }
    }

    #[test]
    fn sealing_twice_gives_different_texts() {
        let keyring = keyring();
        assert_ne!(keyring.seal("a", b"x").unwrap(), keyring.seal("a", b"x").unwrap());
    }

    #[test]
    fn a_secret_is_sealed_again_once_and_opens_as_before() {
        let old = keyring().seal("a", b"x").unwrap();
        let rotated = Keyring::from_keys([(1, [1; 32]), (2, [2; 32])].into()).unwrap();
        let new = rotated.reseal("a", &old).unwrap().unwrap();
        assert_eq!((old.generation(), new.generation()), (Some(1), Some(2)));
        let only_new = Keyring::from_keys([(2, [2; 32])].into()).unwrap();
        assert_eq!(only_new.open("a", &new).unwrap(), b"x");
        assert_eq!(only_new.open("a", &old), Err(VaultError::UnknownGeneration(1)));
        assert_eq!(rotated.reseal("a", &new), Ok(None));
        assert_eq!(rotated.reseal("b", &old), Err(VaultError::NotGenuine), "not for another owner");
        assert_eq!(Sealed::from("hunter2".to_owned()).generation(), None);
    }

    #[test]
    fn an_old_generation_still_opens_and_the_newest_seals() {
        let old = keyring().seal("a", b"old").unwrap();
        let both = Keyring::from_keys([(1, [1; 32]), (2, [2; 32])].into()).unwrap();
        assert_eq!(both.open("a", &old).unwrap(), b"old");
        let new = both.seal("a", b"new").unwrap();
        assert!(new.as_str().starts_with("v1.2."));
        assert_eq!(keyring().open("a", &new), Err(VaultError::UnknownGeneration(2)));
        // The same ciphertext with another generation's number does not open.
        let moved = Sealed::from(old.as_str().replacen("v1.1.", "v1.2.", 1));
        assert_eq!(both.open("a", &moved), Err(VaultError::NotGenuine));
    }

    #[test]
    fn altering_any_byte_is_detected() {
        let keyring = keyring();
        let sealed = keyring.seal("a", b"secret").unwrap();
        let encoded = sealed.as_str().strip_prefix("v1.1.").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            let altered = Sealed::from(format!("v1.1.{}", URL_SAFE_NO_PAD.encode(altered)));
            assert_eq!(keyring.open("a", &altered), Err(VaultError::NotGenuine), "byte {index}");
        }
        for length in 0..bytes.len() {
            let cut = Sealed::from(format!("v1.1.{}", URL_SAFE_NO_PAD.encode(&bytes[..length])));
            assert!(keyring.open("a", &cut).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn text_in_another_format_is_malformed() {
        for text in ["", "v1", "v1.1", "v1.x.AAAA", "v2.1.AAAA", "v1.1.***", "v1.1.AAAA", "v1.-1.AAAA", "hunter2"] {
            assert_eq!(keyring().open("a", &Sealed::from(text.to_owned())), Err(VaultError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_sealed_value_is_a_plain_string_in_json_and_prints_redacted() {
        let sealed = keyring().seal("a", b"x").unwrap();
        let json = serde_json::to_string(&sealed).unwrap();
        assert_eq!(json, format!("\"{}\"", sealed.as_str()));
        assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
        assert_eq!(format!("{sealed:?}"), "Sealed(redacted)");
    }

    proptest! {
        #[test]
        fn any_secret_opens_unchanged(text in prop::collection::vec(any::<u8>(), 0..300), aad in ".{0,40}") {
            let keyring = keyring();
            let sealed = keyring.seal(&aad, &text).unwrap();
            prop_assert_eq!(keyring.open(&aad, &sealed).unwrap(), text);
        }

        #[test]
        fn no_text_makes_opening_panic(text in ".{0,80}") {
            let _ = keyring().open("a", &Sealed::from(text));
        }
    }
}
