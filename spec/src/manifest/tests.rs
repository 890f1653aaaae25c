use serde_json::{Value, json};

use super::*;
use crate::Digest;
use crate::ImageConfig;
use crate::vectors;

const DIGEST: &str = "sha256:c86f7763873b6c0aae22d963bab59b4f5debbed6685761b5951584f6efb0633b";

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": DIGEST, "size": 7})
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
    })
}

fn with(mut base: Value, changes: Value) -> Vec<u8> {
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    base.to_string().into_bytes()
}

fn read(bytes: &[u8]) -> Result<Document, ManifestError> {
    Document::parse(bytes, &MediaType::OCI_MANIFEST)
}

#[test]
fn refuses_what_two_tools_read_as_two_things() {
    let both = with(manifest(), json!({"manifests": []}));
    assert!(matches!(
        read(&both),
        Err(ManifestError::Ambiguous { key: "manifests", .. })
    ));
    assert!(matches!(
        Document::parse(&both, &MediaType::OCI_INDEX),
        Err(ManifestError::MediaType { .. })
    ));
    let untyped = json!({"schemaVersion": 2, "manifests": [], "layers": []}).to_string();
    for expected in [
        MediaType::OCI_INDEX,
        MediaType::OCI_MANIFEST,
        MediaType::DOCKER_LIST,
    ] {
        assert!(matches!(
            Document::parse(untyped.as_bytes(), &expected),
            Err(ManifestError::Ambiguous { .. })
        ));
    }
    let case = with(manifest(), json!({"Layers": []}));
    assert!(matches!(
        read(&case),
        Err(ManifestError::Case { known: "layers", .. })
    ));
    let mut inner = manifest();
    inner["config"]["Digest"] = json!(DIGEST);
    let Err(ManifestError::Case { pointer, .. }) = read(inner.to_string().as_bytes()) else {
        panic!("accepted");
    };
    assert_eq!(pointer, "/config/Digest");
    let Err(ManifestError::Kind { .. }) = Document::parse(b"{}", &MediaType::OCI_CONFIG) else {
        panic!("accepted");
    };
}

#[test]
fn reads_what_is_in_the_wild() {
    let null = format!(
        "{{\"schemaVersion\":2,\"config\":{},\"layers\":null}}",
        descriptor("application/vnd.cnab.config.v1+json")
    );
    let document = read(null.as_bytes()).unwrap();
    assert_eq!(document.children().count(), 1);
    let docker = with(manifest(), json!({"mediaType": MediaType::DOCKER_MANIFEST}));
    assert!(Document::parse(&docker, &MediaType::DOCKER_MANIFEST).is_ok());
    assert!(read(&docker).is_err());
    let annotated = with(manifest(), json!({"annotations": {"Layers": "free"}}));
    assert!(read(&annotated).is_ok());
    for bad in [
        json!({"schemaVersion": 1}),
        json!({"schemaVersion": 2.0}),
        json!({"config": null}),
        json!({"layers": {}}),
        json!({"annotations": {"k": 1}}),
    ] {
        assert!(read(&with(manifest(), bad.clone())).is_err(), "{bad}");
    }
}

/// `null` is what Go writes for what is not there, and who only carries content needs no more than to find its parts.
#[test]
fn null_is_absent_and_what_is_carried_may_call_itself_anything() {
    let plain = read(&with(manifest(), json!({}))).unwrap();
    let nulls = json!({"mediaType": null, "artifactType": null, "subject": null, "annotations": null, "manifests": null});
    let mut null = with(manifest(), nulls);
    let mut value: Value = serde_json::from_slice(&null).unwrap();
    for field in ["urls", "annotations", "data", "platform", "artifactType"] {
        value["layers"][0][field] = json!(null);
    }
    null = value.to_string().into_bytes();
    let Document::Manifest(mut read_null) = read(&null).unwrap() else {
        panic!("an index");
    };
    read_null.media_type = Some(MediaType::OCI_MANIFEST);
    assert_eq!(Document::Manifest(read_null), plain);

    let mut free = manifest();
    free["mediaType"] = json!("");
    free["artifactType"] = json!("");
    free["layers"][0]["mediaType"] = json!("model");
    free["config"]["mediaType"] = json!("text/plain; charset=utf-8");
    free["config"]["annotations"] = json!({"gone": null, "kept": ""});
    let document = read(free.to_string().as_bytes()).unwrap();
    let config = document.children().next().unwrap();
    assert_eq!(
        config.annotations,
        BTreeMap::from([("kept".to_owned(), String::new())])
    );
    assert!(document.conforms().is_err() && plain.conforms().is_ok());
    free.as_object_mut().unwrap().remove("layers");
    assert_eq!(read(free.to_string().as_bytes()).unwrap().children().count(), 1);

    for platform in [
        json!({}),
        json!({"os": null}),
        json!({"architecture": "amd64", "os.features": null}),
        json!({"os": "linux", "architecture": "amd64", "os.features": null}),
    ] {
        let mut entry = descriptor(MediaType::OCI_MANIFEST.as_str());
        entry["platform"] = platform.clone();
        let index = json!({"schemaVersion": 2, "layers": null, "manifests": [entry]}).to_string();
        let index = Document::parse(index.as_bytes(), &MediaType::OCI_INDEX).unwrap();
        let whole = platform["os"].is_string() && platform["architecture"].is_string();
        assert_eq!(index.conforms().is_ok(), whole, "{platform}");
    }
}

