//! What a person names on the command line: places, tags, files and folders. A name that cannot be meant is refused before
//! anything is written, and each refusal has its own reason.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use samebundle_tests::{Greet, Home, Registry, Sandbox, Test, greet, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    a_place_with_a_digest_or_a_second_colon_is_none,
    a_tag_that_is_another_version_is_refused,
    outputs_come_together_or_not_at_all,
    outputs_that_stayed_are_said,
    pipes_and_devices_are_neither_filled_nor_waited_for,
    what_is_planned_is_not_installed,
    passwords_in_addresses_are_not_repeated,
    what_would_be_lost_stays_or_is_said,
    a_file_that_is_no_archive_is_not_called_damaged,
    what_is_absent_is_not_found,
    a_failed_installation_leaves_no_mark,
    an_upgrade_from_a_registry_asks_for_the_tag_again,
    an_installation_with_a_name_of_its_own_is_named_with_versions,
    every_wrong_line_is_told_as_json
];

fn bundle(subject: &str) -> Option<&'static Greet> {
    let found = greet();
    if found.is_none() {
        skip(&format!(
            "{subject}: the busybox image was not made (tests/setup/images)"
        ));
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn listed(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Builds and signs greet 1.1.0 in the publisher's home.
fn newer(greet: &Greet, sandbox: &Sandbox, publisher: &Home) {
    let sources = greet.sources(sandbox);
    let manifest = sources.join("samebundle.yaml");
    let changed = std::fs::read_to_string(&manifest).unwrap();
    let changed = changed.replace("version: 1.0.0", "version: 1.1.0");
    std::fs::write(&manifest, changed).unwrap();
    let _ = publisher.ok(["build", text(&sources), "-t", "greet"]);
    let _ = publisher.ok(["sign", "greet", "--key", "release"]);
}

fn a_place_with_a_digest_or_a_second_colon_is_none() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let _ = publisher.ok(["verify", "greet", "--allow-unsigned"]);
    let before = listed(sandbox.path());
    let digest = greet.digest();
    for place in [
        &format!("layout:lo@{digest}"),
        &format!("layout:lo:1.0.0@{digest}"),
        &format!("archive:x.tgz@{digest}"),
        &format!("x.tgz@{digest}"),
        "oci-archive:x.tgz",
        "docker-archive:x.tar",
        "layout:lo:",
        "layout:lo:a:b",
        "archive:x.tgz:",
        "archive:x.tgz:1.0.0",
        "archive:x:1.0.0",
        "x.tgz:1.0.0",
        "x.tar:1",
        "x.zip:1.0.0",
    ] {
        for verb in ["push", "copy"] {
            let _ = publisher.run([verb, "greet", place]).exits(2);
        }
    }
    assert_eq!(listed(sandbox.path()), before);
    assert!(!publisher.ok(["store", "usage"]).stdout.contains("x.t"));
}

fn a_tag_that_is_another_version_is_refused() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let (place, other) = (
        registry.reference("team/greet"),
        registry.reference("mirror/greet"),
    );
    for (tag, fits) in [
        ("2.0.0", false),
        ("1.0.1", false),
        ("2", false),
        ("1.1", false),
        ("1.0.0", true),
        ("1.0", true),
        ("1", true),
        ("latest", true),
        ("v2.0.0", true),
    ] {
        for to in [format!("{place}:{tag}"), format!("layout:lo:{tag}")] {
            let ran = publisher
                .run(["push", "greet", &to])
                .exits(if fits { 0 } else { 2 });
            assert!(fits || ran.stderr.contains("version 1.0.0"), "{}", ran.stderr);
        }
    }
    let _ = publisher.run(["push", "greet", "greet:2.0"]).exits(2);
    let _ = publisher.run(["copy", "greet", "hello:1.0.1"]).exits(2);
    let _ = publisher.ok(["copy", "greet", "hello:1.0"]);
    // An export may have a version of its own, which it keeps wherever it is copied to.
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", &format!("{place}:1.0.0")]);
    let _ = home.ok(["export", "greet:1.1", "--file", "own.tgz"]);
    let _ = home.ok(["copy", "own.tgz", &format!("{other}:1.1.0")]);
    let _ = home.ok(["copy", "own.tgz", "greet:1.1.0"]);
    let _ = home.ok(["push", "greet:1.1.0", &format!("{place}:1.1.0")]);
    let _ = home.run(["copy", "own.tgz", &format!("{other}:1.2.0")]).exits(2);
}

