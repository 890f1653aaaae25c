//! Taking content away beside writers. What `held` does is done in the middle of a collection: first before its lock, then
//! under it, then when the blob is in the trash.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::layout::lease::Lease;

const NO_GRACE: Limits = Limits {
    grace: Duration::ZERO,
    dry_run: false,
};

fn nothing_held() -> Result<Vec<Held>, StoreError> {
    Ok(Vec::new())
}

/// Makes all content as old as if it were from 1970.
fn age(root: &Path) {
    for (_, path) in collect::blobs(root).unwrap() {
        age_file(&path);
    }
}

fn age_file(path: &Path) {
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1000));
    fs::File::open(path).unwrap().set_times(times).unwrap();
}

async fn written(folder: &Path) -> Layout {
    Layout::create(folder).await.unwrap()
}

fn count(root: &Path) -> usize {
    collect::blobs(root).unwrap().len()
}

fn hold(digest: Digest, descriptor: Option<Descriptor>, with: Option<Digest>) -> Held {
    Held {
        digest,
        descriptor,
        by: "a test".to_owned(),
        with,
    }
}

#[tokio::test]
async fn what_is_needed_stays_and_the_rest_goes() {
    let folder = scratch();
    let layout = written(folder.path()).await;
    let tagged = image(&layout, "tagged", None).await;
    layout.tag(&tagged, &"a".parse().unwrap()).await.unwrap();
    let signature = image(&layout, "signature", Some(&tagged)).await;
    let counter = image(&layout, "of the signature", Some(&signature)).await;
    let cosign = image(&layout, "cosign", None).await;
    layout.tag(&cosign, &Tag::cosign(&tagged.digest)).await.unwrap();
    let held = image(&layout, "held", None).await;
    let dead = image(&layout, "dead", None).await;
    let its_signature = image(&layout, "its signature", Some(&dead)).await;
    layout.tag(&cosign, &Tag::cosign(&dead.digest)).await.unwrap();
    push(&layout, "alone").await;
    let made = push(&layout, "made of tagged").await;
    age(folder.path());
    drop(layout);
    let young = {
        let layout = written(folder.path()).await;
        push(&layout, "young").await
    };

    let hold = vec![
        hold(held.digest, None, None),
        hold(made.digest, Some(made.clone()), Some(tagged.digest)),
    ];
    let limits = Limits {
        grace: Duration::from_secs(3600),
        dry_run: true,
    };
    let again = hold.clone();
    let would = collect(folder.path(), limits, move || Ok(again.clone()))
        .await
        .unwrap();
    let before = count(folder.path());
    let limits = Limits {
        dry_run: false,
        ..limits
    };
    let did = collect(folder.path(), limits, move || Ok(hold.clone()))
        .await
        .unwrap();
    assert_eq!(would.removed, did.removed);
    let mut gone: Vec<Digest> = did.removed.iter().map(|removed| removed.digest).collect();
    let text = |text: &str| Descriptor::of(MediaType::OCI_LAYER, text.as_bytes()).digest;
    let mut wanted = vec![
        dead.digest,
        its_signature.digest,
        text("dead"),
        text("its signature"),
        text("alone"),
    ];
    gone.sort();
    wanted.sort();
    assert_eq!(gone, wanted);
    let why = |digest| {
        let mut removed = did.removed.iter();
        removed.find(|removed| removed.digest == digest).unwrap().why
    };
    assert_eq!(why(its_signature.digest), Why::SubjectGone);
    assert_eq!(why(dead.digest), Why::Unreachable);
    assert_eq!((did.young.0, did.young.1), (1, young.size));
    assert_eq!(count(folder.path()), before - wanted.len());

    let layout = Layout::open(folder.path()).await.unwrap();
    assert_eq!(check(folder.path(), true).await.unwrap().findings, []);
    assert_eq!(layout.referrers(&tagged, None).await.unwrap().len(), 1);
    assert_eq!(
        layout.referrers(&signature, None).await.unwrap()[0].digest,
        counter.digest
    );
    assert!(layout.referrers(&dead, None).await.unwrap().is_empty());
    let tags = layout.tags().await.unwrap();
    assert!(tags.contains(&Tag::cosign(&tagged.digest)), "{tags:?}");
    assert!(layout.contains(&held).await.unwrap() && layout.contains(&made).await.unwrap());
    assert!(!folder.path().join("trash").read_dir().unwrap().any(|_| true));
}

