//! Text from outside (what workers write, names, paths, addresses) made fit to be shown. A terminal
//! obeys what it is sent: an escape sequence retitles it, a carriage return overwrites what stood
//! there, an override shows a line backwards. So whatever is not to be read but obeyed is spelled
//! out, and one text stays one line. What people can read is left as it is, tabs and backslashes
//! included: a line of JSON stays one.

use std::fmt::Write as _;

/// These bytes; what is not UTF-8 is spelled out too.
pub fn bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        push(&mut shown, chunk.valid());
        for byte in chunk.invalid() {
            push_hex(&mut shown, *byte);
        }
    }
    shown
}

/// This text.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    push(&mut shown, text);
    shown
}

/// This JSON, which stays the same to whoever parses it: what is below a blank is escaped in it
/// already.
pub fn json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for sign in json.chars() {
        if sign == '\x7f' || is_obeyed(sign) {
            for unit in sign.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("writing to a string cannot fail");
            }
        } else {
            shown.push(sign);
        }
    }
    shown
}

fn push(shown: &mut String, text: &str) {
    for sign in text.chars() {
        match sign {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push('\t'),
            '\0'..' ' | '\x7f' => push_hex(shown, sign as u8),
            _ if is_obeyed(sign) => shown.extend(sign.escape_unicode()),
            _ => shown.push(sign),
        }
    }
}

fn push_hex(shown: &mut String, byte: u8) {
    write!(shown, "\\x{byte:02x}").expect("writing to a string cannot fail");
}

/// Whether terminals obey it: the controls beyond ASCII, what separates lines, and what turns the
/// direction of text.
const fn is_obeyed(sign: char) -> bool {
    matches!(
        sign,
        '\u{80}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_obeyed_is_spelled_out() {
        for (given, shown) in [
            (&b"\x1b]0;owned\x07"[..], r"\x1b]0;owned\x07"),
            (b"50 %\r100 %", r"50 %\r100 %"),
            (b"two\nlines", r"two\nlines"),
            (b"a\x7fb\0c", r"a\x7fb\x00c"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            ("\u{202e}txt.exe\u{2066}".as_bytes(), r"\u{202e}txt.exe\u{2066}"),
            (b"caf\xe9 \xff\xfe", r"caf\xe9 \xff\xfe"),
        ] {
            assert_eq!(bytes(given), shown);
        }
    }

    #[test]
    fn json_says_the_same_and_is_not_obeyed() {
        let name = "a\x1b]0;owned\x07\x7f\u{9b}m\u{202e}b \u{20ac}\u{1f980}";
        let json = json(&serde_json::json!({ "name": name }).to_string());
        assert_eq!(text(&json), json);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["name"], name);
    }

    #[test]
    fn what_is_read_is_left_as_it_is() {
        for line in [
            "{\"path\": \"C:\\\\a\\n\"}\tgr\u{fc}n",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f469}\u{200d}\u{1f4bb}",
        ] {
            assert_eq!(text(line), line);
            assert_eq!(bytes(line.as_bytes()), line);
        }
    }

    proptest! {
        #[test]
        fn it_is_one_line_and_is_shown_alike_twice(given: Vec<u8>) {
            let shown = bytes(&given);
            prop_assert!(shown.chars().all(|sign| sign == '\t' || !sign.is_control()));
            prop_assert!(!shown.chars().any(is_obeyed));
            prop_assert_eq!(text(&shown), shown);
        }
    }
}
