//! Values of options as people write them.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use clap::builder::{OsStringValueParser, TypedValueParser};
use samebundle_runtime::verbs::{Location, LocationError};
use samebundle_spec::bundle::quantity::Quantity;
use samebundle_spec::record::RunStatus;
use samebundle_spec::reference::ReferenceError;
use samebundle_spec::signing::Scope;
use samebundle_spec::{Reference, Repository, Timestamp};

/// Reads the location of a bundle; a path need not be UTF-8.
pub(crate) fn location() -> impl TypedValueParser<Value = Location> {
    OsStringValueParser::new()
        .try_map(|text| -> Result<Location, LocationError> { Location::from_os(OsStr::new(&text)) })
}

/// Reads a size in bytes as people write it: `4GB`, `700Mi`, `1.5GiB`, `65536`.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let amount: Quantity = text
        .strip_suffix('B')
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is no size such as 4GB, 700MiB or 65536"))?;
    u64::try_from(amount.thousandths() / 1_000).map_err(|_| "it is too large".to_owned())
}

/// Reads a time: a number and its unit.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let seconds = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err("give a number and a unit: s, m, h or d".to_owned()),
    };
    let count = text[..text.len() - 1].parse::<u64>();
    let count = count.map_err(|error| error.to_string())?;
    let seconds = count.checked_mul(seconds).ok_or("it is too long")?;
    Ok(Duration::from_secs(seconds))
}

/// Since when: for so long, or from a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    /// The point in time, if it is `now`.
    pub(crate) fn before(self, now: SystemTime) -> Timestamp {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH).into(),
            Self::At(time) => time,
        }
    }
}

/// Reads since when: `2h`, or a point in time in RFC 3339.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn since(text: &str) -> Result<Since, String> {
    let at = text.parse().map(Since::At);
    at.or_else(|_| time(text).map(Since::Ago)).map_err(|_| {
        "give a number and a unit (s, m, h or d), or a point in time such as 2026-11-22T05:06:13Z".to_owned()
    })
}

/// Reads what came of a run.
///
/// # Errors
/// The words that there are.
pub(crate) fn status(text: &str) -> Result<RunStatus, String> {
    use RunStatus::{Cancelled, Failed, Interrupted, Running, Skipped, Succeeded};
    let all = [Running, Succeeded, Failed, Cancelled, Skipped, Interrupted];
    let found = all.iter().find(|status| status.word().eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| {
        let words: Vec<&str> = all.iter().map(|status| status.word()).collect();
        format!("it is one of {}", words.join(", "))
    })
}

/// Reads a repository; a tag or digest after it is passed over.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn repository(text: &str) -> Result<Repository, ReferenceError> {
    Ok(without_scheme(text).parse::<Reference>()?.repository)
}

/// Reads the scope of a rule. The text of a person that names no registry is refused, because no bundle would be in it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn scope(text: &str) -> Result<Scope, String> {
    let text = without_scheme(text);
    let host = text.split('/').next().unwrap_or_default();
    let is_host = host == "localhost" || host.contains(['.', ':']) || text == "*";
    if !is_host {
        return Err(format!(
            "{host:?} is no registry, because it has neither a dot nor a port; for files and the local store write local:"
        ));
    }
    text.parse::<Scope>().map_err(|error| error.to_string())
}

/// Passes over what other tools write before a registry.
fn without_scheme(text: &str) -> &str {
    let schemes = ["docker://", "oci://", "https://", "http://"];
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.unwrap_or(text).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_people_write_them() {
        for text in [
            "oci://r.example/team",
            "https://r.example/team/",
            "r.example/team",
        ] {
            assert_eq!(scope(text).unwrap().to_string(), "r.example/team", "{text}");
        }
        for text in ["*", "local:", "localhost", "r.example", "h:5000/x"] {
            assert!(scope(text).is_ok(), "{text}");
        }
        for text in ["file/tmp/x", "team", "/tmp/x"] {
            assert!(scope(text).is_err(), "{text}");
        }
        let tags = repository("docker://r.example/team/x:1").unwrap();
        assert_eq!(tags.to_string(), "r.example/team/x");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4GB", 4_000_000_000),
            ("700MiB", 700 << 20),
            ("1.5G", 1_500_000_000),
            ("65536", 65_536),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "B", "GB", "-1", "4 GB", "lots"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
