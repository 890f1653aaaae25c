use serde_json::json;

use super::*;
use crate::yaml::YamlFault;

const FULL: &str = r#"apiVersion: samebundle.dev/v1
kind: Program
name: digits
version: 1.0.0
description: Reads digits
maintainers: [{name: Jane}]
program:
  pipeline: pipeline.yaml
  wheelhouse: auto
images:
  python:3.11: {from: "layout:images/python"}
  tool: {from: "archive:tool.tar"}
  team/base:2: {from: "localhost:5000/base:2"}
  local/train:
    build:
      base: python:3.11
      files: [{from: src, to: /app/src}]
      command: [python, -m, train]
      env: {DEBUG: "1"}
      workdir: /app
      user: "1000:1000"
parameters:
  epochs: {minimum: 1}
requires:
  resources: {cpu: 2, memory: 2Gi, gpu: {count: 0}, disk: {size: 1Gi, class: standard}}
  addons: []
data:
  - {name: train, uri: "s3://bucket/key", digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", size: 123}
  - {name: model, file: data/model.bin}
history: {runs: "last:5"}
"#;

fn program(text: &str) -> ProgramManifest {
    match parse(text.as_bytes()) {
        Ok(Authored::Program(manifest)) => *manifest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_a_whole_program() {
    let manifest = program(FULL);
    assert_eq!(manifest.program.pipeline.as_str(), "pipeline.yaml");
    assert_eq!(manifest.program.wheelhouse, Wheelhouse::Auto);
    assert_eq!(
        manifest.images["python:3.11"],
        ImageSource::From(ImageOrigin::Layout("images/python".into()))
    );
    let ImageSource::From(ImageOrigin::Registry(reference)) = &manifest.images["team/base:2"] else {
        panic!("{:?}", manifest.images);
    };
    assert_eq!(reference.to_string(), "localhost:5000/base:2");
    let ImageSource::Build(build) = &manifest.images["local/train"] else {
        panic!("{:?}", manifest.images);
    };
    assert_eq!(
        build.base.as_ref().unwrap().to_string(),
        "docker.io/library/python:3.11"
    );
    assert_eq!((build.files[0].to.as_str(), build.command.len()), ("/app/src", 3));
    assert_eq!(manifest.parameters["epochs"].keywords()["minimum"], json!(1));
    assert_eq!(
        manifest.requires.resources.memory.as_ref().unwrap().units(),
        2 << 30
    );
    assert_eq!(manifest.history.runs, Runs::Last(5));
    let [Data::Pointer(pointer), Data::File(file)] = manifest.data.as_slice() else {
        panic!("{:?}", manifest.data);
    };
    assert_eq!((pointer.size, file.file.as_str()), (123, "data/model.bin"));
}

#[test]
fn names_the_nearest_key_and_its_place() {
    for (from, to, line, column, nearest) in [
        ("program:\n", "progam:\n", 7, 1, "program"),
        ("  wheelhouse", "  wheelhose", 9, 3, "wheelhouse"),
        ("cpu: 2", "cpus: 2", 25, 15, "cpu"),
        ("{from: \"layout", "{form: \"layout", 11, 17, "from"),
        ("workdir", "workDir", 20, 7, "workdir"),
    ] {
        let error = parse(FULL.replacen(from, to, 1).as_bytes()).unwrap_err();
        let AuthoringError::Yaml(YamlError {
            line: at_line,
            column: at_column,
            fault: YamlFault::UnknownKey { nearest: found, .. },
        }) = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*at_line, *at_column), (line, column), "{error}");
        assert_eq!(found.as_deref(), Some(nearest), "{error}");
    }
}

#[test]
fn refuses_what_does_not_belong() {
    let bomb =
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n";
    for (from, to) in [
        ("name: digits", "name: digits\nname: digits"),
        ("name: digits", "name: Chiffré"),
        ("version: 1.0.0", "version: v1.0"),
        ("version: 1.0.0", "version: 1.0.0.0"),
        ("samebundle.dev/v1", "samebundle.dev/v2"),
        ("kind: Program", "kind: Programm"),
        ("pipeline: pipeline.yaml", "pipeline: ../pipeline.yaml"),
        ("pipeline: pipeline.yaml", "pipeline: /etc/passwd"),
        ("wheelhouse: auto", "wheelhouse: maybe"),
        ("{from: \"layout:images/python\"}", "{}"),
        ("{from: \"layout:images/python\"}", "{from: \"layout:\"}"),
        ("{from: \"layout:images/python\"}", "{from: \"a b\"}"),
        ("to: /app/src", "to: app/src"),
        ("to: /app/src", "to: /app/../etc"),
        ("{minimum: 1}", "{minimun: 1}"),
        ("{minimum: 1}", "{minimum: one}"),
        ("{minimum: 1}", "{$ref: \"http://example.com/x\"}"),
        ("memory: 2Gi", "memory: 2GiB"),
        ("gpu: {count: 0}", "gpu: {count: -1}"),
        ("gpu: {count: 0}", "gpu: {count: 0, size: 1}"),
        ("\"last:5\"", "\"latest\""),
        ("sha256:e3b0", "sha256:E3B0"),
        (
            "size: 123}",
            "size: 123}\n  - {name: train, uri: u, digest: \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\", size: 1}",
        ),
        ("file: data/model.bin", "file: ../model.bin"),
        ("file: data/model.bin", "file: /model.bin"),
        ("file: data/model.bin", "file: data/model.bin, size: 1"),
        ("file: data/model.bin", "uri: u"),
        ("name: model", "name: train"),
        ("name: model", "name: ../model"),
        ("apiVersion", "---\n---\napiVersion"),
        ("images:\n", "<<: {a: 1}\nimages:\n"),
        ("apiVersion", &format!("{bomb}apiVersion")),
    ] {
        assert!(FULL.contains(from), "{from}");
        let text = FULL.replacen(from, to, 1);
        assert!(parse(text.as_bytes()).is_err(), "accepted {to}");
    }
    let deep = format!("{FULL}keywords: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert!(parse(deep.as_bytes()).is_err());
    assert!(parse(&vec![b'#'; 2 << 20]).is_err());
    assert!(parse(b"").is_err());
}

/// An unquoted 1.10 is a number in YAML, and yet not 1.1.
#[test]
fn names_and_versions_are_read_as_people_write_them() {
    assert_eq!(program(FULL).notes, [""; 0]);
    for (written, version) in [
        ("1.10", "1.10.0"),
        ("\"1.1\"", "1.1.0"),
        ("2", "2.0.0"),
        ("1.0", "1.0.0"),
    ] {
        let manifest = program(&FULL.replacen("version: 1.0.0", &format!("version: {written}"), 1));
        assert_eq!(manifest.version.to_string(), version);
        let [note] = manifest.notes.as_slice() else {
            panic!("{:?}", manifest.notes);
        };
        assert!(note.contains(&format!("read as {version}")), "{note}");
    }
    let manifest = program(&FULL.replacen("name: digits", "name: arXiv.1303.5778v1", 1));
    assert_eq!(manifest.name.as_str(), "arxiv.1303.5778v1");
    assert!(manifest.notes[0].contains("upper-case"), "{:?}", manifest.notes);
}

#[test]
fn reads_the_least_and_the_other_kinds() {
    let head = "apiVersion: samebundle.dev/v1\nname: x\nversion: 0.1.0\n";
    let least = program(&format!(
        "{head}kind: Program\nprogram: {{pipeline: p.py}}\nimages:\n"
    ));
    assert_eq!((least.images.len(), least.history.runs), (0, Runs::None));
    let other = parse(format!("{head}kind: Environment\ncluster: {{nodes: 3}}\n").as_bytes()).unwrap();
    let Authored::Environment(environment) = other else {
        panic!("{other:?}");
    };
    assert_eq!(environment.rest["cluster"], json!({"nodes": 3}));
    assert!(matches!(
        parse(format!("{head}kind: Addon\n").as_bytes()),
        Ok(Authored::Addon(_))
    ));
}

#[test]
fn a_number_of_gpus_alone_is_answered_with_its_form() {
    let text = FULL.replace("gpu: {count: 0}", "gpu: 1");
    assert_ne!(text, FULL);
    let error = parse(text.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("a map such as {count: 1}") && error.contains("line"),
        "{error}"
    );
}
