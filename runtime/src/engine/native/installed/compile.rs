//! Compiles the modules of unpacked packages, in a container of their image that reads nothing but them.
//!
//! What tasks compile themselves is thrown away with their roots: no task can leave byte code for another one. Tests of
//! packages are left out, because nobody imports them, and they are half of the modules. What is not compiled here is
//! compiled when it is imported.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::choose::Choice;

/// Where the packages are in the container.
pub(super) const PACKAGES: &str = "/samebundle/packages";
/// Where it writes.
pub(super) const CODE: &str = "/samebundle/bytecode";

/// Modules are valid by the times of their sources, which are the same in every home and every driver. If processes
/// cannot share work (without semaphores), one process does it alone.
pub(super) fn command(choice: &Choice) -> Vec<String> {
    let places: BTreeSet<_> = [&choice.places.purelib, &choice.places.platlib].into();
    let mut command = vec![
        "sh".to_owned(),
        "-c".to_owned(),
        SCRIPT.to_owned(),
        "compile".to_owned(),
    ];
    command.extend(
        places
            .iter()
            .map(|place| Path::new(PACKAGES).join(place).display().to_string()),
    );
    command
}

const SCRIPT: &str = r#"
compile() { python3 -m compileall -q "$@" >/dev/null 2>&1; }
set -- -x '/tests?/' -s /samebundle/packages -p / --invalidation-mode timestamp "$@"
compile -j 0 "$@" || compile "$@" || true
"#;

/// Moves compiled modules beside their sources. What the container wrote besides is ignored: only plain files with the
/// name of a module that is there are taken. It blocks.
pub(super) fn take(code: &Path, packages: &Path) -> io::Result<()> {
    let mut top = code.to_owned();
    for part in Path::new(PACKAGES.trim_start_matches('/')) {
        top.push(part);
        if !fs::symlink_metadata(&top).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
    }
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let Ok(entries) = fs::read_dir(top.join(&below)) else {
            continue;
        };
        let mut made = None;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            let target = packages.join(&below);
            if kind.is_dir() && target.join(&name).is_dir() {
                todo.push(below.join(name));
            } else if kind.is_file()
                && let Some(name) = name.to_str()
                && let Some(stem) = name.strip_suffix(".pyc").and_then(|name| name.split('.').next())
                && target.join(format!("{stem}.py")).is_file()
            {
                let cache = made.get_or_insert_with(|| target.join("__pycache__"));
                fs::create_dir_all(&*cache)?;
                place(&entry.path(), &cache.join(name))?;
            }
        }
        if let Some(cache) = made {
            fs::set_permissions(&cache, fs::Permissions::from_mode(0o755))?;
            File::open(&cache)?.set_times(start())?;
            File::open(packages.join(&below))?.set_times(start())?;
        }
    }
    Ok(())
}

/// The time of all files of a layer.
fn start() -> FileTimes {
    FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)
}

/// Moves one file, with the mode, owner and time that files of a layer have.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let file = File::open(from)?;
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    // Only root can change the owner, and only root needs to.
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let _ = rustix::fs::fchown(&file, Some(user), Some(group));
    file.set_times(start())?;
    fs::rename(from, to)
}
