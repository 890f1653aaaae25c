//! The packages that a bundle carries, and how `pip` in a container is made to take them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use samebundle_spec::Digest;

use crate::driver::Mount;

/// Where containers see the wheels.
const TARGET: &str = "/samebundle/wheels";

/// A folder of wheels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheelhouse {
    /// The folder on this machine.
    pub folder: PathBuf,
    /// Digest of the layer that it was unpacked from.
    pub digest: Digest,
}

impl Wheelhouse {
    pub(super) fn mount(&self) -> Mount {
        Mount {
            source: self.folder.clone(),
            target: TARGET.to_owned(),
            writable: false,
        }
    }
}

/// Sets up pip: from the wheelhouse only.
///
/// With `no-index` pip leaves out every index, those of a command's own `--index-url` and `--extra-index-url` too. The
/// image's mark against installing beside the system's packages (PEP 668) does not count in a root that is thrown away.
pub(super) fn environment() -> BTreeMap<String, String> {
    let settings = [
        ("PIP_BREAK_SYSTEM_PACKAGES", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_FIND_LINKS", TARGET),
        ("PIP_NO_CACHE_DIR", "1"),
        ("PIP_NO_INDEX", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PIP_ROOT_USER_ACTION", "ignore"),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
