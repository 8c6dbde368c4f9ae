//! GSM 03.38: how many parts an SMS takes. A single part holds 160 septets (153 each if there are several), or 70 UTF-16 units (67).

/// Characters of the basic table, one septet each.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Characters of the extension table, two septets each.
const EXTENSION: &str = "^{}\\[~]|€\u{c}";

/// Counts the septets of a text; `None` if it has characters outside GSM-7.
#[must_use]
pub fn septets(text: &str) -> Option<usize> {
    text.chars().try_fold(0, |sum, character| match character {
        _ if BASIC.contains(character) => Some(sum + 1),
        _ if EXTENSION.contains(character) => Some(sum + 2),
        _ => None,
    })
}

/// Counts the parts of a text, in GSM-7 if all its characters are in that alphabet, else in UCS-2.
///
/// No part ends inside a character: neither the two septets of an extension character nor the two units of a surrogate pair are split.
#[must_use]
pub fn parts(text: &str) -> usize {
    let in_gsm7 = |c: char| if BASIC.contains(c) { 1 } else { 2 };
    match septets(text) {
        Some(0..=160) => 1,
        Some(_) => count_parts(text.chars().map(in_gsm7), 153),
        None if text.encode_utf16().count() <= 70 => 1,
        None => count_parts(text.chars().map(char::len_utf16), 67),
    }
}

fn count_parts(sizes: impl Iterator<Item = usize>, max: usize) -> usize {
    let (full, last) =
        sizes.fold((0, 0), |(full, used), size| if used + size > max { (full + 1, size) } else { (full, used + size) });
    full + usize::from(last > 0)
}

/// Rewrites a text for SMS: in GSM-7 if its language can be written so, else as it is, for UCS-2.
///
/// A character outside the alphabet becomes similar ones of it, such as `"` for `“` or `l` for `ł`. What has none and is no letter, such as
/// an emoji, is dropped. A letter of another script needs UCS-2, and then nothing is replaced but what no phone shows.
#[must_use]
pub fn for_sms(text: &str) -> String {
    if needs_ucs2(text) { drop_emoji_beyond_language(text) } else { transliterate(text) }
}

/// Whether the language of a text needs other letters than GSM-7 has. A single Greek or Cyrillic letter among Latin ones is a symbol.
fn needs_ucs2(text: &str) -> bool {
    let mut before = false;
    text.chars().any(|c| {
        let is_foreign = is_foreign_letter(c);
        let is_cased = c.is_lowercase() || c.is_uppercase();
        is_foreign && (!is_cased || std::mem::replace(&mut before, true)) || {
            before = is_foreign;
            false
        }
    })
}

/// Whether a character is a letter of a script that GSM-7 does not write.
fn is_foreign_letter(c: char) -> bool {
    let is_latin =
        matches!(c, '\u{41}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' | '\u{2c60}'..='\u{2c7f}' | '\u{a720}'..='\u{a7ff}');
    // Letterlike symbols, such as the sign for ohm, and letters in frames, in bold or of double width, have plain counterparts.
    let is_styled_latin = matches!(c, '\u{2100}'..='\u{218f}' | '\u{2460}'..='\u{24ff}' | '\u{ff00}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}'
        | '\u{1f100}'..='\u{1f1ff}');
    let is_modifier = matches!(c, '\u{2b0}'..='\u{2ff}' | '\u{1d00}'..='\u{1dbf}');
    c.is_alphabetic() && !BASIC.contains(c) && !is_latin && !is_styled_latin && !is_modifier && !is_emoji(c)
}

fn is_emoji(c: char) -> bool {
    matches!(c, '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f000}'..='\u{1faff}' | '\u{e0020}'..='\u{e007f}' | '\u{200d}')
}