#[tokio::test]
async fn what_a_living_writer_found_or_wrote_stays_until_it_ends() {
    let folder = scratch();
    let (found, asked) = {
        let layout = written(folder.path()).await;
        (push(&layout, "found").await, push(&layout, "asked for").await)
    };
    age(folder.path());
    let writer = written(folder.path()).await;
    assert!(writer.contains(&asked).await.unwrap());
    push(&writer, "found").await;
    let wrote = push(&writer, "wrote").await;
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!((did.removed, did.young.0), (Vec::new(), 3));
    for content in [&found, &asked, &wrote] {
        assert!(writer.contains(content).await.unwrap());
    }
    drop(writer);
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!((did.removed.len(), did.young.0), (3, 0));
}

#[tokio::test]
async fn who_only_reads_keeps_nothing_alive() {
    let folder = scratch();
    let one = push(&written(folder.path()).await, "one").await;
    age(folder.path());
    let reader = Layout::open(folder.path()).await.unwrap();
    assert!(reader.contains(&one).await.unwrap());
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!(did.removed.len(), 1);
    // The first write makes a writer of it.
    push(&reader, "two").await;
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!(did.removed.len(), 0);
}

#[tokio::test]
async fn content_that_is_found_or_tagged_in_the_middle_of_a_collection_stays() {
    let folder = scratch();
    let (found, tagged, other) = {
        let layout = written(folder.path()).await;
        (
            image(&layout, "found", None).await,
            image(&layout, "tagged", None).await,
            push(&layout, "other").await,
        )
    };
    age(folder.path());
    let root = folder.path().to_owned();
    let calls = AtomicU32::new(0);
    let (seen, named) = (found.clone(), tagged.clone());
    let writer = Arc::new(disk::Disk::at(folder.path()));
    let living = Arc::clone(&writer);
    let during = move || {
        // What was needed has been read, the lock is not taken yet.
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            assert!(living.offered(&seen).unwrap());
            let short = disk::Disk::at(&root);
            short.tag(&named, &"t".parse().unwrap()).unwrap();
        }
        Ok(Vec::new())
    };
    let did = collect(folder.path(), NO_GRACE, during).await.unwrap();
    let gone: Vec<Digest> = did.removed.iter().map(|removed| removed.digest).collect();
    assert!(gone.contains(&other.digest), "{gone:?}");
    assert!(
        !gone.contains(&found.digest) && !gone.contains(&tagged.digest),
        "{gone:?}"
    );
    assert_eq!(check(folder.path(), true).await.unwrap().findings, []);
    drop(writer);
}

#[tokio::test]
async fn what_a_tool_without_locks_lists_meanwhile_comes_back_from_the_trash() {
    let folder = scratch();
    let one = image(&written(folder.path()).await, "one", None).await;
    age(folder.path());
    let index = folder.path().join("index.json");
    let entry = one
        .bare()
        .with_annotation("org.opencontainers.image.ref.name", "late");
    let listed = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let calls = AtomicU32::new(0);
    let during = move || {
        if calls.fetch_add(1, Ordering::Relaxed) == 2 {
            fs::write(&index, &listed).unwrap();
        }
        Ok(Vec::new())
    };
    let did = collect(folder.path(), NO_GRACE, during).await.unwrap();
    assert_eq!((did.removed.len(), did.restored.len()), (0, 3));
    assert_eq!(check(folder.path(), true).await.unwrap().findings, []);
}

#[tokio::test]
async fn the_trash_of_a_killed_collector_is_sorted_by_the_next() {
    let folder = scratch();
    let layout = written(folder.path()).await;
    let one = image(&layout, "one", None).await;
    layout.tag(&one, &"a".parse().unwrap()).await.unwrap();
    let dead = push(&layout, "dead").await;
    fs::create_dir(folder.path().join("trash")).unwrap();
    for digest in [one.digest, dead.digest] {
        let name = format!("sha256-{}", digest.hex());
        fs::rename(blob(&layout, &digest), folder.path().join("trash").join(name)).unwrap();
    }
    // A tag whose manifest does not exist is damage: the collector touches nothing until it is back.
    drop(layout);
    let refused = collect(folder.path(), NO_GRACE, nothing_held).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let name = format!("sha256-{}", one.digest.hex());
    fs::rename(
        folder.path().join("trash").join(name),
        files::blob_path(folder.path(), &one.digest),
    )
    .unwrap();
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!(did.removed.len(), 1);
    assert_eq!(
        (did.removed[0].digest, did.removed[0].why),
        (dead.digest, Why::Trash)
    );
}

