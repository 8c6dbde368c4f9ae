//! What must stay secret in the table and in messages, and what must prove that it came from us.
//!
//! KMS wraps one data key per *generation*. A process unwraps all generations once ([`unwrap_all`]) and works with the
//! [`Keyring`] from then on: a KMS call per delivery would cost more than everything else. New secrets are sealed and
//! new links signed under the newest generation; older generations stay, so that what they made still opens.
//!
//! No key is used for two things: sealing, each kind of link and each kind of fingerprint have a key of their own,
//! derived by HKDF from the generation's data key.

mod keyring;
mod link;
mod load;
mod sealed;

pub use crate::keyring::{KEY_CONTEXT, Keyring, NewGeneration, VaultError, new_generation, unwrap_all};
pub use crate::load::{LazyKeyring, LoadError, load};
pub use crate::sealed::{Sealed, aad};
