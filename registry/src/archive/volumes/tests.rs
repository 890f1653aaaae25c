use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use samebundle_spec::volume::{HEAD_BYTES, VolumeHead, VolumeSet};
use samebundle_spec::{Descriptor, Digest, MediaType};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::archive::body::Reader;
use crate::archive::{self, ArchiveFormat, Options};
use crate::store::{Memory, SinkExt as _, SourceExt as _, StoreError};

/// The smallest volume that there may be.
const SMALL: u64 = 2 * HEAD_BYTES;

/// Bytes that repeat nowhere.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    bytes.flatten().take(length).collect()
}

/// An archive in volumes, in a folder of its own.
struct CutUp {
    folder: TempDir,
    bytes: Vec<u8>,
    files: Vec<Volume>,
}

fn path_in(folder: &TempDir) -> PathBuf {
    folder.path().join("a.tar")
}

fn cut_up(bytes: &[u8], size: u64, parity: u32) -> Result<CutUp, StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let mut pieces = Pieces::new(&path_in(&folder), Cut { size, parity })?;
    pieces.write_all(bytes).unwrap();
    let files = pieces.finish(&CancellationToken::new())?;
    Ok(CutUp {
        folder,
        bytes: bytes.to_vec(),
        files,
    })
}

/// What is read through the volumes, and what was made up for.
fn joined(path: &Path) -> Result<(Vec<u8>, Vec<String>), StoreError> {
    let quarantine = tempfile::tempdir().unwrap();
    let found = find(path)?.ok_or_else(|| StoreError::NotFound {
        subject: "volumes".to_owned(),
        place: path.display().to_string(),
    })?;
    let joined = found.join(quarantine.path())?;
    let mut bytes = Vec::new();
    let mut reader = Reader::new(&Arc::new(joined.parts));
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(fs::read_dir(quarantine.path()).unwrap().count(), 0);
    Ok((bytes, joined.faults))
}

