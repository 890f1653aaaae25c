//! Unpacks wheels as pip does, without pip: a wheel is a zip file (PEP 427) whose paths say where its files belong.
//!
//! All names are read first: what is refused is refused before anything is written, and two files of one path are taken
//! only if they are equal. Then all cores write. A wheel is not trusted: refused are names that are absolute or have a
//! `..`, links, clashes of names, and more entries or bytes than a layer may have. The folder is new and has no links,
//! so nothing in it leads outside.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use rustix::fs::{Gid, Uid};
use samebundle_spec::limits;
use zip::ZipArchive;

use super::choose::{Choice, Places};
use crate::meter::Meter;

type Archive = ZipArchive<BufReader<File>>;

/// How many bytes of a script are read: its program is in the first line.
const SCRIPT_BYTES: u64 = 1 << 20;
/// Most bytes of a `RECORD` or `entry_points.txt`. That of the largest packages has a few megabytes.
const TABLE_BYTES: u64 = 64 << 20;

/// One file of a wheel and its path from the image's root.
#[derive(Debug)]
struct Planned {
    wheel: usize,
    entry: usize,
    path: PathBuf,
    executable: bool,
    /// Whether its first line names Python, and is to name the image's.
    script: bool,
    size: u64,
}

/// What will be written.
#[derive(Debug, Default)]
pub(super) struct Plan {
    wheels: Vec<PathBuf>,
    files: Vec<Planned>,
    /// Files that are made here: `RECORD`, `INSTALLER`, programs of entry points.
    made: Vec<(PathBuf, Vec<u8>, bool)>,
    /// Bytes in all.
    pub(super) bytes: u64,
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Makes a path of a wheel relative to the place that it belongs to, and refuses what could lead elsewhere.
fn plain(name: &str) -> io::Result<PathBuf> {
    let path = Path::new(name);
    let parts = path.components().count();
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || parts == 0 || name.contains(['\0', '\\']) || name.split('/').any(|part| part == ".") {
        return Err(refused(format!("its entry {name:?} has no plain path")));
    }
    if name.len() > limits::LAYER_PATH_BYTES || parts > limits::LAYER_PATH_DEPTH {
        return Err(refused("the path of an entry is too long"));
    }
    Ok(path.components().collect())
}

fn open(wheel: &Path) -> io::Result<Archive> {
    let file = BufReader::with_capacity(128 << 10, File::open(wheel)?);
    ZipArchive::new(file).map_err(|error| refused(error.to_string()))
}

/// Returns what unpacking the wheels would write.
pub(super) fn plan(wheelhouse: &Path, choice: &Choice) -> io::Result<Plan> {
    let (places, python) = (&choice.places, choice.python.as_str());
    let wheels: Vec<PathBuf> = choice.wheels.iter().map(|name| wheelhouse.join(name)).collect();
    let mut plan = Plan::default();
    let mut seen = HashMap::new();
    for (number, path) in wheels.iter().enumerate() {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        plan.wheel(number, path, places, python, &mut seen)
            .map_err(|error| io::Error::new(error.kind(), format!("wheel {file}: {error}")))?;
    }
    // A file in the place of a folder is refused when it is written; programs of ours must not replace a wheel's file.
    let taken: BTreeSet<&Path> = plan.files.iter().map(|file| file.path.as_path()).collect();
    let mut own = BTreeSet::new();
    for (path, ..) in &plan.made {
        if taken.contains(path.as_path()) || !own.insert(path) {
            return Err(refused(format!("two wheels have {}", path.display())));
        }
    }
    plan.wheels = wheels;
    Ok(plan)
}

impl Plan {
    /// Returns the number of wheels.
    pub(super) fn wheels(&self) -> usize {
        self.wheels.len()
    }

