//! History on disk: installations and runs.

mod error;
mod installations;
mod runs;

pub use error::RecordError;
pub use installations::Installations;
pub use runs::{LogLine, RunHandle, Runs};
pub(crate) use runs::{is_id, write_run};
