//! What `tests/setup` made: foreign tools, images, the kfp SDK.

use std::path::{Path, PathBuf};

/// The work tree's top folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A variable of the test run's environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests are told by their environment where tools and vectors are"
)]
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// A folder of the outside vectors; none where `SAMEBUNDLE_VECTORS` is not set.
pub fn vectors(name: &str) -> Option<PathBuf> {
    variable("SAMEBUNDLE_VECTORS").map(|root| root.join(name))
}

/// Whether tests that try many places try all of them (`SAMEBUNDLE_FULL=1`) and not some.
pub fn full() -> bool {
    variable("SAMEBUNDLE_FULL").is_some_and(|value| value != Path::new("0"))
}

/// The folder where `tests/setup` keeps what it makes.
pub fn cache() -> PathBuf {
    variable("SAMEBUNDLE_CACHE").unwrap_or_else(|| {
        let base = variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_default();
        base.join("samebundle-tests")
    })
}

/// A foreign tool by name, from `tests/setup/peers` or the system; none where it is not installed.
pub fn peer(name: &str) -> Option<PathBuf> {
    let system = variable("PATH").unwrap_or_default();
    let places = std::iter::once(cache().join("peers/bin"))
        .chain(std::env::split_paths(&system))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The OCI layout of a base image (`python` or `busybox`) that `tests/setup/images` made.
pub fn image(name: &str) -> Option<PathBuf> {
    let place = cache().join("images").join(name).canonicalize().ok()?;
    place.join("index.json").is_file().then_some(place)
}

/// The folder with the pinned kfp SDK's commands that `tests/setup/python` made.
pub fn kfp() -> Option<PathBuf> {
    let folder = cache().join("python/bin");
    folder.join("kfp").is_file().then_some(folder)
}

/// The folder with the Python programs that judge what runs are sent as, which `tests/setup/judges` made.
pub fn judges() -> Option<PathBuf> {
    let folder = cache().join("judges/bin");
    folder.join("mlflow").is_file().then_some(folder)
}
