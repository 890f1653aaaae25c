//! The objects are made by git 2.39 and OpenSSH 9.2, with keys that were thrown away.

use super::*;
use crate::signing::{Rule, Scope};

const COMMIT_ID: &str = "61cbe14b01b58c2b389a06adf0782516256a1a37";

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtEyPp9R+v17TC7jmwgkVuCgVx7JcE83NSfs+emDVps";
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBPfnTGrG9YZlSQla6KZhcXCDcR+9MsbQHOfN3uzp9dfgnVA5zaGStPegYS7yAmxx9ptpOdv07elB4v6o2kfIDqo=";

const TAG: &str = r#"object 61cbe14b01b58c2b389a06adf0782516256a1a37
type commit
tag 1.0
tagger A <a@b.example> 1795857348 +0000

release
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgC0TI+n1H6/XtMLuObCCRW4KBXH
slwTzc1J+z56YNWmwAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5
AAAAQKU7RvfcGuswFkA8eZ1o7s0Z5MXIzAsDz2Ry+sKy7LsET5cVhe6TZD/FUyAlEat4Tj
jpYdvTQPp8ju22rTNPZgU=
-----END SSH SIGNATURE-----
"#;

const COMMIT: &str = r#"tree ab69b4abf3bb84d4e268bd42d84e4a9a5e242bd3
author A <a@b.example> 1795857348 +0000
committer A <a@b.example> 1795857348 +0000
gpgsig -----BEGIN SSH SIGNATURE-----
 U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgC0TI+n1H6/XtMLuObCCRW4KBXH
 slwTzc1J+z56YNWmwAAAADZ2l0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3NzaC1lZDI1NTE5
 AAAAQBaYT5F0ZcV7k0w89T/m0KSA0XAhiEhRd++4XFwAYuzoWwk3TeHh1OfJx5M1Z+gU+c
 ZOv3dOwXSdSkJOTZf/WgI=
 -----END SSH SIGNATURE-----

one
"#;

const P256_TAG: &str = r#"object 61cbe14b01b58c2b389a06adf0782516256a1a37
type commit
tag 1.1
tagger A <a@b.example> 1795857348 +0000

release
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAE
EE9+dMasb1hmVJCVropmFxcINxH70yxtAc583e7On11+CdUDnNoZK096BhLvICbHH2m2k5
2/Tt6UHi/qjaR8gOqgAAAANnaXQAAAAAAAAABnNoYTUxMgAAAGQAAAATZWNkc2Etc2hhMi
1uaXN0cDI1NgAAAEkAAAAhALqgQ5FSkSa7bvSgr2iH2wuNNvReM3SYVeX4QbLuu5tRAAAA
IAnx01wMAOXn32XBFYBdz84f8YxRGj8IB1Jj2S/fZJae
-----END SSH SIGNATURE-----
"#;

const RSA_TAG: &str = r#"object 61cbe14b01b58c2b389a06adf0782516256a1a37
type commit
tag 1.2
tagger A <a@b.example> 1795857348 +0000

release
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAARcAAAAHc3NoLXJzYQAAAAMBAAEAAAEBALza7hT+iAlEJV+G4m/PZk
O+opCWEYzWLgMU/JhwKoW9eJnWyHes76c2OwAaoCgnljjHa7v2xUdCCkI2qlwOcab4XGfo
vGx8IyNYa1RTvWSjvpQpsQKcrCmNpNVjC8o0ZrqJgd/5Sef7SNu+D2JUo3fiR9+pp5heI6
qxPqvGgq4c430/4vfmXrwEJDsCkp1ybW1y3iBDITkSUru6PiPV68IZenPcK+nU9PDc6AuH
kWqqJw7s4XhZAUMupL04KpLyzAoA6AfwsoBiXVI0Vm3KC9u/qruluWJqCUsfnKwlqcYkuy
l7xLvLxgz3G1g99dDCGk7KfqfHU/Ik3ox9poSDsBEAAAADZ2l0AAAAAAAAAAZzaGE1MTIA
AAEUAAAADHJzYS1zaGEyLTUxMgAAAQBjmuA8d90zO65wVa/UthciDkmZbzUcPvNlQ6xlWP
ybdzBbQsi2RFsDB+adYQRUNA3ZlPhg90Nxt8evzhEOG3t7kfbD13/vU07hLiFPDRp9mOno
PQOuCsvpw88cjIWbK+0mOPkRRS5sDwOoyZSA7T0qd1piM7sphez2JB0dcKuuqgqI1cK1Gh
0KPPdgu+HmYM5LD5qntSAtp35L9Pxuw3PUFkOYC/i1iAwK2s1NLeavkUZ+N1GZSgIk2pgD
O0s48sJpRj/8C9VbbeenFtO+3UK5BNIXYqu7NJT1dJiZO3ovesfvvG3xN8CB8hP+JC1Pbw
CliqwGb7Gzg2Hjc0hgfKqY
-----END SSH SIGNATURE-----
"#;

fn keys() -> KeyRing {
    let body = |line: &str| STANDARD.decode(line.split(' ').nth(1).unwrap()).unwrap();
    let key = |line: &str| public_key(&body(line)).unwrap().1;
    [("ed", ED25519), ("ec", P256)]
        .map(|(name, line)| (name.parse().unwrap(), key(line)))
        .into()
}

fn tag(object: &str, name: &str) -> Result<Option<SignedSource>, SignatureFault> {
    let (object, commit) = (object.as_bytes(), COMMIT_ID);
    examine_source(GitObject::Tag { object, name, commit }, &keys())
}

fn commit(object: &str) -> Result<Option<SignedSource>, SignatureFault> {
    examine_source(GitObject::Commit(object.as_bytes()), &keys())
}

