//! Compiles the modules of unpacked packages, in a container of their image that reads nothing but them; and, where the
//! image has no byte code of its own, the modules of its Python and its pip, which every task would compile anew.
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
library=$(python3 -c 'import os; print(os.path.dirname(os.__file__))') || exit 0
[ -z "$(find "$library/__pycache__" -name 'os.*.pyc' 2>/dev/null)" ] || exit 0
set -- -x '/(tests?|idlelib|lib2to3|ensurepip|turtledemo|site-packages|dist-packages)/' "$library"
compile -j 0 "$@" || compile "$@" || true
python3 -m pip install --quiet --no-input --no-index pip >/dev/null 2>&1 || true
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

/// Moves the compiled modules of the image's Python to where that looks for them, in the packages' layer, which lies over
/// the image. Only plain files below a folder of a Python are taken. It blocks.
pub(super) fn take_of_image(code: &Path, packages: &Path) -> io::Result<()> {
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let is_pythons = below
            .iter()
            .any(|part| part.to_string_lossy().starts_with("python"));
        let mut cache = None;
        for entry in fs::read_dir(code.join(&below)).into_iter().flatten() {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            if kind.is_dir() && below.join(&name) != Path::new("samebundle") {
                todo.push(below.join(name));
            } else if kind.is_file()
                && is_pythons
                && Path::new(&name).extension().is_some_and(|end| end == "pyc")
            {
                let made = match &cache {
                    Some(made) => made,
                    None => cache.insert(cache_in(packages, &below)?),
                };
                place(&entry.path(), &made.join(name))?;
            }
        }
        if let Some(cache) = cache {
            File::open(&cache)?.set_times(start())?;
        }
    }
    Ok(())
}

/// Makes the folder for byte code below a folder of the image. What is there and is no folder is left as it is.
fn cache_in(packages: &Path, below: &Path) -> io::Result<PathBuf> {
    let mut folder = packages.to_owned();
    for part in below.iter().chain([std::ffi::OsStr::new("__pycache__")]) {
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            Err(_) => {
                fs::create_dir(&folder)?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(folder)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_of_the_images_python_goes_where_that_looks() {
        let (code, packages) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in [
            "usr/lib/python3.11/os.cpython-311.pyc",
            "usr/lib/python3.11/x.txt",
            "tmp/os.cpython-311.pyc",
            "samebundle/python3/x.pyc",
        ] {
            let path = code.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink("/etc", code.path().join("usr/lib/python3.11/l.pyc")).unwrap();
        take_of_image(code.path(), packages.path()).unwrap();
        let cache = packages.path().join("usr/lib/python3.11/__pycache__");
        let names: Vec<_> = fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["os.cpython-311.pyc"]);
        assert!(!packages.path().join("tmp").exists() && !packages.path().join("samebundle").exists());
        // A link in a package must not lead the byte code elsewhere.
        let linked = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere", linked.path().join("usr")).unwrap();
        fs::write(code.path().join("usr/lib/python3.11/b.pyc"), "").unwrap();
        assert!(take_of_image(code.path(), linked.path()).is_err());
    }
}
