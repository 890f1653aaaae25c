use std::path::{Path, PathBuf};

use samebundle_spec::{Chunk, Descriptor, Tag};

use super::*;
use crate::archive::{ArchiveFormat, ArchiveStore, Options, Written, open, write};
use crate::chunk::tests::{Version, noise, version};
use crate::copy::copy;
use crate::layout;
use crate::layout::Layout;
use crate::store::{Memory, SourceExt};

fn honest(_: &mut Vec<Chunk>) -> Option<Vec<u8>> {
    None
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// Three versions in one store, and a folder for archives.
struct Bench {
    folder: tempfile::TempDir,
    from: Memory,
    versions: Vec<Version>,
}

impl Bench {
    async fn new() -> Self {
        let from = Memory::new();
        let mut content = noise(21, 8 << 20);
        let mut versions = vec![version(&from, &content, honest).await];
        for step in 1..3_usize {
            for place in 0..2 {
                let at = (place * 3 + step) << 20;
                content.splice(at..at + 10_000, noise((100 * step + place) as u64, 10_100));
            }
            versions.push(version(&from, &content, honest).await);
        }
        Self {
            folder: tempfile::tempdir().unwrap(),
            from,
            versions,
        }
    }

    async fn write(&self, number: usize, name: &str, since: Option<&ArchiveStore>) -> (PathBuf, Written) {
        let path = self.folder.path().join(name);
        let options = Options {
            format: ArchiveFormat::of(&path),
            copy: crate::copy::Options::default(),
            since: since.map(|since| Arc::new(since.since().unwrap())),
            cut: None,
        };
        let root = (self.versions[number].root.clone(), Some(tag("v")));
        let written = write(&self.from, &[root], &path, &options).await.unwrap();
        (path, written)
    }

    async fn open(&self, path: &Path) -> Result<ArchiveStore, StoreError> {
        open(path, self.folder.path()).await
    }

    async fn import(&self, to: &Layout, archive: &ArchiveStore, number: usize) -> Result<(), StoreError> {
        let version = &self.versions[number];
        let options = crate::copy::Options::tagged(tag(&format!("v{number}")));
        copy(archive, to, &version.root, &options).await?;
        let bytes = to.fetch_bytes(&version.layer, u64::MAX).await?;
        assert!(bytes == version.stored, "other bytes came out");
        Ok(())
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn each_side_of_a_gap_gets_the_same_from_deltas() {
    let bench = Bench::new().await;
    let (first, written) = bench.write(0, "0.tgz", None).await;
    assert_eq!(written.omitted, 0);
    let zero = bench.open(&first).await.unwrap();
    let (second, written) = bench.write(1, "1.tgz", Some(&zero)).await;
    assert!(size(&second) < size(&first) / 10, "{}", size(&second));
    assert!(written.omitted > written.bytes, "{written:?}");
    let one = bench.open(&second).await.unwrap();
    assert_eq!(one.delta(), Some(bench.versions[0].root.digest));
    // A delta of a delta: whoever has imported the second holds all of it.
    let (third, _) = bench.write(2, "2.tgz", Some(&one)).await;
    assert!(size(&third) < size(&first) / 10, "{}", size(&third));
    let two = bench.open(&third).await.unwrap();
    let to = Layout::create(&bench.folder.path().join("island")).await.unwrap();
    for (number, archive) in [zero, one, two].iter().enumerate() {
        bench.import(&to, archive, number).await.unwrap();
    }
    assert_eq!(layout::check(to.root(), true).await.unwrap().findings, []);
    // The same again gives the same bytes, also as a delta.
    let zero = bench.open(&first).await.unwrap();
    let (again, _) = bench.write(1, "again.tgz", Some(&zero)).await;
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&second).unwrap());
}

#[tokio::test]
async fn content_that_has_not_changed_is_left_out_whole() {
    let bench = Bench::new().await;
    let (first, _) = bench.write(0, "0.tar", None).await;
    let zero = bench.open(&first).await.unwrap();
    let (same, written) = bench.write(0, "same.tar", Some(&zero)).await;
    assert_eq!(written.omitted, bench.versions[0].layer.size);
    let to = Layout::create(&bench.folder.path().join("island")).await.unwrap();
    bench.import(&to, &zero, 0).await.unwrap();
    let same = bench.open(&same).await.unwrap();
    bench.import(&to, &same, 0).await.unwrap();
}

#[tokio::test]
async fn who_lacks_the_earlier_version_is_told_which() {
    let bench = Bench::new().await;
    let (first, _) = bench.write(0, "0.tgz", None).await;
    let zero = bench.open(&first).await.unwrap();
    for number in [0, 1] {
        let (path, _) = bench.write(number, "delta.tgz", Some(&zero)).await;
        let delta = bench.open(&path).await.unwrap();
        let to = Layout::create(&bench.folder.path().join(format!("island-{number}")))
            .await
            .unwrap();
        let error = bench.import(&to, &delta, number).await.unwrap_err();
        let StoreError::Copy { source, .. } = &error else {
            panic!("{error:?}")
        };
        let StoreError::LeftOut { digest, since, .. } = &**source else {
            panic!("{source:?}")
        };
        assert_eq!(*digest, bench.versions[number].layer.digest);
        assert_eq!(*since, bench.versions[0].root.digest);
        assert!(
            source.to_string().contains("first import the version"),
            "{source}"
        );
    }
}

#[tokio::test]
async fn a_delta_proves_all_that_is_in_it() {
    let bench = Bench::new().await;
    let (first, _) = bench.write(0, "0.tar", None).await;
    let zero = bench.open(&first).await.unwrap();
    let (path, _) = bench.write(1, "1.tar", Some(&zero)).await;
    bench.open(&path).await.unwrap();
    let good = std::fs::read(&path).unwrap();
    let broken = bench.folder.path().join("broken.tar");
    // Zeros between and behind entries, and digits of headers that mean the same, aside, every byte counts.
    let places = (0..good.len()).step_by(1_009).filter(|at| good[*at] != 0);
    let (mut tried, mut chunks) = (0, 0);
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&broken, bad).unwrap();
        let opened = bench.open(&broken).await;
        assert!(opened.is_err(), "byte {at} was flipped and nobody saw");
        tried += 1;
        chunks +=
            usize::from(matches!(opened, Err(StoreError::Mismatch { why, .. }) if why.contains("chunk")));
    }
    assert!(tried > 100 && chunks > 50, "{tried} {chunks}");
    for end in (0..good.len()).step_by(good.len() / 20) {
        std::fs::write(&broken, &good[..end]).unwrap();
        assert!(bench.open(&broken).await.is_err(), "cut at {end}");
    }
}

/// A file of chunks beside a whole archive, or for a layer that has no index, does not belong there.
#[tokio::test]
async fn what_is_said_of_chunks_must_fit() {
    let bench = Bench::new().await;
    let (first, _) = bench.write(0, "0.tar", None).await;
    let zero = bench.open(&first).await.unwrap();
    let (path, _) = bench.write(1, "1.tar", Some(&zero)).await;
    let renamed = |from: &str, to: &str| {
        let bytes = std::fs::read(&path).unwrap();
        let mut out = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut header = tar::Header::new_ustar();
            header.set_size(entry.size());
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_path(name.replace(from, to)).unwrap();
            header.set_cksum();
            out.append(&header, &mut entry).unwrap();
        }
        std::fs::write(&path, out.into_inner().unwrap()).unwrap();
    };
    let layer = bench.versions[1].layer.digest.hex();
    let other: Descriptor = bench.versions[0].layer.clone();
    renamed(
        &format!("chunks/sha256/{layer}"),
        &format!("chunks/sha256/{}", other.digest.hex()),
    );
    let error = bench.open(&path).await.unwrap_err().to_string();
    assert!(error.contains("no chunk index of it"), "{error}");
}
