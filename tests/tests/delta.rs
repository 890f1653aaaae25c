//! A new version moves what changed: by pull from any registry that serves ranges, and by an archive across the gap.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use samebundle_tests::{Home, Meter, Registry, Sandbox, Test, full, greet, skip, tell, tests, tree_digest};

pub(crate) const TESTS: &[Test] = tests![
    a_pull_of_a_fine_tuned_model_moves_what_changed,
    a_pull_of_a_data_set_that_grew_moves_what_was_appended,
    a_delta_of_a_fine_tuned_model_carries_what_changed,
    a_delta_of_a_data_set_that_grew_carries_what_was_appended,
    a_receipt_carried_back_makes_the_next_archive_a_delta,
    a_delta_in_volumes_follows_a_first_version_in_volumes,
    two_homes_build_the_same_chunks,
    a_damaged_delta_changes_nothing
];

/// Length of the model and of the data set, MiB.
fn mebibytes() -> usize {
    if full() { 1024 } else { 64 }
}

/// Weights: bytes that do not compress, the same for the same seed.
fn weights(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A hundredth of the bytes changes, in a place for each 10 MiB or so: a hundred of them in 1 GiB.
fn fine_tune(model: &mut [u8]) -> usize {
    let places = (mebibytes() * 100).div_ceil(1024);
    let length = model.len() / 100 / places;
    for place in 0..places {
        let at = place * (model.len() / places) + 12_345;
        model[at..at + length].copy_from_slice(&weights(1_000 + place as u64, length));
    }
    places
}

/// Rows of a table, as people have them.
fn rows(from: usize, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 100);
    let mut row = from;
    while text.len() < bytes {
        let noise = row.wrapping_mul(2_654_435_761) % 1_000_003;
        let _ = writeln!(
            text,
            "{row},{noise},{},sensor-{},ok",
            noise.wrapping_mul(row) % 9_973,
            noise % 89
        );
        row += 1;
    }
    text
}

/// A program that carries one file, and looks at it when it runs.
struct Author {
    home: Home,
    folder: PathBuf,
}

