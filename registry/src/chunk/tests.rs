use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use samebundle_spec::{Chunk, Manifest, MediaType, Tag};

use super::*;
use crate::copy::{Copied, Options, copy};
use crate::layout::Layout;
use crate::store::watched::Watched;
use crate::store::{Memory, Pace, Resolve, Sink, SinkExt};

/// Bytes that do not compress and do not repeat, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Text that compresses well.
fn prose(seed: u64, length: usize) -> Vec<u8> {
    let digits = noise(seed, length)
        .into_iter()
        .map(|byte| b"0123456789abcdef \n"[byte as usize % 18]);
    digits.collect()
}

fn cut(plain: &[u8], codec: Codec, hand: usize) -> (Vec<u8>, ChunkIndex) {
    let mut cutter = Cutter::new(Vec::new(), codec).unwrap();
    for piece in plain.chunks(hand) {
        cutter.write_all(piece).unwrap();
    }
    let cut = cutter.finish().unwrap();
    (cut.inner, cut.index.unwrap())
}

fn plain(stored: &[u8], codec: Codec) -> Vec<u8> {
    let mut plain = Vec::new();
    match codec {
        Codec::Gzip => flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut plain),
        Codec::Zstd => zstd::stream::read::Decoder::new(stored)
            .unwrap()
            .read_to_end(&mut plain),
    }
    .unwrap();
    plain
}

#[test]
fn a_layer_is_an_ordinary_stream_and_depends_on_its_content_alone() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        for content in [
            noise(1, 1_500_001),
            prose(2, 1_500_000),
            b"short".to_vec(),
            Vec::new(),
        ] {
            let (stored, index) = cut(&content, codec, content.len().max(1));
            assert_eq!(plain(&stored, codec), content, "{codec:?}");
            assert_eq!(index.layer_size(), stored.len() as u64);
            for (at, chunk) in index.placed() {
                let piece = &stored[at as usize..][..chunk.size as usize];
                assert_eq!(Digest::sha256(piece).as_bytes(), chunk.digest);
                // A compressor that has seen other chunks before makes the same of this one.
                assert_eq!(cut(&plain(piece, codec), codec, usize::MAX).0, piece, "{codec:?}");
            }
            for hand in [1 << 10, 65_537, 1 << 20] {
                assert_eq!(cut(&content, codec, hand), (stored.clone(), index.clone()));
            }
        }
    }
}

#[test]
fn a_change_costs_the_chunks_that_it_touches() {
    let old = noise(3, 8 << 20);
    let (_, before) = cut(&old, Codec::Zstd, usize::MAX);
    let mut new = old.clone();
    new.splice(4_000_000..4_000_010, noise(4, 1_000));
    let (stored, after) = cut(&new, Codec::Zstd, usize::MAX);
    let mut locations = ChunkLocations::of(&after);
    locations.learn(0, &before);
    let lacking = after
        .chunks()
        .iter()
        .filter(|chunk| locations.get(chunk).is_none());
    let bytes: u32 = lacking.map(|chunk| chunk.size).sum();
    assert!(bytes > 0 && (bytes as usize) < stored.len() / 10, "{bytes}");
    assert!(!locations.complete());
}

/// A manifest with a layer in chunks, and its index.
pub(crate) struct Version {
    pub(crate) root: Descriptor,
    pub(crate) layer: Descriptor,
    pub(crate) stored: Vec<u8>,
}

