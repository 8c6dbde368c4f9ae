//! Loads a process's keyring from the data keys stored in the table, looks whether they have changed, and makes new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws::kms::KeyService;
use aws_config::SdkConfig;
use domain::data_key::{DataKeyGeneration, RECHECK, UNCHECKED_MAX};
use jiff::{SignedDuration, Timestamp};
use store::data_keys::{KeyAudit, StoredDataKey, StoredLookupKey};
use store::{StoreError, Table};
use tokio::sync::Mutex;

use crate::fingerprint::Fingerprints;
use crate::keyring::{Generation, Keyring, VaultError, new_generation, unwrap};
use crate::sealed::Sealed;

/// Pause before data keys are read again that could not be read.
const READ_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Why the keyring could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The wrapped keys could not be read or stored.
    #[error("the data keys could not be read or stored: {0}")]
    Store(#[from] StoreError),
    /// KMS did not generate or unwrap a key.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Reads and unwraps all data keys. Only `preferences-api` may write one.
///
/// # Errors
/// If the table or KMS fails, or if there is no key yet: the bootstrap command of a new stack makes the first one.
pub async fn load(table: &Table, kms: &KeyService) -> Result<Keyring, LoadError> {
    read_keyring(table, kms, None).await
}

/// Reads the data keys, and unwraps those that are not among `known`. A generation keeps its key for life, so only new ones cost a call.
async fn read_keyring(table: &Table, kms: &KeyService, known: Option<&Keyring>) -> Result<Keyring, LoadError> {
    let stored = table.data_keys().await?;
    let links_ended: BTreeSet<u32> =
        stored.iter().map(|key| &key.generation).filter(|one| !one.has_links()).map(|one| one.number).collect();
    let kept = stored.into_iter().filter_map(|key| Some((key.generation.number, key.wrapped?)));
    let unwrapping = kept.map(|(number, wrapped)| async move {
        let generation = match known.and_then(|known| known.kept(number)) {
            Some(generation) => generation,
            None => Arc::new(unwrap(kms, number, wrapped).await?),
        };
        Ok::<_, VaultError>((number, generation))
    });
    let generations: BTreeMap<u32, Arc<Generation>> =
        futures::future::try_join_all(unwrapping).await?.into_iter().collect();
    let fingerprints = match known {
        Some(known) => known.fingerprints().clone(),
        None => read_fingerprints(table, kms, &generations).await?,
    };
    Ok(Keyring::new(generations, links_ended, fingerprints)?)
}

/// Reads the keys of fingerprints: those of the lookup key, or of generation 1 before there is one.
async fn read_fingerprints(
    table: &Table,
    kms: &KeyService,
    generations: &BTreeMap<u32, Arc<Generation>>,
) -> Result<Fingerprints, LoadError> {
    if let Some(stored) = table.lookup_key().await? {
        let lookup = unwrap(kms, 0, stored.wrapped).await?;
        return Ok(Fingerprints::open(&lookup, &stored.sealed)?);
    }
    Ok(Fingerprints::of_generation(generations.get(&1).ok_or(VaultError::NoKey)?)?)
}

/// Generates generation 1 on a new stack. If two processes try at the same time, the key counts that was stored first.
///
/// # Errors
/// If the table or KMS fails.
async fn make_first(table: &Table, kms: &KeyService, key_id: &str, now: Timestamp) -> Result<(), LoadError> {
    if table.data_keys().await?.is_empty() {
        let first = new_generation(kms, key_id, 1).await?;
        table.add_first_data_key(&first.wrapped, now).await?;
    }
    Ok(())
}

/// A keyring that is loaded when it is needed, so that a function can start while KMS is unavailable, and that follows the table: a process
/// lives for hours, and must learn of a generation that is made or ended meanwhile.
///
/// If the function could not start, its messages would return at every visibility timeout and soon be given up, instead of being
/// retried with growing pauses.
#[derive(Debug)]
pub struct LazyKeyring {
    table: Table,
    kms: KeyService,
    loaded: Mutex<Option<Loaded>>,
}

/// A keyring, and when it was read.
#[derive(Clone, Debug)]
struct Loaded {
    keyring: Arc<Keyring>,
    read_at: Timestamp,
    /// When it is read again.
    next_at: Timestamp,
}

impl Loaded {
    fn new(keyring: Keyring, now: Timestamp) -> Self {
        Self { keyring: Arc::new(keyring), read_at: now, next_at: after(now, RECHECK) }
    }
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(now)
}

/// The generation to be made.
#[derive(Clone, Copy, Debug)]
pub struct NextGeneration<'a> {
    /// The KMS key that wraps it.
    pub key_id: &'a str,
    /// The generation before it.
    pub newest: u32,
    /// After how long no process seals or signs with an earlier one; [`domain::data_key::SETTLING`] outside the local stack.
    pub settling: SignedDuration,
}

