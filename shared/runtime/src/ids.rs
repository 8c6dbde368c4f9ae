//! Random ids, tokens and numbers: the only code that reads randomness.

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Returns a random id suffix: 26 base32 characters, 130 bits.
#[must_use]
pub fn id_suffix() -> String {
    random_text(LOWER, 26)
}

/// Returns a random API token: 32 alphanumeric characters, 190 bits. It has the length of a PagerDuty routing key.
#[must_use]
pub fn api_token() -> String {
    random_text(ALPHANUMERIC, 32)
}

/// Returns `N` random bytes.
#[must_use]
#[expect(clippy::expect_used, reason = "without randomness there are no ids and no secrets: the process must stop")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).expect("the operating system returns random bytes");
    bytes
}

/// Returns a random number from 0 to 1, for jitter.
#[must_use]
pub fn random_fraction() -> f64 {
    f64::from(u32::from_le_bytes(random_bytes())) / f64::from(u32::MAX)
}

/// Returns `length` random characters of `alphabet`, all equally likely: bytes from the largest multiple of its length on are discarded.
fn random_text(alphabet: &[u8], length: usize) -> String {
    let limit = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let fresh = random_bytes::<64>();
        let fair = fresh.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        let letters = fair.filter_map(|byte| alphabet.get(byte % alphabet.len()));
        text.extend(letters.take(length - text.len()).map(|letter| char::from(*letter)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_and_tokens_have_their_format_and_do_not_repeat() {
        let suffixes: BTreeSet<String> = (0..1_000).map(|_| id_suffix()).collect();
        assert_eq!(suffixes.len(), 1_000);
        assert!(suffixes.iter().all(|text| text.len() == 26 && text.bytes().all(|byte| LOWER.contains(&byte))));
        let token = api_token();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!((0..1_000).map(|_| random_fraction()).all(|fraction| (0.0..=1.0).contains(&fraction)));
    }

    #[test]
    fn every_letter_is_equally_likely() {
        let text: String = (0..2_000).map(|_| api_token()).collect();
        let expected = text.len() / ALPHANUMERIC.len();
        for letter in ALPHANUMERIC {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((expected / 2..expected * 2).contains(&count), "{}: {count}", char::from(*letter));
        }
    }
}
