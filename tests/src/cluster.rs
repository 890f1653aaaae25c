//! A Kubernetes that all tests of a process share: one node in a container, in a Docker engine of its own.
//!
//! `tests/cluster/hold` brings it up for as long as its input is open, so that it ends with this process however that
//! ends. A test takes a [`Turn`]: many at a time share the cluster ([`Cluster::shared`]), each in namespaces of its own; one that
//! restarts the node has it alone ([`Cluster::alone`]).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::docker::client;
use crate::registry::Registry;
use crate::sandbox::{Home, Ran, Sandbox, is_root};
use crate::tool::{cache, peer, repository};

/// The cluster of this process, once a test has asked for it; or why there is none.
static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
/// Held by those who use the cluster together, or by the one who has it alone.
static TURN: RwLock<()> = RwLock::new(());
/// Held by the test that says how many GPUs there are.
static GPUS: Mutex<()> = Mutex::new(());
/// Whether Kueue is there; held while it is brought in.
static KUEUE: Mutex<bool> = Mutex::new(false);

/// A Kubernetes of one node.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    docker: String,
    address: String,
    gateway: String,
    node: String,
    holder: Mutex<Option<Child>>,
    names: AtomicUsize,
}

/// The right to use the cluster, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    cluster: &'static Cluster,
    _held: Held,
}

#[derive(Debug)]
#[expect(dead_code, reason = "the guards are held, not read")]
enum Held {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Deref for Turn {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Cluster {
    /// The cluster, together with other tests; it is started at the first call.
    ///
    /// # Errors
    /// Why there is none: what was not set up, or what did not come up.
    pub fn shared() -> Result<Turn, String> {
        let held = TURN.read().unwrap_or_else(PoisonError::into_inner);
        Self::turn(Held::Together(held))
    }

    /// The cluster for a test that disturbs others, when they have ended.
    ///
    /// # Errors
    /// As [`Self::shared`].
    pub fn alone() -> Result<Turn, String> {
        let held = TURN.write().unwrap_or_else(PoisonError::into_inner);
        Self::turn(Held::Alone(held))
    }

    fn turn(held: Held) -> Result<Turn, String> {
        let cluster = CLUSTER.get_or_init(Self::start).as_ref().map_err(Clone::clone)?;
        Ok(Turn { cluster, _held: held })
    }

    /// Whether a cluster can be had here: the folder of the node's image.
    ///
    /// # Errors
    /// What is missing.
    pub fn possible() -> Result<PathBuf, String> {
        let image = cache().join("cluster/node");
        if !image.join("index.json").is_file() {
            return Err("the node's image was not made (tests/setup/cluster)".to_owned());
        }
        if peer("dockerd").is_none() {
            return Err("dockerd is not installed (tests/setup/packages docker)".to_owned());
        }
        if !is_root() {
            return Err("a Docker engine of our own needs root".to_owned());
        }
        Ok(image)
    }

    fn start() -> Result<Self, String> {
        let image = Self::possible()?;
        let folder = Sandbox::shared().path().join("cluster");
        let mut command = Command::new(repository().join("tests/cluster/hold"));
        command.arg(&folder).arg(image);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A signal from the terminal reaches this process alone; the script sees its input end, and clears up.
        let mut holder = command
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let said = Said::of(holder.stdout.take());
        if !said.up {
            let mut why = String::new();
            if let Some(mut errors) = holder.stderr.take() {
                let _ = errors.read_to_string(&mut why);
            }
            let _ = holder.wait();
            return Err(format!("no cluster: {}", why.trim()));
        }
        Ok(Self {
            folder,
            docker: said.take("docker"),
            address: said.take("address"),
            gateway: said.take("gateway"),
            node: said.take("node"),
            holder: Mutex::new(Some(holder)),
            names: AtomicUsize::new(0),
        })
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The node's address, where its API server and its ports are reached.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of the node, and of its container.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The address of the Docker engine that the node runs in, as `DOCKER_HOST` takes it.
    pub fn docker_host(&self) -> &str {
        &self.docker
    }

    /// Calls kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(kubectl());
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        Ran::of(command.env("HOME", &self.folder).current_dir(&self.folder))
    }

