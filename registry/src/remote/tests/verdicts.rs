//! Denied, throttled, broken, out of order and absent are different verdicts of `verify` over a registry, and none of them
//! is "unsigned": each question that a verification asks is answered badly in each way.

use samebundle_spec::manifest::Index;
use samebundle_spec::signing::{BundleOrigin, Refusal, Release, SignatureFormat, SigningKey, Statement};
use samebundle_spec::{Classify, ErrorKind};
use zeroize::Zeroizing;

use super::front::{Fault, Front, answer};
use super::*;
use crate::copy::{Options, copy};
use crate::store::{Memory, SinkExt};
use crate::trust::{Marks, Request, TrustError, TrustStore, sign, verify};

/// A bundle that is signed by a key that is trusted, in a registry.
struct Signed {
    index: Descriptor,
    /// The signature's manifest and its only layer.
    manifest: Descriptor,
    store: Memory,
    home: tempfile::TempDir,
}

impl Signed {
    async fn new() -> Self {
        let store = Memory::new();
        let bytes = Index::new(Vec::new()).with_annotation("version", "1").to_bytes();
        let index = store
            .push_bytes(MediaType::OCI_INDEX, bytes.into())
            .await
            .unwrap();
        let key = SigningKey::from_seed(&Zeroizing::new([7; 32]));
        let statement = Statement {
            subject: index.digest,
            release: Release {
                name: "digits".parse().unwrap(),
                version: "1.0.0".parse().unwrap(),
                sequence: 1,
                media_type: index.media_type.clone(),
                size: index.size,
                issued: "2026-05-01T00:00:00Z".parse().unwrap(),
                expires: None,
                repositories: Vec::new(),
            },
        };
        sign(&store, &index, &statement, &key).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut trust = TrustStore::open(&home.path().join("trust")).unwrap();
        let everything = "*".parse().unwrap();
        trust
            .add(&"author".parse().unwrap(), &key.public(), &everything)
            .unwrap();
        let manifest = store.referrers(&index, None).await.unwrap().remove(0);
        Self {
            index,
            manifest,
            store,
            home,
        }
    }

    async fn verify_at(&self, address: &str) -> Result<(), TrustError> {
        let place = repository_at(address, config());
        let trust = TrustStore::open(&self.home.path().join("trust")).unwrap();
        let marks = Marks::at(&self.home.path().join("trust"));
        let origin = BundleOrigin::Registry(place.repository().clone());
        let request = Request::new(self.index.clone(), origin, now().into());
        verify(&place, request, &trust, &marks).await.map(|_| ())
    }

    /// Puts it into a registry that answers reads as `plan` has it, once it is told to.
    async fn at(
        &self,
        plan: impl Fn(&axum::http::request::Parts) -> Fault + Send + Sync + 'static,
    ) -> (Front, Arc<std::sync::atomic::AtomicBool>) {
        let bad = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = Arc::clone(&bad);
        let front = Front::start(move |parts, _| {
            if told.load(Ordering::SeqCst) {
                plan(parts)
            } else {
                Fault::None
            }
        })
        .await;
        let place = repository_at(&front.address, config());
        copy(&self.store, &place, &self.index, &Options::default())
            .await
            .unwrap();
        (front, bad)
    }
}

/// Verifies against registries that give each bad answer to what `question` picks, and are otherwise as `rest` has it: the
/// lookup fails with the verdict that belongs to the answer.
async fn each_bad_answer(signed: &Signed, question: fn(&str) -> bool, rest: fn(&str) -> Fault) {
    for (name, expected) in ANSWERS {
        let (front, bad) = signed
            .at(move |parts| {
                let path = parts.uri.path();
                if question(path) {
                    badly(name, path)
                } else {
                    rest(path)
                }
            })
            .await;
        bad.store(true, Ordering::SeqCst);
        let error = signed.verify_at(&front.address).await.unwrap_err();
        assert!(matches!(error, TrustError::Lookup { .. }), "{name}: {error:?}");
        assert_eq!(error.kind(), expected, "{name}: {error:?}");
    }
}

const PAGE: &str = "<html><body>please log in</body></html>";

