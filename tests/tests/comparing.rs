//! Runs beside each other: the list with its metrics, what differs between runs, and the logs without the executor's own
//! lines.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use samebundle_tests::{Home, Ran, Running, Sandbox, Test, greet, skip, tests};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    runs_are_listed_with_what_was_measured,
    runs_are_compared_from_what_went_in_to_what_came_out,
    curves_words_and_what_is_no_number_are_shown_as_they_are,
    logs_are_what_the_program_said,
    the_logs_of_a_run_of_another_process_are_followed,
    a_failure_says_its_exception_every_time,
    what_is_not_there_is_answered_with_what_is
];

const NO_IMAGE: &str = "comparing: the busybox image was not made (tests/setup/images)";

/// What the component does: it prints as the KFP executor does, measures, writes a model, and may fail as Python does.
const SCRIPT: &str = r#"
echo "[KFP Executor 2026-11-27 21:03:58,824 INFO]: Got executor_input:"
printf '{\n    "inputs": {\n        "parameterValues": {}\n    }\n}\n'
i=0; while [ $i -lt $0 ]; do i=$((i+1)); echo "epoch $i"; sleep $1; done
if [ "$2" = yes ]; then
    printf 'Traceback (most recent call last):\n  File "x.py", line 3, in <module>\nValueError: no rows\n' >&2
    i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo "cleaning up $i"; done
    exit 1
fi
mkdir -p "$(dirname "$3")" "$(dirname "$4")"
echo "weights after $0" > "$3"
echo "{\"artifacts\": {\"metrics\": {\"artifacts\": [{\"name\": \"m\", \"metadata\": {\"accuracy\": 0.$0, \"loss\": 2.5}}]}}}" > "$4"
echo "[KFP Executor 2026-11-27 21:04:02,001 INFO]: Wrote executor output file to $4."
"#;

fn pipeline(script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        r#"components:
  comp-train:
    executorLabel: exec-train
    inputDefinitions:
      parameters:
        epochs: {{parameterType: NUMBER_INTEGER}}
        pause: {{parameterType: STRING}}
        fail: {{parameterType: STRING}}
    outputDefinitions:
      artifacts:
        metrics: {{artifactType: {{schemaTitle: system.Metrics, schemaVersion: 0.0.1}}}}
        model: {{artifactType: {{schemaTitle: system.Model, schemaVersion: 0.0.1}}}}
deploymentSpec:
  executors:
    exec-train:
      container:
        image: busybox:1
        command: [sh, -c, {script}]
        args:
        - "{{{{$.inputs.parameters['epochs']}}}}"
        - "{{{{$.inputs.parameters['pause']}}}}"
        - "{{{{$.inputs.parameters['fail']}}}}"
        - "{{{{$.outputs.artifacts['model'].path}}}}"
        - "{{{{$.outputs.output_file}}}}"
pipelineInfo: {{name: fit}}
root:
  dag:
    tasks:
      train:
        componentRef: {{name: comp-train}}
        inputs:
          parameters:
            epochs: {{componentInputParameter: epochs}}
            pause: {{componentInputParameter: pause}}
            fail: {{componentInputParameter: fail}}
        taskInfo: {{name: train}}
  inputDefinitions:
    parameters:
      epochs: {{defaultValue: 3.0, isOptional: true, parameterType: NUMBER_INTEGER}}
      pause: {{defaultValue: '0', isOptional: true, parameterType: STRING}}
      fail: {{defaultValue: 'no', isOptional: true, parameterType: STRING}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"#
    )
}

const MANIFEST: &str = "\
apiVersion: samebundle.dev/v1
kind: Program
name: fit
version: 1.0.0
program:
  pipeline: pipeline.yaml
