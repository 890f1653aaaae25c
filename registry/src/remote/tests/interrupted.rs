//! Pushes and pulls that are cut or killed anywhere: the next attempt ends well and sends little twice.
//!
//! The process that is killed is this test binary, started again for the same test; the moment is a number of bytes that
//! went through the server, so that it is the same on a slow machine. Quick by default; with `SAMEBUNDLE_FULL=1` 200 points
//! of 256 MiB each.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::AtomicBool;

use super::front::{Fault, Front};
use super::*;
use crate::copy::tests::processes::{child, told};
use crate::copy::{Options, copy};
use crate::layout::Layout;

pub(super) const ROOT: &str = "SAMEBUNDLE_TEST_LAYOUT";
pub(super) const NUMBER: &str = "SAMEBUNDLE_TEST_NUMBER";
/// What may be sent twice.
const TWICE: u64 = 8 << 20;

pub(super) fn full() -> bool {
    told("SAMEBUNDLE_FULL").is_some()
}

/// How many points, and the size of what is moved.
fn extent() -> (u64, usize) {
    if full() { (200, 256 << 20) } else { (10, 24 << 20) }
}

/// A layout at `folder/from` with an image of one layer of `size` bytes and some small ones, tagged v1.
async fn image(folder: &Path, size: usize) -> Descriptor {
    let layout = Layout::create(&folder.join("from")).await.unwrap();
    let sizes = [(size, 1), (300_000, 2), (5_000, 3)];
    let (root, _) = image_of(&layout, sizes.map(|(size, seed)| noise(size, seed))).await;
    layout.tag(&root, &"v1".parse().unwrap()).await.unwrap();
    root
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Push,
    Pull,
}

/// What a process does: all of a push from `folder/from`, or of a pull to `folder/to`.
pub(super) async fn work(
    folder: &Path,
    address: &str,
    way: Way,
    retry: RetryPolicy,
) -> Result<(), StoreError> {
    let config = RemoteConfig {
        uploads: Some(folder.join("uploads")),
        retry,
        ..config()
    };
    let place = repository_at(address, config);
    let tag: Tag = "v1".parse().unwrap();
    let from = Layout::open(&folder.join("from")).await?;
    let root = from.resolve(&tag).await?.bare();
    match way {
        Way::Push => copy(&from, &place, &root, &Options::tagged(tag)).await?,
        Way::Pull => {
            let to = Layout::create(&folder.join("to")).await?;
            copy(&place, &to, &root, &Options::tagged(tag)).await?
        }
    };
    Ok(())
}

/// The point number `point` of `points`, bytes of `size`; not evenly, so that no boundary is always met.
fn moment(point: u64, points: u64, size: usize) -> u64 {
    let step = size as u64 / points;
    let dice = noise(8, point + 99);
    step * point + u64::from_le_bytes(dice.try_into().unwrap()) % step
}

/// Checks an attempt that followed on one that was cut off: it ended well, and little was sent twice.
fn judge(front: &Front, way: Way, point: u64, size: usize) -> u64 {
    let count = match way {
        Way::Push => &front.count().received,
        Way::Pull => &front.count().sent,
    };
    let all = count.load(Ordering::SeqCst);
    // The small layers, manifests and answers come on top.
    let twice = all.saturating_sub(size as u64 + 400_000);
    assert!(
        twice <= TWICE,
        "{way:?}, point {point}: {twice} bytes were sent twice"
    );
    twice
}

