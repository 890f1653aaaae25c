//! Runs for tests.

use std::collections::BTreeMap;

use samebundle_spec::Digest;
use samebundle_spec::record::{Format, RunStarted, Verification};

/// The start of a run; each number gives another id.
pub fn started(number: usize) -> RunStarted {
    RunStarted {
        format: Format::CURRENT,
        id: format!("{number:026}").parse().expect("an id"),
        installation: "digits".parse().expect("a name"),
        action: "run".to_owned(),
        bundle: "digits".to_owned(),
        version: "1.0.0".parse().expect("a version"),
        bundle_digest: Digest::sha256(b""),
        verification: Verification::Consent {
            reason: "a test".to_owned(),
        },
        driver: "fake".to_owned(),
        parameters: BTreeMap::new(),
    }
}
