//! The whole road: build, sign, push, install by reference, run, export, import where there is no network, run again.

use std::path::Path;

use samebundle_tests::{Home, Ran, Registry, Sandbox, Test, digits, greet, image, peer, skip, tests};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    a_program_travels_runs_and_comes_back,
    two_homes_build_the_same_digest,
    what_is_wrong_with_a_call_is_said_with_its_code,
    an_image_of_dockers_form_is_built_in_as_oci,
    past_results_travel_where_the_author_asks_for_them,
    digits_gives_the_same_answer_after_the_journey,
    a_plan_names_what_cannot_be_had
];

/// The outputs of a run as `run --output json` ends with them.
pub(crate) fn outputs(ran: &Ran) -> Value {
    let last = ran.json();
    assert_eq!(last["status"], "succeeded", "{}", ran.stdout);
    assert!(last["run"].is_string(), "{}", ran.stdout);
    last["outputs"].clone()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Export what is installed under a name; the file.
fn export(home: &Home, name: &str, sandbox: &Sandbox) -> std::path::PathBuf {
    let file = sandbox.path().join(format!("{}.tgz", name.replace(':', "-")));
    let _ = home.ok(["export", "program", "-n", name, "--file", text(&file)]);
    assert!(file.is_file(), "export wrote nothing");
    file
}

fn a_program_travels_runs_and_comes_back() {
    let Some(greet) = greet() else {
        return skip("flow: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("team/greet:1.0.0");
    let pushed = publisher.ok(["push", "greet", &place]);
    assert_eq!(pushed.digest(), greet.digest());

    let consumer = greet.trusting(&sandbox, "consumer");
    let _ = consumer.ok(["create", "program", "-f", &place]);
    let ran = consumer.ok([
        "run",
        "program",
        "greet",
        "--who=you",
        "--times=2",
        "--output",
        "json",
    ]);
    let first = outputs(&ran);
    assert_eq!(first["greeting"], "hello you");
    let folder = sandbox.path().join("out");
    let _ = consumer.ok(["outputs", "last", "--to", text(&folder)]);
    let loud = std::fs::read_to_string(find(&folder, "loud")).unwrap();
    assert_eq!(loud, "0 YOU\n1 YOU\n");
    assert!(consumer.ok(["logs", "last"]).stdout.contains("shouted 2 lines"));
    // Defaults are the bundle's where nothing is said.
    let plain = consumer.ok(["run", "greet", "--output", "json"]);
    assert_eq!(outputs(&plain)["greeting"], "hello world");

    let file = export(&consumer, "greet:1.0.0", &sandbox);
    let third = greet.trusting(&sandbox, "third");
    let Some(mut import) = third.cut_off(["import", text(&file)]) else {
        return skip("flow: no network namespace can be made here (unshare -n)");
    };
    let _ = Ran::of(&mut import).ok();
    let again = [
        "run",
        "program",
        "greet",
        "--who=you",
        "--times=2",
        "--output",
        "json",
    ];
    let ran = Ran::of(&mut third.cut_off(again).unwrap()).ok();
    assert_eq!(
        outputs(&ran),
        first,
        "the same parameters gave other outputs after the journey"
    );
    let runs = third.ok(["runs", "greet", "--output", "json"]).json();
    let count = runs.as_array().or_else(|| runs["runs"].as_array()).unwrap().len();
    assert_eq!(count, 3, "two runs came along, one was made: {runs}");
    let _ = third.ok(["store", "check"]);
}

pub(crate) fn find(folder: &Path, name: &str) -> std::path::PathBuf {
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap_or_default();
            if path.is_file() && (stem == name || path.file_name().unwrap() == name) {
                return path;
            }
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    panic!("no {name} in {}", folder.display());
}

fn two_homes_build_the_same_digest() {
    let Some(greet) = greet() else {
        return skip("flow: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let sources = greet.sources(&sandbox);
    let built = sandbox.home("other").ok(["build", text(&sources), "-t", "greet"]);
    assert_eq!(built.digest(), greet.digest());
    // And another content another digest: the equality above says something.
    let manifest = sources.join("samebundle.yaml");
    let changed = std::fs::read_to_string(&manifest)
        .unwrap()
        .replace("version: 1.0.0", "version: 1.0.1");
    std::fs::write(&manifest, changed).unwrap();
    let built = sandbox.home("other").ok(["build", text(&sources), "-t", "greet"]);
    assert_ne!(built.digest(), greet.digest());
}

fn what_is_wrong_with_a_call_is_said_with_its_code() {
    let Some(greet) = greet() else {
        return skip("flow: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let unsigned = sandbox.home("stranger");
    let file = sandbox.path().join("greet.tar");
    let _ = home.ok(["copy", "greet", text(&file)]);
    let ran = unsigned.run(["install", text(&file)]).exits(4);
    assert!(!ran.stderr.is_empty());
    let trusting = greet.trusting(&sandbox, "trusting");
    let _ = trusting.ok(["install", text(&file)]);
    let unknown = trusting.run(["run", "greet", "--tmies=2"]).exits(2);
    assert!(
        unknown.stderr.contains("--times"),
        "the nearest flag is not named: {}",
        unknown.stderr
    );
    // A value that does not fit is wrong input, not a wrong command line (spec 600).
    for times in ["--times=many", "--times=-1"] {
        let ran = trusting.run(["run", "greet", times]).exits(1);
        let named = ran.stderr.contains("parameter") && ran.stderr.contains("times");
        assert!(named, "{}", ran.stderr);
    }
    let _ = trusting.run(["run", "nobody"]).exits(5);
    let _ = trusting.run(["install", "nobody:1.0.0"]).exits(5);
    let _ = trusting
        .run(["install", "127.0.0.1:1/nothing/there:1.0"])
        .exits(7);
}

/// An image is taken from a registry by its name; one of Docker's older form (schema 2) becomes an OCI image, because strict
/// registries refuse it.
fn an_image_of_dockers_form_is_built_in_as_oci() {
    let (Some(greet), Some(busybox)) = (greet(), image("busybox")) else {
        return skip("flow: the busybox image was not made (tests/setup/images)");
    };
    let Some(skopeo) = peer("skopeo") else {
        return skip("flow: skopeo is not installed");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let registry = Registry::own(&sandbox, &home);
    let place = registry.reference("library/busybox:1");
    let mut copy = std::process::Command::new(skopeo);
    copy.args(["copy", "--quiet", "--format", "v2s2", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:busybox:1", busybox.display()))
        .arg(format!("docker://{place}"));
    let _ = Ran::of(&mut copy).ok();
    let sources = greet.sources(&sandbox);
    let manifest = sources.join("samebundle.yaml");
    let named = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, named.replace("layout:images/busybox", &place)).unwrap();
    let _ = home.ok(["build", text(&sources), "-t", "fetched"]);
    let graph = home.ok(["inspect", "fetched", "--output", "json"]).stdout;
    assert!(!graph.contains("application/vnd.docker."), "{graph}");
    let _ = home.ok(["install", "fetched", "--allow-unsigned", "--name", "fetched"]);
    let ran = home.ok(["run", "fetched", "--who=you", "--output", "json"]);
    assert_eq!(outputs(&ran)["greeting"], "hello you");
}

/// An author who says so publishes past results: whoever installs by reference sees them.
fn past_results_travel_where_the_author_asks_for_them() {
    let Some(greet) = greet() else {
        return skip("flow: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let author = greet.publisher(&sandbox);
    let sources = greet.sources(&sandbox);
    let manifest = sources.join("samebundle.yaml");
    let asked = std::fs::read_to_string(&manifest).unwrap() + "history: {runs: \"last:2\"}\n";
    std::fs::write(&manifest, asked).unwrap();
    let none = author.ok(["build", text(&sources)]);
    assert!(none.stderr.contains("no finished run"), "{}", none.stderr);
    let _ = author.ok(["install", "greet", "--allow-unsigned"]);
    for who in ["--who=a", "--who=b", "--who=c"] {
        let _ = author.ok(["run", "greet", who]);
    }
    let built = author.ok(["build", text(&sources)]);
    assert_eq!(built.digest(), greet.digest(), "results change no digest");
    let registry = Registry::own(&sandbox, &author);
    let place = registry.reference("team/greet:1.0.0");
    let _ = author.ok(["push", "greet", &place]);

    let reader = greet.trusting(&sandbox, "reader");
    let _ = reader.ok(["install", &place]);
    let runs = reader.ok(["runs", "greet", "--output", "json"]).json();
    let runs = runs.as_array().or_else(|| runs["runs"].as_array()).unwrap();
    let who: Vec<&Value> = runs.iter().map(|run| &run["parameters"]["who"]).collect();
    assert_eq!(who, ["c", "b"], "{runs:?}");
}

/// The real program: what its components pip-install travels with it.
fn digits_gives_the_same_answer_after_the_journey() {
    let sandbox = Sandbox::new();
    let sources = match digits(&sandbox) {
        Ok(folder) => folder,
        Err(why) => return skip(&format!("digits: {why}")),
    };
    let publisher = sandbox.home("publisher");
    let built = publisher.ok(["build", text(&sources), "-t", "digits"]);
    let _ = publisher.ok(["key", "generate", "--name", "release", "--no-passphrase"]);
    let key = sandbox.path().join("release.pub");
    let _ = publisher.ok(["key", "export", "release", "--file", text(&key)]);
    let _ = publisher.ok(["sign", "digits", "--key", "release"]);
    let registry = Registry::own(&sandbox, &publisher);
    let place = registry.reference("team/digits:1.0.0");
    assert_eq!(publisher.ok(["push", "digits", &place]).digest(), built.digest());

    let consumer = sandbox.home("consumer");
    let _ = consumer.ok(["trust", "add", "release", text(&key)]);
    let _ = consumer.ok(["create", "program", "-f", &place]);
    let first = outputs(&consumer.ok(["run", "program", "digits", "--epochs=30", "--output", "json"]));
    let accuracy = first["accuracy"].as_f64().unwrap();
    assert!((0.9..1.0).contains(&accuracy), "{first}");
    assert_eq!(first["steps"], 30 * 1347, "integers stay integers: {first}");
    let second = outputs(&consumer.ok(["run", "program", "digits", "--epochs=30", "--output", "json"]));
    assert_eq!(first, second, "two runs with equal parameters differ");
    let other = outputs(&consumer.ok(["run", "program", "digits", "--epochs=3", "--output", "json"]));
    assert_ne!(first["model"], other["model"], "epochs change nothing");

    let file = export(&consumer, "digits:1.0.0", &sandbox);
    let third = sandbox.home("third");
    let _ = third.ok(["trust", "add", "release", text(&key)]);
    let Some(mut import) = third.cut_off(["import", text(&file)]) else {
        return skip("digits: no network namespace can be made here (unshare -n)");
    };
    let _ = Ran::of(&mut import).ok();
    let again = ["run", "program", "digits", "--epochs=30", "--output", "json"];
    let ran = Ran::of(&mut third.cut_off(again).unwrap()).ok();
    assert_eq!(outputs(&ran), first, "the answer changed on the way");
}

/// What the machine cannot give is said before anything is made.
fn a_plan_names_what_cannot_be_had() {
    let (Some(greet), Some(_)) = (greet(), image("busybox")) else {
        return skip("flow: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let sources = greet.sources(&sandbox);
    let manifest = sources.join("samebundle.yaml");
    let more = "requires:\n  resources: {cpu: 1, memory: 4000Gi, gpu: {count: 3}, disk: {size: 9000Ti}}\n";
    let asked = std::fs::read_to_string(&manifest).unwrap() + more;
    std::fs::write(&manifest, asked).unwrap();
    let home = sandbox.home("home");
    let _ = home.ok(["build", text(&sources), "-t", "greet"]);
    let ran = home.run(["install", "greet", "--allow-unsigned"]).exits(10);
    for word in ["memory", "gpu", "disk"] {
        assert!(
            ran.stderr.to_lowercase().contains(word),
            "{word} is not named: {}",
            ran.stderr
        );
    }
    let list = home.ok(["list", "--output", "json"]);
    assert!(
        !list.stdout.contains("\"greet\""),
        "something was installed: {}",
        list.stdout
    );
}
