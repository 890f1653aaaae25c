//! Layers of installed packages: what a component's `pip install` lines write into its root is made once and then
//! overlaid, so that its own unchanged command finds all requirements satisfied.
//!
//! A layer belongs to a key: image manifest, install lines, wheelhouse. The first task with a key runs a container that
//! only installs; what that container wrote becomes a layer in the store, and a small file `KEY.json` names it. Both
//! are a cache: if the file or the layer is missing, it is made again. Concurrency: there is one kernel lock for each
//! key, so two runs do not install the same packages twice. Failure: if installing fails (a wheel is missing), the task
//! runs without a layer and its own pip prints why.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use samebundle_registry::StoreError;
use samebundle_registry::durable;
use samebundle_spec::pipeline::{Container, InstallLine};
use samebundle_spec::{Algorithm, Descriptor, Digest, Digester, MediaType, limits};

use super::Execution;
use super::container::operation_name;
use super::wheelhouse::{self, Wheelhouse};
use crate::driver::{DriverError, Operation, Outcome, Output, Staging};
use crate::event::Event;
use crate::record::TaskLines;

/// A part of every key, which changes with the command that installs.
const FORM: &str = "2";

/// Why there is no layer of installed packages.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("{operation} {}: {source}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("pip exited with code {0}")]
    Failed(i32),
    #[error("the run was cancelled")]
    Cancelled,
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File {
        operation,
        path,
        source,
    }
}

impl Execution<'_> {
    /// Returns the layers that are put over a task's image. None if the run was cancelled meanwhile.
    pub(super) async fn installed_layers(
        &self,
        path: &str,
        container: &Container,
        image: &Descriptor,
    ) -> Option<Vec<Descriptor>> {
        let lines = container.install_lines();
        let Some(wheels) = self.wheelhouse.as_ref().filter(|_| !lines.is_empty()) else {
            return Some(Vec::new());
        };
        let key = key(&image.digest, &lines, &wheels.layer.digest);
        match self.layer(path, wheels, &key, image, &lines).await {
            Ok(layer) => Some(vec![layer]),
            Err(InstallError::Cancelled) => None,
            Err(error) => {
                self.context.events.emit(Event::Notice {
                    text: format!("packages of task {path} are installed by the task itself: {error}"),
                });
                Some(Vec::new())
            }
        }
    }

    async fn layer(
        &self,
        path: &str,
        wheels: &Wheelhouse,
        key: &Digest,
        image: &Descriptor,
        lines: &[InstallLine],
    ) -> Result<Descriptor, InstallError> {
        let folder = self.context.home.layers().join("installed");
        std::fs::create_dir_all(&folder).map_err(file("make", &folder))?;
        let memory = folder.join(format!("{}.json", key.hex()));
        let _lock = self.lock(&folder.join(format!("{}.lock", key.hex()))).await?;
        if let Some(layer) = remembered(&memory)
            && self.store.contains(&layer).await?
        {
            return Ok(layer);
        }
        self.context.events.emit(Event::Step {
            name: format!("install the packages of task {path} (once, then they are kept)"),
        });
        let parent = self.context.home.scratch();
        let scratch = tempfile::Builder::new().prefix("install-").tempdir_in(&parent);
        let scratch = scratch.map_err(file("make a folder in", &parent))?;
        let tar = scratch.path().join("layer.tar");
        self.install(wheels, key, image, lines, &tar).await?;
        let layer = describe(&tar).await?;
        let content = tokio::fs::File::open(&tar).await.map_err(file("read", &tar))?;
        self.store.push(&layer, Box::pin(content)).await?;
        let remembered = layer.clone().with_annotation(MADE_FOR, image.digest.to_string());
        let text = serde_json::to_vec(&remembered)
            .map_err(io::Error::from)
            .map_err(file("write", &memory))?;
        durable::write(&memory, &text, 0o644).map_err(file("write", &memory))?;
        Ok(layer)
    }

    /// Waits for the lock of a key without blocking a thread.
    async fn lock(&self, path: &Path) -> Result<File, InstallError> {
        const PAUSE: Duration = Duration::from_millis(50);
        loop {
            if let Some(lock) = durable::try_lock(path).map_err(file("lock", path))? {
                return Ok(lock);
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.halt.cancelled() => return Err(InstallError::Cancelled),
            }
        }
    }

    /// Runs a container that only installs, and keeps what it wrote as a tar.
    async fn install(
        &self,
        wheels: &Wheelhouse,
        key: &Digest,
        image: &Descriptor,
        lines: &[InstallLine],
        tar: &Path,
    ) -> Result<(), InstallError> {
        let (input, folder) = wheels.to_input();
        let mut staging = Staging::default();
        staging.input(&input, folder);
        staging.output(&Output::Root, tar);
        let operation = Operation {
            run_id: self.plan.run_id.clone(),
            name: operation_name(&format!("install {}", key.short()), 1),
            image: image.clone(),
            extra_layers: Vec::new(),
            command: vec!["sh".to_owned(), "-ec".to_owned(), script(lines)],
            environment: wheelhouse::environment(),
            // The packages are for every user of the image, whose own user may not even have a home to install to.
            user: Some("0".to_owned()),
            inputs: vec![input],
            outputs: vec![Output::Root],
            limits: crate::driver::Limits {
                network: false,
                ..self.plan.limits.clone()
            },
            volumes: Vec::new(),
            working_dir: None,
        };
        let log = TaskLines {
            task: "install",
            log: self.log,
        };
        match self.driver.run(&operation, &staging, &log, &self.halt).await? {
            Outcome::Succeeded => Ok(()),
            Outcome::Failed { code, .. } => Err(InstallError::Failed(code)),
            Outcome::Cancelled => Err(InstallError::Cancelled),
        }
    }
}

