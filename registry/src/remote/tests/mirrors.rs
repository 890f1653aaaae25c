//! Mirrors are asked first, and what they cannot give comes from the repository itself.

use super::front::{Fault, Front, answer};
use super::*;
use crate::copy::{Options, copy};
use crate::store::{Memory, SinkExt};

async fn image(memory: &Memory) -> Descriptor {
    let (root, _) = image_of(memory, [noise(5_000_000, 1)]).await;
    memory
        .push_bytes(MediaType::OCI_MANIFEST, referrer_of(&root))
        .await
        .unwrap();
    root
}

/// A registry that has the image, tagged v1.
async fn serving(memory: &Memory, root: &Descriptor) -> Front {
    let front = Front::start(|_, _| Fault::None).await;
    let place = repository_at(&front.address, config());
    let options = Options::tagged("v1".parse().unwrap());
    copy(memory, &place, root, &options).await.unwrap();
    front
}

fn mirrored(main: &Front, mirror: &str, digests: bool, tags: bool) -> RemoteRepository {
    let mut config = config();
    config.retry.attempts = 2;
    let client = Arc::new(RemoteClient::new(config).unwrap());
    let at = |address: &str| Repository::new(address, "team/digits").unwrap();
    let mirror = RemoteRepository::new(Arc::clone(&client), at(mirror)).unwrap();
    RemoteRepository::new(client, at(&main.address))
        .unwrap()
        .with_mirrors(vec![Mirror::new(mirror, digests, tags)])
}

/// Pulls everything by tag, and checks that it came.
async fn pull(place: &RemoteRepository, root: &Descriptor) {
    let tag: Tag = "v1".parse().unwrap();
    let found = place.resolve(&tag).await.unwrap();
    assert_eq!(found.digest, root.digest);
    let to = Memory::new();
    let copied = copy(place, &to, &found, &Options::default()).await.unwrap();
    assert_eq!(copied.contents, 4);
    assert_eq!(to.referrers(root, None).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_only_for_what_it_is_for() {
    let memory = Memory::new();
    let root = image(&memory).await;
    let (main, mirror) = (serving(&memory, &root).await, serving(&memory, &root).await);
    let before = main.seen().len();
    pull(&mirrored(&main, &mirror.address, true, true), &root).await;
    let asked: Vec<_> = main.lines().split_off(before);
    // Cosign's tags and the referrers of the referrer, of which the mirror has none, and nothing else.
    let asked: Vec<_> = asked
        .iter()
        .filter(|line| !line.contains("/referrers/"))
        .collect();
    assert!(
        asked.iter().all(|line| line.contains("/manifests/sha256-")),
        "{asked:?}"
    );

    let (before, there) = (main.seen().len(), mirror.seen().len());
    pull(&mirrored(&main, &mirror.address, true, false), &root).await;
    assert!(main.lines()[before].contains("/manifests/v1"));
    assert!(
        mirror.lines()[there..]
            .iter()
            .all(|line| !line.contains("/manifests/v1"))
    );

    // A push goes past the mirror.
    let there = mirror.seen().len();
    let place = mirrored(&main, &mirror.address, true, true);
    place
        .push_bytes(MediaType::OCI_LAYER, noise(1_000, 9).into())
        .await
        .unwrap();
    assert_eq!(mirror.seen().len(), there);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mirror_cannot_give_comes_from_the_repository() {
    let memory = Memory::new();
    let root = image(&memory).await;
    let main = serving(&memory, &root).await;
    for (status, most) in [(404, usize::MAX), (403, usize::MAX), (500, 2), (429, 2)] {
        let mirror = Front::start(move |_, _| answer(status, &[], "")).await;
        pull(&mirrored(&main, &mirror.address, true, true), &root).await;
        let asked = mirror.seen().len();
        assert!(asked >= 1 && asked <= most, "{status}: {asked}");
    }
    // Nobody listens there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap().to_string();
    drop(listener);
    pull(&mirrored(&main, &gone, true, true), &root).await;
}

/// A mirror that gives other bytes for a digest is caught, like anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_believed_by_digest_only() {
    let memory = Memory::new();
    let root = image(&memory).await;
    let main = serving(&memory, &root).await;
    let mirror = Front::start(|parts, _| {
        if parts.uri.path().contains("/blobs/") {
            Fault::Instead(axum::response::IntoResponse::into_response(noise(5_000_000, 2)))
        } else {
            answer(404, &[], "")
        }
    })
    .await;
    let place = mirrored(&main, &mirror.address, true, true);
    let error = copy(&place, &Memory::new(), &root, &Options::default())
        .await
        .unwrap_err();
    assert!(format!("{error:?}").contains("Mismatch"), "{error:?}");
}
