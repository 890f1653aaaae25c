//! The clients that people have push to our server and pull from it again.
//!
//! A client that cannot be had on this machine is skipped, printed with the reason. What counts is what the server has
//! afterwards: the same config, and layers that the client itself read back.

use std::path::PathBuf;
use std::process::Command;

use samebundle_tests::{DockerEngine, Ran, Registry, Sandbox, Test, cache, image, peer, skip, tell, tests};

pub(crate) const TESTS: &[Test] = tests![skopeo, crane, regctl, oras_py, docker, podman, containerd];

struct Place {
    sandbox: Sandbox,
    registry: Registry,
    layout: PathBuf,
}

impl Place {
    /// A server with an image that is there as `clients/seed:1`.
    fn new(client: &str) -> Option<Self> {
        let (Some(layout), Some(skopeo)) = (image("busybox"), peer("skopeo")) else {
            skip(&format!(
                "clients: {client}: no image or no skopeo to seed the server with (tests/setup)"
            ));
            return None;
        };
        let sandbox = Sandbox::new();
        let registry = Registry::own(&sandbox, &sandbox.home("server"));
        let place = Self {
            sandbox,
            registry,
            layout,
        };
        let to = format!("docker://{}", place.reference("seed"));
        let from = format!("oci:{}", place.layout.display());
        let _ = Ran::of(Command::new(skopeo).args(["copy", "--dest-tls-verify=false", &from, &to])).ok();
        Some(place)
    }

    fn reference(&self, name: &str) -> String {
        self.registry.reference(&format!("clients/{name}:1"))
    }

