use zeroize::Zeroizing;

use super::*;
use crate::signing::{Release, SigningKey};

const PLACE: &str = "r.io/team/digits";

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32]))
}

fn ring(keys: &[(&str, u8)]) -> KeyRing {
    let keys = keys.iter();
    keys.map(|&(name, byte)| (name.parse().unwrap(), key(byte).public()))
        .collect()
}

fn subject() -> Descriptor {
    Descriptor::of(MediaType::OCI_INDEX, b"index")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn statement() -> Statement {
    Statement {
        subject: subject().digest,
        release: Release {
            name: "digits".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            sequence: 7,
            media_type: MediaType::OCI_INDEX,
            size: subject().size,
            issued: at("2026-01-01T00:00:00Z"),
            expires: Some(at("2026-12-31T23:59:59Z")),
            repositories: Vec::new(),
        },
    }
}

fn signed(byte: u8, change: impl FnOnce(&mut Statement)) -> Vec<u8> {
    let mut statement = statement();
    change(&mut statement);
    Bundle::sign(&statement, &key(byte)).unwrap().to_bytes().unwrap()
}

fn policy(rule: impl FnOnce(&mut Rule)) -> Policy {
    let mut wanted = Rule::signed_by(vec!["alice".parse().unwrap(), "bob".parse().unwrap()]);
    rule(&mut wanted);
    let mut policy = Policy::default();
    policy.set("r.io/team".parse().unwrap(), wanted).unwrap();
    policy
}

struct Try<'a> {
    policy: Policy,
    documents: &'a [Vec<u8>],
    now: &'a str,
    place: BundleOrigin,
    expected: Expected,
}

impl<'a> Try<'a> {
    fn new(documents: &'a [Vec<u8>]) -> Self {
        Self {
            policy: policy(|_| ()),
            documents,
            now: "2026-06-01T00:00:00Z",
            place: BundleOrigin::Registry(PLACE.parse().unwrap()),
            expected: Expected::default(),
        }
    }

    fn run(&self) -> Result<Decision, Refusal> {
        let keys = ring(&[("alice", 1), ("bob", 2), ("carol", 3), ("alias", 1)]);
        let examined: Vec<_> = self
            .documents
            .iter()
            .map(|document| examine(document, &keys))
            .collect();
        let subject = subject();
        let question = Question {
            subject: &subject,
            place: &self.place,
            expected: &self.expected,
            now: at(self.now),
        };
        decide(&self.policy, &keys, question, &examined)
    }

