//! Signatures that others read and that we read of others, and attestations beside a release.

use std::path::{Path, PathBuf};
use std::process::Command;

use samebundle_tests::{Greet, Home, Ran, Registry, Sandbox, Test, greet, image, peer, skip, tests};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    notation_accepts_our_p256_signature,
    a_signature_of_notation_suffices_where_the_policy_says_so,
    a_release_comes_with_provenance_and_a_bill_of_materials,
    the_bill_of_materials_names_the_packages_of_an_image
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn judge(sandbox: &Sandbox, arguments: &[&str]) -> Option<Ran> {
    let Some(program) = peer("notation-go-judge") else {
        skip("notation-go-judge: not built (tests/setup/peers)");
        return None;
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", sandbox.path())
        .env("HTTPS_PROXY", "http://127.0.0.1:9");
    Some(Ran::of(&mut command))
}

/// A policy that trusts one key of the home for everything.
fn policy(sandbox: &Sandbox, key: &str, more: &str) -> PathBuf {
    let file = sandbox.path().join("policy.json");
    let text = format!(r#"{{"version":1,"default":"reject","scopes":{{"*":{{"keys":["{key}"]{more}}}}}}}"#);
    std::fs::write(&file, text).unwrap();
    file
}

fn verified(home: &Home, place: &str, policy: &Path) -> Ran {
    home.run(["verify", place, "--policy", text(policy), "--output", "json"])
}

/// Our own server, and Debian's where it is installed: one has the referrers API, the other has not.
fn registries(sandbox: &Sandbox, home: &Home) -> Vec<Registry> {
    let debian = Registry::debian(sandbox);
    if debian.is_none() {
        skip("signatures: docker-registry is not installed (tests/setup/packages)");
    }
    std::iter::once(Registry::own(sandbox, home))
        .chain(debian)
        .collect()
}

/// A home with the greet bundle, unsigned.
fn unsigned(greet: &Greet, sandbox: &Sandbox) -> Home {
    let home = sandbox.home("unsigned");
    let _ = home.ok(["build", text(&greet.sources(sandbox)), "-t", "greet"]);
    home
}

fn notation_accepts_our_p256_signature() {
    let Some(greet) = greet() else {
        return skip("signatures: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = unsigned(greet, &sandbox);
    for name in ["ours", "other"] {
        let _ = home.ok([
            "key",
            "generate",
            "--algorithm",
            "p256",
            "--name",
            name,
            "--no-passphrase",
        ]);
        let file = sandbox.path().join(format!("{name}.pem"));
        let _ = home.ok(["key", "export", name, "--certificate", "--file", text(&file)]);
    }
    let _ = home.ok(["sign", "greet", "--key", "ours"]);
    for registry in registries(&sandbox, &home) {
        let _ = home.ok(["push", "greet", &registry.reference("team/greet:1.0.0")]);
        let place = registry.reference(&format!("team/greet@{}", greet.digest()));
        let certificate = sandbox.path().join("ours.pem");
        let Some(ran) = judge(&sandbox, &["verify", &place, text(&certificate)]) else {
            return;
        };
        assert_eq!(ran.ok().stdout.trim(), greet.digest());
        // The same with another key's certificate is refused: the yes above says something.
        let other = sandbox.path().join("other.pem");
        let refused = judge(&sandbox, &["verify", &place, text(&other)]).unwrap();
        assert_ne!(refused.code, 0, "notation accepts any key: {refused:?}");
        // The certificate that came along is the one that we export.
        let taken = sandbox.path().join("taken.pem");
        let _ = judge(&sandbox, &["certificate", &place, text(&taken)])
            .unwrap()
            .ok();
        assert_eq!(std::fs::read(taken).unwrap(), std::fs::read(certificate).unwrap());
    }
}

fn a_signature_of_notation_suffices_where_the_policy_says_so() {
    let Some(greet) = greet() else {
        return skip("signatures: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = unsigned(greet, &sandbox);
    let reader = sandbox.home("reader");
    let (key, certificate) = (sandbox.path().join("n.key"), sandbox.path().join("n.pem"));
    for registry in registries(&sandbox, &home) {
        let tagged = registry.reference("team/greet:1.0.0");
        let _ = home.ok(["push", "greet", &tagged]);
        let place = registry.reference(&format!("team/greet@{}", greet.digest()));
        let Some(ran) = judge(&sandbox, &["sign", &place, text(&key), text(&certificate)]) else {
            return;
        };
        let _ = ran.ok();
        if !reader.path().join("trust/keys/notation.pub").exists() {
            let _ = reader.ok([
                "trust",
                "add",
                "notation",
                text(&sandbox.path().join("n.key.pub")),
            ]);
        }
        let accepted = policy(&sandbox, "notation", r#","accept":["notation"]"#);
        let said = verified(&reader, &tagged, &accepted).ok().json();
        assert_eq!(said["bare"], "notation", "{said}");
        assert_eq!(said["digest"], greet.digest());
        assert_eq!(said["release"], Value::Null);
        for more in ["", r#","accept":["cosign"]"#] {
            let strict = policy(&sandbox, "notation", more);
            let _ = verified(&reader, &tagged, &strict).exits(4);
        }
        let _ = reader.run(["verify", &tagged]).exits(4);
    }
}

fn a_release_comes_with_provenance_and_a_bill_of_materials() {
    let Some(greet) = greet() else {
        return skip("signatures: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let documents = |home: &Home| {
        let said = home.ok(["inspect", "greet", "--output", "json"]).json();
        let referrers = said["referrers"].as_array().unwrap().clone();
        let plain = [
            "application/spdx+json",
            "application/vnd.samebundle.slsa.provenance.v1+json",
        ];
        let mut digests: Vec<String> = referrers
            .iter()
            .filter(|one| plain.contains(&one["artifactType"].as_str().unwrap_or_default()))
            .map(|one| one["digest"].as_str().unwrap().to_owned())
            .collect();
        digests.sort();
        digests
    };
    // The same bundle has the same documents, wherever it is built.
    let two = documents(&unsigned(greet, &sandbox));
    assert_eq!(two.len(), 2);
    assert_eq!(documents(&publisher), two);
    for registry in registries(&sandbox, &publisher) {
        let place = registry.reference("team/greet:1.0.0");
        let _ = publisher.ok(["push", "greet", &place]);
        let reader = greet.trusting(&sandbox, &format!("reader-{}", registry.id()));
        let said = reader.ok([
            "verify",
            &place,
            "--predicate",
            "slsa",
            "--predicate",
            "spdx",
            "--output",
            "json",
        ]);
        let said = said.json();
        let attested = said["attested"].as_array().unwrap();
        let kinds: Vec<_> = attested.iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["slsa", "spdx"]);
        assert_eq!(
            attested[0]["predicate"]["buildDefinition"]["buildType"],
            "https://samebundle.dev/build/v1"
        );
        assert_eq!(attested[1]["predicate"]["spdxVersion"], "SPDX-2.3");
        // An unsigned bundle with the same documents beside it has no attestation.
        let bare = registry.reference("team/unsigned:1.0.0");
        let _ = sandbox.home("unsigned").ok(["push", "greet", &bare]);
        let refused = reader.run(["verify", &bare, "--predicate", "slsa", "--allow-unsigned"]);
        let _ = refused.exits(4);
    }
}

fn the_bill_of_materials_names_the_packages_of_an_image() {
    let (Some(greet), Some(python)) = (greet(), image("python")) else {
        return skip("signatures: the images were not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let sources = greet.sources(&sandbox);
    std::fs::remove_dir_all(sources.join("images/busybox")).unwrap();
    std::os::unix::fs::symlink(&python, sources.join("images/busybox")).unwrap();
    let home = sandbox.home("python");
    let _ = home.ok(["build", text(&sources), "-t", "greet"]);
    let _ = home.ok(["key", "generate", "--name", "release", "--no-passphrase"]);
    let _ = home.ok(["sign", "greet", "--key", "release"]);
    let said = home
        .ok(["verify", "greet", "--predicate", "spdx", "--output", "json"])
        .json();
    let packages = said["attested"][0]["predicate"]["packages"].as_array().unwrap();
    let libc = packages.iter().find(|one| one["name"] == "libc6");
    let libc = libc.unwrap_or_else(|| panic!("no libc6 among {} packages", packages.len()));
    let locator = libc["externalRefs"][0]["referenceLocator"].as_str().unwrap();
    assert!(locator.starts_with("pkg:deb/debian/libc6@"), "{locator}");
}