fn outputs_come_together_or_not_at_all() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let _ = publisher.ok(["copy", "greet", "greet.tgz"]);
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", "greet.tgz"]);
    let _ = home.ok(["run", "greet"]);
    let (to, outside) = (sandbox.path().join("to"), sandbox.path().join("outside"));
    std::fs::write(&outside, "mine").unwrap();
    let _ = home.ok(["outputs", "--to", "to"]);
    let all = listed(&to);
    assert!(all.contains("greeting.json") && all.contains("loud"), "{all:?}");
    // A link is replaced and not followed; a pipe is in the way of all.
    std::fs::remove_file(to.join("greeting.json")).unwrap();
    symlink(&outside, to.join("greeting.json")).unwrap();
    let _ = home.ok(["outputs", "--to", "to"]);
    assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
    assert!(!to.join("greeting.json").is_symlink());
    let taken = sandbox.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    pipe(&taken.join("loud"));
    let ran = home.run(["outputs", "--to", "taken"]).exits(1);
    assert!(ran.stderr.contains("a pipe"), "{}", ran.stderr);
    assert_eq!(listed(&taken).len(), 1);
    // Manual pages come in the same way.
    pipe(&taken.join("samebundle.1"));
    let _ = home.run(["manual", "--dir", "taken"]).exits(1);
    assert_eq!(listed(&taken).len(), 2);
    let _ = home.ok(["manual", "--dir", "pages/deep"]);
    assert!(sandbox.path().join("pages/deep/samebundle-run.1").is_file());
}

/// What stayed with the author is said to be there, and nothing is written.
fn outputs_that_stayed_are_said() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let _ = publisher.ok(["copy", "greet", "greet.tgz"]);
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", "greet.tgz"]);
    let _ = home.ok(["run", "greet"]);
    let _ = home.ok(["export", "greet", "--file", "export.tgz", "--outputs", "none"]);
    let reader = greet.trusting(&sandbox, "reader");
    let _ = reader.ok(["import", "export.tgz"]);
    let ran = reader.run(["outputs", "--to", "nothing"]).exits(5);
    assert!(ran.stderr.contains("stayed where it ran"), "{}", ran.stderr);
    assert!(!sandbox.path().join("nothing").exists());
    let _ = reader.run(["logs", "--task", "nope"]).exits(5);
    let _ = reader.run(["runs", "nope"]).exits(5);
    let _ = home.ok(["logs", "--task", "shout"]);
}

