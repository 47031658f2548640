//! Texts of clients, made harmless: no text can end a line or a value, or change a terminal that shows it.
//!
//! All formats have the escapes of JSON. Only visible ASCII, and letters and digits of other scripts, stand for
//! themselves, so that neither line separators nor marks that reverse the direction of writing pass.

/// The most bytes of a text that a line has: enough to tell one mistake from another.
pub(super) const MAX_TEXT: usize = 256;

/// What stands for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// Between quotes.
    Quoted,
    /// Without quotes: no space and no `=` either.
    Word,
}

/// The first [`MAX_TEXT`] bytes. A character that is cut apart is escaped as an invalid one.
pub(crate) fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(MAX_TEXT)]
}

/// Whether a text stands for itself. An empty word does not.
pub(super) fn is_plain(text: &[u8], plain: Plain) -> bool {
    (plain == Plain::Quoted || !text.is_empty()) && text.iter().all(|byte| is_plain_byte(*byte, plain))
}

const fn is_plain_byte(byte: u8, plain: Plain) -> bool {
    match byte {
        b'"' | b'\\' => false,
        b' ' | b'=' => matches!(plain, Plain::Quoted),
        _ => byte.is_ascii_graphic(),
    }
}

/// Writes a text between quotes, as a string of JSON.
pub(super) fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text, Plain::Quoted);
    out.push(b'"');
}

/// Writes a text with escapes. What is no UTF-8 becomes U+FFFD.
pub(super) fn escaped(out: &mut Vec<u8>, text: &[u8], plain: Plain) {
    if is_plain(text, plain) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            escape(out, char, plain);
        }
        if !chunk.invalid().is_empty() {
            escape(out, char::REPLACEMENT_CHARACTER, plain);
        }
    }
}

fn escape(out: &mut Vec<u8>, char: char, plain: Plain) {
    let stands_for_itself = match u8::try_from(char) {
        Ok(byte) if byte.is_ascii() => is_plain_byte(byte, plain),
        _ => char.is_alphanumeric(),
    };
    match char {
        _ if stands_for_itself => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        '"' => out.extend_from_slice(br#"\""#),
        '\\' => out.extend_from_slice(br"\\"),
        '\n' => out.extend_from_slice(br"\n"),
        '\r' => out.extend_from_slice(br"\r"),
        '\t' => out.extend_from_slice(br"\t"),
        _ => {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(br"\u");
                out.extend_from_slice(const_hex::const_encode::<2, false>(&unit.to_be_bytes()).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &[u8]) -> String {
        let mut out = Vec::new();
        quoted(&mut out, cut(text));
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_is_a_string_of_json_without_control_characters(text: Vec<u8>) {
            let line = written(&text);
            prop_assert!(!line.chars().any(char::is_control));
            let read: String = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(cut(&text)));
        }

        #[test]
        fn a_word_has_no_space_quote_or_equals_sign(text: Vec<u8>) {
            let mut out = Vec::new();
            escaped(&mut out, cut(&text), Plain::Word);
            let word = String::from_utf8(out).unwrap();
            prop_assert!(!word.contains(['=', ' ']) && !word.replace("\\\"", "").contains('"'), "{}", word);
        }
    }

    #[test]
    fn what_changes_a_terminal_or_ends_a_line_is_escaped() {
        let text = "a\u{1b}[31m\n\u{85}\u{2028}\u{202e}\u{feff}\u{7f}\u{1f600} \"\\é漢";
        let line = r#""a\u001b[31m\n\u0085\u2028\u202e\ufeff\u007f\ud83d\ude00 \"\\é漢""#;
        assert_eq!(written(text.as_bytes()), line);
        assert_eq!(written(b"\xff\xc3"), r#""\ufffd\ufffd""#);
        assert_eq!(written(&[b'a'; 300]).len(), 258);
    }
}
