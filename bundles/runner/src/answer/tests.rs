use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

const REQUIRED: [(&str, &str); 3] = [
    ("CNAB_INSTALLATION_NAME", "mine"),
    ("CNAB_BUNDLE_NAME", "digits"),
    ("CNAB_BUNDLE_VERSION", "1.0.0"),
];

struct Root(PathBuf);

impl Root {
    fn new(name: &str, bundle: &[u8]) -> Self {
        let root = std::env::temp_dir().join(format!("samebundle-runner-{}-{name}", std::process::id()));
        fs::create_dir_all(root.join("cnab")).unwrap();
        fs::write(root.join("cnab/bundle.json"), bundle).unwrap();
        Self(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bundle() -> Value {
    json!({
        "schemaVersion": "v1.2.0", "name": "digits", "version": "1.0.0", "description": "Learns to read digits",
        "invocationImages": [{"image": "x"}],
        "images": {"python": {"image": "python:3.11", "contentDigest": "sha256:aa"}},
        "definitions": {
            "epochs": {"type": "integer", "default": 10, "minimum": 1, "description": "Passes over the data"},
            "token": {"type": "string", "default": "hunter2", "writeOnly": true},
            "rate": {"type": "number"}
        },
        "parameters": {
            "epochs": {"definition": "epochs", "destination": {"env": "SAMEBUNDLE_P_EPOCHS"}},
            "token": {"definition": "token", "destination": {"env": "SAMEBUNDLE_P_TOKEN"}},
            "rate": {"definition": "rate", "destination": {"path": "/cnab/app/rate"}, "required": true}
        },
        "actions": {"run": {"modifies": true, "description": "Runs the pipeline"}},
        "custom": {"dev.samebundle.program": {"requires": {"resources": {"cpu": 2}}}}
    })
}

fn ask(root: &Path, action: &str, given: &[(&str, &str)]) -> Result<String, CallError> {
    let variable = |name: &str| {
        let all = REQUIRED.iter().chain(given);
        let found = all.into_iter().find(|(key, _)| *key == name);
        let value = if name == "CNAB_ACTION" {
            Some(action)
        } else {
            found.map(|(_, value)| *value)
        };
        value.map(str::to_owned)
    };
    Call::read(root, variable).and_then(|call| answer(&call))
}

#[test]
fn the_three_core_actions_succeed_and_say_how_to_run() {
    let root = Root::new("core", bundle().to_string().as_bytes());
    for action in ["install", "upgrade"] {
        let text = ask(&root.0, action, &[]).unwrap();
        assert!(text.contains("digits 1.0.0 as mine"), "{text}");
        assert!(text.contains("samebundle run mine"), "{text}");
    }
    assert!(
        ask(&root.0, "uninstall", &[])
            .unwrap()
            .contains("nothing is left")
    );
}

#[test]
fn help_names_parameters_outputs_images_and_no_secret() {
    let root = Root::new("help", bundle().to_string().as_bytes());
    let text = ask(&root.0, "io.cnab.help", &[]).unwrap();
    for words in [
        "Learns to read digits",
        "samebundle run mine --epochs=10",
        "epochs  integer, default 10, Passes over the data",
        "rate    number, required",
        "python:3.11  sha256:aa",
        "Runs the pipeline",
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn dry_run_shows_values_given_defaults_and_no_secret() {
    let root = Root::new("dry", bundle().to_string().as_bytes());
    fs::create_dir_all(root.0.join("cnab/app")).unwrap();
    fs::write(root.0.join("cnab/app/rate"), "0.5").unwrap();
    let given = [("SAMEBUNDLE_P_EPOCHS", "30"), ("SAMEBUNDLE_P_TOKEN", "s3cret")];
    let text = ask(&root.0, "io.cnab.dry-run", &given).unwrap();
    for words in [
        "epochs  30",
        "rate    0.5",
        "token   given, secret",
        r#"requires: {"resources":{"cpu":2}}"#,
    ] {
        assert!(text.contains(words), "no {words:?} in:\n{text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("hunter2"), "{text}");
    let text = ask(&root.0, "io.cnab.dry-run", &[("SAMEBUNDLE_P_EPOCHS", "10")]).unwrap();
    assert!(text.contains("epochs  10 (default)"), "{text}");
    assert!(text.contains("token   default, secret"), "{text}");
}

#[test]
fn status_writes_the_output_of_cnab_804() {
    let root = Root::new("status", bundle().to_string().as_bytes());
    let said = ask(&root.0, "io.cnab.status", &[]).unwrap();
    assert!(said.starts_with("Ready: "), "{said}");
    let path = root.0.join("cnab/app/outputs/status");
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["status"], "Ready");
    let said = ask(&root.0, "io.cnab.status+json", &[]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), written);
}

#[test]
fn run_and_unknown_actions_are_refused_with_their_reason() {
    let root = Root::new("refused", bundle().to_string().as_bytes());
    let refusal = ask(&root.0, "run", &[]).unwrap_err();
    assert_eq!(refusal.kind().exit_code(), 3);
    assert!(refusal.to_string().contains("needs samebundle"), "{refusal}");
    let refusal = ask(&root.0, "frobnicate", &[]).unwrap_err();
    assert_eq!(refusal.kind().exit_code(), 2);
    assert!(refusal.to_string().contains("io.cnab.help"), "{refusal}");
}

#[test]
fn what_is_not_a_call_is_refused() {
    let root = Root::new("bad", b"{");
    assert_eq!(ask(&root.0, "install", &[]).unwrap_err().kind().exit_code(), 1);
    for (name, bytes) in [
        ("twice", &br#"{"name":"a","name":"b"}"#[..]),
        ("list", b"[]"),
        ("tail", b"{} {}"),
    ] {
        let root = Root::new(name, bytes);
        assert_eq!(
            ask(&root.0, "install", &[]).unwrap_err().kind().exit_code(),
            1,
            "{name}"
        );
    }
    let refusal = Call::read(&root.0, |_| None).unwrap_err();
    assert!(refusal.to_string().contains("CNAB_ACTION"), "{refusal}");
    let absent = ask(Path::new("/nonexistent"), "install", &[]).unwrap_err();
    assert!(absent.to_string().contains("bundle.json"), "{absent}");
}
