//! How a page writes numbers, sizes and times.

use std::borrow::Cow;

use samebundle_spec::record::Verification;
use samebundle_spec::{Timestamp, limits};
use serde_json::Value;

/// A number as a person reads it: whole numbers as they are, others with four digits that count.
pub(super) fn number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if !number.is_finite() {
        return number.to_string();
    }
    let size = number.abs();
    if number.fract() == 0.0 && size < 1e15 {
        return format!("{number:.0}");
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{number:.3e}");
    }
    // One digit stands before the point for each power of ten; four count, but not fewer than are there.
    let places = [1.0, 10.0, 100.0].iter().filter(|power| size >= **power).count();
    let more = [0.1, 0.01, 0.001].iter().filter(|power| size < **power).count();
    let text = format!("{number:.*}", 4_usize.saturating_sub(places) + more);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A size in bytes with a unit.
pub(super) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut shown, mut unit) = (size as f64, 0);
    while shown >= 1024.0 && unit + 1 < UNITS.len() {
        shown /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{size} B"),
        _ => format!("{shown:.1} {}", UNITS[unit]),
    }
}

/// A time to the second, in UTC.
pub(super) fn time(time: Timestamp) -> String {
    let text = time.whole_seconds().to_string();
    text.replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

/// A duration in seconds, with its two largest units.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86400, whole / 3600 % 24),
    }
}

/// The seconds from one time to another.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_secs_f64()
}

/// Text as it is, or its beginning if it is long.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= limits::PAGE_TEXT_BYTES {
        return Cow::Borrowed(text);
    }
    let mut end = limits::PAGE_TEXT_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}… ({} more bytes)", &text[..end], text.len() - end))
}

/// A value as a person reads it: text without quotes, a number with the digits that it has, and JSON otherwise.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text).into_owned(),
        value => cut(&value.to_string()).into_owned(),
    }
}

/// Why a bundle was trusted.
pub(super) fn trusted_by(verification: &Verification) -> String {
    match verification {
        Verification::Signature { keys, scope, .. } => {
            format!("key {}, by the rule for {scope}", keys.join(", "))
        }
        Verification::Consent { reason } => format!("consent ({reason})"),
    }
}
