//! Answers that cost many reads of the table, kept in the process for a few seconds: however often the same is asked, each environment reads
//! for it at most that often.

use axum::body::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer counts.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Most bytes of the answers kept. Beyond that all are forgotten, so that no number of questions fills the memory.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Answers by what was asked. Whoever asks is authorized before an answer is looked up.
#[derive(Debug, Default)]
pub(crate) struct KeptAnswers {
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    by_question: BTreeMap<String, (Instant, Bytes)>,
    bytes: usize,
}

impl KeptAnswers {
    /// Returns the answer to a question, if it was given lately.
    pub(crate) fn answer(&self, asked: &str) -> Option<Bytes> {
        self.answer_at(asked, Instant::now())
    }

    /// Keeps an answer that was just made, and returns it.
    pub(crate) fn keep(&self, asked: String, body: Vec<u8>) -> Bytes {
        self.keep_at(asked, body, Instant::now())
    }

    fn answer_at(&self, asked: &str, now: Instant) -> Option<Bytes> {
        let kept = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, body) = kept.by_question.get(asked)?;
        (now.duration_since(*at) < KEPT_FOR).then(|| body.clone())
    }

    fn keep_at(&self, asked: String, body: Vec<u8>, now: Instant) -> Bytes {
        let body = Bytes::from(body);
        let mut kept = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let size = asked.len() + body.len();
        if kept.bytes + size > BYTES_MAX {
            *kept = Answers::default();
        }
        kept.bytes += size;
        if let Some((_, before)) = kept.by_question.insert(asked.clone(), (now, body.clone())) {
            kept.bytes -= asked.len() + before.len();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_five_seconds_and_memory_is_bounded() {
        let (kept, now) = (KeptAnswers::default(), Instant::now());
        assert_eq!(kept.answer_at("a", now), None);
        kept.keep_at("a".into(), b"1".to_vec(), now);
        assert_eq!(kept.answer_at("a", now + Duration::from_millis(4_999)).as_deref(), Some(&b"1"[..]));
        assert_eq!(kept.answer_at("a", now + KEPT_FOR), None);
        assert_eq!(kept.answer_at("b", now), None, "another question");
        for _ in 0..100 {
            kept.keep_at("a".into(), vec![0; 1_000], now);
        }
        assert_eq!(kept.answers.lock().unwrap().bytes, 1_001, "an answer takes the place of the one before it");
        for number in 0..100 {
            kept.keep_at(format!("n{number}"), vec![0; BYTES_MAX / 10], now);
            assert!(kept.answers.lock().unwrap().bytes <= BYTES_MAX);
        }
    }
}
