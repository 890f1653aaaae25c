//! Secrets, config maps, facts and volumes of tasks.

use super::*;
use crate::driver::Content;
use crate::secret::SecretValue;

/// A pipeline whose only task, or tasks, have this pod.
fn on_kubernetes(pod: &str, root: &str) -> String {
    let spec = pipeline("", "command: [x]", root);
    format!(
        "{spec}---\nplatforms:\n  kubernetes:\n    deploymentSpec:\n      executors:\n        exec-c: {{{pod}}}\n"
    )
}

const ONE: &str = "dag: {tasks: {a: {componentRef: {name: comp-c}}}}";

#[tokio::test]
async fn a_task_gets_its_secrets_and_settings_and_they_are_masked() {
    let pod = "secretAsEnv: [{secretName: db, keyToEnv: [{secretKey: password, envVar: DB_PASSWORD}]}, {secretName: \
               gone, optional: true, keyToEnv: [{secretKey: x, envVar: GONE}]}], secretAsVolume: \
               [{secretNameParameter: {runtimeValue: {constant: tls}}, mountPath: /etc/tls/}, {secretName: gone, \
               mountPath: /gone, optional: true}], configMapAsEnv: [{configMapNameParameter: {runtimeValue: {constant: \
               app}}, keyToEnv: [{configMapKey: mode, envVar: MODE}]}], fieldPathAsEnv: [{name: POD, fieldPath: \
               metadata.name}, {name: TEAM, fieldPath: \"metadata.labels['team']\"}], podMetadata: {labels: {team: ml}}";
    let mut bench = Bench::new(&on_kubernetes(pod, ONE));
    let needs = bench.plan.pipeline.needs();
    assert_eq!(
        needs.secrets.keys().collect::<Vec<_>>(),
        ["db.password", "gone", "gone.x", "tls"]
    );
    assert!(!needs.secrets["gone"].required && needs.secrets["tls"].required);
    let one = |text: &str| SecretValue::One(text.as_bytes().to_vec());
    bench.plan.secrets = [
        ("db.password".to_owned(), one("hunter2!")),
        (
            "tls".to_owned(),
            SecretValue::Keys([("key.pem".to_owned(), b"private".to_vec())].into()),
        ),
    ]
    .into();
    bench.plan.settings = [("app.mode".to_owned(), json!("fast"))].into();
    let driver = Fake::immediate(|container| {
        let environment = &container.operation.environment;
        let found = |name: &str| environment.get(name).map(String::as_str);
        assert_eq!(found("DB_PASSWORD"), Some("hunter2!"));
        assert_eq!(found("MODE"), Some("fast"));
        assert_eq!(found("GONE"), None);
        assert_eq!((found("POD"), found("TEAM")), (Some("test-a"), Some("ml")));
        assert_eq!(container.read("/etc/tls/key.pem").as_deref(), Some("private"));
        assert!(container.host("/gone").unwrap().is_dir());
        container.print("got hunter2! and aHVudGVyMiE= and private");
        assert!(!format!("{:?}", container.operation).contains("hunter2"));
        let files = container
            .operation
            .inputs
            .iter()
            .any(|input| matches!(input.content, Content::Files { .. }));
        Outcome::Failed {
            code: i32::from(files),
            out_of_memory: false,
        }
    });
    bench.store_image_config("alpine", "").await;
    let ran = bench.run(&driver).await;
    let message = ran.record.message.clone().unwrap();
    assert!(
        message.contains("exited with code 1") && message.contains("got *** and *** and ***"),
        "{message}"
    );
}

#[tokio::test]
async fn a_secret_that_is_not_given_is_named() {
    let pod = "secretAsEnv: [{secretName: db, keyToEnv: [{secretKey: password, envVar: DB_PASSWORD}]}]";
    let bench = Bench::new(&on_kubernetes(pod, ONE));
    let ran = bench.run(&Fake::immediate(|_| Outcome::Succeeded)).await;
    assert_eq!(ran.status, RunStatus::Failed);
    let message = ran.record.message.clone().unwrap();
    assert!(
        message.contains("credential db.password is not given"),
        "{message}"
    );
}

#[tokio::test]
async fn volumes_are_kept_across_runs_and_scratch_and_the_workspace_are_not() {
    let pod = "pvcMount: [{mountPath: /data, constant: shared}, {mountPath: /part, pvcNameParameter: {runtimeValue: \
               {constant: shared}}, subPath: a/b}], emptyDirMounts: [{volumeName: v, mountPath: /tmp/empty}]";
    let text = on_kubernetes(pod, ONE).replace(
        "kubernetes:\n",
        "kubernetes:\n    pipelineConfig: {workspace: {size: 1Gi}}\n",
    );
    let bench = Bench::new(&text);
    let driver = Fake::immediate(|container| {
        let before = container.read("/data/count").unwrap_or_default();
        assert_eq!(container.read("/part/file").is_some(), !before.is_empty());
        assert!(container.write("/data/count", format!("{before}x")));
        assert!(container.write("/part/file", "y"));
        for target in ["/tmp/empty/file", "/samebundle/workspace/file"] {
            assert_eq!(container.read(target), None, "{target}");
            assert!(container.write(target, "z"), "{target}");
        }
        Outcome::Succeeded
    });
    for _ in 0..2 {
        assert_eq!(bench.run(&driver).await.status, RunStatus::Succeeded);
        assert!(!bench.plan.run_dir.join("volumes").exists());
    }
    let volume = bench.context.home.volumes().join("shared");
    assert_eq!(std::fs::read_to_string(volume.join("count")).unwrap(), "xx");
    assert_eq!(std::fs::read_to_string(volume.join("a/b/file")).unwrap(), "y");
    // A task may put a link in the place of the folder; nothing outside is mounted through it.
    std::fs::remove_dir_all(volume.join("a")).unwrap();
    std::os::unix::fs::symlink("/", volume.join("a")).unwrap();
    let ran = bench.run(&driver).await;
    let message = ran.record.message.clone().unwrap();
    assert!(message.contains("a/b of the volume is no folder"), "{message}");
}

