//! The life of an installation: upgrade, roll-back, history and status; registries that are listed and logged in to; keys that
//! travel with signatures; completion.

use std::path::{Path, PathBuf};
use std::process::Command;

use samebundle_tests::{Home, Registry, Sandbox, Test, greet, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    an_installation_goes_back_and_says_so,
    an_upgrade_keeps_what_the_new_bundle_takes,
    registries_are_listed_and_logged_in_to,
    a_helper_keeps_the_password_if_the_file_names_one,
    a_key_that_travels_is_trusted_after_its_fingerprint_was_confirmed,
    keys_that_are_no_longer_trusted_are_shown_as_such,
    a_rule_without_keys_is_shown_and_can_be_removed,
    what_is_not_signed_is_answered_with_the_safe_way_first,
    slips_and_habits_are_answered,
    names_runs_and_parameters_are_completed
];

fn set_version(sources: &Path, version: &str) {
    let manifest = sources.join("samebundle.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let lines = text.lines().map(|line| match line.starts_with("version:") {
        true => format!("version: {version}"),
        false => line.to_owned(),
    });
    std::fs::write(&manifest, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

/// Builds and signs a version, and leaves it in the publisher's store and in a file.
fn version(sandbox: &Sandbox, publisher: &Home, sources: &Path, version: &str) -> PathBuf {
    set_version(sources, version);
    let _ = publisher.ok(["build", sources.to_str().unwrap()]);
    let _ = publisher.ok(["sign", "greet", "--key", "release"]);
    let file = sandbox.path().join(format!("greet-{version}.tar"));
    let _ = publisher.ok(["copy", "greet", file.to_str().unwrap()]);
    file
}

fn an_installation_goes_back_and_says_so() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let sources = greet.sources(&sandbox);
    let [one, two] = ["1.1.0", "1.2.0"].map(|name| version(&sandbox, &publisher, &sources, name));
    let home = greet.trusting(&sandbox, "home");
    let file = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let _ = home.ok(["install", &file(&one)]);
    let none = home.run(["rollback", "greet"]).exits(5);
    assert!(
        none.stderr.contains("had no other bundle before"),
        "{}",
        none.stderr
    );

    let upgraded = home.ok(["upgrade", "greet", &file(&two)]);
    assert!(
        upgraded.stdout.contains("upgraded greet from 1.1.0 to 1.2.0"),
        "{}",
        upgraded.stdout
    );
    let status = home.ok(["status", "--check", "-o", "json"]).json();
    assert_eq!(status["installations"][0]["origin"]["is"], "same");

    // Back, and back again; the older release is no rollback attack here, because it was asked for.
    let back = home.ok(["rollback", "greet"]);
    assert!(
        back.stdout.contains("rolled back greet from 1.2.0 to 1.1.0"),
        "{}",
        back.stdout
    );
    let again = home.ok(["rollback", "greet", "1.2"]);
    assert!(
        again.stdout.contains("rolled back greet from 1.1.0 to 1.2.0"),
        "{}",
        again.stdout
    );
    let unknown = home.run(["rollback", "greet", "9.9"]).exits(5);
    assert!(
        unknown.stderr.contains("never had version 9.9.0"),
        "{}",
        unknown.stderr
    );
    let history = home.ok(["history", "greet", "-o", "json"]).json();
    let versions = history["history"].as_array().unwrap().iter();
    let versions: Vec<_> = versions.map(|one| one["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1.2.0", "1.1.0", "1.2.0", "1.1.0"]);
    assert_eq!(history["history"][0]["current"], true);

    // A bundle that is not trusted any more is not gone back to.
    let _ = home.ok(["trust", "remove", "release"]);
    let _ = home.run(["rollback", "greet"]).exits(4);
    let listed = home.ok(["list"]);
    assert!(listed.stdout.contains("no longer trusted"), "{}", listed.stdout);
}

