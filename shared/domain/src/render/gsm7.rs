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
#[must_use]
pub fn parts(text: &str) -> usize {
    match septets(text) {
        Some(0..=160) => 1,
        Some(septets) => septets.div_ceil(153),
        None => match text.encode_utf16().count() {
            0..=70 => 1,
            units => units.div_ceil(67),
        },
    }
}

/// Replaces Latin and typographic characters with similar ones of GSM-7. Other scripts are left unchanged.
#[must_use]
pub fn transliterate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if BASIC.contains(character) || EXTENSION.contains(character) => out.push(character),
            '‘' | '’' | '‚' | '′' | '`' | '´' => out.push('\''),
            '“' | '”' | '„' | '″' | '«' | '»' => out.push('"'),
            '–' | '—' | '‐' | '‑' | '−' => out.push('-'),
            '…' => out.push_str("..."),
            '•' | '·' => out.push('*'),
            '→' => out.push_str("->"),
            '\u{a0}' | '\u{202f}' | '\u{2009}' | '\t' => out.push(' '),
            'á' | 'â' | 'ã' | 'ā' | 'ă' | 'ą' => out.push('a'),
            'Á' | 'À' | 'Â' | 'Ã' | 'Ā' | 'Ă' | 'Ą' => out.push('A'),
            'ç' | 'ć' | 'č' => out.push('c'),
            'Ć' | 'Č' => out.push('C'),
            'ď' | 'đ' => out.push('d'),
            'Ď' | 'Đ' => out.push('D'),
            'ê' | 'ë' | 'ē' | 'ę' | 'ě' => out.push('e'),
            'È' | 'Ê' | 'Ë' | 'Ē' | 'Ę' | 'Ě' => out.push('E'),
            'ğ' => out.push('g'),
            'Ğ' => out.push('G'),
            'í' | 'î' | 'ï' | 'ī' | 'ı' => out.push('i'),
            'Í' | 'Ì' | 'Î' | 'Ï' | 'Ī' | 'İ' => out.push('I'),
            'ł' => out.push('l'),
            'Ł' => out.push('L'),
            'ń' | 'ň' => out.push('n'),
            'Ń' | 'Ň' => out.push('N'),
            'ó' | 'ô' | 'õ' | 'ō' | 'ő' => out.push('o'),
            'Ó' | 'Ò' | 'Ô' | 'Õ' | 'Ō' | 'Ő' => out.push('O'),
            'ř' => out.push('r'),
            'Ř' => out.push('R'),
            'ś' | 'š' | 'ş' | 'ș' => out.push('s'),
            'Ś' | 'Š' | 'Ş' | 'Ș' => out.push('S'),
            'ť' | 'ț' => out.push('t'),
            'Ť' | 'Ț' => out.push('T'),
            'ú' | 'û' | 'ū' | 'ů' | 'ű' => out.push('u'),
            'Ú' | 'Ù' | 'Û' | 'Ū' | 'Ů' | 'Ű' => out.push('U'),
            'ý' | 'ÿ' => out.push('y'),
            'Ý' | 'Ÿ' => out.push('Y'),
            'ź' | 'ž' | 'ż' => out.push('z'),
            'Ź' | 'Ž' | 'Ż' => out.push('Z'),
            other => out.push(other),
        }
    }
    out
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
    fn latin_text_becomes_gsm7_and_other_scripts_stay() {
        assert_eq!(transliterate("“Łódź” – naïve…"), "\"Lodz\" - naive...");
        assert_eq!(transliterate("मुंबई"), "मुंबई");
    }
}
