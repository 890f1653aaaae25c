//! Tests over whole files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Pipeline, PipelineError};

const HELLO: &str = r#"
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions:
      parameters:
        text: {parameterType: STRING}
        times: {parameterType: NUMBER_INTEGER, defaultValue: 1.0, isOptional: true, literals: [1, 2, 3]}
    outputDefinitions:
      parameters:
        said: {parameterType: STRING}
      artifacts:
        log: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
  comp-read:
    executorLabel: exec-say
    inputDefinitions:
      artifacts:
        log: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
      parameters:
        text: {parameterType: STRING, isOptional: true}
        count: {parameterType: NUMBER_INTEGER, isOptional: true}
    outputDefinitions:
      parameters:
        said: {parameterType: STRING}
deploymentSpec:
  executors:
    exec-say:
      container:
        image: alpine
        command: [echo, "{{$.inputs.parameters['text']}}"]
pipelineInfo: {name: hello}
root:
  inputDefinitions:
    parameters:
      word: {parameterType: STRING}
      number: {parameterType: NUMBER_DOUBLE, defaultValue: 2.0}
  outputDefinitions:
    parameters:
      result: {parameterType: STRING}
  dag:
    outputs:
      parameters:
        result: {valueFromParameter: {producerSubtask: say, outputParameterKey: said}}
    tasks:
      say:
        componentRef: {name: comp-say}
        cachingOptions: {enableCache: true}
        inputs:
          parameters:
            text: {componentInputParameter: word}
            times: {runtimeValue: {constant: 2.0}}
      read:
        componentRef: {name: comp-read}
        dependentTasks: [say]
        inputs:
          artifacts:
            log: {taskOutputArtifact: {producerTask: say, outputArtifactKey: log}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.6
"#;

/// What is wrong with HELLO after a change: the faults, one a line, without the file's name.
fn verdict(from: &str, to: &str) -> String {
    assert!(HELLO.contains(from), "{from:?} is not in the file");
    let text = HELLO.replacen(from, to, 1);
    match Pipeline::parse("f", text.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(pipeline) => match pipeline.check() {
            Ok(()) => String::new(),
            Err(faults) => faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        },
    }
}

#[test]
fn a_sound_pipeline_has_no_faults_and_tells_about_itself() {
    assert_eq!(verdict("hello", "hello"), "");
    let pipeline = Pipeline::parse("f", HELLO.as_bytes()).unwrap();
    assert_eq!(pipeline.notes, []);
    assert_eq!(pipeline.unsupported(), []);
    assert_eq!(pipeline.images().into_iter().collect::<Vec<_>>(), ["alpine"]);
    let inputs = pipeline.inputs();
    assert_eq!(inputs[0].name, "number");
    assert_eq!(inputs[0].default.as_ref().unwrap().to_string(), "2.0");
    assert!(inputs[0].optional && !inputs[1].optional);
    assert_eq!(pipeline.outputs()[0].name, "result");
}

/// A change to [`HELLO`], from and to, and what is then wrong.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "componentRef: {name: comp-say}",
        "componentRef: {name: comp-sai}",
        "f:46:30: task say: component \"comp-sai\" does not exist; did you mean \"comp-say\"?",
    ),
    (
        "executorLabel: exec-say",
        "executorLabel: exec-x",
        "f:4:20: task say: executor \"exec-x\" does not exist; name an executor of the file",
    ),
    (
        "dependentTasks: [say]",
        "dependentTasks: [sy]",
        "f:54:26: task read: task \"sy\" does not exist in the same DAG; did you mean \"say\"?",
    ),
    (
        "text: {componentInputParameter: word}",
        "text: {componentInputParameter: wrod}",
        "f:50:19: task say: the pipeline has no input parameter \"wrod\"; did you mean \"word\"?",
    ),
    (
        "            text: {componentInputParameter: word}\n",
        "",
        "f:46:9: task say: required input \"text\" (STRING) has no value; give it a value, or make it optional",
    ),
    (
        "times: {runtimeValue: {constant: 2.0}}",
        "times: {componentInputParameter: number}",
        "f:51:20: task say: input \"times\" is a NUMBER_INTEGER and is given a NUMBER_DOUBLE; give it a value of its \
          type, or change the type of the one or the other",
    ),
    (
        "constant: 2.0",
        "constant: two",
        "f:51:20: task say: constant of input \"times\": \"two\" is not a NUMBER_INTEGER; give a constant of the \
          declared type",
    ),
    (
        "constant: 2.0",
        "constant: 9",
        "f:51:20: task say: constant 9 of input \"times\" is none of its literals; use one of 1, 2, 3",
    ),
    (
        "defaultValue: 1.0",
        "defaultValue: 1.5",
        "f:8:16: default of input \"times\" of component \"comp-say\": 1.5 is not a NUMBER_INTEGER; give a default of \
          the declared type",
    ),
    (
        "outputArtifactKey: log",
        "outputArtifactKey: logs",
        "f:57:78: task read: task \"say\" has no output artifact \"logs\"; did you mean \"log\"?",
    ),
    (
        "outputParameterKey: said",
        "outputParameterKey: sad",
        "f:43:81: task say: task \"say\" has no output parameter \"sad\"; did you mean \"said\"?",
    ),
    (
        "parameters['text']",
        "parameters['txet']",
        "f:30:25: task read: a placeholder names input parameter \"txet\", which the component does not have; did you mean \
             \"text\"?\nf:30:25: task say: a placeholder names input parameter \"txet\", which the component does not have; did \
             you mean \"text\"?",
    ),
    (
        "componentRef: {name: comp-say}\n",
        "componentRef: {name: comp-say}\n        dependentTasks: [read]\n",
        "f:54:9: task read: it waits for itself: read -> say -> read; remove one of these dependencies",
    ),
    (
        "times: {runtimeValue: {constant: 2.0}}",
        "tims: {runtimeValue: {constant: 2.0}}",
        "f:51:19: task say: component \"comp-say\" has no input parameter \"tims\"; did you mean \"times\"?",
    ),
    (
        "times: {runtimeValue: {constant: 2.0}}",
        "times: {runtimeValue: {constant: 2.0}, componentInputParameter: x}",
        "f:51:20: input \"times\" of task \"say\" has not exactly one source; take it from a constant, an input of the \
          component or an output of a task",
    ),
    (
        "name: hello",
        "name: Hello",
        "f:31:22: \"Hello\" is no name for a pipeline; use small letters, digits and '-', a letter or digit first, at \
          most 128 bytes",
    ),
    (
        "schemaVersion: 2.1.0",
        "schemaVersion: 3.0.0",
        "f:58:16: \"schemaVersion\" is \"3.0.0\"; versions 2.0 and 2.1 are read; compile the pipeline with the kfp SDK 2",
    ),
    (
        "      say:\n",
        "      ../say:\n",
        "f:45:7: \"../say\" is no name for a task; use letters, digits, '-', '_' and '.', a letter or digit first",
    ),
    (
        "        said: {parameterType: STRING}",
        "        ../said: {parameterType: STRING}",
        "f:11:9: \"../said\" is no name for one of the outputs of component \"comp-say\"; use a name without '/' and \
         control characters, at most 255 bytes",
    ),
    (
        "sdkVersion: kfp-2.14.6",
        "schemaVersion: 2.1.0",
        "f:59:1: not a valid YAML document: duplicate mapping key: schemaVersion; compile the pipeline again",
    ),
];