#[tokio::test]
async fn a_pipeline_makes_and_removes_a_volume_of_its_own() {
    let text = "
components:
  comp-create: {executorLabel: exec-create, inputDefinitions: {parameters: {pvc_name_suffix: {parameterType: STRING, isOptional: true}, pvc_name: {parameterType: STRING, isOptional: true}}}, outputDefinitions: {parameters: {name: {parameterType: STRING}}}}
  comp-delete: {executorLabel: exec-delete, inputDefinitions: {parameters: {pvc_name: {parameterType: STRING}}}}
  comp-c: {executorLabel: exec-c}
deploymentSpec:
  executors:
    exec-create: {container: {image: argostub/createpvc}}
    exec-delete: {container: {image: argostub/deletepvc}}
    exec-c: {container: {image: alpine, command: [x]}}
pipelineInfo: {name: test}
root:
  dag:
    tasks:
      create: {componentRef: {name: comp-create}, inputs: {parameters: {pvc_name_suffix: {runtimeValue: {constant: -mine}}}}}
      write: {componentRef: {name: comp-c}, dependentTasks: [create]}
      read: {componentRef: {name: comp-c}, dependentTasks: [write]}
      delete: {componentRef: {name: comp-delete}, dependentTasks: [read], inputs: {parameters: {pvc_name: {taskOutputParameter: {producerTask: create, outputParameterKey: name}}}}}
schemaVersion: 2.1.0
---
platforms:
  kubernetes:
    deploymentSpec:
      executors:
        exec-c: {pvcMount: [{mountPath: /data, taskOutputParameter: {producerTask: create, outputParameterKey: name}}]}
";
    let driver = || {
        Fake::immediate(|container| {
            let before = container.read("/data/count").unwrap_or_default();
            let expected = if container.operation.name.starts_with("write") {
                ""
            } else {
                "x"
            };
            assert_eq!(before, expected, "{}", container.operation.name);
            assert!(container.write("/data/count", format!("{before}x")));
            Outcome::Succeeded
        })
    };
    let bench = Bench::new(text);
    assert_eq!(bench.plan.pipeline.unsupported(), []);
    assert_eq!(
        bench.plan.pipeline.images().into_iter().collect::<Vec<_>>(),
        ["alpine"]
    );
    for _ in 0..2 {
        let ran = bench.run(&driver()).await;
        assert_eq!(ran.status, RunStatus::Succeeded, "{ran:?}");
        let name = task(&ran, "create").outputs["name"].clone();
        assert_eq!(name, OutputRecord::Value(json!("test-mine")));
    }
    assert_eq!(
        std::fs::read_dir(bench.context.home.volumes()).unwrap().count(),
        0
    );
    // With a name, it is kept until the pipeline that made it removes it.
    let named = text.replace(
        "pvc_name_suffix: {runtimeValue: {constant: -mine}}",
        "pvc_name: {runtimeValue: {constant: own}}",
    );
    let bench = Bench::new(&named);
    for _ in 0..2 {
        assert_eq!(bench.run(&driver()).await.status, RunStatus::Succeeded);
        assert!(!bench.context.home.volumes().join("own").exists());
    }
    // One that was there before stays.
    std::fs::create_dir(bench.context.home.volumes().join("own")).unwrap();
    assert_eq!(bench.run(&driver()).await.status, RunStatus::Succeeded);
    assert!(bench.context.home.volumes().join("own").exists());
    let stays = |event: &Event| matches!(event, Event::Notice { text } if text.contains("volume own was there before"));
    assert!(bench.seen.events.lock().unwrap().iter().any(stays));
}

#[tokio::test]
async fn an_attempt_ends_at_its_deadline() {
    let bench = Bench::new(&on_kubernetes("activeDeadlineSeconds: '1'", ONE));
    let driver = Fake::new(|container| {
        Box::pin(async move {
            container.cancel.cancelled().await;
            Outcome::Cancelled
        })
    });
    let ran = bench.run(&driver).await;
    assert_eq!(ran.status, RunStatus::Failed);
    assert!(
        ran.record.message.clone().unwrap().contains("deadline of 1 s"),
        "{:?}",
        ran.record.message
    );
}
