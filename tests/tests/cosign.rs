//! cosign judges our signatures: versions 2 and 3, with the key alone and no network but the registry.

use std::process::Command;

use samebundle_tests::{Greet, Ran, Registry, Sandbox, greet, peer, skip};

fn verify(tool: &str, key: &std::path::Path, place: &str, sandbox: &Sandbox) -> Option<Ran> {
    let Some(program) = peer(tool) else {
        skip(&format!("{tool}: not built (tests/setup/peers)"));
        return None;
    };
    let mut command = Command::new(program);
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
    // A proxy where nobody listens: cosign can ask nobody but the registry on the loopback.
    command
        .env_clear()
        .env("HOME", sandbox.path())
        .env("HTTPS_PROXY", "http://127.0.0.1:9");
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

#[test]
fn cosign_2_accepts_our_signature() {
    accepts("cosign2");
}

#[test]
fn cosign_3_accepts_our_signature() {
    accepts("cosign3");
}
