//! A release as it is given to people: packed, signed, served, installed where nothing else is, and refused where it was
//! tampered with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use samebundle_tests::{
    Home, Ran, Sandbox, Test, cache, command_under_test, digits, greet, is_root, peer, repository, skip,
    tests,
};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    a_release_is_the_same_each_time_and_says_what_is_in_it,
    a_release_is_checked_by_hand_as_the_document_says,
    the_first_command_of_the_seeds_installs,
    an_installation_is_replaced_in_one_step_and_spares_what_is_not_ours,
    what_was_tampered_with_is_refused,
    without_a_way_to_check_nothing_is_installed,
    a_script_that_was_cut_installs_nothing,
    the_wheel_installs_without_an_index,
    the_installer_runs_the_demo_in_an_empty_debian,
    the_archive_runs_the_demo_in_an_empty_debian,
    the_package_runs_the_demo_in_an_empty_debian,
    the_wheel_runs_the_demo_in_a_debian_with_python_alone
];

/// A packed release, served on the loopback.
struct Release {
    sandbox: Sandbox,
    address: String,
}

/// The release, packed once; says why where it cannot be had here.
fn release() -> Result<&'static Release, &'static str> {
    static PACKED: OnceLock<Result<Release, String>> = OnceLock::new();
    PACKED.get_or_init(Release::pack).as_ref().map_err(String::as_str)
}

impl Release {
    fn pack() -> Result<Self, String> {
        if peer("dpkg-deb").is_none() {
            return Err("dpkg-deb is not installed".to_owned());
        }
        static_command()?;
        let sandbox = Sandbox::new();
        let maintainer = sandbox.home("maintainer");
        for name in ["release", "other"] {
            let _ = maintainer.ok(["key", "generate", "--name", name, "--no-passphrase"]);
        }
        let served = sandbox.path().join("served");
        std::fs::create_dir(&served).unwrap();
        let address = serve(served);
        let release = Self { sandbox, address };
        let _ = release.packed_in(&release.folder()).ok();
        Ok(release)
    }

    /// Packs it into a folder, as `make dist` does.
    fn packed_in(&self, folder: &Path) -> Ran {
        let mut pair = std::ffi::OsString::from(format!("{}-unknown-linux-gnu=", std::env::consts::ARCH));
        pair.push(static_command().unwrap());
        let mut command = Command::new(repository().join("dist/pack"));
        command.arg(folder).arg(pair).env("LEVEL", "1");
        command
            .env(
                "SAMEBUNDLE_RELEASE_KEY",
                self.maintainer().path().join("keys/release.key"),
            )
            .env("SAMEBUNDLE_RELEASE_URL", self.url("release"));
        Ran::of(&mut command)
    }

    fn maintainer(&self) -> Home {
        self.sandbox.home("maintainer")
    }

    fn folder(&self) -> PathBuf {
        self.served("release")
    }

    /// A folder that is served.
    fn served(&self, name: &str) -> PathBuf {
        self.sandbox.path().join("served").join(name)
    }

    /// A folder that is served and has the files of the release, as links to them.
    fn linked(&self, name: &str) -> PathBuf {
        let folder = self.served(name);
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(self.folder()).unwrap().map(Result::unwrap) {
            std::fs::hard_link(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        folder
    }

    /// Where it is served.
    fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// The one file with this ending.
    fn file(&self, ending: &str) -> PathBuf {
        let files = std::fs::read_dir(self.folder()).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        files
            .find(|path| path.to_str().unwrap().ends_with(ending))
            .unwrap_or_else(|| panic!("the release has no {ending}"))
    }
}

/// The command with the C library linked in.
fn static_command() -> Result<PathBuf, String> {
    let path = command_under_test().with_file_name("static").join("samebundle");
    match path.is_file() {
        true => Ok(path),
        false => Err("the static command was not built (tests/setup/static)".to_owned()),
    }
}

macro_rules! need {
    ($what:expr) => {
        match $what {
            Ok(value) => value,
            Err(why) => return skip(&format!("dist: {why}")),
        }
    };
}

/// Serves the files of a folder on the loopback for as long as the tests run.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            // A client that goes away is no concern of the tests.
            std::thread::spawn(move || drop(answer(stream, &folder)));
        }
    });
    address
}

