//! Why the helper could not do something, as it reports it to the driver.

use std::error::Error;

use super::super::protocol::Report;

/// An operation and why it failed.
#[derive(Debug)]
pub(super) struct HelperFailure {
    operation: &'static str,
    why: String,
}

impl HelperFailure {
    pub(super) fn new(operation: &'static str, why: impl Into<String>) -> Self {
        Self {
            operation,
            why: why.into(),
        }
    }

    pub(super) fn report(self) -> Report {
        Report::Failed {
            operation: self.operation.to_owned(),
            why: self.why,
        }
    }
}

/// Names the step that an error stopped.
pub(super) trait Step<T> {
    /// Makes the error a failure of `operation`, an infinitive.
    fn step(self, operation: &'static str) -> Result<T, HelperFailure>;
}

impl<T, E: Error + 'static> Step<T> for Result<T, E> {
    fn step(self, operation: &'static str) -> Result<T, HelperFailure> {
        self.map_err(|error| HelperFailure::new(operation, chain(&error)))
    }
}

/// Returns the text of an error with its causes. libcontainer's errors say little without them; texts that are repeated
/// are left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    // As intended, libcontainer cannot remove the cgroup that it saw in place of the machine's.
    match text.find(". error during cleanup: ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
