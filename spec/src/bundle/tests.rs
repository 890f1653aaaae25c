//! The descriptor cases A01 to A23 of cnab-spec 101, and the bundles of the CNAB vectors.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::vectors;

fn minimal() -> Value {
    json!({
        "schemaVersion": "v1.2.0", "name": "a bundle", "version": "1.0.0",
        "invocationImages": [{"image": "x"}],
        "definitions": {"d": {"type": "string"}},
    })
}

fn parse(changes: &Value) -> Result<Bundle, BundleError> {
    let mut document = minimal();
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    Bundle::parse(document.to_string().as_bytes())
}

/// Where and why; a field that is missing has no place of its own.
fn refusal(changes: &Value) -> (String, String) {
    match parse(changes) {
        Ok(_) => panic!("accepted: {changes}"),
        Err(BundleError::Invalid { pointer, fault }) => (pointer, fault.to_string()),
        Err(BundleError::Json(error)) => (error.place.pointer.clone(), error.fault.to_string()),
        Err(error) => (String::new(), error.to_string()),
    }
}

fn parameter(destination: &Value) -> Value {
    json!({"parameters": {"p": {"definition": "d", "destination": destination}}})
}

fn output(path: &str) -> Value {
    json!({"outputs": {"o": {"definition": "d", "path": path}}})
}

#[test]
fn refuses_with_a_pointer() {
    for (case, changes, pointer) in [
        ("A01", json!({"invocationImages": []}), "/invocationImages"),
        ("A01", json!({"invocationImages": null}), "/invocationImages"),
        ("A02", json!({"name": ""}), "/name"),
        ("A02", json!({"version": null}), "/version"),
        ("A02", json!({"schemaVersion": ""}), "/schemaVersion"),
        ("A03", json!({"name": "a\tb"}), "/name"),
        ("A03", json!({"name": "a\nb"}), "/name"),
        ("A03", json!({"name": "a\u{202e}b"}), "/name"),
        ("A04", json!({"version": "1.0"}), "/version"),
        ("A04", json!({"version": "v1.0.0"}), "/version"),
        ("A05", json!({"schemaVersion": "v2.0.0"}), "/schemaVersion"),
        ("A05", json!({"schemaVersion": "99.99"}), "/schemaVersion"),
        ("A10", json!({"actions": {"install": {}}}), "/actions/install"),
    ] {
        let (at, why) = refusal(&changes);
        assert_eq!(at, pointer, "{case} {changes}: {why}");
    }
}

#[test]
fn refuses_places_and_definitions_with_a_pointer() {
    for (case, changes, pointer) in [
        ("A12", output("/cnab/app/outputs"), "/outputs/o/path"),
        ("A12", output("/cnab/app/outputs/"), "/outputs/o/path"),
        ("A12", output("/cnab/app/outputs/../x"), "/outputs/o/path"),
        ("A12", output("/cnab/app/outputs-foo/x"), "/outputs/o/path"),
        ("A12", output("cnab/app/outputs/x"), "/outputs/o/path"),
        ("A12", output("/tmp/x"), "/outputs/o/path"),
        (
            "A13",
            parameter(&json!({"path": "/cnab/app/outputs/x"})),
            "/parameters/p/destination",
        ),
        (
            "A13",
            parameter(&json!({"path": "cnab/app/./outputs//x"})),
            "/parameters/p/destination",
        ),
        (
            "A13",
            parameter(&json!({"path": "/a/../b"})),
            "/parameters/p/destination",
        ),
        (
            "A13",
            json!({"credentials": {"c": {"path": "/cnab/app/outputs/x"}}}),
            "/credentials/c",
        ),
        ("A14", parameter(&json!({})), "/parameters/p/destination"),
    ] {
        let (at, why) = refusal(&changes);
        assert_eq!(at, pointer, "{case} {changes}: {why}");
    }
}

