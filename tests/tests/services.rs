//! What the other modules stand on: base images, a foreign registry, a Docker engine of our own.

use std::process::Command;

use samebundle_tests::{DockerEngine, Ran, Registry, Sandbox, Test, image, peer, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    a_foreign_registry_takes_the_base_images,
    an_engine_of_our_own_runs_a_container
];

fn a_foreign_registry_takes_the_base_images() {
    let sandbox = Sandbox::new();
    let (Some(registry), Some(skopeo)) = (Registry::debian(&sandbox), peer("skopeo")) else {
        return skip("services: docker-registry or skopeo is not installed (tests/setup/packages)");
    };
    for (name, tag) in [("busybox", "busybox:1"), ("python", "python:3.11")] {
        let Some(layout) = image(name) else {
            skip(&format!(
                "services: the {name} image was not made (tests/setup/images)"
            ));
            continue;
        };
        let from = format!("oci:{}:{tag}", layout.display());
        let to = format!("docker://{}", registry.reference(&format!("base/{tag}")));
        let copy = [
            "copy",
            "--preserve-digests",
            "--dest-tls-verify=false",
            &from,
            &to,
        ];
        let _ = Ran::of(Command::new(&skopeo).args(copy).env("HOME", sandbox.path())).ok();
    }
}

fn an_engine_of_our_own_runs_a_container() {
    let sandbox = Sandbox::new();
    let (Some(layout), Some(skopeo)) = (image("busybox"), peer("skopeo")) else {
        return skip("services: no busybox image or no skopeo (tests/setup)");
    };
    let engine = match DockerEngine::start(&sandbox) {
        Ok(engine) => engine,
        Err(why) => return skip(&format!("services: {why}")),
    };
    let archive = sandbox.path().join("busybox.tar");
    let from = format!("oci:{}:busybox:1", layout.display());
    let to = format!("docker-archive:{}:busybox:1", archive.display());
    let _ = Ran::of(
        Command::new(skopeo)
            .args(["copy", &from, &to])
            .env("HOME", sandbox.path()),
    )
    .ok();
    let _ = engine.client(&["load", "-i", archive.to_str().unwrap()]).ok();
    let words = "run --rm --network none -m 64m busybox:1 echo hello";
    let ran = engine.client(&words.split(' ').collect::<Vec<_>>()).ok();
    assert_eq!(ran.stdout.trim(), "hello");
    let folder = sandbox.path().join("docker");
    drop(engine);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(folder.to_str().unwrap()),
        "mounts are left: {mounts}"
    );
}
