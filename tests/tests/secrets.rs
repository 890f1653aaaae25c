//! Secrets, settings and volumes of a pipeline, from the command line: where they come from, and that no secret is seen.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use samebundle_tests::{DockerEngine, Home, Ran, Sandbox, Test, greet, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    a_canary_is_seen_nowhere,
    credentials_come_from_where_they_are_said_to_be,
    settings_and_volumes_are_taken_and_kept,
    a_foreign_secret_store_is_asked_through_its_command,
];

const CANARIES: usize = 30;
/// So many of them are environment variables, and the others are files.
const VARIABLES: usize = 20;

/// A secret with characters that every encoding changes.
fn canary(number: usize) -> String {
    format!("Kanar{number:02} \"q/&{number:02}w")
}

/// The forms in which a canary may not be seen.
fn forms(secret: &str) -> [String; 6] {
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let url = secret
        .replace(' ', "%20")
        .replace('"', "%22")
        .replace('/', "%2F")
        .replace('&', "%26");
    let inside = STANDARD.encode(format!("user:{secret}"));
    [
        secret.to_owned(),
        STANDARD.encode(secret).trim_end_matches('=').to_owned(),
        inside[8..inside.len() - 4].to_owned(),
        url,
        secret.replace('"', "\\\""),
        hexadecimal,
    ]
}

