//! The published schema of requests and reports is what the types say.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::*;

/// Lists verbs with their requests and reports; `()` for a verb that takes none.
macro_rules! verbs {
    ($generator:ident, $($verb:literal: $request:ty => $report:ty;)*) => {
        Map::from_iter([$((
            $verb.to_owned(),
            json!({
                "request": $generator.subschema_for::<$request>(),
                "report": $generator.subschema_for::<$report>(),
            }),
        ),)*])
    };
}

fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let verbs = verbs! { generator,
        "approve": ApproveRequest => DecisionReport;
        "attach": AttachRequest => RunReport;
        "bring": BringRequest => BringReport;
        "build": BuildRequest => BuildReport;
        "cancel": CancelRequest => CancelReport;
        "copy": CopyRequest => CopyReport;
        "diff": DiffRequest => DiffReport;
        "doctor": () => DoctorReport;
        "explain": ExplainRequest => ExplainReport;
        "export": ExportRequest => ExportReport;
        "export_key": ExportKeyRequest => ExportKeyReport;
        "generate_key": GenerateKeyRequest => KeyReport;
        "import": ImportRequest => ImportReport;
        "import_key": ImportKeyRequest => KeyReport;
        "init": InitRequest => InitReport;
        "inspect": InspectRequest => InspectReport;
        "install": InstallRequest => InstallReport;
        "history": HistoryRequest => HistoryReport;
        "lint": LintRequest => LintReport;
        "list": () => ListReport;
        "list_keys": () => KeysReport;
        "logs": LogsRequest => LogsReport;
        "logout": LogoutRequest => LogoutReport;
        "offered_keys": OfferedKeysRequest => OfferedKeysReport;
        "outputs": OutputsRequest => OutputsReport;
        "page": PageRequest => PageReport;
        "plan": RunRequest => PlanReport;
        "publish": PublishRequest => PublishReport;
        "pull": PullRequest => CopyReport;
        "receipt": ReceiptRequest => ReceiptReport;
        "registry_doctor": RegistryDoctorRequest => RegistryDoctorReport;
        "registry_ls": ListRepositoriesRequest => RepositoriesReport;
        "registry_tags": ListTagsRequest => TagsReport;
        "remove_key": RemoveKeyRequest => RemoveKeyReport;
        "resume": ResumeRequest => RunReport;
        "rollback": RollbackRequest => InstallReport;
        "run": RunRequest => RunReport;
        "runs": RunsRequest => RunsReport;
        "runs_crate": CrateRequest => CrateReport;
        "runs_push": PushRunsRequest => PushRunsReport;
        "runs_remove": RemoveRunsRequest => RemoveRunsReport;
        "show": ShowRequest => ShowReport;
        "sign": SignRequest => SignReport;
        "sign_file": SignFileRequest => SignFileReport;
        "status": StatusRequest => StatusReport;
        "store_check": StoreCheckRequest => StoreCheckReport;
        "store_forget": StoreForgetRequest => StoreForgetReport;
        "store_gc": StoreGcRequest => StoreGcReport;
        "store_usage": () => StoreUsageReport;
        "trust_add": AddTrustRequest => AddTrustReport;
        "trust_add_offered": AddOfferedKeyRequest => AddTrustReport;
        "trust_explain": ExplainTrustRequest => ExplainTrustReport;
        "trust_list": () => TrustReport;
        "trust_remove": RemoveTrustRequest => RemoveTrustReport;
        "uninstall": UninstallRequest => UninstallReport;
        "upgrade": UpgradeRequest => InstallReport;
        "verify": VerifyRequest => VerifyReport;
        "verify_file": VerifyFileRequest => VerifyFileReport;
        "volume_list": () => VolumesReport;
        "volume_remove": RemoveVolumeRequest => RemoveVolumeReport;
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Requests and reports of the verbs; `--output json` prints the report",
        "verbs": verbs,
        "$defs": generator.take_definitions(true),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person asks this test to write through the environment"
)]
fn writes() -> bool {
    std::env::var_os("SAMEBUNDLE_SCHEMAS").is_some_and(|word| word == "write")
}

#[test]
fn the_checked_in_schema_is_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/schema/verbs.schema.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if writes() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "spec/schema/verbs.schema.json is not what the types say; run this test with SAMEBUNDLE_SCHEMAS=write"
    );
}

#[test]
fn a_request_is_read_as_it_is_written_and_refuses_what_it_does_not_know() {
    let request: InstallRequest = serde_json::from_value(json!({
        "from": "r.example/team/digits:1.0", "parameters": {"texts": {"epochs": "3"}},
    }))
    .unwrap();
    let written = serde_json::to_value(&request).unwrap();
    assert_eq!(written["from"], "r.example/team/digits:1.0");
    assert_eq!(written["consent"]["allowUnsigned"], false);
    let unknown = json!({"from": "digits", "allowUnsigned": true});
    assert!(serde_json::from_value::<InstallRequest>(unknown).is_err());
    let nowhere = json!({"from": "out.tar.zst"});
    let error = serde_json::from_value::<InstallRequest>(nowhere)
        .unwrap_err()
        .to_string();
    assert!(error.contains(".tar.zst"), "{error}");
}
