//! The one place that reads the environment, the home directory and the clock.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use samebundle_registry::remote::network::Proxies;
use samebundle_runtime::Clock;

/// What the process was started with, read once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where everything of samebundle is kept.
    pub(crate) home: PathBuf,
    /// The user's home directory, for credential files.
    pub(crate) user_home: Option<PathBuf>,
    /// Folder that relative paths are under.
    pub(crate) current_dir: PathBuf,
    /// All environment variables that are UTF-8.
    pub(crate) environment: HashMap<String, String>,
    /// Name that the program was called by, `same` or `samebundle`.
    pub(crate) program: String,
}

/// Settings could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// No home directory at all.
    #[error("there is no home directory: set HOME, XDG_DATA_HOME or SAMEBUNDLE_HOME, or give --home DIR")]
    NoHome,
    /// The working directory is gone.
    #[error("the current directory cannot be used")]
    CurrentDir(#[source] std::io::Error),
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// If there is no place for a home.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub(crate) fn read(home: Option<PathBuf>) -> Result<Self, SettingsError> {
        let environment: HashMap<String, String> = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let folder = |key: &str| {
            environment
                .get(key)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let user_home = folder("HOME");
        let home = home
            .or_else(|| folder("SAMEBUNDLE_HOME"))
            .or_else(|| folder("XDG_DATA_HOME").map(|data| data.join("samebundle")))
            .or_else(|| {
                user_home
                    .as_ref()
                    .map(|user| user.join(".local/share/samebundle"))
            })
            .ok_or(SettingsError::NoHome)?;
        let current_dir = std::env::current_dir().map_err(SettingsError::CurrentDir)?;
        let program = std::env::args_os()
            .next()
            .and_then(|name| Some(Path::new(&name).file_name()?.to_str()?.to_owned()))
            .filter(|name| name == "same")
            .unwrap_or_else(|| "samebundle".to_owned());
        Ok(Self {
            home: current_dir.join(home),
            user_home,
            current_dir,
            environment,
            program,
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
        let own = [".config/containers/certs.d", ".config/docker/certs.d"];
        let own = own.into_iter().filter_map(|folder| Some(user?.join(folder)));
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        own.chain(system).collect()
    }

    /// The files of registries.conf in the order in which they are read: one, and those of its `.d` folders.
    pub(crate) fn registries_conf(&self) -> Vec<PathBuf> {
        if let Some(path) = self.variable("CONTAINERS_REGISTRIES_CONF") {
            return vec![path.into()];
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
                // The user's own file stands for the system's.
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

    /// Returns an environment variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
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
