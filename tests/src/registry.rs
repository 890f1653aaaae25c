//! A registry for one test.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Home, Running, Sandbox};
use crate::tool::peer;

/// A registry on a free port of the loopback, over plain HTTP; ends with this value.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    process: Running,
}

impl Registry {
    /// Debian's docker-registry (distribution 2.8), storage in the sandbox; none where it is not installed.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn debian(sandbox: &Sandbox) -> Option<Self> {
        let program = peer("docker-registry")?;
        let address = free_port();
        let folder = sandbox.path().join(format!("registry-{}", address.port()));
        let root = folder.join("data");
        let _ = std::fs::create_dir_all(&root);
        let config = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  delete: {{enabled: true}}\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: {address}}}\n",
            root.display()
        );
        let _ = std::fs::write(&config, text);
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg(config)
            .env_clear()
            .env("HOME", &folder)
            .stdin(Stdio::null());
        quiet(&mut command, &folder.join("log"));
        Some(Self::started(address, &mut command))
    }

    /// Our own server, `registry serve`, over a folder in the sandbox.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn own(sandbox: &Sandbox, home: &Home) -> Self {
        Self::own_with(sandbox, home, &[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn own_with(sandbox: &Sandbox, home: &Home, arguments: &[&str]) -> Self {
        Self::own_on(free_port(), sandbox, home, arguments)
    }

    /// The same at an address of this machine that others reach as well.
    pub(crate) fn own_at(at: IpAddr, sandbox: &Sandbox, home: &Home) -> Self {
        Self::own_on(free_port_at(at), sandbox, home, &[])
    }

    fn own_on(address: SocketAddr, sandbox: &Sandbox, home: &Home, arguments: &[&str]) -> Self {
        let root = tempfile::Builder::new()
            .prefix("own-registry-")
            .tempdir_in(sandbox.path())
            .map_or_else(|_| sandbox.path().join("own-registry"), tempfile::TempDir::keep);
        let root = root.display().to_string();
        Self::serving_on(address, sandbox, home, &[&["--root", &root], arguments].concat())
    }

    /// `registry serve` with these arguments.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn serving(sandbox: &Sandbox, home: &Home, arguments: &[&str]) -> Self {
        Self::serving_on(free_port(), sandbox, home, arguments)
    }

    fn serving_on(address: SocketAddr, sandbox: &Sandbox, home: &Home, arguments: &[&str]) -> Self {
        let listen = address.to_string();
        let mut command = home.command(["registry", "serve", "--listen", &listen]);
        command.args(arguments);
        let log = format!("own-registry-{}.log", address.port());
        quiet(&mut command, &sandbox.path().join(log));
        Self::started(address, &mut command)
    }

    fn started(address: SocketAddr, command: &mut Command) -> Self {
        let mut process = Running::of(command);
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                process.ended().is_none(),
                "the registry ended at its start: {command:?}"
            );
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the registry did not come up: {command:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, process }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A reference in this registry.
    pub fn reference(&self, repository_and_tag: &str) -> String {
        format!("{}/{repository_and_tag}", self.address)
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

pub(crate) fn quiet(command: &mut Command, log: &std::path::Path) {
    if let Ok(file) = File::create(log) {
        if let Ok(second) = file.try_clone() {
            command.stdout(Stdio::from(second));
        }
        command.stderr(Stdio::from(file));
    }
}

/// A port of the loopback that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    free_port_at(Ipv4Addr::LOCALHOST.into())
}

/// A port that was free a moment ago.
#[expect(clippy::panic, reason = "a machine without a free port cannot run tests")]
fn free_port_at(at: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).and_then(|listener| listener.local_addr());
    listener.unwrap_or_else(|error| panic!("no free port: {error}"))
}
