use std::collections::BTreeMap;
use std::path::Path;

use samebundle_spec::Digest;
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::record::{Classification, ConfusionMatrix, Metrics, OutputRecord, RocPoint, TaskRecord};
use serde_json::{Value, json};

use super::*;

fn classification() -> Classification {
    let point = |across, along| RocPoint {
        threshold: None,
        false_positive_rate: across,
        true_positive_rate: along,
    };
    Classification {
        confusion: Some(ConfusionMatrix {
            labels: vec!["cat".to_owned(), "<b>dog".to_owned()],
            rows: vec![vec![8.0, 2.0], vec![1.0, 9.0]],
        }),
        roc: vec![point(0.0, 0.0), point(0.1, 0.8), point(1.0, 1.0)],
    }
}

#[test]
fn a_figure_is_a_document_of_its_own() {
    let figure = figure(&Metrics::Classification(classification()), "evaluate <i>").unwrap();
    for part in [
        "<!DOCTYPE html>",
        "<title>evaluate &lt;i&gt;</title>",
        "&lt;b&gt;dog",
        "--h:48%",
        "17 of 20",
        "<path",
        "0.8500",
    ] {
        assert!(figure.contains(part), "no {part} in {figure}");
    }
    assert!(!figure.contains("<script") && !figure.contains("<b>dog"));
    let sliced = Metrics::Slices(vec![("age: young".to_owned(), classification())]);
    assert!(super::figure(&sliced, "x").unwrap().contains("Slice age: young"));
    assert!(super::figure(&Metrics::Scalars(BTreeMap::new()), "x").is_none());
}

#[test]
fn numbers_have_the_digits_that_count() {
    let cases = [
        (0.0, "0"),
        (0.97222, "0.9722"),
        (0.012345, "0.01235"),
        (3.25, "3.25"),
        (123.4567, "123.5"),
        (98765.4, "98765.4"),
        (30.0, "30"),
        (-0.5, "-0.5"),
        (1.5e-9, "1.500e-9"),
    ];
    for (number, shown) in cases {
        assert_eq!(text::number(number), shown);
    }
    assert_eq!(text::bytes(1536), "1.5 KiB");
    assert_eq!(text::duration(3.21), "3.2 s");
    assert_eq!(text::duration(75.0), "1 min 15 s");
}

/// Text that breaks out of elements, attributes, styles and comments where nothing escapes it.
const HOSTILE: &str = "</title></style></pre>--><script>alert(1)</script><img src=http://h.example/x onerror=alert(1)>\"' onload=x a='";

fn artifact(artifact_type: &str, path: Option<&str>, metadata: Value) -> Value {
    json!({"artifactType": artifact_type, "size": 7, "path": path, "metadata": metadata})
}

/// A run of which every field that may hold any text holds this one.
fn run_of(text: &str, status: &str) -> Run {
    let matrix = json!({"annotationSpecs": [{"displayName": text}, {"displayName": "b"}], "rows": [{"row": [1, 2]}, {"row": [3, 4]}]});
    let roc = json!([
        {"confidenceThreshold": 1.0, "falsePositiveRate": 0.0, "recall": 0.0},
        {"confidenceThreshold": 0.0, "falsePositiveRate": 1.0, "recall": 1.0},
    ]);
    let classes = json!({"confusionMatrix": matrix, "confidenceMetrics": roc});
    let slices = json!({"evaluationSlices": [{"slice": text, "sliceClassificationMetrics": classes}]});
    let outputs = json!({
        text: {"value": text},
        "metrics": {"artifacts": [artifact("system.Metrics", None, json!({text: 0.5}))]},
        "classes": {"artifacts": [artifact("system.ClassificationMetrics", None, classes)]},
        "slices": {"artifacts": [artifact("system.SlicedClassificationMetrics", None, slices)]},
        "html": {"artifacts": [artifact("system.HTML", Some("page"), json!({text: text}))]},
        "markdown": {"artifacts": [artifact("system.Markdown", Some("page"), json!({}))]},
        "table": {"artifacts": [artifact("system.Dataset", Some("table"), json!({}))]},
        "text": {"artifacts": [artifact(text, Some("text"), json!({}))]},
        "gone": {"artifacts": [artifact("system.Model", Some(text), json!({}))]},
    });
    let task = |name: &str, status: &str| {
        json!({
            "name": name, "status": status, "attempts": 2, "exitCode": 1, "inputs": {text: {"value": text}},
            "started": "2026-11-27T21:00:00Z", "finished": "2026-11-27T21:00:05Z", "outputs": outputs,
        })
    };
    let mut run = json!({
        "format": "1.0", "id": "0".repeat(26), "installation": "churn", "action": text, "bundle": text, "version": "1.0.0",
        "bundleDigest": Digest::sha256(b""), "verification": {"by": "signature", "keys": [text], "scope": text, "sequence": 1},
        "driver": text, "status": status, "message": text, "started": "2026-11-27T21:00:00Z",
        "parameters": {text: {"value": text, "setBy": "run"}, "token": {"value": "s3cret", "setBy": "run", "secret": true}},
        "tasks": [task(text, status), task(&format!("{text}/inner"), "succeeded"), task("last", "skipped")],
        "outputs": {text: {"value": text}}, "importedWith": Digest::sha256(b"x"),
    });
    if status != "running" {
        run["finished"] = json!("2026-11-27T21:01:00Z");
    }
    serde_json::from_value(run).unwrap()
}

