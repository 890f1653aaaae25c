//! Every verb: one function from a typed request to a typed report, over a [`Site`].
//!
//! The command line, a server or a program in a cluster is a front of these functions: it makes requests and shows
//! reports. Nothing here has a terminal, reads an environment variable or the working directory, or prints. Paths in a
//! request are absolute or relative to the process's working directory; paths in a report are text, in which bytes that
//! are not UTF-8 are replaced. Progress is reported through the context's events.
//!
//! Requests and reports are JSON documents; their schemas are in `spec/schema/verbs.schema.json`.

mod approvals;
mod approve;
mod aspect;
mod attach;
mod author;
mod bring;
mod cancel;
mod copy;
mod credentials;
mod debug;
mod diff;
mod doctor;
mod error;
mod explain;
mod export;
mod file;
mod history;
mod import;
mod inspect;
mod install;
mod key;
mod location;
mod logs;
mod metadata;
mod offered;
mod outputs;
mod outside;
mod page;
mod parameters;
mod progress;
mod publish;
mod ready;
mod receipt;
mod registry;
mod registry_doctor;
mod resolve;
mod resume;
mod rollback;
mod run;
mod runs;
mod runs_remove;
mod site;
mod source;
mod status;
mod store;
mod summary;
mod trust;
mod verify;
mod volume;

#[cfg(test)]
mod tests;

pub use approvals::{CheckedApproval, CheckedTask, WaitingTask};
pub use approve::{ApproveRequest, DecisionReport, approve};
pub use attach::{AttachRequest, Attached, attach};
pub use author::{
    BuildReport, BuildRequest, InitReport, InitRequest, LintReport, LintRequest, build, init, lint,
};
pub use bring::{BringReport, BringRequest, Foreseen, RunSource, bring, foresee};
pub use cancel::{CancelReport, CancelRequest, cancel};
pub use copy::{
    Bytes, CopyReport, CopyRequest, CopyResult, Moved, PullRequest, Sent, VolumeFile, VolumeOptions, Written,
    copy, pull,
};
pub use credentials::CredentialsGiven;
pub use debug::{DebugReport, DebugRequest, Debugged, debug};
pub use diff::{
    CodeDifference, DiffReport, DiffRequest, Difference, MetricDifference, OutputDifference, diff,
};
pub use doctor::{DoctorCheck, DoctorReport, Verdict, doctor};
pub use error::VerbError;
pub use explain::{ExplainReport, ExplainRequest, ExplainedParameter, ExplainedVolume, explain};
pub use export::{CarriedReport, ExportReport, ExportRequest, LeftReport, export};
pub use file::{
    SignFileReport, SignFileRequest, VerifyFileReport, VerifyFileRequest, sign_file, verify_file,
};
pub use history::{ListReport, ShowReport, ShowRequest, list, show};
pub use import::{ImportReport, ImportRequest, Imported, ImportedCopy, import};
pub use inspect::{GraphNode, InspectReport, InspectRequest, inspect};
pub use install::{
    ActionRun, InstallReport, InstallRequest, UninstallReport, UninstallRequest, UpgradeRequest, Wanted,
    install, uninstall, upgrade,
};
pub use key::{
    ExportKeyReport, ExportKeyRequest, GenerateKeyRequest, ImportKeyRequest, KeyReport, KeysReport,
    ListedKey, RemoveKeyReport, RemoveKeyRequest, check_key, export_key, generate_key, import_key, list_keys,
    remove_key,
};
pub use location::{LocalName, Location, LocationError, archive_stem};
pub use logs::{LogsReport, LogsRequest, follow_logs, logs};
pub use metadata::{
    CrateReport, CrateRequest, MetadataGiven, PushRunsReport, PushRunsRequest, PushedRun, runs_crate,
    runs_push,
};
pub use offered::{
    AddOfferedKeyRequest, OfferedKey, OfferedKeysReport, OfferedKeysRequest, offered_keys, trust_add_offered,
};
pub use outputs::{
    AbsentOutput, ArtifactReport, OutputReport, OutputsReport, OutputsRequest, Results, Shown, ShownArtifact,
    ShownOutput, WrittenOutput, outputs,
};
pub use page::{PageReport, PageRequest, page};
pub use parameters::Given;
pub use publish::{PublishReport, PublishRequest, Published, publish};
pub use ready::{check_resume, check_run};
pub use receipt::{ReceiptOptions, ReceiptReport, ReceiptRequest, receipt};
pub use registry::{
    ListRepositoriesRequest, ListTagsRequest, LoginReport, LoginRequest, LogoutReport, LogoutRequest,
    RepositoriesReport, TagsReport, login, logout, registry_ls, registry_tags,
};
pub use registry_doctor::{RegistryDoctorReport, RegistryDoctorRequest, registry_doctor};
pub use resolve::{Consent, ResolvedBundle, installed_bundle};
pub use resume::{ResumeRequest, resume};
pub use rollback::{HistoryReport, HistoryRequest, InstalledBundle, RollbackRequest, history, rollback};
pub use run::{PlanReport, ReuseGiven, RunReport, RunRequest, plan, plan_foreseen, run};
pub use runs::{MetricName, RunsReport, RunsRequest, runs};
pub use runs_remove::{RemoveRunsReport, RemoveRunsRequest, RemovedRun, runs_remove};
pub use site::{Drivers, Network, NoPassphrases, PassphraseError, Passphrases, Reach, Site};
pub use status::{AtOrigin, InstallationStatus, LastRun, StatusReport, StatusRequest, status};
pub use store::{
    BundleUsage, RemovedContent, RemovedFile, StoreCheckReport, StoreCheckRequest, StoreForgetReport,
    StoreForgetRequest, StoreGcReport, StoreGcRequest, StoreUsageReport, Young, store_check, store_forget,
    store_gc, store_usage,
};
pub use summary::{OutputSummary, RunSummary, TaskSummary};
pub use trust::{
    AddTrustReport, AddTrustRequest, ExplainTrustReport, ExplainTrustRequest, RemoveTrustReport,
    RemoveTrustRequest, ScopeRule, SignReport, SignRequest, TrustReport, sign, trust_add, trust_explain,
    trust_list, trust_remove,
};
pub use verify::{AttestedReport, VerifyReport, VerifyRequest, verify};
pub use volume::{
    ListedVolume, RemoveVolumeReport, RemoveVolumeRequest, VolumesReport, volume_list, volume_remove,
};
