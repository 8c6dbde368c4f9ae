//! What the steps of a story get from the function that runs it.

use super::{Deadline, RecordMeta};
use crate::{clock, ids};
use pipeline::Turn;

/// Begins the turns of a queue message.
#[must_use]
pub fn first_turn(meta: &RecordMeta) -> Turn {
    Turn {
        now: clock::now(),
        left: meta.deadline.remaining(),
        receives: meta.receive_count,
        lane: meta.lane,
        jitter: ids::random_fraction(),
        token: ids::id_suffix(),
        counted: Vec::new(),
    }
}

/// Sets time and time left, after an effect.
pub fn next_turn(turn: &mut Turn, deadline: Deadline) -> &mut Turn {
    (turn.now, turn.left) = (clock::now(), deadline.remaining());
    turn
}
