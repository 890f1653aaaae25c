//! A model of what a loss of power leaves.
//!
//! From the record of a command ([`crate::strace`]) and the folder as it was before, the model knows at each moment what is
//! durable and what is not. After a cut, each name in a folder is one of: what it was when the folder was synced last, or
//! any of what it became since; each file has the bytes of its last sync, or all, or half, or zeros, or nothing. A sync
//! covers what came before it began. That is less than any file system of Linux promises, and about what POSIX does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::strace::Call;

/// Calls that the model must see.
pub const CALLS: &[&str] = &[
    "openat",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "sendto",
    "ftruncate",
    "truncate",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "copy_file_range",
    "sendfile",
];

/// A file or folder, by number: names come and go.
type Id = usize;

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    /// How often it was changed.
    changes: usize,
    /// How many of these changes are durable, the first ones.
    durable: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    File {
        bytes: Rc<Vec<u8>>,
        durable: Rc<Vec<u8>>,
    },
    Folder {
        names: BTreeMap<String, Id>,
        durable: BTreeMap<String, Id>,
        /// What names became by the changes that are not durable.
        since: Vec<(String, Option<Id>)>,
    },
}

/// Something that happened.
#[derive(Clone, Debug)]
enum Event {
    Create(PathBuf),
    Truncate(PathBuf, u64),
    Write(PathBuf, Option<u64>, Vec<u8>),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    Folder(PathBuf),
    /// A sync by the number of its call begins, and ends.
    Begin(usize, PathBuf),
    End(usize),
    /// A client was told that something was done.
    Told,
}

/// A record, ready to be replayed.
#[derive(Debug)]
pub struct Replay {
    root: PathBuf,
    start: Vec<Node>,
    events: Vec<Event>,
    /// Each sync: its number, and what it is one of, e.g. `folder store/blobs/sha256`.
    syncs: Vec<(usize, String)>,
}

/// How much of what is not durable a cut takes.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// All of it.
    Everything,
    /// The bytes, but no names.
    Bytes,
    /// The names of this folder alone.
    NamesOf(Id),
    /// All but the names of this folder; bytes as well.
    AllButNamesOf(Id),
    /// By lot.
    Seeded(u64),
}

/// What is there after a cut: path to bytes, and whether these are all that the file should have.
pub type Left = BTreeMap<String, (Rc<Vec<u8>>, bool)>;

/// What is judged of a state after a cut; an error says what is lost.
pub trait Judge {
    /// Judges what is left. `promised` is what was there when the command, or its last answer to a client, had succeeded.
    ///
    /// # Errors
    /// What is lost or broken.
    fn judge(&mut self, left: &Left) -> Result<(), String>;

    /// Whether a path is of those that have to survive.
    fn keeps(&self, path: &str) -> bool;
}