impl LazyKeyring {
    /// Creates the keyring and tries to load it. A failure is ignored here, because [`LazyKeyring::get`] tries again.
    pub async fn new(config: &SdkConfig, table: &Table, now: Timestamp) -> Self {
        let lazy = Self { table: table.clone(), kms: KeyService::new(config), loaded: Mutex::new(None) };
        // Loading takes the same time now as later, and no event waits for it yet.
        let _ignored = lazy.get(now).await;
        lazy
    }

    /// As [`LazyKeyring::new`], makes the first data key of a new stack, and returns the keys of fingerprints as well.
    ///
    /// # Errors
    /// If the table or KMS fails.
    pub async fn create(
        config: &SdkConfig,
        table: &Table,
        key_id: &str,
        now: Timestamp,
    ) -> Result<(Self, Fingerprints), LoadError> {
        let lazy = Self { table: table.clone(), kms: KeyService::new(config), loaded: Mutex::new(None) };
        make_first(&lazy.table, &lazy.kms, key_id, now).await?;
        let fingerprints = lazy.get(now).await?.fingerprints().clone();
        Ok((lazy, fingerprints))
    }

    /// Wraps a keyring that was read at `now`.
    pub fn loaded(config: &SdkConfig, table: &Table, keyring: Keyring, now: Timestamp) -> Self {
        let loaded = Mutex::new(Some(Loaded::new(keyring, now)));
        Self { table: table.clone(), kms: KeyService::new(config), loaded }
    }

    /// Returns the keyring, and reads the data keys if that was not done within the last half minute. While they cannot be read, the keyring
    /// that is known is used for two minutes.
    ///
    /// # Errors
    /// Like [`load`].
    pub async fn get(&self, now: Timestamp) -> Result<Arc<Keyring>, LoadError> {
        let mut loaded = self.loaded.lock().await;
        // A clock that was set back must not keep an old keyring.
        if let Some(known) = loaded.as_ref().filter(|known| (known.read_at..known.next_at).contains(&now)) {
            return Ok(known.keyring.clone());
        }
        match self.read(&mut loaded, now).await {
            Ok(keyring) => Ok(keyring),
            Err(error) => match loaded.as_mut() {
                Some(known) if now.duration_since(known.read_at).abs() < UNCHECKED_MAX => {
                    tracing::warn!(%error, "the data keys cannot be read; those that are known are used");
                    known.next_at = after(now, READ_AGAIN).min(after(known.read_at, UNCHECKED_MAX));
                    Ok(known.keyring.clone())
                }
                _ => Err(error),
            },
        }
    }

    /// Opens a secret that was sealed with the same `aad`. If it is of a generation that is not known, the data keys are read again: it may
    /// be newer than the keyring.
    ///
    /// # Errors
    /// Like [`load`] and [`Keyring::open`].
    pub async fn open(&self, aad: &str, sealed: &Sealed, now: Timestamp) -> Result<Vec<u8>, LoadError> {
        match self.get(now).await?.open(aad, sealed) {
            Err(VaultError::UnknownGeneration(_)) => Ok(self.reload(now).await?.open(aad, sealed)?),
            done => Ok(done?),
        }
    }

    /// Reads the data keys and returns the keyring.
    ///
    /// # Errors
    /// Like [`load`].
    pub async fn reload(&self, now: Timestamp) -> Result<Arc<Keyring>, LoadError> {
        let mut loaded = self.loaded.lock().await;
        self.read(&mut loaded, now).await
    }

    async fn read(&self, loaded: &mut Option<Loaded>, now: Timestamp) -> Result<Arc<Keyring>, LoadError> {
        let known = loaded.as_ref().map(|known| known.keyring.as_ref());
        let next = Loaded::new(read_keyring(&self.table, &self.kms, known).await?, now);
        let keyring = next.keyring.clone();
        *loaded = Some(next);
        Ok(keyring)
    }