fn shown(run: Run, text: &str, folder: &Path) -> Known {
    for name in ["page", "text"] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let cell = text.replace('"', "\"\"");
    std::fs::write(folder.join("table"), format!("\"{cell}\",b\n\"{cell}\",2\n")).unwrap();
    let event = json!({
        "sequence": 2, "time": "2026-11-27T21:00:01Z", "event": "task-finished", "task": text, "attempt": 1, "status": "failed",
        "message": text,
    });
    let began = json!({"sequence": 1, "time": "2026-11-27T21:00:00Z", "event": "task-started", "task": text, "attempt": 1});
    let line =
        |task: &str| serde_json::from_value(json!({"task": task, "line": text, "stderr": true})).unwrap();
    Known {
        run,
        events: vec![
            serde_json::from_value(began).unwrap(),
            serde_json::from_value(event).unwrap(),
        ],
        log: vec![line(text), line("no task")],
        pipeline: None,
        folder: folder.to_owned(),
        now: "2026-11-27T21:02:00Z".parse().unwrap(),
    }
}

/// Checks that a page holds only elements and attributes that it makes itself, and no address of anything outside.
fn assert_harmless(page: &str) {
    const ELEMENTS: &str = "a body br caption circle code dd details div dl dt figcaption figure footer g h1 h2 h3 h4 head header html \
         i iframe img li line main meta nav p path pre rect section span strong style summary svg table tbody td text th thead \
         time title tr ul";
    let elements: Vec<&str> = ELEMENTS.split(' ').collect();
    for tag in page.split('<').skip(1) {
        let (inside, _) = tag.split_once('>').unwrap();
        let name: String = inside.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(
            elements.contains(&name.as_str()) || inside.starts_with('/') || inside == "!DOCTYPE html",
            "<{inside}>"
        );
        // Values stand in double quotes; what is between them are names.
        for (at, part) in inside.split('"').enumerate() {
            let names = || part.split_whitespace().filter(|_| at % 2 == 0);
            assert!(
                names().all(|name| !name.to_ascii_lowercase().starts_with("on")),
                "<{inside}>"
            );
            let value = inside.split('"').nth(at + 1).unwrap_or_default();
            match names().next_back() {
                Some("src=") => assert!(value.starts_with("data:image/"), "<{inside}>"),
                Some("href=") => assert!(value.starts_with('#'), "<{inside}>"),
                _ => {}
            }
        }
    }
}

#[test]
fn text_of_strangers_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    for status in [
        "succeeded",
        "failed",
        "running",
        "cancelled",
        "interrupted",
        "skipped",
    ] {
        let one = shown(run_of(HOSTILE, status), HOSTILE, folder.path());
        let page = page(std::slice::from_ref(&one));
        assert_harmless(&page);
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(!page.contains("s3cret") && page.contains("secret: not kept"));
        assert_harmless(&super::page(&[one.clone(), one]));
    }
    let metrics = run_of(HOSTILE, "failed").tasks[1].outputs["classes"].clone();
    let OutputRecord::Artifacts(artifacts) = metrics else {
        panic!("{metrics:?}")
    };
    assert_harmless(&figure(&artifacts[0].metrics().unwrap(), HOSTILE).unwrap());
}

#[test]
fn a_failure_stands_first_and_each_state_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let page = |status| page(&[shown(run_of("plain", status), "plain", folder.path())]);
    let failed = page("failed");
    let (alarm, metrics) = (
        failed.find("The run failed").unwrap(),
        failed.find("id=\"metrics\"").unwrap(),
    );
    assert!(alarm < metrics, "the message stands before everything else");
    assert!(failed.contains("imported with the bundle") && failed.contains("not here: it was removed"));
    for (status, said) in [
        ("running", "The run goes on"),
        ("cancelled", "was cancelled"),
        ("interrupted", "was killed"),
        ("skipped", "nothing was done"),
    ] {
        assert!(page(status).contains(said), "{status}");
    }
}

