//! The test pipelines of kubeflow/pipelines, each run by the command as a person runs it, in containers without a network.
//!
//! What upstream says of a file decides: it must succeed, fail or be rejected. Of the others, those that
//! `docs/compatibility.md` names end as it says, and all that it does not name succeed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use samebundle_spec::pipeline::{Need, ParameterType, Pipeline};
use samebundle_tests::{DockerEngine, Home, Ran, Sandbox, Test, image, skip, tell, tests, vectors};
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests![the_corpus_ends_as_upstream_says];

/// The exit codes of `run`: the machine lacks what is wanted, the pipeline was refused, the program failed, it succeeded.
const NOT_HERE: i32 = 10;
const REJECTED: i32 = 1;
const FAILED: i32 = 3;
const SUCCEEDED: i32 = 0;

/// A file of the corpus.
struct Case {
    /// Its path in the corpus.
    file: String,
    /// What upstream says of it.
    verdict: String,
    /// What `kfp.local` makes of it.
    local: String,
}

impl Case {
    fn read(line: &str) -> Self {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        Self {
            file: next(),
            verdict: next(),
            local: next(),
        }
    }

    /// The exit code with which it has to end.
    fn wanted(&self, named: &BTreeMap<String, String>) -> i32 {
        match self.verdict.as_str() {
            "succeeds" => SUCCEEDED,
            "fails" => FAILED,
            "rejected" => REJECTED,
            _ => match named.get(&self.file).map(String::as_str) {
                Some("fails") => FAILED,
                Some("refused") => REJECTED,
                Some("not here") => NOT_HERE,
                Some(other) => panic!("{}: {other:?} is no end", self.file),
                None => SUCCEEDED,
            },
        }
    }
}

/// The files that `docs/compatibility.md` names: rows of `| file | ends | why |`.
fn named() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(samebundle_tests::repository().join("docs/compatibility.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned()))
        .collect()
}

fn sample(parameter_type: ParameterType) -> Value {
    match parameter_type {
        ParameterType::Double => json!(0.5),
        ParameterType::Integer => json!(7),
        ParameterType::String => json!("word"),
        ParameterType::Boolean => json!(true),
        ParameterType::List => json!(["one", "two"]),
        ParameterType::Struct | ParameterType::TaskFinalStatus | ParameterType::TaskConfig => json!({"a": 1}),
    }
}

/// Makes the folder of a program of one file. Every image is one of the two that the tests have.
fn project(folder: &Path, text: &str, pipeline: Option<&Pipeline>, python: &Path, busybox: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("pipeline.yaml"), text).unwrap();
    let mut manifest = "apiVersion: samebundle.dev/v1\nkind: Program\nname: corpus\nversion: 0.1.0\n\
         program: {pipeline: pipeline.yaml}\n"
        .to_owned();
    let images = pipeline.map(Pipeline::images).unwrap_or_default();
    for (number, image) in images.iter().enumerate() {
        if number == 0 {
            manifest.push_str("images:\n");
        }
        let small =
            ["alpine", "busybox"].iter().any(|name| image.contains(name)) && !image.contains("python");
        let layout = if small { busybox } else { python };
        writeln!(manifest, "  {image:?}: {{from: \"layout:{}\"}}", layout.display()).unwrap();
    }
    std::fs::write(folder.join("samebundle.yaml"), manifest).unwrap();
}

/// The value of a secret's key: what upstream's own cluster has there (`backend/test/end2end/pipeline_e2e_test.go`).
fn secret(need: &Need) -> &'static str {
    let is = |variable: &str| need.variables.contains(variable);
    match () {
        () if is("USER_NAME") => "user1",
        () if is("PASSWORD_VAR1") => "psw1",
        () if is("PASSWORD_VAR2") => "psw2",
        () => "canary",
    }
}

/// Upstream's tests put the SDK of the same commit into what they run. These files need more than the SDK that they name.
const NEEDS_LATER_SDK: &[&str] = &["valid/essential/embedded_artifact.yaml"];
const LATER_SDK: [&str; 2] = ["kfp==2.14.3", "kfp==2.17.0"];
/// What sleeps for minutes sleeps for a second.
const NAPS: [[&str; 2]; 2] = [
    ["sleep 300", "sleep 1"],
    ["defaultValue: 900.0", "defaultValue: 1.0"],
];

