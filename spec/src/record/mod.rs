//! What is remembered: installations, runs (`spec/500-records.md`) and the events of a run (`spec/510-run-log.md`).
//!
//! Every document carries `format`, a `major.minor` pair. Readers accept any minor of a major they know and refuse other
//! majors; writers never write over a document of a newer minor, because they would drop what they do not know.

mod claim;
mod event;
mod format;
mod id;
mod installation;
mod metrics;
mod question;
mod read;
mod run;

pub use claim::{CLAIMS_VERSION, Claim, ClaimOutput, ClaimResult, ClaimStatus};
pub use event::{
    RunEvent, RunEventKind, RunFinished, RunStarted, TaskDecided, TaskFinished, TaskStarted, TaskSuspended,
};
pub use format::{Format, FormatError};
pub use id::{RunId, RunIdError};
pub use installation::{EarlierBundle, Installation, Verification};
pub use metrics::{Classification, ConfusionMatrix, Metrics, Number, RocPoint, ends_with, short_names};
pub use question::{AnswerForm, SignedApproval, TaskQuestion};
pub use read::{ReadError, parse};
pub use run::{
    ArtifactRecord, LogLine, OutputRecord, ParameterRecord, Places, Run, RunStatus, SetBy, TakenFrom,
    TaskRecord,
};