#[test]
fn refuses_dangling_names_and_wrong_types_with_a_pointer() {
    for (case, changes, pointer) in [
        (
            "A15",
            json!({"credentials": {"c": {"required": true}}}),
            "/credentials/c",
        ),
        (
            "A16",
            json!({"outputs": {"o": {"definition": "x", "path": "/cnab/app/outputs/o"}}}),
            "/outputs/o/definition",
        ),
        (
            "A16",
            json!({"parameters": {"p": {"definition": "x", "destination": {"env": "P"}}}}),
            "/parameters/p/definition",
        ),
        (
            "A18",
            parameter(&json!({"env": "CNAB_ACTION"})),
            "/parameters/p/destination",
        ),
        (
            "A18",
            json!({"credentials": {"c": {"env": "CNAB_X"}}}),
            "/credentials/c",
        ),
        (
            "A21",
            json!({"requiredExtensions": ["io.x"]}),
            "/requiredExtensions",
        ),
        (
            "B14",
            json!({"definitions": {"d": {"$ref": "http://example.com/x"}}}),
            "/definitions/d",
        ),
        (
            "B15",
            json!({"parameters": {"p": {"definition": 1}}}),
            "/parameters/p/definition",
        ),
        ("B15", json!({"images": {"i": {"image": ""}}}), "/images/i/image"),
        ("B15", json!({"images": []}), "/images"),
    ] {
        let (at, why) = refusal(&changes);
        assert_eq!(at, pointer, "{case} {changes}: {why}");
    }
    for key in ["schemaVersion", "name", "version", "invocationImages"] {
        let mut document = minimal();
        document.as_object_mut().unwrap().remove(key);
        assert!(
            Bundle::parse(document.to_string().as_bytes()).is_err(),
            "A02 {key}"
        );
    }
    let twice = json!({"outputs": {
        "o": {"definition": "d", "path": "/cnab/app/outputs/x"},
        "p": {"definition": "d", "path": "/cnab/app/outputs//x"}}});
    assert_eq!(refusal(&twice).0, "/outputs/p/path", "A12");
}

#[test]
fn tells_of_parameters_at_the_place_of_a_credential() {
    let told = |parameter: Value, credential: Value| {
        let bundle = parse(&json!({
            "parameters": {"p": {"definition": "d", "destination": parameter, "applyTo": ["install"]}},
            "credentials": {"c": credential},
        }));
        matches!(bundle.unwrap().notices(), [Notice::Conflict { .. }])
    };
    assert!(told(json!({"env": "X"}), json!({"env": "X"})), "A19");
    assert!(told(json!({"path": "a/b"}), json!({"path": "/a//b"})), "A19");
    assert!(
        !told(json!({"env": "X"}), json!({"env": "X", "applyTo": ["upgrade"]})),
        "they never meet"
    );
}

#[test]
fn accepts_and_tells() {
    for version in ["v1", "1.2.0", "v1.2.0", "v1.0"] {
        let bundle = parse(&json!({"schemaVersion": version})).unwrap();
        assert_eq!(bundle.notices(), [], "A05 {version}");
    }
    for (case, changes, notice) in [
        (
            "A06",
            json!({"schemaVersion": "v1.2.0-WD"}),
            Notice::Draft("v1.2.0-WD".into()),
        ),
        (
            "A06",
            json!({"schemaVersion": "1.3.0"}),
            Notice::NewerMinor("1.3.0".into()),
        ),
        (
            "A07",
            json!({"extra": {"kept": 1}}),
            Notice::UnknownField("extra".into()),
        ),
        (
            "A20",
            json!({"requiredExtensions": ["io.x"], "custom": {"io.x": {}}}),
            Notice::Extension("io.x".into()),
        ),
    ] {
        assert_eq!(parse(&changes).unwrap().notices(), [notice], "{case}");
    }
    let spoiled = parse(&json!({"definitions": {"d": {"type": "string", "default": 1}}})).unwrap();
    assert!(matches!(spoiled.notices(), [Notice::Default { .. }]), "A17");
    let bundle = parse(&json!({
        "actions": {"io.x": {"title": "Kept"}}, "custom": {"com.x": {"a": [1]}},
        "parameters": {"p": {"definition": "d", "destination": {"path": "/cnab/app/outputs-foo"}}},
        "invocationImages": [{"image": "a", "imageType": "vm"}, {"image": "b"}, {"image": "c"}],
    }))
    .unwrap();
    let view = bundle.view();
    assert_eq!(view.actions["io.x"].title.as_deref(), Some("Kept"), "A11");
    assert_eq!(view.custom["com.x"], json!({"a": [1]}), "A08");
    assert_eq!(view.invocation_image().unwrap().image, "b", "A22, A09");
}

