mod others;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};

use samebundle_spec::{Algorithm, Digest, Digester, Index, Manifest};

use super::*;
use crate::copy::copy;
use crate::layout;
use crate::layout::Layout;
use crate::store::contract::vectors;
use crate::store::{Memory, Side, Sink, SinkExt, SourceExt, Tags};

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// An index of one image, signed, with a cosign tag.
async fn bundle(store: &Memory) -> Descriptor {
    let config = store
        .push_bytes(MediaType::OCI_CONFIG, r#"{"os":"linux"}"#.into())
        .await
        .unwrap();
    let layer = store
        .push_bytes(
            MediaType::OCI_LAYER,
            (0..50_000_u32)
                .map(|i| (i % 251) as u8)
                .collect::<Vec<_>>()
                .into(),
        )
        .await
        .unwrap();
    let image = Manifest::new(config.clone(), vec![layer.clone()]);
    let image = push(store, &image).await;
    let root = store
        .push_bytes(MediaType::OCI_INDEX, Index::new(vec![image]).to_bytes().into())
        .await
        .unwrap();
    store.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let signature = store
        .push_bytes(MediaType::SIGSTORE_BUNDLE, "signature".into())
        .await
        .unwrap();
    let signature = Manifest::artifact(MediaType::SIGSTORE_BUNDLE, vec![signature]).with_subject(root.bare());
    push(store, &signature).await;
    let cosign = push(store, &Manifest::new(config, vec![layer])).await;
    store.tag(&cosign, &Tag::cosign(&root.digest)).await.unwrap();
    root
}

async fn push(store: &Memory, manifest: &Manifest) -> Descriptor {
    store
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await
        .unwrap()
}

async fn write_to(store: &Memory, root: &Descriptor, path: &Path) -> Written {
    let options = Options {
        format: ArchiveFormat::of(path),
        copy: crate::copy::Options::default(),
        since: None,
        cut: None,
    };
    write(store, &[(root.clone(), Some(tag("v1")))], path, &options)
        .await
        .unwrap()
}

/// The entries of an archive, as the tar crate reads them.
fn entries(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let input: Box<dyn Read> = if bytes.starts_with(&[0x1f]) {
        Box::new(flate2::read::GzDecoder::new(&bytes[..]))
    } else {
        Box::new(&bytes[..])
    };
    let mut found = Vec::new();
    for entry in tar::Archive::new(input).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        found.push((entry.path().unwrap().display().to_string(), content));
    }
    found
}

fn put(path: &Path, entries: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    builder.finish().unwrap();
}