/// A task that prints each of its secrets in every form, and hands one on; it fails if it is told to.
const SCRIPT: &str = r#"show() {
  echo "plain: $1"; echo "plain: $1" >&2
  printf %s "$1" | base64 -w 0; echo
  printf 'user:%s' "$1" | base64 -w 0; echo
  printf %s "$1" | sed 's/ /%20/g; s/"/%22/g; s|/|%2F|g; s/&/%26/g'; echo
  printf %s "$1" | sed 's/"/\\"/g; s/^/{"token": "/; s/$/"}/'; echo
  printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; echo
}
for name in $(env | sed -n 's/^\(CANARY_[0-9]*\)=.*/\1/p'); do eval "value=\$$name"; show "$value"; done
for file in /etc/canaries/*; do show "$(cat "$file")"; stat -c 'mode %a of %n' "$file"; done
mkdir -p "$(dirname "$1")"; printf %s "$CANARY_00" > "$1"
sleep 1
exit "$0""#;

pub(crate) fn program(sandbox: &Sandbox, name: &str, pipeline: &str) -> Option<PathBuf> {
    let folder = greet()?.sources(sandbox);
    let manifest = std::fs::read_to_string(folder.join("samebundle.yaml")).unwrap();
    let manifest = manifest.replace("name: greet", &format!("name: {name}"));
    let manifest = manifest.replace("parameters:\n  times: {minimum: 0}\n", "");
    std::fs::write(folder.join("samebundle.yaml"), manifest).unwrap();
    std::fs::write(folder.join("pipeline.yaml"), pipeline).unwrap();
    Some(folder)
}

/// A pipeline of one task that runs a script, with a pod.
fn pipeline(script: &str, arguments: &str, pod: &str) -> String {
    let script = serde_json::Value::from(script);
    format!(
        r#"
components:
  comp-t:
    executorLabel: exec-t
    inputDefinitions: {{parameters: {{code: {{parameterType: STRING}}}}}}
    outputDefinitions: {{parameters: {{said: {{parameterType: STRING}}}}}}
deploymentSpec:
  executors:
    exec-t: {{container: {{image: "busybox:1", command: [sh, -c, {script}], args: [{arguments}]}}}}
pipelineInfo: {{name: test}}
root:
  dag:
    outputs: {{parameters: {{said: {{valueFromParameter: {{outputParameterKey: said, producerSubtask: t}}}}}}}}
    tasks: {{t: {{componentRef: {{name: comp-t}}, inputs: {{parameters: {{code: {{componentInputParameter: code}}}}}}}}}}
  inputDefinitions: {{parameters: {{code: {{parameterType: STRING, defaultValue: "0", isOptional: true}}}}}}
  outputDefinitions: {{parameters: {{said: {{parameterType: STRING}}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {{kubernetes: {{deploymentSpec: {{executors: {{exec-t: {pod}}}}}}}}}
"#
    )
}

const CODE_AND_FILE: &str =
    r#""{{$.inputs.parameters['code']}}", "{{$.outputs.parameters['said'].output_file}}""#;

fn canaries_program(sandbox: &Sandbox) -> Option<PathBuf> {
    let mut keys = String::new();
    for number in 0..VARIABLES {
        write!(keys, "{{secretKey: k{number:02}, envVar: CANARY_{number:02}}}, ").unwrap();
    }
    let pod = format!(
        "{{secretAsEnv: [{{secretName: env-canaries, keyToEnv: [{keys}]}}], secretAsVolume: [{{secretName: \
         file-canaries, mountPath: /etc/canaries}}]}}"
    );
    program(sandbox, "canaries", &pipeline(SCRIPT, CODE_AND_FILE, &pod))
}

/// The command lines of all processes, again and again until it is told to stop.
fn watch_command_lines(stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<BTreeSet<String>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut seen = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                if let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
                    seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        seen
    })
}

/// Every file of a folder, but for the outputs of tasks, which are the tasks' own.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() || path.ends_with("outputs") {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Counts the canaries in a text, with where they are.
fn hits(place: &str, text: &[u8], into: &mut Vec<String>) {
    let text = String::from_utf8_lossy(text);
    for number in 0..CANARIES {
        for form in forms(&canary(number)) {
            if text.contains(&form) {
                into.push(format!("{place}: {form}"));
            }
        }
    }
}

/// Calls the command with the canaries in its environment, and counts those that it shows.
struct Calls {
    home: Home,
    engine: Option<DockerEngine>,
    found: Vec<String>,
}

impl Calls {
    fn call(&mut self, words: &[&str]) -> Ran {
        let mut command = self.home.command(words);
        for number in 0..VARIABLES {
            command.env(format!("CANARY_{number:02}"), canary(number));
        }
        if let Some(engine) = &self.engine {
            command.env("DOCKER_HOST", engine.address());
        }
        let ran = Ran::of(&mut command);
        let place = words.join(" ");
        hits(&place, ran.stdout.as_bytes(), &mut self.found);
        hits(&place, ran.stderr.as_bytes(), &mut self.found);
        ran
    }

    /// Runs it to success and failure with both drivers.
    fn runs(&mut self) {
        let drivers: &[&str] = match self.engine {
            Some(_) => &["embedded", "docker"],
            None => &["embedded"],
        };
        for driver in drivers {
            for (code, exits) in [("--code=0", 0), ("--code=7", 3)] {
                for form in ["text", "json"] {
                    let words = ["run", "canaries", code, "--env", driver, "-vvv", "--output", form];
                    let ran = self.call(&words).exits(exits);
                    assert!(
                        format!("{}{}", ran.stdout, ran.stderr).contains("***"),
                        "{}",
                        ran.stderr
                    );
                }
            }
        }
    }

    /// Looks at what was run in every way that there is.
    fn looks(&mut self) {
        let log = self.call(&["logs", "last"]).ok();
        // The task really had all of them, and printed each to both outputs.
        let printed = log.stdout.matches("plain: ***").count();
        assert_eq!(printed, 2 * CANARIES, "{}", log.stdout);
        assert!(
            log.stdout.contains("mode 400 of /etc/canaries/c20"),
            "{}",
            log.stdout
        );
        for words in [
            ["runs", "canaries"],
            ["show", "canaries"],
            ["outputs", "last"],
            ["explain", "canaries"],
            ["plan", "canaries"],
            ["logs", "last"],
            ["list", "-v"],
            ["inspect", "canaries"],
        ] {
            for more in [&["-vv"][..], &["--output", "json"]] {
                let _ = self.call(&[&words[..], more].concat());
            }
        }
    }

    /// Exports the installation with its history, and unpacks the file.
    fn exports(&mut self, sandbox: &Sandbox) -> PathBuf {
        let (archive, unpacked) = (
            sandbox.path().join("canaries.tgz"),
            sandbox.path().join("unpacked"),
        );
        let _ = self
            .call(&["export", "canaries", "--file", archive.to_str().unwrap()])
            .ok();
        std::fs::create_dir(&unpacked).unwrap();
        let mut tar = Command::new("tar");
        let _ = Ran::of(tar.arg("-xzf").arg(&archive).arg("-C").arg(&unpacked)).ok();
        unpacked
    }
}

fn a_canary_is_seen_nowhere() {
    let sandbox = Sandbox::new();
    let Some(folder) = canaries_program(&sandbox) else {
        return skip("secrets: the busybox image was not made (tests/setup/images)");
    };
    let home = sandbox.home("home");
    let secrets = sandbox.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    for number in VARIABLES..CANARIES {
        std::fs::write(secrets.join(format!("c{number}")), canary(number)).unwrap();
    }
    let _ = home.ok(["build", folder.to_str().unwrap(), "-t", "canaries"]);
    let files_from = format!("file-canaries=file:{}", secrets.display());
    let _ = home.ok([
        "install",
        "canaries",
        "--allow-unsigned",
        "--credential",
        &files_from,
    ]);
    let engine = DockerEngine::start(&sandbox);
    if let Err(why) = &engine {
        skip(&format!("secrets: docker: {why}"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch_command_lines(&stop);
    let mut calls = Calls {
        home: home.clone(),
        engine: engine.ok(),
        found: Vec::new(),
    };
    calls.runs();
    calls.looks();
    let unpacked = calls.exports(&sandbox);
    stop.store(true, Ordering::Relaxed);
    let mut found = calls.found;
    for line in watcher.join().unwrap() {
        hits(&format!("command line {line}"), line.as_bytes(), &mut found);
    }
    let mut all = Vec::new();
    files(home.path(), &mut all);
    files(&unpacked, &mut all);
    files(&sandbox.path().join("tmp"), &mut all);
    assert!(all.len() > 20, "{all:?}");
    for file in &all {
        hits(
            &file.display().to_string(),
            &std::fs::read(file).unwrap(),
            &mut found,
        );
    }
    assert!(
        found.is_empty(),
        "{} canaries were seen:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// A program with one secret, whose length the task says.
fn one_secret(sandbox: &Sandbox) -> Option<Home> {
    let pod = "{secretAsEnv: [{secretName: db, keyToEnv: [{secretKey: password, envVar: DB_PASSWORD}]}]}";
    let script = r#"mkdir -p "$(dirname "$1")"; printf 'length %s' "${#DB_PASSWORD}" > "$1""#;
    let folder = program(sandbox, "secretive", &pipeline(script, CODE_AND_FILE, pod))?;
    let home = sandbox.home("home");
    let _ = home.ok(["build", folder.to_str().unwrap(), "-t", "secretive"]);
    let _ = home.ok(["install", "secretive", "--allow-unsigned"]);
    Some(home)
}

#[track_caller]
fn has_length(ran: Ran, length: usize) {
    let ran = ran.ok();
    assert!(ran.stdout.contains(&format!("length {length}")), "{}", ran.stdout);
}

fn credentials_come_from_where_they_are_said_to_be() {
    let sandbox = Sandbox::new();
    let Some(home) = one_secret(&sandbox) else {
        return skip("secrets: the busybox image was not made (tests/setup/images)");
    };
    let missing = home.run(["run", "secretive"]).exits(1);
    assert!(
        missing
            .stderr
            .contains("--credential db.password=env:DB_PASSWORD"),
        "{}",
        missing.stderr
    );
    let explained = home.ok(["explain", "secretive"]);
    assert!(
        explained.stdout.contains("db.password") && explained.stdout.contains("DB_PASSWORD"),
        "{}",
        explained.stdout
    );
    let value = home
        .run(["run", "secretive", "--credential", "db.password=hunter2hunter2"])
        .exits(2);
    assert!(
        !format!("{}{}", value.stdout, value.stderr).contains("hunter2"),
        "{}",
        value.stderr
    );
    let wrong = home
        .run(["run", "secretive", "--credential", "db.pasword=env:X"])
        .exits(1);
    assert!(
        wrong.stderr.contains("did you mean \"db.password\"?"),
        "{}",
        wrong.stderr
    );

    let with = |source: &str| home.run(["run", "secretive", "--credential", source]);
    std::fs::write(sandbox.path().join("password"), "12345").unwrap();
    has_length(with("db.password=file:password"), 5);
    std::fs::create_dir(sandbox.path().join("db")).unwrap();
    std::fs::write(sandbox.path().join("db/password"), "123456").unwrap();
    has_length(with("db=file:db"), 6);
    let mut named = home.command(["run", "secretive"]);
    has_length(Ran::of(named.env("DB_PASSWORD", "1234567")), 7);
    let set = "schemaVersion: 1.0.1\nname: mine\ncredentials:\n- {name: db.password, source: {env: OTHER}}\n- {name: \
               unrelated, source: {path: x}}\n";
    std::fs::write(sandbox.path().join("set.yaml"), set).unwrap();
    let mut of_set = home.command(["run", "secretive", "--credentials", "set.yaml"]);
    has_length(Ran::of(of_set.env("OTHER", "12345678")), 8);
    let _ = home.ok([
        "install",
        "secretive",
        "--allow-unsigned",
        "--credential",
        "db.password=file:password",
    ]);
    has_length(home.run(["run", "secretive"]), 5);
    let shown = home.ok(["show", "secretive"]);
    assert!(
        shown.stdout.contains("credential  db.password from file:"),
        "{}",
        shown.stdout
    );
}

fn a_foreign_secret_store_is_asked_through_its_command() {
    let sandbox = Sandbox::new();
    let Some(home) = one_secret(&sandbox) else {
        return skip("secrets: the busybox image was not made (tests/setup/images)");
    };
    let tools = sandbox.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let tool = |name: &str, script: &str| {
        let path = tools.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    tool("pass", r#"[ "$*" = "show work/db" ] && echo 123"#);
    tool("age", r#"[ "$1" = --decrypt ] && cat "$2""#);
    tool(
        "vault",
        r#"[ "$*" = "kv get -field=password secret/db" ] && printf 12345"#,
    );
    tool(
        "kubectl",
        r#"[ "$*" = "get secret --namespace=ml --output=json -- db" ] && echo '{"data": {"password": "MTIzNDU2"}}'"#,
    );
    std::fs::write(sandbox.path().join("db.age"), "1234\n").unwrap();
    let with = |source: &str| {
        let mut command = home.command(["run", "secretive", "--credential", source]);
        Ran::of(command.env("PATH", format!("{}:/usr/bin:/bin", tools.display())))
    };
    has_length(with("db.password=pass:work/db"), 3);
    has_length(with("db.password=age:db.age"), 4);
    has_length(with("db.password=vault:secret/db#password"), 5);
    has_length(with("db.password=kubernetes:ml/db#password"), 6);
    has_length(with("db=kubernetes:ml/db"), 6);
    let failed = with("db.password=vault:secret/other#password").exits(8);
    assert!(
        failed.stderr.contains("credential db.password: `vault kv get"),
        "{}",
        failed.stderr
    );
}

fn settings_and_volumes_are_taken_and_kept() {
    let sandbox = Sandbox::new();
    let pod = "{configMapAsEnv: [{configMapName: app, keyToEnv: [{configMapKey: mode, envVar: MODE}]}], \
               configMapAsVolume: [{configMapName: app, mountPath: /etc/app}], pvcMount: [{constant: shared, mountPath: \
               /data}], emptyDirMounts: [{volumeName: v, mountPath: /empty}], nodeSelector: {labels: {a: b}}}";
    let script = r#"mkdir -p "$(dirname "$1")"; echo x >> /data/log; echo y > /empty/file
printf '%s %s %s' "$MODE" "$(cat /etc/app/config.ini)" "$(wc -l < /data/log)" > "$1""#;
    let Some(folder) = program(&sandbox, "settled", &pipeline(script, CODE_AND_FILE, pod)) else {
        return skip("secrets: the busybox image was not made (tests/setup/images)");
    };
    let home = sandbox.home("home");
    let lint = home.ok(["lint", folder.to_str().unwrap()]);
    assert!(
        lint.stderr
            .contains("a node selector has no meaning outside of a cluster"),
        "{}",
        lint.stderr
    );
    let _ = home.ok(["build", folder.to_str().unwrap(), "-t", "settled"]);
    let _ = home.ok(["install", "settled", "--allow-unsigned"]);
    let explained = home.ok(["explain", "settled"]);
    assert!(
        explained.stdout.contains("app.mode") && explained.stdout.contains("until it is removed"),
        "{}",
        explained.stdout
    );
    let call = [
        "run",
        "settled",
        "--app.mode=fast",
        "-p",
        r#"app={"config.ini": "debug"}"#,
    ];
    for runs in 1..3 {
        let ran = home.ok(call);
        assert!(
            ran.stdout.contains(&format!("fast debug {runs}")),
            "{}",
            ran.stdout
        );
    }
    let listed = home.ok(["volume", "list"]);
    assert!(listed.stdout.contains("shared"), "{}", listed.stdout);
    let _ = home.run(["volume", "remove", "other"]).exits(5);
    let _ = home.ok(["volume", "remove", "shared"]);
    assert!(
        home.ok(["volume", "list"])
            .stdout
            .contains("there are no volumes")
    );
    assert!(home.ok(call).stdout.contains("fast debug 1"));
}
