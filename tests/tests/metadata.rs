//! Runs as others get them: read back by MLflow's own client, judged by the validator of RO-Crates, made again with the
//! classes of OpenLineage's client.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use samebundle_spec::Timestamp;
use samebundle_spec::record::{Number, OutputRecord, Run};
use samebundle_tests::{
    Greet, Home, MlflowServer, Ran, Sandbox, Test, greet, judges, repository, skip, tests,
};
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests![
    runs_are_read_back_from_mlflow,
    a_crate_has_no_error_to_its_validator,
    the_crates_in_an_export_have_no_error_to_their_validator,
    events_are_those_of_openlineage,
    a_token_goes_to_the_server_and_nowhere_else,
    a_place_that_is_none_is_refused_before_the_run,
    a_place_that_fails_keeps_no_run_from_another,
    a_crate_lies_alone_in_its_folder
];

/// The bundle and the judges, or why the test does not run.
fn set_up(subject: &str) -> Option<&'static Greet> {
    if judges().is_none() {
        skip(&format!(
            "{subject}: the judges were not installed (tests/setup/judges)"
        ));
        return None;
    }
    bundle(subject)
}

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

/// A home with greet installed.
fn installed(greet: &Greet, sandbox: &Sandbox) -> Home {
    let publisher = greet.publisher(sandbox);
    let file = sandbox.path().join("greet.tar");
    let _ = publisher.ok(["copy", "greet", text(&file)]);
    let home = greet.trusting(sandbox, "author");
    let _ = home.ok(["install", text(&file)]);
    home
}

/// What a judge says.
fn judge(sandbox: &Sandbox, arguments: &[&str], whole: bool) -> Value {
    let bin = judges().unwrap();
    let home = sandbox.path().join("judge");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(bin.join("python"));
    command
        .arg(repository().join("tests/peers/metadata/judge.py"))
        .args(arguments)
        .env_clear()
        .env("HOME", &home)
        .env("PATH", "/usr/bin:/bin")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .current_dir(&home);
    if whole {
        command.env("ARTIFACTS", "1");
    }
    Ran::of(&mut command).ok().json()
}

fn run_folder(home: &Home, id: &str) -> PathBuf {
    home.path().join("runs").join(id)
}