async fn cut(way: Way) {
    let (points, size) = extent();
    let folder = tempfile::tempdir().unwrap();
    let root = image(folder.path(), size).await;
    let mut most = 0;
    for point in 0..points {
        let front = Front::start(|_, _| Fault::None).await;
        if way == Way::Pull {
            work(folder.path(), &front.address, Way::Push, hasty())
                .await
                .unwrap();
            let _ = std::fs::remove_dir_all(folder.path().join("to"));
            front.count().reset();
        }
        let at = moment(point, points, size);
        // Everything is cut from that moment on; the attempt gives up with an error.
        front.count().limit(move |total| total > at);
        let impatient = RetryPolicy {
            attempts: 2,
            ..hasty()
        };
        let error = work(folder.path(), &front.address, way, impatient)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Copy { .. }), "{error:?}");
        front.count().no_limit();
        work(folder.path(), &front.address, way, hasty()).await.unwrap();
        most = most.max(judge(&front, way, point, size));
        let place = repository_at(&front.address, config());
        assert_eq!(
            place.resolve(&"v1".parse().unwrap()).await.unwrap().digest,
            root.digest
        );
    }
    println!(
        "{way:?} cut at {points} points of {} MiB: at most {most} bytes were sent twice",
        size >> 20
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_cut_anywhere_goes_on() {
    cut(Way::Push).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_cut_anywhere_goes_on() {
    cut(Way::Pull).await;
}

/// The process that is killed; returns false in the process that kills.
fn is_child(way: Way) -> bool {
    let Some(root) = told(ROOT) else { return false };
    let folder = PathBuf::from(root);
    let port = told(NUMBER).unwrap().to_string_lossy().into_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(work(&folder, &format!("127.0.0.1:{port}"), way, hasty()));
    done.unwrap();
    true
}

fn kill(way: Way, test: &str) {
    if is_child(way) {
        return;
    }
    let (points, size) = extent();
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(image(folder.path(), size));
    let (mut most, mut killed) = (0, 0);
    for point in 0..points {
        let front = runtime.block_on(Front::start(|_, _| Fault::None));
        let port: u32 = front.address.split_once(':').unwrap().1.parse().unwrap();
        if way == Way::Pull {
            runtime
                .block_on(work(folder.path(), &front.address, Way::Push, hasty()))
                .unwrap();
            let _ = std::fs::remove_dir_all(folder.path().join("to"));
            front.count().reset();
        }
        let at = moment(point, points, size);
        let doomed: Arc<Mutex<Option<Child>>> = Arc::default();
        let (victim, dead) = (Arc::clone(&doomed), Arc::new(AtomicBool::new(false)));
        let done = Arc::clone(&dead);
        front.count().limit(move |total| {
            if total > at && !done.swap(true, Ordering::SeqCst) {
                victim.lock().unwrap().as_mut().unwrap().kill().unwrap();
            }
            false
        });
        // The lock is held until the process is in its place, so that it can be killed at once.
        let mut place = doomed.lock().unwrap();
        *place = Some(child(&[], test, folder.path(), port).spawn().unwrap());
        drop(place);
        let mut process = loop {
            std::thread::sleep(Duration::from_millis(5));
            let mut place = doomed.lock().unwrap();
            if place.as_mut().unwrap().try_wait().unwrap().is_some() {
                break place.take().unwrap();
            }
        };
        killed += u32::from(!process.wait().unwrap().success());
        front.count().no_limit();
        let status = child(&[], test, folder.path(), port).status().unwrap();
        assert!(
            status.success(),
            "{way:?}, point {point}: the next attempt failed"
        );
        most = most.max(judge(&front, way, point, size));
    }
    assert!(
        u64::from(killed) >= points * 9 / 10,
        "only {killed} of {points} were killed"
    );
    println!(
        "{way:?} killed at {killed} points of {} MiB: at most {most} bytes were sent twice",
        size >> 20
    );
}

#[test]
fn a_push_that_is_killed_anywhere_goes_on() {
    kill(
        Way::Push,
        "remote::tests::interrupted::a_push_that_is_killed_anywhere_goes_on",
    );
}

#[test]
fn a_pull_that_is_killed_anywhere_goes_on() {
    kill(
        Way::Pull,
        "remote::tests::interrupted::a_pull_that_is_killed_anywhere_goes_on",
    );
}
