//! Where tests find the outside vectors.

use std::path::PathBuf;

/// Returns a folder of the vectors that `SAMEBUNDLE_VECTORS` names; prints why a test is skipped where it is not set.
#[expect(
    clippy::disallowed_methods,
    reason = "tests take the folder of vectors from the environment"
)]
pub(crate) fn folder(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SAMEBUNDLE_VECTORS");
    if root.is_none() {
        println!("skipped: SAMEBUNDLE_VECTORS is not set");
    }
    root.map(|root| PathBuf::from(root).join(part))
}
