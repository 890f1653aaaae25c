//! A folder of its own for a test, homes in it, and the command run there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tool::{cache, kfp, variable};

/// The command under test: `SAMEBUNDLE_BIN`, or the one that cargo built beside this test binary.
///
/// # Panics
/// When there is none: the tests are about it, so that is no reason to skip.
#[expect(clippy::panic, reason = "without the command nothing here can be tested")]
pub fn command_under_test() -> PathBuf {
    if let Some(path) = variable("SAMEBUNDLE_BIN") {
        return path;
    }
    let test = std::env::current_exe().unwrap_or_default();
    let built = test
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("samebundle"))
        .find(|path| path.is_file());
    built.unwrap_or_else(|| {
        panic!(
            "no samebundle beside {}: cargo build -p samebundle-cli",
            test.display()
        )
    })
}

/// The folders of sandboxes that are never dropped.
static SHARED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Throws away the sandboxes that tests shared.
pub(crate) fn remove_shared() {
    for folder in SHARED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // A folder that cannot be removed is in nobody's way.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// A folder that is thrown away with the test.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// A new, empty one.
    ///
    /// # Panics
    /// When no folder can be made.
    #[expect(
        clippy::new_without_default,
        reason = "a default that makes a folder would surprise"
    )]
    #[expect(
        clippy::panic,
        reason = "a machine without a temporary folder cannot run tests"
    )]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("samebundle-test-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("cannot make a temporary folder: {error}"));
        Self { folder }
    }

    /// One that several tests share, in a static: it is thrown away when all tests have ended.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn shared() -> Self {
        let sandbox = Self::new();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.push(sandbox.path().to_path_buf());
        sandbox
    }

    /// The sandbox's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A home by name; empty until something is done there.
    pub fn home(&self, name: &str) -> Home {
        Home {
            folder: self.path().join("homes").join(name),
            sandbox: self.path().to_path_buf(),
        }
    }
}

/// A home folder of the command, and the place from which it is called.
#[derive(Debug, Clone)]
pub struct Home {
    folder: PathBuf,
    sandbox: PathBuf,
}

impl Home {
    /// The folder given as `--home`.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// A call of the command, to be changed before it is run: `--home` here, an environment of its own, and the sandbox as
    /// working folder.
    pub fn command<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(command_under_test());
        command.arg("--home").arg(&self.folder).args(arguments);
        self.furnish(&mut command);
        command
    }

    /// The same call in a network namespace of its own, without any route; none where this machine cannot make one.
    pub fn cut_off<I, S>(&self, arguments: I) -> Option<Command>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let flags: &[&str] = if is_root() { &["-n"] } else { &["-r", "-n"] };
        let works = Command::new("unshare")
            .args(flags)
            .arg("true")
            .output()
            .is_ok_and(|out| out.status.success());
        let mut command = Command::new("unshare");
        command
            .args(flags)
            .arg("--")
            .arg(command_under_test())
            .arg("--home")
            .arg(&self.folder)
            .args(arguments);
        self.furnish(&mut command);
        works.then_some(command)
    }

    /// Give a command the sandbox's environment and working folder, and nothing of the caller's but what names the
    /// package registries.
    pub fn furnish(&self, command: &mut Command) {
        let user = self.sandbox.join("user");
        let temporary = self.sandbox.join("tmp");
        for folder in [&user, &temporary] {
            let _ = std::fs::create_dir_all(folder);
        }
        let system = [
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
        ]
        .map(PathBuf::from);
        let sdk = kfp();
        let path = std::env::join_paths(sdk.iter().cloned().chain(system)).unwrap_or_default();
        command
            .env_clear()
            .env("HOME", &user)
            .env("TMPDIR", &temporary)
            .env("PATH", path);
        command
            .env("LANG", "C.UTF-8")
            .env("PIP_CACHE_DIR", cache().join("pip"));
        if let Some(folder) = sdk {
            // Else every home makes an environment of its own; the README's commands do.
            command.env("SAMEBUNDLE_KFP_PYTHON", folder.join("python"));
        }
        let registries = [
            "PIP_CERT",
            "PIP_INDEX_URL",
            "PIP_FIND_LINKS",
            "PIP_DEFAULT_TIMEOUT",
            "SSL_CERT_FILE",
        ];
        let proxies = [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
            "LLVM_PROFILE_FILE",
        ];
        for name in registries.into_iter().chain(proxies) {
            if let Some(value) = variable(name) {
                command.env(name, value);
            }
        }
        command.current_dir(&self.sandbox).stdin(Stdio::null());
    }

    /// Run the command and wait for its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run<I, S>(&self, arguments: I) -> Ran
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Ran::of(&mut self.command(arguments))
    }

    /// Run the command, which must succeed.
    ///
    /// # Panics
    /// When it does not, with what it said.
    #[track_caller]
    pub fn ok<I, S>(&self, arguments: I) -> Ran
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.run(arguments).ok()
    }

    /// Start the command and do not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<I, S>(&self, arguments: I) -> Running
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Running::of(&mut self.command(arguments))
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A command that goes on; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    line: String,
}

