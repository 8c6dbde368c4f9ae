//! Signed links, which need no item in the table.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::keyring::{Generation, Keyring, VaultError};

/// Length of a truncated signature in bytes. 128 bits cannot be guessed, and a link in an e-mail stays short.
const SIGNATURE_BYTES: usize = 16;

/// What the keys of short links are derived for.
const SHORT_LINK: &str = "short-link";

fn mac(generation: &Generation, kind: &str, purpose: &str) -> Result<Hmac<Sha256>, VaultError> {
    Hmac::new_from_slice(&generation.key(kind, purpose)?).map_err(|_| VaultError::Cipher)
}

/// Escapes a part of a link for a URL. Letters, digits, `-` and `_` stay as they are, because an SMS has little room; every other byte
/// becomes `~` and two hexadecimal digits.
fn escape(part: &str) -> String {
    let mut escaped = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("~{other:02x}")),
        }
    }
    escaped
}

/// Reverses [`escape`]; `None` if the text is not valid.
fn unescape(part: &str) -> Option<String> {
    let mut pieces = part.split('~');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

impl Keyring {
    /// Signs a link token that contains `parts` (at least one) and is valid for `purpose` only. The parts are readable by anyone.
    ///
    /// # Errors
    /// [`VaultError`] of the cipher; none in practice.
    pub fn sign_link(&self, purpose: &str, parts: &[&str]) -> Result<String, VaultError> {
        let (number, generation) = self.newest()?;
        let parts: Vec<String> = parts.iter().map(|part| escape(part)).collect();
        let signed = format!("{number}.{}", parts.join("."));
        let signature = mac(generation, "link", purpose)?.chain_update(&signed).finalize().into_bytes();
        let signature = signature.first_chunk::<SIGNATURE_BYTES>().ok_or(VaultError::Cipher)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Verifies a token of [`Keyring::sign_link`] for the same purpose and returns its parts. Signatures are compared in constant time.
    ///
    /// # Errors
    /// If the token is malformed, altered, made for another purpose, or signed by a generation that is unknown or whose links have ended.
    pub fn verify_link(&self, purpose: &str, token: &str) -> Result<Vec<String>, VaultError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(VaultError::Malformed)?;
        let (number, payload) = signed.split_once('.').ok_or(VaultError::Malformed)?;
        let generation = self.generation_of_link(number.parse().map_err(|_| VaultError::Malformed)?)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| VaultError::Malformed)?;
        // A shorter signature would be compared only in its own length, so the length is checked first.
        if signature.len() != SIGNATURE_BYTES {
            return Err(VaultError::Malformed);
        }
        mac(generation, "link", purpose)?
            .chain_update(signed)
            .verify_truncated_left(&signature)
            .map_err(|_| VaultError::NotGenuine)?;
        payload.split('.').map(|part| unescape(part).ok_or(VaultError::Malformed)).collect()
    }

    /// Signs `payload` as a link token for text messages: the same signature of 128 bits, without names, separators and escapes. The payload
    /// is readable by anyone.
    ///
    /// # Errors
    /// [`VaultError::Malformed`] from generation 256 on, whose number has no room; [`VaultError`] of the cipher, none in practice.
    pub fn sign_short_link(&self, purpose: &str, payload: &[u8]) -> Result<String, VaultError> {
        let (number, generation) = self.newest()?;
        let mut token = vec![u8::try_from(number).map_err(|_| VaultError::Malformed)?];
        token.extend_from_slice(payload);
        let signature = mac(generation, SHORT_LINK, purpose)?.chain_update(&token).finalize().into_bytes();
        token.extend_from_slice(signature.first_chunk::<SIGNATURE_BYTES>().ok_or(VaultError::Cipher)?);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Verifies a token of [`Keyring::sign_short_link`] for the same purpose and returns its payload. Signatures are compared in constant time.
    ///
    /// # Errors
    /// As [`Keyring::verify_link`].
    pub fn verify_short_link(&self, purpose: &str, token: &str) -> Result<Vec<u8>, VaultError> {
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| VaultError::Malformed)?;
        let (signed, signature) = token.split_last_chunk::<SIGNATURE_BYTES>().ok_or(VaultError::Malformed)?;
        let (number, payload) = signed.split_first().ok_or(VaultError::Malformed)?;
        mac(self.generation_of_link(u32::from(*number))?, SHORT_LINK, purpose)?
            .chain_update(signed)
            .verify_truncated_left(signature)
            .map_err(|_| VaultError::NotGenuine)?;
        Ok(payload.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::from_keys([(1, [1; 32])].into()).unwrap()
    }

    fn rotated() -> Keyring {
        Keyring::from_keys([(1, [1; 32]), (2, [2; 32])].into()).unwrap()
    }

    #[test]
    fn a_link_contains_its_parts_and_only_url_characters() {
        let token = keyring().sign_link("unsubscribe", &["acme", "r-1", "email", "ü / ?&"]).unwrap();
        assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c)), "{token}");
        assert_eq!(keyring().verify_link("unsubscribe", &token).unwrap(), ["acme", "r-1", "email", "ü / ?&"]);
    }

    #[test]
    fn a_link_is_valid_only_for_its_purpose_and_key() {
        let token = keyring().sign_link("unsubscribe", &["acme"]).unwrap();
        assert_eq!(keyring().verify_link("confirm", &token), Err(VaultError::NotGenuine));
        let other = Keyring::from_keys([(1, [9; 32])].into()).unwrap();
        assert_eq!(other.verify_link("unsubscribe", &token), Err(VaultError::NotGenuine));
    }

    #[test]
    fn links_stay_valid_after_a_new_generation() {
        let token = keyring().sign_link("unsubscribe", &["acme"]).unwrap();
        assert_eq!(rotated().verify_link("unsubscribe", &token).unwrap(), ["acme"]);
        let new = rotated().sign_link("unsubscribe", &["acme"]).unwrap();
        assert!(new.starts_with("2."));
        assert_eq!(keyring().verify_link("unsubscribe", &new), Err(VaultError::UnknownGeneration(2)));
    }

    #[test]
    fn a_link_altered_at_any_position_is_rejected() {
        let keyring = keyring();
        let token = keyring.sign_link("unsubscribe", &["acme", "r-1"]).unwrap();
        for index in 0..token.len() {
            for replacement in ["A", "B", "9", "-"] {
                let mut altered = token.clone();
                altered.replace_range(index..=index, replacement);
                if altered != token {
                    assert!(keyring.verify_link("unsubscribe", &altered).is_err(), "{altered}");
                }
            }
        }
    }

    #[test]
    fn a_missing_or_shortened_signature_is_rejected() {
        let keyring = keyring();
        let token = keyring.sign_link("unsubscribe", &["acme"]).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for length in 0..signature.len() {
            let cut = format!("{signed}.{}", &signature[..length]);
            assert_eq!(keyring.verify_link("unsubscribe", &cut), Err(VaultError::Malformed), "{cut}");
        }
        for text in ["", ".", "..", "1..", "1.W10", "x.W10.AAAA"] {
            assert_eq!(keyring.verify_link("unsubscribe", text), Err(VaultError::Malformed), "{text}");
        }
    }

    #[test]
    fn different_parts_never_make_the_same_link() {
        let keyring = keyring();
        assert_ne!(keyring.sign_link("p", &["a", "b"]).unwrap(), keyring.sign_link("p", &["a,b"]).unwrap());
        assert_ne!(keyring.sign_link("p", &["ab", ""]).unwrap(), keyring.sign_link("p", &["a", "b"]).unwrap());
    }

    #[test]
    fn links_of_a_generation_end_with_it_and_others_do_not() {
        let generations = || {
            let keys = [(1, [1; 32]), (2, [2; 32])];
            keys.map(|(number, key)| (number, Arc::new(Generation::new(&key).unwrap())))
        };
        let fingerprints = || rotated().fingerprints().clone();
        let old = keyring().sign_link("stop", &["acme"]).unwrap();
        let new = rotated().sign_link("stop", &["acme"]).unwrap();
        let ended = Keyring::new(generations().into(), [1].into(), fingerprints()).unwrap();
        let [_, second] = generations();
        let retired = Keyring::new([second].into(), [1].into(), fingerprints()).unwrap();
        for keyring in [&ended, &retired] {
            assert_eq!(keyring.verify_link("stop", &old), Err(VaultError::LinksEnded(1)));
            assert_eq!(keyring.verify_link("stop", &new).unwrap(), ["acme"]);
        }
        // What it sealed is opened until its key is gone.
        let sealed = keyring().seal("a", b"x").unwrap();
        assert_eq!(ended.open("a", &sealed).unwrap(), b"x");
        assert_eq!(retired.open("a", &sealed), Err(VaultError::UnknownGeneration(1)));
    }

    #[test]
    fn a_short_link_is_valid_only_for_its_purpose_key_and_payload() {
        let token = rotated().sign_short_link("read", b"payload").unwrap();
        assert_eq!(token.len(), 32, "1 byte of the generation, 7 of the payload and 16 of the signature: {token}");
        assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{token}");
        assert_eq!(rotated().verify_short_link("read", &token).unwrap(), b"payload");
        assert_eq!(rotated().verify_short_link("stop", &token), Err(VaultError::NotGenuine));
        assert_eq!(keyring().verify_short_link("read", &token), Err(VaultError::UnknownGeneration(2)));
        for at in 0..token.len() - 1 {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert!(rotated().verify_short_link("read", &String::from_utf8(altered).unwrap()).is_err(), "{at}");
        }
        for text in ["", "x", "AAAA", &token[..20]] {
            assert!(rotated().verify_short_link("read", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reader_is_marked_by_recipient_and_contact() {
        let mark =
            |keyring: &Keyring, recipient, contact| keyring.fingerprints().reader_mark(recipient, contact).unwrap();
        assert_eq!(mark(&keyring(), "rcp_a", "+1"), mark(&rotated(), "rcp_a", "+1"), "after a new generation, too");
        assert_ne!(mark(&keyring(), "rcp_a", "+1"), mark(&keyring(), "rcp_b", "+1"));
        assert_ne!(mark(&keyring(), "rcp_a", "+1"), mark(&keyring(), "rcp_a", "+2"));
    }

    #[test]
    fn short_links_end_with_their_generation_too() {
        let token = keyring().sign_short_link("read", b"payload").unwrap();
        let keys = [(1, [1; 32]), (2, [2; 32])].map(|(number, key)| (number, Arc::new(Generation::new(&key).unwrap())));
        let ended = Keyring::new(keys.into(), [1].into(), rotated().fingerprints().clone()).unwrap();
        assert_eq!(ended.verify_short_link("read", &token), Err(VaultError::LinksEnded(1)));
    }

    proptest! {
        #[test]
        fn any_parts_are_returned_unchanged(parts in prop::collection::vec(".{0,20}", 1..5)) {
            let keyring = keyring();
            let borrowed: Vec<&str> = parts.iter().map(String::as_str).collect();
            let token = keyring.sign_link("p", &borrowed).unwrap();
            prop_assert_eq!(keyring.verify_link("p", &token).unwrap(), parts);
        }

        #[test]
        fn no_token_makes_verification_panic(text in ".{0,80}") {
            let _ = keyring().verify_link("p", &text);
            let _ = keyring().verify_short_link("p", &text);
        }
    }
}