    fn wheel(
        &mut self,
        number: usize,
        path: &Path,
        places: &Places,
        python: &str,
        seen: &mut HashMap<PathBuf, (u32, u64)>,
    ) -> io::Result<()> {
        let compressed = path.metadata()?.len();
        let mut archive = open(path)?;
        let info = dist_info(&archive)?;
        let library = match is_pure(&mut archive, &info)? {
            true => &places.purelib,
            false => &places.platlib,
        };
        let mut moved = BTreeMap::new();
        let mut bytes = 0u64;
        for entry in 0..archive.len() {
            let file = archive
                .by_index_raw(entry)
                .map_err(|error| refused(error.to_string()))?;
            let name = file
                .name()
                .map_err(|error| refused(error.to_string()))?
                .into_owned();
            let mode = file.unix_mode().unwrap_or(0);
            if file.is_dir() {
                plain(name.trim_end_matches('/'))?;
                continue;
            }
            if !matches!(mode & 0o170_000, 0 | 0o100_000) || file.encrypted() {
                return Err(refused(format!("its entry {name:?} is no plain file")));
            }
            let below = plain(&name)?;
            if below == Path::new(&info).join("RECORD") || below == Path::new(&info).join("INSTALLER") {
                continue;
            }
            let (target, script) = places.of(&below, &info, library)?;
            bytes = bytes.saturating_add(file.size());
            if target != library.join(&below) {
                moved.insert(name.clone(), target.clone());
            }
            let same = (file.crc32(), file.size());
            match seen.insert(target.clone(), same) {
                None => {}
                Some(before) if before == same => continue,
                Some(_) => return Err(refused(format!("another wheel has a different {name:?}"))),
            }
            self.files.push(Planned {
                wheel: number,
                entry,
                path: target,
                executable: script || mode & 0o111 != 0,
                script,
                size: file.size(),
            });
        }
        if bytes > compressed.saturating_mul(limits::DECOMPRESSION_RATIO) {
            return Err(refused("it unpacks to far more than it has"));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits::LAYER_BYTES || self.files.len() > limits::LAYER_ENTRIES {
            return Err(refused("the wheels have more than a layer may have"));
        }
        self.make(&mut archive, &info, places, library, python, &moved)
    }

    /// Adds the files that an installer makes.
    fn make(
        &mut self,
        archive: &mut Archive,
        info: &str,
        places: &Places,
        library: &Path,
        python: &str,
        moved: &BTreeMap<String, PathBuf>,
    ) -> io::Result<()> {
        let points = text(archive, &format!("{info}/entry_points.txt"))?.unwrap_or_default();
        let mut record = String::new();
        for line in text(archive, &format!("{info}/RECORD"))?
            .unwrap_or_default()
            .lines()
        {
            let name = line.split(',').next().unwrap_or_default();
            // What was put elsewhere is listed there. A name in quotes is neither moved nor ours.
            if !moved.contains_key(name)
                && name != format!("{info}/RECORD")
                && name != format!("{info}/INSTALLER")
            {
                record.push_str(line);
                record.push('\n');
            }
        }
        let mut elsewhere: Vec<PathBuf> = moved.values().cloned().collect();
        for (name, target) in entry_points(&points) {
            let path = places.scripts.join(plain(&name)?);
            if path.parent() != Some(&places.scripts) {
                return Err(refused(format!("its program {name:?} has no plain name")));
            }
            elsewhere.push(path.clone());
            self.made.push((path, program(python, &target)?, true));
        }
        for path in elsewhere {
            let climbs = "../".repeat(library.components().count());
            record.push_str(&format!(
                "\"{climbs}{}\",,\n",
                path.display().to_string().replace('"', "\"\"")
            ));
        }
        record.push_str(&format!("{info}/INSTALLER,,\n{info}/RECORD,,\n"));
        self.made.push((
            library.join(info).join("INSTALLER"),
            b"samebundle\n".to_vec(),
            false,
        ));
        self.made
            .push((library.join(info).join("RECORD"), record.into_bytes(), false));
        Ok(())
    }

    /// Writes everything below a new folder, on all cores.
    pub(super) fn write(&self, root: &Path, choice: &Choice, meter: &Meter) -> io::Result<()> {
        let python = choice.python.as_str();
        let folders: BTreeSet<&Path> = self
            .files
            .iter()
            .map(|file| file.path.as_path())
            .chain(self.made.iter().map(|(path, ..)| path.as_path()))
            .filter_map(Path::parent)
            .collect();
        let mut all = BTreeSet::new();
        for folder in folders {
            all.extend(folder.ancestors().filter(|path| !path.as_os_str().is_empty()));
        }
        for folder in &all {
            fs::create_dir(root.join(folder))?;
            fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o755))?;
        }
        let (next, cores) = (
            AtomicUsize::new(0),
            std::thread::available_parallelism().map_or(1, |n| n.get()),
        );
        std::thread::scope(|scope| {
            let work = || self.work(root, python, &next, meter);
            let threads: Vec<_> = (1..cores.min(8)).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a thread that unpacks wheels stopped")))
            });
            others.fold(own, |all, one| all.and(one))
        })?;
        for (path, bytes, executable) in &self.made {
            let mut file = create(&root.join(path), *executable)?;
            file.write_all(bytes)?;
            finish(&file)?;
        }
        for folder in all.iter().rev() {
            let made = File::open(root.join(folder))?;
            if let Some((mode, user, group)) = choice.folders.get(*folder) {
                // Over an image's folder the layer's counts, so it is like the image's. Only root may give it away.
                let _ = rustix::fs::fchown(&made, Some(Uid::from_raw(*user)), Some(Gid::from_raw(*group)));
                made.set_permissions(fs::Permissions::from_mode(mode & 0o7777 | 0o700))?;
            }
            finish(&made)?;
        }
        Ok(())
    }

    /// Writes files until none is left. Each thread opens the wheels itself, because a reader has one position.
    fn work(&self, root: &Path, python: &str, next: &AtomicUsize, meter: &Meter) -> io::Result<()> {
        let mut open_now: Option<(usize, Archive)> = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(planned) = self.files.get(number) else {
                meter.parts_reach(self.wheels.len() as u64);
                return Ok(());
            };
            meter.parts_reach(planned.wheel as u64);
            let archive = match &mut open_now {
                Some((wheel, archive)) if *wheel == planned.wheel => archive,
                other => {
                    &mut other
                        .insert((planned.wheel, open(&self.wheels[planned.wheel])?))
                        .1
                }
            };
            let written = extract(archive, planned, root, python);
            if let Err(error) = written {
                // The others stop at once.
                next.fetch_max(self.files.len(), Ordering::Relaxed);
                let name = planned.path.display();
                return Err(io::Error::new(
                    error.kind(),
                    format!("write /{name} of a wheel: {error}"),
                ));
            }
            meter.add_bytes(planned.size);
        }
    }
}

