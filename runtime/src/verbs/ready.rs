//! Whether a run can begin: everything about it that a person may have to answer, for a front that leaves the run itself to
//! another process.

use super::run::ready;
use super::{ResumeRequest, RunRequest, Site, VerbError, metadata, resume};
use samebundle_spec::record::RunId;

/// Does all that [`run`](super::run()) does before it begins: the installation is found and trusted, the parameters fit, this
/// machine gives what is required, and each credential is read. Nothing is kept.
///
/// # Errors
/// As [`run`](super::run()).
pub async fn check_run(site: &Site, request: RunRequest) -> Result<(), VerbError> {
    let metadata = request.metadata.clone();
    Box::pin(ready(site, request)).await?;
    metadata::ask(site, &metadata).await
}

/// Does all that [`resume`](super::resume()) does before the run goes on, and returns the run.
///
/// # Errors
/// As [`resume`](super::resume()).
pub async fn check_resume(site: &Site, request: ResumeRequest) -> Result<RunId, VerbError> {
    let metadata = request.metadata.clone();
    let (run, _) = Box::pin(resume::ready(site, request)).await?;
    metadata::ask(site, &metadata).await?;
    Ok(run)
}
