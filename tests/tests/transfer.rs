//! Foreign tools carry a bundle: the digest stays, and where a tool drops the signatures the bundle is refused.

use std::process::Command;

use samebundle_spec::Digest;
use samebundle_tests::{Greet, Ran, Registry, Sandbox, Test, greet, peer, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    skopeo_copies_it_without_its_signature,
    crane_copies_it_without_its_signature,
    regctl_copies_it_with_its_signature,
    foreign_tools_push_and_pull_our_registry,
    skopeo_opens_an_export,
    cnab_to_oci_reads_what_we_push,
    what_cnab_to_oci_pushes_installs
];

struct Road {
    sandbox: Sandbox,
    from: Registry,
    to: Registry,
    greet: &'static Greet,
}

/// A bundle in one registry of Debian's, and an empty second one.
fn road(subject: &str) -> Option<Road> {
    let Some(greet) = greet() else {
        skip(&format!(
            "{subject}: the busybox image was not made (tests/setup/images)"
        ));
        return None;
    };
    let sandbox = Sandbox::new();
    let (Some(from), Some(to)) = (Registry::debian(&sandbox), Registry::debian(&sandbox)) else {
        skip(&format!(
            "{subject}: docker-registry is not installed (tests/setup/packages)"
        ));
        return None;
    };
    let publisher = greet.publisher(&sandbox);
    let pushed = publisher.ok(["push", "greet", &from.reference("team/greet:1.0.0")]);
    assert_eq!(pushed.digest(), greet.digest());
    Some(Road {
        sandbox,
        from,
        to,
        greet,
    })
}

impl Road {
    /// Let a foreign tool copy it; then install from the copy. Says whether the signature was there.
    fn by(&self, tool: &str, arguments: &[&str]) -> Option<Ran> {
        let Some(program) = peer(tool) else {
            skip(&format!("transfer: {tool} is not there (tests/setup)"));
            return None;
        };
        let _ = Ran::of(
            Command::new(program)
                .args(arguments)
                .env("HOME", self.sandbox.path()),
        )
        .ok();
        let home = self.greet.trusting(&self.sandbox, &format!("after-{tool}"));
        Some(home.run(["install", &self.to.reference("team/greet:1.0.0")]))
    }

    fn digest_at_the_end(&self) -> String {
        let home = self.sandbox.home("reader");
        home.ok(["inspect", &self.to.reference("team/greet:1.0.0")])
            .digest()
    }
}