fn extract(archive: &mut Archive, planned: &Planned, root: &Path, python: &str) -> io::Result<()> {
    let entry = archive
        .by_index(planned.entry)
        .map_err(|error| refused(error.to_string()))?;
    // An entry that says less than it has is cut off by its check sum; nothing more than it said is written.
    let mut content = entry.take(planned.size + 1);
    let mut file = create(&root.join(&planned.path), planned.executable)?;
    if planned.script && planned.size <= SCRIPT_BYTES {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        file.write_all(&with_python(bytes, python))?;
    } else if io::copy(&mut content, &mut file)? != planned.size {
        return Err(refused("an entry has another size than the wheel says"));
    }
    finish(&file)
}

fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mode = if executable { 0o755 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The mode is that, whatever the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Sets the time of a file or folder: the same in every home.
fn finish(file: &File) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
}

/// Names the image's Python in the first line of a script that asks for it (PEP 427).
fn with_python(bytes: Vec<u8>, python: &str) -> Vec<u8> {
    let Some(end) = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .filter(|_| bytes.starts_with(b"#!python"))
    else {
        return bytes;
    };
    [format!("#!{python}").as_bytes(), &bytes[end..]].concat()
}

/// Returns the name of the one `NAME-VERSION.dist-info` folder.
fn dist_info(archive: &Archive) -> io::Result<String> {
    let mut found = BTreeSet::new();
    for name in archive.file_names() {
        let name = name.map_err(|error| refused(error.to_string()))?;
        if let Some((first, _)) = name.split_once('/')
            && first.ends_with(".dist-info")
        {
            found.insert(first.to_owned());
        }
    }
    match (found.pop_first(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(refused("it has not exactly one dist-info folder")),
    }
}

fn is_pure(archive: &mut Archive, info: &str) -> io::Result<bool> {
    let text = text(archive, &format!("{info}/WHEEL"))?.ok_or_else(|| refused("it has no WHEEL file"))?;
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned()))
    };
    match value("Wheel-Version") {
        Some(version) if version.starts_with("1.") => {}
        version => return Err(refused(format!("its form has version {version:?}, not 1"))),
    }
    Ok(value("Root-Is-Purelib").is_some_and(|pure| pure.eq_ignore_ascii_case("true")))
}

