//! cosign judges our signatures, and we judge those of cosign: versions 2 and 3, with the key alone and no network but the
//! registry.

use std::path::Path;
use std::process::Command;

use samebundle_tests::{Greet, Ran, Registry, Sandbox, Test, greet, peer, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    cosign_2_accepts_our_signature,
    cosign_3_accepts_our_signature,
    cosign_2_accepts_each_form_with_each_key,
    cosign_3_accepts_each_form_with_each_key,
    a_tag_signature_of_cosign_2_is_verified,
    a_bundle_of_cosign_3_is_verified,
    a_tag_signature_of_cosign_3_is_verified,
    a_key_of_cosign_2_signs_here,
    a_key_of_cosign_3_signs_here
];

/// cosign in the sandbox, where it can ask nobody but a registry on the loopback: nobody listens at its proxy.
fn offline(program: &Path, sandbox: &Sandbox) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", sandbox.path())
        .env("HTTPS_PROXY", "http://127.0.0.1:9");
    command
}

/// Lets a version of cosign verify a place; none, and a skip, where it was not built.
pub(crate) fn verify(tool: &str, key: &Path, place: &str, sandbox: &Sandbox) -> Option<Ran> {
    let Some(program) = peer(tool) else {
        skip(&format!("{tool}: not built (tests/setup/peers)"));
        return None;
    };
    let mut command = offline(&program, sandbox);
    command
        .args([
            "verify",
            "--insecure-ignore-tlog=true",
            "--allow-http-registry",
            "--key",
        ])
        .arg(key);
    if tool == "cosign2" {
        // Version 2.6 asks the network for sigstore's certificates as soon as there is a bundle, though a key needs none.
        let root = sandbox.path().join("trusted-root.json");
        let empty = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
        std::fs::write(&root, empty).unwrap();
        command.arg("--trusted-root").arg(root);
    }
    command.arg(place);
    Some(Ran::of(&mut command))
}

/// A registry with the bundle, and the place.
fn pushed(greet: &Greet, sandbox: &Sandbox, own: bool) -> Option<(Registry, String)> {
    let publisher = greet.publisher(sandbox);
    let registry = if own {
        Some(Registry::own(sandbox, &publisher))
    } else {
        Registry::debian(sandbox)
    };
    let Some(registry) = registry else {
        skip("cosign: docker-registry is not installed (tests/setup/packages)");
        return None;
    };
    let place = registry.reference("team/greet:1.0.0");
    let _ = publisher.ok(["push", "greet", &place]);
    Some((registry, place))
}

fn accepts(tool: &str) {
    let Some(greet) = greet() else {
        return skip("cosign: the busybox image was not made (tests/setup/images)");
    };
    for own in [false, true] {
        let sandbox = Sandbox::new();
        let Some((_registry, place)) = pushed(greet, &sandbox, own) else {
            continue;
        };
        let Some(ran) = verify(tool, &greet.key(), &place, &sandbox) else {
            return;
        };
        let said = ran.ok();
        let digest = greet.digest();
        assert!(
            format!("{}{}", said.stdout, said.stderr).contains(digest),
            "it verified something else: {said:?}"
        );
        // The same with another key is refused: the yes above says something.
        let other = sandbox.home("other");
        let _ = other.ok(["key", "generate", "--name", "other", "--no-passphrase"]);
        let key = sandbox.path().join("other.pub");
        let _ = other.ok(["key", "export", "other", "--file", key.to_str().unwrap()]);
        let refused = verify(tool, &key, &place, &sandbox).unwrap();
        assert_ne!(refused.code, 0, "{tool} accepts any key: {refused:?}");
    }
}

fn cosign_2_accepts_our_signature() {
    accepts("cosign2");
}

fn cosign_3_accepts_our_signature() {
    accepts("cosign3");
}

/// Each kind of key times each form of signature, the other form taken away.
fn accepts_each_form(tool: &str) {
    let (Some(greet), Some(crane)) = (greet(), peer("crane")) else {
        return skip("cosign: the busybox image or crane was not made (tests/setup)");
    };
    for algorithm in ["ed25519", "p256"] {
        let sandbox = Sandbox::new();
        let home = greet.publisher(&sandbox);
        let _ = home.ok(["build", text(&greet.sources(&sandbox)), "-t", "greet"]);
        let name = format!("by-{algorithm}");
        let made = [
            "key",
            "generate",
            "--algorithm",
            algorithm,
            "--name",
            &name,
            "--no-passphrase",
        ];
        let _ = home.ok(made);
        let key = sandbox.path().join("by.pub");
        let _ = home.ok(["key", "export", &name, "--file", text(&key)]);
        let _ = home.ok(["sign", "greet", "--key", &name]);
        let Some(registry) = Registry::debian(&sandbox) else {
            return skip("cosign: docker-registry is not installed (tests/setup/packages)");
        };
        let _ = home.ok(["push", "greet", &registry.reference("all:1")]);
        let copy = |from: &str, to: &str| {
            let mut command = Command::new(&crane);
            command.args(["copy", &registry.reference(from), &registry.reference(to)]);
            command.env_clear().env("HOME", sandbox.path());
            let _ = Ran::of(&mut command).ok();
        };
        let tag = greet.digest().replace(':', "-");
        // Debian's registry has no referrers API: the bundles are listed under a tag, and can be taken along alone.
        for (repository, beside) in [("tag", format!("{tag}.sig")), ("bundle", tag)] {
            copy("all:1", &format!("{repository}:1"));
            let place = registry.reference(&format!("{repository}:1"));
            let Some(none) = verify(tool, &key, &place, &sandbox) else {
                return;
            };
            assert_ne!(none.code, 0, "{algorithm}: crane took a signature along");
            copy(&format!("all:{beside}"), &format!("{repository}:{beside}"));
            let _ = verify(tool, &key, &place, &sandbox).unwrap().ok();
        }
    }
}

