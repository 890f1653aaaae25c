//! Archives as other tools make them, sound and otherwise, and targets that no archive may replace.

use std::os::unix::fs::PermissionsExt;

use samebundle_spec::{Classify, ErrorKind};

use super::*;

/// The entries of a layout as other tools write it: unsealed, with a tag.
async fn layout_of_others() -> (Descriptor, Vec<(String, Vec<u8>)>) {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    let path = folder.path().join("a.tar");
    write_to(&from, &root, &path).await;
    let mut all = entries(&path);
    let index = LayoutIndex::parse(&all[1].1, "index.json").unwrap();
    let manifests = serde_json::to_value(index.entries()).unwrap();
    let unsealed = serde_json::json!({
        "schemaVersion": 2, "manifests": manifests, "annotations": {"made.by": "another tool"},
    });
    all[1].1 = unsealed.to_string().into();
    (root, all)
}

/// A tar archive with names and modes that `tar::Builder` would change.
fn raw(entries: &[(String, Vec<u8>)], folders: &[(&str, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |name: &str, kind, mode, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    };
    for (name, mode) in folders {
        put(name, tar::EntryType::Directory, *mode, b"");
    }
    for (name, content) in entries {
        put(name, tar::EntryType::Regular, 0o644, content);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .mtime(1)
        .write(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn is_read(what: &str, root: &Descriptor, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, bytes).unwrap();
    let archive = open(&path, folder.path()).await;
    let archive = archive.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (found, named) = crate::layout::select(archive.entries(), None).unwrap();
    assert_eq!((found, named), (root.bare(), Some(tag("v1"))), "{what}");
    let to = Memory::new();
    let copied = copy(&archive, &to, root, &crate::copy::Options::default()).await;
    copied.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(to.digests().len(), 7, "{what}");
}

#[tokio::test]
async fn sound_archives_of_other_tools_are_read() {
    let (root, all) = layout_of_others().await;
    let with = |more: &[(&str, &str)]| {
        let mut all = all.clone();
        let more = more
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()));
        all.extend(more);
        all
    };
    let dotted: Vec<_> = all
        .iter()
        .map(|(name, content)| (format!("./{name}"), content.clone()))
        .collect();
    let saved = with(&[("manifest.json", "[{}]"), ("repositories", "{}")]);
    let dangling = format!("blobs/sha256/{}", Digest::sha256(b"nobody's").hex());
    let plain = raw(&all, &[]);
    let middle = plain.len() / 3;
    let parts = [gzip(&plain[..middle], 6), gzip(&plain[middle..], 6), gzip(b"", 6)];
    for (what, bytes) in [
        ("plain", plain.clone()),
        ("with ./", raw(&dotted, &[("./", 0o755), ("./blobs/", 0o755)])),
        ("docker save of today", raw(&saved, &[("blobs/", 0o755)])),
        ("with an ingest folder", raw(&all, &[("ingest/", 0o755)])),
        (
            "with files of nobody",
            raw(
                &with(&[
                    (".DS_Store", "x"),
                    ("blobs/sha256/.gitkeep", ""),
                    ("ingest/1", "x"),
                ]),
                &[],
            ),
        ),
        (
            "with a blob of nobody",
            raw(&with(&[(&dangling, "nobody's")]), &[]),
        ),
        (
            "with setgid folders",
            raw(&all, &[("blobs/", 0o2775), ("blobs/sha256/", 0o2775)]),
        ),
        ("gzip", gzip(&plain, 6)),
        ("gzip of several members", parts.concat()),
        ("gzip without compression", gzip(&plain, 0)),
    ] {
        is_read(what, &root, &bytes).await;
    }
}

#[tokio::test]
async fn what_an_archive_of_another_tool_lacks_is_said_when_it_is_wanted() {
    let (root, mut all) = layout_of_others().await;
    let layer = all
        .iter()
        .position(|(_, content)| content.len() == 50_000)
        .unwrap();
    all.remove(layer);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, raw(&all, &[])).unwrap();
    let archive = open(&path, folder.path()).await.unwrap();
    let error = copy(&archive, &Memory::new(), &root, &crate::copy::Options::default()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

/// None of them is called damaged, and each is told how it becomes readable.
#[tokio::test]
async fn sound_files_of_other_forms_are_named() {
    let (_, all) = layout_of_others().await;
    let in_folder: Vec<_> = all
        .iter()
        .map(|(name, content)| (format!("x/{name}"), content.clone()))
        .collect();
    let file = |name: &str| (name.to_owned(), b"{}".to_vec());
    let old_save = [file("0123.json"), file("0123/layer.tar"), file("manifest.json")];
    let mut linked = raw(&old_save, &[]);
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_path("4567/layer.tar").unwrap();
    link.set_link_name("../0123/layer.tar").unwrap();
    link.set_size(0);
    link.set_cksum();
    linked.splice(0..0, link.as_bytes().to_vec());
    for (bytes, what, remedy) in [
        (zstd::encode_all(&b"x"[..], 1).unwrap(), "zstd", "zstd -d"),
        (b"\xfd7zXZ\0rest".to_vec(), "xz", "xz -d"),
        (b"BZh91AY".to_vec(), "bzip2", "bzip2 -d"),
        (b"PK\x03\x04rest".to_vec(), "zip", "unpack it"),
        (Vec::new(), "empty", "again"),
        (raw(&old_save, &[]), "docker save", "skopeo copy"),
        (gzip(&raw(&old_save, &[]), 6), "docker save", "skopeo copy"),
        (linked, "docker save", "skopeo copy"),
        (raw(&in_folder, &[]), "in the folder \"x\"", "-C x"),
        (raw(&[file("x/bundle.json")], &[]), "in the folder \"x\"", "-C x"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tgz");
        fs::write(&path, bytes).unwrap();
        let error = open_any(&path, folder.path(), false).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_damage()),
            (ErrorKind::Input, false),
            "{what}: {error}"
        );
        let said = error.to_string();
        assert!(said.contains(what) && said.contains(remedy), "{what}: {said}");
    }
}

#[tokio::test]
async fn a_thick_bundle_is_read_with_files_of_nobody_and_judged_as_one() {
    let (_, all) = layout_of_others().await;
    let mut thick: Vec<_> = all
        .iter()
        .map(|(name, content)| (format!("./artifacts/layout/{name}"), content.clone()))
        .collect();
    thick.push(("./bundle.json".to_owned(), b"{}".to_vec()));
    thick.push(("./artifacts/._layout".to_owned(), b"x".to_vec()));
    thick.push(("./artifacts/notes.txt".to_owned(), b"x".to_vec()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tgz");
    fs::write(&path, gzip(&raw(&thick, &[("./", 0o755)]), 6)).unwrap();
    let opened = open_any(&path, folder.path(), false).await.unwrap();
    assert!(matches!(opened, OpenedArchive::Thick(thick) if thick.layout.is_some()));
    thick.retain(|(name, _)| !name.ends_with("oci-layout"));
    fs::write(&path, raw(&thick, &[])).unwrap();
    let error = open_any(&path, folder.path(), false)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("oci-layout or index.json is missing"), "{error}");
}

#[tokio::test]
async fn a_source_is_followed_through_links_and_must_be_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    let path = folder.path().join("a.tgz");
    write_to(&from, &root, &path).await;
    let link = folder.path().join("latest.tgz");
    std::os::unix::fs::symlink("a.tgz", &link).unwrap();
    assert_eq!(open(&link, folder.path()).await.unwrap().entries().len(), 3);
    for (path, what) in [(folder.path(), "a folder"), (Path::new("/dev/null"), "a device")] {
        let error = open_any(path, folder.path(), false).await.unwrap_err();
        assert_eq!((error.kind(), error.is_damage()), (ErrorKind::Input, false));
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains(what), "{why}");
    }
}

