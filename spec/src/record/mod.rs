//! What is remembered: installations and runs (`spec/500-records.md`).
//!
//! Every document carries `format`, a `major.minor` pair. Readers accept any minor of a major they know and refuse other
//! majors; writers never write over a document of a newer minor, because they would drop what they do not know.

mod claim;
mod format;
mod installation;
mod read;
mod run;

pub use claim::{CLAIMS_VERSION, Claim, ClaimOutput, ClaimResult, ClaimStatus};
pub use format::{Format, FormatError};
pub use installation::{Installation, Verification};
pub use read::{ReadError, parse};
pub use run::{ArtifactRecord, OutputRecord, ParameterRecord, Run, RunStatus, SetBy, TaskRecord};
