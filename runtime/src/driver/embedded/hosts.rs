//! The container's `/etc/hosts`. An image has none, or one that knows another machine.

use std::fs;
use std::io;
use std::path::Path;

use super::protocol::Bind;
use crate::driver::{HOSTNAME, Operation};

const TARGET: &str = "/etc/hosts";

/// Writes the file into the container's folder and returns its mount; none if the operation brings its own. With the
/// machine's network come the machine's own names.
pub(super) fn bind(operation: &Operation, folder: &Path) -> io::Result<Option<Bind>> {
    if operation.mounts.iter().any(|mount| mount.target == TARGET) {
        return Ok(None);
    }
    let mut text = format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if operation.limits.network {
        text.push_str(&fs::read_to_string(TARGET).unwrap_or_default());
    }
    let source = folder.join("hosts");
    fs::write(&source, text)?;
    Ok(Some(Bind {
        source,
        target: TARGET.to_owned(),
        writable: false,
    }))
}
