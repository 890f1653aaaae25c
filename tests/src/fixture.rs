//! Bundles that many tests start from, built once a test run and copied.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sandbox::{Home, Sandbox};
use crate::tool::{image, kfp, repository};
use crate::tree::copy_tree;

/// A signed bundle of `tests/programs/greet`: its publisher's home, its public key.
#[derive(Debug)]
pub struct Greet {
    sandbox: Sandbox,
    digest: String,
}

/// The greet bundle, built and signed at the first call; none where its base image was not made (`tests/setup/images`).
pub fn greet() -> Option<&'static Greet> {
    static BUILT: OnceLock<Option<Greet>> = OnceLock::new();
    BUILT
        .get_or_init(|| image("busybox").map(|image| Greet::build(&image)))
        .as_ref()
}

impl Greet {
    fn build(busybox: &Path) -> Self {
        let sandbox = Sandbox::shared();
        let folder = Self::sources_in(&sandbox, busybox);
        let home = sandbox.home("publisher");
        let built = home.ok(["build", text(&folder), "-t", "greet"]);
        let _ = home.ok(["key", "generate", "--name", "release", "--no-passphrase"]);
        let key = home.ok(["key", "export", "release"]);
        let _ = std::fs::write(sandbox.path().join("release.pub"), key.stdout);
        let _ = home.ok(["sign", "greet", "--key", "release"]);
        Self {
            digest: built.digest(),
            sandbox,
        }
    }

    fn sources_in(sandbox: &Sandbox, busybox: &Path) -> PathBuf {
        let folder = sandbox.path().join("greet");
        let _ = copy_tree(&repository().join("tests/programs/greet"), &folder);
        let _ = copy_tree(busybox, &folder.join("images/busybox"));
        folder
    }

    /// The index digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The public key that signed it, a file.
    pub fn key(&self) -> PathBuf {
        self.sandbox.path().join("release.pub")
    }

    /// A copy of the sources, to be changed and built.
    ///
    /// # Panics
    /// When the base image has gone since.
    pub fn sources(&self, sandbox: &Sandbox) -> PathBuf {
        Self::sources_in(sandbox, &self.sandbox.path().join("greet/images/busybox"))
    }

    /// A copy of the publisher's home: the bundle in its store, signed, with the private key and no policy.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn publisher(&self, sandbox: &Sandbox) -> Home {
        let home = sandbox.home("publisher");
        let copied = copy_tree(self.sandbox.home("publisher").path(), home.path());
        assert!(copied.is_ok(), "{copied:?}");
        home
    }

    /// A new home that trusts the key for every place.
    pub fn trusting(&self, sandbox: &Sandbox, name: &str) -> Home {
        let home = sandbox.home(name);
        let _ = home.ok(["trust", "add", "release", text(&self.key())]);
        home
    }
}

/// The digits bundle's sources in a sandbox, with the base image beside them; none (and why) where the image or the kfp SDK
/// was not set up.
///
/// # Errors
/// What is missing.
pub fn digits(sandbox: &Sandbox) -> Result<PathBuf, String> {
    let python = image("python").ok_or("the python image was not made (tests/setup/images)")?;
    kfp().ok_or("the kfp SDK was not installed (tests/setup/python)")?;
    let folder = sandbox.path().join("digits");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    for name in ["samebundle.yaml", "pipeline.py"] {
        let from = repository().join("bundles/digits").join(name);
        std::fs::copy(&from, folder.join(name)).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    copy_tree(&python, &folder.join("images/python")).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