fn pipes_and_devices_are_neither_filled_nor_waited_for() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let _ = home.ok(["install", "greet", "--allow-unsigned"]);
    let _ = home.ok(["run", "greet", "--who=you"]);
    pipe(&sandbox.path().join("pipe"));
    pipe(&sandbox.path().join("password.sigstore.json"));
    std::fs::write(sandbox.path().join("password"), "secret").unwrap();
    let start = Instant::now();
    for line in [
        "verify greet --policy /dev/zero",
        "run greet --params-file /dev/zero",
        "receipt /dev/zero",
        "export greet --since /dev/zero --since-key /dev/zero",
        "trust add someone /dev/zero",
        "key generate --name second --passphrase-file /dev/zero",
        "registry user alice --htpasswd users --password-file /dev/zero",
        "registry user alice --htpasswd pipe --password-file password",
        "registry user alice --htpasswd /dev/zero --password-file password",
        "registry serve --root r --listen 127.0.0.1:0 --access-log pipe",
        "registry serve --root r --listen 127.0.0.1:0 --access-log /dev/full",
        "registry serve --root r --listen 127.0.0.1:0 --htpasswd pipe",
        "registry serve --root r --listen 127.0.0.1:0 --htpasswd /dev/zero",
        "registry serve --root r --listen 127.0.0.1:0 --tls-certificate /dev/zero --tls-key pipe",
        "runs push greet --metadata openlineage=file:/dev/full",
        "runs push greet --metadata openlineage=file:pipe",
        "file verify password",
        "file verify pipe",
        "file verify /dev/zero",
    ] {
        let mut running = home.start(line.split(' '));
        assert!(running.wait_for(Duration::from_secs(20)), "{line} goes on");
        let code = running.ended();
        assert!(matches!(code, Some(1 | 2)), "{line}: {code:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(!sandbox.path().join("users").exists());
    // The first signal ends a command that waits for a pipe.
    let mut waiting = home.start(["verify", "greet", "--policy", "pipe"]);
    std::thread::sleep(Duration::from_millis(500));
    waiting.end();
    assert!(waiting.wait_for(Duration::from_secs(5)), "it waits for the pipe");
}

fn what_is_planned_is_not_installed() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let _ = publisher.ok(["copy", "greet", "greet.tgz"]);
    let sources = greet.sources(&sandbox);
    let home = greet.trusting(&sandbox, "home");
    for place in ["greet.tgz", text(&sources)] {
        let planned = home.ok(["plan", place, "--who=you"]);
        assert!(
            planned.stdout.contains("who = \"you\" (run)"),
            "{}",
            planned.stdout
        );
        let wrong = home.run(["plan", place, "--nobody=you"]).exits(2);
        assert!(wrong.stderr.contains("--nobody"), "{}", wrong.stderr);
        assert!(!planned.stderr.contains("installed"), "{}", planned.stderr);
        assert!(home.ok(["list"]).stdout.contains("nothing is installed"));
        let _ = home.run(["plan", "greet", "--who=you"]).exits(5);
    }
    // What is installed under the name stays as it was.
    let _ = home.ok(["install", "greet.tgz"]);
    let before = home.ok(["list"]).stdout;
    let _ = home.ok(["plan", "greet.tgz", "--who=you"]);
    assert_eq!(home.ok(["list"]).stdout, before);
}

fn passwords_in_addresses_are_not_repeated() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let places = [
        "https://user:s3cretpw@h.example/o/r.git/x:1.0",
        "oci://user:s3cretpw@h.example:5/o/r:1.0",
        "docker://user:s3cretpw@h.example/o/r",
        "git+ssh://git:s3cretpw@h.example/o/r@v1",
        "http://user:s3cretpw@h.example/o/r",
        "ftp://user:s3cretpw@h.example/o/r",
        "user:s3cretpw@h.example/o/r:1.0",
        "user:s3cretpw@h.example:5000",
    ];
    for place in places {
        let lines = [
            vec!["install", place],
            vec!["run", place],
            vec!["inspect", place],
            vec!["copy", place, "x.tgz"],
            vec!["registry", "tags", place],
            vec!["registry", "ls", place],
            vec!["login", place, "-u", "bob"],
            vec!["explain", place],
            vec!["show", place],
        ];
        for line in lines {
            let ran = home.run(&line);
            assert_ne!(ran.code, 0, "{line:?}");
            assert!(!ran.stderr.contains("s3cretpw"), "{line:?}: {}", ran.stderr);
        }
    }
    let ran = home.run(["install", places[1]]).exits(2);
    assert!(ran.stderr.contains("a user or password"), "{}", ran.stderr);
    std::fs::write(sandbox.path().join("none"), "").unwrap();
    for user in ["bob", "b:ob"] {
        let line = ["login", "h.example", "-u", user, "--password-file", "none"];
        let ran = home.run(line).exits(2);
        assert!(
            ran.stderr.contains("empty") || ran.stderr.contains("':'"),
            "{}",
            ran.stderr
        );
    }
}