fn answer(mut stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('/');
    // What a file `NAME.cut` stands for is announced whole and sent by half.
    let (found, cut) = match std::fs::read(folder.join(path)) {
        Ok(bytes) => (Ok(bytes), false),
        Err(_) => (std::fs::read(folder.join(format!("{path}.cut"))), true),
    };
    match found {
        Ok(bytes) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                bytes.len()
            )?;
            let end = if cut { bytes.len() / 2 } else { bytes.len() };
            stream.write_all(&bytes[..end])
        }
        Err(_) => write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ),
    }
}

/// A machine of a person: a sandbox, and what is set there.
struct Machine {
    sandbox: Sandbox,
    settings: BTreeMap<&'static str, String>,
}

impl Machine {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let settings = BTreeMap::from([("PREFIX", sandbox.path().join("prefix").display().to_string())]);
        Self { sandbox, settings }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.insert(name, value.into());
        self
    }

    /// Has only these commands, beside those of every system.
    fn with_only(self, names: &[&str]) -> Self {
        let bin = self.sandbox.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let everywhere = "sh bash sha256sum base64 tar gzip sed awk mktemp cut tr wc cat uname id rm mkdir cp chmod mv \
                          find readlink ln head";
        for name in everywhere.split_whitespace().chain(names.iter().copied()) {
            let place = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
            let place = place.into_iter().find(|path| path.exists()).unwrap();
            symlink(place, bin.join(name)).unwrap();
        }
        self.with("PATH", bin.display().to_string())
    }

    fn prefix(&self) -> PathBuf {
        self.settings["PREFIX"].clone().into()
    }

    /// Types lines into a shell.
    fn types(&self, lines: &str) -> Ran {
        let mut command = Command::new("/bin/bash");
        command.arg("-c").arg(lines);
        self.sandbox.home("unused").furnish(&mut command);
        command.envs(&self.settings);
        Ran::of(&mut command)
    }

    fn installs(&self, address: &str) -> Ran {
        self.types(&format!("curl -fsS {address}/install.sh | sh"))
    }

    /// Nothing was written where a release is installed.
    #[track_caller]
    fn has_nothing(&self, why: &str) {
        assert!(!self.prefix().exists(), "{why}: {:?}", self.prefix());
        assert_eq!(temporary(&self.sandbox), Vec::<PathBuf>::new(), "{why}");
    }
}

