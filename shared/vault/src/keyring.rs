//! The data keys of all generations, and the keys derived from them.

use std::collections::BTreeMap;
use std::fmt;

use aes_gcm::{Aes256Gcm, KeyInit};
use aws::AwsError;
use aws::kms::Keys;
use hkdf::Hkdf;
use sha2::Sha256;

/// What every wrapped data key is bound to: KMS unwraps nothing else for us, and these keys for nobody else.
pub const KEY_CONTEXT: &[(&str, &str)] = &[("purpose", "tocsin-data-key")];

/// Why something could not be sealed, opened or verified. Never holds what it was about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// KMS did not give us a key.
    #[error("the data keys cannot be unwrapped: {0}")]
    Kms(#[from] AwsError),
    /// There is no data key at all.
    #[error("there is no data key yet; make one with the bootstrap command")]
    NoKey,
    /// KMS gave a key of another length than 32 bytes.
    #[error("data key generation {0} is not 32 bytes long")]
    KeyLength(u32),
    /// The text names a generation that the keyring does not hold.
    #[error("data key generation {0} is unknown to this process")]
    UnknownGeneration(u32),
    /// The text is not what this crate writes.
    #[error("not a sealed value or link of ours")]
    Malformed,
    /// The text is altered, or belongs to another tenant, integration or purpose.
    #[error("altered, or made for something else")]
    NotGenuine,
    /// The operating system gives no random bytes, or the cipher refused.
    #[error("the cipher or the random source failed")]
    Cipher,
}

/// One generation: what is needed per call is derived once.
pub(crate) struct Generation {
    pub(crate) cipher: Aes256Gcm,
    derive: Hkdf<Sha256>,
}

impl Generation {
    fn new(key: &[u8; 32]) -> Result<Self, VaultError> {
        let derive = Hkdf::<Sha256>::new(None, key);
        let cipher = Aes256Gcm::new(&derived(&derive, "seal", "")?.into());
        Ok(Self { cipher, derive })
    }

    pub(crate) fn key(&self, kind: &str, purpose: &str) -> Result<[u8; 32], VaultError> {
        derived(&self.derive, kind, purpose)
    }
}

fn derived(derive: &Hkdf<Sha256>, kind: &str, purpose: &str) -> Result<[u8; 32], VaultError> {
    let mut key = [0; 32];
    let info = [b"tocsin/v1/", kind.as_bytes(), b"/", purpose.as_bytes()];
    derive.expand_multi_info(&info, &mut key).map_err(|_| VaultError::Cipher)?;
    Ok(key)
}

/// The data keys of all generations, unwrapped. Build it once per process and share it.
pub struct Keyring {
    generations: BTreeMap<u32, Generation>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(generations {:?})", self.generations.keys().collect::<Vec<_>>())
    }
}

impl Keyring {
    /// From plain data keys by generation.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] when there is none.
    pub fn from_keys(keys: BTreeMap<u32, [u8; 32]>) -> Result<Self, VaultError> {
        if keys.is_empty() {
            return Err(VaultError::NoKey);
        }
        let generations = keys
            .iter()
            .map(|(generation, key)| Ok((*generation, Generation::new(key)?)))
            .collect::<Result<_, VaultError>>()?;
        Ok(Self { generations })
    }

    /// The generation that seals and signs from now on, with its number.
    pub(crate) fn newest(&self) -> Result<(u32, &Generation), VaultError> {
        self.generations.last_key_value().map(|(number, generation)| (*number, generation)).ok_or(VaultError::NoKey)
    }

    /// The generation that never changes as others are added.
    pub(crate) fn oldest(&self) -> Result<&Generation, VaultError> {
        self.generations.first_key_value().map(|(_, generation)| generation).ok_or(VaultError::NoKey)
    }

    pub(crate) fn generation(&self, number: u32) -> Result<&Generation, VaultError> {
        self.generations.get(&number).ok_or(VaultError::UnknownGeneration(number))
    }
}