impl Running {
    /// Start a command.
    ///
    /// # Panics
    /// When it cannot be started.
    #[expect(clippy::panic, reason = "a test that cannot start what it tests has failed")]
    pub fn of(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        Self {
            child: Some(child),
            line,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Whether it has ended, and with what code (128 and the signal's number where one ended it).
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(code(status))
    }

    /// End it at once (`kill -9`).
    pub fn kill(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ask it to end (`kill`) and wait until it has.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(&mut self) {
        let _ = Command::new("kill").arg(self.id().to_string()).status();
        assert!(
            self.wait_for(Duration::from_secs(30)),
            "it does not end: {}",
            self.line
        );
    }

    /// Wait for its end for as long as given; true when it has ended.
    pub fn wait_for(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.ended().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Wait for its end and take what it said (where its streams were piped).
    ///
    /// # Panics
    /// When the system cannot say how it ended.
    #[expect(
        clippy::panic,
        reason = "a test that cannot learn how its process ended has failed"
    )]
    pub fn finish(mut self) -> Ran {
        let start = Instant::now();
        let Some(child) = self.child.take() else {
            panic!("taken twice: {}", self.line)
        };
        let output = child
            .wait_with_output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.line));
        Ran::from_output(self.line.clone(), &output, start.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command, for messages.
    pub line: String,
    /// Exit code; 128 and the signal's number where one ended it.
    pub code: i32,
    /// What it wrote to its output.
    pub stdout: String,
    /// What it wrote to its error stream.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Run any command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[expect(clippy::panic, reason = "a test that cannot start what it tests has failed")]
    pub fn of(command: &mut Command) -> Self {
        let start = Instant::now();
        let line = format!("{command:?}");
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        Self::from_output(line, &output, start.elapsed())
    }

    fn from_output(line: String, output: &Output, took: Duration) -> Self {
        Self {
            line,
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        }
    }

    /// It must have succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    #[must_use = "what it said is the point; drop it with `let _`"]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It must have ended with this code.
    ///
    /// # Panics
    /// When it did not, with what it said.
    #[track_caller]
    #[must_use = "what it said is the point; drop it with `let _`"]
    pub fn exits(self, wanted: i32) -> Self {
        let Self {
            line,
            code,
            stdout,
            stderr,
            ..
        } = &self;
        assert!(
            *code == wanted,
            "wanted exit {wanted}, got {code}: {line}\n--- output\n{stdout}\n--- errors\n{stderr}"
        );
        self
    }

    /// Its output as JSON; of several documents, one a line, the last.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test whose subject does not speak JSON has failed")]
    pub fn json(&self) -> serde_json::Value {
        let whole = serde_json::from_str(&self.stdout);
        let last = || {
            self.stdout
                .lines()
                .rev()
                .find_map(|line| serde_json::from_str(line).ok())
        };
        let value = whole.ok().or_else(last);
        value.unwrap_or_else(|| panic!("no JSON from {}:\n{}\n{}", self.line, self.stdout, self.stderr))
    }

    /// The first digest (`sha256:` and 64 hex digits) in its output.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test whose subject prints no digest has failed")]
    pub fn digest(&self) -> String {
        let found = self.stdout.match_indices("sha256:").find_map(|(at, _)| {
            let digest = self.stdout.get(at..at + 71)?;
            digest[7..]
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then(|| digest.to_owned())
        });
        found.unwrap_or_else(|| panic!("no digest from {}:\n{}\n{}", self.line, self.stdout, self.stderr))
    }
}