/// What was left in the folder for temporary files.
fn temporary(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path().join("tmp")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn a_release_is_the_same_each_time_and_says_what_is_in_it() {
    let release = need!(release());
    let sandbox = Sandbox::new();
    let again = sandbox.path().join("again");
    let _ = release.packed_in(&again).ok();
    let (first, second) = (files(&release.folder()), files(&again));
    let names: Vec<_> = first.keys().collect();
    assert_eq!(names, second.keys().collect::<Vec<_>>());
    for (name, bytes) in &first {
        assert!(second[name] == *bytes, "{name} differs when it is packed again");
    }
    for ending in [
        ".tar.gz",
        ".whl",
        ".deb",
        ".spdx.json",
        ".provenance.json",
        "install.sh",
        "release.pub",
    ] {
        let path = release.file(ending);
        let name = path.file_name().unwrap().to_str().unwrap();
        let sums = std::str::from_utf8(&first["SHA256SUMS"]).unwrap();
        assert!(sums.contains(&format!("  {name}\n")), "{name}\n{sums}");
    }
    let read = |ending: &str| -> Value {
        serde_json::from_slice(&std::fs::read(release.file(ending)).unwrap()).unwrap()
    };
    let sbom = read(".spdx.json");
    let packages = sbom["packages"].as_array().unwrap();
    for name in [
        "samebundle",
        "samebundle-runner",
        "ring",
        "zstd-sys",
        "glibc",
        "rust-std",
    ] {
        assert!(packages.iter().any(|one| one["name"] == name), "no {name}");
    }
    let not = ["insta", "proptest", "samebundle-tests"];
    assert!(
        !packages
            .iter()
            .any(|one| not.contains(&one["name"].as_str().unwrap()))
    );
    let from = &read(".provenance.json")["buildDefinition"]["resolvedDependencies"];
    assert_eq!(from[0]["digest"]["gitCommit"].as_str().unwrap().len(), 40);

    // The tool checks its own release, and so does cosign.
    let sums = release.file("SHA256SUMS");
    let key = release.file("release.pub");
    let reader = sandbox.home("reader");
    let verify = |file: &Path, key: &Path| {
        let signature = release.file(".sigstore.json");
        let arguments = [
            Path::new("file"),
            Path::new("verify"),
            file,
            Path::new("--key"),
            key,
        ];
        let mut command = reader.command(arguments);
        Ran::of(
            command
                .args(["--output", "json"])
                .arg("--signature")
                .arg(signature),
        )
    };
    let stated = verify(&sums, &key).ok().json();
    assert_eq!(stated["predicate"], read(".provenance.json"));
    let other = sandbox.path().join("other.pub");
    let _ = release
        .maintainer()
        .ok(["key", "export", "other", "--file", other.to_str().unwrap()]);
    let _ = verify(&sums, &other).exits(4);
    let altered = sandbox.path().join("SHA256SUMS");
    std::fs::write(&altered, b"nothing").unwrap();
    let _ = verify(&altered, &key).exits(4);
    if let Some(cosign) = peer("cosign3") {
        let mut command = Command::new(cosign);
        command.args([
            "verify-blob-attestation",
            "--insecure-ignore-tlog=true",
            "--type",
            "slsaprovenance1",
        ]);
        command
            .arg("--key")
            .arg(&key)
            .arg("--bundle")
            .arg(release.file(".sigstore.json"));
        let _ = Ran::of(command.arg(&sums).env("HOME", sandbox.path())).ok();
    }
}

fn a_release_is_checked_by_hand_as_the_document_says() {
    let release = need!(release());
    let document = std::fs::read_to_string(repository().join("docs/install.md")).unwrap();
    let section = document
        .split("\n## ")
        .find(|section| section.starts_with("Check a release by hand"));
    let blocks: Vec<&str> = section.unwrap().split("```").skip(1).step_by(2).collect();
    assert_eq!(blocks.len(), 2);
    let folder = release.linked("by-hand");
    let machine = Machine::new();
    let bin = machine.sandbox.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(command_under_test(), bin.join("same")).unwrap();
    let check = |block: &str| {
        let lines = block.strip_prefix("sh\n").unwrap();
        let (folder, bin) = (folder.display(), bin.display());
        machine.types(&format!("set -e\ncd {folder}\nPATH={bin}:$PATH\n{lines}"))
    };
    for block in &blocks {
        let _ = check(block).ok();
    }
    change(&folder.join("SHA256SUMS"), |bytes| bytes.push(b'\n'));
    for block in &blocks {
        assert_ne!(check(block).code, 0, "{block}");
    }
}

fn the_first_command_of_the_seeds_installs() {
    let release = need!(release());
    let machine = Machine::new();
    let line = format!(
        "export SAME_ENVIRONMENT=local\ncurl {}/install.sh | bash\n",
        release.url("release")
    );
    for _ in 0..2 {
        let said = machine.types(&line).ok().stdout;
        for words in [
            "installed samebundle",
            "SAME_ENVIRONMENT=local: programs run on this machine",
            "    export SAME_ENVIRONMENT=local\n",
            "is not in your PATH",
            "same doctor",
        ] {
            assert!(said.contains(words), "{words}\n{said}");
        }
    }
    let prefix = machine.prefix();
    for name in ["same", "samebundle"] {
        let said = Ran::of(Command::new(prefix.join("bin").join(name)).arg("--version")).ok();
        assert!(said.stdout.starts_with(name), "{}", said.stdout);
    }
    for file in [
        "man/man1/samebundle-run.1",
        "man/man1/same.1",
        "bash-completion/completions/same",
        "zsh/site-functions/_same",
        "fish/vendor_completions.d/same.fish",
    ] {
        assert!(prefix.join("share").join(file).is_file(), "{file}");
    }
    assert_eq!(temporary(&machine.sandbox), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read_dir(prefix.join("bin")).unwrap().count(), 2);
    // Only below the prefix, and nothing in the user's home.
    let home = machine.sandbox.path().join("user");
    assert_eq!(std::fs::read_dir(home).unwrap().count(), 0);

    // Another environment is named, not taken in silence.
    let said = Machine::new()
        .with("SAME_ENVIRONMENT", "k3s")
        .installs(&release.url("release"))
        .ok();
    assert!(
        said.stdout.contains("SAME_ENVIRONMENT=k3s is not known"),
        "{}",
        said.stdout
    );
    // Without curl, without openssl, without a prefix: the user's own folder, or the machine's for root.
    if Path::new("/usr/bin/wget").exists() && Path::new("/usr/bin/python3").exists() && !is_root() {
        let mut machine = Machine::new().with_only(&["wget", "python3"]);
        machine.settings.remove("PREFIX");
        let url = release.url("release");
        let _ = machine.types(&format!("wget -q -O - {url}/install.sh | sh")).ok();
        assert!(machine.sandbox.path().join("user/.local/bin/same").exists());
    }
}

fn an_installation_is_replaced_in_one_step_and_spares_what_is_not_ours() {
    let release = need!(release());
    let machine = Machine::new();
    let bin = machine.prefix().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("same"), "#!/bin/sh\necho another program\n").unwrap();
    let said = machine.installs(&release.url("release")).ok();
    assert!(
        said.stdout.contains("is another program and stays"),
        "{}",
        said.stdout
    );
    assert!(
        std::fs::read_to_string(bin.join("same"))
            .unwrap()
            .contains("another program")
    );
    // A new file takes the old one's name, so that a command that runs goes on with the old one.
    let inode = || bin.join("samebundle").metadata().unwrap().ino();
    let before = inode();
    let said = machine.installs(&release.url("release")).ok();
    assert!(said.stdout.contains("(before: samebundle "), "{}", said.stdout);
    assert_ne!(before, inode());
    // A folder that cannot be written to is said to be so.
    let closed = Machine::new().with("PREFIX", "/proc/nowhere");
    let said = closed.installs(&release.url("release")).exits(1);
    assert!(
        said.stderr.contains("cannot write to /proc/nowhere"),
        "{}",
        said.stderr
    );
}