#[test]
fn what_git_has_signed_is_verified() {
    let (keys, name) = (keys(), |name: &str| name.parse().unwrap());
    let by = |signed: Result<Option<SignedSource>, SignatureFault>| signed.unwrap().unwrap().key;
    assert_eq!(by(tag(TAG, "1.0")), keys[&name("ed")].id());
    assert_eq!(by(tag(P256_TAG, "1.1")), keys[&name("ec")].id());
    assert_eq!(by(commit(COMMIT)), keys[&name("ed")].id());
    let (unsigned, _) = TAG.split_once("-----BEGIN").unwrap();
    assert_eq!(tag(unsigned, "1.0"), Ok(None));
    assert_eq!(commit("tree x\n\none\n"), Ok(None));
}

#[test]
fn nothing_that_differs_from_what_was_signed_counts() {
    let bad = |signed: Result<Option<SignedSource>, SignatureFault>| match signed {
        Err(fault) => fault,
        other => panic!("{other:?}"),
    };
    let is_bad = |fault| matches!(fault, SignatureFault::BadSignature { .. });
    assert!(is_bad(bad(tag(&TAG.replace("release", "Release"), "1.0"))));
    assert!(is_bad(bad(tag(&P256_TAG.replace("release", "Release"), "1.1"))));
    assert!(is_bad(bad(commit(&COMMIT.replace("\none\n", "\ntwo\n")))));
    assert!(is_bad(bad(commit(&COMMIT.replace("tree ab", "tree ac")))));
    let renamed = bad(tag(TAG, "2.0"));
    assert!(
        matches!(renamed, SignatureFault::BadStatement { .. }),
        "{renamed}"
    );
    let moved = GitObject::Tag {
        object: TAG.as_bytes(),
        name: "1.0",
        commit: "0123456789012345678901234567890123456789",
    };
    assert!(matches!(
        examine_source(moved, &keys()),
        Err(SignatureFault::BadStatement { .. })
    ));
    let other = examine_source(GitObject::Commit(COMMIT.as_bytes()), &KeyRing::default());
    assert!(matches!(other, Err(SignatureFault::UnknownKey { .. })));
    let rsa = bad(tag(RSA_TAG, "1.2"));
    assert!(matches!(rsa, SignatureFault::OtherMaterial { .. }), "{rsa}");
    let openpgp = TAG.replace("SSH SIGNATURE", "PGP SIGNATURE");
    let openpgp = bad(tag(&openpgp, "1.0"));
    assert!(
        matches!(openpgp, SignatureFault::OtherMaterial { .. }),
        "{openpgp}"
    );
    for broken in [
        "-----BEGIN SSH SIGNATURE-----\n",
        "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n",
        "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAf////8=\n-----END SSH SIGNATURE-----\n",
    ] {
        let (start, _) = TAG.split_once("-----BEGIN").unwrap();
        let fault = bad(tag(&format!("{start}{broken}"), "1.0"));
        assert!(matches!(fault, SignatureFault::Unreadable { .. }), "{fault}");
    }
}

#[test]
fn the_rule_of_the_repository_decides() {
    let scope: Scope = "h.example/o".parse().unwrap();
    let place = |text: &str| BundleOrigin::Registry(text.parse().unwrap());
    let now = Timestamp::from_unix(1_795_900_000);
    let decide = |rule: Rule, origin: &str, examined| {
        let mut policy = Policy::default();
        policy.set(scope.clone(), rule).unwrap();
        decide_source(&policy, &keys(), &place(origin), now, examined)
    };
    let rule = |names: &[&str]| Rule::signed_by(names.iter().map(|name| name.parse().unwrap()).collect());
    let good = decide(rule(&["ed"]), "h.example/o/r", tag(TAG, "1.0")).unwrap();
    assert_eq!((good.scope, good.signers.len()), (scope.clone(), 1));
    let refused = |rule: Rule, origin, examined| decide(rule, origin, examined).unwrap_err();
    assert!(matches!(
        refused(rule(&["ed"]), "h.example/x/r", tag(TAG, "1.0")),
        Refusal::NoRule { .. }
    ));
    assert!(matches!(
        refused(rule(&["ec"]), "h.example/o/r", tag(TAG, "1.0")),
        Refusal::Signature { .. }
    ));
    assert!(matches!(
        refused(rule(&["ed"]), "h.example/o/r", Ok(None)),
        Refusal::Unsigned
    ));
    let both = Rule {
        threshold: 2,
        ..rule(&["ed", "ec"])
    };
    assert!(matches!(
        refused(both, "h.example/o/r", tag(TAG, "1.0")),
        Refusal::TooFew { .. }
    ));
    let fresh = Rule {
        max_age_days: Some(0),
        ..rule(&["ed"])
    };
    let later = decide_source(
        &{
            let mut policy = Policy::default();
            policy.set(scope.clone(), fresh).unwrap();
            policy
        },
        &keys(),
        &place("h.example/o/r"),
        Timestamp::from_unix(1_800_000_000),
        tag(TAG, "1.0"),
    );
    assert!(matches!(later, Err(Refusal::Signature { .. })), "{later:?}");
    for level in [Level::Audit, Level::Skip] {
        let lax = Rule {
            level,
            ..rule(&["ed"])
        };
        assert!(decide(lax, "h.example/o/r", Ok(None)).unwrap().signers.is_empty());
    }
    let audit = Rule {
        level: Level::Audit,
        ..rule(&["ed"])
    };
    let altered = tag(&TAG.replace("release", "Release"), "1.0");
    assert!(
        decide(audit, "h.example/o/r", altered).is_err(),
        "no level overlooks altered bytes"
    );
}
