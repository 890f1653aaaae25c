//! What runs take from outside: importers and input artifacts, from servers and files, carried on and read offline.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use samebundle_tests::{Home, Ran, Sandbox, Test, copy_tree, image, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    an_imported_file_travels_and_is_read_offline,
    artifacts_are_given_as_files_and_buckets_are_read
];

const PIPELINE: &str = r#"
components:
  comp-import:
    executorLabel: exec-import
    inputDefinitions: {parameters: {uri: {parameterType: STRING}}}
    outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}
  comp-read:
    executorLabel: exec-read
    inputDefinitions:
      artifacts:
        data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
        more: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}, isOptional: true}
    outputDefinitions: {parameters: {said: {parameterType: STRING}}}
deploymentSpec:
  executors:
    exec-import:
      importer: {artifactUri: {runtimeParameter: uri}, typeSchema: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}
    exec-read:
      container:
        image: busybox:1
        command: [sh, -ec, 'for one in $0 $1; do test -e $one; find $one -type f | sort | xargs cat; done > $2']
        args:
        - "{{$.inputs.artifacts['data'].path}}"
        - "{{$.inputs.artifacts['more'].path}}"
        - "{{$.outputs.parameters['said'].output_file}}"
pipelineInfo: {name: outside}
root:
  inputDefinitions:
    parameters: {uri: {parameterType: STRING, defaultValue: 'gs://bucket/in.csv', isOptional: true}}
    artifacts: {more: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}, isOptional: true}}
  outputDefinitions: {parameters: {said: {parameterType: STRING}}}
  dag:
    outputs: {parameters: {said: {valueFromParameter: {producerSubtask: read, outputParameterKey: said}}}}
    tasks:
      import: {componentRef: {name: comp-import}, inputs: {parameters: {uri: {componentInputParameter: uri}}}}
      read:
        componentRef: {name: comp-read}
        dependentTasks: [import]
        inputs:
          artifacts:
            data: {taskOutputArtifact: {producerTask: import, outputArtifactKey: artifact}}
            more: {componentInputArtifact: more}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"#;

const LISTING: &str = r#"<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>bucket</Name><Prefix>set/</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>
<Contents><Key>set/a.csv</Key><Size>2</Size></Contents><Contents><Key>set/b/c.csv</Key><Size>2</Size></Contents>
</ListBucketResult>"#;

/// Answers GET requests as a web server and as a bucket; ends with the test.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut lines = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                lines.push(std::mem::take(&mut line));
            }
            let target = lines
                .first()
                .and_then(|line| line.split(' ').nth(1))
                .unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            let login = lines
                .iter()
                .any(|line| line.trim() == "authorization: Basic bWU6cDRzcw==");
            let signed = target.contains("X-Amz-Signature=");
            let (status, location, body) = match path {
                "/data/moved.csv" if login => ("302 Found", "location: /data/in.csv\r\n", ""),
                "/data/in.csv" if login => ("200 OK", "", "1,2\n"),
                "/bucket/set/a.csv" if signed => ("200 OK", "", "a\n"),
                "/bucket/set/b/c.csv" if signed => ("200 OK", "", "c\n"),
                "/bucket" | "/bucket/" if signed && target.contains("list-type=2") => ("200 OK", "", LISTING),
                _ => ("404 Not Found", "", "there is no such thing"),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\n{location}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

/// A home in which the bundle was built and is installed; none where the base image was not made.
fn installed(sandbox: &Sandbox) -> Option<Home> {
    let Some(busybox) = image("busybox") else {
        skip("outside: the busybox image was not made (tests/setup/images)");
        return None;
    };
    let folder = sandbox.path().join("outside");
    copy_tree(&busybox, &folder.join("images/busybox")).unwrap();
    std::fs::write(folder.join("pipeline.yaml"), PIPELINE).unwrap();
    let file = "apiVersion: samebundle.dev/v1\nkind: Program\nname: outside\nversion: 1.0.0\nprogram: {pipeline: pipeline.yaml}\n\
                images: {'busybox:1': {from: 'layout:images/busybox'}}\n";
    std::fs::write(folder.join("samebundle.yaml"), file).unwrap();
    let home = sandbox.home("author");
    let _ = home.ok(["build", folder.to_str().unwrap()]);
    let _ = home.ok(["install", "outside", "--allow-unsigned"]);
    Some(home)
}

fn said(home: &Home, run: &str) -> String {
    let report = home.ok(["outputs", run, "-o", "json"]).json();
    report["outputs"]["said"].to_string()
}

/// All files below a folder that hold a text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)) {
            found.push(path);
        }
    }
    found
}

fn an_imported_file_travels_and_is_read_offline() {
    let sandbox = Sandbox::new();
    let Some(home) = installed(&sandbox) else { return };
    let uri = format!("--uri=http://me:p4ss@{}/data/moved.csv", serve());
    let ran = home.ok(["run", "outside", &uri]);
    assert!(said(&home, "last").contains("1,2"), "{}", ran.stdout);
    let runs = home.path().join("runs");
    assert_eq!(
        holding(&runs, "p4ss"),
        Vec::<PathBuf>::new(),
        "the password is in no record"
    );
    let shown = home.ok(["show", "last", "-o", "json"]).stdout;
    assert!(shown.contains("http://***@127.0.0.1"), "{shown}");
    let _ = home.ok(["export", "outside", "--file", "with.tgz"]);
    let other = sandbox.home("other");
    let archive = home.path().parent().map(|_| "with.tgz").unwrap();
    let _ = other.ok(["--offline", "import", archive, "--allow-unsigned"]);
    let _ = other.ok(["--offline", "outputs", "last", "--to", "there"]);
    let there = sandbox.path().join("there");
    assert!(
        !holding(&there, "1,2").is_empty(),
        "the imported file is not among the outputs"
    );
    // Without a network only the address is there, which is not enough for this program.
    let failed = home.run(["--offline", "run", "outside", &uri]).exits(3).stderr;
    assert!(
        failed.contains("the run is offline") && failed.contains("***@"),
        "{failed}"
    );
    let failed = home.run(["run", "outside"]).exits(3).stderr;
    assert!(failed.contains("asks for no network"), "{failed}");
}

fn artifacts_are_given_as_files_and_buckets_are_read() {
    let sandbox = Sandbox::new();
    let Some(home) = installed(&sandbox) else { return };
    std::fs::write(sandbox.path().join("more.txt"), "more\n").unwrap();
    let explained = home.ok(["explain", "outside"]).stdout;
    assert!(explained.contains("more"), "{explained}");
    let endpoint = format!("http://{}", serve());
    let run = |words: &[&str]| {
        let mut command = home.command(words);
        command
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", "canary-key");
        Ran::of(&mut command)
    };
    let more = sandbox.path().join("more.txt");
    let more = format!("--more={}", more.to_str().unwrap());
    let _ = run(&["run", "outside", "--uri=s3://bucket/set", &more]).ok();
    assert_eq!(said(&home, "last"), "\"a\\nc\\nmore\\n\"");
    assert_eq!(
        holding(&home.path().join("runs"), "canary-key"),
        Vec::<PathBuf>::new()
    );
    let refused = run(&["run", "outside", "--uri=s3://bucket/none"]).exits(3).stderr;
    assert!(refused.contains("there is no such object"), "{refused}");
    let refused = home.run(["run", "outside", "--uri=/no/such"]).exits(3).stderr;
    assert!(refused.contains("/no/such could not be imported"), "{refused}");
}