fn skopeo_copies_it_without_its_signature() {
    let Some(road) = road("skopeo") else { return };
    let from = format!("docker://{}", road.from.reference("team/greet:1.0.0"));
    let to = format!("docker://{}", road.to.reference("team/greet:1.0.0"));
    let options = [
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    let Some(ran) = road.by("skopeo", &[&options[..], &[&from, &to]].concat()) else {
        return;
    };
    let ran = ran.exits(4);
    assert!(
        ran.stderr.contains("signature") || ran.stderr.contains("signed"),
        "{}",
        ran.stderr
    );
    assert_eq!(road.digest_at_the_end(), road.greet.digest());
    // With consent, or after our own copy has brought the signature, it installs.
    let _ = road.greet.trusting(&road.sandbox, "consent").ok([
        "install",
        &road.to.reference("team/greet:1.0.0"),
        "--allow-unsigned",
    ]);
    let home = road.greet.trusting(&road.sandbox, "after-copy");
    let places = [
        road.from.reference("team/greet:1.0.0"),
        road.to.reference("team/greet:1.0.0"),
    ];
    let _ = home.ok(["copy", &places[0], &places[1]]);
    let _ = home.ok(["install", &places[1]]);
}

fn crane_copies_it_without_its_signature() {
    let Some(road) = road("crane") else { return };
    let places = [
        road.from.reference("team/greet:1.0.0"),
        road.to.reference("team/greet:1.0.0"),
    ];
    let Some(ran) = road.by("crane", &["copy", "--insecure", &places[0], &places[1]]) else {
        return;
    };
    let _ = ran.exits(4);
    assert_eq!(road.digest_at_the_end(), road.greet.digest());
}

fn regctl_copies_it_with_its_signature() {
    let Some(road) = road("regctl") else { return };
    let Some(regctl) = peer("regctl") else {
        return skip("regctl: not built (tests/setup/peers)");
    };
    let home = road.sandbox.path().join("regctl");
    std::fs::create_dir_all(&home).unwrap();
    for registry in [&road.from, &road.to] {
        let mut set = Command::new(&regctl);
        set.args(["registry", "set", "--tls", "disabled", &registry.address()])
            .env("HOME", road.sandbox.path());
        let _ = Ran::of(&mut set).ok();
    }
    let places = [
        road.from.reference("team/greet:1.0.0"),
        road.to.reference("team/greet:1.0.0"),
    ];
    // docker-registry 2.8 has no referrers API: the signature is found by its fallback tag, which is a digest tag.
    let arguments = [
        "image",
        "copy",
        "--referrers",
        "--digest-tags",
        &places[0],
        &places[1],
    ];
    let Some(ran) = road.by("regctl", &arguments) else {
        return;
    };
    let _ = ran.ok();
    assert_eq!(road.digest_at_the_end(), road.greet.digest());
}

fn foreign_tools_push_and_pull_our_registry() {
    let Some(greet) = greet() else {
        return skip("transfer: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("team/greet:1.0.0");
    let _ = publisher.ok(["push", "greet", &place]);
    let copies = [
        (
            "skopeo",
            vec![
                "copy",
                "--all",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ],
            "docker://",
        ),
        ("crane", vec!["copy", "--insecure"], ""),
        ("regctl", vec!["image", "copy", "--referrers"], ""),
    ];
    for (tool, mut arguments, scheme) in copies {
        let Some(program) = peer(tool) else {
            skip(&format!("our registry: {tool} is not there (tests/setup)"));
            continue;
        };
        if tool == "regctl" {
            let mut set = Command::new(&program);
            set.args(["registry", "set", "--tls", "disabled", &registry.address()])
                .env("HOME", sandbox.path());
            let _ = Ran::of(&mut set).ok();
        }
        let copy = registry.reference(&format!("{tool}/greet:1.0.0"));
        let (from, to) = (format!("{scheme}{place}"), format!("{scheme}{copy}"));
        arguments.extend([from.as_str(), to.as_str()]);
        let _ = Ran::of(Command::new(program).args(&arguments).env("HOME", sandbox.path())).ok();
        assert_eq!(
            sandbox.home("reader").ok(["inspect", &copy]).digest(),
            greet.digest(),
            "{tool}"
        );
        if tool == "regctl" {
            let _ = greet.trusting(&sandbox, "after-regctl").ok(["install", &copy]);
        }
    }
}

fn skopeo_opens_an_export() {
    let Some(greet) = greet() else {
        return skip("transfer: the busybox image was not made (tests/setup/images)");
    };
    let Some(skopeo) = peer("skopeo") else {
        return skip("transfer: skopeo is not installed (tests/setup/packages)");
    };
    let sandbox = Sandbox::new();
    let home = greet.trusting(&sandbox, "home");
    let archive = sandbox.path().join("moved.tar");
    let _ = greet
        .publisher(&sandbox)
        .ok(["copy", "greet", archive.to_str().unwrap()]);
    let _ = home.ok(["install", archive.to_str().unwrap()]);
    let file = sandbox.path().join("greet.tgz");
    let _ = home.ok(["export", "greet", "--file", file.to_str().unwrap()]);
    // Its name in the file is its version. The gzip around the tar does not matter to skopeo.
    let from = format!("oci-archive:{}:1.0.0", file.display());
    let raw = Ran::of(Command::new(&skopeo).args(["inspect", "--raw", &from])).ok();
    assert_eq!(Digest::sha256(raw.stdout.as_bytes()).to_string(), greet.digest());

    let Some(registry) = Registry::debian(&sandbox) else {
        return skip("transfer: docker-registry is not installed (tests/setup/packages)");
    };
    let place = registry.reference("from/archive:1.0.0");
    let to = format!("docker://{place}");
    let copy = ["copy", "--all", "--dest-tls-verify=false", &from, &to];
    let _ = Ran::of(Command::new(&skopeo).args(copy).env("HOME", sandbox.path())).ok();
    let reader = greet.trusting(&sandbox, "reader");
    assert_eq!(reader.ok(["inspect", &place]).digest(), greet.digest());
    let _ = reader.run(["install", &place]).exits(4);
    let _ = reader.ok(["install", &place, "--allow-unsigned"]);
}

fn cnab_to_oci_reads_what_we_push() {
    let Some(road) = road("cnab-to-oci") else { return };
    let Some(tool) = peer("cnab-to-oci") else {
        return skip("cnab-to-oci: not built (tests/setup/peers)");
    };
    let out = road.sandbox.path().join("bundle.json");
    let mut pull = Command::new(&tool);
    pull.args(["pull", &road.from.reference("team/greet:1.0.0"), "--bundle"])
        .arg(&out);
    pull.arg("--relocation-map")
        .arg(road.sandbox.path().join("map.json"));
    pull.args(["--insecure-registries", &road.from.address()]);
    let _ = Ran::of(pull.env("HOME", road.sandbox.path())).ok();
    let bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    assert_eq!(
        (bundle["name"].as_str(), bundle["version"].as_str()),
        (Some("greet"), Some("1.0.0"))
    );
    assert!(
        bundle["custom"]["dev.samebundle.program"].is_object(),
        "our extension was lost: {bundle}"
    );
}

fn what_cnab_to_oci_pushes_installs() {
    let Some(road) = road("cnab-to-oci") else { return };
    let (Some(tool), Some(skopeo)) = (peer("cnab-to-oci"), peer("skopeo")) else {
        return skip("cnab-to-oci: not built (tests/setup/peers), or no skopeo");
    };
    let registry = &road.to;
    // The installation runs its run tool, so the image must have one: ours, under a foreign bundle.
    let image = registry.reference("foreign/invocation:1");
    let graph = road
        .greet
        .publisher(&road.sandbox)
        .ok(["inspect", "greet", "--output", "json"])
        .json();
    let mut nodes = graph["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["descriptor"]);
    let kind = "io.cnab.manifest.type";
    let ours = nodes
        .find(|node| node["annotations"][kind] == "invocation")
        .unwrap();
    let at = format!("team/greet@{}", ours["digest"].as_str().unwrap());
    let from = format!("docker://{}", road.from.reference(&at));
    let to = format!("docker://{image}");
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = ["copy", "--format", "v2s2", insecure[0], insecure[1], &from, &to];
    let _ = Ran::of(Command::new(skopeo).args(copy).env("HOME", road.sandbox.path())).ok();
    let bundle = serde_json::json!({
        "schemaVersion": "v1.0.0", "name": "foreign", "version": "0.1.0",
        "invocationImages": [{"imageType": "docker", "image": image}],
    });
    let file = road.sandbox.path().join("foreign.json");
    std::fs::write(&file, serde_json::to_vec(&bundle).unwrap()).unwrap();
    let place = registry.reference("foreign/app:v1");
    let mut push = Command::new(&tool);
    push.arg("push")
        .arg(&file)
        .args(["-t", &place, "--insecure-registries", &registry.address()]);
    push.args(["--auto-update-bundle", "--push-images=false"]);
    let pushed = Ran::of(push.env("HOME", road.sandbox.path())).ok();
    let told = format!("{}{}", pushed.stdout, pushed.stderr);
    let home = road.sandbox.home("foreign");
    let pulled = home.ok(["pull", &place, "--allow-unsigned"]).digest();
    assert!(
        told.contains(&pulled),
        "cnab-to-oci pushed another digest than {pulled}: {told}"
    );
    let _ = home.ok(["install", &place, "--allow-unsigned"]);
    let explained = home.ok(["explain", "foreign"]);
    assert!(explained.stdout.contains("foreign"), "{}", explained.stdout);
}
