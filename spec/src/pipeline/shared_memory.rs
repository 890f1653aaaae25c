//! The shared memory that kfp-kubernetes asks for: `enable_shared_memory`, or an `empty_dir_mount` in memory at `/dev/shm`.

use serde_json::Value;

use super::{Component, Implementation, Pipeline};

/// Where shared memory is in every container.
const SHARED_MEMORY: &str = "/dev/shm";

impl Pipeline {
    /// Returns how large `/dev/shm` of a component's container is to be, as Kubernetes writes it; none if the pipeline does
    /// not say it.
    pub fn shared_memory(&self, component: &Component) -> Option<&str> {
        let Implementation::Executor(label) = &component.implementation else {
            return None;
        };
        let executors = self
            .platforms
            .get("kubernetes")?
            .pointer("/deploymentSpec/executors")?;
        let executor = executors.get(&label.value)?;
        let enabled = executor
            .get("enabledSharedMemory")
            .and_then(|asked| asked.get("size"));
        let mounts = executor.get("emptyDirMounts").and_then(Value::as_array);
        let at = |mount: &&Value| mount.get("mountPath").and_then(Value::as_str) == Some(SHARED_MEMORY);
        let mounted = mounts.into_iter().flatten().find(at);
        let size = enabled.or_else(|| mounted?.get("sizeLimit"));
        size.and_then(Value::as_str).filter(|size| !size.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: &str = r#"
components:
  comp-a: {executorLabel: exec-a}
  comp-b: {executorLabel: exec-b}
  comp-c: {executorLabel: exec-c}
deploymentSpec:
  executors:
    exec-a: {container: {image: i, command: [x]}}
    exec-b: {container: {image: i, command: [x]}}
    exec-c: {container: {image: i, command: [x]}}
pipelineInfo: {name: p}
root: {dag: {tasks: {a: {componentRef: {name: comp-a}}, b: {componentRef: {name: comp-b}}, c: {componentRef: {name: comp-c}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.6
---
platforms:
  kubernetes:
    deploymentSpec:
      executors:
        exec-a: {enabledSharedMemory: {volumeName: shm, size: 2Gi}}
        exec-b:
          emptyDirMounts:
          - {volumeName: x, mountPath: /scratch, sizeLimit: 9Gi}
          - {volumeName: shm, mountPath: /dev/shm, medium: Memory, sizeLimit: 1Gi}
"#;

    #[test]
    fn the_size_is_that_of_either_form() {
        let pipeline = Pipeline::parse("pipeline.yaml", PIPELINE.as_bytes()).unwrap();
        let size = |name: &str| pipeline.shared_memory(pipeline.component(name).unwrap());
        assert_eq!(size("comp-a"), Some("2Gi"));
        assert_eq!(size("comp-b"), Some("1Gi"));
        assert_eq!(size("comp-c"), None);
    }
}
