//! Across the gap: what a site signs about a bundle that reached it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use samebundle_spec::{Algorithm, Descriptor, Digester, Index, Manifest, MediaType};
use samebundle_tests::{Greet, Home, Ran, Registry, Running, Sandbox, Test, greet, peer, skip, tell, tests};

pub(crate) const TESTS: &[Test] = tests![
    an_import_signs_what_the_site_now_holds,
    without_a_key_an_import_says_that_there_is_no_receipt,
    a_boundary_signs_what_it_refuses_and_what_is_taken_by_consent,
    nothing_at_the_boundary_opens_a_socket,
    volumes_cross_the_gap_though_some_are_lost,
    volumes_take_less_than_64_mib_of_memory,
    cosign_reads_a_receipt_as_a_verification_summary
];

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

/// How a command reaches for a network, as strace tells. tokio tells its own threads of signals through a pair of sockets
/// within the process (`socketpair`), which is none of these calls.
fn reaches(gap: &Gap, home: &Home, arguments: &[&str]) -> (i32, Vec<String>) {
    let record = gap.sandbox.path().join("strace.log");
    let command = home.command(arguments);
    let mut strace = Command::new("strace");
    let calls = "trace=socket,connect,bind,listen,accept,accept4";
    strace.args(["-f", "-qq", "-e", calls, "-e", "signal=none", "-o"]);
    strace.arg(&record).arg("--").arg(command.get_program());
    strace.args(command.get_args());
    home.furnish(&mut strace);
    let ran = Ran::of(&mut strace);
    let record = std::fs::read_to_string(record).unwrap();
    (ran.code, record.lines().map(str::to_owned).collect())
}

fn nothing_at_the_boundary_opens_a_socket() {
    let Some(gap) = gap("boundary") else { return };
    if !samebundle_tests::strace::available() {
        return skip("boundary: strace cannot trace here (tests/setup/packages)");
    }
    let (site, key) = gap.site("boundary");
    let volumes = gap.sandbox.path().join("cut.tgz");
    let cut = [
        "copy",
        "greet",
        text(&volumes),
        "--volume-size",
        "200kB",
        "--parity",
        "1",
    ];
    let _ = gap.greet.publisher(&gap.sandbox).ok(cut);
    let receipt = gap.sandbox.path().join("r.json");
    for arguments in [
        vec!["verify", text(&gap.archive)],
        vec!["verify", text(&volumes), "--receipt", text(&receipt)],
        vec!["receipt", text(&receipt), "--key", text(&key)],
        vec!["import", text(&volumes)],
    ] {
        let (code, calls) = reaches(&gap, &site, &arguments);
        assert_eq!(code, 0, "{arguments:?}");
        // An import also looks what containers can be run here; the driver's helper asks the kernel for a loopback in a
        // namespace of its own, by netlink. That is no way out.
        let probes = |call: &&String| arguments[0] == "import" && call.contains("NETLINK");
        // strace writes `???(` for a process that ends before it has looked at it: it has made no call yet.
        let unseen = |call: &&String| call.contains("???( <detached");
        let out: Vec<_> = calls
            .iter()
            .filter(|call| !probes(call) && !unseen(call))
            .collect();
        assert!(out.is_empty(), "{arguments:?}: {out:#?}");
    }
    // The record says something: a registry is reached for through a socket.
    let registry = Registry::own(&gap.sandbox, &site);
    let (code, calls) = reaches(&gap, &site, &["inspect", &registry.reference("no/such:1")]);
    assert_eq!(code, 5);
    assert!(calls.iter().any(|call| call.contains("AF_INET")), "{calls:#?}");
}

