//! What was tampered with, cut or signed by somebody else is refused, and nothing of it is installed.

use std::path::{Path, PathBuf};

use samebundle_tests::{Ran, Test, skip, tests};

use super::{Machine, Release, change, release, replace};

pub(crate) const TESTS: &[Test] = tests![
    what_was_tampered_with_is_refused,
    without_a_way_to_check_nothing_is_installed,
    a_script_that_was_cut_installs_nothing
];

/// One way of tampering with a release that lies in a folder.
type Tampering = (&'static str, fn(&Path, &Release), &'static str);

fn archive_in(folder: &Path) -> PathBuf {
    let name = format!(
        "samebundle-{}-{}.tar.gz",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    folder.join(name)
}

/// Signs the sums of a folder again with another key.
fn sign_again(folder: &Path, release: &Release, key: &str, predicate: &str) {
    let document = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut document = document.filter(|path| path.to_str().unwrap().ends_with(".provenance.json"));
    std::fs::remove_file(folder.join("SHA256SUMS.sigstore.json")).unwrap();
    let mut command = release.maintainer().command(["file", "sign"]);
    command
        .arg(folder.join("SHA256SUMS"))
        .arg("--document")
        .arg(document.next().unwrap());
    let _ = Ran::of(command.args(["--predicate", predicate, "--key", key])).ok();
}

/// Flips a bit of the text of a JSON string in the signature, in the middle.
fn flip_in(folder: &Path, field: &str) {
    change(&folder.join("SHA256SUMS.sigstore.json"), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let at = text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 30;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    });
}

const TAMPERED: &[Tampering] = &[
    (
        "archive altered",
        |folder, _| change(&archive_in(folder), |bytes| *bytes.last_mut().unwrap() ^= 1),
        "was altered or cut",
    ),
    (
        "archive cut, and served as whole",
        |folder, _| change(&archive_in(folder), |bytes| bytes.truncate(bytes.len() / 2)),
        "was altered or cut",
    ),
    (
        "archive cut on its way",
        |folder, _| {
            let path = archive_in(folder);
            std::fs::rename(&path, format!("{}.cut", path.display())).unwrap();
        },
        "could not download",
    ),
    (
        "archive missing",
        |folder, _| std::fs::remove_file(archive_in(folder)).unwrap(),
        "could not download",
    ),
    (
        "archive and sums altered",
        |folder, _| {
            replace(&archive_in(folder), b"evil");
            let name = archive_in(folder);
            let name = name.file_name().unwrap().to_str().unwrap();
            let sum = "4b7bd4d1b2d8ae1f0b1dc0d7e5bd6d1d4b7bd4d1b2d8ae1f0b1dc0d7e5bd6d1d";
            replace(&folder.join("SHA256SUMS"), format!("{sum}  {name}\n").as_bytes());
        },
        "is not what was signed",
    ),
    (
        "a line appended to the sums",
        |folder, _| {
            change(&folder.join("SHA256SUMS"), |bytes| {
                bytes.extend_from_slice(b"x  y\n");
            });
        },
        "is not what was signed",
    ),
    (
        "sums missing",
        |folder, _| std::fs::remove_file(folder.join("SHA256SUMS")).unwrap(),
        "could not download",
    ),
    (
        "signature missing",
        |folder, _| std::fs::remove_file(folder.join("SHA256SUMS.sigstore.json")).unwrap(),
        "could not download",
    ),
    (
        "signature empty",
        |folder, _| replace(&folder.join("SHA256SUMS.sigstore.json"), b""),
        "is no signature",
    ),
    (
        "signature of another form",
        |folder, _| {
            change(&folder.join("SHA256SUMS.sigstore.json"), |bytes| {
                bytes.insert(1, b' ');
            });
        },
        "is no signature",
    ),
    (
        "signature altered",
        |folder, _| flip_in(folder, "sig"),
        "is not signed with the key",
    ),
    (
        "statement altered",
        |folder, _| flip_in(folder, "payload"),
        "is not signed with the key",
    ),
    (
        "signed with another key",
        |folder, release| sign_again(folder, release, "other", "slsa"),
        "is not signed with the key",
    ),
    (
        "signed with the key, but something else",
        |folder, release| sign_again(folder, release, "release", "spdx"),
        "is not what was signed",
    ),
];

fn what_was_tampered_with_is_refused() {
    let release = need!(release());
    // By OpenSSL, and by Python where that is too old.
    let checkers: [&[&str]; 2] = [&["curl", "openssl"], &["curl", "python3"]];
    let checkers = checkers
        .into_iter()
        .filter(|names| names.iter().all(|name| Path::new("/usr/bin").join(name).exists()));
    for (at, names) in checkers.enumerate() {
        let _ = Machine::new()
            .with_only(names)
            .installs(&release.url("release"))
            .ok();
        for (number, (what, tamper, said)) in TAMPERED.iter().enumerate() {
            let name = format!("tampered-{at}-{number}");
            let folder = release.linked(&name);
            tamper(&folder, release);
            let machine = Machine::new()
                .with_only(names)
                .with("SAME_INSTALL_FROM", release.url(&name));
            let refused = machine.installs(&release.url("release"));
            assert!(
                refused.code != 0 && refused.stderr.contains(said),
                "{what}: {refused:?}"
            );
            machine.has_nothing(what);
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    // Another release is not taken for the one that is asked for, though it is well signed.
    let machine = || Machine::new().with("SAME_VERSION", "9.9.9");
    let refused = machine().installs(&release.url("release")).exits(1);
    assert!(
        refused.stderr.contains("could not download"),
        "{}",
        refused.stderr
    );
    release.linked("several/9.9.9");
    let machine = machine().with("SAME_INSTALL_FROM", release.url("several"));
    let refused = machine.installs(&release.url("release")).exits(1);
    assert!(
        refused.stderr.contains("has no samebundle-9.9.9-"),
        "{}",
        refused.stderr
    );
    machine.has_nothing("another version");
}

fn without_a_way_to_check_nothing_is_installed() {
    let release = need!(release());
    let machine = Machine::new().with_only(&["curl"]);
    let refused = machine.installs(&release.url("release")).exits(1);
    assert!(
        refused.stderr.contains("install openssl (3 or later) or python3"),
        "{}",
        refused.stderr
    );
    machine.has_nothing("no checker");
}

fn a_script_that_was_cut_installs_nothing() {
    let release = need!(release());
    let script = std::fs::read_to_string(release.file("install.sh")).unwrap();
    let end = script.rfind("\nmain \"$@\"").unwrap() + 1;
    let machine = Machine::new();
    let cut = machine.sandbox.path().join("cut.sh");
    for length in (0..end).step_by(101).chain([end - 1, end]) {
        std::fs::write(&cut, &script[..length]).unwrap();
        for shell in ["sh", "bash"] {
            let _ = machine.types(&format!("{shell} <{}", cut.display()));
            machine.has_nothing(&format!("{shell}, cut at {length}"));
        }
    }
}
