//! Every outside vector for Ed25519 gets the verdict of strict verification.
//!
//! The folder comes from `SAMEBUNDLE_VECTORS`. Each file with test cases under `security/` is recognised by
//! its form, not by its name; one line a case says which verdict was wanted and which was given.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{PublicKey, SigningKey};

/// One case: does this signature verify?
struct Case {
    id: String,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    wanted: bool,
}

/// The vectors' folder; none where it is not given or holds no vectors of this area.
fn folder() -> Option<PathBuf> {
    let folder = crate::vectors::folder("security")?;
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: there is no {}", folder.display());
    None
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The files in the folders below `root`, sorted.
fn files(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = folders
        .filter(|path| path.is_dir())
        .flat_map(|path| {
            std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        })
        .collect();
    files.sort();
    files
}

fn documents(root: &Path) -> Vec<(PathBuf, Value)> {
    let json = files(root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "json"));
    json.filter_map(|path| {
        let value = serde_json::from_slice(&std::fs::read(&path).unwrap()).ok()?;
        Some((path, value))
    })
    .collect()
}

fn strict(case: &Case) -> bool {
    PublicKey::from_bytes(&case.key).is_ok_and(|key| key.verifies(&case.message, &case.signature))
}

/// Prints and counts; fails with all that differ.
fn judge(set: &str, cases: Vec<Case>) {
    if cases.is_empty() {
        println!("skipped: {set}: the folder holds no cases of this form");
        return;
    }
    let word = |verifies| if verifies { "accept" } else { "refuse" };
    let mut wrong = Vec::new();
    for case in &cases {
        let got = strict(case);
        println!(
            "{set} {}: wanted {} got {}",
            case.id,
            word(case.wanted),
            word(got)
        );
        if got != case.wanted {
            wrong.push(&case.id);
        }
    }
    println!(
        "{set}: {} of {} as wanted",
        cases.len() - wrong.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "{set}: {wrong:?}");
}

#[derive(Deserialize)]
struct Expected {
    cctv_strict_accept: Vec<u64>,
    speccheck: Vec<(u64, bool, bool)>,
}

/// The verdicts that were measured; none where the folder has no such file.
fn expected(root: &Path) -> Option<Expected> {
    let found = std::fs::read_dir(root).unwrap().find_map(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).ok()?;
        serde_json::from_slice::<Expected>(&bytes).ok()
    });
    if found.is_none() {
        println!(
            "skipped: {} has no file with the expected verdicts",
            root.display()
        );
    }
    found
}

#[test]
fn vector_wycheproof_ed25519() {
    let Some(root) = folder() else { return };
    let mut cases = Vec::new();
    for (_, document) in documents(&root) {
        if document["schema"] != "eddsa_verify_schema_v1.json" {
            continue;
        }
        for group in document["testGroups"].as_array().unwrap() {
            assert_eq!(group["publicKey"]["curve"], "edwards25519");
            for test in group["tests"].as_array().unwrap() {
                let field = |name: &str| unhex(test[name].as_str().unwrap());
                cases.push(Case {
                    id: test["tcId"].to_string(),
                    key: unhex(group["publicKey"]["pk"].as_str().unwrap()),
                    message: field("msg"),
                    signature: field("sig"),
                    wanted: test["result"] == "valid",
                });
            }
        }
    }
    judge("wycheproof", cases);
}

#[test]
fn vector_cctv_ed25519() {
    let Some(root) = folder() else { return };
    let Some(Expected {
        cctv_strict_accept: accepted,
        ..
    }) = expected(&root)
    else {
        return;
    };
    let mut cases = Vec::new();
    for (_, document) in documents(&root) {
        let tests = document.as_array().into_iter().flatten();
        for test in tests.filter(|test| test["number"].is_u64() && test["sig"].is_string()) {
            let number = test["number"].as_u64().unwrap();
            cases.push(Case {
                id: number.to_string(),
                key: unhex(test["key"].as_str().unwrap()),
                message: test["msg"].as_str().unwrap().as_bytes().to_vec(),
                signature: unhex(test["sig"].as_str().unwrap()),
                wanted: accepted.contains(&number),
            });
        }
    }
    judge("cctv", cases);
}

#[test]
fn vector_ed25519_speccheck() {
    let Some(root) = folder() else { return };
    let Some(Expected {
        speccheck: verdicts, ..
    }) = expected(&root)
    else {
        return;
    };
    let mut cases = Vec::new();
    for (_, document) in documents(&root) {
        let tests = document.as_array().into_iter().flatten();
        for (number, test) in tests.enumerate().filter(|(_, test)| test["pub_key"].is_string()) {
            let field = |name: &str| unhex(test[name].as_str().unwrap());
            let verdict = verdicts.iter().find(|(at, ..)| *at == number as u64);
            cases.push(Case {
                id: number.to_string(),
                key: field("pub_key"),
                message: field("message"),
                signature: field("signature"),
                wanted: verdict.expect("a verdict for every case").2,
            });
        }
    }
    judge("speccheck", cases);
}

/// Lines of `seed‖key : key : message : signature‖message :`; signing gives the same bytes and they verify.
#[test]
fn vector_rfc8032_sign_input() {
    let Some(root) = folder() else { return };
    let mut cases = Vec::new();
    for path in files(&root)
        .iter()
        .filter(|path| path.to_string_lossy().ends_with("input.gz"))
    {
        let mut text = String::new();
        let file = std::fs::File::open(path).unwrap();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        for (number, line) in text.lines().enumerate() {
            let fields: Vec<Vec<u8>> = line.split(':').map(unhex).collect();
            let [pair, key, message, signed, _] = fields.as_slice() else {
                panic!("line {} has {} fields", number + 1, fields.len());
            };
            let seed = Zeroizing::new(<[u8; 32]>::try_from(&pair[..32]).unwrap());
            let signing = SigningKey::from_seed(&seed);
            assert_eq!(&signing.public().to_bytes(), key, "line {}", number + 1);
            assert_eq!(
                signing.sign(message).as_slice(),
                &signed[..64],
                "line {}",
                number + 1
            );
            cases.push(Case {
                id: format!("line {} (signing gives equal bytes)", number + 1),
                key: key.clone(),
                message: message.clone(),
                signature: signed[..64].to_vec(),
                wanted: true,
            });
        }
    }
    judge("rfc8032", cases);
}