fn what_would_be_lost_stays_or_is_said() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let folder = sandbox.path();
    std::fs::write(folder.join("f"), "f").unwrap();
    std::fs::write(folder.join("d.json"), "{}").unwrap();
    let sign = |predicate| {
        home.run([
            "file",
            "sign",
            "f",
            "--key",
            "release",
            "--document",
            "d.json",
            "--predicate",
            predicate,
        ])
    };
    let _ = sign("slsa").exits(0);
    let _ = sign("slsa").exits(0);
    let refused = sign("spdx").exits(2);
    assert!(refused.stderr.contains("--signature"), "{}", refused.stderr);
    let _ = home.ok(["install", "greet", "--allow-unsigned"]);
    let _ = home.ok(["run", "greet", "--who=you"]);
    let first = home.ok(["outputs", "--to", "to"]);
    assert!(!first.stderr.contains("replaced"), "{}", first.stderr);
    let again = home.ok(["outputs", "--to", "to"]);
    assert!(again.stderr.contains("replaced what was in "), "{}", again.stderr);
}

fn a_file_that_is_no_archive_is_not_called_damaged() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    for (name, bytes) in [
        ("hello", &b"hello\n"[..]),
        ("page.tgz", b"<!doctype html><html><body>not found</body></html>"),
        ("long.tar", "a line of text, \u{e9}\n".repeat(900).as_bytes()),
        ("empty.tgz", b""),
    ] {
        std::fs::write(sandbox.path().join(name), bytes).unwrap();
        let place = format!("archive:{name}");
        for line in [["import", name], ["inspect", &place]] {
            let ran = home.run(line).exits(1);
            assert!(ran.stderr.contains("not an archive"), "{name}: {}", ran.stderr);
        }
    }
    let _ = home.run(["import", "/etc/passwd"]).exits(1);
}

fn what_is_absent_is_not_found() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let _ = home.ok(["install", "greet", "--allow-unsigned"]);
    for line in [
        "verify greet --policy nope",
        "run greet --params-file nope",
        "receipt nope",
        "export greet --since nope.tgz",
        "export greet --since nope --since-key nope",
        "trust add someone nope",
        "key generate --name second --passphrase-file nope",
        "registry user alice --htpasswd users --password-file nope",
        "registry serve --root r --listen 127.0.0.1:0 --htpasswd nope",
        "registry serve --listen 127.0.0.1:0 nope.tgz",
        "import nope.tgz",
        "inspect nope.tgz",
        "inspect layout:nope",
        "sign nope",
        "key remove nope",
        "init x --from nope.py",
        "build nope",
        "build nope/pipeline.py",
    ] {
        let ran = home.run(line.split(' '));
        assert_eq!(ran.code, 5, "{line}: {}", ran.stderr);
    }
}

fn a_failed_installation_leaves_no_mark() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let _ = publisher.ok(["copy", "greet", "old.tgz"]);
    newer(greet, &sandbox, &publisher);
    let _ = publisher.ok(["copy", "greet", "new.tgz"]);
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", "old.tgz"]);
    for verb in ["install", "import"] {
        let ran = home.run([verb, "new.tgz"]).exits(9);
        assert!(ran.stderr.contains("upgrade greet"), "{}", ran.stderr);
        let _ = home.run(["install", "new.tgz", "--name", "b", "-p", "nonsense=1"]);
        let _ = home.ok(["verify", "old.tgz"]);
        let _ = home.ok(["install", "old.tgz", "--name", "again"]);
    }
    // What was installed is seen.
    let _ = home.ok(["install", "new.tgz", "--name", "newer"]);
    let _ = home.run(["verify", "old.tgz"]).exits(4);
}