impl Author {
    fn new(sandbox: &Sandbox, greet: &samebundle_tests::Greet) -> Self {
        let folder = greet.sources(sandbox);
        let pipeline = std::fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
        let looks = r#"sha256sum /samebundle/data/big/big; printf "hello %s""#;
        let pipeline = pipeline.replace(r#"printf "hello %s""#, looks);
        assert!(pipeline.contains("sha256sum"));
        std::fs::write(folder.join("pipeline.yaml"), pipeline).unwrap();
        Self {
            home: greet.publisher(sandbox),
            folder,
        }
    }

    /// Builds and signs a version with this file; returns its digest.
    fn build(&self, version: &str, content: &[u8]) -> String {
        std::fs::write(self.folder.join("big.bin"), content).unwrap();
        let path = self.folder.join("samebundle.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (text, _) = text.split_once("data:").unwrap_or((&text, ""));
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("version:"))
            .collect();
        let text = format!(
            "{}\nversion: {version}\ndata:\n  - {{name: big, file: big.bin}}\n",
            text.join("\n")
        );
        std::fs::write(&path, text).unwrap();
        let digest = self.home.ok(["build", self.folder.to_str().unwrap()]).digest();
        let _ = self.home.ok(["sign", "greet", "--key", "release", "--replace"]);
        digest
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    (part * 10_000 / whole) as f64 / 100.0
}

/// Two versions of a program with a file: bytes that a pull of the second moves, in percent of the file as it is stored.
fn pulled(what: &str, old: &[u8], new: &[u8], most: f64) {
    let Some(greet) = greet() else {
        return skip(&format!(
            "delta {what}: the busybox image was not made (tests/setup/images)"
        ));
    };
    let sandbox = Sandbox::new();
    let author = Author::new(&sandbox, greet);
    let reader = |name: &str| greet.trusting(&sandbox, name);
    let first = author.build("1.0.0", old);
    let mut registries = vec![("our server", Registry::own(&sandbox, &author.home))];
    match Registry::debian(&sandbox) {
        Some(registry) => registries.push(("docker-registry", registry)),
        None => skip(&format!(
            "delta {what}: docker-registry is not installed (tests/setup/packages)"
        )),
    }
    for (_, registry) in &registries {
        let _ = author
            .home
            .ok(["push", "greet:1.0.0", &registry.reference("team/greet:1.0.0")]);
    }
    let second = author.build("1.0.1", new);
    assert_ne!(first, second);
    for (name, registry) in &registries {
        let _ = author
            .home
            .ok(["push", "greet:1.0.1", &registry.reference("team/greet:1.0.1")]);
        let meter = Meter::before(&registry.address());
        let home = reader(&name.replace(' ', "-"));
        let whole = home
            .ok(["--output", "json", "pull", &meter.reference("team/greet:1.0.0")])
            .json();
        let moved_first = meter.taken();
        let delta = home
            .ok(["--output", "json", "pull", &meter.reference("team/greet:1.0.1")])
            .json();
        let moved = meter.taken();
        let size = whole["sent"]["bytes"].as_u64().unwrap();
        assert!(moved_first >= size, "the meter counts: {moved_first} {size}");
        // What the tool says is what went over the wire, but for headers and questions.
        let said = delta["sent"]["bytes"].as_u64().unwrap();
        assert!(moved >= said && moved < said + (256 << 10), "{moved} {said}");
        let share = percent(moved, moved_first);
        tell(&format!(
            "delta: {what} of {} MiB on {name}: a pull of the next version moves {share} % ({moved} of {moved_first} bytes)",
            mebibytes()
        ));
        assert!(share <= most, "{what} on {name}: {share} % > {most} %: {delta}");
        assert_eq!(delta["digest"].as_str(), Some(second.as_str()));
        let _ = home.ok(["store", "check"]);
    }
}

fn a_pull_of_a_fine_tuned_model_moves_what_changed() {
    let old = weights(1, mebibytes() << 20);
    let mut new = old.clone();
    let places = fine_tune(&mut new);
    assert!(places > 1);
    pulled("a model with 1 % changed", &old, &new, 3.0);
}

fn a_pull_of_a_data_set_that_grew_moves_what_was_appended() {
    let old = rows(0, mebibytes() << 20);
    let new = format!("{old}{}", rows(1_000_000_000, old.len() / 10));
    pulled(
        "a data set with 10 % appended",
        old.as_bytes(),
        new.as_bytes(),
        11.0,
    );
}

/// The name of a volume of an archive.
fn volume(archive: &Path, name: &str) -> PathBuf {
    archive.with_extension(format!("tgz.{name}"))
}

/// Exports a first version whole and a second as a delta, both cut into volumes as `cut` says, if it says so; returns both
/// files.
fn exported(author: &Author, old: &[u8], new: &[u8], cut: &[&str]) -> (PathBuf, PathBuf) {
    let file = |name: &str| author.folder.join(name);
    let (whole, delta) = (file("whole.tgz"), file("delta.tgz"));
    let key = author.folder.parent().unwrap().join("trusted.pub");
    let public = author.home.ok(["key", "export", "release"]);
    std::fs::write(&key, public.stdout).unwrap();
    let _ = author.home.ok(["trust", "add", "release", key.to_str().unwrap()]);
    author.build("1.0.0", old);
    let _ = author.home.ok(["install", "greet:1.0.0"]);
    let export = |words: &[&str]| author.home.ok([&["export"], words, cut].concat());
    let _ = export(&["greet:1.0.0", "--file", whole.to_str().unwrap()]);
    author.build("1.0.1", new);
    let _ = author.home.ok(["upgrade", "greet", "greet:1.0.1"]);
    let since = match cut {
        [] => whole.clone(),
        _ => volume(&whole, "v001"),
    };
    let (file, since) = (delta.to_str().unwrap(), since.to_str().unwrap());
    let said = export(&["greet:1.0.1", "--file", file, "--since", since]);
    assert!(said.stdout.contains("left out"), "{}", said.stdout);
    (whole, delta)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Runs a program of an [`Author`]; its log tells the digest of the file that it carries.
fn assert_sees(home: &Home, name: &str, content: &[u8]) {
    let ran = home.ok(["run", name]);
    let wanted = samebundle_spec::Digest::sha256(content).hex();
    let log = home.ok(["logs"]);
    assert!(
        format!("{}{}", ran.stdout, log.stdout).contains(&wanted),
        "{}",
        log.stdout
    );
}

fn carried(what: &str, old: &[u8], new: &[u8], most: f64) {
    let Some(greet) = greet() else {
        return skip(&format!(
            "delta {what}: the busybox image was not made (tests/setup/images)"
        ));
    };
    let sandbox = Sandbox::new();
    let author = Author::new(&sandbox, greet);
    let (whole, delta) = exported(&author, old, new, &[]);
    let share = percent(size(&delta), size(&whole));
    tell(&format!(
        "delta: {what} of {} MiB: the archive has {share} % ({} of {} bytes)",
        mebibytes(),
        size(&delta),
        size(&whole)
    ));
    assert!(share <= most, "{what}: {share} % > {most} %");
    let island = greet.trusting(&sandbox, "island");
    let _ = island.ok(["import", whole.to_str().unwrap()]);
    let said = island
        .ok([
            "--output",
            "json",
            "import",
            delta.to_str().unwrap(),
            "--name",
            "newer",
        ])
        .json();
    assert!(
        said["reused"]["bytes"].as_u64().unwrap() > said["sent"]["bytes"].as_u64().unwrap(),
        "{said}"
    );
    let _ = island.ok(["store", "check"]);
    // It is the same bundle, byte for byte, and the program sees the new file.
    let installed = |home: &Home, name: &str| {
        let shown = home.ok(["--output", "json", "show", name]).json();
        shown["installation"]["index"]["digest"]
            .as_str()
            .or(shown["index"]["digest"].as_str())
            .unwrap()
            .to_owned()
    };
    assert_eq!(installed(&island, "newer"), installed(&author.home, "greet"));
    assert_sees(&island, "newer", new);
    // Who has not the first version is told so, and nothing is installed.
    let other = greet.trusting(&sandbox, "other");
    let refused = other.run(["import", delta.to_str().unwrap()]).exits(5);
    assert!(refused.stderr.contains("--since"), "{}", refused.stderr);
    assert!(!other.ok(["list"]).stdout.contains("greet"));
}

fn a_delta_of_a_fine_tuned_model_carries_what_changed() {
    let old = weights(2, mebibytes() << 20);
    let mut new = old.clone();
    fine_tune(&mut new);
    carried("a model with 1 % changed", &old, &new, 3.0);
}

fn a_delta_of_a_data_set_that_grew_carries_what_was_appended() {
    let old = rows(0, mebibytes() << 20);
    let new = format!("{old}{}", rows(1_000_000_000, old.len() / 10));
    carried(
        "a data set with 10 % appended",
        old.as_bytes(),
        new.as_bytes(),
        11.0,
    );
}

fn a_receipt_carried_back_makes_the_next_archive_a_delta() {
    let Some(greet) = greet() else {
        return skip("delta receipt: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let author = Author::new(&sandbox, greet);
    let old = weights(5, mebibytes() << 20);
    let mut new = old.clone();
    fine_tune(&mut new);
    let (whole, by_archive) = exported(&author, &old, &new, &[]);
    let file = |name: &str| sandbox.path().join(name).to_str().unwrap().to_owned();
    let (receipt, key, delta) = (file("receipt.json"), file("island.pub"), file("receipt.tgz"));
    let island = greet.trusting(&sandbox, "island");
    let _ = island.ok(["key", "generate", "--no-passphrase"]);
    let _ = island.ok(["key", "export", "--file", &key]);
    let _ = island.ok(["import", whole.to_str().unwrap(), "--receipt", &receipt]);
    let export = ["export", "greet:1.0.1", "--file", &delta, "--since", &receipt];
    // A receipt that nobody known has signed says nothing.
    let unknown = author.home.run(export);
    assert_ne!(unknown.code, 0, "{}", unknown.stdout);
    let with_key = [&export[..], &["--since-key", &key]].concat();
    let _ = author.home.ok(&with_key);
    let share = percent(size(Path::new(&delta)), size(&whole));
    tell(&format!(
        "delta: a model of {} MiB with 1 % changed, against a receipt: the archive has {share} %",
        mebibytes()
    ));
    assert!(share <= 3.0, "{share} %");
    assert_eq!(
        size(Path::new(&delta)),
        size(&by_archive),
        "the same is left out as against the archive"
    );
    let good = std::fs::read_to_string(&receipt).unwrap();
    std::fs::write(&receipt, good.replacen("payload\":\"e", "payload\":\"f", 1)).unwrap();
    assert_ne!(author.home.run(&with_key).code, 0, "an altered receipt");
    let _ = island.ok(["import", &delta, "--name", "newer"]);
    let _ = island.ok(["store", "check"]);
}

fn a_delta_in_volumes_follows_a_first_version_in_volumes() {
    let Some(greet) = greet() else {
        return skip("delta volumes: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let author = Author::new(&sandbox, greet);
    let old = weights(9, 4 << 20);
    let mut new = old.clone();
    new[1 << 20..][..1_000].copy_from_slice(&weights(10, 1_000));
    let cut = ["--volume-size", "300KB", "--parity", "1"];
    let (whole, delta) = exported(&author, &old, &new, &cut);
    let volumes = |archive: &Path| {
        (1..999)
            .take_while(|number| volume(archive, &format!("v{number:03}")).exists())
            .count()
    };
    let (of_whole, of_delta) = (volumes(&whole), volumes(&delta));
    assert!(of_whole > 10 && of_delta < of_whole / 2, "{of_whole} {of_delta}");
    let island = greet.trusting(&sandbox, "island");
    for (archive, name) in [(&whole, "greet"), (&delta, "newer")] {
        std::fs::remove_file(volume(archive, "v001")).unwrap();
        let any = volume(archive, "p001");
        let said = island.ok(["import", any.to_str().unwrap(), "--name", name]);
        assert!(said.stderr.contains("v001 is missing"), "{}", said.stderr);
    }
    let _ = island.ok(["store", "check"]);
    assert_sees(&island, "newer", &new);
}

fn two_homes_build_the_same_chunks() {
    let Some(greet) = greet() else {
        return skip("delta: the busybox image was not made (tests/setup/images)");
    };
    let content = rows(0, 6 << 20);
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let sandbox = Sandbox::new();
            let author = Author::new(&sandbox, greet);
            author.build("1.0.0", content.as_bytes())
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}

/// Killed or altered in the middle, a delta leaves the store as it was.
fn a_damaged_delta_changes_nothing() {
    let Some(greet) = greet() else {
        return skip("delta: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let author = Author::new(&sandbox, greet);
    let old = weights(3, 8 << 20);
    let mut new = old.clone();
    new[4 << 20..(4 << 20) + 10_000].copy_from_slice(&weights(4, 10_000));
    let (whole, delta) = exported(&author, &old, &new, &[]);
    let island = greet.trusting(&sandbox, "island");
    let _ = island.ok(["import", whole.to_str().unwrap()]);
    let before = tree_digest(&island.path().join("store/blobs")).unwrap();
    let good = std::fs::read(&delta).unwrap();
    for at in (0..good.len()).step_by(good.len() / 12) {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&delta, bad).unwrap();
        let refused = island.run(["import", delta.to_str().unwrap(), "--name", "newer"]);
        assert_ne!(refused.code, 0, "byte {at} was flipped and nobody saw");
        assert_eq!(
            tree_digest(&island.path().join("store/blobs")).unwrap(),
            before,
            "byte {at}"
        );
    }
    std::fs::write(&delta, good).unwrap();
    let _ = island.ok(["import", delta.to_str().unwrap(), "--name", "newer"]);
}