fn name(volume: &Volume) -> String {
    volume.path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl CutUp {
    fn path(&self) -> PathBuf {
        path_in(&self.folder)
    }

    /// Everything is read, and exactly these volumes are said to be at fault.
    fn mended(&self, at_fault: &[&Volume], what: &str) {
        let (bytes, faults) = joined(&self.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(bytes == self.bytes, "{what}: other bytes");
        let named: Vec<&str> = faults
            .iter()
            .filter_map(|fault| fault.split(' ').next())
            .collect();
        let wanted: Vec<String> = at_fault.iter().map(|volume| name(volume)).collect();
        assert_eq!(named, wanted, "{what}: {faults:?}");
    }

    /// It is refused, with the name of every volume at fault.
    fn refused(&self, at_fault: &[&Volume], what: &str) -> String {
        let refused = joined(&self.path());
        let Err(StoreError::Invalid { why, .. }) = refused else {
            panic!("{what}: {refused:?}");
        };
        for volume in at_fault {
            assert!(why.contains(&name(volume)), "{what}: {why}");
        }
        why
    }

    /// Runs `check` while a volume has other content, or is gone.
    fn with(&self, volume: &Volume, content: Option<&[u8]>, check: impl FnOnce()) {
        let before = fs::read(&volume.path).unwrap();
        fs::remove_file(&volume.path).unwrap();
        if let Some(content) = content {
            fs::write(&volume.path, content).unwrap();
        }
        check();
        fs::write(&volume.path, before).unwrap();
    }

    /// Every way in which one volume may be damaged.
    fn damages(volume: &Volume) -> Vec<(String, Option<Vec<u8>>)> {
        let whole = fs::read(&volume.path).unwrap();
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            bytes
        };
        let head = HEAD_BYTES as usize;
        let places = [
            0,
            19,
            25,
            100,
            300,
            head - 1,
            head,
            (head + whole.len()) / 2,
            whole.len() - 1,
        ];
        let mut damages: Vec<_> = places
            .into_iter()
            .map(|at| (format!("byte {at} of {}", name(volume)), Some(flipped(at))))
            .collect();
        for length in [0, 10, head - 1, head, whole.len() - 1] {
            let what = format!("{} cut to {length}", name(volume));
            damages.push((what, Some(whole[..length].to_vec())));
        }
        damages.push((
            format!("{} with more behind it", name(volume)),
            Some([&whole[..], b"\0"].concat()),
        ));
        damages.push((
            format!("{} full of zeros", name(volume)),
            Some(vec![0; whole.len()]),
        ));
        damages.push((format!("{} lost", name(volume)), None));
        damages
    }
}

#[test]
fn the_pieces_are_the_archive_and_no_file_is_larger_than_asked() {
    for length in [1, 65_535, 65_536, 65_537, 400_000] {
        let one = cut_up(&noise(length, 1), SMALL, 2).unwrap();
        let again = cut_up(&noise(length, 1), SMALL, 2).unwrap();
        let mut pieces = Vec::new();
        for (number, (volume, other)) in one.files.iter().zip(&again.files).enumerate() {
            let bytes = fs::read(&volume.path).unwrap();
            assert_eq!(bytes, fs::read(&other.path).unwrap(), "the same bytes again");
            assert_eq!(bytes.len() as u64, volume.bytes);
            assert!(volume.bytes <= SMALL);
            let head = VolumeHead::from_bytes(&bytes[..HEAD_BYTES as usize]).unwrap();
            assert_eq!(head.number as usize, number);
            if !head.set.is_parity(number) {
                pieces.extend_from_slice(&bytes[HEAD_BYTES as usize..]);
            }
        }
        assert!(pieces == one.bytes, "{length} bytes");
        one.mended(&[], "whole");
    }
}

#[test]
fn any_one_volume_may_be_lost_or_damaged_in_any_way() {
    let one = cut_up(&noise(400_000, 2), SMALL, 1).unwrap();
    assert_eq!(one.files.len(), 8);
    for volume in &one.files {
        for (what, content) in CutUp::damages(volume) {
            one.with(volume, content.as_deref(), || one.mended(&[volume], &what));
        }
    }
    one.mended(&[], "all is as it was");
}

#[test]
fn without_parity_the_one_that_is_lost_or_damaged_is_named() {
    let one = cut_up(&noise(200_000, 3), SMALL, 0).unwrap();
    for volume in &one.files {
        for (what, content) in CutUp::damages(volume) {
            one.with(volume, content.as_deref(), || {
                let why = one.refused(&[volume], &what);
                assert!(why.contains("bring 1 more"), "{why}");
                let others = one.files.iter().filter(|other| *other != volume);
                for other in others {
                    assert!(!why.contains(&name(other)), "{what}: {why}");
                }
            });
        }
    }
}

#[test]
fn any_two_of_two_parities_and_no_three() {
    let one = cut_up(&noise(250_000, 4), SMALL, 2).unwrap();
    let count = one.files.len();
    assert_eq!(count, 6);
    for first in 0..count {
        for second in first + 1..count {
            let lost = [&one.files[first], &one.files[second]];
            one.with(lost[0], None, || {
                one.with(lost[1], None, || {
                    one.mended(&lost, &format!("{first} and {second}"));
                    for third in (0..count).filter(|third| ![first, second].contains(third)) {
                        let third = &one.files[third];
                        one.with(third, None, || {
                            let _ = one.refused(&[lost[0], lost[1], third], "three");
                        });
                    }
                });
            });
        }
    }
}

#[test]
fn a_set_is_found_by_any_of_its_volumes_whatever_they_are_called() {
    let one = cut_up(&noise(150_000, 5), SMALL, 1).unwrap();
    for volume in &one.files {
        assert!(joined(&volume.path).unwrap().0 == one.bytes);
    }
    // Two volumes that changed their names are still the ones that their heads say.
    let (a, b) = (&one.files[0].path, &one.files[1].path);
    let between = one.folder.path().join("between");
    for (from, to) in [(a, &between), (b, a), (&between, b)] {
        fs::rename(from, to).unwrap();
    }
    one.mended(&[], "swapped");
    // A copy of a volume beside it does no harm, damaged or not.
    let copy = one.folder.path().join("a.tar.v007");
    fs::copy(a, &copy).unwrap();
    one.mended(&[], "a copy");
    let mut bytes = fs::read(&copy).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&copy, bytes).unwrap();
    one.mended(&[], "a damaged copy");
}

