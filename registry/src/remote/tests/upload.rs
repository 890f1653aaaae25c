//! Uploads in parts: what goes on, what begins anew, what is given up.

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use futures::StreamExt;

use super::front::{Fault, Front, Seen, answer};
use super::*;
use crate::copy::{Options, copy};
use crate::layout::Layout;
use crate::store::{Memory, SinkExt, Source, SourceExt};

const SIZE: usize = 40_000_000;

fn config_at(folder: &Path) -> RemoteConfig {
    RemoteConfig {
        uploads: Some(folder.join("uploads")),
        ..config()
    }
}

/// An image of one large layer in a layout.
async fn image(folder: &Path, size: usize) -> (Layout, Descriptor, Descriptor) {
    let layout = Layout::create(&folder.join("layout")).await.unwrap();
    let (root, mut layers) = image_of(&layout, [noise(size, 7)]).await;
    (layout, root, layers.remove(0))
}

fn uploads(front: &Front, method: &str) -> Vec<Seen> {
    let all = front.seen().into_iter();
    all.filter(|seen| seen.line.starts_with(method) && seen.line.contains("/blobs/uploads/"))
        .collect()
}

/// What was sent in parts, in order: method, first and last byte.
fn ranges(front: &Front) -> Vec<(&'static str, u64, u64)> {
    let mut ranges: Vec<_> = ["PATCH", "PUT"]
        .into_iter()
        .flat_map(|method| uploads(front, method).into_iter().map(move |seen| (method, seen)))
        .filter_map(|(method, seen)| {
            let (first, last) = seen.header("content-range").split_once('-')?;
            Some((method, first.parse().unwrap(), last.parse().unwrap()))
        })
        .collect();
    ranges.sort_by_key(|range| range.1);
    ranges
}

async fn whole(place: &RemoteRepository, layer: &Descriptor) -> bool {
    place.fetch_bytes(layer, u64::MAX).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_goes_in_parts_with_the_last_one_in_the_put() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root, layer) = image(folder.path(), SIZE).await;
    let front = Front::start(|_, _| Fault::None).await;
    let place = repository_at(&front.address, config_at(folder.path()));
    copy(&layout, &place, &root, &Options::default()).await.unwrap();
    assert!(whole(&place, &layer).await);
    let ranges = ranges(&front);
    assert_eq!(ranges[0], ("PATCH", 0, (8 << 20) - 1));
    assert!(
        ranges.windows(2).all(|pair| pair[0].2 + 1 == pair[1].1),
        "{ranges:?}"
    );
    let (method, _, end) = *ranges.last().unwrap();
    assert_eq!((method, end), ("PUT", SIZE as u64 - 1));
    // One question a blob, no second one before its push.
    let heads = front
        .lines()
        .iter()
        .filter(|line| line.starts_with("HEAD"))
        .count();
    assert_eq!(heads, 3, "{:?}", front.lines());
    assert_eq!(
        std::fs::read_dir(folder.path().join("uploads")).unwrap().count(),
        0
    );
}