#[test]
fn every_fault_is_named_with_its_place_and_a_remedy() {
    let mut wrong = String::new();
    for (from, to, wanted) in FAULTS {
        let got = verdict(from, to);
        if got != *wanted {
            writeln!(wrong, "{to:?}\n  wanted {wanted}\n  got    {got}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_the_engine_does_not_do_yet_is_named() {
    let list = |from: &str, to: &str| {
        let text = HELLO.replacen(from, to, 1);
        let pipeline = Pipeline::parse("f", text.as_bytes()).unwrap();
        let list = pipeline.unsupported();
        list.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        list("container:\n        image: alpine", "customJob:\n        x: y"),
        "f:28:7: task read needs an executor of kind \"customJob\", which is not supported yet\n\
         f:28:7: task say needs an executor of kind \"customJob\", which is not supported yet"
    );
}

#[test]
fn a_job_holds_a_pipeline_and_its_values_and_json_is_read_too() {
    let pipeline =
        r#"{"schemaVersion": "2.1.0", "pipelineInfo": {"name": "p"}, "root": {"dag": {"tasks": {}}}}"#;
    let text =
        format!(r#"{{"pipelineSpec": {pipeline}, "runtimeConfig": {{"parameterValues": {{"a": 1}}}}}}"#);
    let job = Pipeline::parse("f.json", text.as_bytes()).unwrap();
    assert_eq!(job.parameter_values["a"], 1);
    assert_eq!(job.name.value, "p");
    let snake = pipeline
        .replace("schemaVersion", "schema_version")
        .replace("pipelineInfo", "pipeline_info");
    assert_eq!(Pipeline::parse("f", snake.as_bytes()).unwrap().name.value, "p");
}

#[test]
fn hostile_documents_are_refused() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let merge = "a: &a {b: 1}\nc: {<<: *a}\n";
    for text in [
        &deep,
        bomb,
        merge,
        "a: [",
        "a: .inf",
        "- 1",
        "",
        "# nothing\n",
        "a: 1\na: 2",
    ] {
        let error = Pipeline::parse("f", text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("f:"), "{error}");
    }
    let error = Pipeline::parse("f", b"a: b\nc: \xff").unwrap_err();
    assert!(
        matches!(error, PipelineError::NotText { .. }) && error.position().to_string() == "2:4",
        "{error}"
    );
}

/// Every field of a pipeline taken away, or made something else: an answer, never a panic.
#[test]
fn no_change_of_a_line_makes_it_panic() {
    let lines: Vec<&str> = HELLO.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let key = line.split(':').next().unwrap_or_default();
        for with in [
            String::new(),
            format!("{key}:"),
            format!("{key}: 1"),
            format!("{key}: [x]"),
            format!("{key}: {{y: 1}}"),
        ] {
            let mut changed = lines.clone();
            changed[index] = &with;
            if let Ok(pipeline) = Pipeline::parse("f", changed.join("\n").as_bytes()) {
                let _ = pipeline.check();
                pipeline.unsupported();
                pipeline.inputs();
                pipeline.outputs();
            }
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
        {
            found.push(path);
        }
    }
}

/// Upstream's verdict by file, from the folder's index.
fn verdicts(root: &Path) -> Vec<(String, String)> {
    let Ok(text) = fs::read_to_string(root.join("expected.tsv")) else {
        return Vec::new();
    };
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?.to_owned(), columns.next()?.to_owned()))
    });
    rows.collect()
}

