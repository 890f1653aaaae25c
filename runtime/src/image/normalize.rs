//! Converts a layer's tar of another tool to the form that [`pack`](super::pack()) writes.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

/// Copies a layer without times, names of owners and extended attributes, and without `left_out`: paths from its root,
/// with all below them, and folders above them that hold nothing else.
///
/// # Errors
/// If the layer is no tar, or cannot be read or written.
pub fn normalize(layer: &mut impl Read, left_out: &BTreeSet<PathBuf>, to: &mut impl Write) -> io::Result<()> {
    let mut builder = Builder::new(to);
    // The folders above what is left out, until another entry in them appears.
    let mut pending: Vec<(PathBuf, Header)> = Vec::new();
    for entry in Archive::new(layer).entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().collect();
        if left_out.iter().any(|out| path.starts_with(out)) {
            continue;
        }
        let mut header = plain_header(entry.header())?;
        header.set_size(entry.size());
        pending.retain(|(folder, _)| path.starts_with(folder) || folder.starts_with(&path));
        if entry.header().entry_type().is_dir() && left_out.iter().any(|out| out.starts_with(&path)) {
            pending.push((path, header));
            continue;
        }
        for (folder, mut header) in pending.drain(..) {
            builder.append_data(&mut header, folder, io::empty())?;
        }
        append(&mut builder, &mut entry, header, &path)?;
    }
    builder.into_inner()?.flush()
}

fn append<R: Read>(
    builder: &mut Builder<impl Write>,
    entry: &mut tar::Entry<'_, R>,
    mut header: Header,
    path: &Path,
) -> io::Result<()> {
    match entry.header().entry_type() {
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            header.set_size(0);
            builder.append_link(&mut header, path, target)
        }
        EntryType::Directory | EntryType::Fifo => {
            header.set_size(0);
            builder.append_data(&mut header, path, io::empty())
        }
        EntryType::Regular | EntryType::Continuous => builder.append_data(&mut header, path, entry),
        // Devices and sockets do not belong in a layer of ours.
        _ => Ok(()),
    }
}

fn plain_header(from: &Header) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(from.entry_type());
    header.set_mode(from.mode()? & 0o7777);
    header.set_uid(from.uid()?);
    header.set_gid(from.gid()?);
    header.set_mtime(0);
    Ok(header)
}
