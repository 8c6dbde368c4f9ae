//! The keyring of a process: the table's wrapped keys, unwrapped once.

use aws::kms::Keys;
use jiff::Timestamp;
use store::{StoreError, Table};

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