#[test]
fn keeps_the_bytes_and_composes_canonical_ones() {
    let text = " {\"version\":\"1.0.0\", \"x\":1e0,\"name\":\"n\",\"schemaVersion\":\"v1\",\"invocationImages\":[{\"image\":\"i\"}]}\n";
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    assert_eq!(bundle.raw(), text.as_bytes());
    assert_eq!(bundle.digest(), Digest::sha256(text.as_bytes()));
    let composed = Bundle::compose(bundle.view()).unwrap();
    assert_eq!(
        String::from_utf8_lossy(composed.raw()),
        "{\"invocationImages\":[{\"image\":\"i\"}],\"name\":\"n\",\"schemaVersion\":\"v1\",\"version\":\"1.0.0\"}"
    );
    assert_eq!(Bundle::compose(composed.view()).unwrap().raw(), composed.raw());
}

#[test]
fn reads_our_extension() {
    let with = |extension: Value| {
        parse(
            &json!({"images": {"content": {"image": "c"}}, "custom": {"dev.samebundle.program": extension}}),
        )
        .unwrap()
        .extension()
    };
    assert_eq!(parse(&json!({})).unwrap().extension().unwrap(), None);
    let good = json!({
        "apiVersion": "samebundle.dev/v1", "content": "content", "images": {"python:3.11": "content"}, "wheelhouse": true,
        "requires": {"resources": {"cpu": "2", "memory": "2Gi", "gpu": {"count": 1}, "disk": {"size": "1Gi", "class": "standard"}},
                     "rights": {"network": true}},
        "data": [{"name": "train", "uri": "s3://b/k", "size": 3,
                  "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],
    });
    let Some(Extension::Program(program)) = with(good.clone()).unwrap() else {
        panic!("a program")
    };
    assert_eq!(
        program.requires.resources.memory.as_ref().unwrap().units(),
        2 << 30
    );
    assert_eq!(program.requires.rights.asked(), [crate::signing::Right::Network]);
    assert_eq!(serde_json::to_value(&program).unwrap(), good);
    for (key, value, pointer) in [
        ("apiVersion", json!("samebundle.dev/v2"), "/apiVersion"),
        ("content", json!("gone"), "/content"),
        ("images", json!({"a/b": "gone"}), "/images/a~1b"),
        (
            "requires",
            json!({"resources": {"tpu": 1}}),
            "/requires/resources/tpu",
        ),
        (
            "data",
            json!([{"name": "x", "uri": "u", "size": 1, "digest": "md5:1"}]),
            "/data/0/digest",
        ),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        let at = match with(bad).unwrap_err() {
            BundleError::Invalid { pointer, .. } => pointer,
            BundleError::Json(error) => error.place.pointer,
            error @ BundleError::Canonical(_) => panic!("{error}"),
        };
        assert_eq!(at, format!("/custom/dev.samebundle.program{pointer}"));
    }
}

/// 6c: the key under `custom` tells the kind, and a bundle has one.
#[test]
fn the_extension_tells_the_kind() {
    let with = |custom: Value| parse(&json!({"custom": custom})).unwrap().extension();
    for (key, kind) in [
        (extension::ENVIRONMENT, Extension::Environment),
        (extension::ADDON, Extension::Addon),
    ] {
        assert_eq!(with(json!({key: {}, "com.x": {}})).unwrap(), Some(kind));
    }
    let error = with(json!({extension::ENVIRONMENT: {}, extension::ADDON: {}})).unwrap_err();
    assert!(error.to_string().contains("one kind"), "{error}");
}

/// Every place in a document, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(key, inner)| pointers(inner, &json::child(at, key), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, inner)| pointers(inner, &json::child(at, &index.to_string()), found)),
        _ => {}
    }
}