/// What upstream's test of its local runner states (`sdk/python/test/local_execution/local_execution_test.py`): the
/// arguments, and what the pipeline returns with them.
const STATED: &[(&str, &[&str], &[&str])] = &[
    ("valid/critical/add_numbers.yaml", &["a=5", "b=5"], &["10"]),
    ("valid/critical/flip_coin.yaml", &[], &["\"heads\"", "\"tails\""]),
    (
        "valid/essential/concat_message.yaml",
        &["message1=Hello ", "message2=World!"],
        &["\"Hello World!\""],
    ),
    ("valid/identity.yaml", &["value=test_value"], &["\"test_value\""]),
    (
        "valid/nested_return.yaml",
        &[],
        &[r#"[{"A_a":"1","B_b":"2"},{"A_a":"10","B_b":"20"}]"#],
    ),
    (
        "valid/essential/component_with_env_variable.yaml",
        &["var_name=KFP_TEST_ENV_VAR"],
        &["\"env_var_value\""],
    ),
    (
        "valid/local_execution/pipeline_with_collected_artifacts.yaml",
        &[],
        &["\"0,1,2\""],
    ),
    (
        "valid/local_execution/local_execution_pipeline_with_oneof.yaml",
        &["pick_a=true"],
        &["\"selected:A\""],
    ),
];

/// The parameter of the model that upstream's cluster has in a registry of its own.
const MODEL: &str = "model_uri";

/// Makes a model with the files of upstream's.
fn model(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    std::fs::create_dir_all(&model).unwrap();
    let json = [
        "added_tokens",
        "config",
        "generation_config",
        "normalizer",
        "preprocessor_config",
    ];
    let more = ["special_tokens_map", "tokenizer", "tokenizer_config", "vocab"];
    let names = json.iter().chain(&more).map(|name| format!("{name}.json"));
    for name in names.chain(["merges.txt".to_owned(), "model.safetensors".to_owned()]) {
        std::fs::write(model.join(name), "{}").unwrap();
    }
    model
}

/// The words that give a pipeline what is stated, and what it has no default for.
fn given(folder: &Path, pipeline: &Pipeline, stated: &[&str]) -> Vec<String> {
    let is_stated = |name: &str| stated.iter().any(|word| word.split('=').next() == Some(name));
    let words = stated.iter().flat_map(|word| ["-p", *word]);
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    for input in pipeline
        .inputs()
        .into_iter()
        .filter(|input| !input.optional && input.default.is_none() && !is_stated(&input.name))
    {
        let value = input
            .literals
            .first()
            .cloned()
            .unwrap_or_else(|| sample(input.parameter_type));
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        words.extend(["-p".to_owned(), format!("{}={text}", input.name)]);
    }
    let artifacts = pipeline.root.inputs.artifacts.iter();
    for (name, _) in artifacts.filter(|(_, spec)| !spec.optional) {
        let path = folder.join(format!("input-{name}"));
        std::fs::write(&path, "content").unwrap();
        words.extend(["-p".to_owned(), format!("{name}={}", path.display())]);
    }
    if pipeline.inputs().iter().any(|input| input.name == MODEL) {
        words.extend(["-p".to_owned(), format!("{MODEL}={}", model(folder).display())]);
    }
    let needs = pipeline.needs();
    for (number, (name, need)) in needs.secrets.iter().enumerate() {
        let path = folder.join(format!("secret-{number}"));
        match &need.key {
            Some(_) => std::fs::write(&path, secret(need)).unwrap(),
            None => {
                std::fs::create_dir_all(&path).unwrap();
                std::fs::write(path.join("username"), "user1").unwrap();
            }
        }
        words.extend([
            "--credential".to_owned(),
            format!("{name}=file:{}", path.display()),
        ]);
    }
    for (name, need) in &needs.config_maps {
        let value = if need.key.is_some() {
            "word".to_owned()
        } else {
            json!({"key": "word"}).to_string()
        };
        words.extend(["-p".to_owned(), format!("{name}={value}")]);
    }
    words
}

/// The words that run one file, whose program is made in `folder`.
fn words(case: &Case, folder: &Path, text: &str, (python, busybox): (&Path, &Path)) -> Vec<String> {
    let pipeline = Pipeline::parse("pipeline.yaml", text.as_bytes()).ok();
    project(folder, text, pipeline.as_ref(), python, busybox);
    let mut words = vec!["run".to_owned(), folder.to_str().unwrap().to_owned()];
    let stated = STATED.iter().find(|(file, ..)| *file == case.file);
    let stated = stated.map_or(&[][..], |(_, arguments, _)| *arguments);
    words.extend(
        pipeline
            .iter()
            .flat_map(|pipeline| given(folder, pipeline, stated)),
    );
    words
}

/// What the last run of the home has given: every output of every task by name, files by their digests.
fn outputs(home: &Home) -> Value {
    home.run(["outputs", "last", "--output", "json"]).json()["outputs"].take()
}

fn cases(root: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(root.join("expected.tsv")).unwrap();
    let cases = text.lines().skip(1).map(Case::read);
    cases.filter(|case| root.join(&case.file).is_file()).collect()
}

/// How a line of the table says it.
fn word(code: i32) -> String {
    match code {
        SUCCEEDED => "succeeded".to_owned(),
        FAILED => "failed".to_owned(),
        REJECTED => "refused".to_owned(),
        NOT_HERE => "not here".to_owned(),
        other => format!("exit {other}"),
    }
}

/// How often a file is run again to see whether its outputs vary: a coin falls on the same side so often once in 1,000 times.
const COINS: usize = 10;

/// Where the files run: on the embedded driver, and once more in a Docker engine if there is one.
struct Places<'a> {
    home: &'a Home,
    engine: Option<&'a DockerEngine>,
}