    /// Calls Docker's client against the engine that the node runs in.
    pub fn docker(&self, arguments: &[&str]) -> Ran {
        Ran::of(client().args(arguments).env("DOCKER_HOST", &self.docker))
    }

    /// A new namespace, removed with the value. Its name begins with `what`.
    pub fn namespace(&self, what: &str) -> Namespace<'_> {
        self.namespace_with(what, &[])
    }

    /// The same with labels (`name=value`).
    pub fn namespace_with(&self, what: &str, labels: &[&str]) -> Namespace<'_> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("{what}-{number}");
        let _ = self.kubectl(&["create", "namespace", &name]).ok();
        for label in labels {
            let _ = self.kubectl(&["label", "namespace", &name, label]).ok();
        }
        Namespace { cluster: self, name }
    }

    /// Our own registry, `registry serve`, where both the machine and the node reach it, over plain HTTP.
    ///
    /// # Panics
    /// When it does not come up, or its address is none.
    #[expect(clippy::panic, reason = "a network without an address cannot run tests")]
    pub fn registry(&self, sandbox: &Sandbox, home: &Home) -> Registry {
        let at: IpAddr = self
            .gateway
            .parse()
            .unwrap_or_else(|error| panic!("no address, {}: {error}", self.gateway));
        let registry = Registry::own_at(at, sandbox, home);
        self.mirror(&registry.address(), &registry);
        registry
    }

    /// Makes a registry the place where the node gets the images of a host (`docker.io`; `_default` for all).
    pub fn mirror(&self, host: &str, registry: &Registry) {
        let folder = format!("/etc/containerd/certs.d/{host}");
        let file = self.folder.join(format!("hosts-{}.toml", registry.address()));
        let text = format!(
            "[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            registry.address()
        );
        let _ = fs::write(&file, text);
        let _ = self.docker(&["exec", &self.node, "mkdir", "-p", &folder]).ok();
        let place = format!("{}:{folder}/hosts.toml", self.node);
        let _ = self.docker(&["cp", &file.display().to_string(), &place]).ok();
    }

    /// Says how many GPUs the node has, in its status, until the value is dropped: what is scheduled is true, and there
    /// is no device behind it.
    pub fn gpus(&self, count: usize) -> Gpus<'_> {
        let alone = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        let set = format!(r#"{{"op":"add","path":"/status/capacity/nvidia.com~1gpu","value":"{count}"}}"#);
        let _ = self.patch_capacity(&set).ok();
        let wanted = count.to_string();
        let allocatable = r"jsonpath={.status.allocatable.nvidia\.com/gpu}";
        let there = || {
            self.kubectl(&["get", "node", &self.node, "-o", allocatable])
                .stdout
                == wanted
        };
        wait_for(
            "the kubelet to take the GPUs over",
            Duration::from_secs(60),
            there,
        );
        Gpus {
            cluster: self,
            _alone: alone,
        }
    }

    fn patch_capacity(&self, operation: &str) -> Ran {
        let patch = format!("[{operation}]");
        let call = [
            "patch",
            "node",
            &self.node,
            "--subresource=status",
            "--type=json",
            "-p",
            &patch,
        ];
        self.kubectl(&call)
    }

    /// Kueue, brought in by the first test that wants it.
    ///
    /// # Errors
    /// That it was not set up.
    pub fn kueue(&self) -> Result<(), String> {
        let mut there = KUEUE.lock().unwrap_or_else(PoisonError::into_inner);
        if !*there {
            self.bring_kueue()?;
            *there = true;
        }
        Ok(())
    }

    fn bring_kueue(&self) -> Result<(), String> {
        let made = cache().join("kueue");
        if !made.join("manifests.yaml").is_file() {
            return Err("Kueue was not made (tests/setup/cluster kueue)".to_owned());
        }
        self.import(&made.join("image"));
        let manifests = made.join("manifests.yaml").display().to_string();
        let _ = self.kubectl(&["apply", "--server-side", "-f", &manifests]).ok();
        let wait = [
            "wait",
            "deployment",
            "--all",
            "-n",
            "kueue-system",
            "--for=condition=Available",
            "--timeout=180s",
        ];
        let _ = self.kubectl(&wait).ok();
        Ok(())
    }