images:
  busybox:1: {from: \"layout:images/busybox\"}
";

/// A home and the folder of the program.
struct Bench {
    _sandbox: Sandbox,
    folder: PathBuf,
    home: Home,
}

impl Bench {
    fn new() -> Option<Self> {
        let greet = greet()?;
        let sandbox = Sandbox::new();
        let folder = greet.sources(&sandbox);
        std::fs::write(folder.join("samebundle.yaml"), MANIFEST).unwrap();
        std::fs::write(folder.join("pipeline.yaml"), pipeline(SCRIPT)).unwrap();
        let _ = std::fs::remove_file(folder.join("pipeline.py"));
        Some(Self {
            home: sandbox.home("home"),
            _sandbox: sandbox,
            folder,
        })
    }

    fn try_run(&self, options: &str) -> Ran {
        let folder = self.folder.to_str().unwrap();
        let words = ["run", folder].into_iter();
        self.home.run(words.chain(options.split_whitespace()))
    }

    fn run(&self, options: &str) {
        let _ = self.try_run(options).ok();
    }

    fn ok(&self, line: &str) -> String {
        self.home.ok(line.split_whitespace()).stdout
    }

    fn json(&self, line: &str) -> Value {
        let line = format!("{line} --output json");
        self.home.ok(line.split_whitespace()).json()
    }
}

fn shorts(report: &Value) -> Vec<String> {
    let runs = report["runs"].as_array().unwrap().iter();
    runs.map(|run| run["short"].as_str().unwrap().to_owned())
        .collect()
}

fn epochs(report: &Value) -> Vec<i64> {
    let runs = report["runs"].as_array().unwrap().iter();
    runs.map(|run| run["parameters"]["epochs"].as_i64().unwrap())
        .collect()
}

fn runs_are_listed_with_what_was_measured() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    for options in ["--epochs=3", "--epochs=7", "--epochs=5", "--epochs=1 --fail=yes"] {
        let _ = bench.try_run(options);
    }
    let report = bench.json("runs");
    assert_eq!(epochs(&report), [1, 5, 7, 3], "newest first");
    let newest = &report["runs"][1];
    assert_eq!(newest["metrics"]["train.metrics.accuracy"], 0.5);
    assert_eq!(newest["changed"], serde_json::json!(["epochs"]));
    assert!(
        newest["outputs"]["train.model"]["digests"][0].is_string(),
        "{newest}"
    );
    assert_eq!(report["metrics"][0]["short"], "accuracy");
    let size = serde_json::to_string_pretty(newest).unwrap().lines().count();
    assert!(size < 80, "{size} lines a run");
    // Everything that the list shows names the run again.
    for (short, run) in shorts(&report).iter().zip(report["runs"].as_array().unwrap()) {
        assert!(short.len() < 10, "{short}");
        for text in [short.to_lowercase(), run["id"].as_str().unwrap()[..25].to_owned()] {
            assert_eq!(bench.json(&format!("runs {text}"))["runs"][0]["id"], run["id"]);
            assert_eq!(bench.json(&format!("outputs {text}"))["run"], run["id"]);
        }
    }
    for (line, wanted) in [
        ("runs --sort metrics.accuracy", &[3, 5, 7, 1][..]),
        ("runs --sort -metrics.accuracy", &[7, 5, 3, 1]),
        ("runs --sort parameters.epochs", &[1, 3, 5, 7]),
        ("runs --sort started", &[3, 7, 5, 1]),
        ("runs --status failed", &[1]),
        ("runs --status succeeded --last 2", &[5, 7]),
        ("runs --where epochs>=5", &[5, 7]),
        ("runs --where accuracy<0.6 --where epochs!=3", &[5]),
        ("runs --program fit --since 1h --last 1", &[1]),
        ("runs --since 2100-01-01T00:00:00Z", &[]),
        ("runs fit --sort -duration --last 0", &[]),
    ] {
        assert_eq!(epochs(&bench.json(line)), wanted, "{line}");
    }
    let table = bench.ok("runs fit --metrics loss");
    let header = table.lines().next().unwrap();
    assert!(
        header.contains("LOSS") && !header.contains("ACCURACY") && !header.contains("PROGRAM"),
        "{table}"
    );
    assert!(table.contains("epochs=5") && table.contains("2.5"), "{table}");
    assert!(!table.contains('\u{1b}'), "a pipe has no colours");
    let one = bench.ok("runs last");
    assert!(
        one.contains("ValueError: no rows") && one.contains("EXIT CODE"),
        "{one}"
    );
    for (line, says) in [
        ("runs --sort metrics.accurac", "did you mean accuracy?"),
        ("runs --sort nothing", "there are"),
        ("runs --metrics los", "the runs have no metric los"),
        ("runs --where epochs", "is no condition"),
        ("runs --status broken", "it is one of running, succeeded"),
    ] {
        let ran = bench.home.run(line.split(' ')).exits(2);
        assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
    }
}

