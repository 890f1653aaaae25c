//! The one place that reads the environment, the home directory and the clock.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use samebundle_registry::remote::network::Proxies;
use samebundle_runtime::Clock;

/// The environment of the process, read once.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where everything of samebundle is kept; none if nothing names it.
    home: Option<PathBuf>,
    /// The user's home directory, for credential files.
    user_home: Option<PathBuf>,
    /// The folder below which relative paths are resolved.
    pub(crate) current_dir: PathBuf,
    /// All environment variables whose names are UTF-8.
    environment: HashMap<String, OsString>,
    /// The name by which the program was called, `same` or `samebundle`.
    pub(crate) program: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A variable may hold a credential.
        f.debug_struct("Settings")
            .field("home", &self.home)
            .field("current_dir", &self.current_dir)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

/// No home is known.
#[derive(Debug, thiserror::Error)]
#[error("there is no home directory: set HOME, XDG_DATA_HOME or SAMEBUNDLE_HOME, or give --home DIR")]
pub(crate) struct NoHome;

impl Settings {
    /// Reads the environment.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub(crate) fn read() -> Self {
        let environment: HashMap<String, OsString> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value)))
            .collect();
        let program = std::env::args_os()
            .next()
            .and_then(|name| Some(Path::new(&name).file_name()?.to_str()?.to_owned()))
            .filter(|name| name == "same")
            .unwrap_or_else(|| "samebundle".to_owned());
        let mut settings = Self {
            home: None,
            user_home: None,
            // If the folder was removed, relative paths are not found either, and the system reports that.
            current_dir: std::env::current_dir().unwrap_or_default(),
            environment,
            program,
        };
        settings.user_home = settings.path("HOME");
        let data = |settings: &Self| settings.path("XDG_DATA_HOME").map(|data| data.join("samebundle"));
        let user = settings.user_home.as_ref();
        let user = user.map(|user| user.join(".local/share/samebundle"));
        settings.home = settings
            .path("SAMEBUNDLE_HOME")
            .or_else(|| data(&settings))
            .or(user);
        settings
    }

    /// Takes the home that a command line names.
    pub(crate) fn set_home(&mut self, home: Option<PathBuf>) {
        self.home = home.or(self.home.take()).map(|home| self.current_dir.join(home));
    }

    /// Where everything of samebundle is kept.
    ///
    /// # Errors
    /// If nothing names the home.
    pub(crate) fn home(&self) -> Result<&Path, NoHome> {
        self.home.as_deref().ok_or(NoHome)
    }

    /// Where docker, podman and skopeo keep credentials, in their order.
    pub(crate) fn credential_files(&self) -> Vec<PathBuf> {
        let user = self.user_home.clone();
        let docker = self
            .path("DOCKER_CONFIG")
            .or_else(|| Some(user.clone()?.join(".docker")));
        [
            self.path("REGISTRY_AUTH_FILE"),
            self.path("XDG_RUNTIME_DIR")
                .map(|dir| dir.join("containers/auth.json")),
            user.map(|dir| dir.join(".config/containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The credentials file that `login` writes: REGISTRY_AUTH_FILE, or docker's.
    pub(crate) fn login_file(&self) -> Option<PathBuf> {
        self.path("REGISTRY_AUTH_FILE").or_else(|| {
            let docker = self.path("DOCKER_CONFIG");
            let folder = docker.or_else(|| Some(self.user_home.as_ref()?.join(".docker")));
            folder.map(|folder| folder.join("config.json"))
        })
    }

    /// The proxies of the environment. In capitals `HTTP_PROXY` is not read: servers set it from a header of their clients.
    pub(crate) fn proxies(&self) -> Proxies {
        let first = |names: [&str; 2]| names.into_iter().find_map(|name| self.variable(name));
        let all = first(["all_proxy", "ALL_PROXY"]);
        let secret = |text: Option<&str>| text.or(all).map(|text| text.to_owned().into());
        Proxies {
            http: secret(self.variable("http_proxy")),
            https: secret(first(["https_proxy", "HTTPS_PROXY"])),
            except: first(["no_proxy", "NO_PROXY"]).unwrap_or_default().to_owned(),
        }
    }

    /// Where docker and podman look for certificates of registries, the user's own first.
    pub(crate) fn certificates(&self) -> Vec<PathBuf> {
        let user = self.user_home.as_ref();
        let own = [
            ".config/containers/certs.d",
            ".config/docker/certs.d",
            ".docker/certs.d",
        ];
        let own = own.into_iter().filter_map(|folder| Some(user?.join(folder)));
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        own.chain(system).collect()
    }

    /// The files of registries.conf in the order in which they are read: one, and those of its `.d` folders.
    pub(crate) fn registries_conf(&self) -> Vec<PathBuf> {
        if let Some(path) = self.path("CONTAINERS_REGISTRIES_CONF") {
            return vec![path];
        }
        let user = self
            .user_home
            .as_ref()
            .map(|home| home.join(".config/containers"));
        let folders = [Some(PathBuf::from("/etc/containers")), user];
        let mut files = Vec::new();
        for folder in folders.into_iter().flatten() {
            let main = folder.join("registries.conf");
            if main.is_file() {
                // The user's own file replaces the system's.
                files = vec![main];
            }
            let listed = std::fs::read_dir(folder.join("registries.conf.d"));
            let mut more: Vec<_> = listed
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect();
            more.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
            more.sort();
            files.extend(more);
        }
        files
    }

    /// Returns an environment variable that is set, not empty, and UTF-8.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)?
            .to_str()
            .filter(|value| !value.is_empty())
    }

    /// Returns an environment variable as it is, if it is set.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        Some(self.environment.get(name)?.as_bytes().to_vec())
    }

    /// Returns an environment variable that names a file or folder.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.environment.get(name)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn new_id(&self) -> String {
        ulid::Ulid::from_datetime(self.now()).to_string()
    }
}