/// A bad answer by its name, and the verdict that it must lead to.
const ANSWERS: [(&str, ErrorKind); 9] = [
    ("401", ErrorKind::Denied),
    ("403", ErrorKind::Denied),
    ("429", ErrorKind::Throttled),
    ("429 for a day", ErrorKind::Throttled),
    ("500", ErrorKind::Unavailable),
    ("503", ErrorKind::Unavailable),
    ("cut", ErrorKind::Unavailable),
    ("a web page", ErrorKind::Broken),
    ("in circles", ErrorKind::Broken),
];

fn badly(name: &str, path: &str) -> Fault {
    match name {
        "429 for a day" => answer(429, &[("retry-after", "86400")], ""),
        "cut" => Fault::Cut(0),
        "a web page" => answer(200, &[("content-type", "text/html")], PAGE),
        "in circles" => answer(307, &[("location", path)], ""),
        status => answer(status.parse().unwrap(), &[("content-type", "text/html")], PAGE),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bad_answer_is_read_as_unsigned() {
    let signed = Signed::new().await;
    let layer = {
        let bytes = crate::store::SourceExt::fetch_bytes(&signed.store, &signed.manifest, 1 << 20).await;
        let manifest: serde_json::Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
    };
    let questions = [
        "/referrers/".to_owned(),
        format!("/manifests/{}", signed.manifest.digest),
        format!("/blobs/{layer}"),
    ];
    for question in &questions {
        for (name, expected) in ANSWERS {
            let asked = question.clone();
            let (front, bad) = signed
                .at(move |parts| {
                    let path = parts.uri.path();
                    if path.contains(&asked) {
                        badly(name, path)
                    } else {
                        Fault::None
                    }
                })
                .await;
            signed.verify_at(&front.address).await.unwrap();
            bad.store(true, Ordering::SeqCst);
            let error = signed.verify_at(&front.address).await.unwrap_err();
            assert!(
                matches!(error, TrustError::Lookup { .. }),
                "{question} answered with {name}: {error:?}"
            );
            assert_eq!(
                error.kind(),
                expected,
                "{question} answered with {name}: {error:?}"
            );
        }
    }
}

/// The same where referrers are under a tag.
#[tokio::test(flavor = "multi_thread")]
async fn no_bad_answer_for_the_fallback_tag_is_read_as_unsigned() {
    let signed = Signed::new().await;
    let no_list = |path: &str| match path.contains("/referrers/") {
        true => answer(404, &[], "404 page not found"),
        false => Fault::None,
    };
    each_bad_answer(&signed, |path| path.contains("/manifests/sha256-"), no_list).await;
}

/// And where a rule takes cosign's tag.
#[tokio::test(flavor = "multi_thread")]
async fn no_bad_answer_for_cosigns_tag_is_read_as_unsigned() {
    let signed = Signed::new().await;
    let mut trust = TrustStore::open(&signed.home.path().join("trust")).unwrap();
    let (scope, rule) = trust.explain(&BundleOrigin::Local).unwrap();
    let (scope, mut rule) = (scope.clone(), rule.clone());
    rule.accept = [SignatureFormat::Cosign].into();
    trust.set_rule(&scope, rule).unwrap();
    let empty_list = |path: &str| {
        let empty =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        match path.contains("/referrers/") {
            true => answer(200, &[("content-type", MediaType::OCI_INDEX.as_str())], empty),
            false => Fault::None,
        }
    };
    each_bad_answer(&signed, |path| path.ends_with(".sig"), empty_list).await;
}

/// The counter-test: with no list and no tag it is unsigned, and the error says that.
#[tokio::test(flavor = "multi_thread")]
async fn absent_is_unsigned() {
    let signed = Signed::new().await;
    let (front, bad) = signed
        .at(|parts| {
            let path = parts.uri.path();
            if path.contains("/referrers/") || path.contains("/manifests/sha256-") {
                answer(404, &[], "")
            } else {
                Fault::None
            }
        })
        .await;
    bad.store(true, Ordering::SeqCst);
    let error = signed.verify_at(&front.address).await.unwrap_err();
    assert!(
        matches!(
            error,
            TrustError::Refused {
                refusal: Refusal::Unsigned,
                ..
            }
        ),
        "{error:?}"
    );
}
