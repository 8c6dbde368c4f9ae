//! A tenant's settings, recipients and integrations, as routing reads them.

mod address;
mod destination;
mod footprint;
mod settings;

pub use address::{Email, NumberFacts, NumberType, Phone, Sealed};
pub use destination::{
    ConsentRecord, Destination, Disablement, Filters, Integration, OldSecret, OptIn, Recipient, Suppression,
};
pub use footprint::Footprint;
pub use settings::{
    ApprovedNames, CategorySettings, ComplianceConfirmed, ContentLevel, DataProcessing, NameRequests, Settings,
    SmsCompliance, compliance_wording,
};

use crate::ids::TenantId;
use serde::{Deserialize, Serialize};

/// Most destinations in one compiled chunk; 100 keep it below 100 KB.
pub const DESTINATIONS_PER_CHUNK_MAX: usize = 100;

/// One compiled chunk of a tenant's destinations. It holds facts, never the outcome of a rule. Chunk 0 also holds the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Id of the tenant.
    pub tenant: TenantId,
    /// Number of the chunk, from 0. A destination never changes its chunk.
    pub number: u32,
    /// The tenant's settings; only in chunk 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// At most [`DESTINATIONS_PER_CHUNK_MAX`] destinations.
    pub destinations: Vec<Destination>,
    /// Increases by one with each write.
    pub version: u64,
}