    fn manifest(&self, name: &str) -> serde_json::Value {
        let url = format!("http://{}/v2/clients/{name}/manifests/1", self.registry.address());
        let said = Ran::of(Command::new("curl").args(["-s", "-f", &url])).ok();
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// What the client pushed has the config of the seed.
    fn holds(&self, client: &str, version: &str) {
        let (seed, pushed) = (self.manifest("seed"), self.manifest(client));
        assert_eq!(pushed["config"]["digest"], seed["config"]["digest"], "{client}");
        let version = version.lines().next().unwrap_or_default().trim();
        tell(&format!("clients: {client} pushed and pulled ({version})"));
    }

    fn run(&self, program: &PathBuf, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", self.sandbox.path());
        Ran::of(&mut command).ok()
    }

    fn folder(&self, name: &str) -> String {
        self.sandbox.path().join(name).display().to_string()
    }
}

fn skopeo() {
    let Some(place) = Place::new("skopeo") else { return };
    let skopeo = peer("skopeo").unwrap();
    let (from, to) = (
        format!("oci:{}", place.layout.display()),
        format!("docker://{}", place.reference("skopeo")),
    );
    place.run(&skopeo, &["copy", "--dest-tls-verify=false", &from, &to]);
    let back = format!("oci:{}", place.folder("back"));
    place.run(&skopeo, &["copy", "--src-tls-verify=false", &to, &back]);
    place.holds("skopeo", &place.run(&skopeo, &["--version"]).stdout);
}

fn crane() {
    let Some(crane) = peer("crane") else {
        return skip("clients: crane was not built (tests/setup/peers)");
    };
    let Some(place) = Place::new("crane") else { return };
    let (folder, to) = (place.folder("layout"), place.reference("crane"));
    place.run(
        &crane,
        &["pull", "--format=oci", &place.reference("seed"), &folder],
    );
    place.run(&crane, &["push", &folder, &to]);
    place.run(&crane, &["pull", &to, &place.folder("back.tar")]);
    place.run(&crane, &["validate", "--remote", &to]);
    place.holds("crane", &place.run(&crane, &["version"]).stdout);
}

fn regctl() {
    let Some(regctl) = peer("regctl") else {
        return skip("clients: regctl was not built (tests/setup/peers)");
    };
    let Some(place) = Place::new("regctl") else { return };
    let host = format!("reg={},tls=disabled", place.registry.address());
    let (seed, to) = (place.reference("seed"), place.reference("regctl"));
    let local = format!("ocidir://{}:1", place.folder("layout"));
    for (from, to) in [
        (&seed, &local),
        (&local, &to),
        (&to, &format!("ocidir://{}:1", place.folder("back"))),
    ] {
        place.run(&regctl, &["--host", &host, "image", "copy", from, to]);
    }
    place.holds(
        "regctl",
        &place.run(&regctl, &["version", "--format", "{{.VCSTag}}"]).stdout,
    );
}

/// Pushes files as an artifact and pulls them again; it knows no images.
const ORAS: &str = "
import sys, oras.client, pathlib
address, folder = sys.argv[1:]
client = oras.client.OrasClient(hostname=address, insecure=True, tls_verify=False)
work = pathlib.Path(folder); (work / 'in').mkdir(parents=True)
(work / 'in' / 'model.txt').write_text('weights' * 1000)
target = address + '/clients/oras:1'
client.push(target=target, files=[str(work / 'in' / 'model.txt')], disable_path_validation=True)
client.pull(target=target, outdir=str(work / 'out'))
found = list((work / 'out').rglob('model.txt'))
assert found and found[0].read_text() == 'weights' * 1000, found
print(oras.__version__)
";

fn oras_py() {
    let python = cache().join("python/bin/python3");
    let has = python.is_file() && Ran::of(Command::new(&python).args(["-c", "import oras"])).code == 0;
    if !has {
        return skip("clients: oras-py is not installed (tests/setup/python)");
    }
    let Some(place) = Place::new("oras") else { return };
    let version = place.run(
        &python,
        &["-c", ORAS, &place.registry.address(), &place.folder("oras")],
    );
    let manifest = place.manifest("oras");
    assert_eq!(manifest["layers"][0]["size"], 7_000);
    tell(&format!(
        "clients: oras-py pushed and pulled ({})",
        version.stdout.trim()
    ));
}

fn docker() {
    let sandbox = Sandbox::new();
    let engine = match DockerEngine::start(&sandbox) {
        Ok(engine) => engine,
        Err(why) => return skip(&format!("clients: docker: {why}")),
    };
    let Some(place) = Place::new("docker") else { return };
    let (seed, to) = (place.reference("seed"), place.reference("docker"));
    let client = |arguments: &[&str]| engine.client(arguments).ok();
    let _ = client(&["pull", &seed]);
    let _ = client(&["tag", &seed, &to]);
    let _ = client(&["push", &to]);
    let _ = client(&["rmi", &seed, &to]);
    let _ = client(&["pull", &to]);
    place.holds(
        "docker",
        &client(&["version", "--format", "{{.Server.Version}}"]).stdout,
    );
}

fn podman() {
    let Some(podman) = peer("podman") else {
        return skip("clients: podman is not installed (tests/setup/packages clients)");
    };
    let Some(place) = Place::new("podman") else { return };
    let (root, run) = (place.folder("podman/root"), place.folder("podman/run"));
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&podman);
        command
            .args(["--root", &root, "--runroot", &run, "--storage-driver", "vfs"])
            .args(arguments)
            .env("HOME", place.sandbox.path());
        Ran::of(&mut command)
    };
    let works = call(&["images"]);
    if works.code != 0 {
        return skip(&format!(
            "clients: podman does not work here: {}",
            works.stderr.trim()
        ));
    }
    let (seed, to) = (place.reference("seed"), place.reference("podman"));
    let _ = call(&["pull", "--tls-verify=false", &seed]).ok();
    let _ = call(&["push", "--tls-verify=false", &seed, &to]).ok();
    let _ = call(&["rmi", &seed]).ok();
    let _ = call(&["pull", "--tls-verify=false", &to]).ok();
    place.holds("podman", &call(&["--version"]).ok().stdout);
}

fn containerd() {
    let sandbox = Sandbox::new();
    if peer("ctr").is_none() {
        return skip("clients: containerd is not installed (tests/setup/packages docker)");
    }
    // The engine brings a containerd of its own.
    let engine = match DockerEngine::start(&sandbox) {
        Ok(engine) => engine,
        Err(why) => return skip(&format!("clients: containerd: {why}")),
    };
    let Some(place) = Place::new("containerd") else {
        return;
    };
    let socket = engine.containerd().display().to_string();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(peer("ctr").unwrap());
        Ran::of(
            command
                .args(["--address", &socket, "--namespace", "samebundle"])
                .args(arguments),
        )
        .ok()
    };
    let (seed, to) = (place.reference("seed"), place.reference("containerd"));
    let pull = ["images", "pull", "--plain-http", "--snapshotter", "native"];
    let _ = call(&[&pull[..], &[&seed]].concat());
    let _ = call(&["images", "tag", &seed, &to]);
    let _ = call(&["images", "push", "--plain-http", &to]);
    let _ = call(&["images", "rm", "--sync", &seed, &to]);
    let _ = call(&[&pull[..], &[&to]].concat());
    place.holds("containerd", &call(&["--version"]).stdout);
}
