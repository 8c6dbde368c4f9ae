//! The rules of Tocsin.
//!
//! Everything here is pure: no async, no sockets, no AWS, no clock. Functions take the time and new ids as arguments, so that rules can be
//! tested with literals.
//!
//! | Module | Contains |
//! |---|---|
//! | [`ids`] | the ids of tenants, events, incidents, recipients, integrations and tokens |
//! | [`vocabulary`] | categories, kinds, channels, roles, severities, statuses |
//! | [`event`] | the normalized event and its limits |
//! | [`classification`] | which rule an event matches |
//! | [`incident`] | the incident and its state machine: open, update, repeat, stale, resolve |
//! | [`maintenance`] | scheduled maintenance: phases, windows, suppressed incidents, reminders |
//! | [`impact`] | when a tenant was affected, for call logs and reports |
//! | [`policy`] | the deployer's files of `infra/policy`, parsed and checked |
//! | [`rate_limit`] | how many messages one address or number gets per window |
//! | [`storm`] | storm protection: the limit of incidents at once, flapping |
//! | [`status`] | the status of components and of the product, from the open incidents |
//! | [`tenant`] | settings, recipients, integrations, and the subscriptions compiled from them |
//! | [`permission`] | who may be written to on a channel, for every kind of message |
//! | [`suppression`] | addresses that nobody may write to, whichever tenant asks |
//! | [`plan`] | which destinations are notified on which channel, and why others are not |
//! | [`digest`] | when digests are sent |
//! | [`quiet`] | quiet hours |
//! | [`reason`] | the closed list of reasons, each with its sentence and its setting |
//! | [`link`] | what the links in messages are for, and how long each works |
//! | [`data_key`] | when a generation of the data key may end |
//! | [`lint`] | warnings about settings that have no effect |
//! | [`contact`] | how addresses and numbers are confirmed, and how often they are asked |
//! | [`alert`] | the content of an alert, before it is rendered for a channel |
//! | [`attempt`] | what follows a failed delivery attempt: retry or give up |
//! | [`health`] | endpoint health: when an endpoint counts as failing, is disabled, is probed |
//! | [`delivery`] | the row of a delivery: its state, who may claim it, and what each write does to it |
//! | [`due`] | deliveries that are scheduled for later |
//! | [`event_record`] | what classify decided about an event |
//! | [`subscriber`] | a tenant's subscription to a category |
//! | [`zone`] | time zones, from the bundled database |
//! | [`text`] | text from outside, cleaned for every channel |
//! | [`render`] | e-mail and SMS |

pub mod alert;
pub mod attempt;
pub mod classification;
pub mod contact;
pub mod data_key;
pub mod delivery;
pub mod digest;
pub mod due;
pub mod event;
pub mod event_record;
pub mod health;
pub mod ids;
pub mod impact;
pub mod incident;
pub mod link;
pub mod lint;
pub mod maintenance;
pub mod permission;
pub mod plan;
pub mod policy;
pub mod quiet;
pub mod rate_limit;
pub mod reason;
pub mod render;
pub mod schema;
pub mod status;
pub mod storm;
pub mod subscriber;
pub mod suppression;
pub mod tenant;
pub mod text;
pub mod vocabulary;
pub mod zone;