impl Replay {
    /// Prepares a record for replay over the folder `before`, a copy of what was at `root` when the command began.
    /// `told` says whether bytes sent to a client promise something.
    ///
    /// # Panics
    /// When the command did something that the model does not know.
    #[expect(
        clippy::panic,
        reason = "a test that cannot read what it starts from has failed"
    )]
    pub fn new(calls: &[Call], root: &Path, before: &Path, told: &dyn Fn(&[u8]) -> bool) -> Self {
        let mut start = vec![folder()];
        if before.is_dir() {
            load(before, 0, &mut start).unwrap_or_else(|error| panic!("{}: {error}", before.display()));
        }
        let mut moments: Vec<(usize, Event)> = Vec::new();
        for (number, call) in calls.iter().enumerate().filter(|(_, call)| call.returned >= 0) {
            for (moment, event) in events(number, call, root, told) {
                moments.push((moment, event));
            }
        }
        moments.sort_by_key(|(moment, _)| *moment);
        let events: Vec<Event> = moments.into_iter().map(|(_, event)| event).collect();
        let syncs = kinds(&events, root, before);
        Self {
            root: root.to_owned(),
            start,
            events,
            syncs,
        }
    }

    /// As if an earlier process, the one of the first `calls` calls, had been killed before each sync of a folder for whose
    /// kind `which` says so: what it showed is there, and not durable.
    pub fn kill_before_syncs(&mut self, calls: usize, which: &dyn Fn(&str) -> bool) {
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.syncs)
            .into_iter()
            .partition(|(number, kind)| *number < calls && kind.starts_with("folder ") && which(kind));
        self.syncs = left;
        self.events.retain(|event| match event {
            Event::Begin(number, _) | Event::End(number) => gone.iter().all(|(other, _)| other != number),
            _ => true,
        });
    }

    /// The kinds of syncs that there are, of paths for which `keeps` says so.
    pub fn kinds(&self) -> BTreeSet<String> {
        self.syncs.iter().map(|(_, kind)| kind.clone()).collect()
    }

    /// How many syncs of a kind there are.
    pub fn count(&self, kind: &str) -> usize {
        self.syncs.iter().filter(|(_, other)| other == kind).count()
    }

    /// Cuts the power everywhere, as if syncs of the kind `without` did nothing. Returns how many states were judged, or the
    /// first loss that was found. `seeds` is how many states by lot there are a moment.
    ///
    /// # Errors
    /// What was lost, and when.
    pub fn cut(&self, judge: &mut dyn Judge, without: Option<&str>, seeds: u64) -> Result<usize, String> {
        let ignored: BTreeSet<usize> = self
            .syncs
            .iter()
            .filter(|(_, kind)| Some(kind.as_str()) == without)
            .map(|(number, _)| *number)
            .collect();
        let mut disk = Disk {
            root: self.root.clone(),
            nodes: self.start.clone(),
            open: HashMap::new(),
        };
        let mut promised = disk.now();
        let mut judged = 0;
        for (number, event) in self.events.iter().enumerate() {
            disk.apply(event, &ignored);
            let last = number + 1 == self.events.len();
            if last || matches!(event, Event::Told) {
                promised = disk.now();
            }
            disk.forget(&mut promised, event);
            if matches!(event, Event::Begin(..)) && !last {
                continue;
            }
            for loss in disk.losses(number, seeds) {
                let left = disk.after(loss);
                judged += 1;
                let verdict = missing(&promised, &left, &disk, judge).and_then(|()| judge.judge(&left));
                if let Err(why) = verdict {
                    return Err(format!("after {event:?}, losing {loss:?}: {why}")
                        .chars()
                        .take(600)
                        .collect());
                }
            }
        }
        Ok(judged)
    }
}

/// What was promised is there whole, or what came after it under the same name.
fn missing(promised: &Left, left: &Left, disk: &Disk, judge: &dyn Judge) -> Result<(), String> {
    for (path, (bytes, _)) in promised.iter().filter(|(path, _)| judge.keeps(path)) {
        match left.get(path) {
            None => return Err(format!("{path} is lost")),
            Some((found, _)) if found == bytes => {}
            Some((_, true)) if disk.now().get(path).is_some_and(|(now, _)| now != bytes) => {}
            Some(_) => return Err(format!("{path} is torn")),
        }
    }
    let torn = left.iter().find(|(path, (_, whole))| judge.keeps(path) && !whole);
    torn.map_or(Ok(()), |(path, _)| Err(format!("{path} can be seen and is torn")))
}

impl From<Kind> for Node {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            changes: 0,
            durable: 0,
        }
    }
}

fn folder() -> Node {
    Node::from(Kind::Folder {
        names: BTreeMap::new(),
        durable: BTreeMap::new(),
        since: Vec::new(),
    })
}

/// A file with bytes that are durable.
fn file(bytes: Vec<u8>) -> Node {
    let bytes = Rc::new(bytes);
    Node::from(Kind::File {
        durable: Rc::clone(&bytes),
        bytes,
    })
}

fn load(from: &Path, at: Id, nodes: &mut Vec<Node>) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let id = nodes.len();
        if entry.file_type()?.is_dir() {
            nodes.push(folder());
            load(&entry.path(), id, nodes)?;
        } else {
            nodes.push(file(fs::read(entry.path())?));
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Kind::Folder { names, durable, .. } = &mut nodes[at].kind {
            names.insert(name.clone(), id);
            durable.insert(name, id);
        }
    }
    Ok(())
}