#[test]
fn volumes_of_different_archives_are_not_mixed() {
    let one = cut_up(&noise(150_000, 6), SMALL, 0).unwrap();
    let other = cut_up(&noise(150_000, 7), SMALL, 0).unwrap();
    fs::copy(&other.files[1].path, &one.files[1].path).unwrap();
    let why = one.refused(&[], "mixed");
    assert!(why.contains("different archives"), "{why}");
    // A volume that is named decides which archive is meant.
    let Err(StoreError::Invalid { why, .. }) = joined(&one.files[0].path) else {
        panic!("the other volume was taken");
    };
    assert!(why.contains("a.tar.v002 is missing"), "{why}");
}

#[test]
fn parity_that_belongs_to_other_pieces_is_noticed() {
    let one = cut_up(&noise(150_000, 8), SMALL, 1).unwrap();
    // Somebody who forges all heads, so that every checksum is right.
    let mut contents: Vec<Vec<u8>> = one
        .files
        .iter()
        .map(|volume| fs::read(&volume.path).unwrap()[HEAD_BYTES as usize..].to_vec())
        .collect();
    contents.last_mut().unwrap()[77] ^= 1;
    let head = VolumeHead::from_bytes(&fs::read(&one.files[0].path).unwrap()[..HEAD_BYTES as usize]).unwrap();
    let set = VolumeSet {
        volumes: contents.iter().map(|content| Digest::sha256(content)).collect(),
        ..head.set
    };
    for (number, content) in contents.iter().enumerate() {
        let head = VolumeHead {
            number: number as u32,
            set: set.clone(),
        };
        let bytes = [head.to_bytes().unwrap(), content.clone()].concat();
        fs::write(&one.files[number].path, bytes).unwrap();
    }
    one.mended(&[], "nothing is lost");
    one.with(&one.files[0], None, || {
        let why = one.refused(&[], "forged");
        assert!(why.contains("does not belong"), "{why}");
    });
}