fn names(report: &Value, section: &str) -> Vec<String> {
    let all = report[section].as_array().unwrap().iter();
    all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn runs_are_compared_from_what_went_in_to_what_came_out() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    for epochs in [3, 3, 7] {
        bench.run(&format!("--epochs={epochs}"));
    }
    let ids = shorts(&bench.json("runs"));
    let (seven, same, first) = (&ids[0], &ids[1], &ids[2]);
    let text = bench.ok(&format!("diff {first} {same} --exit-code"));
    assert!(text.ends_with("\nequal: all 2 outputs are the same\n"), "{text}");
    let report = bench.json(&format!("diff {first} fit"));
    assert_eq!(
        (&report["equal"], &report["compared"]),
        (&false.into(), &2.into())
    );
    assert_eq!(names(&report, "parameters"), ["epochs"]);
    assert_eq!(report["parameters"][0]["values"], serde_json::json!([3, 7]));
    assert_eq!(names(&report, "outputs"), ["train.metrics", "train.model"]);
    assert_eq!(names(&report, "metrics"), ["train.metrics.accuracy"]);
    assert!((report["metrics"][0]["difference"].as_f64().unwrap() - 0.4).abs() < 1e-9);
    assert!(report["code"].as_array().unwrap().is_empty() && report["bundle"].as_array().unwrap().is_empty());
    let differing = bench.home.run(["diff", first, seven, "--exit-code"]).exits(1);
    assert!(
        differing.stdout.contains("not equal: 2 of 2 outputs differ"),
        "{}",
        differing.stdout
    );
    assert!(differing.stdout.contains("+0.4"), "{}", differing.stdout);
    let _ = bench.home.run(["diff", first, seven]).exits(0);

    // Another program of the same name: its code is named, and shown where it is Python.
    let changed = pipeline(&SCRIPT.replace("weights after", "parameters after"));
    std::fs::write(bench.folder.join("pipeline.yaml"), changed).unwrap();
    bench.run("--epochs=3");
    let report = bench.json(&format!("diff {first} {same} last"));
    assert_eq!(report["runs"].as_array().unwrap().len(), 3);
    assert_eq!(names(&report, "outputs"), ["train.model"]);
    assert_eq!(names(&report, "bundle"), ["digest"]);
    assert_eq!(report["code"][0]["component"], "comp-train");
    assert_eq!(report["code"][0]["parts"], serde_json::json!(["command"]));

    // A run that failed is compared as far as it came, and never called equal.
    let _ = bench.try_run("--epochs=3 --fail=yes").exits(3);
    let _ = bench.try_run("--epochs=3 --fail=yes").exits(3);
    let ids = shorts(&bench.json("runs --status failed"));
    let failed = bench.home.run(["diff", &ids[0], &ids[1], "--exit-code"]).exits(1);
    assert!(failed.stdout.contains("it cannot be told"), "{}", failed.stdout);
    assert!(failed.stdout.contains("not compared: run"), "{}", failed.stdout);
    let _ = bench.home.run(["diff", &ids[0], &ids[0]]).exits(2);
    let _ = bench.home.run(["diff", &ids[0]]).exits(2);
}

/// The component logs what is no number, a word, and a curve whose area follows from the epochs.
fn with_curves() -> String {
    let curves = r#"\"loss\": NaN, \"name\": \"resnet\"}}]}, \"curves\": {\"artifacts\": [{\"name\": \"c\", \"metadata\": {\"confidenceMetrics\": [{\"confidenceThreshold\": 0.9, \"falsePositiveRate\": 0.0, \"recall\": 0.$0}, {\"confidenceThreshold\": 0.1, \"falsePositiveRate\": 1.0, \"recall\": 1.0}]}}]}}}"#;
    let script = SCRIPT.replace(r#"\"loss\": 2.5}}]}}}"#, curves);
    let metrics = "        metrics: {artifactType";
    let curves =
        "        curves: {artifactType: {schemaTitle: system.ClassificationMetrics, schemaVersion: 0.0.1}}";
    pipeline(&script).replace(metrics, &format!("{curves}\n{metrics}"))
}

fn curves_words_and_what_is_no_number_are_shown_as_they_are() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    std::fs::write(bench.folder.join("pipeline.yaml"), with_curves()).unwrap();
    for epochs in [3, 7, 7] {
        bench.run(&format!("--epochs={epochs}"));
    }
    let ids = shorts(&bench.json("runs"));
    let (again, seven, three) = (&ids[0], &ids[1], &ids[2]);
    let differing = bench.ok(&format!("diff {three} {seven}"));
    for wanted in ["ROC area 0.65", "ROC area 0.85", "ACCURACY"] {
        let there = differing.to_uppercase().contains(&wanted.to_uppercase());
        assert!(there, "{wanted}: {differing}");
    }
    assert!(!differing.contains("confidenceMetrics"), "{differing}");
    let report = bench.json(&format!("diff {three} {seven}"));
    assert_eq!(
        names(&report, "metrics"),
        ["train.metrics.accuracy"],
        "NaN is NaN"
    );
    let same = bench.ok(&format!("diff {seven} {again} --exit-code"));
    assert!(
        same.contains("equal: all 3 outputs") && !same.contains("METRICS"),
        "{same}"
    );

    for line in ["outputs", "runs last"] {
        let text = bench.ok(line);
        assert!(text.contains("loss=NaN name=\"resnet\""), "{line}: {text}");
        assert!(
            text.contains("ROC area 0.85") && !text.contains("only metadata"),
            "{line}: {text}"
        );
    }
    let report = bench.json("runs");
    assert_eq!(report["runs"][0]["metrics"]["train.metrics.loss"], "NaN");
    for (line, wanted) in [
        ("runs --where loss>0", &[][..]),
        ("runs --where loss<=0", &[]),
        ("runs --where loss=nan", &[7, 7, 3]),
        ("runs --where loss!=0", &[7, 7, 3]),
        ("runs --where accuracy<inf", &[7, 7, 3]),
        ("runs --where accuracy>2 --metrics accuracy", &[]),
    ] {
        assert_eq!(epochs(&bench.json(line)), wanted, "{line}");
    }
    let page = bench.folder.join("page.html");
    let _ = bench.ok(&format!(
        "show last --html {} --compare {seven},{three}",
        page.display()
    ));
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains(three) && page.contains(seven));
    let page = bench.folder.join("page.html");
    let _ = bench.ok(&format!("show last --html {}", page.display()));
    assert!(std::fs::read_to_string(&page).unwrap().contains("resnet"));
}

