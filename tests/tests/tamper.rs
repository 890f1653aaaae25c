//! What was changed on the way is refused, exit 4, and nothing is written.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use samebundle_spec::Timestamp;
use samebundle_tests::{
    Greet, Home, Ran, Registry, Sandbox, Test, copy_tree, greet, peer, skip, tests, tree_digest,
};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    one_flipped_bit_anywhere_is_refused,
    every_structural_byte_counts,
    a_stripped_signature_is_refused,
    another_key_is_refused,
    a_swapped_tag_is_refused,
    an_expired_statement_is_refused,
    an_older_version_after_a_newer_one_is_refused
];

/// Positions of the archive at which one bit is flipped.
const FLIPS: usize = 2000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What must not change: everything in a home but its scratch and its record of refusals.
fn state(home: &Home) -> std::collections::BTreeMap<String, String> {
    let mut tree = tree_digest(home.path()).unwrap();
    tree.retain(|path, _| !path.starts_with("scratch"));
    tree
}

/// An export of the installed greet bundle, made once for the module's tests.
fn exported(greet: &Greet, sandbox: &Sandbox) -> PathBuf {
    let carried = sandbox.path().join("carried.tar");
    let _ = greet.publisher(sandbox).ok(["copy", "greet", text(&carried)]);
    let home = greet.trusting(sandbox, "exporter");
    let _ = home.ok(["install", text(&carried)]);
    let _ = home.ok(["run", "greet", "--times=1"]);
    let file = sandbox.path().join("greet.tgz");
    let _ = home.ok(["export", "greet", "--file", text(&file)]);
    file
}