#[test]
fn corpus_of_compiled_pipelines() {
    let Some(root) = crate::vectors::folder("kfp") else {
        return;
    };
    let mut found = Vec::new();
    files(&root, &mut found);
    assert!(!found.is_empty(), "no pipelines under {}", root.display());
    let verdicts = verdicts(&root);
    let mut wrong = 0;
    for path in &found {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let stated = verdicts
            .iter()
            .find(|(file, _)| *file == name)
            .map(|(_, verdict)| verdict.as_str());
        let rejected = stated == Some("rejected") || name.starts_with("invalid/");
        let wanted = if rejected { "rejected" } else { "accepted" };
        let faults = match Pipeline::parse(&name, &fs::read(path).unwrap()) {
            Err(error) => error.to_string(),
            Ok(pipeline) => {
                let faults = pipeline.check().err().unwrap_or_default();
                faults
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" | ")
            }
        };
        let placed = faults.strip_prefix(&format!("{name}:")).is_some_and(|rest| {
            let mut numbers = rest.split(':').take(2);
            numbers.all(|number| number.parse::<u32>().is_ok_and(|number| number > 0))
        });
        let got = if faults.is_empty() { "accepted" } else { "rejected" };
        println!("{name}: wanted {wanted}, got {got} {faults}");
        wrong += usize::from(got != wanted || (rejected && !placed));
    }
    assert_eq!(
        wrong,
        0,
        "{wrong} of {} pipelines have another verdict",
        found.len()
    );
}

/// HELLO with a platform spec whose executor `exec-say` has these options.
fn on_kubernetes(options: &str) -> String {
    format!(
        "{HELLO}---\nplatforms:\n  kubernetes:\n    deploymentSpec:\n      executors:\n        exec-say: {{{options}}}\n"
    )
}