/// Goes wrong once, as `fault` says, at the nth PATCH; the copy must end well all the same.
async fn once(nth: usize, fault: fn() -> Fault) -> Front {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root, layer) = image(folder.path(), SIZE).await;
    let count = AtomicUsize::new(0);
    let front = Front::start(move |parts, _| {
        let is_patch = parts.method == "PATCH";
        if is_patch && count.fetch_add(1, Ordering::SeqCst) == nth {
            fault()
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config_at(folder.path()));
    copy(&layout, &place, &root, &Options::default()).await.unwrap();
    assert!(whole(&place, &layer).await);
    front
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_broke_goes_on_at_the_byte_that_came() {
    let front = once(1, || Fault::CutRequest(3_000_000)).await;
    let patches = uploads(&front, "PATCH");
    let starts: Vec<u64> = patches
        .iter()
        .map(|seen| {
            seen.header("content-range")
                .split_once('-')
                .unwrap()
                .0
                .parse()
                .unwrap()
        })
        .collect();
    assert_eq!(starts[..2], [0, 8 << 20]);
    // Asked, and gone on in the middle of the part or where it began.
    assert!(starts[2] >= 8 << 20, "{starts:?}");
    assert!(!uploads(&front, "GET").is_empty(), "the registry was not asked");
    let twice = front
        .count()
        .received
        .load(Ordering::SeqCst)
        .saturating_sub(SIZE as u64);
    assert!(twice <= 8 << 20, "{twice} bytes were sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_upload_begins_anew_and_a_wrong_byte_is_asked_about() {
    let front = once(1, || answer(404, &[], "")).await;
    assert_eq!(uploads(&front, "POST").len(), 3, "config, layer, layer again");
    let front = once(1, || answer(416, &[], "")).await;
    assert_eq!(uploads(&front, "POST").len(), 2);
    assert_eq!(uploads(&front, "GET").len(), 1);
    let front = once(0, || answer(503, &[("retry-after", "0")], "")).await;
    assert_eq!(uploads(&front, "POST").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_takes_no_parts_gets_the_blob_whole() {
    // 416 to a first part is how one large registry says that it takes less than 4 MiB.
    for status in [416, 405, 501, 400] {
        let folder = tempfile::tempdir().unwrap();
        let (layout, root, layer) = image(folder.path(), SIZE).await;
        let front = Front::start(move |parts, _| match parts.method.as_str() {
            "PATCH" => answer(status, &[], ""),
            _ => Fault::None,
        })
        .await;
        let place = repository_at(&front.address, config_at(folder.path()));
        copy(&layout, &place, &root, &Options::default()).await.unwrap();
        assert!(whole(&place, &layer).await, "{status}");
        // An answer that comes before the body is through may be lost with its connection.
        let tries = uploads(&front, "PATCH").len();
        assert!((1..=4).contains(&tries), "{status}: {tries}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_no_large_parts_gets_small_ones() {
    // The part that is too large is one in the middle, or the last one.
    for size in [SIZE, 20_000_000] {
        small_parts_only(size).await;
    }
}

async fn small_parts_only(size: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root, layer) = image(folder.path(), size).await;
    let front = Front::start(|parts, _| {
        let length = parts.headers.get("content-length");
        let length: u64 = length.map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        if length > 8 << 20 {
            answer(413, &[], "<html>too large</html>")
        } else {
            Fault::None
        }
    })
    .await;
    let place = repository_at(&front.address, config_at(folder.path()));
    copy(&layout, &place, &root, &Options::default()).await.unwrap();
    assert!(whole(&place, &layer).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_in_the_middle_is_renewed_and_the_upload_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root, layer) = image(folder.path(), SIZE).await;
    let front = Front::start(|parts, number| {
        // The first part is taken with no credentials; from then on they are wanted.
        let wanted = number > 6 && super::front::authorization(parts).is_empty();
        if wanted {
            answer(401, &[("www-authenticate", "Basic realm=\"x\"")], "")
        } else {
            Fault::None
        }
    })
    .await;
    let config = RemoteConfig {
        uploads: Some(folder.path().join("uploads")),
        ..canary_config(&front.address)
    };
    let place = repository_at(&front.address, config);
    copy(&layout, &place, &root, &Options::default()).await.unwrap();
    assert!(whole(&place, &layer).await);
    let posts = uploads(&front, "POST").len();
    assert_eq!(posts, 2, "no upload began anew: {:?}", front.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_goes_on_where_the_first_one_was() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root, layer) = image(folder.path(), SIZE).await;
    let front = Front::start(|_, _| Fault::None).await;
    front.count().limit(|total| total > 12_000_000);
    let mut hasty = config_at(folder.path());
    hasty.retry.attempts = 1;
    let place = repository_at(&front.address, hasty);
    let error = copy(&layout, &place, &root, &Options::default())
        .await
        .unwrap_err();
    assert!(format!("{error:?}").contains("Destination"), "{error:?}");
    front.count().no_limit();
    assert_eq!(
        std::fs::read_dir(folder.path().join("uploads")).unwrap().count(),
        1
    );
    let before = uploads(&front, "POST").len();
    // Another client, as after a kill.
    let place = repository_at(&front.address, config_at(folder.path()));
    copy(&layout, &place, &root, &Options::default()).await.unwrap();
    assert!(whole(&place, &layer).await);
    let layers = uploads(&front, "POST").len() - before;
    assert!(layers <= 1, "the layer's upload began anew");
    let twice = front
        .count()
        .received
        .load(Ordering::SeqCst)
        .saturating_sub(SIZE as u64);
    assert!(twice <= 8 << 20, "{twice} bytes were sent twice");
    assert_eq!(
        std::fs::read_dir(folder.path().join("uploads")).unwrap().count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content_is_the_sources_fault_and_is_never_complete() {
    // From a layout the registry's own check is relied on; from elsewhere the bytes are hashed on their way.
    for kept in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (layout, root, layer) = image(folder.path(), SIZE).await;
        let path = folder.path().join("layout/blobs/sha256").join(layer.digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[19_000_000] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let front = Front::start(|_, _| Fault::None).await;
        let place = repository_at(&front.address, config_at(folder.path()));
        let result = if kept {
            copy(&layout, &place, &root, &Options::default()).await
        } else {
            // The same bytes through a registry that serves them altered.
            let unchecked = Unchecked(layout.clone());
            place
                .push_from(&layer, &unchecked)
                .await
                .map(|()| crate::copy::Copied::default())
        };
        let error = result.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("Mismatch"), "{text}");
        assert!(!kept || text.contains("Source"), "{text}");
        assert!(!place.contains(&layer).await.unwrap());
        let last = uploads(&front, "PUT")
            .iter()
            .any(|seen| seen.line.contains("digest=") && seen.line.contains(&layer.digest.hex()));
        assert_eq!(last, kept, "what is known to be wrong is not finished");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_is_pulled_in_ranges_and_whole_where_ranges_are_not_served() {
    for ranges in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (layout, root, layer) = image(folder.path(), SIZE).await;
        let front = Front::start(move |parts, _| {
            if ranges || parts.method != "GET" || !parts.headers.contains_key("range") {
                return Fault::None;
            }
            Fault::Change(Box::new(|_| {
                axum::response::IntoResponse::into_response(noise(SIZE, 7))
            }))
        })
        .await;
        let place = repository_at(&front.address, config());
        copy(&layout, &place, &root, &Options::default()).await.unwrap();
        let to = Layout::create(&folder.path().join("to")).await.unwrap();
        let copied = copy(&place, &to, &root, &Options::default()).await.unwrap();
        assert_eq!(copied.contents, 3);
        assert!(to.fetch_bytes(&layer, u64::MAX).await.is_ok());
        let asked: Vec<String> = front
            .seen()
            .iter()
            .filter(|seen| seen.line.starts_with("GET") && seen.line.contains("/blobs/sha256"))
            .map(|seen| seen.header("range").to_owned())
            .filter(|range| !range.is_empty())
            .collect();
        if ranges {
            assert!(asked.len() > 1, "{asked:?}");
            // One after the other, all of it once.
            let mut next = 0;
            for range in &asked {
                let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                assert_eq!(start.parse(), Ok(next), "{asked:?}");
                next = end.parse().map_or(SIZE as u64, |last: u64| last + 1);
                assert!(
                    next - start.parse::<u64>().unwrap() <= limits::ASKED_BYTES.0,
                    "{asked:?}"
                );
            }
            assert_eq!(next, SIZE as u64, "{asked:?}");
        } else {
            assert!(asked.len() <= limits::RANGE_STREAMS, "{asked:?}");
        }
    }
}

/// Counts while it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_ranges_are_asked_for_at_once_where_each_stream_is_slow() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, root, _) = image(folder.path(), SIZE).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let front = Front::start(move |parts, _| {
        if parts.method != "GET" || !parts.headers.contains_key("range") {
            return Fault::None;
        }
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Fault::Change(Box::new(move |response: axum::response::Response| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let counted = Counted(now);
            response.map(move |body| {
                axum::body::Body::from_stream(body.into_data_stream().then(move |piece| {
                    let length = piece.as_ref().map_or(0, bytes::Bytes::len);
                    let _counted = &counted;
                    async move {
                        // 5 MB a second.
                        tokio::time::sleep(Duration::from_nanos(200 * length as u64)).await;
                        piece
                    }
                }))
            })
        }))
    })
    .await;
    let place = repository_at(&front.address, config());
    copy(&layout, &place, &root, &Options::default()).await.unwrap();
    let to = Layout::create(&folder.path().join("to")).await.unwrap();
    copy(&place, &to, &root, &Options::default()).await.unwrap();
    let most = seen.load(Ordering::SeqCst);
    // Two also where one stream is fast: the next range is asked for while the one before ends.
    assert!((3..=limits::RANGE_STREAMS).contains(&most), "{most}");
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(String, Duration)>>);

impl Waits for Heard {
    fn waiting(&self, place: &str, why: &str, wait: Duration) {
        assert!(place.contains("team/digits"), "{place}");
        self.0.lock().unwrap().push((why.to_owned(), wait));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_told_and_429_is_counted() {
    let front = Front::start(|_, number| match number {
        0 => answer(429, &[("retry-after", "1")], "slow down"),
        _ => Fault::None,
    })
    .await;
    let heard = Arc::new(Heard::default());
    let mut config = config();
    config.retry.waits = Some(Arc::clone(&heard) as _);
    let place = repository_at(&front.address, config);
    assert_eq!(place.pace().throttled, 0);
    let from = Memory::new();
    let layer = from.push_bytes(MediaType::OCI_LAYER, "x".into()).await.unwrap();
    assert!(!place.contains(&layer).await.unwrap());
    assert_eq!(place.pace().throttled, 1);
    let heard = heard.0.lock().unwrap();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].0.contains("429"), "{heard:?}");
    assert!(heard[0].1 >= Duration::from_secs(1), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_content_begins_with_the_size_that_parts_have_grown_to() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("layout")).await.unwrap();
    let (_, layers) = image_of(&layout, [noise(SIZE, 7), noise(SIZE, 8)]).await;
    let front = Front::start(|_, _| Fault::None).await;
    let place = repository_at(&front.address, config());
    let mut sent = Vec::new();
    for layer in &layers {
        let before = uploads(&front, "PATCH").len();
        place.push_from(layer, &layout).await.unwrap();
        sent.push(uploads(&front, "PATCH").len() - before);
    }
    assert!(sent[1] < sent[0], "{sent:?}");
}