fn text(archive: &mut Archive, name: &str) -> io::Result<Option<String>> {
    let Ok(entry) = archive.by_name(name) else {
        return Ok(None);
    };
    let mut text = String::new();
    entry.take(TABLE_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > TABLE_BYTES {
        true => Err(refused(format!("its {name} is too long"))),
        false => Ok(Some(text)),
    }
}

/// Returns the programs of `entry_points.txt`, each with its `module:attribute`.
fn entry_points(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut wanted = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            wanted = matches!(line, "[console_scripts]" | "[gui_scripts]");
        } else if wanted
            && !line.starts_with(['#', ';'])
            && let Some((name, target)) = line.split_once('=')
        {
            let target = target.split('[').next().unwrap_or_default();
            found.push((name.trim().to_owned(), target.trim().to_owned()));
        }
    }
    found
}

/// Returns the text that pip writes for a program.
fn program(python: &str, target: &str) -> io::Result<Vec<u8>> {
    let identifier = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
    };
    let (module, attribute) = target.split_once(':').unwrap_or_default();
    if !identifier(module) || !identifier(attribute) {
        return Err(refused(format!("its program {target:?} names no function")));
    }
    let import = attribute.split('.').next().unwrap_or_default();
    let text = format!(
        "#!{python}\n# -*- coding: utf-8 -*-\nimport re\nimport sys\nfrom {module} import {import}\n\
         if __name__ == '__main__':\n    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    \
         sys.exit({attribute}())\n"
    );
    Ok(text.into_bytes())
}

