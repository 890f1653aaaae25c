//! Layers of installed packages: what a component's `pip install` lines write into its root is made once and then
//! overlaid, so that its own unchanged command finds all requirements satisfied.
//!
//! A layer belongs to a key: image manifest, install lines, wheelhouse. For the first task with a key, a container of the
//! image says which wheels its pip would install ([`choose`]); they are unpacked here ([`wheels`]) and compiled in a
//! second container ([`compile`]). Where something does not fit, a container runs pip instead, and what it wrote becomes
//! a layer in the store. What is kept is a cache ([`kept`]): if the memory or the layer is missing, it is made again.
//! Concurrency: there is one kernel lock for each key, so two runs do not install the same packages twice. Failure: if
//! installing fails (a wheel is missing), the task runs without a layer and its own pip prints why.

mod choose;
mod compile;
mod kept;
mod wheels;

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use samebundle_registry::StoreError;
use samebundle_registry::durable;
use samebundle_spec::pipeline::{Container, InstallLine};
use samebundle_spec::{Algorithm, Descriptor, Digest, Digester, MediaType, limits};

use super::Execution;
use super::container::operation_name;
use super::folder::Folder;
use super::wheelhouse::{self, Wheelhouse};
use crate::driver::{Content, DriverError, Input, Operation, Outcome, Output, Staging};
use crate::event::Event;
use crate::image::beneath;
use crate::meter::Meter;
use crate::record::TaskLines;
use choose::Choice;
use kept::Place;

pub(crate) use kept::kept_layer;

/// A part of every key, which changes with the command that installs.
const FORM: &str = "4";

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
    /// The wheels cannot be unpacked without pip.
    #[error("{0}")]
    Unfit(String),
    #[error("the run was cancelled")]
    Cancelled,
}

/// What a task wants to be installed.
struct Wanted<'a> {
    task: &'a str,
    wheels: &'a Wheelhouse,
    key: Digest,
    image: &'a Descriptor,
    lines: &'a [InstallLine],
}