#[test]
fn what_is_said_to_kubernetes_is_named_by_its_source() {
    let text = on_kubernetes(
        "secretAsEnv: [{secretName: db, keyToEnv: [{secretKey: password, envVar: PW}]}, {secretNameParameter: \
         {componentInputParameter: word}, keyToEnv: [{secretKey: user, envVar: U}], optional: true}, \
         {secret_name_parameter: {task_output_parameter: {producer_task: other, output_parameter_key: name}}, keyToEnv: \
         [{secretKey: k, envVar: K}]}], configMapAsVolume: [{configMapName: number, mountPath: /etc/c}], pvcMount: \
         [{constant: shared, mountPath: /data/}], nodeSelector: {labels: {a: b}}, activeDeadlineSeconds: '60', later: 1",
    );
    let pipeline = Pipeline::parse("f", text.as_bytes()).unwrap();
    let needs = pipeline.needs();
    let names: Vec<&String> = needs.secrets.keys().collect();
    assert_eq!(names, ["db.password", "other.name.k", "word.user"]);
    assert!(needs.secrets["db.password"].required && !needs.secrets["word.user"].required);
    assert!(needs.secrets["db.password"].variables.contains("PW"));
    // A parameter of the pipeline has the name already.
    assert_eq!(needs.config_maps.keys().collect::<Vec<_>>(), ["number-2"]);
    assert_eq!(needs.volumes["shared"].life, crate::pipeline::VolumeLife::Kept);
    assert_eq!(needs.uses["say"].len(), 4);
    assert!(!needs.workspace);
    assert_eq!(pipeline.kubernetes.pods["exec-say"].deadline_seconds, Some(60));
    assert_eq!(pipeline.kubernetes.pods["exec-say"].claims[0].path, "/data");
    assert_eq!(pipeline.unsupported(), []);
    let notes = pipeline.placement_notes();
    assert!(
        notes[0].to_string().contains("a node selector has no meaning"),
        "{}",
        notes[0]
    );
    assert!(
        pipeline.notes[0].to_string().contains("field \"later\""),
        "{}",
        pipeline.notes[0]
    );
}

#[test]
fn what_is_said_to_kubernetes_wrongly_is_refused_with_its_place() {
    for (options, wanted) in [
        (
            "secretAsVolume: [{secretName: a, mountPath: etc}]",
            "is no absolute path",
        ),
        (
            "secretAsVolume: [{secretName: a, mountPath: /a/../b}]",
            "is no absolute path",
        ),
        ("secretAsVolume: [{mountPath: /a}]", "has no name"),
        (
            "secretAsEnv: [{secretName: a, keyToEnv: [{secretKey: ../x, envVar: A}]}]",
            "is no key",
        ),
        (
            "secretAsEnv: [{secretName: a, keyToEnv: [{secretKey: x, envVar: A=B}]}]",
            "is no name for an environment",
        ),
        (
            "pvcMount: [{constant: a, mountPath: /a, subPath: ../b}]",
            "is no path below a volume",
        ),
        ("secretAsEnv: {}", "not a list"),
    ] {
        let error = Pipeline::parse("f", on_kubernetes(options).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("f:6") && error.contains(wanted),
            "{options}: {error}"
        );
    }
    let init = on_kubernetes("initContainers: [{name: a, image: b}]");
    let pipeline = Pipeline::parse("f", init.as_bytes()).unwrap();
    let list: Vec<String> = pipeline.unsupported().iter().map(ToString::to_string).collect();
    assert!(
        list.join("\n").contains("task say needs an init container"),
        "{list:?}"
    );
}

/// A pipeline that returns nothing leaves what its tasks leave.
#[test]
fn what_tasks_leave_has_their_names() {
    let text = "
schemaVersion: 2.1.0
pipelineInfo: {name: p}
root: {dag: {tasks: {outer: {componentRef: {name: comp-group}, taskInfo: {name: outer}}}}}
components:
  comp-group: {dag: {tasks: {train: {componentRef: {name: comp-train}, taskInfo: {name: train}}}}}
  comp-train:
    executorLabel: exec
    outputDefinitions:
      parameters: {loss: {parameterType: NUMBER_DOUBLE}}
      artifacts: {model: {artifactType: {schemaTitle: system.Model, schemaVersion: 0.0.1}}}
deploymentSpec: {executors: {exec: {container: {image: i, command: [c]}}}}
";
    let pipeline = Pipeline::parse("f", text.as_bytes()).unwrap();
    let outputs = pipeline.task_outputs();
    let outputs: Vec<_> = outputs
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str()))
        .collect();
    assert_eq!(
        outputs,
        [
            ("outer/train.loss", "number"),
            ("outer/train.model", "system.Model")
        ]
    );
}