/// Import each altered form of a file; the ones that were not refused as they must be.
fn refusals(greet: &Greet, sandbox: &Sandbox, original: &[u8], changes: &[(usize, u8)]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (next, wrong) = (&next, &wrong);
            scope.spawn(move || {
                let home = greet.trusting(sandbox, &format!("worker-{worker}"));
                let before = state(&home);
                let file = sandbox.path().join(format!("altered-{worker}.tgz"));
                let mut bytes = original.to_vec();
                while let Some((at, mask)) = changes.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    bytes[at] ^= mask;
                    std::fs::write(&file, &bytes).unwrap();
                    bytes[at] ^= mask;
                    let ran = home.run(["import", text(&file)]);
                    let clear = !ran.stderr.trim().is_empty();
                    if ran.code != 4 || !clear || state(&home) != before {
                        let said = ran.stderr.lines().last().unwrap_or_default().to_owned();
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("byte {at} ^ {mask:#04x}: exit {}, {said}", ran.code));
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// A sequence of numbers that is the same in every run (SplitMix64).
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn one_flipped_bit_anywhere_is_refused() {
    let Some(greet) = greet() else {
        return skip("tamper: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let file = exported(greet, &sandbox);
    let original = std::fs::read(&file).unwrap();
    let whole = greet.trusting(&sandbox, "whole");
    let _ = whole.ok(["import", text(&file)]);

    let mut number = numbers(7);
    let size = original.len() as u64;
    // Evenly spread, a random place in each stretch, a random bit.
    let mut changes: Vec<(usize, u8)> = (0..FLIPS as u64)
        .map(|i| {
            let (from, to) = (i * size / FLIPS as u64, (i + 1) * size / FLIPS as u64);
            let at = from + number() % (to - from).max(1);
            (usize::try_from(at).unwrap(), 1 << (number() % 8))
        })
        .collect();
    // The frame of the compressed file: its head and its checksum and length at the end.
    let ends = (0..18).chain(original.len() - 8..original.len());
    changes.extend(ends.map(|at| (at, 1 << (number() % 8))));
    let wrong = refusals(greet, &sandbox, &original, &changes);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        changes.len(),
        wrong.join("\n")
    );
}

/// The same on the uncompressed form, at the bytes that say what is where: the tar headers and the JSON documents.
fn every_structural_byte_counts() {
    let Some(greet) = greet() else {
        return skip("tamper: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("greet.tar");
    let _ = greet.publisher(&sandbox).ok(["copy", "greet", text(&file)]);
    let original = std::fs::read(&file).unwrap();
    let places = structural_bytes(&original);
    assert!(
        places.len() > 3000,
        "the archive was not understood: {} structural bytes",
        places.len()
    );
    let mut number = numbers(11);
    let changes: Vec<(usize, u8)> = places.into_iter().map(|at| (at, 1 << (number() % 8))).collect();
    let wrong = refusals(greet, &sandbox, &original, &changes);
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        changes.len(),
        wrong.join("\n")
    );
}

/// The bytes of a tar's headers that hold something, and of every small document in it.
fn structural_bytes(tar: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let size = std::str::from_utf8(&tar[at + 124..at + 135])
            .unwrap()
            .trim_matches(['\0', ' ']);
        let size = usize::from_str_radix(size, 8).unwrap();
        places.extend((at..at + 512).filter(|place| tar[*place] != 0));
        let content = at + 512..at + 512 + size;
        if size < 16 * 1024 && tar[content.clone()].first() == Some(&b'{') {
            places.extend(content);
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    places
}

fn a_stripped_signature_is_refused() {
    let Some(greet) = greet() else {
        return skip("tamper: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let layout = sandbox.path().join("layout");
    let _ = greet
        .publisher(&sandbox)
        .ok(["copy", "greet", &format!("layout:{}", layout.display())]);
    let _ = greet
        .trusting(&sandbox, "whole")
        .ok(["install", &format!("layout:{}", layout.display())]);
    let index_file = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&index_file).unwrap()).unwrap();
    let manifests = index["manifests"].as_array_mut().unwrap();
    let before = manifests.len();
    manifests.retain(|entry| entry["digest"] == greet.digest());
    assert!(
        manifests.len() < before,
        "there was nothing to strip: {manifests:?}"
    );
    std::fs::write(&index_file, serde_json::to_vec(&index).unwrap()).unwrap();
    refused(
        &greet.trusting(&sandbox, "home"),
        &["install", &format!("layout:{}", layout.display())],
    );
}

/// It must be refused as not trusted, and leave nothing.
#[track_caller]
fn refused(home: &Home, call: &[&str]) -> Ran {
    let before = state(home);
    let ran = home.run(call).exits(4);
    assert!(!ran.stderr.trim().is_empty(), "refused without a word");
    let after = state(home);
    let new: Vec<_> = after
        .iter()
        .filter(|(path, what)| before.get(*path) != Some(*what))
        .collect();
    assert!(after == before, "a refused bundle left something: {new:?}");
    ran
}

fn another_key_is_refused() {
    let Some(greet) = greet() else {
        return skip("tamper: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("greet.tar");
    let _ = greet.publisher(&sandbox).ok(["copy", "greet", text(&file)]);
    let stranger = sandbox.home("stranger");
    let _ = stranger.ok(["key", "generate", "--name", "stranger", "--no-passphrase"]);
    let key = sandbox.path().join("stranger.pub");
    let _ = stranger.ok(["key", "export", "stranger", "--file", text(&key)]);
    let home = sandbox.home("home");
    let _ = home.ok(["trust", "add", "stranger", text(&key)]);
    refused(&home, &["install", text(&file)]);
}

fn a_swapped_tag_is_refused() {
    let (Some(greet), Some(crane)) = (greet(), peer("crane")) else {
        return skip("tamper: the busybox image or crane was not made (tests/setup)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("team/greet:1.0.0");
    // Another bundle, by somebody without the key, under the tag of the signed one.
    let sources = greet.sources(&sandbox);
    let pipeline = sources.join("pipeline.yaml");
    let changed = std::fs::read_to_string(&pipeline)
        .unwrap()
        .replace("hello", "goodbye");
    std::fs::write(&pipeline, changed).unwrap();
    let stranger = sandbox.home("stranger");
    let _ = stranger.ok(["build", text(&sources), "-t", "greet"]);
    let _ = stranger.ok(["key", "generate", "--name", "stranger", "--no-passphrase"]);
    let _ = stranger.ok(["sign", "greet", "--key", "stranger"]);
    let _ = publisher.ok(["push", "greet", &place]);
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["verify", &place]);
    // The product's own push gives a released version to nobody else; another client does.
    let _ = stranger.run(["push", "greet", &place]).exits(9);
    let other = registry.reference("team/greet:other");
    let _ = stranger.ok(["push", "greet", &other]);
    let _ = Ran::of(Command::new(crane).args(["--insecure", "tag", &other, "1.0.0"])).ok();
    refused(&home, &["install", &place]);
}

fn an_expired_statement_is_refused() {
    let Some(greet) = greet() else {
        return skip("tamper: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("greet.tar");
    let publisher = sandbox.home("publisher");
    let _ = publisher.ok(["build", text(&greet.sources(&sandbox)), "-t", "greet"]);
    let _ = publisher.ok(["key", "generate", "--name", "release", "--no-passphrase"]);
    let key = sandbox.path().join("release.pub");
    let _ = publisher.ok(["key", "export", "release", "--file", text(&key)]);
    let _ = publisher.ok(["sign", "greet", "--key", "release", "--expires-in", "1"]);
    let _ = publisher.ok(["copy", "greet", text(&file)]);
    let home = sandbox.home("home");
    let _ = home.ok(["trust", "add", "release", text(&key)]);
    // A day passes for this home: it saw a later time, as far ahead as a clock may be set back.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let later = Timestamp::from(file.metadata().unwrap().modified().unwrap())
        .after(std::time::Duration::from_secs(86_402));
    let marks = format!(
        "{{\"version\":1,\"time\":\"{}\",\"marks\":[]}}",
        later.whole_seconds()
    );
    std::fs::write(home.path().join("trust/marks.json"), marks).unwrap();
    let ran = refused(&home, &["install", text(&file)]);
    assert!(ran.stderr.contains("it expired at"), "{}", ran.stderr);
}

fn an_older_version_after_a_newer_one_is_refused() {
    let Some(greet) = greet() else {
        return skip("tamper: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let old = sandbox.path().join("old.tar");
    let _ = publisher.ok(["copy", "greet", text(&old)]);
    let sources = greet.sources(&sandbox);
    let manifest = sources.join("samebundle.yaml");
    let newer = std::fs::read_to_string(&manifest)
        .unwrap()
        .replace("version: 1.0.0", "version: 1.1.0");
    std::fs::write(&manifest, newer).unwrap();
    let _ = publisher.ok(["build", text(&sources), "-t", "greet"]);
    let _ = publisher.ok(["sign", "greet", "--key", "release"]);
    let new = sandbox.path().join("new.tar");
    let _ = publisher.ok(["copy", "greet", text(&new)]);

    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", text(&new)]);
    let _ = home.ok(["uninstall", "greet"]);
    refused(&home, &["install", text(&old)]);
    // A copy of the home from before the newer one takes the old: it is the mark that refuses, not the bundle.
    let fresh = greet.trusting(&sandbox, "fresh");
    let _ = fresh.ok(["install", text(&old)]);
    let consenting = sandbox.home("consenting");
    copy_tree(home.path(), consenting.path()).unwrap();
    let _ = consenting.ok(["install", text(&old), "--allow-downgrade"]);
}