fn volumes_cross_the_gap_though_some_are_lost() {
    let Some(gap) = gap("volumes") else { return };
    let (site, _) = gap.site("island");
    let file = gap.sandbox.path().join("cut.tgz");
    let publisher = gap.greet.publisher(&gap.sandbox);
    let cut = ["--volume-size", "200kB", "--parity", "2", "--output", "json"];
    let copied = publisher
        .ok([&["copy", "greet", text(&file)][..], &cut].concat())
        .json();
    let volumes: Vec<PathBuf> = copied["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["file"].as_str().unwrap().into())
        .collect();
    assert!(volumes.len() > 4, "{copied}");
    assert!(!file.exists());
    let sizes = volumes
        .iter()
        .map(|volume| std::fs::metadata(volume).unwrap().len());
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.iter().all(|size| *size <= 200_000), "{sizes:?}");
    assert_eq!(copied["size"], sizes.iter().sum::<u64>());
    // Again beside it, nothing is mixed.
    let _ = publisher
        .run([&["copy", "greet", text(&file)][..], &cut].concat())
        .exits(9);
    std::fs::remove_file(&volumes[1]).unwrap();
    let mut damaged = std::fs::read(&volumes[3]).unwrap();
    damaged[150_000] ^= 1;
    std::fs::write(&volumes[3], damaged).unwrap();
    let imported = site.ok(["import", text(&volumes[0])]);
    for at_fault in ["cut.tgz.v002 is missing", "cut.tgz.v004 is damaged"] {
        assert!(imported.stderr.contains(at_fault), "{}", imported.stderr);
    }
    let last = volumes.last().unwrap();
    std::fs::remove_file(last).unwrap();
    let refused = site.run(["verify", text(&file)]).exits(4);
    for said in [
        "v002 is missing",
        "v004 is damaged",
        "p002 is missing",
        "bring 1 more",
    ] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    let _ = site
        .run(["copy", "greet", "layout:x", "--volume-size", "1GB"])
        .exits(2);
    let _ = site.run(["copy", "greet", "x.tar", "--parity", "1"]).exits(2);
}

/// An image of one layer of so many zeros, in a layout; the layer takes no room on the disk.
fn sparse_layout(folder: &Path, size: u64) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let mut digester = Digester::new(Algorithm::Sha256);
    let zeros = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        digester.update(&zeros);
    }
    let layer = Descriptor::new(MediaType::OCI_LAYER, digester.finish(), size);
    let file = File::create(blobs.join(layer.digest.hex())).unwrap();
    file.set_len(size).unwrap();
    let put = |descriptor: &Descriptor, bytes: &[u8]| {
        std::fs::write(blobs.join(descriptor.digest.hex()), bytes).unwrap();
    };
    put(&Descriptor::empty(), b"{}");
    let manifest = Manifest::new(Descriptor::empty(), vec![layer]);
    put(&manifest.descriptor(), &manifest.to_bytes());
    let entry = manifest
        .descriptor()
        .with_annotation("org.opencontainers.image.ref.name", "1");
    std::fs::write(folder.join("index.json"), Index::new(vec![entry]).to_bytes()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Runs a command and returns the most memory that it had, KiB.
fn peak(home: &Home, arguments: &[&str]) -> u64 {
    let mut running = Running::of(&mut home.command(arguments));
    let status = PathBuf::from(format!("/proc/{}/status", running.id()));
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        most = most.max(now.unwrap_or(0));
        if let Some(code) = running.ended() {
            assert_eq!(code, 0, "{arguments:?}");
            return most;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn volumes_take_less_than_64_mib_of_memory() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let (from, back) = (sandbox.path().join("from"), sandbox.path().join("back"));
    sparse_layout(&from, 512 << 20);
    let file = sandbox.path().join("big.tgz");
    let source = format!("layout:{}:1", from.display());
    let cut = [
        "copy",
        &source,
        text(&file),
        "--volume-size",
        "50MB",
        "--parity",
        "2",
    ];
    let written = peak(&home, &cut);
    for lost in ["big.tgz.v002", "big.tgz.v007"] {
        std::fs::remove_file(sandbox.path().join(lost)).unwrap();
    }
    let rebuilt = peak(
        &home,
        &["copy", text(&file), &format!("layout:{}", back.display())],
    );
    tell(&format!(
        "volumes: peak {written} KiB written, {rebuilt} KiB rebuilt"
    ));
    for kibibytes in [written, rebuilt] {
        assert!((1_024..64 << 10).contains(&kibibytes), "{kibibytes} KiB");
    }
}

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
