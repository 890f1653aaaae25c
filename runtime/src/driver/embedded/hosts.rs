//! The container's `/etc/hosts`. An image has no such file, or one for another machine.

use std::fs;
use std::io;
use std::path::Path;

use crate::driver::{Bind, HOSTNAME};

const TARGET: &str = "/etc/hosts";

/// Writes the file into the container's folder and returns its bind. With the machine's network it has the machine's
/// own names as well.
pub(super) fn bind(network: bool, folder: &Path) -> io::Result<Bind> {
    let mut text = format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if network {
        text.push_str(&fs::read_to_string(TARGET).unwrap_or_default());
    }
    let source = folder.join("hosts");
    fs::write(&source, text)?;
    Ok(Bind {
        source,
        target: TARGET.to_owned(),
        writable: false,
    })
}
