//! The keyring of a process: the table's wrapped keys, unwrapped once.

use aws::kms::Keys;
use aws_config::SdkConfig;
use jiff::Timestamp;
use store::{StoreError, Table};
use tokio::sync::OnceCell;

use crate::keyring::{Keyring, VaultError, new_generation, unwrap_all};

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The wrapped keys cannot be read or stored.
    #[error("the data keys cannot be read: {0}")]
    Store(#[from] StoreError),
    /// KMS did not make or unwrap a key.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Reads and unwraps all data keys. The first process of a fresh deployment makes generation 1; of two that try at once, the
/// later one takes the earlier one's.
///
/// # Errors
/// The table's or KMS's refusal or silence.
pub async fn load(table: &Table, kms: &Keys, key_id: &str, now: Timestamp) -> Result<Keyring, LoadError> {
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

/// The keyring of a process that can start without it: if a function could not start while KMS is away, its messages would come
/// back at every visibility timeout and soon be given up, instead of waiting longer each time.
#[derive(Debug)]
pub struct LazyKeyring {
    table: Table,
    kms: Keys,
    key_id: String,
    loaded: OnceCell<Keyring>,
}

impl LazyKeyring {
    /// A keyring over the process's one configuration; tries to load it, and says nothing where it cannot.
    pub async fn new(config: &SdkConfig, table: &Table, key_id: &str, now: Timestamp) -> Self {
        let kms = Keys::new(config);
        let lazy = Self { table: table.clone(), kms, key_id: key_id.to_owned(), loaded: OnceCell::new() };
        // Before the first event, because it costs the same and nobody waits for it yet.
        let _missing = lazy.get(now).await;
        lazy
    }

    /// The keyring; loaded now if it was not yet.
    ///
    /// # Errors
    /// As of [`load`].
    pub async fn get(&self, now: Timestamp) -> Result<&Keyring, LoadError> {
        self.loaded.get_or_try_init(|| load(&self.table, &self.kms, &self.key_id, now)).await
    }
}
