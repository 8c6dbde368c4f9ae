//! Incidents: their data, and the state machine that says what an event does to the incident of its dedup key.
//!
//! | Module | Holds |
//! |---|---|
//! | `model` | the incident, its updates, and what its dedup key remembers |
//! | `transitions` | what an event, an update, a note or a reminder does to an incident |
//! | `public` | what the status page shows of an incident |
//! | `suppression` | which incidents a maintenance window suppresses |

mod model;
mod public;
mod suppression;
mod transitions;

pub use model::{
    Change, EventArrival, Incident, KeyState, LATE_SOURCE_AFTER, PublicScope, Transition, Update, hash_dedup_key,
};
pub use suppression::{apply_maintenance_windows, suppression_records};
pub use transitions::{
    NoteContent, ReminderContent, UPDATES_MAX, apply_event, apply_note, apply_reminder, apply_update, limit_updates,
    next_status, opened_incident_id, record_early_resolve, record_opening, simulate_opening,
};

/// The event type of the notice that a critical alert could not be delivered. Only org admins are notified, on another channel.
pub const DELIVERY_FAILED_TYPE: &str = "tocsin.delivery_failed";
/// The event type of the notice that the opening of a critical incident misses the tenant's alert window. Only org admins are notified, on
/// another channel.
pub const WINDOW_MISSED_TYPE: &str = "tocsin.window_missed";
/// The event type of the notice that a recipient unsubscribed, or that a reader of a shared address asked to.
pub const UNSUBSCRIBED_TYPE: &str = "tocsin.unsubscribed";
/// The event type of the notice that an address bounced permanently or complained, and gets no more e-mails.
pub const ADDRESS_SUPPRESSED_TYPE: &str = "tocsin.suppressed";
/// The event type of the notice that a day's limit of text messages is used up.
pub const SMS_LIMIT_TYPE: &str = "tocsin.sms_limit_reached";
/// The event type of the notice to the platform that a tenant wants a name approved.
pub const NAME_REQUESTED_TYPE: &str = "tocsin.name_requested";
/// The event types of which only org admins are notified.
pub const ORG_ADMIN_NOTICE_TYPES: [&str; 6] = [
    DELIVERY_FAILED_TYPE,
    WINDOW_MISSED_TYPE,
    UNSUBSCRIBED_TYPE,
    ADDRESS_SUPPRESSED_TYPE,
    SMS_LIMIT_TYPE,
    NAME_REQUESTED_TYPE,
];