#[tokio::test]
async fn a_full_scratch_folder_is_named_and_not_the_source() {
    let (_, all) = layout_of_others().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tgz");
    fs::write(&path, gzip(&raw(&all, &[]), 6)).unwrap();
    // No file without a name can be made there.
    let error = open(&path, Path::new("/proc/self"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/proc/self") && !error.contains("a.tgz"),
        "{error}"
    );
}

#[tokio::test]
async fn no_target_but_a_file_is_written_and_nothing_is_read_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let from = Memory::new();
    // The content does not exist: whoever read it would say so.
    let root = Descriptor::of(MediaType::OCI_INDEX, b"absent");
    let long = "x".repeat(253);
    for (name, cut) in [
        ("socket", false),
        ("folder", false),
        ("-", false),
        ("-", true),
        ("new/", false),
        ("a.tar.zst", false),
        ("a.zip", false),
        (&long, true),
    ] {
        let cut = cut.then_some(volumes::Cut {
            size: 1 << 20,
            parity: 0,
        });
        let options = Options {
            format: ArchiveFormat::Gzip,
            copy: crate::copy::Options::default(),
            since: None,
            cut,
        };
        let error = write(&from, &[(root.clone(), None)], &at(name), &options)
            .await
            .unwrap_err();
        let refused = matches!(error, StoreError::Path(_) | StoreError::OtherForm { .. });
        assert!(refused, "{name}: {error:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_link_is_kept_and_the_mask_of_the_process_holds() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    let (path, link) = (folder.path().join("a.tgz"), folder.path().join("link.tgz"));
    fs::write(&path, "old").unwrap();
    std::os::unix::fs::symlink("a.tgz", &link).unwrap();
    write_to(&from, &root, &link).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // The system gives any new file the same mode.
    fs::write(folder.path().join("new"), "").unwrap();
    let mode = |name: &str| {
        fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("a.tgz"), mode("new"));
    let layout = folder.path().join("layout");
    let to = Layout::create(&layout).await.unwrap();
    copy(&from, &to, &root, &crate::copy::Options::tagged(tag("v1")))
        .await
        .unwrap();
    assert_eq!(mode("layout/index.json"), mode("new"));
    let blob = format!("layout/blobs/sha256/{}", root.digest.hex());
    assert_eq!(mode(&blob), mode("new") & !0o222);
}