fn an_upgrade_keeps_what_the_new_bundle_takes() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let sources = greet.sources(&sandbox);
    let [one, two] = ["1.1.0", "1.2.0"].map(|name| version(&sandbox, &publisher, &sources, name));
    let manifest = sources.join("samebundle.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let narrower = text.replace("{minimum: 0}", "{minimum: 0, maximum: 3}");
    assert_ne!(text, narrower);
    std::fs::write(&manifest, narrower).unwrap();
    let three = version(&sandbox, &publisher, &sources, "1.3.0");
    let home = greet.trusting(&sandbox, "home");
    let times =
        || home.ok(["show", "greet", "-o", "json"]).json()["installation"]["parameters"]["times"].clone();
    let file = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let _ = home.ok(["install", &file(&one), "-p", "times=4"]);
    let _ = home.ok(["upgrade", "greet", &file(&two)]);
    assert_eq!(times(), 4);
    let _ = home.ok(["upgrade", "greet", &file(&two), "-p", "times=5"]);
    assert_eq!(times(), 5);
    let upgraded = home.ok(["upgrade", "greet", &file(&three)]);
    assert!(
        upgraded
            .stderr
            .contains("parameter times of the installation is not kept"),
        "{}",
        upgraded.stderr
    );
    assert!(times().is_null());

    // A run is shown by its id as it is by `runs`, and an id of nothing is told as a name of nothing.
    let _ = home.ok(["run", "greet"]);
    let run = home.ok(["show", "last"]);
    assert_eq!(run.stdout, home.ok(["runs", "last"]).stdout);
    let _ = home.run(["show", "nothing"]).exits(5);
}

fn registries_are_listed_and_logged_in_to() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let users = sandbox.path().join("users");
    let password = sandbox.path().join("password");
    std::fs::write(&password, "se:cret\n").unwrap();
    let _ = publisher.ok([
        "registry",
        "user",
        "ann",
        "--htpasswd",
        users.to_str().unwrap(),
        "--password-file",
        password.to_str().unwrap(),
    ]);
    let registry = Registry::own_with(&sandbox, &publisher, &["--htpasswd", users.to_str().unwrap()]);
    let address = registry.address();
    let _ = publisher.run(["registry", "ls", &address]).exits(6);
    let config = sandbox.path().join("docker");
    let with = |home: &Home, words: &[&str]| {
        let mut command = home.command(words);
        command.env("DOCKER_CONFIG", &config);
        samebundle_tests::Ran::of(&mut command)
    };
    let wrong = sandbox.path().join("wrong");
    std::fs::write(&wrong, "other").unwrap();
    let login = ["login", &address, "--username", "ann", "--password-file"];
    let refused = with(&publisher, &[&login[..], &[wrong.to_str().unwrap()]].concat());
    assert_eq!(refused.code, 6, "{}", refused.stderr);
    assert!(!config.exists(), "nothing is kept of what is refused");
    let done = with(&publisher, &[&login[..], &[password.to_str().unwrap()]].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!done.stdout.contains("se:cret") && !done.stderr.contains("se:cret"));
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(config.join("config.json")).unwrap()).unwrap();
    assert_eq!(kept["auths"][&address]["auth"], "YW5uOnNlOmNyZXQ=");

    let target = registry.reference("team/greet");
    let pushed = with(&publisher, &["push", "greet", &target]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    let listed = with(&publisher, &["registry", "ls", &address]);
    assert_eq!(listed.stdout.trim(), target);
    let tags = with(&publisher, &["registry", "tags", &target, "-o", "json"]).json();
    assert_eq!(tags["tags"].as_array().unwrap().len(), 1, "{tags}");
    let absent = with(
        &publisher,
        &["registry", "tags", &registry.reference("team/nosuch")],
    );
    assert_eq!(absent.code, 5, "{}", absent.stderr);
    let out = with(&publisher, &["logout", &address]);
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert_eq!(with(&publisher, &["registry", "ls", &address]).code, 6);
}

/// `docker-credential-fake`, which keeps what it is given in a file.
fn fake_helper(folder: &Path, kept: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder).unwrap();
    let program = folder.join("docker-credential-fake");
    let kept = kept.display();
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{kept};;\nget) cat >/dev/null; cat {kept};;\nerase) cat >/dev/null; rm {kept};;\nesac\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn a_helper_keeps_the_password_if_the_file_names_one() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let users = sandbox.path().join("users");
    let password = sandbox.path().join("password");
    std::fs::write(&password, "se:cret\n").unwrap();
    let (users, password) = (users.to_str().unwrap(), password.to_str().unwrap());
    let _ = home.ok([
        "registry",
        "user",
        "ann",
        "--htpasswd",
        users,
        "--password-file",
        password,
    ]);
    let registry = Registry::own_with(&sandbox, &home, &["--htpasswd", users]);
    let (bin, kept) = (sandbox.path().join("bin"), sandbox.path().join("kept"));
    fake_helper(&bin, &kept);
    let docker = sandbox.path().join("docker");
    std::fs::create_dir(&docker).unwrap();
    let config = docker.join("config.json");
    std::fs::write(&config, r#"{"credsStore": "fake", "psFormat": "x"}"#).unwrap();
    let with = |words: &[&str]| {
        let mut command = home.command(words);
        command.env("DOCKER_CONFIG", &docker);
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        samebundle_tests::Ran::of(&mut command).ok()
    };
    let address = registry.address();
    let _ = with(&["login", &address, "-u", "ann", "--password-file", password]);
    let read =
        |path: &Path| -> serde_json::Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    assert_eq!(read(&kept)["Secret"], "se:cret");
    assert_eq!(read(&kept)["ServerURL"], address.as_str());
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(!text.contains("c2U6") && text.contains("psFormat"), "{text}");
    assert_eq!(read(&config)["auths"][&address], serde_json::json!({}));
    let _ = with(&["registry", "ls", &address]);
    let _ = with(&["logout", &address]);
    assert!(!kept.exists());
    assert_eq!(read(&config)["auths"], serde_json::json!({}));
}

