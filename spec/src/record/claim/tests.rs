use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::vectors;

#[test]
fn refuses_what_is_no_claim_or_result() {
    let claim = json!({"id": "1", "installation": "i", "revision": "r", "created": "t", "action": "install", "bundle": {}});
    assert!(Claim::parse(claim.to_string().as_bytes()).is_ok());
    for key in ["id", "installation", "revision", "created", "action", "bundle"] {
        let mut claim = claim.clone();
        claim.as_object_mut().unwrap().remove(key);
        assert!(Claim::parse(claim.to_string().as_bytes()).is_err(), "{key}");
    }
    let result = json!({"id": "1", "claimId": "2", "created": "t", "status": "succeeded"});
    assert!(ClaimResult::parse(result.to_string().as_bytes()).is_ok());
    for (key, value) in [
        ("status", json!("done")),
        ("outputs", json!([])),
        ("claimId", json!(1)),
    ] {
        let mut result = result.clone();
        result[key] = value;
        assert!(
            ClaimResult::parse(result.to_string().as_bytes()).is_err(),
            "{key}"
        );
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
}

/// Every claim and result of the vectors is read, and written with nothing lost.
#[test]
fn cnab_claim_vectors() {
    let Some(root) = vectors::folder("cnab") else {
        return;
    };
    let mut found = Vec::new();
    files(&root, &mut found);
    let mut seen = 0;
    for path in found {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(document) = json::value(&bytes, 1 << 20) else {
            continue;
        };
        // A schema names these fields as well, but under "properties".
        let written = if document.get("claimId").is_some() {
            ClaimResult::parse(&bytes).map(|result| result.to_bytes())
        } else if document.get("installation").is_some() && document.get("revision").is_some() {
            Claim::parse(&bytes).map(|claim| claim.to_bytes())
        } else {
            continue;
        };
        let written = written.unwrap();
        let mut again = json::value(&written, 1 << 20).unwrap();
        for (key, value) in document.as_object().unwrap() {
            // An empty map is left out.
            if value == &json!({}) && again.get(key).is_none() {
                again[key] = json!({});
            }
        }
        println!("{}: wanted no loss, got {}", path.display(), again == document);
        assert_eq!(again, document, "{}", path.display());
        seen += 1;
    }
    println!("{seen} claims and results");
    assert!(seen > 0);
}
