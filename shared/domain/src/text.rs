//! Text from outside, cleaned once where it enters, so that every queue, feed, calendar, chat and terminal can carry it.
//!
//! A control character makes an Atom feed ill-formed for all its readers (XML 1.0, 2.2), a bare CR breaks a calendar (RFC 5545, 3.1), and a
//! bidirectional override lets a title read differently from what it says (Unicode Technical Report 36). None of them means anything in
//! the text of an alert.

use std::borrow::Cow;

/// The first and the last of the tag characters.
const TAG_FIRST: char = '\u{e0020}';
const TAG_LAST: char = '\u{e007f}';
/// Maximum tags of a flag: six for a region such as `gbeng`, and the one that ends it (Unicode Technical Standard 51).
const FLAG_TAGS_MAX: usize = 7;

/// Returns `text` without what no channel can show. Cleaning a clean text changes nothing.
///
/// - Every line end (CRLF, CR, NEL, VT, FF, U+2028, U+2029) becomes `\n`.
/// - Removed: terminal escape sequences, all other C0 and C1 controls but the tab, noncharacters, bidirectional embeddings, overrides and
///   isolates, invisible characters (zero-width spaces, soft hyphens, tags that are not part of a flag).
/// - Joiners (U+200C, U+200D), direction marks (U+200E, U+200F, U+061C) and variation selectors, which scripts and emoji need, are kept one
///   at a time.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| matches!(c, ' '..='~' | '\n' | '\t' | '\u{a0}'..='\u{ac}' | '\u{ae}'..='\u{2ff}')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    // Tags that may still follow the flag before them.
    let mut tags_left = 0;
    while let Some(c) = rest.next() {
        tags_left = match c {
            '\u{1f3f4}' => FLAG_TAGS_MAX,
            TAG_FIRST..=TAG_LAST => tags_left,
            _ => 0,
        };
        match c {
            '\r' => {
                rest.next_if_eq(&'\n');
                out.push('\n');
            }
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\u{1b}' => {
                // A control sequence is ESC, `[`, parameters and one final character (ECMA-48, 5.4), such as a color.
                if rest.next_if_eq(&'[').is_some() {
                    while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                    rest.next_if(|c| matches!(c, '@'..='~'));
                }
            }
            '\n' | '\t' => out.push(c),
            // A tag belongs to a flag of England, Scotland or Wales, or is text that nobody sees.
            TAG_FIRST..=TAG_LAST if tags_left > 0 => {
                tags_left -= 1;
                out.push(c);
            }
            _ if is_invisible(c) => {}
            _ if is_joiner(c) && out.chars().next_back().is_none_or(is_joiner) => {}
            _ if is_selector(c) && out.chars().next_back().is_none_or(is_selector) => {}
            _ => out.push(c),
        }
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// Returns `text` cleaned and in one line: line ends and tabs become spaces, and the ends are trimmed.
#[must_use]
pub fn clean_line(text: &str) -> String {
    let text = clean(text);
    let line: String = text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// Whether a reader, or a mail client, may take a part of `text` for a link: a scheme, or letters on both sides of a dot, as in a domain.
/// Initials such as `J.P. Morgan` are no link.
#[must_use]
pub fn looks_like_a_link(text: &str) -> bool {
    // IDNA and compatibility forms take these for dots as well (UTS 46, NFKC). What nobody sees and what stands on a letter hides no domain.
    let dotted: String = text
        .chars()
        .filter(|c| !is_joiner(*c) && !is_selector(*c) && !is_invisible(*c) && !is_combining_mark(*c))
        .map(|c| if is_dot(c) { '.' } else { c })
        .collect();
    let is_label = |label: &str| label.chars().next_back().is_some_and(char::is_alphanumeric);
    let begins_domain = |rest: &str| rest.chars().take(2).filter(|c| c.is_alphabetic()).count() == 2;
    dotted.contains("://")
        || dotted.match_indices('.').any(|(at, _)| {
            let (before, after) = dotted.split_at(at);
            is_label(before) && begins_domain(after.get(1..).unwrap_or_default())
        })
}

/// Whether a character is read as the dot of a domain.
fn is_dot(c: char) -> bool {
    matches!(c, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}' | '\u{fe52}' | '\u{fe12}')
}

/// Whether a character stands on the one before it (the blocks of combining marks).
fn is_combining_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200c}'..='\u{200f}')
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

