//! Looking into a task: the environment is that of the run, the run stays as it is, and the terminal is given back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use samebundle_spec::Digest;
use samebundle_tests::{Home, Ran, Running, Sandbox, Test, skip, tests};

use crate::scenarios::left_nothing;
use crate::secrets::program;

pub(crate) const TESTS: &[Test] = tests![
    a_failed_task_is_looked_into,
    what_cannot_be_looked_into_is_refused,
    a_terminal_is_given_back,
    secrets_are_given_again_in_a_loop_as_well,
];

const NONE: &str = "debugging: the busybox image was not made (tests/setup/images)";

/// A loop whose second item fails: each reads a file and an item of the task before, and a variable.
const LOOP: &str = r#"
components:
  comp-a:
    executorLabel: exec-a
    outputDefinitions: {artifacts: {file: {artifactType: {schemaTitle: system.Dataset}}}, parameters: {list: {parameterType: LIST}}}
  comp-b:
    executorLabel: exec-b
    inputDefinitions: {artifacts: {from: {artifactType: {schemaTitle: system.Dataset}}}, parameters: {x: {parameterType: STRING}}}
    outputDefinitions: {parameters: {said: {parameterType: STRING}}}
  comp-loop:
    inputDefinitions: {artifacts: {from: {artifactType: {schemaTitle: system.Dataset}}},
      parameters: {item: {parameterType: STRING}, list: {parameterType: LIST}}}
    dag:
      tasks:
        b: {componentRef: {name: comp-b}, inputs: {artifacts: {from: {componentInputArtifact: from}},
          parameters: {x: {componentInputParameter: item}}}}
  comp-never: {executorLabel: exec-b, inputDefinitions: {artifacts: {from: {artifactType: {schemaTitle: system.Dataset}}},
    parameters: {x: {parameterType: STRING}}}, outputDefinitions: {parameters: {said: {parameterType: STRING}}}}
deploymentSpec:
  executors:
    exec-a: {container: {image: "busybox:1", command: [sh, -c, 'printf hello > "$0"; mkdir -p "$(dirname "$1")"; printf "[\"p\",\"q\"]" > "$1"'],
      args: ["{{$.outputs.artifacts['file'].path}}", "{{$.outputs.parameters['list'].output_file}}"]}}
    exec-b: {container: {image: "busybox:1", env: [{name: GREETING, value: "it's {{$.inputs.parameters['x']}}"}],
      command: [sh, -c, 'mkdir -p "$(dirname "$1")"; cat "$0" > "$1"; echo "no $2" >&2; [ "$2" = p ]'],
      args: ["{{$.inputs.artifacts['from'].path}}", "{{$.outputs.parameters['said'].output_file}}", "{{$.inputs.parameters['x']}}"]}}
