//! The cases A40 to A53 of cnab-spec 103, as far as they need no container.

use serde_json::json;

use super::*;
use crate::bundle::Bundle;

fn view(definition: Value, parameter: Value) -> View {
    let bundle = json!({
        "schemaVersion": "v1.2.0", "name": "t", "version": "1.0.0",
        "invocationImages": [{"image": "x"}],
        "definitions": {"d": definition, "s": {"type": "string"}},
        "parameters": {"p": parameter},
        "credentials": {
            "c": {"env": "C", "path": "home/c", "required": true, "applyTo": ["install", "io.cnab.help"]},
            "o": {"env": "O"}
        },
        "actions": {"io.cnab.help": {"stateless": true}},
    });
    Bundle::parse(bundle.to_string().as_bytes())
        .unwrap()
        .view()
        .clone()
}

fn both() -> Value {
    json!({"definition": "d", "destination": {"env": "P", "path": "var/p"}})
}

fn given(value: Option<Value>) -> BTreeMap<String, Value> {
    value.map(|value| ("p".to_owned(), value)).into_iter().collect()
}

/// Environment and file of the parameter after resolution.
fn placed(definition: Value, value: Option<Value>) -> Result<(String, String), ParameterError> {
    let resolved = resolve(&view(definition, both()), "install", &given(value), None)?;
    let file = resolved.injection.files["/var/p"].clone();
    Ok((
        resolved.injection.environment["P"].clone(),
        String::from_utf8(file).unwrap(),
    ))
}

#[test]
fn values_become_text() {
    let text = "\"quoted\"\nsecond <>& line \u{e9}";
    for (case, definition, value, wanted) in [
        (
            "A40 optional without default",
            json!({"type": "integer"}),
            None,
            "",
        ),
        ("A42 default", json!({"type": "integer", "default": 3}), None, "3"),
        (
            "A44 string verbatim",
            json!({"type": "string"}),
            Some(json!(text)),
            text,
        ),
        (
            "A45 boolean",
            json!({"type": "boolean"}),
            Some(json!(false)),
            "false",
        ),
        ("A45 number", json!({"type": "number"}), Some(json!(0.5)), "0.5"),
        (
            "A45 integer",
            json!({"type": "integer"}),
            Some(json!(1000)),
            "1000",
        ),
        (
            "A45 array",
            json!({"type": "array"}),
            Some(json!([1, "a<b"])),
            "[1,\"a<b\"]",
        ),
        (
            "A45 object",
            json!({"type": "object"}),
            Some(json!({"a": null})),
            "{\"a\":null}",
        ),
        ("A50 null", json!({"const": null}), Some(json!(null)), "null"),
    ] {
        // A41, A46, A47: file and variable both, the relative path from the root, empty where there is no value.
        assert_eq!(
            placed(definition, value),
            Ok((wanted.into(), wanted.into())),
            "{case}"
        );
    }
}

#[test]
fn what_does_not_do_is_named() {
    let mut required = both();
    required["required"] = json!(true);
    required["applyTo"] = json!(["install"]);
    let integer = view(json!({"type": "integer"}), required.clone());
    let none = BTreeMap::new();
    assert_eq!(
        resolve(&integer, "install", &none, None).unwrap_err(),
        ParameterError::Missing {
            name: "p".into(),
            action: "install".into()
        },
        "A43"
    );
    assert!(
        resolve(&integer, "upgrade", &none, None)
            .unwrap()
            .injection
            .files
            .is_empty(),
        "A43"
    );
    let defaulted = view(json!({"type": "integer", "default": 1}), required);
    assert!(resolve(&defaulted, "install", &none, None).is_ok(), "A42");
    let unknown = BTreeMap::from([("q".to_owned(), json!(1))]);
    assert!(
        matches!(
            resolve(&integer, "install", &unknown, None),
            Err(ParameterError::Unknown { .. })
        ),
        "A49"
    );
    let wrong = resolve(&integer, "install", &given(Some(json!("x"))), None);
    assert!(matches!(wrong, Err(ParameterError::Value { .. })), "A50");
    let spoiled = view(json!({"type": "integer", "default": "x"}), both());
    assert!(
        resolve(&spoiled, "install", &none, None).is_err(),
        "A17: a default that does not fit is not used"
    );
    let nul = resolve(
        &view(json!({}), both()),
        "install",
        &given(Some(json!("a\0b"))),
        None,
    );
    assert!(nul.is_err());
}

#[test]
fn installations_remember_and_fixed_values_hold() {
    let before = given(Some(json!(7)));
    let plain = view(json!({"type": "integer"}), both());
    let kept = resolve(&plain, "upgrade", &BTreeMap::new(), Some(&before)).unwrap();
    assert_eq!(kept.values["p"], json!(7));
    let changed = resolve(&plain, "upgrade", &given(Some(json!(8))), Some(&before)).unwrap();
    assert_eq!((changed.values["p"].clone(), changed.ignored), (json!(8), vec![]));
    let fixed = view(
        json!({"type": "integer", "readOnly": true, "writeOnly": true}),
        both(),
    );
    let held = resolve(&fixed, "upgrade", &given(Some(json!(8))), Some(&before)).unwrap();
    assert_eq!(
        (held.values["p"].clone(), held.ignored),
        (json!(7), vec!["p".to_owned()]),
        "A51"
    );
    assert!(held.secrets.contains("p"), "A52");
}

#[test]
fn credentials_are_placed_and_demanded() {
    let view = view(json!({}), both());
    let none = BTreeMap::new();
    assert!(matches!(
        place_credentials(&view, "install", &none),
        Err(ParameterError::MissingCredential { .. })
    ));
    assert!(
        place_credentials(&view, "upgrade", &none).is_ok(),
        "does not apply"
    );
    assert!(
        place_credentials(&view, "io.cnab.help", &none).is_ok(),
        "stateless"
    );
    let secret = BTreeMap::from([("c".to_owned(), b"s3".to_vec())]);
    let placed = place_credentials(&view, "io.cnab.help", &secret).unwrap();
    assert_eq!(
        (&*placed.environment["C"], &*placed.files["/home/c"]),
        ("s3", &b"s3"[..])
    );
    let mut parameters = Injection::default();
    parameters.environment.insert("P".to_owned(), "1".to_owned());
    let joined = parameters.clone().with_credentials(placed.clone()).unwrap();
    assert_eq!((joined.environment.len(), joined.files.len()), (2, 1));
    for place in ["C", "/home/c"] {
        let mut parameters = parameters.clone();
        if place == "C" {
            parameters.environment.insert(place.to_owned(), String::new());
        } else {
            parameters.files.insert(place.to_owned(), Vec::new());
        }
        let conflict = ParameterError::Conflict {
            place: place.to_owned(),
        };
        assert_eq!(parameters.with_credentials(placed.clone()), Err(conflict), "A19");
    }
    let binary = BTreeMap::from([("c".to_owned(), vec![0xff])]);
    assert!(matches!(
        place_credentials(&view, "install", &binary),
        Err(ParameterError::CredentialText { .. })
    ));
}
