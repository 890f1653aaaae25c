//! Folders as values.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Everything beneath a folder: path → what is there (mode, and content or target). Two equal maps are equal trees.
/// Lock files are left out: their being there says nothing.
///
/// # Errors
/// When the folder cannot be read.
pub fn tree_digest(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    if folder.exists() {
        visit(folder, folder, &mut found)?;
    }
    Ok(found)
}

fn visit(top: &Path, folder: &Path, found: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let name = path
            .strip_prefix(top)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".lock") || name.ends_with("/lock") || name == "lock" {
            continue;
        }
        let what = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path)?.display())
        } else if meta.is_dir() {
            visit(top, &path, found)?;
            "folder".to_owned()
        } else {
            format!(
                "{:o} {}",
                meta.permissions().mode(),
                samebundle_spec::Digest::sha256(&fs::read(&path)?)
            )
        };
        found.insert(name, what);
    }
    Ok(())
}

/// Copy a folder with everything beneath it; read-only files (blobs, which nobody may change) as hard links.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, goal) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &goal)?;
        } else if meta.is_dir() {
            copy_tree(&path, &goal)?;
            fs::set_permissions(&goal, meta.permissions())?;
        } else if meta.permissions().readonly() && meta.permissions().mode() & 0o222 == 0 {
            match fs::hard_link(&path, &goal) {
                // A second copy into the same folder. Copying now would empty both names of the one file.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                linked => linked.or_else(|_| fs::copy(&path, &goal).map(|_| ()))?,
            }
        } else {
            fs::copy(&path, &goal)?;
        }
    }
    Ok(())
}