pipelineInfo: {name: test}
root:
  dag:
    tasks:
      a: {componentRef: {name: comp-a}}
      loop: {componentRef: {name: comp-loop}, dependentTasks: [a], parameterIterator: {itemInput: item, items: {inputParameter: list}},
        inputs: {artifacts: {from: {taskOutputArtifact: {producerTask: a, outputArtifactKey: file}}},
          parameters: {list: {taskOutputParameter: {producerTask: a, outputParameterKey: list}}}}}
      never: {componentRef: {name: comp-never}, dependentTasks: [loop, a],
        inputs: {artifacts: {from: {taskOutputArtifact: {producerTask: a, outputArtifactKey: file}}},
          parameters: {x: {runtimeValue: {constant: z}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"#;

/// Runs the loop, which fails.
fn failed(sandbox: &Sandbox) -> Option<Home> {
    let folder = program(sandbox, "two", LOOP)?;
    let home = sandbox.home("home");
    let _ = home.run(["run", folder.to_str().unwrap()]).exits(3);
    Some(home)
}

/// Every file below a folder with its content.
fn files(folder: &Path, found: &mut BTreeMap<String, Digest>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => {
                let digest = Digest::sha256(&std::fs::read(&path).unwrap());
                found.insert(path.display().to_string(), digest);
            }
        }
    }
}

fn runs(home: &Home) -> BTreeMap<String, Digest> {
    let mut found = BTreeMap::new();
    files(&home.path().join("runs"), &mut found);
    found
}

/// Looks into a task, with something on standard input.
fn debug(home: &Home, words: &[&str], input: &str) -> Ran {
    let words = [&["debug", "last"], words].concat();
    let mut command = home.command(words);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(input.as_bytes()).unwrap();
    drop(writer);
    Ran::of(command.stdin(Stdio::from(reader)))
}

fn a_failed_task_is_looked_into() {
    let sandbox = Sandbox::new();
    let Some(home) = failed(&sandbox) else {
        return skip(NONE);
    };
    let before = runs(&home);
    let line = "cat; cat /samebundle/outputs/a/artifacts/file/file; echo; echo $GREETING; \
                touch /samebundle/outputs/a/artifacts/file/file 2>/dev/null || echo read-only; \
                sh /samebundle/debug/command; echo again $?; grep -c outputFile /samebundle/debug/executor_input.json; exit 9";
    let ran = debug(&home, &["1/b", "--", "sh", "-c", line], "from me\n").exits(9);
    let wanted = "from me\nhello\nit's q\nread-only\nagain 1\n1\n";
    assert_eq!(ran.stdout, wanted, "{}", ran.stderr);
    for part in [
        "task loop/1/b of run ",
        "its command: sh -c 'mkdir",
        "no q",
        "is removed afterwards",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    // What it writes is kept where it is asked for, and nowhere else.
    let kept = sandbox.path().join("kept");
    let words = [
        "loop/0/b",
        "--keep",
        kept.to_str().unwrap(),
        "--",
        "sh",
        "/samebundle/debug/command",
    ];
    let _ = debug(&home, &words, "").exits(0);
    let said = std::fs::read_to_string(kept.join("outputs/loop/0/b/parameters/said"));
    assert_eq!(said.unwrap(), "hello");
    let _ = debug(&home, &words, "").exits(2);
    assert_eq!(runs(&home), before, "the run stays byte for byte");
    left_nothing(&home);
}

fn what_cannot_be_looked_into_is_refused() {
    let sandbox = Sandbox::new();
    let Some(home) = failed(&sandbox) else {
        return skip(NONE);
    };
    for (task, code, part) in [
        ("x", 5, "has no task \"x\""),
        ("b", 2, "more than one task b: loop/0/b, loop/1/b"),
        ("loop", 2, "name a task of one of its items"),
        ("loop/0", 2, "name one of them"),
    ] {
        let refused = debug(&home, &[task, "--", "true"], "").exits(code);
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    // A task that was skipped has an environment all the same, if it has its inputs.
    let ran = debug(&home, &["never", "--", "sh", "-c", "echo $GREETING"], "").exits(0);
    assert_eq!(ran.stdout, "it's z\n");
    let none = debug(&home, &["never", "--", "no-such-program"], "").exits(127);
    assert!(none.stderr.contains("no-such-program"), "{}", none.stderr);
    // What the task read was changed since.
    let run = std::fs::read_dir(home.path().join("runs"))
        .unwrap()
        .next()
        .unwrap();
    let file = run.unwrap().path().join("outputs/a/artifacts/file/file");
    std::fs::write(file, "changed").unwrap();
    let gone = debug(&home, &["1/b", "--", "true"], "").exits(5);
    assert!(
        gone.stderr.contains("what task a wrote is gone or was changed"),
        "{}",
        gone.stderr
    );
}

/// The shell is at a terminal of its own: what is typed reaches it, Ctrl-C ends what runs in it alone, and afterwards the terminal
/// of the person is as it was.
fn a_terminal_is_given_back() {
    let sandbox = Sandbox::new();
    let Some(home) = failed(&sandbox) else {
        return skip(NONE);
    };
    let program = samebundle_tests::command_under_test();
    let line = format!(
        "stty rows 44 cols 99; before=$(stty -g); {} --home {} debug last 1/b; echo code $?; [ \"$before\" = \"$(stty -g)\" ] && echo as before",
        program.display(),
        home.path().display()
    );
    let mut command = std::process::Command::new("script");
    home.furnish(command.args(["-qec", &line, "/dev/null"]));
    let (reader, mut typed) = std::io::pipe().unwrap();
    let (mut seen, output) = std::io::pipe().unwrap();
    let running = Running::of(command.stdin(reader).stdout(output).stderr(Stdio::null()));
    drop(command);
    let watching = std::thread::spawn(move || {
        let (mut all, mut part) = (String::new(), [0; 512]);
        let steps = [
            ("/ # ", "tty; stty size; sleep 60\r"),
            ("44 99", "\u{3}"),
            ("^C\r\n/ # ", "echo then; exit 7\r"),
        ];
        let mut steps = steps.into_iter().peekable();
        while let Ok(count @ 1..) = seen.read(&mut part) {
            all.push_str(&String::from_utf8_lossy(&part[..count]));
            if let Some((_, words)) = steps.next_if(|(wanted, _)| all.contains(wanted)) {
                std::thread::sleep(Duration::from_millis(300));
                typed.write_all(words.as_bytes()).unwrap();
            }
        }
        all
    });
    drop(running.finish());
    let all = watching.join().unwrap();
    for part in ["/dev/pts/0", "then", "code 7", "as before"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    left_nothing(&home);
}

/// A loop whose task reads a secret.
const SECRET: &str = r#"
components:
  comp-t: {executorLabel: exec-t, inputDefinitions: {parameters: {x: {parameterType: STRING}}}}
  comp-loop:
    inputDefinitions: {parameters: {x: {parameterType: STRING}}}
    dag: {tasks: {t: {componentRef: {name: comp-t}, inputs: {parameters: {x: {componentInputParameter: x}}}}}}
deploymentSpec: {executors: {exec-t: {container: {image: "busybox:1", command: [sh, -c, '[ ${#V} = 9 ]']}}}}
pipelineInfo: {name: test}
root: {dag: {tasks: {loop: {componentRef: {name: comp-loop}, parameterIterator: {itemInput: x, items: {raw: '["a"]'}}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {exec-t: {secretAsEnv: [{secretName: s, keyToEnv: [{secretKey: k, envVar: V}]}]}}}}}
"#;

fn secrets_are_given_again_in_a_loop_as_well() {
    let sandbox = Sandbox::new();
    let Some(folder) = program(&sandbox, "two", SECRET) else {
        return skip(NONE);
    };
    let home = sandbox.home("home");
    let file = sandbox.path().join("secret");
    std::fs::write(&file, "topsecret").unwrap();
    let given = format!("s.k=file:{}", file.display());
    let _ = home.run(["run", folder.to_str().unwrap()]);
    let _ = home.ok(["run", "two", "--credential", &given]);
    let words = ["t", "--credential", &given, "--", "sh", "-c", "echo ${#V}"];
    let ran = debug(&home, &words, "").exits(0);
    assert_eq!(ran.stdout, "9\n", "{}", ran.stderr);
    assert!(!ran.stderr.contains("topsecret"), "{}", ran.stderr);
    let refused = debug(&home, &["t", "--", "true"], "").exits(1);
    assert!(refused.stderr.contains("s.k"), "{}", refused.stderr);
}