/// A layer of installed packages.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) layer: Descriptor,
    /// Its folder, if it is not in the store.
    pub(super) folder: Option<PathBuf>,
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
    /// Returns the layers that are put over a task's image, and the folders of those that are not in the store. None if
    /// the run was cancelled meanwhile.
    pub(super) async fn installed_layers(
        &self,
        path: &str,
        container: &Container,
        image: &Descriptor,
    ) -> Option<Vec<Installed>> {
        let lines = container.install_lines();
        let Some(wheels) = self.wheelhouse.as_ref().filter(|_| !lines.is_empty()) else {
            return Some(Vec::new());
        };
        let wanted = Wanted {
            task: path,
            wheels,
            key: key(&image.digest, &lines, &wheels.layer.digest),
            image,
            lines: &lines,
        };
        match self.layer(&wanted).await {
            Ok(layer) => Some(vec![layer]),
            Err(InstallError::Cancelled) => None,
            Err(error) => {
                self.notice(format!(
                    "packages of task {path} are installed by the task itself: {error}"
                ));
                Some(Vec::new())
            }
        }
    }

    fn notice(&self, text: String) {
        self.context.events.emit(Event::Notice { text });
    }

    async fn layer(&self, wanted: &Wanted<'_>) -> Result<Installed, InstallError> {
        let place = Place::new(&self.context.home.layers(), wanted.key);
        std::fs::create_dir_all(place.parent()).map_err(file("make", place.parent()))?;
        let _lock = self.lock(&place.lock()).await?;
        if let Some(installed) = self.remembered(&place).await? {
            return Ok(installed);
        }
        self.context.events.emit(Event::Step {
            name: format!(
                "install the packages of task {} (once, then they are kept)",
                wanted.task
            ),
        });
        let parent = self.context.home.scratch();
        let scratch = tempfile::Builder::new().prefix("install-").tempdir_in(&parent);
        let scratch = scratch.map_err(file("make a folder in", &parent))?;
        let layer = match self.unpack(wanted, &place, scratch.path()).await {
            Err(InstallError::Unfit(why)) => {
                self.notice(format!(
                    "pip installs the packages of task {}, which takes longer: {why}",
                    wanted.task
                ));
                self.install(wanted, scratch.path()).await?
            }
            other => other?,
        };
        let remembered = place.remember(&layer, wanted.image.digest, wanted.wheels.layer.digest);
        remembered.map_err(file("write", &place.memory()))?;
        Ok(Installed {
            folder: place.folder_of(&layer),
            layer,
        })
    }

    /// Returns the layer of an earlier task or run, if it is still there.
    async fn remembered(&self, place: &Place) -> Result<Option<Installed>, InstallError> {
        let Some(kept) = kept_layer(&place.memory()) else {
            return Ok(None);
        };
        let folder = place.folder_of(&kept.layer);
        let there = match &folder {
            Some(folder) => folder.is_dir(),
            None => self.store.contains(&kept.layer).await?,
        };
        Ok(there.then_some(Installed {
            layer: kept.layer,
            folder,
        }))
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

    /// Unpacks the wheels that fit and compiles them.
    async fn unpack(
        &self,
        wanted: &Wanted<'_>,
        place: &Place,
        scratch: &Path,
    ) -> Result<Descriptor, InstallError> {
        let choice = self.choose(wanted, scratch).await?;
        let root = scratch.join("packages");
        std::fs::create_dir(&root).map_err(file("make", &root))?;
        let folder = wanted.wheels.folder().to_owned();
        let planned = blocking(move || Ok((wheels::plan(&folder, &choice)?, choice))).await;
        let (plan, choice) = planned.map_err(unfit)?;
        let (bytes, choice) = (plan.bytes, Arc::new(choice));
        let meter = Meter::new(
            format!("unpack the packages of task {}", wanted.task),
            Some(plan.wheels() as u64),
            Some(bytes),
        );
        let (choice_, root_, meter_) = (Arc::clone(&choice), root.clone(), meter.clone());
        let work = blocking(move || plan.write(&root_, &choice_, &meter_));
        let written = meter.watch(&*self.context.events, work).await;
        written.map_err(unfit)?;
        self.compile(wanted, place, &choice, &root, scratch).await?;
        let (from, to, parent) = (root, place.unpacked(), place.parent().to_owned());
        let kept = blocking(move || {
            beneath::remove_path(&to)?;
            // The rename must not become durable before the files do.
            rustix::fs::syncfs(File::open(&from)?)?;
            std::fs::set_permissions(&from, PermissionsExt::from_mode(0o755))?;
            std::fs::rename(&from, &to)?;
            durable::sync_folder(&parent)
        });
        kept.await.map_err(file("keep", &place.unpacked()))?;
        Ok(place.layer(bytes))
    }

    /// Asks the image's Python what its pip would install.
    async fn choose(&self, wanted: &Wanted<'_>, scratch: &Path) -> Result<Choice, InstallError> {
        const TARGET: &str = "/samebundle/choice";
        let question = choose::question(wanted.lines)
            .ok_or_else(|| InstallError::Unfit("a line has an option that only pip knows".to_owned()))?;
        let answer = Output::Folder {
            target: TARGET.to_owned(),
            folders: Vec::new(),
        };
        let folder = scratch.join("choice");
        let (input, wheels) = wanted.wheels.to_input();
        let mut staging = Staging::default();
        staging.input(&input, wheels);
        staging.output(&answer, &folder);
        let path = format!("{TARGET}/{}", choose::ANSWER);
        let command = ["python3", "-c", choose::PROGRAM, &question, &path].map(str::to_owned);
        let operation = self.operation_for(wanted, "choose", command.to_vec(), vec![input], vec![answer]);
        match self.helper(&operation, &staging).await? {
            Outcome::Succeeded => {}
            Outcome::Failed { code, .. } => {
                return Err(InstallError::Unfit(format!("its Python exited with code {code}")));
            }
            Outcome::Cancelled => return Err(InstallError::Cancelled),
        }
        let text = Folder::open(&folder, "")
            .and_then(|folder| folder.read(choose::ANSWER, limits::MANIFEST_BYTES))
            .map_err(|error| InstallError::Unfit(error.to_string()))?;
        choose::read(&text.unwrap_or_default(), wanted.wheels.folder()).map_err(unfit)
    }

    /// Compiles unpacked packages. That it fails costs time, and nothing else.
    async fn compile(
        &self,
        wanted: &Wanted<'_>,
        place: &Place,
        choice: &Choice,
        root: &Path,
        scratch: &Path,
    ) -> Result<(), InstallError> {
        let input = Input {
            target: compile::PACKAGES.to_owned(),
            content: Content::Layer(Box::new(place.layer(0))),
        };
        let code = Output::Folder {
            target: compile::CODE.to_owned(),
            folders: Vec::new(),
        };
        let folder = scratch.join("bytecode");
        let mut staging = Staging::default();
        staging.input(&input, root);
        staging.output(&code, &folder);
        let mut operation = self.operation_for(
            wanted,
            "compile",
            compile::command(choice),
            vec![input],
            vec![code],
        );
        let prefix = ("PYTHONPYCACHEPREFIX".to_owned(), compile::CODE.to_owned());
        operation.environment.extend([prefix]);
        let meter = Meter::new(
            format!("compile the packages of task {}", wanted.task),
            None,
            None,
        );
        let work = self.helper(&operation, &staging);
        if meter.watch(&*self.context.events, work).await? == Outcome::Cancelled {
            return Err(InstallError::Cancelled);
        }
        let packages = root.to_owned();
        let taken = blocking(move || {
            compile::take(&folder, &packages)?;
            compile::take_of_image(&folder, &packages)
        })
        .await;
        taken.map_err(file("keep compiled modules in", root))
    }

    async fn helper(&self, operation: &Operation, staging: &Staging) -> Result<Outcome, InstallError> {
        let log = TaskLines {
            task: "install",
            log: self.log,
        };
        Ok(self.driver.run(operation, staging, &log, &self.halt).await?)
    }

    /// A container of the image that only prepares.
    fn operation_for(
        &self,
        wanted: &Wanted<'_>,
        what: &str,
        command: Vec<String>,
        inputs: Vec<Input>,
        outputs: Vec<Output>,
    ) -> Operation {
        Operation {
            run_id: self.plan.run_id.clone(),
            name: operation_name(&format!("{what} {}", wanted.key.short()), 1),
            image: wanted.image.clone(),
            extra_layers: Vec::new(),
            command,
            environment: wheelhouse::environment(),
            inputs,
            outputs,
            // Packages belong to the system, whatever user the image names for its programs.
            user: Some("0".to_owned()),
            volumes: Vec::new(),
            limits: crate::driver::Limits {
                network: false,
                ..self.plan.limits.clone()
            },
            working_dir: None,
        }
    }

    /// Runs a container in which pip installs, and keeps what it wrote as a layer in the store.
    async fn install(&self, wanted: &Wanted<'_>, scratch: &Path) -> Result<Descriptor, InstallError> {
        let tar = scratch.join("layer.tar");
        let (input, folder) = wanted.wheels.to_input();
        let mut staging = Staging::default();
        staging.input(&input, folder);
        staging.output(&Output::Root, &tar);
        let command = vec!["sh".to_owned(), "-ec".to_owned(), script(wanted.lines)];
        let operation = self.operation_for(wanted, "install", command, vec![input], vec![Output::Root]);
        match self.helper(&operation, &staging).await? {
            Outcome::Succeeded => {}
            Outcome::Failed { code, .. } => return Err(InstallError::Failed(code)),
            Outcome::Cancelled => return Err(InstallError::Cancelled),
        }
        let layer = describe(&tar).await?;
        let content = tokio::fs::File::open(&tar).await.map_err(file("read", &tar))?;
        self.store.push(&layer, Box::pin(content)).await?;
        Ok(layer)
    }
}

/// Does work on files on a thread for blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::from)?
}

/// What is refused is left to pip; an error of this machine is one.
fn unfit(error: io::Error) -> InstallError {
    InstallError::Unfit(error.to_string())
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

async fn describe(tar: &Path) -> Result<Descriptor, InstallError> {
    let path = tar.to_owned();
    let hashed =
        tokio::task::spawn_blocking(move || Digest::of_reader(Algorithm::Sha256, File::open(&path)?));
    let hashed = hashed.await.map_err(io::Error::from).and_then(|hashed| hashed);
    let (digest, size) = hashed.map_err(file("read", tar))?;
    Ok(Descriptor::new(MediaType::OCI_LAYER, digest, size))
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::{Cursor, Write};

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// Makes a wheel of files.
    pub(in super::super) fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }
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
