use zeroize::Zeroizing;

use super::*;
use crate::signing::SigningKey;

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::from_bytes(text.as_bytes())
}

fn key(byte: u8) -> PublicKey {
    SigningKey::from_seed(&Zeroizing::new([byte; 32])).public()
}

const GOOD: &str = r#"{"version":1,"default":"reject","scopes":{
  "r.io/team":{"keys":["alice","bob"],"threshold":2,"rights":["network"],"maxAgeDays":90},
  "r.io":{"keys":["alice"],"level":"permissive","allowDowngrade":true},
  "r.io/team/lab":{"keys":[],"level":"skip"},
  "local:":{"keys":["bob"]}}}"#;

#[test]
fn round_trips_and_picks_the_longest_scope() {
    let policy = parse(GOOD).unwrap();
    assert_eq!(Policy::from_bytes(&policy.to_bytes()).unwrap(), policy);
    let scope = |place: &str| {
        let place = BundleOrigin::Registry(place.parse().unwrap());
        policy.rule_for(&place, &[]).map(|(scope, _)| scope.to_string())
    };
    assert_eq!(scope("r.io/team/x").as_deref(), Some("r.io/team"));
    assert_eq!(scope("r.io/teams").as_deref(), Some("r.io"));
    assert_eq!(scope("r.io/team/lab/x").as_deref(), Some("r.io/team/lab"));
    assert_eq!(scope("other.io/team"), None);
}

#[test]
fn what_comes_from_a_file_is_judged_by_what_its_statement_is_bound_to() {
    let policy = parse(GOOD).unwrap();
    let scope = |bound: &[&str]| {
        let bound: Vec<Repository> = bound.iter().map(|text| text.parse().unwrap()).collect();
        policy
            .rule_for(&BundleOrigin::Local, &bound)
            .map(|(scope, _)| scope.to_string())
    };
    assert_eq!(scope(&[]).as_deref(), Some("local:"));
    assert_eq!(scope(&["other.io/x"]).as_deref(), Some("local:"));
    assert_eq!(
        scope(&["other.io/x", "r.io/team/x"]).as_deref(),
        Some("r.io/team")
    );
    // A place that is known is never overruled by what the statement says.
    let known = BundleOrigin::Registry("other.io/x".parse().unwrap());
    assert_eq!(policy.rule_for(&known, &["r.io/team/x".parse().unwrap()]), None);
}

#[test]
fn one_slip_refuses_the_whole_file() {
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"version\":1,", ""),
        ("\"default\":\"reject\"", "\"default\":\"accept\""),
        ("\"default\":\"reject\",", ""),
        ("\"threshold\":2", "\"threshold\":3"),
        ("\"threshold\":2", "\"threshold\":0"),
        ("\"threshold\":2", "\"threshold\":2,\"threshold\":1"),
        ("\"threshold\"", "\"treshold\""),
        ("[\"alice\",\"bob\"]", "[\"alice\",\"alice\"]"),
        ("[\"alice\",\"bob\"]", "[\"alice\",\"../bob\"]"),
        ("\"permissive\"", "\"lenient\""),
        ("\"network\"", "\"everything\""),
        ("\"local:\"", "\"R.IO\""),
        ("\"local:\"", "\"local:x\""),
        ("\"r.io/team/lab\"", "\"*\""),
        (
            "\"maxAgeDays\":90",
            "\"approvals\":{\"keys\":[\"alice\"],\"threshold\":2}",
        ),
        ("\"maxAgeDays\":90", "\"approvals\":{\"keys\":[]}"),
        ("}}}", "}}} x"),
        ("\"scopes\"", "\"note\":1,\"scopes\""),
    ] {
        assert!(GOOD.contains(from), "{from}");
        assert!(parse(&GOOD.replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
}

#[test]
fn rules_must_be_holdable_with_the_keys_that_are_there() {
    let policy = parse(GOOD).unwrap();
    let name = |text: &str| text.parse::<BundleName>().unwrap();
    let ring = |keys: &[(&str, u8)]| {
        keys.iter()
            .map(|&(text, byte)| (name(text), key(byte)))
            .collect::<KeyRing>()
    };
    assert!(policy.check_keys(&ring(&[("alice", 1), ("bob", 2)])).is_ok());
    assert!(policy.check_keys(&ring(&[("alice", 1)])).is_err());
    // One key under two names is one key.
    assert!(policy.check_keys(&ring(&[("alice", 1), ("bob", 1)])).is_err());
}

#[test]
fn approvals_name_different_keys_that_are_there() {
    let text = r#"{"version":1,"default":"reject","scopes":{"*":{"keys":["alice"],"approvals":{"keys":["alice","bob"],"threshold":2}}}}"#;
    let policy = parse(text).unwrap();
    assert_eq!(Policy::from_bytes(&policy.to_bytes()).unwrap(), policy);
    let ring = |bob: u8| -> KeyRing {
        let keys = [("alice", 1), ("bob", bob)];
        keys.map(|(name, byte)| (name.parse().unwrap(), key(byte))).into()
    };
    assert!(policy.check_keys(&ring(2)).is_ok());
    assert!(policy.check_keys(&ring(1)).is_err(), "one key under two names");
    let mut only = ring(2);
    only.pop_last();
    assert!(policy.check_keys(&only).is_err());
}
