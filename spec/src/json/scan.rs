//! One pass over the bytes of a JSON document, before the parser: what the parser would let through or stumble over.
//!
//! It is no parser: on a document that is not JSON it may say nothing, and the parser then refuses.

use super::JsonFault;

/// Checks for a byte-order mark, depth and integers that are too large. An error holds the byte offset.
pub(super) fn check(bytes: &[u8], largest: u64, deepest: usize) -> Result<(), (usize, JsonFault)> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err((0, JsonFault::ByteOrderMark));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'[' | b'{' => {
                depth += 1;
                if depth > deepest {
                    return Err((at, JsonFault::Depth { deepest }));
                }
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                check_number(&bytes[at..end], largest).map_err(|fault| (at, fault))?;
                at = end;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// Returns the first number that is none, outside of strings. The text is no JSON.
pub(super) fn not_a_number(bytes: &[u8]) -> Option<&'static str> {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' {
            at = string_end(bytes, at + 1);
            continue;
        }
        let begins = |word: &&str| bytes[at..].starts_with(word.as_bytes());
        if let Some(word) = ["NaN", "Infinity"].into_iter().find(begins) {
            return Some(word);
        }
        at += 1;
    }
    None
}

/// Copies a text, with quotes around every number that is none outside of strings.
pub(super) fn quote_non_numbers(bytes: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let begins = |word: &&str| bytes[at..].starts_with(word.as_bytes());
        let end = match ["NaN", "-Infinity", "Infinity"].into_iter().find(begins) {
            Some(word) => {
                quoted.extend_from_slice(format!("\"{word}\"").as_bytes());
                at += word.len();
                continue;
            }
            None if bytes[at] == b'"' => string_end(bytes, at + 1).min(bytes.len()),
            None => at + 1,
        };
        quoted.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    quoted
}

/// Returns the offset after the string whose first character is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    bytes[start..]
        .iter()
        .position(|byte| !number(byte))
        .map_or(bytes.len(), |length| start + length)
}

fn check_number(token: &[u8], largest: u64) -> Result<(), JsonFault> {
    if token.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Ok(());
    }
    // 64 bits hold negative integers of half the size only.
    let (digits, largest) = match token.strip_prefix(b"-") {
        Some(digits) => (digits, largest.min(i64::MIN.unsigned_abs())),
        None => (token, largest),
    };
    // The parser refuses what is no number; a number with more digits than 64 bits hold is too large.
    let only_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse::<u64>().ok());
    if !only_digits || number.is_some_and(|number| number <= largest) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&token[..token.len().min(40)]).into_owned();
    Err(JsonFault::Integer { text, largest })
}
