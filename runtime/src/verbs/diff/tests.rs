use samebundle_spec::record::{ArtifactRecord, OutputRecord, ParameterRecord, SetBy, TaskRecord};
use samebundle_spec::{Digest, Timestamp};

use super::*;
use crate::record::testing::started;

fn artifact(digest: Option<&[u8]>, kind: &str, metadata: Value) -> OutputRecord {
    OutputRecord::Artifacts(vec![ArtifactRecord {
        artifact_type: kind.to_owned(),
        digest: digest.map(Digest::sha256),
        folder: false,
        size: 0,
        path: None,
        uri: None,
        metadata: serde_json::from_value(metadata).unwrap(),
    }])
}

fn run(number: usize, outputs: &[(&str, OutputRecord)]) -> Run {
    let started = started(number);
    let mut run: Run = serde_json::from_value(json!({
        "format": "1.0", "id": started.id, "installation": "digits", "action": "run", "bundle": "digits",
        "version": "1.0.0", "bundleDigest": started.bundle_digest, "verification": started.verification,
        "driver": "embedded", "parameters": {}, "status": "succeeded", "started": "2026-11-27T21:03:58Z",
    }))
    .unwrap();
    let task: TaskRecord = serde_json::from_value(json!({
        "name": "train", "status": "succeeded", "attempts": 1, "image": Digest::sha256(b"image"),
    }))
    .unwrap();
    run.tasks = vec![task];
    let outputs = outputs.iter();
    run.tasks[0].outputs = outputs
        .map(|(name, one)| ((*name).to_owned(), one.clone()))
        .collect();
    run.finished = Some(Timestamp::from_unix(1_795_813_450));
    run
}

fn equal(runs: &[Run]) -> (Option<bool>, Vec<OutputDifference>, Vec<String>) {
    let outputs = Outputs::of(runs);
    let now = std::time::SystemTime::UNIX_EPOCH;
    let summaries = runs
        .iter()
        .map(|run| RunSummary::of(run, run.id.to_string(), now));
    let mut notes = Vec::new();
    let equal = outputs.equal(&summaries.collect::<Vec<_>>(), &mut notes);
    (equal, outputs.differences, notes)
}

#[test]
fn artifacts_are_compared_by_what_says_that_they_are_the_same() {
    let model = |digest: &[u8], note: &str| artifact(Some(digest), "system.Model", json!({"note": note}));
    let metrics = |accuracy: f64| artifact(None, "system.Metrics", json!({"accuracy": accuracy}));
    let outputs = |digest: &[u8], accuracy| [("model", model(digest, "a")), ("metrics", metrics(accuracy))];
    let first = run(1, &outputs(b"m", 0.5));
    assert_eq!(equal(&[first.clone(), run(2, &outputs(b"m", 0.5))]).0, Some(true));
    // What a program says of a file may hold a time; the file is what counts.
    let said = run(2, &[("model", model(b"m", "b")), ("metrics", metrics(0.5))]);
    assert_eq!(equal(&[first.clone(), said]).0, Some(true));
    let (same, differences, _) = equal(&[first.clone(), run(2, &outputs(b"m", 0.6))]);
    assert_eq!(
        (same, differences[0].difference.name.as_str()),
        (Some(false), "train.metrics")
    );
    let (same, differences, _) = equal(&[first.clone(), run(2, &outputs(b"n", 0.5))]);
    assert_eq!(
        (same, differences[0].difference.name.as_str()),
        (Some(false), "train.model")
    );
    // Metrics that have a file are what their metadata says.
    let filed = |accuracy: f64| artifact(Some(b""), "system.Metrics", json!({"accuracy": accuracy}));
    let filed = |number, accuracy| run(number, &[("metrics", filed(accuracy))]);
    assert_eq!(equal(&[filed(1, 0.5), filed(2, 0.6)]).0, Some(false));
}

#[test]
fn nothing_is_called_equal_that_was_not_compared() {
    let value = |value: i64| [("rows", OutputRecord::Value(json!(value)))];
    let whole = run(1, &value(3));
    let mut failed = run(2, &value(3));
    failed.status = RunStatus::Failed;
    let (same, _, notes) = equal(&[whole.clone(), failed.clone()]);
    assert_eq!(same, None);
    assert!(notes[0].contains("failed, so that"), "{notes:?}");
    failed.tasks[0].outputs.clear();
    assert_eq!(equal(&[whole.clone(), failed]).0, Some(false));
    let (same, _, notes) = equal(&[run(1, &[]), run(2, &[])]);
    assert_eq!((same, notes[0].as_str()), (None, "the runs have no outputs"));
    assert_eq!(
        equal(&[whole.clone(), whole.clone(), run(3, &value(4))]).0,
        Some(false)
    );
}

#[test]
fn of_many_numbers_those_that_differ_are_shown() {
    let metrics = |accuracy: f64| {
        let said = json!({"accuracy": accuracy, "loss": "NaN", "name": "resnet", "flag": accuracy > 0.5});
        [("metrics", artifact(None, "system.Metrics", said))]
    };
    let (_, differences, _) = equal(&[run(1, &metrics(0.5)), run(2, &metrics(0.75))]);
    let Some([Shown::Artifact(last)]) = differences[0].shown[1].as_deref() else {
        panic!("{differences:?}")
    };
    let left = Metrics::Scalars([("accuracy".to_owned(), Number(0.75))].into());
    assert_eq!(last.metrics, Some(left));
    assert_eq!(last.remarks, [("flag".to_owned(), json!(true))]);
}

#[test]
fn a_task_that_did_not_begin_has_no_other_image() {
    let whole = run(1, &[]);
    let mut failed = run(2, &[]);
    failed.tasks[0].image = None;
    failed.tasks[0].status = RunStatus::Skipped;
    assert!(images(&[whole.clone(), failed.clone()]).is_empty());
    assert_eq!(status(&[whole.clone(), failed])[0].name, "task train");
    let mut other = run(3, &[]);
    other.tasks[0].image = Some(Digest::sha256(b"another"));
    assert_eq!(images(&[whole, other])[0].name, "train");
}

#[test]
fn parameters_and_metrics_are_compared_by_name() {
    let with = |number, epochs: i64, accuracy: f64| {
        let mut run = run(
            number,
            &[(
                "metrics",
                artifact(None, "system.Metrics", json!({"accuracy": accuracy})),
            )],
        );
        let parameter = |value: Option<Value>| ParameterRecord {
            secret: value.is_none(),
            value,
            set_by: SetBy::Run,
        };
        run.parameters
            .insert("epochs".to_owned(), parameter(Some(json!(epochs))));
        run.parameters
            .insert("seed".to_owned(), parameter(Some(json!(0))));
        run.parameters.insert("token".to_owned(), parameter(None));
        run
    };
    let runs = [with(1, 3, 0.5), with(2, 30, 0.75)];
    let mut notes = Vec::new();
    let differing = parameters(&runs, &mut notes);
    assert_eq!(differing.len(), 1);
    assert_eq!(differing[0].values, [Some(json!(3)), Some(json!(30))]);
    assert!(notes[0].contains("token is secret"), "{notes:?}");
    let now = std::time::SystemTime::UNIX_EPOCH;
    let summaries = runs
        .iter()
        .map(|run| RunSummary::of(run, run.id.to_string(), now));
    let metrics = metrics(&summaries.collect::<Vec<_>>());
    assert_eq!(
        (metrics[0].name.short.as_str(), metrics[0].difference),
        ("accuracy", Some(0.25))
    );
}
