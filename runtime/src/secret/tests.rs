//! Sources, credential sets and values.

use super::*;

#[derive(Debug)]
struct One(&'static str);

impl Answers for One {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        (name == "SET").then(|| self.0.as_bytes().to_vec())
    }

    fn ask(&self, _: &str, _: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(Some(self.0.as_bytes().to_vec()))
    }

    fn can_ask(&self) -> bool {
        true
    }
}

fn source(text: &str) -> CredentialSource {
    text.parse().unwrap()
}

#[test]
fn sources_are_read_as_they_are_written() {
    for text in [
        "env:TOKEN",
        "file:/a/b",
        "prompt:",
        "pass:work/db",
        "age:/x.age",
        "vault:secret/db#password",
        "kubernetes:ml/db#password",
    ] {
        assert_eq!(source(text).to_string(), text);
    }
    for text in [
        "",
        "hunter2",
        "env:",
        "file:",
        "prompt:x",
        "value:hunter2",
        "pass:",
    ] {
        assert!(text.parse::<CredentialSource>().is_err(), "{text}");
    }
    let below = |text: &str| source(text).below(Path::new("/here")).to_string();
    assert_eq!(below("file:a"), "file:/here/a");
    assert_eq!(below("age:a"), "age:/here/a");
    assert_eq!(below("pass:a"), "pass:a");
}

#[tokio::test]
async fn a_whole_secret_is_a_folder_or_a_json_object() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("user"), "me").unwrap();
    std::fs::write(folder.path().join("..data"), "hidden").unwrap();
    let wanted = SecretValue::Keys([("user".to_owned(), b"me".to_vec())].into());
    let of_folder = CredentialSource::File(folder.path().to_owned());
    let read = |source: CredentialSource, whole, answer: &'static str| async move {
        read("db", "", &source, whole, &One(answer)).await
    };
    assert_eq!(read(of_folder, true, "").await.unwrap(), wanted);
    assert_eq!(
        read(source("env:SET"), true, r#"{"user": "me"}"#).await.unwrap(),
        wanted
    );
    let one = read(source("prompt:"), false, "hunter2").await.unwrap();
    assert_eq!(one, SecretValue::One(b"hunter2".to_vec()));
    assert_eq!(format!("{one:?} {wanted:?}"), "a secret 1 secrets");
    for text in ["hunter2", "[1]", r#"{"a": {"hunter2": 1}}"#] {
        let error = read(source("env:SET"), true, text).await.unwrap_err().to_string();
        assert!(error.contains("db") && !error.contains("hunter2"), "{error}");
    }
    let error = read(source("env:UNSET"), false, "").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "credential db: the environment variable UNSET is not set"
    );
}

#[test]
fn a_credential_set_names_sources_and_no_values() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.json");
    let set = |text: &str| {
        std::fs::write(&file, text).unwrap();
        read_set(&file)
    };
    let found = set(
        r#"{"schemaVersion": "1.0.1", "name": "x", "credentials": [{"name": "a", "source": {"env": "A"}},
            {"name": "b", "source": {"path": "b.txt"}}, {"name": "c", "source": {"pass": "c"}}]}"#,
    );
    let found = found.unwrap();
    assert_eq!(found["a"], source("env:A"));
    assert_eq!(found["b"], CredentialSource::File(folder.path().join("b.txt")));
    assert_eq!(found["c"], source("pass:c"));
    for text in [
        r#"{"credentials": [{"name": "a", "source": {"value": "hunter2"}}]}"#,
        r#"{"credentials": [{"name": "a", "source": {}}]}"#,
        r#"{"credentials": "hunter2"}"#,
        "hunter2",
    ] {
        let error = set(text).unwrap_err().to_string();
        assert!(
            error.contains("is no credential set") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