/// Unwraps the stored data keys, all at once.
///
/// # Errors
/// KMS's refusal or silence, a key of the wrong length, or none at all.
pub async fn unwrap_all(kms: &Keys, wrapped: Vec<(u32, Vec<u8>)>) -> Result<Keyring, VaultError> {
    let unwrapping = wrapped.into_iter().map(|(generation, wrapped)| async move {
        let plain = kms.decrypt(wrapped, KEY_CONTEXT).await?;
        let key = <[u8; 32]>::try_from(plain).map_err(|_| VaultError::KeyLength(generation))?;
        Ok::<_, VaultError>((generation, key))
    });
    let keys = futures::future::try_join_all(unwrapping).await?;
    Keyring::from_keys(keys.into_iter().collect())
}

/// A data key that is not stored yet.
pub struct NewGeneration {
    /// What to store under the new generation's number.
    pub wrapped: Vec<u8>,
    /// The plain key, for [`Keyring::from_keys`].
    pub key: [u8; 32],
}

impl fmt::Debug for NewGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewGeneration(redacted)")
    }
}

/// Makes the data key of a new generation. Store it with a condition: of two processes that make the same generation
/// at once, one must read the other's.
///
/// # Errors
/// KMS's refusal or silence, or a key of the wrong length.
pub async fn new_generation(kms: &Keys, key_id: &str, generation: u32) -> Result<NewGeneration, VaultError> {
    let made = kms.generate_data_key(key_id, KEY_CONTEXT).await?;
    let key = <[u8; 32]>::try_from(made.plaintext).map_err(|_| VaultError::KeyLength(generation))?;
    Ok(NewGeneration { wrapped: made.wrapped, key })
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

    /// A KMS on loopback whose wrapped keys are the plain keys: what matters here is what is asked and what becomes of
    /// the answer. It refuses every context but ours.
    async fn kms() -> (MockServer, Keys) {
        let server = MockServer::start().await;
        Mock::given(any())
            .respond_with(|request: &Request| {
                let asked: Value = serde_json::from_slice(&request.body).unwrap();
                if asked["EncryptionContext"] != json!({"purpose": "tocsin-data-key"}) {
                    let refusal = json!({"__type": "InvalidCiphertextException"});
                    return ResponseTemplate::new(400).set_body_json(refusal);
                }
                let new = STANDARD.encode([9; 32]);
                let key = asked["CiphertextBlob"].as_str().unwrap_or(&new);
                ResponseTemplate::new(200).set_body_json(json!({"KeyId": "k", "Plaintext": key, "CiphertextBlob": key}))
            })
            .mount(&server)
            .await;
        let nobody = Credentials::new("test", "test", None, None, "test");
        let config = aws::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(server.uri())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(nobody))
            .build();
        let keys = Keys::new(&config);
        (server, keys)
    }

    #[tokio::test]
    async fn a_new_generation_is_unwrapped_again_beside_the_old_ones() {
        let (_server, kms) = kms().await;
        let new = new_generation(&kms, "k", 2).await.unwrap();
        let first = Keyring::from_keys([(1, [1; 32])].into()).unwrap();
        let sealed = first.seal("a", b"old").unwrap();
        let keyring = unwrap_all(&kms, vec![(1, vec![1; 32]), (2, new.wrapped)]).await.unwrap();
        assert_eq!(keyring.open("a", &sealed).unwrap(), b"old");
        let direct = Keyring::from_keys([(1, [1; 32]), (2, new.key)].into()).unwrap();
        assert_eq!(direct.open("a", &keyring.seal("a", b"new").unwrap()).unwrap(), b"new");
    }

    #[tokio::test]
    async fn keys_that_cannot_be_used_are_named() {
        let (server, kms) = kms().await;
        assert_eq!(unwrap_all(&kms, Vec::new()).await.err(), Some(VaultError::NoKey));
        let short = unwrap_all(&kms, vec![(1, vec![1; 32]), (2, vec![1; 31])]).await;
        assert_eq!(short.err(), Some(VaultError::KeyLength(2)));
        server.reset().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(400).set_body_json(json!({"__type": "DisabledException"})))
            .mount(&server)
            .await;
        let denied = AwsError::Denied { code: "DisabledException".to_owned() };
        assert_eq!(unwrap_all(&kms, vec![(1, vec![1; 32])]).await.err(), Some(VaultError::Kms(denied)));
    }

    #[test]
    fn a_keyring_needs_a_key() {
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
    fn every_purpose_has_a_key_of_its_own() {
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
