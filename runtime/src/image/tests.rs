//! What a layer becomes on disk, and back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use samebundle_registry::store::Memory;
use samebundle_spec::{Classify, ErrorKind};

use super::{ImageError, Layer, LayerOwner, Layers, pack};
use crate::driver::contract::{Entry, LayerBuilder, Packing, push_layer};
use crate::meter::Meter;

/// The tests need no root. The driver contract tests ownership, where it runs as root.
const OWNER: LayerOwner = LayerOwner::User;

async fn unpack(layer: LayerBuilder, home: &Path) -> Result<std::path::PathBuf, ImageError> {
    let store = Memory::new();
    let pushed = push_layer(&store, layer.tar().unwrap(), Packing::Gzip).await;
    let (blob, diff_id) = pushed.unwrap();
    let layer = Layer {
        blob,
        diff_id: Some(diff_id),
    };
    Layers::new(home, OWNER, Arc::new(store))
        .ensure(&layer, &Meter::new("unpack", None, None))
        .await
}

#[tokio::test]
async fn a_deleted_folder_that_is_made_again_hides_what_is_below() {
    let home = tempfile::tempdir().unwrap();
    let layer = LayerBuilder::default()
        .add("data/.wh.sub", 0o644, 0, Entry::File(b""))
        .and_then(|layer| layer.add("data/sub/new", 0o644, 0, Entry::File(b"new")))
        .and_then(|layer| layer.add("data/.wh.gone", 0o644, 0, Entry::File(b"")));
    let folder = unpack(layer.unwrap(), home.path()).await.unwrap();
    assert_eq!(fs::read(folder.join("data/sub/new")).unwrap(), b"new");
    let sub = fs::File::open(folder.join("data/sub")).unwrap();
    assert!(super::is_opaque(sub, OWNER).unwrap());
    let gone = fs::symlink_metadata(folder.join("data/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
}

#[tokio::test]
async fn later_entries_win_and_links_stay_inside() {
    let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = outside.path().to_str().unwrap();
    let layer = LayerBuilder::default()
        .add("exit", 0o777, 0, Entry::Link(target))
        .and_then(|layer| layer.add("twice", 0o644, 0, Entry::File(b"first")))
        .and_then(|layer| layer.add("twice", 0o600, 0, Entry::File(b"second")))
        .and_then(|layer| layer.add("hard", 0o644, 0, Entry::HardLink("twice")))
        .and_then(|layer| layer.add("hard", 0o644, 0, Entry::HardLink("hard")))
        .and_then(|layer| layer.add("folder/file", 0o644, 0, Entry::File(b"x")))
        .and_then(|layer| layer.add("folder", 0o777, 0, Entry::Link("elsewhere")))
        .and_then(|layer| layer.add("exit", 0o755, 0, Entry::Folder))
        .and_then(|layer| layer.add("exit/file", 0o644, 0, Entry::File(b"x")));
    let folder = unpack(layer.unwrap(), home.path()).await.unwrap();
    assert_eq!(fs::read(folder.join("hard")).unwrap(), b"second");
    assert_eq!(fs::metadata(folder.join("hard")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_link(folder.join("folder")).unwrap(),
        Path::new("elsewhere")
    );
    assert!(folder.join("exit/file").is_file());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let modified = fs::metadata(folder.join("twice")).unwrap().mtime();
    assert_eq!(
        modified, 1_000_000_000,
        "Python compares times with its compiled files"
    );
}

#[tokio::test]
async fn nothing_is_kept_of_a_refused_layer() {
    let home = tempfile::tempdir().unwrap();
    let layer = LayerBuilder::default()
        .add("good", 0o644, 0, Entry::File(b"x"))
        .and_then(|layer| layer.add("../bad", 0o644, 0, Entry::File(b"x")));
    let error = unpack(layer.unwrap(), home.path()).await.unwrap_err();
    assert!(error.to_string().contains("../bad"), "{error}");
    let left: Vec<_> = fs::read_dir(home.path().join("layers/user")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the lock: {left:?}");
}

/// The error of an entry whose path leads nowhere names what is in the way, whatever the system answers.
#[tokio::test]
async fn what_is_in_the_way_of_an_entry_is_named() {
    let file = Entry::File(b"x");
    for (first, second, wanted) in [
        (
            ("exit", Entry::Link("/gone")),
            ("exit/file", file),
            "through a link, \"exit\"",
        ),
        (
            ("exit", Entry::Link("../../gone")),
            ("exit/file", file),
            "through a link, \"exit\"",
        ),
        (
            ("exit", Entry::Link("exit")),
            ("exit/a/file", file),
            "through a link, \"exit\"",
        ),
        (
            ("a/exit", Entry::Link("/gone")),
            ("a/exit/b", Entry::Folder),
            "through a link, \"a/exit\"",
        ),
        (
            ("a", file),
            ("a/exit/b", file),
            "through \"a\", which is no folder",
        ),
        (
            ("exit", Entry::Link("/gone")),
            ("x", Entry::HardLink("exit/file")),
            "through a link, \"exit\"",
        ),
        (
            ("a", file),
            ("x", Entry::HardLink("b/file")),
            "the layer has no \"b\"",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let layer = LayerBuilder::default()
            .add(first.0, 0o644, 0, first.1)
            .and_then(|layer| layer.add(second.0, 0o644, 0, second.1));
        let error = unpack(layer.unwrap(), home.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        let text = error.to_string();
        assert!(text.contains(second.0) && text.contains(wanted), "{text}");
    }
}

/// A full disk is no fault of the layer: the message names the folder, and the kind is another.
#[test]
fn the_machines_faults_are_not_the_layers() {
    use rustix::io::Errno;

    let layer = samebundle_spec::Digest::sha256(b"layer");
    let folder = Path::new("/home/of/layers");
    let of =
        |answer: Errno| ImageError::unpacking(layer, folder, super::unpack::named(b"bin/sh", answer.into()));
    for answer in [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::MFILE,
        Errno::ROFS,
        Errno::ACCESS,
    ] {
        let error = of(answer);
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
        assert!(error.to_string().contains("/home/of/layers"), "{error}");
    }
    for answer in [Errno::NAMETOOLONG, Errno::LOOP] {
        let error = of(answer);
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains("bin/sh"), "{error}");
    }
}

#[tokio::test]
async fn what_is_packed_unpacks_to_the_same() {
    let home = tempfile::tempdir().unwrap();
    let layer = || {
        LayerBuilder::default()
            .add("a", 0o755, 0, Entry::Folder)?
            .add("a/file", 0o640, 0, Entry::File(b"content"))?
            .add("a/hard", 0o640, 0, Entry::HardLink("a/file"))?
            .add("a/soft", 0o777, 0, Entry::Link("file"))?
            .add("a/.wh.gone", 0o644, 0, Entry::File(b""))?
            .add("mounted/there/x", 0o644, 0, Entry::File(b"x"))?
            .add("opaque", 0o755, 0, Entry::Folder)?
            .add("opaque/.wh..wh..opq", 0o644, 0, Entry::File(b""))
    };
    let folder = unpack(layer().unwrap(), home.path()).await.unwrap();
    let mut tar = Vec::new();
    let left_out = BTreeSet::from(["mounted".into()]);
    pack(&folder, OWNER, &left_out, &mut tar).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        names.push(entry.path().unwrap().to_string_lossy().into_owned());
    }
    let wanted = [
        "a",
        "a/file",
        "a/.wh.gone",
        "a/hard",
        "a/soft",
        "opaque",
        "opaque/.wh..wh..opq",
    ];
    names.sort();
    let mut wanted = wanted.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn a_header_bomb_is_refused_before_it_fills_memory() {
    let home = tempfile::tempdir().unwrap();
    let mut tar = Vec::new();
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(64 << 20);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.resize(512 + (64 << 20) + 1_024, b'x');
    let store = Memory::new();
    let (blob, diff_id) = push_layer(&store, tar, Packing::Gzip).await.unwrap();
    let layer = Layer {
        blob,
        diff_id: Some(diff_id),
    };
    let error = Layers::new(home.path(), OWNER, Arc::new(store))
        .ensure(&layer, &Meter::new("unpack", None, None))
        .await;
    assert!(error.unwrap_err().to_string().contains("too large"));
}