/// Pushes a manifest whose one layer holds `content`. `lie` may change the index.
pub(crate) async fn version(
    store: &Memory,
    content: &[u8],
    lie: impl FnOnce(&mut Vec<Chunk>) -> Option<Vec<u8>>,
) -> Version {
    let (stored, index) = cut(content, Codec::Zstd, usize::MAX);
    let mut chunks = index.chunks().to_vec();
    let index = lie(&mut chunks).unwrap_or_else(|| ChunkIndex::new(chunks).unwrap().to_bytes());
    let layer = store
        .push_bytes(MediaType::DATA, stored.clone().into())
        .await
        .unwrap();
    let index = store.push_bytes(MediaType::CHUNKS, index.into()).await.unwrap();
    let index = index.with_annotation(chunks::LAYER, layer.digest.to_string());
    let config = store.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await.unwrap();
    let manifest = Manifest::new(config, vec![layer.clone(), index]).to_bytes();
    let root = store
        .push_bytes(MediaType::OCI_MANIFEST, manifest.into())
        .await
        .unwrap();
    Version { root, layer, stored }
}

fn honest(_: &mut Vec<Chunk>) -> Option<Vec<u8>> {
    None
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// Copies an old and a new version into a layout, one after the other; returns what the second took.
async fn second(
    old: (&[u8], impl FnOnce(&mut Vec<Chunk>) -> Option<Vec<u8>>),
    new: (&[u8], impl FnOnce(&mut Vec<Chunk>) -> Option<Vec<u8>>),
    spoil: impl FnOnce(&std::path::Path, &Version),
) -> (Copied, u64) {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let to = Layout::create(folder.path()).await.unwrap();
    let old = version(&from, old.0, old.1).await;
    copy(&from, &to, &old.root, &Options::tagged(tag("old")))
        .await
        .unwrap();
    spoil(folder.path(), &old);
    let new = version(&from, new.0, new.1).await;
    let copied = copy(&from, &to, &new.root, &Options::tagged(tag("new")))
        .await
        .unwrap();
    assert_eq!(to.resolve(&tag("new")).await.unwrap().digest, new.root.digest);
    let bytes = to.fetch_bytes(&new.layer, u64::MAX).await.unwrap();
    assert!(bytes == new.stored, "other bytes came out");
    let left = std::fs::read_dir(folder.path().join("ingest")).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".partial")
    });
    assert_eq!(left.count(), 0);
    (copied, new.layer.size)
}

fn changed(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    for place in 0..4 {
        let at = place * new.len() / 4 + 100_000;
        new.splice(at..at + 20_000, noise(place as u64 + 50, 20_100));
    }
    new
}

#[tokio::test]
async fn a_copy_takes_from_older_versions_what_has_not_changed() {
    let old = noise(5, 16 << 20);
    let (copied, size) = second((&old, honest), (&changed(&old), honest), |_, _| ()).await;
    assert!(copied.bytes < size / 10, "{copied:?}");
    assert!(copied.reused > size * 9 / 10, "{copied:?}");
    // The same blob under another name, cut the same way: nothing but the index is read.
    let mut longer = old.clone();
    longer.extend(noise(6, 1 << 20));
    let (copied, size) = second((&old, honest), (&longer, honest), |_, _| ()).await;
    assert!(copied.bytes < size / 12, "{copied:?}");
}

#[tokio::test]
async fn nothing_older_means_a_whole_copy() {
    let (copied, size) = second(
        (&noise(7, 4 << 20), honest),
        (&noise(8, 4 << 20), honest),
        |_, _| (),
    )
    .await;
    assert_eq!(copied.reused, 0);
    assert!(copied.bytes > size && copied.bytes < size + 20_000, "{copied:?}");
}

#[tokio::test]
async fn an_index_that_lies_costs_a_whole_copy_and_nothing_else() {
    let old = noise(9, 4 << 20);
    let new = changed(&old);
    let shuffled = |chunks: &mut Vec<Chunk>| {
        chunks.reverse();
        None
    };
    let (copied, size) = second((&old, honest), (&new, shuffled), |_, _| ()).await;
    assert!(copied.bytes < 2 * size + 20_000, "{copied:?}");
    // All chunks the same, one that is here.
    let (_, before) = cut(&old, Codec::Zstd, usize::MAX);
    let first = before.chunks()[0];
    let same = move |chunks: &mut Vec<Chunk>| {
        let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        *chunks = vec![first; usize::try_from(total / u64::from(first.size)).unwrap()];
        let rest = u32::try_from(total % u64::from(first.size)).unwrap();
        chunks.push(Chunk {
            digest: [1; 32],
            size: rest.max(1),
        });
        None
    };
    second((&old, honest), (&new, same), |_, _| ()).await;
    // An older index whose places are wrong: no chunk is taken over, as none has its digest.
    let (copied, size) = second((&old, shuffled), (&new, honest), |_, _| ()).await;
    assert!(copied.bytes < size + 20_000, "{copied:?}");
}