#[tokio::test]
async fn damage_or_silence_collects_nothing() {
    let folder = scratch();
    let layout = written(folder.path()).await;
    let one = image(&layout, "one", None).await;
    layout.tag(&one, &"a".parse().unwrap()).await.unwrap();
    push(&layout, "dead").await;
    age(folder.path());
    let silent = || {
        Err(StoreError::Invalid {
            subject: "a record".to_owned(),
            why: "damaged".to_owned(),
        })
    };
    let before = count(folder.path());
    drop(layout);
    assert!(collect(folder.path(), NO_GRACE, silent).await.is_err());
    let path = files::blob_path(folder.path(), &one.digest);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b' '; bytes.len()]).unwrap();
    let refused = collect(folder.path(), NO_GRACE, nothing_held).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(count(folder.path()), before);
}

#[tokio::test]
async fn a_clock_that_was_set_back_collects_nothing_while_a_writer_lives() {
    let folder = scratch();
    push(&written(folder.path()).await, "old").await;
    age(folder.path());
    let lease = Lease::take(folder.path()).unwrap();
    let ingest = folder.path().join("ingest");
    let path = ingest.read_dir().unwrap().next().unwrap().unwrap().path();
    let later = fs::metadata(&path).unwrap().modified().unwrap() + Duration::from_secs(9999);
    let times = fs::FileTimes::new().set_modified(later);
    fs::File::open(&path).unwrap().set_times(times).unwrap();
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!((did.removed.len(), did.young.0), (0, 1));
    drop(lease);
    let did = collect(folder.path(), NO_GRACE, nothing_held).await.unwrap();
    assert_eq!(did.removed.len(), 1);
}

#[tokio::test]
async fn usage_tells_own_from_shared() {
    let folder = scratch();
    let layout = written(folder.path()).await;
    let one = image(&layout, "one layer", None).await;
    let two = image(&layout, "another layer", None).await;
    layout.tag(&one, &"a".parse().unwrap()).await.unwrap();
    layout.tag(&one, &"b".parse().unwrap()).await.unwrap();
    layout.tag(&two, &"c".parse().unwrap()).await.unwrap();
    push(&layout, "nobody's").await;
    drop(layout);
    let used = usage(folder.path(), Duration::from_secs(60), Vec::new())
        .await
        .unwrap();
    assert_eq!((used.reclaimable, used.young), (0, 8));
    let of = |digest| {
        used.bundles
            .iter()
            .find(|bundle| bundle.digest == digest)
            .unwrap()
    };
    assert_eq!(of(one.digest).names, ["tag a", "tag b"]);
    assert_eq!((of(one.digest).own, of(one.digest).shared), (one.size + 9, 2));
    assert_eq!((of(two.digest).own, of(two.digest).shared), (two.size + 13, 2));
    assert_eq!(used.total, one.size + two.size + 9 + 13 + 2 + 8);
    age(folder.path());
    let used = usage(folder.path(), Duration::from_secs(60), Vec::new())
        .await
        .unwrap();
    assert_eq!((used.reclaimable, used.young), (8, 0));
}

/// Writers push images of a few shared layers under tags, look that all is there, and untag; collectors without any grace
/// run all the time. `SAMEBUNDLE_FULL=1` for many rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn writers_and_collectors_beside_each_other_lose_nothing() {
    const WRITERS: u32 = 8;
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever runs the tests asks for all of it"
    )]
    let full = std::env::var_os("SAMEBUNDLE_FULL").is_some_and(|value| value != "0");
    let rounds = if full { 600 } else { 40 };
    let folder = scratch();
    let root = folder.path().to_owned();
    written(&root).await;
    let writer = |number: u32| {
        let root = root.clone();
        async move {
            for round in 0..rounds {
                let layout = Layout::create(&root).await.unwrap();
                let mark = format!("shared {}", (number + round) % 3);
                let one = image(&layout, &mark, None).await;
                let tag: Tag = format!("writer-{number}").parse().unwrap();
                layout.tag(&one, &tag).await.unwrap();
                drop(layout);
                // Between two processes only the tag keeps it.
                tokio::task::yield_now().await;
                let layout = Layout::open(&root).await.unwrap();
                let layer = Descriptor::of(MediaType::OCI_LAYER, mark.as_bytes());
                for content in [&layer, &layout.resolve(&tag).await.unwrap()] {
                    layout.fetch_bytes(content, 1 << 20).await.unwrap();
                }
                layout.untag(&tag).await.unwrap();
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(writer(number))).collect();
    let (mut cycles, mut gone) = (0, 0);
    while writers.iter().any(|writer| !writer.is_finished()) {
        let did = collect(&root, NO_GRACE, nothing_held).await.unwrap();
        cycles += 1;
        gone += did.removed.len();
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(check(&root, true).await.unwrap().findings, []);
    println!(
        "{} images pushed beside {cycles} collections, which removed {gone} contents",
        WRITERS * rounds
    );
}