fn a_key_that_travels_is_trusted_after_its_fingerprint_was_confirmed() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let sources = greet.sources(&sandbox);
    let file = version(&sandbox, &publisher, &sources, "1.1.0");
    let file = file.to_str().unwrap();
    let keys = publisher.ok(["key", "list", "-o", "json"]).json();
    let fingerprint = keys["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(fingerprint.len(), 64);

    let home = sandbox.home("reader");
    let refused = home.run(["install", file]).exits(4);
    assert!(refused.stderr.contains(&fingerprint[..12]), "{}", refused.stderr);
    let asked = home.run(["trust", "add", "friend", "--from", file]).exits(2);
    assert!(
        asked.stderr.contains(&format!("--yes {fingerprint}")),
        "{}",
        asked.stderr
    );
    let other = "0".repeat(64);
    let _ = home
        .run(["trust", "add", "friend", "--from", file, "--yes", &other])
        .exits(5);
    let _ = home
        .run([
            "trust",
            "add",
            "friend",
            "--from",
            file,
            "--yes",
            &fingerprint[..12],
        ])
        .exits(2);
    let added = home.ok(["trust", "add", "friend", "--from", file, "--yes", &fingerprint]);
    assert!(added.stdout.contains(&fingerprint), "{}", added.stdout);
    let listed = home.ok(["trust", "list"]);
    assert!(listed.stdout.contains(&fingerprint), "{}", listed.stdout);
    let _ = home.ok(["install", file]);

    // A bundle that nobody has signed carries no key.
    set_version(&sources, "1.3.0");
    let unsigned = sandbox.path().join("unsigned.tar");
    let _ = publisher.ok(["build", sources.to_str().unwrap()]);
    let _ = publisher.ok(["copy", "greet:1.3.0", unsigned.to_str().unwrap()]);
    let none = home
        .run(["trust", "add", "x", "--from", unsigned.to_str().unwrap()])
        .exits(5);
    assert!(none.stderr.contains("carries a key"), "{}", none.stderr);
}

