//! The only reader of randomness.

const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A fresh id suffix: 26 characters of base 32, 130 bits.
#[must_use]
pub fn suffix() -> String {
    drawn(LOWER, 26)
}

/// A fresh API token: 32 alphanumerics, 190 bits, so that it fits a PagerDuty routing key.
#[must_use]
pub fn token() -> String {
    drawn(ALPHANUMERIC, 32)
}

/// `N` fresh random bytes.
#[must_use]
#[expect(clippy::expect_used, reason = "without randomness there is no id and no secret: the process must not go on")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A number from 0 to 1, for jitter.
#[must_use]
pub fn fraction() -> f64 {
    f64::from(u32::from_le_bytes(bytes())) / f64::from(u32::MAX)
}

/// Characters of `alphabet`, each equally likely: bytes beyond its last whole multiple are drawn again.
fn drawn(alphabet: &[u8], length: usize) -> String {
    let limit = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let fresh = bytes::<64>();
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
    fn ids_have_their_shape_and_do_not_repeat() {
        let suffixes: BTreeSet<String> = (0..1_000).map(|_| suffix()).collect();
        assert_eq!(suffixes.len(), 1_000);
        assert!(suffixes.iter().all(|text| text.len() == 26 && text.bytes().all(|byte| LOWER.contains(&byte))));
        let token = token();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!((0..1_000).map(|_| fraction()).all(|fraction| (0.0..=1.0).contains(&fraction)));
    }

    #[test]
    fn every_letter_is_equally_likely() {
        let text: String = (0..2_000).map(|_| token()).collect();
        let expected = text.len() / ALPHANUMERIC.len();
        for letter in ALPHANUMERIC {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((expected / 2..expected * 2).contains(&count), "{}: {count}", char::from(*letter));
        }
    }
}