/// What a call did beneath the root, and when.
fn events(number: usize, call: &Call, root: &Path, told: &dyn Fn(&[u8]) -> bool) -> Vec<(usize, Event)> {
    let (began, ended) = call.span;
    let inside = |path: &PathBuf| path.starts_with(root);
    let file = || call.descriptor(0).filter(inside);
    let event = match call.name.as_str() {
        "openat" if call.raw(2).contains("O_TMPFILE") => None,
        "openat" if call.raw(2).contains("O_CREAT") || call.raw(2).contains("O_TRUNC") => {
            let path = call.path(Some(0), 1);
            let truncate = call.raw(2).contains("O_TRUNC");
            return [
                Some(Event::Create(path.clone())),
                truncate.then(|| Event::Truncate(path.clone(), 0)),
            ]
            .into_iter()
            .flatten()
            .filter(|_| inside(&path))
            .map(|event| (ended, event))
            .collect();
        }
        "write" | "sendto" | "writev" if file().is_none() => {
            let bytes = if call.name == "writev" {
                call_text(call)
            } else {
                call.bytes(1)
            };
            // From when it begins to answer: until the record says that it ended, the client may have sent more.
            let event = told(&bytes).then_some((began, Event::Told));
            return event.into_iter().collect();
        }
        "writev" => file().map(|path| Event::Write(path, None, cut(call_text(call), call))),
        "write" => file().map(|path| Event::Write(path, None, written(call))),
        "pwrite64" => file().map(|path| Event::Write(path, Some(call.number(3)), written(call))),
        "pwritev" => file().map(|path| {
            // The position is the last argument.
            let bytes = cut(call_text(call), call);
            Event::Write(path, Some(call.last_number()), bytes)
        }),
        "ftruncate" => file().map(|path| Event::Truncate(path, call.number(1))),
        "fsync" | "fdatasync" => {
            return file()
                .map(|path| vec![(began, Event::Begin(number, path)), (ended, Event::End(number))])
                .unwrap_or_default();
        }
        "rename" => Some(Event::Rename(call.path(None, 0), call.path(None, 1))),
        "renameat" | "renameat2" => Some(Event::Rename(call.path(Some(0), 1), call.path(Some(2), 3))),
        "link" => Some(Event::Link(call.path(None, 0), call.path(None, 1))),
        "linkat" => Some(Event::Link(call.path(Some(0), 1), call.path(Some(2), 3))),
        "unlink" | "rmdir" => Some(Event::Remove(call.path(None, 0))),
        "unlinkat" => Some(Event::Remove(call.path(Some(0), 1))),
        "mkdir" => Some(Event::Folder(call.path(None, 0))),
        "mkdirat" => Some(Event::Folder(call.path(Some(0), 1))),
        "openat" | "sendto" => None,
        // A file system is synced for a cache only, and a cache is not judged.
        "syncfs" => None,
        name => {
            assert!(
                (0..4).all(|place| call.descriptor(place).is_none_or(|path| !inside(&path))),
                "the model does not know {name}: {call:?}"
            );
            None
        }
    };
    let moved = |event: &Event| match event {
        Event::Rename(from, to) | Event::Link(from, to) => inside(from) || inside(to),
        Event::Remove(path) | Event::Folder(path) => inside(path),
        _ => true,
    };
    event
        .filter(moved)
        .map(|event| (ended, event))
        .into_iter()
        .collect()
}

fn written(call: &Call) -> Vec<u8> {
    cut(call.bytes(1), call)
}

/// As much as the call wrote.
fn cut(mut bytes: Vec<u8>, call: &Call) -> Vec<u8> {
    let count = usize::try_from(call.returned).unwrap_or(0);
    assert!(
        bytes.len() >= count,
        "the record cut off what {} wrote",
        call.name
    );
    bytes.truncate(count);
    bytes
}

/// What an array of buffers holds; they are arguments of their own here.
fn call_text(call: &Call) -> Vec<u8> {
    call.arguments()
        .filter(|raw| raw.contains("iov_base="))
        .flat_map(crate::strace::decode)
        .collect()
}