/// Whether a character shows nothing and changes how others are shown, or is none at all.
fn is_invisible(c: char) -> bool {
    let is_noncharacter = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    c.is_control()
        || is_noncharacter
        || matches!(c,
            '\u{ad}' | '\u{180e}' | '\u{200b}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_clean(text: &str, expected: &str) {
        assert_eq!(clean(text), expected, "{text:?}");
    }

    #[test]
    fn what_a_mail_client_makes_a_link_of_looks_like_one() {
        for link in [
            "Invoice overdue - pay now at https://evil.example",
            "evil.com",
            "Acme (evil.co.uk)",
            "b\u{fc}cher.example",
            "evil\u{3002}com",
            "evil\u{ff0e}com",
            "evil\u{2024}com",
            "evil\u{fe52}com",
            "evil.\u{200d}com",
            "evil\u{200c}.com",
            "evil\u{301}.com",
            "evil.c\u{300}om",
            "evil.\u{fe0f}com",
            "\u{2460}.com",
            "x@evil.com",
            "ftp://x",
            "1.2.example",
        ] {
            assert!(looks_like_a_link(link), "{link}");
        }
        for name in ["Acme Inc.", "J.P. Morgan", "U.S. Robots", "Acme. Alerts", "Version 1.2", "A.B.C", "..."] {
            assert!(!looks_like_a_link(name), "{name}");
        }
    }

    #[test]
    fn every_line_end_becomes_a_newline() {
        assert_clean("a\r\nb\rc\u{85}d\u{2028}e\u{2029}f\u{b}g\u{c}h\r\r\ni", "a\nb\nc\nd\ne\nf\ng\nh\n\ni");
        assert_eq!(clean_line(" a\r\n\tb\n"), "a  b");
    }

    #[test]
    fn controls_and_noncharacters_are_removed() {
        assert_clean(
            "a\0b\u{1}c\u{8}d\u{7f}e\u{9b}f\u{fffe}g\u{ffff}h\u{fdd0}i\u{1fffe}j\u{10ffff}k\tl",
            "abcdefghijk\tl",
        );
        assert_clean("\u{1b}[1;31mdisk full\u{1b}[0m \u{1b}]x", "disk full ]x");
    }

    #[test]
    fn nothing_changes_the_direction_of_a_text_or_hides_in_it() {
        assert_clean("pay\u{202e}gro.evil\u{202c} \u{2066}x\u{2069}", "paygro.evil x");
        assert_clean("a\u{200b}\u{2060}\u{feff}\u{ad}b\u{e0041}c", "abc");
        assert_clean("a\u{200d}\u{200d}\u{200d}b", "a\u{200d}b");
        // A flag has seven tags at most. In time that grows with the text, or one request could keep a function busy.
        let flag = format!("🏴{}", "\u{e0067}".repeat(7));
        assert_clean(&format!("{flag}{}", "\u{e0067}".repeat(130_000)), &flag);
    }

    #[test]
    fn what_scripts_and_emoji_need_is_kept() {
        for text in [
            "👩\u{200d}💻 ❤\u{fe0f}",
            "❤\u{fe0f}\u{200d}🔥 🏳\u{fe0f}\u{200d}🌈",
            "می\u{200c}خواهم",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "मुंबई",
            "שלום\u{200f}!",
            "\u{fffd}",
            "e\u{301}",
        ] {
            assert_clean(text, text);
        }
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(text in any::<String>()) {
            let once = clean(&text).into_owned();
            prop_assert_eq!(clean(&once), once.as_str());
            prop_assert!(!once.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
