//! The rules of Tocsin, and nothing else.
//!
//! No async, no sockets, no AWS, no clock: every function here is told the time and the ids, so every rule can be argued
//! on paper and tested with literals.
//!
//! | module | answers |
//! |---|---|
//! | [`ids`] | what names a tenant, an event, an incident, a delivery |
//! | [`vocabulary`] | categories, kinds, channels, roles, severities, statuses |
//! | [`event`] | the normalised event and its caps |
//! | [`classification`] | which rule an event meets, and what that means |
//! | [`incident`] | the state machine: open, update, repeat, stale, resolve |
//! | [`maintenance`] | announced work, and the incidents that it explains |
//! | [`impact`] | when a tenant was affected, for call logs and reports |
//! | [`policy`] | the deployer's files of `infra/policy`, parsed and checked |
//! | [`storm`] | what is too much at once: throttles, a ceiling, flapping |
//! | [`status`] | the state of everything, from the incidents that are open |
//! | [`tenant`] | settings, recipients, integrations and the facts compiled from them |
//! | [`plan`] | who is told on which channel, and why the others are not |
//! | [`digest`] | when what is not urgent comes together |
//! | [`quiet`] | hours in which people are not disturbed |
//! | [`reason`] | the closed list of reasons, each with its sentence and its setting |
//! | [`lint`] | what a tenant's settings cannot do although they look as if they could |
//! | [`contact`] | how an address or a number is confirmed, and how often it is asked |
//! | [`alert`] | what a recipient is told, in neutral form |
//! | [`attempt`] | what follows an attempt: done, again at, given up |
//! | [`health`] | how an endpoint fares: told, disabled, tried again |
//! | [`delivery`] | what a delivery row says, and who may send now |
//! | [`render`] | the words of e-mail and SMS, and the limits they obey |

pub mod alert;
pub mod attempt;
pub mod classification;
pub mod contact;
pub mod delivery;
pub mod digest;
pub mod event;
pub mod health;
pub mod ids;
pub mod impact;
pub mod incident;
pub mod lint;
pub mod maintenance;
pub mod plan;
pub mod policy;
pub mod quiet;
pub mod reason;
pub mod render;
pub mod schema;
pub mod status;
pub mod storm;
pub mod tenant;
pub mod vocabulary;
