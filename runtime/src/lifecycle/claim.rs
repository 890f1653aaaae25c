//! The CNAB claim and result of a run (cnab-spec 400), beside our record.

use serde_json::{Value, json};

use samebundle_spec::Digest;
use samebundle_spec::record::{OutputRecord, Run, RunStatus};

use super::LifecycleError;
use super::run::Plan;
use crate::record::RunHandle;

/// Writes the claim, before the action. Parameters are stored resolved; secrets are not (a deviation that we choose:
/// cnab-spec wants all of them, DESIGN 7 wants secrets as references).
pub(crate) fn write_claim(handle: &RunHandle, run: &Run, plan: &Plan) -> Result<(), LifecycleError> {
    let shown = run
        .parameters
        .iter()
        .filter_map(|(name, parameter)| Some((name, parameter.value.as_ref()?)));
    let bundle: Value = samebundle_spec::json::value(
        plan.bundle.bundle.raw(),
        samebundle_spec::limits::BUNDLE_JSON_BYTES,
    )
    .unwrap_or(Value::Null);
    let claim = json!({
        "schemaVersion": "1.0.0",
        "id": run.id,
        "installation": run.installation,
        "revision": run.id,
        "created": run.started,
        "action": run.action,
        "bundle": bundle,
        "bundleReference": run.bundle_digest,
        "parameters": shown.collect::<std::collections::BTreeMap<_, _>>(),
    });
    Ok(handle.write("claim.json", &claim)?)
}

/// Writes the result, after the action.
pub(crate) fn write_result(handle: &RunHandle, run: &Run, id: &str) -> Result<(), LifecycleError> {
    let digest = |output: &OutputRecord| match output {
        OutputRecord::Value(value) => Some(Digest::sha256(value.to_string().as_bytes())),
        OutputRecord::Artifacts(artifacts) => artifacts.first().and_then(|artifact| artifact.digest),
    };
    let outputs = run
        .outputs
        .iter()
        .map(|(name, output)| (name.clone(), json!({"contentDigest": digest(output)})));
    let status = match run.status {
        RunStatus::Running => "running",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled | RunStatus::Skipped => "canceled",
        RunStatus::Interrupted => "unknown",
    };
    let result = json!({
        "id": id,
        "claimId": run.id,
        "created": run.finished,
        "status": status,
        "message": run.message,
        "outputs": outputs.collect::<serde_json::Map<_, _>>(),
    });
    Ok(handle.write("result.json", &result)?)
}