/// One way of tampering with a release that lies in a folder.
type Tampering = (&'static str, fn(&Path, &Release), &'static str);

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    how(&mut bytes);
    replace(path, &bytes);
}

/// Puts a new file in the place of one that is linked to the release.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

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
                bytes.extend_from_slice(b"x  y\n")
            })
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
                bytes.insert(1, b' ')
            })
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

fn the_wheel_installs_without_an_index() {
    let release = need!(release());
    let greet = need!(greet().ok_or("the busybox image was not made (tests/setup/images)"));
    let machine = Machine::new();
    let environment = machine.sandbox.path().join("environment");
    let shown = environment.display();
    let wheel = release.file(".whl");
    let _ = machine
        .types(&format!(
            "python3 -m venv {shown} && {shown}/bin/pip install --quiet --no-index {}",
            wheel.display()
        ))
        .ok();
    for line in ["same", "samebundle", "python -m samebundle"] {
        let said = machine.types(&format!("{shown}/bin/{line} --version")).ok();
        assert!(
            said.stdout.trim_end().ends_with(env!("CARGO_PKG_VERSION")),
            "{}",
            said.stdout
        );
    }
    // By a link elsewhere, as pipx makes it; the exit code is the program's.
    symlink(
        environment.join("bin/same"),
        machine.sandbox.path().join("linked"),
    )
    .unwrap();
    let _ = machine.types("./linked list").ok();
    let _ = machine.types("./linked nosuch").exits(2);
    let archive = machine.sandbox.path().join("greet.tgz");
    let publisher = greet.publisher(&machine.sandbox);
    let _ = publisher.ok(["copy", "greet", archive.to_str().unwrap()]);
    let _ = machine
        .types(&format!(
            "PATH={shown}/bin:$PATH\nset -e\nsame trust add release {}\nsame create program -f {}\nsame run program greet",
            greet.key().display(),
            archive.display()
        ))
        .ok();
}

/// The demo's bundle as one file, its author's key, and what it gives where it was built.
struct Demo {
    sandbox: Sandbox,
    outputs: Value,
}

fn demo() -> Result<&'static Demo, &'static str> {
    static MADE: OnceLock<Result<Demo, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let sandbox = Sandbox::new();
        let sources = digits(&sandbox)?;
        let author = sandbox.home("author");
        let _ = author.ok(["build", sources.to_str().unwrap(), "-t", "digits"]);
        let _ = author.ok(["key", "generate", "--no-passphrase"]);
        let _ = author.ok(["key", "export", "--file", "author.pub"]);
        let _ = author.ok(["sign", "digits"]);
        let _ = author.ok(["copy", "digits", "digits.tgz"]);
        let _ = author.ok(["install", "digits"]);
        let ran = author.ok(["run", "digits", "--epochs=30", "--output", "json"]);
        Ok(Demo {
            outputs: crate::flow::outputs(&ran),
            sandbox,
        })
    });
    made.as_ref().map_err(String::as_str)
}

