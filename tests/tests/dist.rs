//! A release as it is given to people: packed, signed, served, installed where nothing else is, and refused where it was
//! tampered with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use samebundle_tests::{Home, Ran, Sandbox, Test, command_under_test, greet, peer, repository, skip, tests};
use serde_json::Value;

macro_rules! need {
    ($what:expr) => {
        match $what {
            Ok(value) => value,
            Err(why) => return skip(&format!("dist: {why}")),
        }
    };
}

pub(crate) mod debian;
pub(crate) mod tampering;

pub(crate) const TESTS: &[Test] = tests![
    a_release_is_the_same_each_time_and_says_what_is_in_it,
    a_release_is_checked_by_the_tool_and_by_cosign,
    a_release_is_checked_by_hand_as_the_document_says,
    the_first_command_of_the_seeds_installs,
    an_installation_is_replaced_in_one_step_and_spares_what_is_not_ours,
    the_wheel_installs_without_an_index
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
        let sandbox = Sandbox::shared();
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
}

fn a_release_is_checked_by_the_tool_and_by_cosign() {
    let release = need!(release());
    let sandbox = Sandbox::new();
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
    let provenance = std::fs::read(release.file(".provenance.json")).unwrap();
    let provenance: Value = serde_json::from_slice(&provenance).unwrap();
    assert_eq!(stated["predicate"], provenance);
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
    // Without curl, and without openssl.
    if ["wget", "python3"]
        .iter()
        .all(|name| Path::new("/usr/bin").join(name).exists())
    {
        let machine = Machine::new().with_only(&["wget", "python3"]);
        let url = release.url("release");
        let _ = machine.types(&format!("wget -q -O - {url}/install.sh | sh")).ok();
        assert!(machine.prefix().join("bin/same").exists());
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

/// Changes a file in a folder that [`Release::linked`] made.
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
