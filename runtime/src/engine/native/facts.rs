//! Facts about a run that placeholders ask for.
//!
//! A task that prints or stores its job's name must not differ from run to run, so these come from the pipeline alone:
//! the job's name is the pipeline's; ids are made from the names. Only the create and schedule times are real; a
//! program that uses them differs from run to run on purpose.

use std::time::SystemTime;

use samebundle_spec::pipeline::{Pipeline, RunFact};
use samebundle_spec::{Digest, Timestamp};

/// The folder of all outputs in containers.
pub(super) const ROOT: &str = "/samebundle/outputs";
/// The workspace in containers.
pub(super) const WORKSPACE: &str = "/samebundle/workspace";

pub(super) struct RunFacts {
    job: String,
    time: String,
}

impl RunFacts {
    pub(super) fn new(pipeline: &Pipeline, now: SystemTime) -> Self {
        Self {
            job: pipeline.name.value.clone(),
            time: Timestamp::from(now).whole_seconds().to_string(),
        }
    }

    /// Returns a fact for the task with this path (its name with its parents').
    pub(super) fn get(&self, fact: RunFact, path: &str) -> String {
        match fact {
            RunFact::JobName => self.job.clone(),
            // On a cluster, a generated ending makes it the name of one run.
            RunFact::JobResourceName => format!("{}-{}", self.job, &uuid(&self.job)[..5]),
            RunFact::JobUuid => uuid(&self.job),
            RunFact::CreateTime | RunFact::ScheduleTime => self.time.clone(),
            RunFact::Root => ROOT.to_owned(),
            RunFact::TaskName => path.rsplit('/').next().unwrap_or(path).to_owned(),
            RunFact::TaskResourceName => format!("{}/{path}", self.job),
            RunFact::TaskUuid => uuid(&format!("{}/{path}", self.job)),
            RunFact::Workspace => WORKSPACE.to_owned(),
        }
    }
}

/// Makes a name-based UUID (version 8, RFC 9562: of SHA-256).
fn uuid(name: &str) -> String {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&Digest::sha256(name.as_bytes()).as_bytes()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_uuids_of_the_name() {
        let id = super::uuid("digits");
        assert_eq!(id, super::uuid("digits"));
        assert_ne!(id, super::uuid("digit"));
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'8');
    }
}