/// A machine that has a root of its own.
struct Root {
    sandbox: Sandbox,
}

impl Root {
    /// Unpacks a root from a tar.
    fn of(tar: &Path) -> Result<Self, String> {
        if !is_root() {
            return Err("a machine's root can be made by root only".to_owned());
        }
        let sandbox = Sandbox::new();
        let root = sandbox.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let _ = Ran::of(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(&root)).ok();
        std::fs::create_dir_all(root.join("srv")).unwrap();
        Ok(Self { sandbox })
    }

    /// A Debian with what an installer needs.
    fn empty() -> Result<Self, String> {
        let tar = cache().join("roots/bookworm.tar");
        match tar.exists() {
            true => Self::of(&tar),
            false => Err("the empty Debian was not made (tests/setup/root)".to_owned()),
        }
    }

    fn put(&self, file: &Path, name: &str) {
        std::fs::copy(file, self.sandbox.path().join("root/srv").join(name)).unwrap();
    }

    fn types(&self, lines: &str) -> Ran {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .arg(repository().join("tests/setup/enter"))
            .arg(self.sandbox.path().join("root"))
            .args(["bash", "-c", lines]);
        Ran::of(&mut command)
    }

    /// Installs by these lines, and runs the demo.
    fn runs_the_demo(&self, demo: &Demo, install: &str) {
        for name in ["digits.tgz", "author.pub"] {
            self.put(&demo.sandbox.path().join(name), name);
        }
        let said = self.types("! command -v cc gcc cargo rustc make same").ok();
        assert_eq!(said.stdout, "");
        let _ = self.types(&format!("set -e\n{install}")).ok();
        let _ = self
            .types("same trust add author /srv/author.pub && same create program -f /srv/digits.tgz")
            .ok();
        let ran = self
            .types("same run program digits --epochs=30 --output json")
            .ok();
        assert_eq!(crate::flow::outputs(&ran), demo.outputs);
    }
}

fn the_installer_runs_the_demo_in_an_empty_debian() {
    let (release, demo, root) = (need!(release()), need!(demo()), need!(Root::empty()));
    let lines = format!(
        "export SAME_ENVIRONMENT=local\ncurl {}/install.sh | bash",
        release.url("release")
    );
    root.runs_the_demo(demo, &lines);
}

fn the_archive_runs_the_demo_in_an_empty_debian() {
    let (release, demo, root) = (need!(release()), need!(demo()), need!(Root::empty()));
    root.put(&release.file(".tar.gz"), "samebundle.tar.gz");
    root.runs_the_demo(
        demo,
        "tar -xzf /srv/samebundle.tar.gz --strip-components=1 -C /usr/local",
    );
}

fn the_package_runs_the_demo_in_an_empty_debian() {
    let (release, demo, root) = (need!(release()), need!(demo()), need!(Root::empty()));
    root.put(&release.file(".deb"), "samebundle.deb");
    root.runs_the_demo(demo, "dpkg -i /srv/samebundle.deb\ndpkg --verify samebundle");
    // It leaves as it came.
    let _ = root
        .types("dpkg --purge samebundle && ! command -v same samebundle")
        .ok();
}

fn the_wheel_runs_the_demo_in_a_debian_with_python_alone() {
    let (release, demo) = (need!(release()), need!(demo()));
    let image =
        need!(samebundle_tests::image("python").ok_or("the python image was not made (tests/setup/images)"));
    let index: Value = serde_json::from_slice(&std::fs::read(image.join("index.json")).unwrap()).unwrap();
    let blob = |digest: &Value| {
        image
            .join("blobs")
            .join(digest.as_str().unwrap().replace(':', "/"))
    };
    let manifest = std::fs::read(blob(&index["manifests"][0]["digest"])).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let root = need!(Root::of(&blob(&manifest["layers"][0]["digest"])));
    let wheel = release.file(".whl");
    let name = wheel.file_name().unwrap().to_str().unwrap();
    root.put(&wheel, name);
    root.runs_the_demo(
        demo,
        &format!("pip install --no-index --root-user-action=ignore /srv/{name}"),
    );
}
