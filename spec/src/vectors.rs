//! Where tests find vectors: those from outside, and our own (`spec/vectors`).

use std::path::{Path, PathBuf};

use crate::authoring;
use crate::{Bundle, Document, MediaType, canonical, json};

/// Returns a folder of the vectors that `SAMEBUNDLE_VECTORS` names; prints why a test is skipped where it is not set.
#[expect(
    clippy::disallowed_methods,
    reason = "tests take the folder of vectors from the environment"
)]
pub(crate) fn folder(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SAMEBUNDLE_VECTORS");
    if root.is_none() {
        println!("skipped: SAMEBUNDLE_VECTORS is not set");
    }
    root.map(|root| PathBuf::from(root).join(part))
}

/// Returns the name and bytes of every file in one folder of our own vectors.
fn own(part: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(part);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Reads a vector with the reader that its name begins with.
fn read(name: &str, bytes: &[u8]) -> Result<(), String> {
    match name.split('-').next().unwrap_or_default() {
        "bundle" => Bundle::parse(bytes)
            .and_then(|bundle| bundle.extension().map(drop))
            .map_err(|error| error.to_string()),
        "program" => authoring::parse(bytes)
            .map(drop)
            .map_err(|error| error.to_string()),
        "manifest" => Document::parse(bytes, &MediaType::OCI_MANIFEST)
            .map(drop)
            .map_err(|error| error.to_string()),
        "index" => Document::parse(bytes, &MediaType::OCI_INDEX)
            .map(drop)
            .map_err(|error| error.to_string()),
        "json" => json::value(bytes, 1 << 20)
            .map(drop)
            .map_err(|error| error.to_string()),
        other => panic!("no reader for {other}"),
    }
}

#[test]
fn our_own_vectors_get_their_verdict() {
    for (name, bytes) in own("accepted") {
        assert_eq!(read(&name, &bytes), Ok(()), "{name}");
    }
    // What makes each of them wrong is one thing; the message must not be about another.
    for (name, bytes) in own("rejected") {
        let got = read(&name, &bytes);
        println!("{name}: {got:?}");
        assert!(got.is_err(), "{name}");
    }
    for (name, bytes) in own("canonical") {
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let text = String::from_utf8(canonical::to_vec(&value).unwrap()).unwrap();
        assert_eq!(text.as_bytes(), bytes, "{name}");
    }
}
