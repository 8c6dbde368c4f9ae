//! Loads a process's keyring: unwraps the data keys stored in the table, once.

use aws::kms::KeyService;
use aws_config::SdkConfig;
use jiff::Timestamp;
use store::{StoreError, Table};
use tokio::sync::OnceCell;

use crate::keyring::{Keyring, VaultError, new_generation, unwrap_all};

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
    Ok(unwrap_all(kms, table.data_keys().await?).await?)
}

/// As [`load`], and generates generation 1 on a new stack. If two processes try at the same time, both use the key that was stored first.
///
/// # Errors
/// If the table or KMS fails.
pub async fn load_or_create(
    table: &Table,
    kms: &KeyService,
    key_id: &str,
    now: Timestamp,
) -> Result<Keyring, LoadError> {
    let mut wrapped = table.data_keys().await?;
    if wrapped.is_empty() {
        let first = new_generation(kms, key_id, 1).await?;
        if table.add_data_key(1, &first.wrapped, now).await? {
            return Ok(Keyring::from_keys([(1, first.key)].into())?);
        }
        wrapped = table.data_keys().await?;
    }
    Ok(unwrap_all(kms, wrapped).await?)
}

/// A keyring that is loaded when it is needed, so that a function can start while KMS is unavailable.
///
/// If the function could not start, its messages would return at every visibility timeout and soon be given up, instead of being
/// retried with growing pauses.
#[derive(Debug)]
pub struct LazyKeyring {
    table: Table,
    kms: KeyService,
    loaded: OnceCell<Keyring>,
}

impl LazyKeyring {
    /// Creates the keyring and tries to load it. A failure is ignored here, because [`LazyKeyring::get`] tries again.
    pub async fn new(config: &SdkConfig, table: &Table) -> Self {
        let kms = KeyService::new(config);
        let lazy = Self { table: table.clone(), kms, loaded: OnceCell::new() };
        // Loading takes the same time now as later, and no event waits for it yet.
        let _ignored = lazy.get().await;
        lazy
    }

    /// Returns the keyring, and loads it if it is not loaded yet.
    ///
    /// # Errors
    /// Like [`load`].
    pub async fn get(&self) -> Result<&Keyring, LoadError> {
        self.loaded.get_or_try_init(|| load(&self.table, &self.kms)).await
    }
}
