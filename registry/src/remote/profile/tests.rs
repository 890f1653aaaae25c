use super::*;

#[test]
fn known_hosts_are_told_from_those_that_look_like_them() {
    let most = |address: &str| Profile::known(address).most_part;
    assert_eq!(most("ghcr.io"), Some(4 * MIB));
    assert_eq!(most("ghcr.io:443"), Some(4 * MIB));
    assert_eq!(most("ghcr.io.example"), None);
    assert_eq!(most("notghcr.io"), None);
    assert_eq!(
        most("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
        Some(10 * MIB)
    );
    assert_eq!(Profile::known("europe-docker.pkg.dev").parts, Some(false));
    assert_eq!(Profile::known("eu.gcr.io").parts, Some(false));
    assert_eq!(Profile::known("pkg.dev.example:5000"), Profile::default());
    assert_eq!(
        Profile::known("registry-1.docker.io").referrers,
        Some(ReferrersBy::Tag)
    );
}

#[test]
fn what_is_measured_goes_before_what_is_known() {
    let measured = Profile {
        most_part: Some(MIB),
        ..Profile::default()
    };
    let profile = Profile::known("ghcr.io").overlaid(measured);
    assert_eq!(profile.most_part, Some(MIB));
    assert_eq!(profile.referrers, Some(ReferrersBy::Tag));
}

#[test]
fn parts_keep_to_the_least_the_most_and_the_count() {
    let first = |known: &Known, size, asked| known.part(size, asked).map(|part| part.end(0, size));
    let plain = Known::new(Profile::default());
    assert_eq!(first(&plain, 100 * MIB, 0), Some(8 * MIB));
    assert_eq!(first(&plain, 96 * MIB, 16 * MIB), Some(16 * MIB));
    assert_eq!(first(&plain, u64::MAX, 300 * MIB), None);
    plain.takes_parts_up_to(4 * MIB);
    assert_eq!(first(&plain, 100 * MIB, 0), Some(4 * MIB));
    plain.takes_no_parts();
    assert_eq!(first(&plain, 100 * MIB, 0), None);
    let counted = Known::new(Profile::known("1.dkr.ecr.x.amazonaws.com"));
    assert_eq!(first(&counted, 80 * MIB, 0), Some(8 * MIB));
    assert_eq!(first(&counted, 42_000 * MIB, 0), Some(10 * MIB));
    assert_eq!(counted.part(80 * MIB, 0).unwrap().most(), 10 * MIB);
    // More than its parts can hold, or less than one: whole.
    assert_eq!(first(&counted, 42_001 * MIB, 0), None);
    assert_eq!(first(&counted, 4 * MIB, 0), None);
}

#[test]
fn a_profile_is_written_and_read_again_and_refused_if_it_is_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = ProfileFile::new("r.example:5000", "2026-11-26T00:00:00Z".parse().unwrap());
    file.profile.most_part = Some(4 * MIB);
    file.profile.referrers = Some(ReferrersBy::Tag);
    file.write(folder.path()).unwrap();
    assert_eq!(
        ProfileFile::read(folder.path(), "r.example:5000").unwrap(),
        Some(file)
    );
    assert_eq!(ProfileFile::read(folder.path(), "r.example").unwrap(), None);
    let path = folder.path().join("r.example:5000.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("r.example:5000", "s.example:5000"),
        ("mostPart", "mostparts"),
        ("{", ""),
    ] {
        assert!(whole.contains(from), "{whole}");
        std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let error = ProfileFile::read(folder.path(), "r.example:5000").unwrap_err();
        let text = format!("{error}");
        assert!(text.contains("registry doctor"), "{text}");
    }
}