    /// Puts an image that `tests/setup` made (a folder) into the node's containerd, under the name that it states.
    pub fn import(&self, image: &Path) {
        let archive = self.archive(image);
        let place = format!("{}:/var/import.tar", self.node);
        let _ = self.docker(&["cp", &archive, &place]).ok();
        let _ = fs::remove_file(&archive);
        let call = "ctr -n k8s.io images import /var/import.tar && rm /var/import.tar";
        let _ = self.docker(&["exec", &self.node, "sh", "-c", call]).ok();
    }

    /// Puts such an image into the Docker engine, beside the node's, and gives its name.
    pub fn load(&self, image: &Path) -> String {
        let archive = self.archive(image);
        let said = self.docker(&["load", "--quiet", "--input", &archive]).ok().stdout;
        let _ = fs::remove_file(&archive);
        said.trim().trim_start_matches("Loaded image: ").to_owned()
    }

    fn archive(&self, image: &Path) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let archive = self.folder.join(format!("image-{number}.tar"));
        let mut tar = Command::new("tar");
        let _ = Ran::of(tar.arg("-C").arg(image).arg("-cf").arg(&archive).arg(".")).ok();
        archive.display().to_string()
    }

    /// Restarts the node's container, and waits until the node is Ready again. For a test that has the cluster alone.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        let before = self.ups();
        let _ = self.docker(&["restart", "--time", "5", &self.node]).ok();
        wait_for("the node to come back", Duration::from_secs(180), || {
            self.ups() > before
        });
    }

    /// How often the node has come up.
    fn ups(&self) -> usize {
        let log = self.docker(&["logs", &self.node]);
        log.stdout.lines().filter(|line| *line == "k8s-up: up").count()
    }

    /// Ends the cluster and waits until everything that it consists of is gone.
    fn end(&self) {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut holder) = holder {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
    }
}

/// Ends the cluster that the tests of this process shared.
pub(crate) fn end_shared() {
    if let Some(Ok(cluster)) = CLUSTER.get() {
        cluster.end();
    }
}

/// kubectl, of the version of the cluster.
pub fn kubectl() -> PathBuf {
    cache().join("cluster/bin/kubectl")
}

/// Asks four times a second whether something has come about.
///
/// # Panics
/// When it has not within the limit.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut come: impl FnMut() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// What `hold` says when the cluster is up.
#[derive(Debug, Default)]
struct Said {
    pairs: Vec<(String, String)>,
    up: bool,
}

impl Said {
    fn of(output: Option<impl Read>) -> Self {
        let mut said = Self::default();
        let lines = output
            .into_iter()
            .flat_map(|output| BufReader::new(output).lines());
        for line in lines.map_while(Result::ok) {
            if line == "up" {
                said.up = true;
                break;
            }
            let pair = line.split_once('=');
            said.pairs
                .extend(pair.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        said
    }

    fn take(&self, name: &str) -> String {
        let found = self.pairs.iter().find(|pair| pair.0 == name);
        found.map(|pair| pair.1.clone()).unwrap_or_default()
    }
}

/// A namespace of one test.
#[derive(Debug)]
pub struct Namespace<'c> {
    cluster: &'c Cluster,
    name: String,
}

impl Namespace<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls kubectl in it.
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.cluster
            .kubectl(&[&["--namespace", &self.name], arguments].concat())
    }

    /// Applies objects that are given as YAML.
    pub fn apply(&self, objects: &str) -> Ran {
        let file = self.cluster.folder.join(format!("{}.yaml", self.name));
        let _ = fs::write(&file, objects);
        self.kubectl(&["apply", "-f", &file.display().to_string()])
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // It goes in the background: the cluster ends before long, and nobody uses the name again.
        let _ = self
            .cluster
            .kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// The GPUs that the node states; they are gone with this value.
#[derive(Debug)]
pub struct Gpus<'c> {
    cluster: &'c Cluster,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Gpus<'_> {
    fn drop(&mut self) {
        let gone = r#"{"op":"remove","path":"/status/capacity/nvidia.com~1gpu"}"#;
        let _ = self.cluster.patch_capacity(gone);
    }
}
