//! Sizes and times as people read them.

use std::time::Duration;

/// Bytes in binary units: `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A duration with the two units that matter: `1.4s`, `2m 5s`.
pub(crate) fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", took.as_secs_f64()),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of things, in the words for one or for several.
pub(crate) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A number as a person reads it: whole ones whole, others with six significant digits.
pub(crate) fn number(number: f64) -> String {
    let whole = number.fract() == 0.0 && number.abs() < 1e15;
    let plain = number.abs() >= 1e-4 && number.abs() < 1e9;
    match (whole, plain) {
        (true, _) => format!("{number:.0}"),
        (false, true) => {
            let before = number.abs().log10().floor().max(0.0) as usize + 1;
            let text = format!("{number:.*}", 6_usize.saturating_sub(before).max(1));
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        (false, false) => format!("{number:.5e}"),
    }
}

/// How long ago something was, in the largest unit: `3 minutes ago`.
pub(crate) fn ago(since: Duration) -> String {
    let seconds = since.as_secs();
    let (count, unit) = match seconds {
        0..5 => return "just now".to_owned(),
        5..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..2_592_000 => (seconds / 86_400, "day"),
        2_592_000..31_536_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ages_are_short() {
        for (value, text) in [
            (3.0, "3"),
            (0.957_777_777, "0.95778"),
            (0.5, "0.5"),
            (123.456_789, "123.457"),
            (-2.25, "-2.25"),
            (0.000_012_345_67, "1.23457e-5"),
            (1e20, "1.00000e20"),
            (0.0, "0"),
        ] {
            assert_eq!(number(value), text);
        }
        for (seconds, text) in [
            (0, "just now"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_300, "2 hours ago"),
            (100 * 86_400, "3 months ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
