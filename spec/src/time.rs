//! Points in time as documents write them (RFC 3339). The crate never asks for the time; it is given one.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A point in time. Displays as RFC 3339 in UTC, e.g. `2026-11-22T05:06:13Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

/// Why something is not a point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time {text:?} is not RFC 3339 with seconds and an offset, such as 2026-11-22T05:06:13Z")]
pub struct TimeError {
    text: String,
}

impl Timestamp {
    /// Makes a time of seconds since 1970 in UTC; a time outside the years -9999 to 9999 becomes the nearest one in them.
    pub fn from_unix(seconds: i64) -> Self {
        let nearest = if seconds < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        Self(jiff::Timestamp::from_second(seconds).unwrap_or(nearest))
    }

    /// Returns the seconds since 1970 in UTC, rounded down.
    pub fn as_unix(self) -> i64 {
        self.0
            .as_nanosecond()
            .div_euclid(1_000_000_000)
            .try_into()
            .unwrap_or_default()
    }

    /// Returns the duration from an earlier time to this one; zero if the other is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or_default()
    }

    /// Returns the same time without its fraction of a second.
    #[must_use]
    pub fn whole_seconds(self) -> Self {
        Self::from_unix(self.as_unix())
    }

    /// Returns the time that is later by a duration, at most the last that can be written.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.checked_add(duration).unwrap_or(jiff::Timestamp::MAX))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        time.0.into()
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let error = || TimeError {
            text: text.chars().take(64).collect(),
        };
        // The crate also reads other ISO 8601 forms and zone names; RFC 3339 has neither.
        let bytes = text.as_bytes();
        let shape = (20..=40).contains(&bytes.len())
            && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
                .iter()
                .all(|&(at, byte)| bytes[at] == byte)
            && bytes[17..19].iter().all(u8::is_ascii_digit)
            && bytes[19..].iter().all(|byte| b"0123456789.+-:Z".contains(byte));
        if !shape {
            return Err(error());
        }
        text.parse().map(Self).map_err(|_| error())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

crate::serde_as_text!(Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rfc_3339_and_prints_utc() {
        for (text, printed) in [
            ("2026-11-22T05:06:13Z", "2026-11-22T05:06:13Z"),
            ("2026-11-22T05:06:13+01:00", "2026-11-22T04:06:13Z"),
            ("2026-11-22T05:06:13.250Z", "2026-11-22T05:06:13.25Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), printed, "{text}");
        }
        let half = "1969-12-31T23:59:59.5Z".parse::<Timestamp>().unwrap();
        assert_eq!(half.as_unix(), -1);
        assert_eq!(Timestamp::from_unix(0).to_string(), "1970-01-01T00:00:00Z");
        assert!(Timestamp::from_unix(i64::MAX) > Timestamp::from_unix(0));
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T05:06Z",
            "2026-11-22 05:06:13Z",
            "2026-11-22T05:06:13",
            "2026-11-22T05:06:13Z[UTC]",
            "2026-11-22T05:06:13[Europe/Berlin]",
            "2026-13-22T05:06:13Z",
            "2026-02-30T05:06:13Z",
            "20261122T050613Z",
            "2026-11-22T05:06:13+0100x",
            "now",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
