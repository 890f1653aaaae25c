use serde_json::json;

use super::*;

fn example_run() -> Run {
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let run = json!({
        "format": "1.0", "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "installation": "digits", "action": "run", "bundle": "digits",
        "version": "1.0.0", "bundleDigest": empty, "verification": {"by": "consent", "reason": "--allow-unsigned"},
        "driver": "embedded", "parameters": {}, "status": "succeeded", "started": "2026-11-22T05:06:07Z",
    });
    serde_json::from_value(run).unwrap()
}

fn artifact(artifact_type: &str, metadata: Value) -> ArtifactRecord {
    ArtifactRecord {
        artifact_type: artifact_type.to_owned(),
        digest: None,
        folder: false,
        size: 0,
        path: None,
        uri: None,
        metadata: serde_json::from_value(metadata).unwrap(),
    }
}

#[test]
fn numbers_of_metrics_are_scalars_and_the_rest_is_not() {
    let metrics = artifact(
        "system.Metrics",
        json!({"accuracy": 0.9, "epochs": 3, "framework": "x", "ok": true}),
    );
    let wanted = BTreeMap::from([
        ("accuracy".to_owned(), Number(0.9)),
        ("epochs".to_owned(), Number(3.0)),
    ]);
    assert_eq!(metrics.metrics(), Some(Metrics::Scalars(wanted)));
    let remarks: Vec<&str> = metrics.remarks().map(|(name, _)| name.as_str()).collect();
    assert_eq!(remarks, ["framework", "ok"]);
    let nan = artifact("system.Metrics", json!({"loss": "NaN", "best": "-Infinity"})).metrics();
    let Some(Metrics::Scalars(nan)) = nan else {
        panic!("none were read")
    };
    assert_eq!(nan["loss"], Number(f64::NAN));
    assert_eq!(nan["best"], Number(f64::NEG_INFINITY));
    assert_ne!(nan["loss"], Number(0.0));
    assert_eq!(json!(nan), json!({"loss": "NaN", "best": "-Infinity"}));
    assert_eq!(artifact("system.Model", json!({"accuracy": 0.9})).metrics(), None);
    assert_eq!(artifact("system.Metrics", json!({})).metrics(), None);
}

#[test]
fn a_confusion_matrix_is_read_as_the_sdk_and_as_the_metadata_store_write_it() {
    let plain = json!({"annotationSpecs": [{"displayName": "cat"}, {"displayName": "dog"}],
                       "rows": [{"row": [3, 1]}, {"row": [0, 4.0]}]});
    for matrix in [plain.clone(), json!({"struct": plain})] {
        let read = artifact("system.ClassificationMetrics", json!({"confusionMatrix": matrix})).metrics();
        let Some(Metrics::Classification(read)) = read else {
            panic!("{matrix}")
        };
        let read = read.confusion.unwrap();
        assert_eq!(read.labels, ["cat", "dog"]);
        assert_eq!(read.rows, [[3.0, 1.0], [0.0, 4.0]]);
    }
}

#[test]
fn a_matrix_that_is_not_square_is_none() {
    let cases = [
        json!({"annotationSpecs": [{"displayName": "cat"}], "rows": []}),
        json!({"annotationSpecs": [{"displayName": "cat"}], "rows": [{"row": [1, 2]}]}),
        json!({"annotationSpecs": [{"displayName": 1}], "rows": [{"row": [1]}]}),
        json!({"annotationSpecs": [], "rows": []}),
        json!("none"),
    ];
    for matrix in cases {
        let read = artifact("system.ClassificationMetrics", json!({"confusionMatrix": matrix})).metrics();
        assert_eq!(read, None, "{matrix}");
    }
}

#[test]
fn a_curve_has_an_area_whatever_the_order_of_its_points() {
    let points = |points: &[(f64, f64)]| {
        let points = points.iter();
        let points =
            points.map(|(x, y)| json!({"confidenceThreshold": 0.5, "falsePositiveRate": x, "recall": y}));
        json!({"confidenceMetrics": {"list": points.collect::<Vec<_>>()}})
    };
    let area = |of: &[(f64, f64)]| match artifact("system.ClassificationMetrics", points(of)).metrics() {
        Some(Metrics::Classification(read)) => read.area_under_curve(),
        _ => None,
    };
    assert_eq!(area(&[(0.0, 0.0), (1.0, 1.0)]), Some(0.5));
    assert_eq!(area(&[(1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]), Some(1.0));
    assert_eq!(area(&[(0.0, 0.0)]), None);
}

#[test]
fn slices_are_classifications_by_name() {
    let slices = json!({"evaluationSlices": [{"slice": "old", "sliceClassificationMetrics": {
        "confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": [2]}]}}}]});
    let Some(Metrics::Slices(slices)) = artifact("system.SlicedClassificationMetrics", slices).metrics()
    else {
        panic!("none were read")
    };
    assert_eq!(slices[0].0, "old");
    assert_eq!(slices[0].1.confusion.as_ref().unwrap().rows, [[2.0]]);
}

#[test]
fn every_output_of_every_task_has_a_name_and_a_task_that_holds_others_has_none() {
    let mut run = example_run();
    let metrics = artifact("system.Metrics", json!({"accuracy": 0.9}));
    let metrics = OutputRecord::Artifacts(vec![metrics]);
    let mut task = TaskRecord::new("group/train");
    task.outputs.insert("metrics".to_owned(), metrics.clone());
    task.outputs
        .insert("loss".to_owned(), OutputRecord::Value(json!(0.1)));
    let mut group = TaskRecord::new("group");
    group.outputs.insert("metrics".to_owned(), metrics.clone());
    run.tasks = vec![group, task];
    run.outputs = BTreeMap::from([("returned".to_owned(), metrics)]);
    let names = |outputs: BTreeMap<String, &OutputRecord>| outputs.into_keys().collect::<Vec<_>>();
    assert_eq!(
        names(run.all_outputs()),
        ["group/train.loss", "group/train.metrics", "returned"]
    );
    assert_eq!(names(run.distinct_outputs()), ["group/train.loss", "returned"]);
    let scalars = run.scalars();
    assert_eq!(scalars["group/train.metrics.accuracy"], Number(0.9));
    assert_eq!(scalars["group/train.loss"], Number(0.1));
    assert_eq!(scalars.len(), 2);
}

#[test]
fn names_are_as_short_as_they_can_be() {
    let names = [
        "train.metrics.loss",
        "test.metrics.loss",
        "test.metrics.accuracy",
        "count",
    ];
    let short = short_names(names);
    assert_eq!(short["train.metrics.loss"], "train.metrics.loss");
    assert_eq!(short["test.metrics.accuracy"], "accuracy");
    assert_eq!(short["count"], "count");
    assert!(ends_with("a.bc", "bc") && !ends_with("a.bc", "c") && ends_with("a.bc", "a.bc"));
}