#[test]
fn nothing_is_written_beside_an_archive_or_volumes_of_that_name() {
    let one = cut_up(&noise(100_000, 9), SMALL, 0).unwrap();
    let cut = Cut {
        size: SMALL,
        parity: 0,
    };
    let refused = Pieces::new(&one.path(), cut).map(|_| ());
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(path_in(&folder), "old").unwrap();
    let refused = Pieces::new(&path_in(&folder), cut).map(|_| ());
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let refused = Pieces::new(&path_in(&folder), Cut { size: 1_000, ..cut }).map(|_| ());
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

#[test]
fn what_is_given_up_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let cut = Cut {
        size: SMALL,
        parity: 1,
    };
    let mut pieces = Pieces::new(&path_in(&folder), cut).unwrap();
    pieces.write_all(&noise(200_000, 1)).unwrap();
    assert!(fs::read_dir(folder.path()).unwrap().count() > 0);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = pieces.finish(&cancel);
    assert!(matches!(result, Err(StoreError::Cancelled)), "{result:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn any_archive_survives_as_many_losses_as_it_has_parity() {
    let mut runner = TestRunner::new(Config {
        cases: 48,
        ..Config::default()
    });
    let strategy = (1_usize..600_000, 0_u64..3, 0_u32..4, any::<u64>());
    let ran = runner.run(&strategy, |(length, larger, parity, seed)| {
        let size = SMALL + larger * 20_000;
        let one = cut_up(&noise(length, seed), size, parity).unwrap();
        let count = one.files.len();
        let lost: BTreeSet<usize> = noise(parity as usize, seed ^ 1)
            .into_iter()
            .map(|byte| usize::from(byte) % count)
            .collect();
        for number in &lost {
            fs::remove_file(&one.files[*number].path).unwrap();
        }
        if lost.len() == count {
            return Ok(());
        }
        let at_fault: Vec<&Volume> = lost.iter().map(|number| &one.files[*number]).collect();
        one.mended(&at_fault, &format!("{length} bytes in {count}, lost {lost:?}"));
        Ok(())
    });
    ran.unwrap();
}

/// The code in one piece is the code in stripes: what is written does not depend on how much is worked on at one time.
#[test]
fn parity_is_what_the_crate_computes_over_whole_volumes() {
    let one = cut_up(&noise(300_000, 10), SMALL, 3).unwrap();
    let content = |volume: &Volume| {
        let mut bytes = fs::read(&volume.path).unwrap()[HEAD_BYTES as usize..].to_vec();
        bytes.resize((SMALL - HEAD_BYTES) as usize, 0);
        bytes
    };
    let contents: Vec<Vec<u8>> = one.files.iter().map(content).collect();
    let (pieces, parity) = contents.split_at(contents.len() - 3);
    assert!(
        STRIPE_MEMORY < contents.len() * pieces[0].len(),
        "there are several stripes"
    );
    let whole = reed_solomon_simd::encode(pieces.len(), 3, pieces).unwrap();
    assert!(whole == parity);
    // The first bytes of the first parity: whatever computes it later must come to the same.
    let first: Vec<String> = parity[0][..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(first.concat(), FIRST_PARITY);
}

const FIRST_PARITY: &str = "9f9ca1b63bbd4ca0";

#[tokio::test]
async fn an_archive_is_written_and_opened_in_volumes() {
    let store = Memory::new();
    let layer = store
        .push_bytes(MediaType::OCI_LAYER, noise(300_000, 11).into())
        .await
        .unwrap();
    let config = store.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let manifest = samebundle_spec::Manifest::new(config, vec![layer.clone()]);
    let root: Descriptor = store
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await
        .unwrap();
    let (folder, quarantine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, form) in [("a.tar", ArchiveFormat::Tar), ("a.tgz", ArchiveFormat::Gzip)] {
        let roots = [(root.clone(), Some("1".parse().unwrap()))];
        let mut options = Options {
            format: form,
            copy: crate::copy::Options::default(),
            since: None,
            cut: Some(Cut {
                size: SMALL,
                parity: 1,
            }),
        };
        let path = folder.path().join(name);
        let written = archive::write(&store, &roots, &path, &options).await.unwrap();
        assert_eq!(written.files.len(), 6);
        // They are read where they are: the folder for what has to be rebuilt does not exist.
        let all = archive::open(&path, Path::new("none")).await.unwrap();
        assert!(all.fetch_bytes(&layer, 1 << 20).await.unwrap()[..] == noise(300_000, 11)[..]);
        fs::remove_file(&written.files[2].path).unwrap();
        for open in [&path, &written.files[0].path, &written.files[5].path] {
            let opened = archive::open(open, quarantine.path()).await.unwrap();
            assert_eq!(opened.mended().len(), 1);
            let read = opened.fetch_bytes(&layer, 1 << 20).await.unwrap();
            assert!(read[..] == noise(300_000, 11)[..]);
        }
        fs::remove_file(&written.files[1].path).unwrap();
        let refused = archive::open(&path, quarantine.path()).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
        // The pieces one behind the other are the file that is written in one.
        options.cut = None;
        let whole = folder.path().join(format!("whole-{name}"));
        archive::write(&store, &roots, &whole, &options).await.unwrap();
        let first = fs::read(&written.files[0].path).unwrap();
        assert!(
            fs::read(&whole)
                .unwrap()
                .starts_with(&first[HEAD_BYTES as usize..])
        );
        let nothing = archive::open(&folder.path().join("no.tar"), quarantine.path()).await;
        assert!(matches!(nothing, Err(StoreError::NotFound { .. })), "{nothing:?}");
    }
}
