//! The data keys of all generations, and the keys that are derived from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use aes_gcm::{Aes256Gcm, KeyInit};
use aws::AwsError;
use aws::kms::KeyService;
use hkdf::Hkdf;
use sha2::Sha256;

use crate::fingerprint::Fingerprints;

/// Encryption context of all data keys. KMS unwraps a key only with the context that it was generated with.
pub(crate) const KEY_CONTEXT: &[(&str, &str)] = &[("purpose", "tocsin-data-key")];

/// Why a value could not be sealed, opened or verified. Never contains the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// KMS did not generate or unwrap a data key.
    #[error("the data keys cannot be unwrapped: {0}")]
    Kms(#[from] AwsError),
    /// There is no data key.
    #[error("there is no data key; loading the keyring creates the first one")]
    NoKey,
    /// KMS returned a key that is not 32 bytes long. Holds the generation.
    #[error("data key generation {0} is not 32 bytes long")]
    KeyLength(u32),
    /// The text refers to a generation that is not in the keyring: it was made after the keyring was read, or its key is deleted.
    #[error("data key generation {0} is unknown to this process")]
    UnknownGeneration(u32),
    /// The link is of a generation whose links were ended.
    #[error("the links of data key generation {0} were ended")]
    LinksEnded(u32),
    /// The text does not have the format that this crate writes.
    #[error("not a sealed value or link in the expected format")]
    Malformed,
    /// The text was altered, or made for another tenant, integration or purpose.
    #[error("altered, or made for another purpose")]
    NotGenuine,
    /// The operating system returned no random bytes, or the cipher failed.
    #[error("the cipher or the random source failed")]
    Cipher,
}

/// The keys of one generation. The sealing key is derived once, the others when they are needed.
pub(crate) struct Generation {
    pub(crate) cipher: Aes256Gcm,
    hkdf: Hkdf<Sha256>,
}

impl Generation {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, VaultError> {
        let derive = Hkdf::<Sha256>::new(None, key);
        let cipher = Aes256Gcm::new(&derive_key(&derive, "seal", "")?.into());
        Ok(Self { cipher, hkdf: derive })
    }

    pub(crate) fn key(&self, kind: &str, purpose: &str) -> Result<[u8; 32], VaultError> {
        derive_key(&self.hkdf, kind, purpose)
    }
}

fn derive_key(derive: &Hkdf<Sha256>, kind: &str, purpose: &str) -> Result<[u8; 32], VaultError> {
    let mut key = [0; 32];
    let info = [b"tocsin/v1/", kind.as_bytes(), b"/", purpose.as_bytes()];
    derive.expand_multi_info(&info, &mut key).map_err(|_| VaultError::Cipher)?;
    Ok(key)
}

/// The data keys of all generations that are kept, unwrapped, and the keys of fingerprints.
pub struct Keyring {
    generations: BTreeMap<u32, Arc<Generation>>,
    links_ended: BTreeSet<u32>,
    fingerprints: Fingerprints,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(generations {:?})", self.generations.keys().collect::<Vec<_>>())
    }
}

impl Keyring {
    /// Builds a keyring from plain data keys by generation. Fingerprints have the keys of the first.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] if there are none.
    pub fn from_keys(keys: BTreeMap<u32, [u8; 32]>) -> Result<Self, VaultError> {
        let generations = keys
            .iter()
            .map(|(generation, key)| Ok((*generation, Arc::new(Generation::new(key)?))))
            .collect::<Result<BTreeMap<_, _>, VaultError>>()?;
        let (_, first) = generations.first_key_value().ok_or(VaultError::NoKey)?;
        let fingerprints = Fingerprints::of_generation(first)?;
        Self::new(generations, BTreeSet::new(), fingerprints)
    }

    /// Builds a keyring. `links_ended` are the generations whose links were ended, retired ones included.
    pub(crate) fn new(
        generations: BTreeMap<u32, Arc<Generation>>,
        links_ended: BTreeSet<u32>,
        fingerprints: Fingerprints,
    ) -> Result<Self, VaultError> {
        if generations.is_empty() {
            return Err(VaultError::NoKey);
        }
        Ok(Self { generations, links_ended, fingerprints })
    }

    /// Returns the newest generation, which seals and signs new values, with its number.
    pub(crate) fn newest(&self) -> Result<(u32, &Generation), VaultError> {
        let newest = self.generations.last_key_value();
        newest.map(|(number, generation)| (*number, generation.as_ref())).ok_or(VaultError::NoKey)
    }

    pub(crate) fn generation(&self, number: u32) -> Result<&Generation, VaultError> {
        self.generations.get(&number).map(AsRef::as_ref).ok_or(VaultError::UnknownGeneration(number))
    }