#[test]
fn a_run_without_tasks_has_its_log_and_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run_of("plain", "succeeded");
    run.tasks.clear();
    let mut one = shown(run, "hello", folder.path());
    one.events.clear();
    let page = page(&[one]);
    assert!(page.contains("hello") && !page.contains("id=\"tasks\""), "{page}");
    assert_harmless(&page);
}

#[test]
fn runs_side_by_side_say_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let one = shown(run_of("plain", "succeeded"), "plain", folder.path());
    let mut other = one.clone();
    assert!(page(&[one.clone(), other.clone()]).contains("All outputs are equal."));
    let parameter = other.run.parameters.get_mut("plain").unwrap();
    parameter.value = Some(json!("other"));
    other
        .run
        .outputs
        .insert("plain".to_owned(), OutputRecord::Value(json!(2)));
    let page = page(&[one, other]);
    assert!(
        page.contains("Some outputs are equal, and some differ."),
        "{page}"
    );
    let parameters = &page[page.find("id=\"parameters\"").unwrap()..];
    assert!(
        parameters.find("differs").unwrap() < parameters.find("equal").unwrap(),
        "what differs comes first"
    );
    assert_eq!(page.matches("<path").count() % 2, 0, "a curve for each run");
}

/// The same file with other numbers beside it is another output, to a page as to `diff`.
#[test]
fn numbers_that_differ_are_no_equal_output() {
    let folder = tempfile::tempdir().unwrap();
    let measured = |accuracy: f64| {
        let mut one = shown(run_of("plain", "succeeded"), "plain", folder.path());
        let mut artifact = one.run.tasks[0]
            .outputs
            .values()
            .find_map(|output| output.artifacts().first())
            .unwrap()
            .clone();
        artifact.artifact_type = "system.Metrics".to_owned();
        artifact.digest = Some(samebundle_spec::Digest::sha256(b""));
        artifact.metadata = [("accuracy".to_owned(), json!(accuracy))].into();
        one.run.tasks.clear();
        one.run.outputs = [("metrics".to_owned(), OutputRecord::Artifacts(vec![artifact]))].into();
        one
    };
    assert!(page(&[measured(0.5), measured(0.5)]).contains("All outputs are equal."));
    assert!(page(&[measured(0.5), measured(0.6)]).contains("No output is equal in all runs."));
}

#[test]
fn a_page_is_not_larger_than_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = shown(run_of("plain", "succeeded"), "plain", folder.path());
    // Three pictures of nearly the largest size that one file may have, in each of three tasks.
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    picture.resize(usize::try_from(limits::PAGE_FILE_BYTES).unwrap(), 0);
    std::fs::write(folder.path().join("picture"), &picture).unwrap();
    for (number, task) in one.run.tasks.iter_mut().enumerate() {
        for nth in 0..3 {
            let picture = artifact(&format!("picture {number} {nth}"), Some("picture"), json!({}));
            let picture = OutputRecord::Artifacts(vec![serde_json::from_value(picture).unwrap()]);
            task.outputs.insert(format!("picture-{nth}"), picture);
        }
    }
    let page = page(&[one]);
    assert!(page.len() < limits::PAGE_BYTES + (1 << 20), "{}", page.len());
    assert!(page.contains("too large for this page") && page.contains("data:image/png"));
}

#[test]
fn the_graph_has_layers_and_frames_and_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = shown(run_of("plain", "succeeded"), "plain", folder.path());
    let task = |name: String, reads: &[String]| -> TaskRecord {
        let artifact = |path: &str| json!({"artifacts": [artifact("system.Dataset", Some(path), json!({}))]});
        let inputs: BTreeMap<&String, Value> = reads.iter().map(|path| (path, artifact(path))).collect();
        let outputs = json!({"out": artifact(&name)});
        serde_json::from_value(
            json!({"name": name, "status": "succeeded", "attempts": 1, "inputs": inputs, "outputs": outputs}),
        )
        .unwrap()
    };
    let mut tasks: Vec<TaskRecord> = (0..300)
        .map(|n| {
            task(
                format!("t{n}"),
                &if n < 3 {
                    vec![]
                } else {
                    vec![format!("t{}", n / 3)]
                },
            )
        })
        .collect();
    tasks.push(task("dag".to_owned(), &[]));
    tasks.push(task("dag/a".to_owned(), &["t1".to_owned()]));
    tasks.push(task("dag/b".to_owned(), &["dag/a".to_owned()]));
    one.run.tasks = tasks;
    let edges = graph::of_record(&one.run);
    assert_eq!(edges["t299"].iter().collect::<Vec<_>>(), ["t99"]);
    assert_eq!(
        edges["dag"].iter().collect::<Vec<_>>(),
        ["t1"],
        "what is read inside is waited for outside"
    );
    assert_eq!(edges["dag/b"].iter().collect::<Vec<_>>(), ["dag/a"]);
    let drawing = graph::draw(&one.run, &edges, |name| Some(format!("task-{name}"))).into_string();
    assert_eq!(drawing.matches("class=\"node succeeded\"").count(), 302);
    assert_eq!(drawing.matches("class=\"group\"").count(), 1);
    assert_eq!(drawing.matches("class=\"edge\"").count(), 299);
    let width: f64 = drawing
        .split("width=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(width < 2_000.0, "{width}");
    // A circle, which no pipeline has, ends as well.
    let circle: graph::Edges = [("a", "b"), ("b", "a")]
        .map(|(to, from)| (to.to_owned(), [from.to_owned()].into()))
        .into();
    let _ = graph::draw(&one.run, &circle, |_| None);
}