fn record(home: &Home, id: &str) -> Run {
    let bytes = std::fs::read(run_folder(home, id).join("run.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Puts a run into a home whose record has every field, as a program with tasks of every end leaves it.
fn rich(home: &Home) -> Run {
    let id = "01K9ZZZZZZZZZZZZZZZZZZRCH1";
    let folder = run_folder(home, id);
    let outputs = folder.join("outputs/train");
    std::fs::create_dir_all(outputs.join("model/inner")).unwrap();
    std::fs::write(outputs.join("report"), "<html><p>report</p></html>").unwrap();
    std::fs::write(outputs.join("model/weights"), [0_u8, 159, 146, 150]).unwrap();
    std::fs::write(outputs.join("model/inner/config"), "{}").unwrap();
    std::fs::write(
        folder.join("log.jsonl"),
        "{\"task\":\"train\",\"line\":\"epoch 1\"}\n",
    )
    .unwrap();
    let digest = |of: &str| samebundle_spec::Digest::sha256(of.as_bytes()).to_string();
    let file = |kind: &str, of: &str, path: Option<&str>, metadata: Value| {
        let artifact = json!({"artifactType": kind, "digest": digest(of), "size": 26, "metadata": metadata});
        let mut artifact = artifact;
        if let Some(path) = path {
            artifact["path"] = json!(path);
        }
        json!({"artifacts": [artifact]})
    };
    let said = |kind: &str, metadata: Value| json!({"artifacts": [{"artifactType": kind, "size": 0, "metadata": metadata}]});
    let report = file("system.HTML", "report", Some("outputs/train/report"), json!({}));
    let confusion = json!({"confusionMatrix": {
        "annotationSpecs": [{"displayName": "cat"}, {"displayName": "dog"}],
        "rows": [{"row": [7, 1]}, {"row": [2, 9]}],
    }, "confidenceMetrics": [
        {"confidenceThreshold": 0.9, "falsePositiveRate": 0.0, "recall": 0.5},
        {"confidenceThreshold": 0.1, "falsePositiveRate": 1.0, "recall": 1.0},
    ]});
    let record = json!({
        "format": "1.0", "id": id, "installation": "greet", "action": "run", "bundle": "rich bundle",
        "version": "2.1.0", "bundleDigest": digest("bundle"),
        "verification": {"by": "signature", "keys": ["release"], "scope": "everything", "sequence": 7},
        "driver": "embedded", "status": "failed", "message": "task late: exit code 3\nlast line",
        "parameters": {
            "lr": {"value": 0.01, "setBy": "run"}, "name": {"value": "größe", "setBy": "installation"},
            "layers": {"value": [1, 2], "setBy": "default"}, "token": {"setBy": "run", "secret": true},
            "flag": {"value": true, "setBy": "default"}, "long": {"value": "x".repeat(7000), "setBy": "run"},
        },
        "started": "2026-01-02T03:04:05.678901Z", "finished": "2026-01-02T03:09:05.1Z",
        "tasks": [
            {"name": "train", "status": "succeeded", "attempts": 2, "image": digest("image"),
             "started": "2026-01-02T03:04:06Z", "finished": "2026-01-02T03:05:07.5Z", "exitCode": 0,
             "inputs": {"lr": {"value": 0.01}, "data": file("system.Dataset", "data", None, json!({"rows": 3}))},
             "outputs": {
                "report": report, "model": file("system.Model", "model", Some("outputs/train/model"), json!({"framework": "x"})),
                "metrics": said("system.Metrics", json!({"accuracy": 0.75, "note": "text", "broken": "NaN", "endless": "Infinity"})),
                "classes": said("system.ClassificationMetrics", confusion), "loss": {"value": 0.5},
             }},
            {"name": "late", "status": "failed", "attempts": 1, "image": digest("image"),
             "started": "2026-01-02T03:05:08Z", "finished": "2026-01-02T03:09:05Z", "exitCode": 3,
             "inputs": {"model": file("system.Model", "model", None, json!({}))}, "outputs": {}},
            {"name": "never", "status": "skipped", "attempts": 0, "inputs": {}, "outputs": {}},
        ],
        "outputs": {"report": report, "verdict": {"value": {"good": true}}},
    });
    std::fs::write(folder.join("run.json"), record.to_string()).unwrap();
    serde_json::from_value(record).unwrap()
}

fn milliseconds(time: Timestamp) -> u64 {
    let since = SystemTime::from(time).duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn runs_are_read_back_from_mlflow() {
    let Some(greet) = set_up("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    let mut server = MlflowServer::planned(&sandbox);
    let to = format!("mlflow={}", server.url());

    // The server is away: the run is none the worse for it, and what was not sent is remembered.
    let ran = home.ok(["run", "greet", "--metadata", &to, "-o", "json"]);
    let first = ran.json();
    assert!(ran.stderr.contains("runs push"), "{}", ran.stderr);
    assert!(first["sent"][0]["failed"].is_string(), "{first}");
    server.start();
    let pushed = home.ok(["runs", "push", "-o", "json"]).json();
    assert_eq!(pushed["pushed"][0]["state"], "new", "{pushed}");
    assert_eq!(
        home.ok(["runs", "push", "-o", "json"]).json()["pushed"],
        json!([]),
        "nothing waits any more"
    );

    // Sent at its end, and not again.
    let ran = home.ok(["run", "greet", "--times=2", "--metadata", &to, "-o", "json"]);
    assert_eq!(ran.json()["sent"][0]["state"], "new");
    let rich = rich(&home);
    let pushed = home.ok(["runs", "push", rich.id.as_str(), "--metadata", &to, "-o", "json"]);
    assert_eq!(pushed.json()["pushed"][0]["state"], "new");
    assert!(
        pushed.stderr.contains("long"),
        "what does not fit is said: {}",
        pushed.stderr
    );
    let again = home.ok(["runs", "push", "--metadata", &to, "-o", "json"]).json();
    for run in again["pushed"].as_array().unwrap() {
        assert_eq!(run["state"], "already", "{run}");
    }

    let found = judge(&sandbox, &["mlflow", &server.url()], true);
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 3);
    let of = |id: &str| {
        found
            .iter()
            .find(|run| run["tags"]["samebundle.run"] == id)
            .unwrap()
    };
    for id in [
        first["run"].as_str().unwrap(),
        ran.json()["run"].as_str().unwrap(),
    ] {
        let run = record(&home, id);
        read_back(&home, &run, of(id));
        assert_eq!(of(id)["status"], "FINISHED");
    }
    read_back(&home, &rich, of(&rich.id));
    is_rich(&sandbox, &server, of(&rich.id));
    three_hundred(&sandbox, greet, &home, &server);
}

/// What MLflow has a field for, and the record beside.
fn read_back(home: &Home, run: &Run, found: &Value) {
    assert_eq!(found["experiment"], run.bundle.as_str());
    assert_eq!(found["start"], milliseconds(run.started));
    assert_eq!(found["end"], milliseconds(run.finished.unwrap()));
    for (name, parameter) in &run.parameters {
        let value = match &parameter.value {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "***".to_owned(),
        };
        match value.len() > 6000 {
            true => assert!(found["params"][name].is_null()),
            false => assert_eq!(found["params"][name], value.as_str(), "{name}"),
        }
    }
    let scalars = run.scalars();
    assert_eq!(found["metrics"].as_object().unwrap().len(), scalars.len());
    for (name, value) in scalars {
        // MLflow's store keeps an infinite number as the largest that it has.
        let value = if value.0.is_nan() {
            value
        } else {
            Number(value.0.min(f64::MAX))
        };
        assert_eq!(found["metrics"][&name][0][0], json!(value), "{name}");
        assert_eq!(
            found["metrics"][&name].as_array().unwrap().len(),
            1,
            "{name} once"
        );
    }
    let tags = &found["tags"];
    assert_eq!(tags["samebundle.version"], run.version.to_string());
    assert_eq!(tags["samebundle.bundle_digest"], run.bundle_digest.to_string());
    assert_eq!(tags["samebundle.driver"], run.driver.as_str());
    assert_eq!(tags["samebundle.status"], run.status.word());
    assert_eq!(tags["samebundle.started"], run.started.to_string());
    assert_eq!(tags["samebundle.finished"], run.finished.unwrap().to_string());
    let sha256 = |path: &Path| samebundle_spec::Digest::sha256(&std::fs::read(path).unwrap()).hex();
    let folder = run_folder(home, &run.id);
    assert_eq!(
        found["artifacts"]["samebundle/run.json"],
        sha256(&folder.join("run.json")).as_str(),
        "the whole record"
    );
    // Every file of the run is there with its content.
    let there: BTreeSet<&str> = found["artifacts"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .collect();
    let artifacts = run.all_outputs().into_values().flat_map(|output| match output {
        OutputRecord::Artifacts(artifacts) => artifacts.clone(),
        OutputRecord::Value(_) => Vec::new(),
    });
    for path in artifacts.filter_map(|artifact| artifact.path) {
        let path = folder.join(path);
        if path.is_file() {
            assert!(there.contains(sha256(&path).as_str()), "{}", path.display());
        }
    }
}

/// What only the run with every field has.
fn is_rich(sandbox: &Sandbox, server: &MlflowServer, found: &Value) {
    assert_eq!(found["status"], "FAILED");
    assert_eq!(found["tags"]["samebundle.signer"], "release");
    assert_eq!(
        found["tags"]["samebundle.message"],
        "task late: exit code 3\nlast line"
    );
    let set: Value =
        serde_json::from_str(found["tags"]["samebundle.parameters_set_by"].as_str().unwrap()).unwrap();
    assert_eq!(set["name"], "installation");
    let ended = milliseconds("2026-01-02T03:05:07.5Z".parse().unwrap());
    assert_eq!(
        found["metrics"]["train.metrics.accuracy"],
        json!([[0.75, ended, 0]])
    );
    let names: Vec<&String> = found["artifacts"].as_object().unwrap().keys().collect();
    for name in [
        "outputs/report.html",
        "outputs/train.model/weights",
        "outputs/train.model/inner/config",
        "outputs/values.json",
        "metrics/train.classes.roc_curve.json",
        "log.txt",
    ] {
        assert!(names.iter().any(|found| *found == name), "{name}: {names:?}");
    }
    let table = "metrics/train.classes.confusion_matrix.json";
    let id = found["id"].as_str().unwrap();
    let table = judge(sandbox, &["mlflow-table", &server.url(), id, table], false);
    assert_eq!(table["columns"], json!(["actual", "cat", "dog"]));
    assert_eq!(table["rows"], json!([["cat", 7, 1], ["dog", 2, 9]]));
}

/// Three hundred runs, of which a push is killed in the middle, that another home imports twice and pushes as well.
fn three_hundred(sandbox: &Sandbox, greet: &Greet, home: &Home, server: &MlflowServer) {
    let to = format!("mlflow={}", server.url());
    let last = home.ok(["runs", "greet", "-o", "json"]).json();
    let last = last["runs"].as_array().unwrap();
    let template = last.iter().find(|run| run["bundle"] == "greet").unwrap();
    let template =
        std::fs::read(run_folder(home, template["id"].as_str().unwrap()).join("run.json")).unwrap();
    let template: Value = serde_json::from_slice(&template).unwrap();
    for number in 0..298 {
        let id = format!("01K8{number:022}");
        let mut run = template.clone();
        run["id"] = json!(id);
        // Files take most of the time, and the others have them.
        run["tasks"] = json!([]);
        run["outputs"] = json!({"number": {"value": number}});
        let folder = run_folder(home, &id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("run.json"), run.to_string()).unwrap();
    }
    let mut command = home.command(["runs", "push", "greet", "--metadata", &to]);
    let mut killed = samebundle_tests::Running::of(&mut command);
    assert!(
        !killed.wait_for(Duration::from_millis(1500)),
        "it ended before it was killed"
    );
    killed.kill();
    let some = judge(sandbox, &["mlflow", &server.url()], false);
    let some = some.as_array().unwrap().len();
    assert!((3..300).contains(&some), "{some} runs after the kill");
    let pushed = home
        .ok(["runs", "push", "greet", "--metadata", &to, "-o", "json"])
        .json();
    let states: BTreeSet<&str> = pushed["pushed"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|run| run["state"].as_str())
        .collect();
    assert!(states.contains("new") && states.contains("already"), "{states:?}");

    let file = sandbox.path().join("history.tgz");
    let _ = home.ok(["export", "greet", "--runs", "all", "--file", text(&file)]);
    let other = greet.trusting(sandbox, "other");
    for _ in 0..2 {
        let _ = other.ok(["import", text(&file)]);
    }
    let runs = other.ok(["runs", "-o", "json"]).json();
    // The run with every field is one of another bundle.
    assert_eq!(runs["runs"].as_array().unwrap().len(), 301);
    let _ = other.ok(["runs", "push", "--metadata", &to]);
    let found = judge(sandbox, &["mlflow", &server.url()], false);
    let found: Vec<&Value> = found
        .as_array()
        .unwrap()
        .iter()
        .filter(|run| run["experiment"] == "greet")
        .collect();
    let ids: BTreeSet<&str> = found
        .iter()
        .filter_map(|run| run["tags"]["samebundle.run"].as_str())
        .collect();
    assert_eq!((found.len(), ids.len()), (300, 300));
    for run in found {
        assert!(run["tags"]["samebundle.content"].is_string(), "{run}");
        assert_eq!(run["status"], "FINISHED");
    }
}

fn a_crate_has_no_error_to_its_validator() {
    let Some(greet) = set_up("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    let _ = home.ok(["run", "greet"]);
    let run = home.ok(["runs", "greet", "-o", "json"]).json()["runs"][0]["id"].clone();
    let rich = rich(&home);
    for id in [run.as_str().unwrap(), &rich.id] {
        let folder = sandbox.path().join(id);
        let _ = home.ok(["runs", "crate", id, "--to", text(&folder)]);
        let judged = judge(&sandbox, &["crate", text(&folder)], false);
        assert_eq!(judged["profile"], "provenance-run-crate");
        assert!(judged["checks"].as_u64().unwrap() > 50, "{judged}");
        assert_eq!(judged["issues"], json!([]), "{id}");
        let described: Value =
            serde_json::from_slice(&std::fs::read(folder.join("ro-crate-metadata.json")).unwrap()).unwrap();
        let graph = described["@graph"].as_array().unwrap();
        // Every link leads to an entity of the crate or to an address.
        let ids: BTreeSet<&str> = graph.iter().filter_map(|entity| entity["@id"].as_str()).collect();
        let mut links = Vec::new();
        graph.iter().for_each(|entity| collect_links(entity, &mut links));
        for link in links {
            assert!(
                ids.contains(link.as_str()) || link.starts_with("http"),
                "{link} is nowhere"
            );
        }
        // What the record has a value for is in the crate.
        let run = record(&home, id);
        let shown = described.to_string();
        let scalars = run
            .scalars()
            .into_values()
            .map(|number| json!(number).to_string());
        let times = [run.started.to_string(), run.finished.unwrap().to_string()];
        let of_tasks = run
            .tasks
            .iter()
            .flat_map(|task| task.started.into_iter().chain(task.finished));
        let wanted = scalars.chain(times).chain(of_tasks.map(|time| time.to_string()));
        for wanted in wanted.chain([run.id.to_string(), run.bundle_digest.to_string()]) {
            assert!(shown.contains(&wanted), "{wanted}");
        }
        assert!(folder.join("samebundle/run.json").is_file());
    }
}

/// The records of an export are crates where they lie in its history.
fn the_crates_in_an_export_have_no_error_to_their_validator() {
    let Some(greet) = set_up("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    let _ = home.ok(["run", "greet"]);
    let run = home.ok(["runs", "greet", "-o", "json"]).json()["runs"][0]["id"].clone();
    let run = run.as_str().unwrap();
    let history = |metadata: &str| {
        let (file, layout) = (format!("{metadata}.tgz"), sandbox.path().join(metadata));
        let _ = home.ok(["export", "greet", "--file", &file, "--metadata", metadata]);
        let _ = home.ok(["copy", &file, &format!("layout:{}", layout.display())]);
        let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
        let mut blobs = blobs.map(|blob| blob.unwrap().path());
        let listed = |blob: &Path| {
            let mut tar = Command::new("tar");
            let listed = tar.arg("-tf").arg(blob).output().unwrap();
            String::from_utf8_lossy(&listed.stdout).into_owned()
        };
        let found = blobs.find(|blob| listed(blob).contains("installation.json"));
        let found = found.expect("the export has a history");
        let files = listed(&found);
        (found, files)
    };
    let (tar, files) = history("all");
    assert!(
        files.contains("ro-crate-metadata.json") && files.contains("log.jsonl"),
        "{files}"
    );
    let folder = sandbox.path().join("history");
    std::fs::create_dir(&folder).unwrap();
    let mut unpack = Command::new("tar");
    let _ = Ran::of(unpack.arg("-xf").arg(tar).arg("-C").arg(&folder)).ok();
    let judged = judge(&sandbox, &["crate", text(&folder.join("runs").join(run))], false);
    assert_eq!(judged["issues"], json!([]));
    let (_, files) = history("records");
    assert!(
        !files.contains("ro-crate-metadata.json") && !files.contains("log.jsonl"),
        "{files}"
    );
    let reader = greet.trusting(&sandbox, "reader");
    for file in ["records.tgz", "all.tgz"] {
        let _ = reader.ok(["import", file]);
    }
}

fn collect_links(value: &Value, links: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let (1, Some(Value::String(link))) = (fields.len(), fields.get("@id")) {
                links.push(link.clone());
            }
            fields.values().for_each(|field| collect_links(field, links));
        }
        Value::Array(list) => list.iter().for_each(|one| collect_links(one, links)),
        _ => {}
    }
}

fn events_are_those_of_openlineage() {
    let Some(greet) = set_up("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    let file = sandbox.path().join("events.jsonl");
    let to = format!("openlineage=file:{}", file.display());
    let _ = home.ok(["run", "greet", "--metadata", &to]);
    let rich = rich(&home);
    let before = std::fs::read_to_string(&file).unwrap();
    // A process that was killed left half a line.
    std::fs::write(&file, format!("{before}{{\"eventTi")).unwrap();
    let _ = home.ok(["runs", "push", "--metadata", &to]);
    let whole = std::fs::read_to_string(&file).unwrap();
    let _ = home.ok(["runs", "push", "--metadata", &to]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole, "nothing twice");
    let events = judge(&sandbox, &["openlineage", text(&file)], false);
    let events = events.as_array().unwrap();
    assert_eq!(events.len(), 6 + 6);
    let of = |job: &str, kind: &str| {
        events
            .iter()
            .find(|event| event["job"]["name"] == job && event["eventType"] == kind)
            .unwrap()
    };
    let end = of("rich bundle", "FAIL");
    assert_eq!(
        end["run"]["facets"]["errorMessage"]["message"],
        json!(rich.message)
    );
    assert_eq!(
        end["run"]["facets"]["samebundle_run"]["parameters"],
        serde_json::to_value(&rich.parameters).unwrap()
    );
    assert_eq!(end["eventTime"], rich.finished.unwrap().to_string());
    let trained = of("rich bundle.train", "COMPLETE");
    assert_eq!(
        trained["run"]["facets"]["parent"]["run"]["runId"],
        end["run"]["runId"]
    );
    let late = of("rich bundle.late", "FAIL");
    let made = trained["outputs"].as_array().unwrap();
    let model = &late["inputs"][0]["name"];
    assert!(
        made.iter().any(|set| set["name"] == *model),
        "the same data has the same name"
    );
}

/// A server that takes one request and returns its head.
fn head_of_a_request(listener: TcpListener) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        let _ =
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        String::from_utf8_lossy(&head).into_owned()
    })
}

fn a_token_goes_to_the_server_and_nowhere_else() {
    let Some(greet) = bundle("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    let _ = home.ok(["run", "greet"]);
    let file = sandbox.path().join("token");
    std::fs::write(&file, "tok-from-file\n").unwrap();
    let token = format!("file:{}", file.display());
    let cases = [
        (
            vec![("MLFLOW_TRACKING_TOKEN", "tok-of-env")],
            vec![],
            "Bearer tok-of-env",
        ),
        (
            vec![
                ("MLFLOW_TRACKING_USERNAME", "me"),
                ("MLFLOW_TRACKING_PASSWORD", "pass-word"),
            ],
            vec![],
            "Basic bWU6cGFzcy13b3Jk",
        ),
        (vec![], vec!["--metadata-token", &token], "Bearer tok-from-file"),
    ];
    for (variables, arguments, wanted) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = format!("mlflow=http://{}", listener.local_addr().unwrap());
        let head = head_of_a_request(listener);
        let mut command = home.command(["-vvv", "runs", "push", "last", "--metadata", &to]);
        command.args(arguments).envs(variables);
        let ran = Ran::of(&mut command).exits(6);
        let head = head.join().unwrap().to_lowercase();
        assert!(
            head.contains(&format!("authorization: {}", wanted.to_lowercase())),
            "{head}"
        );
        let ledger = home.ok(["runs", "last", "-o", "json"]).stdout;
        assert_no_secret(&[ran.stdout, ran.stderr, ledger].concat());
    }
}

fn assert_no_secret(said: &str) {
    for secret in ["tok-of-env", "pass-word", "tok-from-file", "bWU6cGFzcy13b3Jk"] {
        assert!(!said.contains(secret), "{said}");
    }
}

fn a_place_that_is_none_is_refused_before_the_run() {
    let Some(greet) = bundle("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    for (to, why) in [
        ("mlflow=file:/tmp/mlruns", "mlflow server"),
        ("mlflow=sqlite:///mlflow.db", "mlflow server"),
        ("mlflow=http://me:pass-word@127.0.0.1:1", "environment"),
        ("wandb=http://127.0.0.1:1", "openlineage=URL"),
        ("mlflow", "address"),
    ] {
        let ran = home.run(["run", "greet", "--metadata", to]).exits(2);
        assert!(ran.stderr.contains(why), "{to}: {}", ran.stderr);
        assert!(!ran.stderr.contains("pass-word"), "{}", ran.stderr);
    }
    let runs = home.ok(["runs", "-o", "json"]).json();
    assert_eq!(runs["runs"], json!([]), "nothing ran");
}

fn a_place_that_fails_keeps_no_run_from_another() {
    let Some(greet) = bundle("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    // A place that may not be contacted is refused before anything runs, and not remembered.
    let never = "mlflow=http://example.com";
    let ran = home.run(["run", "greet", "--metadata", never]).exits(7);
    assert!(ran.stderr.contains("plain http"), "{}", ran.stderr);
    let _ = home.ok(["run", "greet"]);
    let _ = home.run(["runs", "push", "last", "--metadata", never]).exits(7);
    let nothing = home.ok(["runs", "push"]).stdout;
    assert!(nothing.contains("nothing to send"), "{nothing}");
    assert_eq!(
        home.ok(["runs", "-o", "json"]).json()["runs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let _ = home.ok(["run", "greet"]);
    let away = "mlflow=http://127.0.0.1:1";
    let events = sandbox.path().join("events.jsonl");
    let file = format!("openlineage=file:{}", events.display());
    let both = home
        .run([
            "runs",
            "push",
            "--metadata",
            away,
            "--metadata",
            &file,
            "-o",
            "json",
        ])
        .exits(7);
    let report: Value = serde_json::from_str(both.stdout.trim()).unwrap();
    let pushed = report["pushed"].as_array().unwrap();
    assert_eq!(pushed.len(), 4, "{report}");
    for one in pushed {
        let failed = one["to"] == away;
        assert_eq!(one["failed"].is_string(), failed, "{one}");
        assert_eq!(one["state"] == "new", !failed, "{one}");
    }
    let again = home.run(["runs", "push"]).exits(7);
    assert!(again.stderr.contains("--forget"), "{}", again.stderr);
    let forgotten = home.ok(["runs", "push", "--forget", away, "-o", "json"]).json();
    assert_eq!(forgotten["forgotten"].as_array().unwrap().len(), 2, "{forgotten}");
    let nothing = home.ok(["runs", "push", "-o", "json"]).json();
    assert_eq!(nothing["pushed"], json!([]));
}

fn a_crate_lies_alone_in_its_folder() {
    let Some(greet) = bundle("metadata") else { return };
    let sandbox = Sandbox::new();
    let home = installed(greet, &sandbox);
    let run = || {
        home.ok(["run", "greet", "-o", "json"]).json()["run"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (first, second) = (run(), run());
    let folder = sandbox.path().join("crate");
    let _ = home.ok(["runs", "crate", &first, "--to", text(&folder)]);
    let refused = home
        .run(["runs", "crate", &second, "--to", text(&folder)])
        .exits(9);
    assert!(
        refused.stderr.contains(&format!("the crate of run {first}")),
        "{}",
        refused.stderr
    );
    let _ = home.ok(["runs", "crate", &first, "--to", text(&folder)]);
    let other = sandbox.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("mine.txt"), "mine").unwrap();
    let refused = home.run(["runs", "crate", &first, "--to", text(&other)]).exits(9);
    assert!(refused.stderr.contains("mine.txt"), "{}", refused.stderr);
    // Outputs come beside what is there, which is named.
    let wrote = home.ok(["outputs", &first, "--to", text(&other)]).stdout;
    assert!(wrote.contains("not of this run: mine.txt"), "{wrote}");
}