#[tokio::test]
async fn what_is_written_is_read_back_and_copied_on() {
    let folder = tempfile::tempdir().unwrap();
    let quarantine = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    for name in ["a.tar", "a.tgz"] {
        let path = folder.path().join(name);
        let written = write_to(&from, &root, &path).await;
        let archive = open(&path, quarantine.path()).await.unwrap();
        assert_eq!(archive.resolve(&tag("v1")).await.unwrap(), root);
        assert_eq!(archive.tags().await.unwrap().len(), 2);
        assert_eq!(archive.referrers(&root, None).await.unwrap().len(), 1);
        let to = Layout::create(&folder.path().join(format!("{name}.layout")))
            .await
            .unwrap();
        let copied = copy(&archive, &to, &root, &crate::copy::Options::tagged(tag("v1")))
            .await
            .unwrap();
        assert_eq!((copied.contents, copied.bytes), (written.contents, written.bytes));
        assert_eq!(layout::check(to.root(), true).await.unwrap().findings, []);
        let back = Memory::new();
        copy(&to, &back, &root, &crate::copy::Options::default())
            .await
            .unwrap();
        assert_eq!(back.digests(), from.digests());
        assert_eq!(fs::read_dir(quarantine.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn the_same_content_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    let other = Layout::create(&folder.path().join("layout")).await.unwrap();
    copy(&from, &other, &root, &crate::copy::Options::default())
        .await
        .unwrap();
    let again = Memory::new();
    copy(&other, &again, &root, &crate::copy::Options::default())
        .await
        .unwrap();
    for name in ["a.tar", "a.tgz"] {
        let (one, two) = (folder.path().join(name), folder.path().join(format!("2{name}")));
        write_to(&from, &root, &one).await;
        write_to(&again, &root, &two).await;
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    }
    let names: Vec<String> = entries(&folder.path().join("a.tar"))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names[..2], ["oci-layout", "index.json"]);
    let signature = entries(&folder.path().join("a.tar"))
        .iter()
        .position(|(_, content)| content == b"signature");
    assert!(
        signature.unwrap()
            < names
                .iter()
                .position(|name| name.ends_with(&root.digest.hex()))
                .unwrap()
    );
    assert_eq!(entries(&folder.path().join("a.tgz")).len(), names.len());
}

#[tokio::test]
async fn names_that_ustar_cannot_hold_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let mut digester = Digester::new(Algorithm::Sha512);
    digester.update(b"long");
    let long = Descriptor::new(MediaType::OCI_LAYER, digester.finish(), 4);
    from.push(&long, Box::pin(&b"long"[..])).await.unwrap();
    from.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let root = push(&from, &Manifest::new(Descriptor::empty(), vec![long.clone()])).await;
    let path = folder.path().join("a.tar");
    write_to(&from, &root, &path).await;
    let archive = open(&path, folder.path()).await.unwrap();
    assert_eq!(archive.fetch_bytes(&long, 10).await.unwrap(), "long");
    assert!(
        entries(&path)
            .iter()
            .any(|(name, _)| name.ends_with(&long.digest.hex())),
        "others read it too"
    );
}

/// Changes the entries of a good archive; it must then be refused.
async fn refused_after(change: impl Fn(&mut Vec<(String, Vec<u8>)>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let root = bundle(&from).await;
    let path = folder.path().join("a.tar");
    write_to(&from, &root, &path).await;
    let mut all = entries(&path);
    put(&path, &all);
    open(&path, folder.path()).await.unwrap();
    change(&mut all);
    put(&path, &all);
    format!("{}", open(&path, folder.path()).await.unwrap_err())
}

#[tokio::test]
async fn only_exactly_what_is_pointed_at_may_be_in_it() {
    let extra = Digest::sha256(b"extra");
    let why = refused_after(|all| all.push((format!("blobs/sha256/{}", extra.hex()), b"extra".into()))).await;
    assert!(why.contains("nothing in it points there"), "{why}");
    let why = refused_after(|all| {
        all.pop();
    })
    .await;
    assert!(why.contains("is not in it"), "{why}");
    let why = refused_after(|all| all.push(("README".to_owned(), Vec::new()))).await;
    assert!(why.contains("does not belong"), "{why}");
    let why =
        refused_after(|all| all.push(("blobs/sha256/../x".to_owned().replace("..", "0"), Vec::new()))).await;
    assert!(why.contains("does not belong"), "{why}");
    let why = refused_after(|all| all.last_mut().unwrap().1[0] ^= 1).await;
    assert!(why.contains("altered"), "{why}");
    let why = refused_after(|all| {
        all.remove(0);
    })
    .await;
    assert!(why.contains("oci-layout"), "{why}");
    let larger = |index: &str| {
        let at = index.find("\"size\":").unwrap() + 7;
        format!("{}1{}", &index[..at], &index[at..])
    };
    let why = refused_after(|all| {
        let index = String::from_utf8(all[1].1.clone()).unwrap();
        all[1].1 = larger(&index).into();
    })
    .await;
    assert!(why.contains("its seal"), "{why}");
    // Other tools write no seal: the parts must agree all the same.
    let why = refused_after(|all| {
        let index = String::from_utf8(all[1].1.clone()).unwrap();
        let seal = index.rfind(",\"annotations\":{\"dev.samebundle.index\"").unwrap();
        all[1].1 = larger(&format!("{}}}", &index[..seal])).into();
    })
    .await;
    assert!(why.contains("declared"), "{why}");
    for (from, to) in [
        ("dev.samebundle.index", "dev.samebundle.jndex"),
        ("\"annotations\":{\"dev", "\"annotauions\":{\"dev"),
    ] {
        let why = refused_after(|all| {
            let index = String::from_utf8(all[1].1.clone()).unwrap();
            all[1].1 = index.replace(from, to).into();
        })
        .await;
        assert!(why.contains("does not belong"), "{why}");
    }
}

/// A small random generator: the same flips on every run.
struct Flips(u64);

impl Flips {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

/// Everything that an archive gives: content by digest, and tags.
async fn all_of(archive: &ArchiveStore) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (digest, (_, size)) in &archive.inventory.blobs {
        let descriptor = Descriptor::new(MediaType::OCI_LAYER, *digest, *size);
        let bytes = archive.fetch_bytes(&descriptor, u64::MAX).await.unwrap();
        all.insert(digest.to_string(), bytes.to_vec());
    }
    for tag in archive.tags().await.unwrap() {
        let digest = archive.resolve(&tag).await.unwrap().digest.to_string();
        all.insert(tag.to_string(), digest.into());
    }
    all
}

#[tokio::test]
async fn flipped_bits_are_refused_or_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    from.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let layer = from
        .push_bytes(MediaType::OCI_LAYER, "content".into())
        .await
        .unwrap();
    let root = push(&from, &Manifest::new(Descriptor::empty(), vec![layer])).await;
    let mut flips = Flips(0x5eed);
    for name in ["a.tar", "a.tgz"] {
        let path = folder.path().join(name);
        write_to(&from, &root, &path).await;
        let good = fs::read(&path).unwrap();
        let wanted = all_of(&open(&path, folder.path()).await.unwrap()).await;
        let mut refused = 0;
        for _ in 0..1_000 {
            let mut bytes = good.clone();
            let bit = flips.next(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
            match open(&path, folder.path()).await {
                Err(_) => refused += 1,
                // A flip in a label of index.json may rename a tag: its text is not named by a digest.
                Ok(archive) => {
                    let found = all_of(&archive).await;
                    let content = |all: &BTreeMap<String, Vec<u8>>| {
                        all.iter()
                            .filter(|(name, _)| name.starts_with("sha256:"))
                            .map(|(name, bytes)| (name.clone(), bytes.clone()))
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(content(&found), content(&wanted), "bit {bit}");
                }
            }
        }
        println!("{name}: {refused} of 1000 flips refused");
        assert!(refused > 900, "{name}: only {refused} refused");
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn who_copies_an_archive_hashes_large_content_on_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let config = from.push_bytes(MediaType::OCI_CONFIG, "{}".into()).await.unwrap();
    let large = vec![7; usize::try_from(limits::MANIFEST_BYTES).unwrap() + 1];
    let layer = from.push_bytes(MediaType::OCI_LAYER, large.into()).await.unwrap();
    let root = push(&from, &Manifest::new(config.clone(), vec![layer.clone()])).await;
    let copied = async |archive: &ArchiveStore, name: &str| {
        let to = Layout::create(&folder.path().join(name)).await.unwrap();
        let result = copy(archive, &to, &root, &crate::copy::Options::tagged(tag("v1"))).await;
        (result, to)
    };
    for name in ["a.tar", "a.tgz"] {
        let path = folder.path().join(name);
        write_to(&from, &root, &path).await;
        // Nothing has to be unpacked: the folder for that does not exist.
        let archive = open_to_copy(&path, Path::new("none")).await.unwrap();
        assert!(!archive.was_checked());
        let (result, to) = copied(&archive, &format!("{name}.layout")).await;
        result.unwrap();
        assert_eq!(layout::check(to.root(), true).await.unwrap().findings, []);
        assert!(open(&path, folder.path()).await.unwrap().was_checked());
    }
    let path = folder.path().join("a.tar");
    let whole = fs::read(&path).unwrap();
    let archive = open(&path, folder.path()).await.unwrap();
    let place =
        |descriptor: &Descriptor| usize::try_from(archive.inventory.blobs[&descriptor.digest].0).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    };

    flipped(place(&layer) + 1_000_000);
    let refused = open(&path, folder.path()).await;
    assert!(matches!(refused, Err(StoreError::Mismatch { digest, .. }) if digest == layer.digest));
    let damaged = open_to_copy(&path, folder.path()).await.unwrap();
    let (result, to) = copied(&damaged, "damaged.layout").await;
    let refused = result.unwrap_err();
    assert!(
        matches!(
            &refused,
            StoreError::Copy {
                side: Side::Source,
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(!to.contains(&layer).await.unwrap());
    assert_eq!(to.tags().await.unwrap(), []);

    for small in [&config, &root] {
        flipped(place(small));
        let refused = open_to_copy(&path, folder.path()).await;
        assert!(matches!(refused, Err(StoreError::Mismatch { digest, .. }) if digest == small.digest));
    }
    for length in [
        place(&layer) + 1_000_000,
        place(&layer) + usize::try_from(layer.size).unwrap(),
    ] {
        fs::write(&path, &whole[..length]).unwrap();
        let refused = open_to_copy(&path, folder.path()).await.unwrap_err();
        assert!(refused.to_string().contains("the archive is cut"), "{refused}");
    }
}

#[tokio::test]
async fn a_failed_write_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, "old").unwrap();
    let from = Memory::new();
    let missing = Descriptor::of(MediaType::OCI_LAYER, b"missing");
    from.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let root = push(&from, &Manifest::new(Descriptor::empty(), vec![missing])).await;
    let options = Options {
        format: ArchiveFormat::Tar,
        copy: crate::copy::Options::default(),
        since: None,
        cut: None,
    };
    let result = write(&from, &[(root.clone(), None)], &path, &options).await;
    let Err(StoreError::Copy {
        side: crate::store::Side::Source,
        ..
    }) = result
    else {
        panic!("{result:?}");
    };
    options.copy.cancel.cancel();
    let result = write(&from, &[(root, None)], &path, &options).await;
    assert!(matches!(result, Err(StoreError::Cancelled)), "{result:?}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("no/such/folder.tar");
    let result = write(
        &Memory::new(),
        &[],
        &nowhere,
        &Options {
            format: ArchiveFormat::Tar,
            copy: crate::copy::Options::default(),
            since: None,
            cut: None,
        },
    )
    .await;
    let Err(StoreError::Copy {
        side: crate::store::Side::Destination,
        ..
    }) = result
    else {
        panic!("{result:?}");
    };
}

/// Every file below a folder, with its length and modification time.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        found.push(format!(
            "{:?} {} {:?}",
            entry.path(),
            metadata.len(),
            metadata.modified().unwrap()
        ));
        if metadata.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

/// None of the hostile archives is an image layout: all are refused, and nothing is written anywhere.
#[tokio::test]
async fn vector_malformed_archives_touch_nothing() {
    let Some(vectors) = vectors() else { return };
    let folder = tempfile::tempdir().unwrap();
    let quarantine = folder.path().join("outer/quarantine");
    fs::create_dir_all(&quarantine).unwrap();
    fs::write(folder.path().join("escape"), "untouched").unwrap();
    let index = fs::read(vectors.join("security/malformed-tar/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    for vector in index["vectors"].as_array().unwrap() {
        let file = vector["file"].as_str().unwrap();
        let path = folder.path().join("outer/subject.tar");
        fs::copy(vectors.join("security/malformed-tar").join(file), &path).unwrap();
        let before = tree(folder.path());
        for result in [
            open(&path, &quarantine).await.map(|_| ()),
            thick::open(&path, &quarantine).await.map(|_| ()),
        ] {
            println!("{file}: wanted refused, got {result:?}");
            assert!(result.is_err(), "{file}");
        }
        let mut after = tree(folder.path());
        // The folder's own time changes with the file that was unpacked in it and is gone.
        let untimed = |line: &String| !line.contains("quarantine");
        after.retain(untimed);
        assert_eq!(
            after,
            before.into_iter().filter(untimed).collect::<Vec<_>>(),
            "{file}"
        );
        assert_eq!(fs::read_dir(&quarantine).unwrap().count(), 0, "{file}");
    }
}

/// Thick bundles that others wrote; those that are meant to be malformed say so in their name.
#[tokio::test]
async fn vector_thick_bundles() {
    let Some(vectors) = vectors() else { return };
    let quarantine = tempfile::tempdir().unwrap();
    let mut open = vec![vectors.join("cnab")];
    let mut with_images = 0;
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "tgz") {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let wanted = !name.contains("malformed");
                let result = thick::open(&path, quarantine.path()).await;
                println!(
                    "{name}: wanted {}, got {:?}",
                    if wanted { "accept" } else { "reject" },
                    result.as_ref().map(|thick| thick.bundle_json.len())
                );
                assert_eq!(result.is_ok(), wanted, "{result:?}");
                if let Some(layout) = result.ok().and_then(|thick| thick.layout) {
                    with_images += 1;
                    for entry in layout.entries() {
                        let to = Memory::new();
                        copy(&layout, &to, &entry.bare(), &crate::copy::Options::default())
                            .await
                            .unwrap();
                        assert!(!to.digests().is_empty());
                    }
                }
            }
        }
    }
    assert!(with_images > 0);
    assert_eq!(fs::read_dir(quarantine.path()).unwrap().count(), 0);
}