/// B15: every field null, of each other type, or empty is read or refused, never a panic.
#[test]
fn no_mutation_panics() {
    let whole: Value =
        serde_json::from_str(include_str!("../../vectors/accepted/bundle-program.json")).unwrap();
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    let spoils = [
        json!(null),
        json!(""),
        json!("x"),
        json!({}),
        json!([]),
        json!(-1),
        json!(0.5),
        json!(true),
        json!([[null]]),
        json!({"": null}),
    ];
    let (mut refused, mut read) = (0, 0);
    for place in &places {
        for spoil in &spoils {
            let mut spoiled = whole.clone();
            *spoiled.pointer_mut(place).unwrap() = spoil.clone();
            match Bundle::parse(spoiled.to_string().as_bytes()).and_then(|bundle| bundle.extension()) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    println!("{} places, {refused} refused, {read} read", places.len());
    assert!(refused > read && places.len() > 20);
}

fn json_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            json_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
}

/// What the specification itself says of a document: its JSON Schema, with unknown top-level fields left out, because
/// those may be ignored.
fn schema_verdict(
    schema: &jsonschema::Validator,
    properties: &Value,
    document: &Value,
) -> Result<(), String> {
    let mut known = document.clone();
    let object = known.as_object_mut().unwrap();
    // Go writes null for empty; the schema does not know that.
    object.retain(|key, value| properties.get(key).is_some() && !value.is_null());
    schema.validate(&known).map_err(|error| error.to_string())
}

/// Every bundle of the vectors: one that the official schema refuses is refused; one that it accepts is accepted, or
/// refused by a rule of the text that the schema does not hold.
#[test]
fn cnab_bundle_vectors() {
    let Some(root) = vectors::folder("cnab") else {
        return;
    };
    let schema: Value =
        serde_json::from_slice(&std::fs::read(root.join("spec-schema/bundle.schema.json")).unwrap()).unwrap();
    let validator = jsonschema::draft7::options().offline().build(&schema).unwrap();
    let mut files = Vec::new();
    json_files(&root, &mut files);
    let mut counts = [0; 3];
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(document) = json::value(&bytes, 1 << 20) else {
            continue;
        };
        if document.get("invocationImages").is_none() {
            continue;
        }
        let wanted = schema_verdict(&validator, &schema["properties"], &document);
        let got = Bundle::parse(&bytes);
        println!(
            "{}: wanted {wanted:?}, got {:?}",
            path.display(),
            got.as_ref().map(Bundle::notices)
        );
        match (wanted, got) {
            (Ok(()), Ok(bundle)) => {
                assert_eq!(bundle.raw(), bytes);
                counts[0] += 1;
            }
            (Ok(()), Err(error)) => {
                let text_only = matches!(&error, BundleError::Invalid { .. })
                    || error.to_string().contains("is not a semantic version");
                assert!(text_only, "{}: {error}", path.display());
                counts[1] += 1;
            }
            (Err(_), Err(_)) => counts[2] += 1,
            (Err(wanted), Ok(_)) => panic!("{}: accepted, but {wanted}", path.display()),
        }
    }
    println!(
        "accepted {}, refused by the text {}, refused by the schema {}",
        counts[0], counts[1], counts[2]
    );
    assert!(counts[0] > 0 && counts[1] > 0 && counts[2] > 0);
}