fn logs_are_what_the_program_said() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    let ran = bench.try_run("--epochs=3").ok();
    assert!(
        ran.stderr.contains("train | epoch 3") && !ran.stderr.contains("KFP Executor"),
        "{}",
        ran.stderr
    );
    let said = "train | epoch 1\ntrain | epoch 2\ntrain | epoch 3\n";
    assert_eq!(bench.ok("logs"), said);
    assert_eq!(bench.ok("logs fit --task train"), said);
    assert_eq!(bench.ok("logs --tail 1"), "train | epoch 3\n");
    assert_eq!(bench.ok("logs --since 1h"), said);
    assert_eq!(bench.ok("logs --since 2100-01-01T00:00:00Z"), "");
    assert_eq!(bench.ok("logs -f"), said, "it has ended");
    let all = bench.ok("logs -v");
    assert!(
        all.contains("Got executor_input") && all.contains("parameterValues"),
        "{all}"
    );
    let report = bench.json("logs");
    assert_eq!(report["hidden"], 7);
    assert!(report["log"][0]["time"].is_string(), "{report}");
}

fn the_logs_of_a_run_of_another_process_are_followed() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    bench.run("--epochs=1");
    let mut command = bench.home.command(["run", "fit", "--epochs=20", "--pause=0.1"]);
    let going = Running::of(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let start = Instant::now();
    while bench.json("runs")["runs"][0]["status"] != "running" {
        assert!(start.elapsed() < Duration::from_secs(60), "no run began");
        std::thread::sleep(Duration::from_millis(50));
    }
    let followed = bench.home.run(["logs", "-f"]).ok();
    assert!(
        followed.stdout.ends_with("train | epoch 20\n"),
        "{}",
        followed.stdout
    );
    assert_eq!(followed.stdout.lines().count(), 20, "{}", followed.stdout);
    assert!(followed.stderr.contains("succeeded"), "{}", followed.stderr);
    let _ = going.finish().ok();
}

/// Standard output and standard error are two pipes, whose lines arrive in any order.
fn a_failure_says_its_exception_every_time() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    for _ in 0..6 {
        let ran = bench.try_run("--epochs=2 --fail=yes --output json").exits(3);
        let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("\n    ValueError: no rows\n"), "{message}");
        assert!(
            message.contains("cleaning up 40") && !message.contains("parameterValues"),
            "{message}"
        );
        assert!(!message.contains("\\n"), "{message}");
    }
    let ran = bench.try_run("--epochs=2 --fail=yes").exits(3);
    assert!(
        ran.stderr.contains("\n    ValueError: no rows\n"),
        "{}",
        ran.stderr
    );
}

fn what_is_not_there_is_answered_with_what_is() {
    let Some(bench) = Bench::new() else {
        return skip(NO_IMAGE);
    };
    let refused = |line: &str, code: i32, says: &str| {
        let ran = bench.home.run(line.split(' ')).exits(code);
        assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
    };
    for line in ["logs", "outputs", "diff last fit"] {
        refused(line, 5, "there are no runs yet; `run NAME` makes one");
    }
    assert!(bench.ok("runs").contains("there are no runs yet"));
    bench.run("--epochs=1");
    let short = shorts(&bench.json("runs"))[0].clone();
    let slip = format!(
        "{}{}",
        &short[..short.len() - 1],
        if short.ends_with('Z') { 'Y' } else { 'Z' }
    );
    refused(&format!("logs {slip}"), 5, &format!("did you mean {short}?"));
    refused(
        "logs --task trian",
        5,
        "(did you mean train?); its tasks are train",
    );
    refused("logs --task trian", 5, "has no task");
    refused("runs fot", 5, "(did you mean fit?)");
    refused("show fot", 5, "(did you mean fit?)");
    refused("logs nothing", 5, "there is no run nothing; `runs` lists them");
}
