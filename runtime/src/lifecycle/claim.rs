//! The CNAB claim and result of a run (cnab-spec 400), beside our record.

use samebundle_spec::Digest;
use samebundle_spec::record::{Claim, ClaimOutput, ClaimResult, OutputRecord, Run};
use serde_json::{Map, Value};

use super::LifecycleError;
use crate::plan::Plan;
use crate::record::RunHandle;

/// Version of the claim's and the result's schema (cnab-spec 400).
const SCHEMA_VERSION: &str = "1.0.0";

/// Writes the claim, before the action. Parameters are stored resolved; secrets are not (a deviation that we choose:
/// cnab-spec wants all of them in the claim, and a claim is exported).
pub(crate) fn write_claim(handle: &RunHandle, run: &Run, plan: &Plan) -> Result<(), LifecycleError> {
    let shown = run
        .parameters
        .iter()
        .filter_map(|(name, parameter)| Some((name.clone(), parameter.value.clone()?)));
    let bundle: Value = samebundle_spec::json::value(
        plan.bundle.get().bundle.raw(),
        samebundle_spec::limits::BUNDLE_JSON_BYTES,
    )
    .unwrap_or(Value::Null);
    let claim = Claim {
        schema_version: Some(SCHEMA_VERSION.to_owned()),
        id: run.id.clone(),
        installation: run.installation.to_string(),
        revision: run.id.clone(),
        created: run.started.to_string(),
        action: run.action.clone(),
        bundle,
        bundle_reference: Some(run.bundle_digest.to_string()),
        parameters: shown.collect(),
        custom: None,
    };
    Ok(handle.write("claim.json", &claim)?)
}

/// Writes the result under an id, after the action.
pub(crate) fn write_result(handle: &RunHandle, run: &Run, id: &str) -> Result<(), LifecycleError> {
    let digest = |output: &OutputRecord| match output {
        OutputRecord::Value(value) => Some(Digest::sha256(value.to_string().as_bytes())),
        OutputRecord::Artifacts(artifacts) => artifacts.first().and_then(|artifact| artifact.digest),
    };
    let outputs = run.outputs.iter().map(|(name, output)| {
        let output = ClaimOutput {
            content_digest: digest(output).map(|digest| digest.to_string()),
            metadata: Map::new(),
        };
        (name.clone(), output)
    });
    let result = ClaimResult {
        schema_version: Some(SCHEMA_VERSION.to_owned()),
        id: id.to_owned(),
        claim_id: run.id.clone(),
        created: run.finished.as_ref().unwrap_or(&run.started).to_string(),
        message: run.message.clone(),
        status: run.status.into(),
        outputs: outputs.collect(),
        custom: None,
    };
    Ok(handle.write("result.json", &result)?)
}