    fn fault(&self) -> SignatureFault {
        match self.run() {
            Err(Refusal::Signature { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn accepts_and_says_why() {
    let documents = [signed(9, |_| ()), signed(1, |_| ())];
    let decision = Try::new(&documents).run().unwrap();
    assert_eq!(decision.signers, BTreeSet::from([key(1).public().id()]));
    assert_eq!(decision.scope.to_string(), "r.io/team");
    assert_eq!(decision.statement, Some(statement()));
    assert_eq!(decision.warnings, []);
}

#[test]
fn every_fault_is_told_from_the_others() {
    type Check = fn(&SignatureFault) -> bool;
    let table: [(&str, Vec<u8>, Check); 11] = [
        ("other key", signed(9, |_| ()), |f| {
            matches!(f, SignatureFault::UnknownKey { .. })
        }),
        ("key of another rule", signed(3, |_| ()), |f| {
            matches!(f, SignatureFault::KeyNotInRule { .. })
        }),
        (
            "expired",
            signed(1, |s| s.release.expires = Some(at("2026-05-31T23:59:59Z"))),
            |f| matches!(f, SignatureFault::Expired { .. }),
        ),
        (
            "not yet valid",
            signed(1, |s| s.release.issued = at("2026-06-01T00:05:01Z")),
            |f| matches!(f, SignatureFault::NotYetValid { .. }),
        ),
        (
            "other content",
            signed(1, |s| s.subject = crate::Digest::sha256(b"x")),
            |f| matches!(f, SignatureFault::OtherContent { .. }),
        ),
        ("other size", signed(1, |s| s.release.size += 1), |f| {
            matches!(f, SignatureFault::OtherContent { .. })
        }),
        (
            "other place",
            signed(1, |s| s.release.repositories = vec!["r.io/x".parse().unwrap()]),
            |f| matches!(f, SignatureFault::WrongRepository { .. }),
        ),
        (
            "other name",
            signed(1, |s| s.release.name = "letters".parse().unwrap()),
            |f| matches!(f, SignatureFault::WrongName { .. }),
        ),
        (
            "other version",
            signed(1, |s| s.release.version = "2.0.0".parse().unwrap()),
            |f| matches!(f, SignatureFault::WrongVersion { .. }),
        ),
        ("no document", b"{}".to_vec(), |f| {
            matches!(f, SignatureFault::Unreadable { .. })
        }),
        ("empty document", Vec::new(), |f| {
            matches!(f, SignatureFault::Unreadable { .. })
        }),
    ];
    for (what, document, wanted) in table {
        let documents = [document];
        let mut case = Try::new(&documents);
        case.expected.name = Some("digits".parse().unwrap());
        case.expected.version = Some("1.0.0".parse().unwrap());
        let fault = case.fault();
        assert!(wanted(&fault), "{what}: {fault:?}");
    }
    assert_eq!(Try::new(&[]).run(), Err(Refusal::Unsigned));
}

#[test]
fn other_statements_by_a_trusted_key_are_no_release() {
    let provenance = br#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}"#;
    for (kind, payload) in [
        ("application/vnd.in-toto+json", &provenance[..]),
        ("text/plain", b"x"),
    ] {
        let bundle = Bundle {
            hint: key(1).public().id().hint(),
            envelope: super::super::Envelope::sign(kind, payload.to_vec(), &key(1)),
        };
        let documents = [bundle.to_bytes().unwrap()];
        assert!(matches!(
            Try::new(&documents).fault(),
            SignatureFault::OtherPredicate { .. }
        ));
    }
}

#[test]
fn the_threshold_counts_different_keys_that_say_the_same() {
    let two = |documents: &[Vec<u8>]| {
        let mut case = Try::new(documents);
        case.policy = policy(|rule| rule.threshold = 2);
        case.run()
    };
    assert!(two(&[signed(1, |_| ()), signed(2, |_| ())]).is_ok());
    let few = |result| {
        matches!(
            result,
            Err(Refusal::TooFew {
                wanted: 2,
                found: 1,
                ..
            })
        )
    };
    assert!(few(two(&[signed(1, |_| ())])));
    assert!(few(two(&[
        signed(1, |_| ()),
        signed(1, |s| s.release.issued = at("2026-02-01T00:00:00Z"))
    ])));
    assert!(few(two(&[
        signed(1, |_| ()),
        signed(2, |s| s.release.sequence = 8)
    ])));
    assert!(few(two(&[signed(1, |_| ()), signed(3, |_| ())])));
}

#[test]
fn of_two_releases_the_newer_counts() {
    let documents = [signed(1, |s| s.release.sequence = 9), signed(1, |_| ())];
    let decision = Try::new(&documents).run().unwrap();
    assert_eq!(decision.statement.unwrap().release.sequence, 9);
}

#[test]
fn levels_turn_faults_into_warnings_but_never_altered_content() {
    let at_level = |level, document: Vec<u8>, now: &'static str| {
        let documents = [document];
        let mut case = Try::new(&documents);
        case.now = now;
        case.policy = policy(|rule| rule.level = level);
        case.run()
    };
    let late = "2027-06-01T00:00:00Z";
    assert!(at_level(Level::Strict, signed(1, |_| ()), late).is_err());
    let warned = at_level(Level::Permissive, signed(1, |_| ()), late).unwrap();
    assert!(matches!(warned.warnings[..], [SignatureFault::Expired { .. }]));
    assert!(at_level(Level::Permissive, signed(9, |_| ()), late).is_err());
    let warned = at_level(Level::Audit, signed(9, |_| ()), late).unwrap();
    assert_eq!(warned.statement, None);
    assert!(matches!(warned.warnings[..], [SignatureFault::UnknownKey { .. }]));
    let other = signed(1, |s| s.subject = crate::Digest::sha256(b"x"));
    assert!(at_level(Level::Audit, other.clone(), late).is_err());
    assert!(at_level(Level::Skip, other, late).is_ok());
}

#[test]
fn ages_and_boundaries_are_inclusive() {
    let documents = [signed(1, |_| ())];
    let mut case = Try::new(&documents);
    case.now = "2026-12-31T23:59:59.9Z";
    assert!(case.run().is_ok());
    case.now = "2027-01-01T00:00:00Z";
    assert!(matches!(case.fault(), SignatureFault::Expired { .. }));
    case.policy = policy(|rule| rule.max_age_days = Some(10));
    case.now = "2026-01-11T00:00:00Z";
    assert!(case.run().is_ok());
    case.now = "2026-01-11T00:00:01Z";
    assert!(matches!(case.fault(), SignatureFault::TooOld { .. }));
    case.now = "2025-12-31T23:55:00Z";
    assert!(case.run().is_ok());
    case.now = "2025-12-31T23:54:59Z";
    assert!(matches!(case.fault(), SignatureFault::NotYetValid { .. }));
}

#[test]
fn places_without_a_rule_are_refused() {
    let documents = [signed(1, |_| ())];
    let mut case = Try::new(&documents);
    case.place = BundleOrigin::Registry("r.io/teams/digits".parse().unwrap());
    assert!(matches!(case.run(), Err(Refusal::NoRule { .. })));
    case.place = BundleOrigin::Local;
    assert!(matches!(case.run(), Err(Refusal::NoRule { .. })));
    let bound = [signed(1, |s| {
        s.release.repositories = vec![PLACE.parse().unwrap()];
    })];
    case.documents = &bound;
    assert!(case.run().is_ok());
    case.policy = Policy::default();
    assert!(matches!(case.run(), Err(Refusal::NoRule { .. })));
}

#[test]
fn every_flipped_bit_of_a_document_is_refused() {
    let document = signed(1, |_| ());
    for bit in 0..document.len() * 8 {
        let mut altered = document.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let documents = [altered];
        let result = Try::new(&documents).run();
        assert!(
            result.is_err(),
            "bit {} of byte {} ({:?})",
            bit % 8,
            bit / 8,
            char::from(document[bit / 8])
        );
    }
    for length in 0..document.len() {
        let documents = [document[..length].to_vec()];
        assert!(Try::new(&documents).run().is_err(), "cut at {length}");
    }
}

#[test]
fn a_tag_promises_its_version() {
    let version = |tag: &str| {
        Expected::of_tag(&tag.parse().unwrap())
            .version
            .map(|version| version.to_string())
    };
    assert_eq!(version("1.0.0"), Some("1.0.0".to_owned()));
    assert_eq!(version("1.0.0_b1"), Some("1.0.0+b1".to_owned()));
    assert_eq!(version("latest"), None);
}