/// An emoji takes as much room as two letters and says nothing that its words do not.
fn drop_emoji_beyond_language(text: &str) -> String {
    // Joiners and selectors belong to the emoji before them, or to letters: Sinhala and Bengali need them.
    let mut was_emoji = false;
    squeeze(text.chars().filter(|c| {
        let belongs_to_emoji = was_emoji && matches!(c, '\u{200d}' | '\u{fe00}'..='\u{fe0f}');
        was_emoji = is_emoji(*c) && !matches!(c, '\u{200d}') || belongs_to_emoji;
        !was_emoji
    }))
}

fn transliterate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if BASIC.contains(c) || EXTENSION.contains(c) => out.push(c),
            '•' | '·' => out.push('*'),
            '→' => out.push_str("->"),
            'µ' | 'μ' => out.push('u'),
            '°' => {}
            // Combining marks belong to the letter before them, emoji are dropped, and of brackets like these only the content counts.
            _ if is_emoji(c) || matches!(c, '\u{300}'..='\u{36f}') => {}
            _ => {
                let similar = deunicode::deunicode_char(c).unwrap_or_default();
                out.extend(similar.chars().filter(|c| BASIC.contains(*c) || EXTENSION.contains(*c)));
            }
        }
    }
    squeeze(out.chars())
}

/// Joins runs of spaces, which dropped characters leave behind.
fn squeeze(text: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in text {
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_limits_of_gsm_03_38() {
        assert_eq!(parts(&"a".repeat(160)), 1);
        assert_eq!(parts(&"a".repeat(161)), 2);
        assert_eq!(parts(&"a".repeat(306)), 2);
        assert_eq!(parts(&"a".repeat(307)), 3);
        assert_eq!(parts(&"ж".repeat(70)), 1);
        assert_eq!(parts(&"ж".repeat(71)), 2);
        assert_eq!(parts(&"ж".repeat(134)), 2);
        assert_eq!(parts(&"ж".repeat(135)), 3);
    }

    #[test]
    fn extension_characters_take_two_septets() {
        assert_eq!(septets("[€]"), Some(6));
        assert_eq!(parts(&format!("{}€", "a".repeat(158))), 1);
        assert_eq!(parts(&format!("{}€", "a".repeat(159))), 2);
        assert_eq!(septets("ж"), None);
    }

    #[test]
    fn no_part_ends_inside_a_character() {
        assert_eq!(parts(&format!("{}€{}", "a".repeat(152), "b".repeat(152))), 3, "the sign moves to the second part");
        assert_eq!(parts(&format!("{}€{}", "a".repeat(152), "b".repeat(151))), 2);
        assert_eq!(parts(&format!("{}😀{}", "ж".repeat(66), "ж".repeat(66))), 3);
        assert_eq!(parts(&format!("{}😀{}", "ж".repeat(66), "ж".repeat(65))), 2);
    }

    #[test]
    fn latin_text_becomes_gsm7_and_other_scripts_stay() {
        for (text, expected) in [
            ("“Łódź” – naïve…", "\"Lodz\" - naive..."),
            ("Login broken since 10:00\u{202f}UTC – 5 µs, ≥ 90 %", "Login broken since 10:00 UTC - 5 us, >= 90 %"),
            ("Disk 🔥 full ❌ on db‑1", "Disk full on db-1"),
            ("naïve cafe\u{301} → down", "naive cafe -> down"),
            ("𝐁𝐨𝐥𝐝 ①②", "Bold 12"),
            ("Ǿresund Þór Œuvre", "Oresund Thor OEuvre"),
            ("5 μs, β release", "5 us, b release"),
            ("मुंबई", "मुंबई"),
            ("Сбой 🔥 сети", "Сбой сети"),
            ("ශ්\u{200d}රී ලංකා ❤\u{fe0f}\u{200d}🔥", "ශ්\u{200d}රී ලංකා"),
            ("長い題名", "長い題名"),
            ("تعطل", "تعطل"),
        ] {
            assert_eq!(for_sms(text), expected, "{text}");
        }
    }
}