/// A component that holds itself, by way of another one, under this trigger.
fn recursive(trigger: &str) -> String {
    format!(
        r#"
components:
  comp-flips:
    inputDefinitions: {{parameters: {{x: {{parameterType: STRING}}}}}}
    dag:
      tasks:
        say: {{componentRef: {{name: comp-say}}, inputs: {{parameters: {{x: {{componentInputParameter: x}}}}}}}}
        condition-1: {{componentRef: {{name: comp-condition-1}}, dependentTasks: [say],
          inputs: {{parameters: {{x: {{componentInputParameter: x}}}}}}{trigger}}}
  comp-condition-1:
    inputDefinitions: {{parameters: {{x: {{parameterType: STRING}}}}}}
    dag:
      tasks:
        flips: {{componentRef: {{name: comp-flips}}, inputs: {{parameters: {{x: {{componentInputParameter: x}}}}}}}}
  comp-say: {{executorLabel: exec-say, inputDefinitions: {{parameters: {{x: {{parameterType: STRING}}}}}}}}
deploymentSpec: {{executors: {{exec-say: {{container: {{image: alpine, command: [a], resources: {{cpuLimit: 1.0}}}}}}}}}}
pipelineInfo: {{name: flips}}
root:
  dag:
    tasks:
      loop: {{componentRef: {{name: comp-flips}}, parameterIterator: {{itemInput: x, items: {{raw: '["a"]'}}}}}}
schemaVersion: 2.1.0
---
platforms: {{kubernetes: {{deploymentSpec: {{executors: {{exec-say: {{secretAsEnv: [{{secretName: s, keyToEnv: [{{secretKey: k, envVar: V}}]}}]}}}}}}}}}}
"#
    )
}

#[test]
fn a_component_may_hold_itself_under_a_condition() {
    let text = recursive(", triggerPolicy: {condition: \"inputs.parameter_values['x'] == 'a'\"}");
    let pipeline = Pipeline::parse("f", text.as_bytes()).unwrap();
    pipeline.check().unwrap();
    assert_eq!(pipeline.demands().unwrap().len(), 1);
    // Wherever a task is that it holds, it uses the same.
    let needs = pipeline.needs();
    assert_eq!(needs.uses.keys().collect::<Vec<_>>(), ["loop/say"]);
    for path in [
        "loop/0/say",
        "loop/3/condition-1/flips/say",
        "loop/3/condition-1/flips/condition-1/flips/say",
    ] {
        assert_eq!(pipeline.place(path), "loop/say", "{path}");
    }
    let condition = pipeline.place("loop/3/condition-1/flips/condition-1");
    assert_eq!(condition, "loop/condition-1");
    let endless = Pipeline::parse("f", recursive("").as_bytes()).unwrap();
    let faults = endless.check().unwrap_err();
    assert!(
        faults[0].to_string().starts_with(
            "f:8:22: component \"comp-flips\" holds itself by way of \"comp-condition-1\", without a condition: it never ends"
        ),
        "{}",
        faults[0]
    );
}

#[test]
fn components_nest_so_deep_and_no_deeper() {
    let text = |deep: usize| {
        let mut text = String::from("components:\n");
        for at in 0..deep {
            let inner = at + 1;
            writeln!(
                text,
                "  c{at}: {{dag: {{tasks: {{t: {{componentRef: {{name: c{inner}}}}}}}}}}}"
            )
            .unwrap();
        }
        writeln!(text, "  c{deep}: {{executorLabel: e}}").unwrap();
        text + "deploymentSpec: {executors: {e: {container: {image: a, command: [b]}}}}\npipelineInfo: {name: deep}\n\
                root: {dag: {tasks: {t: {componentRef: {name: c0}}}}}\nschemaVersion: 2.1.0\n"
    };
    let check = |deep| Pipeline::parse("f", text(deep).as_bytes()).unwrap().check();
    check(crate::limits::DAG_DEPTH - 1).unwrap();
    let faults = check(crate::limits::DAG_DEPTH + 8).unwrap_err();
    assert!(
        faults[0].to_string().contains("DAGs nest deeper than 32"),
        "{}",
        faults[0]
    );
}