impl Places<'_> {
    /// Runs it again in Docker. What differs there is returned, unless it differs from run to run.
    fn docker(&self, words: &[String], code: i32, expected: &Value) -> Result<&'static str, String> {
        let Some(engine) = self.engine else {
            return Ok("-");
        };
        let again = [words, &["--no-cache".to_owned()]].concat();
        let mut command = self.home.command(&again);
        command
            .env("DOCKER_HOST", engine.address())
            .env("SAME_ENVIRONMENT", "docker");
        let ran = Ran::of(&mut command);
        if ran.code != code {
            let last = ran.stderr.lines().last().unwrap_or_default();
            return Err(format!("{} in Docker: {last}", word(ran.code)));
        }
        let there = outputs(self.home);
        if there == *expected {
            return Ok("equal");
        }
        // What gives another answer now and then, as a coin does, cannot be compared.
        let varies = (0..COINS).any(|_| {
            let _ = self.home.run(&again);
            outputs(self.home) != *expected
        });
        if !varies {
            return Err(format!("other outputs in Docker: {there}, and here {expected}"));
        }
        Ok("varies")
    }

    /// Runs one file in all places, prints its line, and returns what is wrong with it.
    fn check(&self, case: &Case, words: &[String], wanted: i32) -> (Result<(), String>, Duration) {
        let began = Instant::now();
        let ran = self.home.run(words);
        let took = began.elapsed();
        let (right, docker) = if ran.code == wanted {
            self.compare(case, words, &ran)
        } else {
            let last: Vec<&str> = ran.stderr.lines().rev().take(6).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            let why = format!("{}:\n  {}", word(ran.code), last.join("\n  "));
            (Err(why), "-")
        };
        tell(&format!(
            "{:<78} {:<9} {:<10} {:>5.1} s  docker: {:<6} kfp.local: {}{}",
            case.file,
            case.verdict,
            word(ran.code),
            took.as_secs_f64(),
            docker,
            case.local,
            if right.is_ok() { "" } else { "  WRONG" },
        ));
        (right, took)
    }

    /// What it gave is what upstream states, and what it gives in Docker.
    fn compare(&self, case: &Case, words: &[String], ran: &Ran) -> (Result<(), String>, &'static str) {
        if ![SUCCEEDED, FAILED].contains(&ran.code) {
            return (Ok(()), "-");
        }
        let given = outputs(self.home);
        for (_, _, answers) in STATED.iter().filter(|(file, ..)| *file == case.file) {
            let answer = given["Output"].to_string();
            if !answers.contains(&answer.as_str()) {
                return (Err(format!("gave {given}, and upstream states {answers:?}")), "-");
            }
        }
        match self.docker(words, ran.code, &given) {
            Ok(word) => (Ok(()), word),
            Err(why) => (Err(why), "other"),
        }
    }
}

/// The text of a file, without what only upstream's cluster has.
fn text(root: &Path, case: &Case) -> String {
    let mut text = std::fs::read_to_string(root.join(&case.file)).unwrap_or_default();
    if NEEDS_LATER_SDK.contains(&case.file.as_str()) {
        text = text.replace(LATER_SDK[0], LATER_SDK[1]);
    }
    for [long, short] in NAPS {
        text = text.replace(long, short);
    }
    text
}

fn the_corpus_ends_as_upstream_says() {
    let Some(root) = vectors("kfp") else {
        return skip("corpus: SAMEBUNDLE_VECTORS is not set");
    };
    let (Some(python), Some(busybox)) = (image("python"), image("busybox")) else {
        return skip("corpus: the base images were not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = sandbox.home("home");
    let engine = DockerEngine::start(&sandbox)
        .inspect_err(|why| tell(&format!("corpus: {why}")))
        .ok();
    let places = Places {
        home: &home,
        engine: engine.as_ref(),
    };
    let named = named();
    let (mut wrong, mut ours, mut theirs, mut must) = (String::new(), 0, 0, 0);
    let mut spent = Duration::ZERO;
    for (number, case) in cases(&root).iter().enumerate() {
        let folder = sandbox.path().join(format!("program-{number}"));
        let words = words(case, &folder, &text(&root, case), (&python, &busybox));
        let (right, took) = places.check(case, &words, case.wanted(&named));
        if case.verdict == "succeeds" {
            must += 1;
            spent += took;
            ours += usize::from(right.is_ok());
            theirs += usize::from(case.local == "ok");
        }
        if let Err(why) = right {
            writeln!(wrong, "{}: {why}", case.file).unwrap();
        }
    }
    tell(&format!(
        "must succeed: {ours} of {must} here, {theirs} with kfp.local; {:.0} s with their builds",
        spent.as_secs_f64()
    ));
    assert!(must > 0, "no file of the corpus must succeed");
    assert!(wrong.is_empty(), "{wrong}");
}