    /// Makes the next generation, and gives fingerprints a key of their own before. Returns `None` if another process made it.
    ///
    /// # Errors
    /// If the table or KMS fails.
    pub async fn make_next(
        &self,
        next: NextGeneration<'_>,
        audit: KeyAudit<'_>,
    ) -> Result<Option<DataKeyGeneration>, LoadError> {
        let now = audit.record.at;
        self.keep_fingerprints(next.key_id, now).await?;
        let number = next.newest.saturating_add(1);
        let made = new_generation(&self.kms, next.key_id, number).await?;
        let generation = DataKeyGeneration::made(number, now, next.settling);
        let key = StoredDataKey { generation, wrapped: Some(made.wrapped) };
        if !self.table.add_data_key(&key, audit).await? {
            return Ok(None);
        }
        self.reload(now).await?;
        Ok(Some(key.generation))
    }

    /// Stores the keys of fingerprints under the lookup key, unless they are.
    async fn keep_fingerprints(&self, key_id: &str, now: Timestamp) -> Result<(), LoadError> {
        if self.table.lookup_key().await?.is_some() {
            return Ok(());
        }
        let keyring = self.get(now).await?;
        let made = new_generation(&self.kms, key_id, 0).await?;
        let sealed = keyring.fingerprints().seal(&Generation::new(&made.key)?)?;
        // Another process may have been first. It sealed the same keys.
        Ok(self.table.add_lookup_key(&StoredLookupKey { wrapped: made.wrapped, sealed }, now).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Shared;

    use aws_config::retry::RetryConfig;
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;

    /// What a fake of table and KMS holds. Wrapped keys equal the plain keys.
    #[derive(Debug, Default)]
    struct Account {
        items: BTreeMap<String, Value>,
        reads: usize,
        unwraps: usize,
        fails: bool,
    }

    impl Account {
        fn answer(&mut self, request: &Request) -> ResponseTemplate {
            let call: Value = serde_json::from_slice(&request.body).unwrap();
            if self.fails {
                return ResponseTemplate::new(500).set_body_json(json!({"__type": "InternalServerError"}));
            }
            if let Some(blob) = call.get("CiphertextBlob") {
                self.unwraps += 1;
                return ResponseTemplate::new(200).set_body_json(json!({"KeyId": "k", "Plaintext": blob}));
            }
            self.reads += 1;
            let item = call["Key"]["pk"]["S"].as_str().and_then(|pk| self.items.get(pk));
            ResponseTemplate::new(200).set_body_json(item.map_or(json!({}), |item| json!({ "Item": item })))
        }

        fn put(&mut self, number: u8, more: Value) {
            let mut item = json!({"created_ms": {"N": "1000"}, "wrapped": {"B": STANDARD.encode([number; 32])}});
            for (name, value) in more.as_object().unwrap() {
                item[name] = value.clone();
            }
            if !item["retired_ms"].is_null() {
                item.as_object_mut().unwrap().remove("wrapped");
            }
            self.items.insert(format!("DATAKEY#{number}"), item);
        }
    }

    async fn account() -> (MockServer, Arc<Shared<Account>>, SdkConfig, Table) {
        let account = Arc::new(Shared::new(Account::default()));
        account.lock().unwrap().put(1, json!({}));
        let server = MockServer::start().await;
        let shared = account.clone();
        let answer = move |request: &Request| shared.lock().unwrap().answer(request);
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(server.uri())
            .region(Region::new("eu-central-1"))
            .retry_config(RetryConfig::disabled())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let table = Table::new(&config, "table", 90);
        (server, account, config, table)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[tokio::test]
    async fn a_running_process_learns_of_a_generation_within_half_a_minute_and_of_one_that_it_meets_at_once() {
        let (_server, account, config, table) = account().await;
        let keyring = LazyKeyring::new(&config, &table, at(0)).await;
        let reads = account.lock().unwrap().reads;
        account.lock().unwrap().put(2, json!({}));
        assert_eq!(keyring.get(at(29)).await.unwrap().newest_generation(), Ok(1));
        assert_eq!(account.lock().unwrap().reads, reads, "nothing is read in between");
        assert_eq!(keyring.get(at(30)).await.unwrap().newest_generation(), Ok(2));
        assert_eq!(account.lock().unwrap().unwraps, 2, "each generation is unwrapped once");

        account.lock().unwrap().put(3, json!({}));
        let sealed = Keyring::from_keys([(3, [3; 32])].into()).unwrap().seal("a", b"x").unwrap();
        assert_eq!(keyring.open("a", &sealed, at(31)).await.unwrap(), b"x");
        assert_eq!(keyring.get(at(32)).await.unwrap().newest_generation(), Ok(3));
        // A clock that was set back is no reason to keep what is old.
        account.lock().unwrap().put(4, json!({}));
        assert_eq!(keyring.get(at(-9)).await.unwrap().newest_generation(), Ok(4));
    }

    #[tokio::test]
    async fn a_running_process_learns_of_ended_links_and_of_a_retirement() {
        let (_server, account, config, table) = account().await;
        account.lock().unwrap().put(2, json!({}));
        let keyring = LazyKeyring::new(&config, &table, at(0)).await;
        let first = Keyring::from_keys([(1, [1; 32])].into()).unwrap();
        let (link, sealed) = (first.sign_link("stop", &["acme"]).unwrap(), first.seal("a", b"x").unwrap());
        let before = keyring.get(at(1)).await.unwrap();
        assert!(before.verify_link("stop", &link).is_ok());
        let contact = before.fingerprints().contact("a@b.test").unwrap();

        account.lock().unwrap().put(1, json!({"links_ended_ms": {"N": "2000"}}));
        let ended = keyring.reload(at(2)).await.unwrap();
        assert_eq!(ended.verify_link("stop", &link), Err(VaultError::LinksEnded(1)));
        assert_eq!(ended.open("a", &sealed).unwrap(), b"x");

        account.lock().unwrap().put(1, json!({"retired_ms": {"N": "3000"}}));
        let retired = keyring.get(at(40)).await.unwrap();
        assert_eq!(retired.open("a", &sealed), Err(VaultError::UnknownGeneration(1)));
        assert_eq!(retired.verify_link("stop", &link), Err(VaultError::LinksEnded(1)));
        assert_eq!(retired.fingerprints().contact("a@b.test").unwrap(), contact);
        let fault = keyring.open("a", &sealed, at(41)).await.unwrap_err();
        assert!(matches!(fault, LoadError::Vault(VaultError::UnknownGeneration(1))), "{fault}");
    }

    #[tokio::test]
    async fn a_process_that_starts_after_a_retirement_has_the_same_fingerprints() {
        let (_server, account, config, table) = account().await;
        let first = Keyring::from_keys([(1, [1; 32])].into()).unwrap();
        let lookup = Generation::new(&[9; 32]).unwrap();
        let sealed = first.fingerprints().seal(&lookup).unwrap();
        let item = json!({"wrapped": {"B": STANDARD.encode([9; 32])}, "sealed": {"S": sealed}});
        account.lock().unwrap().items.insert("DATAKEY#LOOKUP".to_owned(), item);
        account.lock().unwrap().put(2, json!({}));
        let contact = |keyring: &Keyring| keyring.fingerprints().contact("a@b.test").unwrap();
        assert_eq!(contact(&load(&table, &KeyService::new(&config)).await.unwrap()), contact(&first));
        account.lock().unwrap().put(1, json!({"retired_ms": {"N": "3000"}}));
        assert_eq!(contact(&load(&table, &KeyService::new(&config)).await.unwrap()), contact(&first));
        // Without the lookup key, new fingerprints would differ from all that are stored: better none.
        account.lock().unwrap().items.remove("DATAKEY#LOOKUP");
        assert!(load(&table, &KeyService::new(&config)).await.is_err());
    }

    #[tokio::test]
    async fn what_is_known_is_used_for_two_minutes_while_nothing_can_be_read() {
        let (_server, account, config, table) = account().await;
        let keyring = LazyKeyring::new(&config, &table, at(0)).await;
        account.lock().unwrap().fails = true;
        assert!(keyring.get(at(30)).await.is_ok() && keyring.get(at(119)).await.is_ok());
        assert!(keyring.get(at(120)).await.is_err(), "by then another generation may seal, and this one be gone");
        assert!(keyring.reload(at(1)).await.is_err(), "a link is not verified with what was true before");
        account.lock().unwrap().fails = false;
        assert!(keyring.get(at(121)).await.is_ok());
    }

    #[tokio::test]
    async fn a_stack_without_a_key_fails_until_there_is_one() {
        let (_server, account, config, table) = account().await;
        let first = account.lock().unwrap().items.remove("DATAKEY#1").unwrap();
        let keyring = LazyKeyring::new(&config, &table, at(0)).await;
        assert!(matches!(keyring.get(at(1)).await, Err(LoadError::Vault(VaultError::NoKey))));
        account.lock().unwrap().items.insert("DATAKEY#1".to_owned(), first);
        assert!(keyring.get(at(2)).await.is_ok());
    }
}
