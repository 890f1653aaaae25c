//! `examine`: what is found of each kind of registry, that nothing stays, and that the client goes by it.

use axum::http::request::Parts;

use super::front::{Fault, Front, answer};
use super::profile::{Profile, ProfileFile, ReferrersBy};
use super::*;
use crate::store::{Memory, SinkExt};

const MIB: u64 = 1 << 20;

async fn examined(plan: impl Fn(&Parts) -> Fault + Send + Sync + 'static) -> (Front, Examination) {
    let front = Front::start(move |parts, _| plan(parts)).await;
    let mut config = config();
    config.retry.attempts = 3;
    let found = repository_at(&front.address, config).examine().await.unwrap();
    assert_eq!(found.registry, front.address);
    (front, found)
}

fn length(parts: &Parts) -> u64 {
    let value = parts.headers.get("content-length");
    value.map_or(0, |value| value.to_str().unwrap().parse().unwrap())
}

fn no_api(parts: &Parts) -> Fault {
    if parts.uri.path().contains("/referrers/") {
        return answer(404, &[], "404 page not found");
    }
    Fault::Change(Box::new(|mut response| {
        response.headers_mut().remove("oci-subject");
        response
    }))
}

fn verdict(found: &Examination, what: &str) -> Option<bool> {
    let mut checks = found.checks.iter();
    let check = checks.find(|check| check.what == what);
    check.unwrap_or_else(|| panic!("{what}: {found:?}")).works
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_does_all_and_nothing_stays() {
    let (front, found) = examined(|_| Fault::None).await;
    let profile = Profile {
        parts: Some(true),
        resumes: Some(true),
        ranges: Some(true),
        referrers: Some(ReferrersBy::Api),
        denies_absent: Some(false),
        deletes: Some(true),
        ..Profile::default()
    };
    assert_eq!(found.profile, profile);
    assert!(
        found.checks.iter().all(|check| check.works == Some(true)),
        "{found:?}"
    );
    assert_eq!(found.left, []);
    // Everything that was put is gone, but for the empty config that all artifacts share.
    let place = repository_at(&front.address, config());
    assert_eq!(place.tags().await.unwrap(), []);
    let mut put = 0;
    for seen in front.seen() {
        let Some((_, digest)) = seen.line.split_once("digest=") else {
            continue;
        };
        let digest: Digest = digest.replace("%3A", ":").parse().unwrap();
        if digest == Descriptor::empty().digest {
            continue;
        }
        put += 1;
        for size in [1 << 10, 2 << 10, (8 << 20) + (1 << 10)] {
            let blob = Descriptor::new(MediaType::OCI_LAYER, digest, size);
            let there = place.contains(&blob).await;
            assert!(matches!(there, Ok(false)), "{digest}: {there:?}");
        }
    }
    assert_eq!(put, 3, "{:?}", front.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_parts_are_found() {
    // GitHub's.
    let (front, found) = examined(|parts| match parts.method.as_str() {
        "PATCH" if length(parts) > 4 * MIB => answer(416, &[], ""),
        _ => no_api(parts),
    })
    .await;
    assert_eq!(found.profile.most_part, Some(4 * MIB));
    assert_eq!(found.profile.parts, Some(true));
    assert_eq!(found.profile.referrers, Some(ReferrersBy::Tag));
    assert_eq!(found.profile.fallback_tag, Some(true));

    // What is found is what the next client goes by.
    let folder = tempfile::tempdir().unwrap();
    let mut file = ProfileFile::new(&found.registry, "2026-01-01T00:00:00Z".parse().unwrap());
    file.profile = found.profile;
    file.write(folder.path()).unwrap();
    let config = RemoteConfig {
        profiles: Some(folder.path().to_owned()),
        ..config()
    };
    let memory = Memory::new();
    let layer = memory
        .push_bytes(MediaType::OCI_LAYER, noise(20_000_000, 1).into())
        .await
        .unwrap();
    let before = front.seen().len();
    repository_at(&front.address, config)
        .push_from(&layer, &memory)
        .await
        .unwrap();
    let parts: Vec<u64> = front.seen()[before..]
        .iter()
        .filter(|seen| seen.line.starts_with("PATCH"))
        .map(|seen| seen.header("content-length").parse().unwrap())
        .collect();
    assert!(
        parts.len() >= 4 && parts.iter().all(|size| *size <= 4 * MIB),
        "{parts:?}"
    );

    // Amazon's.
    let (_front, found) = examined(|parts| match parts.method.as_str() {
        "PATCH" if length(parts) < 5 * MIB => answer(400, &[], ""),
        "PATCH" => Fault::Change(Box::new(|mut response| {
            *response.status_mut() = axum::http::StatusCode::CREATED;
            response
        })),
        // It claims what it does not do.
        _ if parts.uri.path().contains("/referrers/") => answer(404, &[], ""),
        _ => Fault::None,
    })
    .await;
    assert_eq!(found.profile.parts, Some(true));
    assert_eq!(found.profile.least_part, Some(5 * MIB));
    assert_eq!(found.profile.referrers, Some(ReferrersBy::Tag));
    let claim = found
        .checks
        .iter()
        .find(|check| check.what == "referrers")
        .unwrap();
    assert!(claim.detail.ends_with("; claimed at the push"), "{claim:?}");

    // Google's.
    let (_front, found) = examined(|parts| match parts.method.as_str() {
        "PATCH" => answer(405, &[], ""),
        _ => Fault::None,
    })
    .await;
    assert_eq!(found.profile.parts, Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_is_found() {
    // GitLab's tag, no ranges, no deletion.
    let (_front, found) = examined(|parts| {
        let path = parts.uri.path().to_owned();
        if parts.headers.contains_key("range") && path.contains("/blobs/sha256:") {
            return Fault::Ask(Box::new(|parts| {
                parts.headers.remove("range");
            }));
        }
        if parts.method == "DELETE" && !path.contains("/uploads/") {
            return answer(405, &[], "");
        }
        match path.split_once("/manifests/sha256-") {
            Some((repository, hex)) => {
                let asked = format!("{repository}/manifests/sha256:{hex}");
                Fault::Ask(Box::new(move |parts| parts.uri = asked.parse().unwrap()))
            }
            None => no_api(parts),
        }
    })
    .await;
    assert_eq!(found.profile.fallback_tag, Some(false));
    assert_eq!(found.profile.ranges, Some(false));
    assert_eq!(found.profile.deletes, Some(false));
    assert_eq!(found.left.len(), 5, "{found:?}");

    // Artifactory's.
    let (_front, found) = examined(|_| {
        Fault::Change(Box::new(|mut response| {
            if response.status() == 404 {
                *response.status_mut() = axum::http::StatusCode::FORBIDDEN;
            }
            response
        }))
    })
    .await;
    assert_eq!(found.profile.denies_absent, Some(true));
    assert_eq!(verdict(&found, "says what is absent"), Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_push_only_reading_is_examined() {
    let (front, found) = examined(|parts| match parts.method.as_str() {
        "GET" => Fault::None,
        _ => answer(403, &[], ""),
    })
    .await;
    assert_eq!(verdict(&found, "push"), Some(false));
    // Denied may mean denied here, so it is not known to mean absent.
    assert_eq!(found.profile, Profile::default());
    assert!(front.lines().iter().all(|line| !line.starts_with("DELETE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_registry_is_no_profile() {
    let page = "<html>log in</html>";
    for (status, expected) in [(200, "Broken"), (403, "Denied"), (404, "NotFound")] {
        let front = Front::start(move |_, _| answer(status, &[("content-type", "text/html")], page)).await;
        let error = repository_at(&front.address, config())
            .examine()
            .await
            .unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
    }
}