fn cosign_2_accepts_each_form_with_each_key() {
    accepts_each_form("cosign2");
}

fn cosign_3_accepts_each_form_with_each_key() {
    accepts_each_form("cosign3");
}

/// Lets cosign do something in the sandbox's folder.
fn cosign(program: &Path, sandbox: &Sandbox, password: &str, arguments: &[&str]) {
    let mut command = offline(program, sandbox);
    command.args(arguments).current_dir(sandbox.path());
    let _ = Ran::of(command.env("COSIGN_PASSWORD", password)).ok();
}

/// `options` choose the form that the version can write without a log.
fn is_verified(tool: &str, options: &[&str]) {
    let (Some(greet), Some(program)) = (greet(), peer(tool)) else {
        return skip(&format!("{tool}: not built, or no busybox image (tests/setup)"));
    };
    let sandbox = Sandbox::new();
    let home = sandbox.home("unsigned");
    let _ = home.ok(["build", text(&greet.sources(&sandbox)), "-t", "greet"]);
    let registry = Registry::own(&sandbox, &home);
    let place = registry.reference("team/greet:1.0.0");
    let _ = home.ok(["push", "greet", &place]);
    cosign(&program, &sandbox, "", &["generate-key-pair"]);
    let pinned = registry.reference(&format!("team/greet@{}", greet.digest()));
    let sign = [
        "sign",
        "--yes",
        "--key",
        "cosign.key",
        "--allow-http-registry",
        "--tlog-upload=false",
    ];
    cosign(&program, &sandbox, "", &[&sign[..], options, &[&pinned]].concat());
    let reader = sandbox.home("reader");
    let _ = reader.ok(["trust", "add", "them", text(&sandbox.path().join("cosign.pub"))]);
    let verified = |accept: &str| {
        let file = sandbox.path().join("policy.json");
        let rule = format!(r#"{{"keys":["them"],"accept":[{accept}]}}"#);
        let policy = format!(r#"{{"version":1,"default":"reject","scopes":{{"*":{rule}}}}}"#);
        std::fs::write(&file, policy).unwrap();
        reader.run(["verify", &place, "--policy", text(&file), "--output", "json"])
    };
    let said = verified(r#""cosign""#).ok().json();
    assert_eq!(
        (said["bare"].as_str(), said["digest"].as_str()),
        (Some("cosign"), Some(greet.digest()))
    );
    let _ = verified("").exits(4);
    let _ = verified(r#""notation""#).exits(4);
}

fn a_tag_signature_of_cosign_2_is_verified() {
    is_verified("cosign2", &[]);
}

fn a_bundle_of_cosign_3_is_verified() {
    is_verified(
        "cosign3",
        &["--use-signing-config=false", "--new-bundle-format=true"],
    );
}

fn a_tag_signature_of_cosign_3_is_verified() {
    is_verified(
        "cosign3",
        &["--use-signing-config=false", "--new-bundle-format=false"],
    );
}

/// A key pair of cosign signs here, under its password, and cosign verifies with the public half that it wrote itself.
fn lends_its_key(tool: &str) {
    let (Some(greet), Some(program)) = (greet(), peer(tool)) else {
        return skip(&format!("{tool}: not built, or no busybox image (tests/setup)"));
    };
    let sandbox = Sandbox::new();
    cosign(&program, &sandbox, "of cosign", &["generate-key-pair"]);
    let home = sandbox.home("borrower");
    let file = |name: &str, words: &str| {
        let path = sandbox.path().join(name);
        std::fs::write(&path, words).unwrap();
        path
    };
    let (right, wrong) = (file("right", "of cosign\n"), file("wrong", "of nobody\n"));
    let key = sandbox.path().join("cosign.key");
    let import = |password: &Path| {
        let import = [
            "key",
            "import",
            text(&key),
            "--name",
            "theirs",
            "--passphrase-file",
        ];
        home.run([&import[..], &[text(password)]].concat())
    };
    let refused = import(&wrong);
    assert_ne!(refused.code, 0, "imported with another password: {refused:?}");
    let _ = import(&right).ok();
    let _ = home.ok(["build", text(&greet.sources(&sandbox)), "-t", "greet"]);
    let sign = [
        "sign",
        "greet",
        "--key",
        "theirs",
        "--passphrase-file",
        text(&right),
    ];
    let _ = home.ok(sign);
    let registry = Registry::own(&sandbox, &home);
    let place = registry.reference("team/greet:1.0.0");
    let _ = home.ok(["push", "greet", &place]);
    let public = sandbox.path().join("cosign.pub");
    let _ = verify(tool, &public, &place, &sandbox).unwrap().ok();
}

fn a_key_of_cosign_2_signs_here() {
    lends_its_key("cosign2");
}

fn a_key_of_cosign_3_signs_here() {
    lends_its_key("cosign3");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
