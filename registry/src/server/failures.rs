//! Failures of the server itself in its log: each cause at most once a minute.
//!
//! A full disk fails every request. The first failure of a cause is logged at once; those that follow within a minute
//! are counted, and the next line says how many there were. The access log has the reason of each. Failures are kept apart
//! by what was tried and by the kind of the system's answer, both from small sets, so that nothing grows here.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::StoreError;

/// How long a cause is not logged again.
const QUIET: Duration = Duration::from_secs(60);

/// What was tried, and the kind of the system's answer.
type Cause = (&'static str, Option<io::ErrorKind>);

/// The failures that were logged, and when.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<Cause, Repetition>>);

#[derive(Debug)]
struct Repetition {
    at: Instant,
    since: u64,
}

/// An error with all its causes, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        // Some errors repeat their source.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

fn cause(error: &StoreError) -> Cause {
    match error {
        StoreError::Path(error) => (error.operation, Some(error.source.kind())),
        StoreError::Unavailable { operation, .. } => (*operation, None),
        StoreError::Invalid { .. } => ("understand", None),
        StoreError::Mismatch { .. } => ("trust", None),
        _ => ("do it", None),
    }
}

impl Failures {
    /// Logs a failure of `what`, if its cause was not logged within the last minute.
    pub(super) fn log(&self, what: impl Display, error: &StoreError) {
        self.log_as(cause(error), what, error);
    }

    /// Logs a failure that has no file operation.
    pub(super) fn log_io(&self, operation: &'static str, what: impl Display, error: &io::Error) {
        self.log_as((operation, Some(error.kind())), what, error);
    }

    /// Logs that a blob that was being sent could not be read to its end.
    pub(super) fn log_broken(&self, what: impl Display, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        let mut kind = None;
        while let Some(error) = next.filter(|_| kind.is_none()) {
            kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            next = error.source();
        }
        self.log_as(("send", kind), what, error);
    }

    fn log_as(&self, cause: Cause, what: impl Display, error: &dyn Error) {
        let Some(since) = self.may_say(cause, Instant::now()) else {
            return;
        };
        let why = chain(error);
        match since {
            0 => tracing::error!("{what} failed: {why}"),
            _ => tracing::error!(
                "{what} failed: {why} ({since} more failures of this kind since the last line)"
            ),
        }
    }

    /// How many failures of this cause were not logged since the last one that was; `None` if this one is not logged either.
    fn may_say(&self, cause: Cause, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        match said.get_mut(&cause) {
            Some(last) if now.duration_since(last.at) < QUIET => {
                last.since += 1;
                None
            }
            other => {
                let since = other.map_or(0, |last| last.since);
                said.insert(cause, Repetition { at: now, since: 0 });
                Some(since)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_a_minute_and_others_beside_it() {
        let failures = Failures::default();
        let began = Instant::now();
        let full = ("write", Some(io::ErrorKind::StorageFull));
        for (after, cause, expected) in [
            (0, full, Some(0)),
            (1, full, None),
            (59, full, None),
            (59, ("sync", Some(io::ErrorKind::StorageFull)), Some(0)),
            (59, ("write", Some(io::ErrorKind::PermissionDenied)), Some(0)),
            (60, full, Some(2)),
            (61, full, None),
            (180, full, Some(1)),
            (360, full, Some(0)),
        ] {
            let now = began + Duration::from_secs(after);
            assert_eq!(failures.may_say(cause, now), expected, "{after} {cause:?}");
        }
    }

    #[test]
    fn a_chain_has_every_cause_once() {
        let error = StoreError::io("write", std::path::Path::new("data/x"))(io::Error::other("no room"));
        assert_eq!(chain(&error), "could not write data/x: no room");
    }
}