/// A run with a loop of so many items, of which number 7 failed.
fn with_a_loop(items: usize, folder: &Path) -> Known {
    let mut one = shown(run_of("plain", "failed"), "plain", folder);
    let task = |name: String, status: &str, items: Option<usize>| -> TaskRecord {
        let task = json!({"name": name, "status": status, "attempts": 1, "items": items});
        serde_json::from_value(task).unwrap()
    };
    one.run.tasks = vec![task("each".to_owned(), "failed", Some(items))];
    for item in 0..items {
        let status = if item == 7 { "failed" } else { "succeeded" };
        one.run.tasks.push(task(format!("each/{item}"), status, None));
        one.run.tasks.push(task(format!("each/{item}/a"), status, None));
    }
    one.run.tasks.push(task("never".to_owned(), "skipped", None));
    one
}

#[test]
fn a_loop_with_many_items_is_one_box_and_names_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = |items| {
        let one = with_a_loop(items, folder.path());
        graph::draw(&one.run, &graph::of_record(&one.run), |name| {
            Some(format!("task-{name}"))
        })
        .into_string()
    };
    let few = drawn(3);
    assert_eq!(
        few.matches("class=\"node ").count(),
        4,
        "an item each, and the branch that was not taken"
    );
    assert!(!few.contains("class=\"loops\""));
    let many = drawn(200);
    assert_eq!(many.matches("class=\"node ").count(), 2);
    assert!(many.contains("200 items, 1 failed"), "{many}");
    assert!(
        many.contains("200 items, 199 succeeded, 1 failed: <a href=\"#task-each/7\">7 failed</a>"),
        "{many}"
    );
    let most = drawn(5_000);
    assert!(
        most.contains("5000 items, 1 failed"),
        "more than can be drawn are one box as well"
    );
}

/// What is in a loop stands below each item that began, and not beside them as well.
#[test]
fn a_loop_is_drawn_item_by_item() {
    let pipeline = json!({
        "pipelineInfo": {"name": "p"}, "schemaVersion": "2.1.0",
        "components": {
            "item": {"dag": {"tasks": {
                "a": {"componentRef": {"name": "c"}},
                "b": {"componentRef": {"name": "c"}, "dependentTasks": ["a"]}}}},
            "c": {"executorLabel": "e"}},
        "deploymentSpec": {"executors": {"e": {"container": {"image": "i"}}}},
        "root": {"dag": {"tasks": {"each": {
            "componentRef": {"name": "item"},
            "parameterIterator": {"itemInput": "x", "items": {"raw": "[1, 2]"}}}}}},
    });
    let pipeline = Pipeline::parse("p.yaml", pipeline.to_string().as_bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut one = shown(run_of("plain", "succeeded"), "plain", folder.path());
    one.run.tasks.clear();
    let before = graph::of_pipeline(&pipeline, &one.run);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["each", "each/a", "each/b"]);
    let task =
        |name: &str| serde_json::from_value(json!({"name": name, "status": "succeeded", "attempts": 1}));
    let names = ["each", "each/0", "each/0/a", "each/1"];
    one.run.tasks = names.iter().map(|name| task(name).unwrap()).collect();
    let edges = graph::of_pipeline(&pipeline, &one.run);
    let inside = ["each", "each/0/a", "each/0/b", "each/1/a", "each/1/b"];
    assert_eq!(edges.keys().collect::<Vec<_>>(), inside);
    assert_eq!(edges["each/1/b"].iter().collect::<Vec<_>>(), ["each/1/a"]);
}
