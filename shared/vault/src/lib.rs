//! Seals secrets in the table and in messages, and signs links.
//!
//! KMS wraps one data key per *generation*. A process unwraps all generations once ([`unwrap_all`]) and then uses the [`Keyring`]; a
//! KMS call per delivery would cost more than everything else. The newest generation seals new secrets and signs new links. Older
//! generations are kept, so that existing secrets and links stay valid.
//!
//! Each key has one use. Sealing, each kind of link and each kind of fingerprint have different keys, derived by HKDF from the
//! generation's data key.

mod keyring;
mod link;
mod load;
mod sealed;

pub use crate::keyring::{KEY_CONTEXT, Keyring, NewGeneration, VaultError, new_generation, unwrap_all};
pub use crate::load::{LazyKeyring, LoadError, load, load_or_create};
pub use crate::sealed::{Sealed, owner_aad};
