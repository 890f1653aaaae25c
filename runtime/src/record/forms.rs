//! The forms in which programs write a secret: as it is, and encoded as base64, for a URL, as JSON and in hexadecimal.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The width at which tools break lines of base64.
const LINES_OF_BASE64: [usize; 2] = [76, 64];

/// Returns the forms of a secret.
pub(super) fn forms(secret: &[u8]) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.insert(hexadecimal.to_ascii_uppercase());
    forms.insert(hexadecimal);
    base64(secret, &mut forms);
    urls(secret, &mut forms);
    if let Ok(text) = std::str::from_utf8(secret) {
        json(text, &mut forms);
        python(text, &mut forms);
        html(text, &mut forms);
        // Tasks print line by line.
        forms.extend(text.lines().map(str::to_owned));
        forms.insert(text.to_owned());
    } else {
        // What a task prints is read as UTF-8. At its ends a secret may grow together with what is around it.
        let read = String::from_utf8_lossy(secret);
        forms.extend(
            read.lines()
                .map(|line| line.trim_matches(char::REPLACEMENT_CHARACTER).to_owned()),
        );
    }
    forms
}

/// A secret may stand inside of what is encoded, at any of three offsets: then its first and last characters depend on
/// what is around it, and the others do not.
fn base64(secret: &[u8], forms: &mut BTreeSet<String>) {
    for engine in [&STANDARD, &URL_SAFE] {
        let whole = engine.encode(secret);
        for width in LINES_OF_BASE64 {
            let lines = whole.as_bytes().chunks(width);
            forms.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
        }
        forms.insert(whole.trim_end_matches('=').to_owned());
        for before in 0..3 {
            let text = engine.encode([&vec![0; before], secret].concat());
            let (first, last) = ((8 * before).div_ceil(6), 8 * (before + secret.len()) / 6);
            forms.extend(text.get(first..last).map(str::to_owned));
        }
    }
}

/// Encoders differ in what they leave as it is.
fn urls(secret: &[u8], forms: &mut BTreeSet<String>) {
    let every: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
    forms.insert(every.to_ascii_uppercase());
    forms.insert(every);
    for kept in ["-_.~", "-_.~/", "-_.!~*'()", "-_.~/:?#[]@!$&'()*+,;=", "-_.*"] {
        for space in ["%20", "+"] {
            let one = |byte: &u8| match *byte {
                b' ' => space.to_owned(),
                byte if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                    char::from(byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            };
            let upper: String = secret.iter().map(one).collect();
            forms.insert(lower_escapes(&upper));
            forms.insert(upper);
        }
    }
}

/// Writes the letters of `%2F` as `%2f`.
fn lower_escapes(text: &str) -> String {
    let mut left = 0;
    let lower = |c: char| {
        let inside = left > 0;
        left = if c == '%' {
            2
        } else {
            usize::saturating_sub(left, 1)
        };
        if inside { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(lower).collect()
}

/// JSON as most programs write it, and with every character that is not ASCII as an escape.
fn json(text: &str, forms: &mut BTreeSet<String>) {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = &quoted[1..quoted.len() - 1];
    let mut ascii = String::new();
    for c in inner.chars() {
        if c.is_ascii() {
            ascii.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    // JSON inside of JSON, as in a text of a log in JSON.
    let twice = serde_json::Value::from(inner).to_string();
    let twice = &twice[1..twice.len() - 1];
    let thrice = serde_json::Value::from(twice).to_string();
    forms.insert(thrice[1..thrice.len() - 1].to_owned());
    forms.insert(twice.to_owned());
    forms.insert(ascii.replace('/', "\\/"));
    forms.insert(inner.replace('/', "\\/"));
    forms.insert(ascii);
    forms.insert(inner.to_owned());
}

/// Python's `repr` and `ascii`, of a text and of its bytes, in either kind of quotes.
fn python(text: &str, forms: &mut BTreeSet<String>) {
    for quote in ['\'', '"'] {
        for ascii in [false, true] {
            let mut written = String::new();
            for c in text.chars() {
                match c {
                    '\n' => written.push_str("\\n"),
                    '\r' => written.push_str("\\r"),
                    '\t' => written.push_str("\\t"),
                    '\\' => written.push_str("\\\\"),
                    c if c == quote => written.extend(['\\', c]),
                    c if c.is_ascii_control() => written.push_str(&format!("\\x{:02x}", u32::from(c))),
                    c if ascii && !c.is_ascii() => written.push_str(&match u32::from(c) {
                        code @ ..=0xff => format!("\\x{code:02x}"),
                        code @ ..=0xffff => format!("\\u{code:04x}"),
                        code => format!("\\U{code:08x}"),
                    }),
                    c => written.push(c),
                }
            }
            forms.insert(written);
        }
        let of_bytes = |byte: &u8| match *byte {
            b'\n' => "\\n".to_owned(),
            b'\r' => "\\r".to_owned(),
            b'\t' => "\\t".to_owned(),
            b'\\' => "\\\\".to_owned(),
            byte if char::from(byte) == quote => format!("\\{quote}"),
            byte @ b' '..=b'~' => char::from(byte).to_string(),
            byte => format!("\\x{byte:02x}"),
        };
        forms.insert(text.as_bytes().iter().map(of_bytes).collect());
    }
}

/// HTML and XML, with the names that are usual for the two quotes.
fn html(text: &str, forms: &mut BTreeSet<String>) {
    let plain = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    for quote in ["&quot;", "&#34;", "\""] {
        for apostrophe in ["&#x27;", "&#39;", "&apos;", "'"] {
            forms.insert(plain.replace('"', quote).replace('\'', apostrophe));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_inside_of_what_is_encoded() {
        let secret = "pä ss/w0rd\"+&?";
        let forms = forms(secret.as_bytes());
        let found = |text: &str| {
            forms
                .iter()
                .any(|form| form.len() >= 4 && text.contains(form.as_str()))
        };
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{secret}{after}");
                assert!(
                    found(&STANDARD.encode(&text)) && found(&URL_SAFE.encode(&text)),
                    "{text}"
                );
            }
        }
        for text in [
            "p%C3%A4%20ss%2Fw0rd%22%2B%26%3F",
            "p%c3%a4+ss%2fw0rd%22%2b%26%3f",
            "p%C3%A4%20ss/w0rd%22%2B%26%3F",
            "\"p\\u00e4 ss/w0rd\\\"+&?\"",
            "70c3a42073732f773072642",
            "70C3A42073732F773072642",
        ] {
            assert!(
                forms
                    .iter()
                    .any(|form| form.len() > 8 && (text.contains(form.as_str()) || form.starts_with(text))),
                "{text}"
            );
        }
    }
}