impl Places {
    /// Returns where a file of a wheel belongs, and whether it is a script.
    fn of(&self, below: &Path, info: &str, library: &Path) -> io::Result<(PathBuf, bool)> {
        let stem = info.trim_end_matches(".dist-info");
        let mut parts = below.components();
        let first = parts
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        if first.as_deref() != Some(&format!("{stem}.data")) {
            return Ok((library.join(below), false));
        }
        let kind = parts
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        let rest = parts.as_path();
        if rest.as_os_str().is_empty() {
            return Err(refused("a file of its data folder belongs nowhere"));
        }
        let name = stem.split('-').next().unwrap_or_default();
        match kind.as_deref() {
            Some("purelib") => Ok((self.purelib.join(rest), false)),
            Some("platlib") => Ok((self.platlib.join(rest), false)),
            Some("scripts") => Ok((self.scripts.join(rest), true)),
            Some("data") => Ok((self.data.join(rest), false)),
            Some("headers") => Ok((self.include.join(plain(name)?).join(rest), false)),
            _ => Err(refused("a part of its data folder is not known")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::wheel;
    use super::*;

    const WHEEL: (&str, &str) = (
        "a-1.dist-info/WHEEL",
        "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n",
    );

    fn unpacked(wheels: &[&[(&str, &str)]]) -> io::Result<tempfile::TempDir> {
        let house = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for (number, files) in wheels.iter().enumerate() {
            let name = format!("{number}.whl");
            fs::write(house.path().join(&name), wheel(files)).unwrap();
            names.push(name);
        }
        let choice = Choice {
            wheels: names,
            places: Places {
                purelib: "lib/pure".into(),
                platlib: "lib/plat".into(),
                scripts: "bin".into(),
                data: "share".into(),
                include: "include".into(),
            },
            python: "/usr/bin/python3".to_owned(),
            folders: BTreeMap::new(),
        };
        let root = tempfile::tempdir().unwrap();
        plan(house.path(), &choice)?.write(root.path(), &choice, &Meter::new("unpack", None, None))?;
        Ok(root)
    }

    #[test]
    fn files_go_where_pip_puts_them() {
        let root = unpacked(&[&[
            WHEEL,
            ("a/__init__.py", ""),
            (
                "a-1.dist-info/entry_points.txt",
                "[console_scripts]\nrun = a.b:main.go [x]\n[other]\nno = a:b\n",
            ),
            (
                "a-1.dist-info/RECORD",
                "a/__init__.py,sha256=x,0\na-1.data/scripts/tool,,\na-1.dist-info/RECORD,,\n",
            ),
            ("a-1.data/scripts/tool", "#!python\nprint()\n"),
            ("a-1.data/data/doc/x", "1"),
            ("a-1.data/headers/x.h", "2"),
            ("a-1.data/purelib/p.py", "3"),
        ]])
        .unwrap();
        let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(read("lib/plat/a/__init__.py"), "");
        assert_eq!(
            read("share/doc/x") + &read("include/a/x.h") + &read("lib/pure/p.py"),
            "123"
        );
        assert_eq!(read("bin/tool"), "#!/usr/bin/python3\nprint()\n");
        let run = read("bin/run");
        assert!(
            run.contains("from a.b import main\n") && run.contains("sys.exit(main.go())"),
            "{run}"
        );
        let record = read("lib/plat/a-1.dist-info/RECORD");
        assert!(
            record.starts_with("a/__init__.py,sha256=x,0\n\"../../"),
            "{record}"
        );
        assert!(record.contains("\n\"../../bin/tool\",,\n"), "{record}");
        assert!(
            record.ends_with("a-1.dist-info/INSTALLER,,\na-1.dist-info/RECORD,,\n"),
            "{record}"
        );
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("bin/tool"), mode("bin/run"), mode("share/doc/x")),
            (0o755, 0o755, 0o644)
        );
        let time = fs::metadata(root.path().join("lib/plat/a"))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(time, SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn hostile_wheels_are_refused() {
        let info: &[(&str, &str)] = &[WHEEL];
        for bad in [
            ("../x", ""),
            ("/etc/x", ""),
            ("a/../../x", ""),
            ("a/./x", ""),
            ("a\\x", ""),
            ("a-1.data/other/x", ""),
            ("a-1.data/scripts", ""),
            ("b-1.dist-info/WHEEL", ""),
            (
                "a-1.dist-info/entry_points.txt",
                "[console_scripts]\n../x = a:b\n",
            ),
            (
                "a-1.dist-info/entry_points.txt",
                "[console_scripts]\nx = a:b\\nimport os\n",
            ),
            ("a-1.dist-info/entry_points.txt", "[console_scripts]\nx = a:b;c\n"),
        ] {
            let error = unpacked(&[&[info, &[bad]].concat()]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}: {error}");
        }
        assert!(unpacked(&[&[("a/x", "")]]).is_err(), "no dist-info");
    }

    #[test]
    fn two_wheels_may_have_one_file_if_it_is_the_same() {
        let other = ("b-1.dist-info/WHEEL", "Wheel-Version: 1.0\n");
        let with = |text| {
            unpacked(&[
                &[WHEEL, ("n/__init__.py", "1")],
                &[other, ("n/__init__.py", text)],
            ])
        };
        assert!(
            unpacked(&[&[WHEEL, ("lib/x", "1")], &[other, ("lib/x/y", "1")]]).is_err(),
            "a folder and a file"
        );
        let pure = (
            "b-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n",
        );
        let same = unpacked(&[&[WHEEL, ("n/__init__.py", "1")], &[pure, ("n/__init__.py", "1")]]);
        assert!(with("1").is_ok() && same.is_ok());
        assert!(unpacked(&[&[WHEEL, ("n/__init__.py", "1")], &[pure, ("n/__init__.py", "2")]]).is_err());
    }
}