fn keys_that_are_no_longer_trusted_are_shown_as_such() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let made = home
        .ok([
            "key",
            "generate",
            "--no-passphrase",
            "--name",
            "mine",
            "-o",
            "json",
        ])
        .json();
    let _ = home.ok(["trust", "remove", "mine"]);
    let keys = home.ok(["key", "list", "-o", "json"]).json();
    assert_eq!(keys["keys"][0]["id"], made["id"]);
    assert_eq!(keys["keys"][0]["trusted"], false);
    let _ = home.run(["key", "remove", "mine"]).exits(2);
    let _ = home.ok(["key", "remove", "mine", "--yes"]);
    let _ = home.run(["key", "remove", "mine", "--yes"]).exits(5);
    assert_eq!(
        home.ok(["key", "list", "-o", "json"]).json()["keys"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

fn a_rule_without_keys_is_shown_and_can_be_removed() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("ds/greet:1.0.0");
    let _ = publisher.ok(["push", "greet", &place]);
    let home = greet.trusting(&sandbox, "home");
    let other = sandbox.home("other");
    let _ = other.ok(["key", "generate", "--no-passphrase"]);
    let key = sandbox.path().join("other.pub");
    let _ = other.ok(["key", "export", "--file", key.to_str().unwrap()]);
    let scope = registry.address();
    let prefixed = format!("oci://{scope}/ds");
    let _ = home.ok([
        "trust",
        "add",
        "partner",
        key.to_str().unwrap(),
        "--scope",
        &prefixed,
    ]);
    let removed = home.ok(["trust", "remove", "partner", "--scope", &format!("{scope}/ds")]);
    assert!(
        removed.stdout.contains("accepts nobody now"),
        "{}",
        removed.stdout
    );
    let listed = home.ok(["trust", "list"]);
    assert!(listed.stdout.contains("(nobody)"), "{}", listed.stdout);
    let explained = home
        .run(["trust", "explain", &format!("{scope}/ds/greet")])
        .exits(4);
    assert!(
        explained.stdout.contains("accepts nobody"),
        "{}",
        explained.stdout
    );
    let refused = home.run(["install", &place]).exits(4);
    let way = format!("`trust add NAME FILE --scope {scope}/ds`");
    assert!(refused.stderr.contains(&way), "{}", refused.stderr);
    let _ = home.run(["trust", "remove"]).exits(2);
    let _ = home.ok(["trust", "remove", "--scope", &format!("{scope}/ds")]);
    let _ = home
        .run(["trust", "remove", "--scope", &format!("{scope}/ds")])
        .exits(5);
    let _ = home.ok(["install", &place]);
}

fn what_is_not_signed_is_answered_with_the_safe_way_first() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("mirror/greet");
    let sources = greet.sources(&sandbox);
    set_version(&sources, "1.4.0");
    let _ = publisher.ok(["build", sources.to_str().unwrap()]);
    let _ = publisher.ok(["push", "greet", &place]);
    let home = greet.trusting(&sandbox, "home");
    let far = home.run(["install", &format!("{place}:1.4.0")]).exits(4).stderr;
    let [copy, last] = ["`copy FIRST THIS`", "--allow-unsigned"].map(|way| far.find(way));
    assert!(copy.is_some() && copy < last, "{far}");
    let own = publisher.run(["install", "greet"]).exits(4).stderr;
    assert!(own.contains("`sign NAME`"), "{own}");
    // Without a tag, those that there are are named; versions stand in their order.
    for version in ["1.10.0", "1.2.0"] {
        set_version(&sources, version);
        let _ = publisher.ok(["build", sources.to_str().unwrap()]);
        let _ = publisher.ok(["push", "greet", &place]);
    }
    let untagged = home.run(["install", &place]).exits(2);
    assert!(
        untagged.stderr.contains("such as 1.10.0, 1.4.0, 1.2.0"),
        "{}",
        untagged.stderr
    );
    let tags = home.ok(["registry", "tags", &format!("docker://{place}"), "-o", "json"]);
    assert_eq!(
        tags.json()["tags"],
        serde_json::json!(["1.2.0", "1.4.0", "1.10.0"])
    );
}

fn slips_and_habits_are_answered() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let ps = home.run(["ps"]).exits(2);
    assert!(ps.stderr.contains("`runs` lists runs"), "{}", ps.stderr);
    let version = home.ok(["version", "-o", "json"]).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let _ = home.ok(["ls"]);
    let typo = sandbox.path().join("typo");
    let new = home.ok(["list", "--home", typo.to_str().unwrap()]);
    assert!(new.stderr.contains("is a new, empty home"), "{}", new.stderr);
    let known = home.ok(["list", "--home", typo.to_str().unwrap()]);
    assert!(!known.stderr.contains("new"), "{}", known.stderr);
}

/// The candidates of the last word, as bash gets them.
fn candidates(home: &Home, words: &[&str]) -> Vec<String> {
    let line = [&["--", "same", "--home", home.path().to_str().unwrap()], words].concat();
    let mut command: Command = home.command(line);
    command
        .env("SAMEBUNDLE_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", (words.len() + 2).to_string())
        .env("_CLAP_IFS", "\n");
    let ran = samebundle_tests::Ran::of(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
    ran.stdout.lines().map(str::to_owned).collect()
}

fn names_runs_and_parameters_are_completed() {
    let Some(greet) = greet() else {
        return skip("lifecycle: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let empty = sandbox.home("empty");
    let options = candidates(&empty, &["run", ""]);
    assert!(options.iter().all(|one| one.starts_with('-')), "{options:?}");
    let publisher = greet.publisher(&sandbox);
    let file = version(&sandbox, &publisher, &greet.sources(&sandbox), "1.1.0");
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", file.to_str().unwrap()]);
    let has = |words: &[&str], wanted: &str| {
        let found = candidates(&home, words);
        assert!(
            found.iter().any(|one| one == wanted),
            "{words:?}: {wanted} in {found:?}"
        );
    };
    has(&["run", "gr"], "greet");
    has(&["show", "greet:"], "greet:1.1.0");
    has(&["run", "greet", "--ti"], "--times");
    has(&["run", "greet", "-p", "ti"], "times=");
    has(&["run", "greet", "--env", ""], "docker");
    has(&["upg"], "upgrade");
    has(&["trust", "remove", ""], "release");
    let _ = home.ok(["run", "greet", "--times=1"]);
    has(&["logs", ""], "last");
    has(&["logs", "--task", ""], "greet");
    assert_eq!(candidates(&home, &["nonsense", "--x"]), [""; 0]);
}