#[test]
fn checks_inline_data_counts_and_sizes() {
    let good = json!({"mediaType": MediaType::OCI_EMPTY, "digest": Digest::sha256(b"{}"), "size": 2, "data": "e30="});
    assert!(read(&with(manifest(), json!({"config": good}))).is_ok());
    for (key, value) in [
        ("data", json!("e30")),
        ("data", json!("e319")),
        ("size", json!(3)),
        ("size", json!(-2)),
        ("size", json!(9.3e18)),
        ("size", json!(2.0)),
        ("urls", json!(["no uri"])),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(read(&with(manifest(), json!({"config": bad}))).is_err(), "{bad}");
    }
    let layers: Vec<_> = (0..limits::DESCRIPTORS)
        .map(|_| descriptor("text/plain"))
        .collect();
    assert!(matches!(
        read(&with(manifest(), json!({"layers": layers}))),
        Err(ManifestError::TooMany { count, .. }) if count == limits::DESCRIPTORS + 1
    ));
}

#[test]
fn an_artifact_manifest_has_its_blobs_and_its_subject() {
    let mut artifact = json!({
        "mediaType": MediaType::OCI_ARTIFACT, "artifactType": "application/vnd.x",
        "blobs": [descriptor("text/plain")], "subject": descriptor("application/vnd.oci.image.manifest.v1+json"),
    });
    let parse = |value: &Value| Document::parse(value.to_string().as_bytes(), &MediaType::OCI_ARTIFACT);
    let read = parse(&artifact).unwrap();
    assert_eq!(read.children().count(), 1);
    assert!(read.subject().is_some());
    assert_eq!(read.kind().unwrap().as_str(), "application/vnd.x");
    for key in ["manifests", "layers", "config", "fsLayers"] {
        let mut other = artifact.clone();
        other[key] = json!([]);
        assert!(
            matches!(parse(&other), Err(ManifestError::Ambiguous { .. })),
            "{key}"
        );
    }
    artifact["blobs"] = json!(null);
    assert_eq!(parse(&artifact).unwrap().children().count(), 0);
}

#[test]
fn serializes_in_gos_order_and_reads_back() {
    let mut made = Manifest::artifact(MediaType::CONTENT, Vec::new())
        .with_subject(Descriptor::empty())
        .with_annotation("k", "v");
    made.layers[0].data = Some("e30=".to_owned());
    let empty = "\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2";
    assert_eq!(
        String::from_utf8(made.to_bytes()).unwrap(),
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"artifactType\":\"application/vnd.samebundle.content.v1\",\"config\":{{{empty}}},\"layers\":[{{{empty},\"data\":\"e30=\"}}],\"subject\":{{{empty}}},\"annotations\":{{\"k\":\"v\"}}}}"
        )
    );
    assert_eq!(read(&made.to_bytes()).unwrap(), Document::Manifest(made.clone()));
    assert_eq!(made.descriptor().artifact_type, Some(MediaType::CONTENT));
    let index = Index::new(vec![made.descriptor()]);
    let parsed = Document::parse(&index.to_bytes(), &MediaType::OCI_INDEX).unwrap();
    assert_eq!(parsed, Document::Index(index));
}

/// Every field of a manifest removed, null, of another type or empty: an error or a document, never a panic.
#[test]
fn no_mutation_panics() {
    let base = manifest();
    let spoils = [
        json!(null),
        json!(""),
        json!({}),
        json!([]),
        json!(-1),
        json!("x".repeat(99)),
    ];
    let mut tried = 0;
    for pointer in [
        "/schemaVersion",
        "/mediaType",
        "/config",
        "/config/mediaType",
        "/config/digest",
        "/config/size",
        "/layers",
        "/layers/0",
        "/layers/0/digest",
    ] {
        for spoil in &spoils {
            let mut bad = base.clone();
            *bad.pointer_mut(pointer).unwrap() = spoil.clone();
            let got = read(bad.to_string().as_bytes());
            let free = matches!(pointer, "/layers" | "/mediaType" | "/config/mediaType");
            assert!(got.is_err() || free, "{pointer} {spoil}");
            tried += 1;
        }
    }
    assert_eq!(tried, 54);
}

/// Judges one file of image-spec's own tests by the kind of document that it is.
fn verdict(field: &str, bytes: &[u8]) -> Result<(), String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    match field {
        "manifest" => {
            let document = read(bytes).map_err(|error| words(&error))?;
            document.conforms().map_err(|error| words(&error))
        }
        "imageIndex" => Document::parse(bytes, &MediaType::OCI_INDEX)
            .and_then(|document| document.conforms())
            .map_err(|error| words(&error)),
        "descriptor" => json::from_slice::<Descriptor>(bytes, limits::MANIFEST_BYTES)
            .map_err(|error| words(&error))?
            .conforms()
            .map_err(|error| words(&error)),
        "config" => ImageConfig::parse(bytes).map(drop).map_err(|error| words(&error)),
        "imageLayout" => ImageLayout::parse(bytes).map(drop).map_err(|error| words(&error)),
        other => Err(format!("unknown kind {other}")),
    }
}

/// Digests by algorithms that are not registered are valid to image-spec and refused by us (`spec/200-wire.md`).
fn unregistered_digest(bytes: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    value["digest"]
        .as_str()
        .and_then(|digest| digest.split_once(':'))
        .is_some_and(|(algorithm, _)| algorithm != "sha256" && algorithm != "sha512")
}

#[test]
fn oci_image_spec_vectors() {
    let Some(folder) = vectors::folder("security/oci-image-spec/vectors") else {
        return;
    };
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let cases = index["vectors"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let fail = case["fail"].as_bool().unwrap() || unregistered_digest(&bytes);
        let got = verdict(case["field"].as_str().unwrap(), &bytes);
        println!(
            "{file}: wanted {}, got {got:?}",
            if fail { "refuse" } else { "accept" }
        );
        if got.is_err() != fail {
            wrong.push(file);
        }
    }
    assert!(!cases.is_empty() && wrong.is_empty(), "wrong: {wrong:?}");
}
