//! Why the helper could not do something, as it is told to the driver.

use std::error::Error;

use super::super::protocol::Report;

/// What was tried and what stood in the way.
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

/// An error with its causes. libcontainer's errors say little without them; repeated texts are left out.
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
    // libcontainer cannot remove the cgroup that it was shown in place of the machine's, which is as it should be.
    match text.find(". error during cleanup: ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
