//! The stories of the queue functions: what each does next, as pure values. No AWS, no async, no clock.
//!
//! What a function does next often depends on what its last write answered. So a story is an enum: the variant is the next effect, and the
//! effect's typed answer gives the next variant. A function runs the story against the real table and queues; `tests/simulation` runs the
//! same story against simulated ones, and may end it between any two effects.
//!
//! | Module | Has |
//! |---|---|
//! | [`deliver`] | the story of one message to one destination: an alert, a digest or a bundle |
//! | [`classify`] | the story of a received event, update, note or reminder |
//! | [`confirm`] | the story of one confirmation request |
//! | [`feedback`] | the story of a provider's report about a message |
//! | [`release`] | the story of one run over the due index |
//! | [`route`] | the story of a routing job: plans, and the deliveries that they say |
//! | [`send`] | how one send ends |
//! | [`turn`] | what every step gets, and how a story ends |

pub mod classify;
pub mod confirm;
pub mod deliver;
pub mod feedback;
pub mod release;
pub mod route;
pub mod send;
pub mod turn;

pub use send::{Accepted, SendFailure};
pub use turn::{Answer, Counted, Fault, Turn, Verdict};