#[tokio::test]
async fn an_index_that_is_none_is_as_if_there_were_none() {
    let old = noise(10, 4 << 20);
    let new = changed(&old);
    let too_long = |_: &mut Vec<Chunk>| {
        Some(vec![
            0_u8;
            usize::try_from(limits::CHUNK_INDEX_BYTES).unwrap() + 1
        ])
    };
    let no_index = |_: &mut Vec<Chunk>| Some(b"no index".to_vec());
    let short = |chunks: &mut Vec<Chunk>| {
        chunks.pop();
        None
    };
    for (number, lie) in [
        Box::new(too_long) as Box<dyn FnOnce(&mut Vec<Chunk>) -> Option<Vec<u8>>>,
        Box::new(no_index),
        Box::new(short),
    ]
    .into_iter()
    .enumerate()
    {
        let (copied, _) = second((&old, honest), (&new, lie), |_, _| ()).await;
        assert_eq!(copied.reused, 0, "{number}");
    }
}

#[tokio::test]
async fn an_older_layer_that_is_damaged_is_used_as_far_as_it_is_whole() {
    let old = noise(11, 8 << 20);
    let spoil = |root: &std::path::Path, old: &Version| {
        let path = root.join("blobs/sha256").join(old.layer.digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4 << 20] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    let (copied, size) = second((&old, honest), (&changed(&old), honest), spoil).await;
    assert!(copied.bytes < size / 4, "{copied:?}");
    assert!(copied.reused > size / 2, "{copied:?}");
}

#[tokio::test]
async fn what_was_fetched_before_a_break_is_not_taken_again() {
    use crate::store::Begun;

    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let to = Layout::create(folder.path()).await.unwrap();
    let old = noise(12, 8 << 20);
    let first = version(&from, &old, honest).await;
    copy(&from, &to, &first.root, &Options::tagged(tag("old")))
        .await
        .unwrap();
    let new = version(&from, &changed(&old), honest).await;
    // Half of it is there, in the middle of a chunk.
    let half = new.stored.len() / 2;
    let Begun::Parts(parts) = to.begin(&new.layer).await.unwrap() else {
        panic!("parts")
    };
    parts
        .write(0, vec![new.stored[..half].to_vec().into()])
        .await
        .unwrap();
    drop(parts);
    let copied = copy(&from, &to, &new.root, &Options::tagged(tag("new")))
        .await
        .unwrap();
    assert!(copied.reused < half as u64 + (512 << 10), "{copied:?}");
    assert!(to.fetch_bytes(&new.layer, u64::MAX).await.unwrap() == new.stored);
}

#[tokio::test]
async fn a_place_without_ranges_is_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let from = Memory::new();
    let to = Layout::create(folder.path()).await.unwrap();
    let old = noise(13, 8 << 20);
    let first = version(&from, &old, honest).await;
    copy(&from, &to, &first.root, &Options::tagged(tag("old")))
        .await
        .unwrap();
    let new = version(&from, &changed(&old), honest).await;
    // As registries that send all that lies before a range.
    let pace = Pace {
        ranges: false,
        ..Pace::default()
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let from = Watched::new(from, pace, move |descriptor, _| {
        if descriptor.media_type == MediaType::DATA {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    copy(&from, &to, &new.root, &Options::tagged(tag("new")))
        .await
        .unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(to.fetch_bytes(&new.layer, u64::MAX).await.unwrap() == new.stored);
}