fn an_upgrade_from_a_registry_asks_for_the_tag_again() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let latest = registry.reference("team/greet:latest");
    let _ = publisher.ok(["push", "greet", &latest]);
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", &latest]);
    let same = home.ok(["upgrade", "greet"]);
    assert!(same.stdout.contains("nothing changed"), "{}", same.stdout);
    newer(greet, &sandbox, &publisher);
    let _ = publisher.ok(["push", "greet", &latest]);
    let upgraded = home.ok(["upgrade", "greet"]);
    assert!(
        upgraded.stdout.contains("from 1.0.0 to 1.1.0"),
        "{}",
        upgraded.stdout
    );
    // By a digest there is nothing to ask for.
    let pinned = format!("{}@{}", registry.reference("team/greet"), upgraded_digest(&home));
    let _ = home.ok(["install", &pinned, "--name", "pinned"]);
    let ran = home.run(["upgrade", "pinned"]).exits(2);
    assert!(ran.stderr.contains(":TAG"), "{}", ran.stderr);
}

fn upgraded_digest(home: &Home) -> String {
    let shown = home.ok(["show", "greet", "--output", "json"]).json();
    shown["installation"]["index"]["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn every_wrong_line_is_told_as_json() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    for line in [
        "copy greet x.zip",
        "copy greet layout:a:b:c",
        "store gc --grace bogus",
        "completions bogus",
        "sign greet --expires-in 0",
        "nonsense",
        "run",
        "list --nonsense",
        "registry serve --listen nonsense",
    ] {
        let words = line.split(' ').chain(["--output", "json"]);
        let ran = home.run(words).exits(2);
        assert_eq!(ran.json()["error"]["kind"], "usage", "{line}");
        assert!(!ran.stderr.contains("error:"), "{line}: {}", ran.stderr);
        let ran = home.run(line.split(' ')).exits(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("error:"), "{line}");
    }
    for line in ["help run", "run --help", "registry help serve", "help"] {
        let ran = home.ok(line.split(' ').chain(["--output", "json"])).json();
        assert!(ran["help"].as_str().unwrap().contains("Usage:"), "{line}");
    }
    let version = home.ok(["--version", "--output", "json"]).json();
    assert!(version["version"].is_string());
}

/// The name of an installation may be another than its bundle's. A version behind it is that of the bundle.
fn an_installation_with_a_name_of_its_own_is_named_with_versions() {
    let Some(greet) = bundle("named") else { return };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let _ = home.ok(["install", "greet", "--name", "bb", "--allow-unsigned"]);
    let _ = home.ok(["run", "bb"]);
    newer(greet, &sandbox, &home);
    for line in [
        "explain BB:1.0.0",
        "verify bb:1.1",
        "inspect bb:1.1",
        "inspect bb:v1.0",
        "logs bb:1.0",
        "logs GREET:1.0",
        "outputs BB",
        "runs bb:1.0",
    ] {
        let _ = home.ok(line.split(' '));
    }
    let refused = home.run(["upgrade", "bb:1.3"]).exits(5);
    assert!(
        refused.stderr.contains("`upgrade bb greet:1.3.0`"),
        "{}",
        refused.stderr
    );
    let absent = home.run(["sign", "gret"]).exits(5);
    assert!(absent.stderr.contains("did you mean"), "{}", absent.stderr);
    let upgraded = home.ok(["upgrade", "bb", "1.1", "--allow-unsigned"]);
    assert!(
        upgraded.stdout.contains("from 1.0.0 to 1.1.0"),
        "{}",
        upgraded.stdout
    );
    for line in ["install multi/pipeline.py", "install pipeline.py"] {
        let ran = home.run(line.split(' ')).exits(2);
        assert!(ran.stderr.contains("is a pipeline's file"), "{}", ran.stderr);
    }
}
