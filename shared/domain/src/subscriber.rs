//! A tenant's subscription to a category, as lookup reads it.

use crate::tenant::{Destination, Settings};

/// A tenant's compiled subscription to one category.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The tenant's settings.
    pub settings: Settings,
    /// The tenant's destinations in chunk order, each with the number of its chunk.
    pub destinations: Vec<(u32, Destination)>,
}
