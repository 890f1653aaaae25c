//! Across the gap: what a site signs about a bundle that reached it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use samebundle_tests::{Greet, Home, Ran, Sandbox, greet, peer, skip};

/// A bundle in a file, as it leaves its publisher.
struct Gap {
    sandbox: Sandbox,
    greet: &'static Greet,
    archive: PathBuf,
}

fn gap(subject: &str) -> Option<Gap> {
    let Some(greet) = greet() else {
        skip(&format!(
            "{subject}: the busybox image was not made (tests/setup/images)"
        ));
        return None;
    };
    let sandbox = Sandbox::new();
    let archive = sandbox.path().join("greet.tar");
    let _ = greet.publisher(&sandbox).ok(["copy", "greet", text(&archive)]);
    Some(Gap {
        sandbox,
        greet,
        archive,
    })
}

impl Gap {
    /// A site that trusts the publisher and has a key of its own, which is returned.
    fn site(&self, name: &str) -> (Home, PathBuf) {
        let home = self.greet.trusting(&self.sandbox, name);
        let _ = home.ok(["key", "generate", "--no-passphrase"]);
        let key = self.sandbox.path().join(format!("{name}.pub"));
        let _ = home.ok(["key", "export", "--file", text(&key)]);
        (home, key)
    }

    /// What the publisher reads in a receipt.
    fn read(&self, receipt: &Path, key: &Path) -> Ran {
        let outside = self.sandbox.home("outside");
        outside.run(["receipt", text(receipt), "--key", text(key), "--output", "json"])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The digests of everything in a plain archive.
fn blobs(archive: &Path) -> BTreeSet<String> {
    let mut archive = tar::Archive::new(File::open(archive).unwrap());
    let names = archive.entries().unwrap();
    let names = names.map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned());
    let digests = names.filter_map(|name| Some(name.strip_prefix("blobs/")?.replace('/', ":")));
    digests.collect()
}

fn held(receipt: &serde_json::Value) -> BTreeSet<String> {
    let held = receipt["held"].as_array().unwrap();
    let digests = held.iter().map(|one| one["digest"].as_str().unwrap().to_owned());
    digests.collect()
}

#[test]
fn an_import_signs_what_the_site_now_holds() {
    let Some(gap) = gap("receipt") else { return };
    let (site, key) = gap.site("island");
    let imported = site.ok(["import", text(&gap.archive), "--output", "json"]).json();
    // The usual place: by the bundle's digest, in the home.
    let file = PathBuf::from(imported["receipt"].as_str().unwrap());
    let hex = gap.greet.digest().strip_prefix("sha256:").unwrap();
    assert_eq!(file, site.path().join(format!("receipts/{hex}.json")));
    let receipt = gap.read(&file, &key).ok().json();
    assert_eq!(receipt["digest"], gap.greet.digest());
    assert_eq!(receipt["passed"], true);
    assert_eq!(receipt["verification"]["keys"][0], "release");
    assert_eq!(held(&receipt), blobs(&gap.archive));
    assert!(held(&receipt).len() > 8, "signatures and layers are in it");
    // By another key it is nobody's word.
    let (_, other) = gap.site("elsewhere");
    let _ = gap.read(&file, &other).exits(4);
    // The home's own trust is enough where the site's key is in it.
    let _ = site.ok(["receipt", text(&file)]);
}

#[test]
fn without_a_key_an_import_says_that_there_is_no_receipt() {
    let Some(gap) = gap("receipt") else { return };
    let site = gap.greet.trusting(&gap.sandbox, "island");
    let imported = site.ok(["import", text(&gap.archive), "--output", "json"]);
    assert!(imported.json()["receipt"].is_null());
    assert!(
        imported.stderr.contains("no receipt is written"),
        "{}",
        imported.stderr
    );
    // One that is asked for by name is not left out in silence, and nothing is imported before.
    let other = gap.greet.trusting(&gap.sandbox, "other");
    let refused = other.run(["import", text(&gap.archive), "--receipt", "r.json"]);
    let _ = refused.exits(5);
    assert!(
        other
            .ok(["list", "--output", "json"])
            .stdout
            .find("greet")
            .is_none()
    );
}

#[test]
fn a_boundary_signs_what_it_refuses_and_what_is_taken_by_consent() {
    let Some(gap) = gap("receipt") else { return };
    let (site, key) = gap.site("boundary");
    let receipt = gap.sandbox.path().join("r.json");
    let verify = |home: &Home, more: &[&str]| {
        home.run(
            [
                &["verify", text(&gap.archive), "--receipt", text(&receipt)][..],
                more,
            ]
            .concat(),
        )
    };
    let _ = verify(&site, &[]).ok();
    let read = gap.read(&receipt, &key).ok().json();
    assert_eq!(read["passed"], true);
    assert_eq!(held(&read), BTreeSet::new(), "it was looked at, not taken in");
    let _ = site.ok(["trust", "remove", "release"]);
    let _ = verify(&site, &[]).exits(4);
    let read = gap.read(&receipt, &key).ok().json();
    assert_eq!(read["passed"], false);
    assert!(
        read["refusal"].as_str().unwrap().contains("not trusted"),
        "{read}"
    );
    let _ = verify(&site, &["--allow-unsigned"]).ok();
    let read = gap.read(&receipt, &key).ok().json();
    assert_eq!(
        (read["passed"].as_bool(), read["verification"]["by"].as_str()),
        (Some(false), Some("consent"))
    );
}

#[test]
fn cosign_reads_a_receipt_as_a_verification_summary() {
    let Some(gap) = gap("receipt") else { return };
    let Some(cosign) = peer("cosign3") else {
        return skip("cosign3: not built (tests/setup/peers)");
    };
    let (site, key) = gap.site("island");
    let receipt = gap.sandbox.path().join("r.json");
    let _ = site.ok(["import", text(&gap.archive), "--receipt", text(&receipt)]);
    let verify = |digest: &str, kind: &str| {
        let mut command = Command::new(&cosign);
        command.args(["verify-blob-attestation", "--insecure-ignore-tlog=true", "--key"]);
        command.arg(&key).arg("--bundle").arg(&receipt);
        command.args(["--type", kind, "--digestAlg", "sha256", "--digest", digest]);
        command
            .env_clear()
            .env("HOME", gap.sandbox.path())
            .env("HTTPS_PROXY", "http://127.0.0.1:9");
        Ran::of(&mut command)
    };
    let hex = gap.greet.digest().strip_prefix("sha256:").unwrap();
    let summary = "https://slsa.dev/verification_summary/v1";
    let _ = verify(hex, summary).ok();
    let zeros = "0".repeat(64);
    assert_ne!(verify(&zeros, summary).code, 0, "it is about another bundle");
    assert_ne!(verify(hex, "slsaprovenance1").code, 0, "it is of another type");
}
