//! Plans of bundles that are made here, with nothing but their documents.

use bytes::Bytes;
use samebundle_registry::store::{Memory, SinkExt};
use samebundle_spec::bundle::Bundle;
use samebundle_spec::bundle::extension::{ADDON, ENVIRONMENT};
use samebundle_spec::bundle::index::{self, IndexForm};
use samebundle_spec::record::Format;
use samebundle_spec::{Classify, Descriptor, Digest, ErrorKind, MediaType};
use serde_json::json;

use super::*;

/// A bundle in a store, taken by consent and opened, and its installation.
async fn bundle(version: &str, custom: Value) -> (Verified<OpenedBundle>, Installation) {
    let document = json!({
        "schemaVersion": "v1.2.0", "name": "greet", "version": version, "custom": custom,
        "invocationImages": [{"imageType": "oci", "image": "registry.example/greet:1"}],
        "parameters": {"who": {"definition": "who", "destination": {"env": "WHO"}}},
        "definitions": {"who": {"type": "string", "default": "you"}},
        "actions": {"greet": {"modifies": false}},
    });
    let bundle = Bundle::parse(document.to_string().as_bytes()).unwrap();
    let store = Memory::new();
    let image = Descriptor::new(MediaType::OCI_MANIFEST, Digest::sha256(b"image"), 5);
    let composed = index::compose(&bundle, &image, &BTreeMap::new(), IndexForm::Null);
    let (manifest, manifest_bytes) = composed.config_manifest;
    let (root, root_bytes) = composed.index;
    let config = Bytes::from(bundle.raw().to_vec());
    for (media_type, bytes) in [
        (MediaType::CNAB_CONFIG, config),
        (manifest.media_type, Bytes::from(manifest_bytes)),
        (root.media_type.clone(), Bytes::from(root_bytes)),
    ] {
        store.push_bytes(media_type, bytes).await.unwrap();
    }
    let verified = Verified::by_consent(root.clone(), "a test");
    let installation = Installation {
        format: Format::CURRENT,
        name: "hello".parse().unwrap(),
        bundle: "greet".to_owned(),
        version: version.to_owned(),
        index: root,
        source: "a test".to_owned(),
        verification: verified.verification(),
        parameters: BTreeMap::new(),
        credentials: BTreeMap::new(),
        installed: "2026-01-01T00:00:00Z".to_owned(),
        exported: None,
        previous: None,
        earlier: Vec::new(),
    };
    (verified.open(&store).await.unwrap(), installation)
}

fn machine() -> Offers {
    Offers {
        cpus: 2.0,
        memory: 1 << 30,
        disk: 1 << 30,
        disk_classes: Vec::new(),
        gpus: BTreeMap::new(),
        network: true,
        containers: 2,
        notices: Vec::new(),
    }
}

/// S4: a proof goes with the bundle that it was made for, and a plan with the installation that holds this bundle.
#[tokio::test]
async fn only_the_installations_own_bundle_is_planned() {
    let none = BTreeMap::new();
    let (verified, installation) = bundle("1.0.0", json!({})).await;
    let (other, _) = bundle("2.0.0", json!({})).await;
    let error = plan(other, &installation, "greet", &none, &machine()).unwrap_err();
    assert!(matches!(error, PlanError::Replaced { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let plan = plan(verified, &installation, "greet", &none, &machine()).unwrap();
    assert!(matches!(plan.work, Work::Action));
    assert_eq!(plan.bundle.get().index, installation.index);
    assert_eq!(plan.parameters["who"].set_by, SetBy::Default);
    plan.admit().unwrap();
}

#[tokio::test]
async fn who_set_a_parameter() {
    let (verified, mut installation) = bundle("1.0.0", json!({})).await;
    let of = |text: &str| BTreeMap::from([("who".to_owned(), json!(text))]);
    installation.parameters = of("installation");
    let plan = plan(verified, &installation, "greet", &of("run"), &machine()).unwrap();
    let who = serde_json::to_value(&plan.parameters["who"]).unwrap();
    assert_eq!(who, json!({"value": "run", "setBy": "run"}));
}

/// Kinds whose form is not decided are refused, and not mistaken for bundles of another tool.
#[tokio::test]
async fn environments_and_addons_are_not_installed_yet() {
    for (key, word) in [(ENVIRONMENT, "an environment"), (ADDON, "an add-on")] {
        let (verified, installation) = bundle("1.0.0", json!({key: {}})).await;
        assert!(!verified.get().kind.runs_when_installed());
        let error = plan(verified, &installation, "install", &BTreeMap::new(), &machine()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(word) && text.contains("yet"), "{text}");
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
