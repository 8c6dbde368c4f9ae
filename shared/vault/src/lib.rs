//! Seals secrets in the table and in messages, and signs links.
//!
//! KMS wraps one data key per *generation*. A process unwraps all generations once and then uses the [`Keyring`]; a KMS call per delivery
//! would cost more than everything else. The newest generation seals new secrets and signs new links. Older generations are kept, so that
//! existing secrets and links stay valid, until they are retired ([`domain::data_key`] says when they may be). A process looks every half
//! minute whether the generations have changed ([`LazyKeyring`]), and at once where it meets one that it does not know.
//!
//! Each key has one use. Sealing, each kind of link and each kind of fingerprint have different keys, derived by HKDF from the
//! generation's data key. Those of fingerprints are kept apart from the generations ([`Fingerprints`]).

mod fingerprint;
mod keyring;
mod link;
mod load;
mod sealed;

pub use crate::fingerprint::{FingerprintPurpose, Fingerprints};
pub use crate::keyring::{Keyring, VaultError};
pub use crate::load::{LazyKeyring, LoadError, NextGeneration, load};
pub use crate::sealed::{Sealed, owner_aad};