/// Names what each sync is for: the folder, or the name that the file has in the end, with digests and ids left out.
///
/// A sync of a folder in which nothing changes is none of them: it is for what an earlier process may have left.
fn kinds(events: &[Event], root: &Path, before: &Path) -> Vec<(usize, String)> {
    let changes = |folder: &Path| {
        let is_in = |path: &Path| path.parent() == Some(folder);
        let is_new = |path: &Path| {
            path.strip_prefix(root)
                .is_ok_and(|path| !before.join(path).exists())
        };
        events.iter().any(|event| match event {
            Event::Create(path) | Event::Folder(path) => is_in(path) && is_new(path),
            Event::Rename(from, to) | Event::Link(from, to) => is_in(from) || is_in(to),
            Event::Remove(path) => is_in(path),
            _ => false,
        })
    };
    let plain = |path: &Path| {
        let path = path.strip_prefix(root).unwrap_or(path);
        let parts = path.components().map(|part| {
            let part = part.as_os_str().to_string_lossy().into_owned();
            let id = part.len() >= 26 || part.starts_with('.');
            if id { "*".to_owned() } else { part }
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let mut all = Vec::new();
    for (place, event) in events.iter().enumerate() {
        match event {
            // It is there still.
            Event::Begin(_, path) if path.is_dir() && !changes(path) => {}
            Event::Begin(number, path) if path.is_dir() => {
                all.push((*number, format!("folder {}", plain(path))));
            }
            Event::Begin(number, path) => {
                let later = events[place..].iter().find_map(|event| match event {
                    Event::Rename(from, to) if from == path => Some(to.as_path()),
                    _ => None,
                });
                let file = later.unwrap_or(path);
                // An entry that says all by its name has no bytes to lose.
                if std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0) {
                    all.push((*number, format!("file {}", plain(file))));
                }
            }
            _ => {}
        }
    }
    all
}

/// Chooses which names of a folder are there; none for a file.
type NamesOf<'a> = dyn FnMut(Id, &Node) -> Option<BTreeMap<String, Id>> + 'a;
/// Chooses between what a file has and what of it is durable.
type BytesOf<'a> = dyn FnMut(&Rc<Vec<u8>>, &Rc<Vec<u8>>) -> Rc<Vec<u8>> + 'a;

#[derive(Debug)]
struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    /// Syncs that have begun: what they will have made durable.
    open: HashMap<usize, (Id, Node)>,
}

impl Disk {
    fn find(&self, path: &Path) -> Option<Id> {
        let mut at = 0;
        for part in path.strip_prefix(&self.root).ok()?.components() {
            let Kind::Folder { names, .. } = &self.nodes[at].kind else {
                return None;
            };
            at = *names.get(part.as_os_str().to_str()?)?;
        }
        Some(at)
    }

    fn set(&mut self, path: &Path, id: Option<Id>) {
        let Some(parent) = path.parent().and_then(|parent| self.find(parent)) else {
            return;
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let node = &mut self.nodes[parent];
        if let Kind::Folder { names, since, .. } = &mut node.kind {
            match id {
                Some(id) => names.insert(name.clone(), id),
                None => names.remove(&name),
            };
            since.push((name, id));
            node.changes += 1;
        }
    }

    fn add(&mut self, path: &Path, node: Node) {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.set(path, Some(id));
    }

    fn apply(&mut self, event: &Event, ignored: &BTreeSet<usize>) {
        match event {
            Event::Create(path) if self.find(path).is_none() => self.add(path, file(Vec::new())),
            Event::Folder(path) => self.add(path, folder()),
            Event::Write(path, at, new) => self.change(path, |bytes| {
                let at = at.map_or(bytes.len(), |at| usize::try_from(at).unwrap_or(0));
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[at..at + new.len()].copy_from_slice(new);
            }),
            Event::Truncate(path, length) => {
                self.change(path, |bytes| {
                    bytes.resize(usize::try_from(*length).unwrap_or(0), 0);
                });
            }
            Event::Rename(from, to) => {
                let id = self.find(from);
                self.set(from, None);
                self.set(to, id);
            }
            Event::Link(from, to) => {
                let id = self.find(from);
                self.set(to, id);
            }
            Event::Remove(path) => self.set(path, None),
            Event::Begin(number, path) if !ignored.contains(number) => {
                if let Some(id) = self.find(path) {
                    self.open.insert(*number, (id, self.nodes[id].clone()));
                }
            }
            Event::End(number) => {
                if let Some((id, then)) = self.open.remove(number) {
                    self.settle(id, then);
                }
            }
            Event::Create(_) | Event::Begin(..) | Event::Told => {}
        }
    }

    fn change(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let id = self.find(path);
        if let Some(node) = id.and_then(|id| self.nodes.get_mut(id))
            && let Kind::File { bytes, .. } = &mut node.kind
        {
            change(Rc::make_mut(bytes));
            node.changes += 1;
        }
    }

    /// A sync has ended that began when the node was `then`. Another that began later may have ended before.
    fn settle(&mut self, id: Id, then: Node) {
        let node = &mut self.nodes[id];
        let Some(covered) = then.changes.checked_sub(node.durable) else {
            return;
        };
        match (&mut node.kind, then.kind) {
            (Kind::File { durable, .. }, Kind::File { bytes, .. }) => *durable = bytes,
            (Kind::Folder { durable, since, .. }, Kind::Folder { names, .. }) => {
                *durable = names;
                since.drain(..covered);
            }
            _ => {}
        }
        node.durable = then.changes;
    }

    /// Everything as it is while the power is on.
    fn now(&self) -> Left {
        let mut left = Left::new();
        self.visit(
            0,
            "",
            &mut left,
            &mut |_, node| match &node.kind {
                Kind::Folder { names, .. } => Some(names.clone()),
                Kind::File { .. } => None,
            },
            &mut |bytes, _| Rc::clone(bytes),
        );
        left
    }

    /// A promise ends where the command itself takes something away.
    fn forget(&self, promised: &mut Left, event: &Event) {
        let (Event::Remove(gone) | Event::Rename(gone, _)) = event else {
            return;
        };
        let name = gone
            .strip_prefix(&self.root)
            .map_or_else(|_| String::new(), |name| name.display().to_string());
        let below = format!("{name}/");
        promised.retain(|path, _| *path != name && !path.starts_with(&below));
    }

    /// The losses that are tried at a moment.
    fn losses(&self, moment: usize, seeds: u64) -> Vec<Loss> {
        let unsettled = |(id, node): (Id, &Node)| match &node.kind {
            Kind::Folder { since, .. } if !since.is_empty() => Some(id),
            _ => None,
        };
        let open: Vec<Id> = self.nodes.iter().enumerate().filter_map(unsettled).collect();
        let mut losses = vec![Loss::Everything, Loss::Bytes];
        losses.extend(open.iter().map(|id| Loss::NamesOf(*id)));
        losses.extend(open.iter().map(|id| Loss::AllButNamesOf(*id)));
        losses.extend((0..seeds).map(|seed| Loss::Seeded(seed + 1000 * moment as u64 + 1)));
        losses
    }

    /// What is left after a cut.
    fn after(&self, loss: Loss) -> Left {
        let mut lot = match loss {
            Loss::Seeded(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            _ => 1,
        };
        let mut draw = move || {
            lot ^= lot << 13;
            lot ^= lot >> 7;
            lot ^= lot << 17;
            lot
        };
        let mut second = draw();
        let mut left = Left::new();
        let mut number = 0;
        self.visit(
            0,
            "",
            &mut left,
            &mut |id, node| match &node.kind {
                Kind::File { .. } => None,
                Kind::Folder {
                    names,
                    durable,
                    since,
                } => Some(match loss {
                    Loss::Everything => durable.clone(),
                    Loss::Bytes => names.clone(),
                    Loss::NamesOf(lost) if lost == id => durable.clone(),
                    Loss::NamesOf(_) => names.clone(),
                    Loss::AllButNamesOf(kept) if kept == id => names.clone(),
                    Loss::AllButNamesOf(_) => durable.clone(),
                    Loss::Seeded(_) => by_lot(durable, since, &mut draw),
                }),
            },
            &mut |bytes, durable| {
                number += 1;
                match loss {
                    Loss::Everything | Loss::AllButNamesOf(_) => Rc::clone(durable),
                    Loss::Bytes if bytes != durable => match number % 3 {
                        0 => Rc::clone(durable),
                        1 => Rc::new(vec![0; bytes.len()]),
                        _ => Rc::new(bytes[..bytes.len() / 2].to_vec()),
                    },
                    Loss::Bytes | Loss::NamesOf(_) => Rc::clone(bytes),
                    Loss::Seeded(_) => {
                        second = second.rotate_left(5).wrapping_mul(31);
                        if second & 8 == 0 {
                            Rc::clone(bytes)
                        } else {
                            Rc::clone(durable)
                        }
                    }
                }
            },
        );
        left
    }

    fn visit(&self, id: Id, path: &str, left: &mut Left, names: &mut NamesOf<'_>, content: &mut BytesOf<'_>) {
        let node = &self.nodes[id];
        match &node.kind {
            Kind::File { bytes, durable } => {
                let found = content(bytes, durable);
                let whole = found == *bytes;
                left.insert(path.to_owned(), (found, whole));
            }
            Kind::Folder { .. } => {
                for (name, id) in names(id, node).unwrap_or_default() {
                    let path = if path.is_empty() {
                        name
                    } else {
                        format!("{path}/{name}")
                    };
                    self.visit(id, &path, left, names, content);
                }
            }
        }
    }
}

/// Each name is what it was, or any of what it became.
fn by_lot(
    durable: &BTreeMap<String, Id>,
    since: &[(String, Option<Id>)],
    draw: &mut dyn FnMut() -> u64,
) -> BTreeMap<String, Id> {
    let mut names = durable.clone();
    for (name, id) in since {
        if draw() & 4 == 0 {
            match id {
                Some(id) => names.insert(name.clone(), *id),
                None => names.remove(name),
            };
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/disk";

    /// A disk with a folder `blobs`, after these events.
    fn after(events: &[Event]) -> Disk {
        let mut disk = Disk {
            root: PathBuf::from(ROOT),
            nodes: vec![folder()],
            open: HashMap::new(),
        };
        let start = [Event::Folder(at("blobs")), Event::Begin(0, at("")), Event::End(0)];
        for event in start.iter().chain(events) {
            disk.apply(event, &BTreeSet::new());
        }
        disk
    }

    fn at(path: &str) -> PathBuf {
        Path::new(ROOT).join(path)
    }

    fn left(disk: &Disk, loss: Loss) -> Vec<(String, usize)> {
        let left = disk.after(loss).into_iter();
        left.map(|(path, (bytes, _))| (path, bytes.len())).collect()
    }

    fn create(path: &str) -> Event {
        Event::Create(at(path))
    }

    fn begin(number: usize, path: &str) -> Event {
        Event::Begin(number, at(path))
    }

    #[test]
    fn a_sync_covers_what_came_before_it_began() {
        let events = [
            create("blobs/a"),
            begin(1, "blobs"),
            create("blobs/b"),
            Event::End(1),
        ];
        let disk = after(&events);
        assert_eq!(left(&disk, Loss::Everything), [("blobs/a".to_owned(), 0)]);
        assert_eq!(disk.losses(0, 0).len(), 4, "the folder is not settled");
    }

    #[test]
    fn a_sync_that_ends_late_takes_nothing_back() {
        let mut events = vec![
            create("blobs/a"),
            begin(1, "blobs"),
            create("blobs/b"),
            begin(2, "blobs"),
            Event::End(2),
            Event::End(1),
        ];
        let both = [("blobs/a".to_owned(), 0), ("blobs/b".to_owned(), 0)];
        let disk = after(&events);
        assert_eq!(left(&disk, Loss::Everything), both);
        assert_eq!(disk.losses(0, 0).len(), 2, "the folder is settled");

        events.swap(4, 5);
        events.insert(4, create("blobs/c"));
        let disk = after(&events);
        assert_eq!(left(&disk, Loss::Everything), both);
        assert_eq!(disk.losses(0, 0).len(), 4, "the third name is not settled");
    }

    #[test]
    fn a_late_sync_of_a_file_takes_no_bytes_back() {
        let write = |bytes: usize| Event::Write(at("blobs/a"), None, vec![1; bytes]);
        let events = [
            create("blobs/a"),
            begin(1, "blobs"),
            Event::End(1),
            write(1),
            begin(2, "blobs/a"),
            write(2),
            begin(3, "blobs/a"),
            write(4),
            Event::End(3),
            Event::End(2),
        ];
        assert_eq!(
            left(&after(&events), Loss::Everything),
            [("blobs/a".to_owned(), 3)]
        );
    }
}