    /// Returns the generation that may prove a link.
    pub(crate) fn generation_of_link(&self, number: u32) -> Result<&Generation, VaultError> {
        if self.links_ended.contains(&number) {
            return Err(VaultError::LinksEnded(number));
        }
        self.generation(number)
    }

    pub(crate) fn kept(&self, number: u32) -> Option<Arc<Generation>> {
        self.generations.get(&number).cloned()
    }

    /// Returns the keys of fingerprints, which never change.
    pub fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }
}

/// Unwraps a stored data key.
///
/// # Errors
/// If KMS fails or the key has the wrong length.
pub(crate) async fn unwrap(kms: &KeyService, number: u32, wrapped: Vec<u8>) -> Result<Generation, VaultError> {
    let plain = kms.decrypt(wrapped, KEY_CONTEXT).await?;
    Generation::new(&<[u8; 32]>::try_from(plain).map_err(|_| VaultError::KeyLength(number))?)
}

/// A new data key that is not stored yet.
pub(crate) struct NewGeneration {
    /// The wrapped key, to be stored under the generation's number.
    pub(crate) wrapped: Vec<u8>,
    /// The plain key.
    pub(crate) key: [u8; 32],
}

impl fmt::Debug for NewGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewGeneration(redacted)")
    }
}

/// Generates the data key of a new generation. Store it under a condition: if two processes generate the same generation at the same
/// time, one must use the key of the other.
///
/// # Errors
/// If KMS fails or returns a key of the wrong length.
pub(crate) async fn new_generation(
    kms: &KeyService,
    key_id: &str,
    generation: u32,
) -> Result<NewGeneration, VaultError> {
    let generated = kms.generate_data_key(key_id, KEY_CONTEXT).await?;
    let key = <[u8; 32]>::try_from(generated.plaintext).map_err(|_| VaultError::KeyLength(generation))?;
    Ok(NewGeneration { wrapped: generated.wrapped, key })
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;

    /// A fake KMS whose wrapped keys equal the plain keys. It rejects every encryption context but ours.
    async fn kms() -> (MockServer, KeyService) {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(|request: &Request| {
                let call: Value = serde_json::from_slice(&request.body).unwrap();
                if call["EncryptionContext"] != json!({"purpose": "tocsin-data-key"}) {
                    let refusal = json!({"__type": "InvalidCiphertextException"});
                    return ResponseTemplate::new(400).set_body_json(refusal);
                }
                let new = STANDARD.encode([9; 32]);
                let key = call["CiphertextBlob"].as_str().unwrap_or(&new);
                ResponseTemplate::new(200).set_body_json(json!({"KeyId": "k", "Plaintext": key, "CiphertextBlob": key}))
            })
            .mount(&server)
            .await;
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = aws::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(server.uri())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let keys = KeyService::new(&config);
        (server, keys)
    }

    #[tokio::test]
    async fn a_new_generation_is_the_key_that_kms_wrapped() {
        let (_server, kms) = kms().await;
        let new = new_generation(&kms, "k", 2).await.unwrap();
        let unwrapped = unwrap(&kms, 2, new.wrapped).await.unwrap();
        assert_eq!(unwrapped.key("link", "stop"), Generation::new(&new.key).unwrap().key("link", "stop"));
    }

    #[tokio::test]
    async fn short_and_denied_keys_have_their_own_errors() {
        let (server, kms) = kms().await;
        assert_eq!(unwrap(&kms, 2, vec![1; 31]).await.err(), Some(VaultError::KeyLength(2)));
        server.reset().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(400).set_body_json(json!({"__type": "DisabledException"})))
            .mount(&server)
            .await;
        let denied = AwsError::Denied { code: "DisabledException".to_owned() };
        assert_eq!(unwrap(&kms, 1, vec![1; 32]).await.err(), Some(VaultError::Kms(denied)));
    }

    #[test]
    fn a_keyring_needs_at_least_one_key() {
        assert_eq!(Keyring::from_keys(BTreeMap::new()).err(), Some(VaultError::NoKey));
    }

    #[test]
    fn a_keyring_prints_no_key() {
        let keyring = Keyring::from_keys([(1, [65; 32]), (3, [66; 32])].into()).unwrap();
        assert_eq!(format!("{keyring:?}"), "Keyring(generations [1, 3])");
        let new = NewGeneration { wrapped: vec![65], key: [65; 32] };
        assert_eq!(format!("{new:?}"), "NewGeneration(redacted)");
    }

    #[test]
    fn every_purpose_has_a_different_key() {
        let generation = Generation::new(&[7; 32]).unwrap();
        let keys = [
            generation.key("seal", "").unwrap(),
            generation.key("link", "unsubscribe").unwrap(),
            generation.key("link", "confirm").unwrap(),
            generation.key("fingerprint", "unsubscribe").unwrap(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key));
            assert_ne!(key, &[7; 32]);
        }
    }
}
