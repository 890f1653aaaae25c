//! Reading records: the format first, so that a newer one is named as that and not as damage.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Format, FormatError};
use crate::json::{self, JsonError};
use crate::{Classify, ErrorKind};

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not strict JSON, or not of the form.
    #[error("the record is damaged: {0}")]
    Json(#[from] JsonError),
    /// Of a format that is not read.
    #[error("{0}")]
    Format(#[from] FormatError),
    /// Another event than the next one.
    #[error("event {found} stands where event {wanted} should be")]
    Sequence {
        /// Its number.
        found: u64,
        /// The number of the next one.
        wanted: u64,
    },
}

impl Classify for ReadError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

/// What every record begins with.
#[derive(Deserialize)]
struct Header {
    format: Format,
}

/// Reads a record of at most `limit` bytes: a [`super::Run`], a [`super::Installation`], or the first line of a log.
///
/// # Errors
/// [`ReadError::Format`] for another major, whatever else the record holds; otherwise why it is damaged.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, ReadError> {
    let header: Header = json::from_slice_wide(bytes, limit)?;
    header.format.check_readable()?;
    Ok(json::from_slice_wide(bytes, limit)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{Run, RunStatus};

    fn run() -> serde_json::Value {
        json!({
            "format": "1.0", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "installation": "digits", "action": "run", "bundle": "digits",
            "version": "1.0.0", "driver": "embedded", "parameters": {}, "status": "succeeded",
            "bundleDigest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "verification": {"by": "consent", "reason": "--allow-unsigned"},
            "started": "2026-11-22T05:06:13Z",
            "outputs": {"n": {"value": 9_223_372_036_854_775_807_i64}},
        })
    }

    #[test]
    fn a_newer_minor_is_read_and_a_newer_major_is_named() {
        let mut document = run();
        document["format"] = json!("1.9");
        document["added"] = json!({"later": true});
        let read: Run = parse(document.to_string().as_bytes(), 1 << 20).unwrap();
        assert_eq!(read.status, RunStatus::Succeeded);
        // A newer major may have any other form; that it is newer is what the user must hear.
        let newer = json!({"format": "2.0", "tasks": "elsewhere"}).to_string();
        assert!(matches!(
            parse::<Run>(newer.as_bytes(), 1 << 20),
            Err(ReadError::Format(FormatError::Unreadable { .. }))
        ));
        let damaged = run().to_string().replace("sha256:e3", "sha256:E3");
        assert!(matches!(
            parse::<Run>(damaged.as_bytes(), 1 << 20),
            Err(ReadError::Json(_))
        ));
    }
}