/// Returns the key of a layer, a digest of what it is made from.
fn key(image: &Digest, lines: &[InstallLine], wheelhouse: &Digest) -> Digest {
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut add = |text: &str| {
        digester.update(&(text.len() as u64).to_be_bytes());
        digester.update(text.as_bytes());
    };
    [FORM, &image.to_string(), &wheelhouse.to_string()]
        .into_iter()
        .for_each(&mut add);
    for line in lines {
        add(&line.arguments.len().to_string());
        line.arguments.iter().for_each(|word| add(word));
    }
    digester.finish()
}

/// The component's own lines, one after the other, without its program. pip would compile what it installs on one core,
/// which takes most of the time; here all cores compile. Modules that cannot be compiled now, or are in another folder,
/// are compiled when they are imported.
fn script(lines: &[InstallLine]) -> String {
    let mut script =
        String::from("command -v pip >/dev/null || python3 -m ensurepip || python3 -m ensurepip --user\n");
    for line in lines {
        script.push_str("python3 -m pip install --no-compile");
        for word in &line.arguments {
            script.push_str(&format!(" '{}'", word.replace('\'', r"'\''")));
        }
        script.push('\n');
    }
    script.push_str(COMPILE);
    script
}

/// If processes cannot share work (without semaphores), one process does it alone.
const COMPILE: &str = r#"
place=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
python3 -m compileall -q -j 0 "$place" >/dev/null 2>&1 || python3 -m compileall -q "$place" >/dev/null 2>&1 || true
"#;

/// The annotation of a remembered layer that names its image: the layer is kept as long as the image is.
const MADE_FOR: &str = "dev.samebundle.image";

fn remembered(memory: &Path) -> Option<Descriptor> {
    read(memory).map(|layer| layer.bare())
}

fn read(memory: &Path) -> Option<Descriptor> {
    let mut bytes = Vec::new();
    let file = File::open(memory).ok()?;
    file.take(limits::MANIFEST_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Reads from a file `KEY.json` which layer of installed packages is in the store, and for which image it was made.
/// `None` if the file cannot be read; then the layer is made again.
pub(crate) fn kept_layer(memory: &Path) -> Option<(Descriptor, samebundle_spec::Digest)> {
    let layer = read(memory)?;
    let image = layer.annotations.get(MADE_FOR)?.parse().ok()?;
    Some((layer.bare(), image))
}

async fn describe(tar: &Path) -> Result<Descriptor, InstallError> {
    let path = tar.to_owned();
    let hashed =
        tokio::task::spawn_blocking(move || Digest::of_reader(Algorithm::Sha256, File::open(&path)?));
    let hashed = hashed.await.map_err(io::Error::from).and_then(|hashed| hashed);
    let (digest, size) = hashed.map_err(file("read", tar))?;
    Ok(Descriptor::new(MediaType::OCI_LAYER, digest, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> InstallLine {
        InstallLine {
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn a_key_tells_all_that_matters_apart() {
        let (image, wheels) = (Digest::sha256(b"i"), Digest::sha256(b"w"));
        let base = key(&image, &[line(&["a", "b"])], &wheels);
        assert_eq!(base, key(&image, &[line(&["a", "b"])], &wheels));
        for other in [
            key(&wheels, &[line(&["a", "b"])], &wheels),
            key(&image, &[line(&["a", "b"])], &image),
            key(&image, &[line(&["ab"])], &wheels),
            key(&image, &[line(&["a"]), line(&["b"])], &wheels),
            key(&image, &[line(&["b", "a"])], &wheels),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn words_reach_pip_as_they_are() {
        let script = script(&[line(&["--quiet", "a; rm -rf /", "it's"])]);
        assert!(
            script.contains("\npython3 -m pip install --no-compile '--quiet' 'a; rm -rf /' 'it'\\''s'\n"),
            "{script}"
        );
    }
}
