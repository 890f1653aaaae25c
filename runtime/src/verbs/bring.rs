//! `run .`: from what a person names to an installation. A folder or a pipeline's file is built as a working copy; the
//! file or reference of a bundle is installed.
//!
//! A working copy needs no new version and no signature: this process has built it from files of this machine, which is
//! what its record says. It is known in this home only, and what comes from elsewhere never counts as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::trust::Verified;
use samebundle_registry::{Store, durable};
use samebundle_spec::authoring::{self, Authored, ProgramManifest};
use samebundle_spec::bundle::Bundle;
use samebundle_spec::record::Installation;
use samebundle_spec::{BundleName, Digest, Version, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::author::{SiteRegistries, built, inputs, name_from_folder, template};
use super::install::{self, install};
use super::resolve::{installation, open_installed};
use super::{Consent, InstallRequest, LocalName, Location, LocationError, Site, VerbError};
use crate::build::{self, BuildInputs};
use crate::lifecycle;
use crate::opened::OpenedBundle;
use crate::record::Installations;

/// How the source of a working copy begins in records.
pub(super) const WORKING_COPY: &str = "working-copy:";

/// Files that a project has in its topmost folder.
const PROJECT_FILES: [&str; 6] = [
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
    "setup.cfg",
    "environment.yml",
    ".git",
];

/// Endings of files with a pipeline.
const PIPELINES: [&str; 5] = ["py", "ipynb", "yaml", "yml", "json"];

/// What is to run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RunSource {
    /// A folder with `samebundle.yaml`, or with a pipeline.
    Folder(PathBuf),
    /// A pipeline: a `.py`, a notebook, or compiled.
    File(PathBuf),
    /// A bundle.
    Bundle(Location),
}

impl RunSource {
    /// Reads what a person wrote in `folder`. `None` if it is the name of an installation.
    ///
    /// # Errors
    /// If it is a path or reference that names nothing.
    pub fn read(text: &str, folder: &Path) -> Result<Option<Self>, LocationError> {
        if text.contains("://") {
            return Ok(Some(Self::Bundle(text.parse::<Location>()?)));
        }
        let path = folder.join(text);
        let is_path = text.starts_with(['.', '/']) || text.contains('/');
        if is_path && path.is_dir() {
            return Ok(Some(Self::Folder(path)));
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if PIPELINES.contains(&&*ending) && path.is_file() {
            return Ok(Some(Self::File(path)));
        }
        if PIPELINES.contains(&&*ending)
            || (is_path && !text.contains(':') && text.starts_with(['.', '/']) && !path.exists())
        {
            return Err(LocationError::NoFile { path });
        }
        match text.parse::<Location>() {
            Ok(Location::Local(LocalName { version: None, .. })) => Ok(None),
            Ok(location) => Ok(Some(Self::Bundle(location.below(folder)))),
            // A word that is no path is a name that is not valid, and the command says so.
            Err(_) if !is_path => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Makes an installation of what is to run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BringRequest {
    /// What is to run.
    pub source: RunSource,
    /// Which pipeline, where a Python file has several.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// What is accepted of a bundle although the policy does not.
    #[serde(default)]
    pub consent: Consent,
}

/// What was brought.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BringReport {
    /// The installation.
    pub name: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// The bundle's index.
    pub digest: Digest,
}

/// What would be brought: an installation that no record holds, with its bundle.
#[derive(Debug)]
pub struct Foreseen {
    pub(super) installation: Installation,
    pub(super) bundle: Verified<OpenedBundle>,
}

impl Foreseen {
    /// The name of the installation.
    pub fn name(&self) -> &BundleName {
        &self.installation.name
    }

    /// The bundle, with the parameters that a run takes.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle.get().bundle
    }
}

/// Makes an installation of what is to run, or renews it.
///
/// # Errors
/// As `build` and `install`; if the name belongs to an installation of another kind.
pub async fn bring(site: &Site, request: BringRequest) -> Result<BringReport, VerbError> {
    if let Some(there) = there(site, &request.source)? {
        return reported(there);
    }
    match request.source {
        RunSource::Bundle(from) => {
            let request = install_request(from, request.consent);
            let installed = install(site, request).await?.installation;
            said(site, &installed);
            reported(installed)
        }
        RunSource::Folder(_) | RunSource::File(_) => working_copy(site, request).await,
    }
}

/// Finds out what [`bring`] would install, and installs nothing. A project is built, and what that makes stays in the store
/// without a name until content that nothing uses is removed.
///
/// # Errors
/// As [`bring`].
pub async fn foresee(site: &Site, request: BringRequest) -> Result<Foreseen, VerbError> {
    if let Some(installation) = there(site, &request.source)? {
        let bundle = open_installed(site, &site.store().await?, &installation).await?;
        return Ok(Foreseen { installation, bundle });
    }
    match request.source {
        RunSource::Bundle(from) => {
            Box::pin(install::foresee(site, install_request(from, request.consent))).await
        }
        RunSource::Folder(_) | RunSource::File(_) => {
            let (bundle, new) = Box::pin(built_copy(site, request)).await?;
            Ok(Foreseen {
                installation: lifecycle::foresee(&site.context, &bundle, new)?,
                bundle,
            })
        }
    }
}

/// Says what the run that follows runs.
fn said(site: &Site, installed: &Installation) {
    site.step(format!(
        "installed {} {}",
        installed.name,
        installed.known_version()
    ));
}

/// Returns the installation that a reference to the local store names.
fn there(site: &Site, source: &RunSource) -> Result<Option<Installation>, VerbError> {
    let RunSource::Bundle(Location::Local(local)) = source else {
        return Ok(None);
    };
    match Installations::new(site.home()).find(&local.name)? {
        Some(_) => installation(site, local).map(Some),
        None => Ok(None),
    }
}

fn install_request(from: Location, consent: Consent) -> InstallRequest {
    InstallRequest {
        wanted: None,
        from,
        name: None,
        parameters: super::Given::default(),
        credentials: super::CredentialsGiven::default(),
        environment: None,
        consent,
    }
}

fn reported(installation: Installation) -> Result<BringReport, VerbError> {
    Ok(BringReport {
        version: installation.known_version().parse().map_err(VerbError::Name)?,
        digest: installation.index.digest,
        name: installation.name,
    })
}

/// What a working copy, or source of a repository, is built from.
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) manifest: ProgramManifest,
}

impl Project {
    /// A folder with `samebundle.yaml`, or with a single pipeline. What lies above `root` does not belong to it.
    pub(super) fn of_folder(folder: PathBuf, root: Option<&Path>) -> Result<Self, VerbError> {
        if folder.join(build::MANIFEST).exists() {
            let manifest = build::read_manifest(&folder)?;
            return Ok(Self { folder, manifest });
        }
        match find_pipeline(&folder) {
            Some(below) => Self::of_file(&folder.join(below), root),
            None => Err(VerbError::Usage(format!(
                "{} has neither samebundle.yaml nor pipeline.py: name the pipeline's file, or write a samebundle.yaml with \
                 `init {} --from FILE`",
                folder.display(),
                folder.display()
            ))),
        }
    }

    /// A pipeline's file. The `samebundle.yaml` above it says the rest, if there is one.
    pub(super) fn of_file(file: &Path, root: Option<&Path>) -> Result<Self, VerbError> {
        let root = root.map(|root| root.canonicalize().map_err(VerbError::io("read", root)));
        let root = root.transpose()?;
        let file = file.canonicalize().map_err(VerbError::io("read", file))?;
        let own = file.parent().unwrap_or(Path::new("/"));
        let above = |names: &[&str]| {
            let within = |folder: &&Path| root.as_ref().is_none_or(|root| folder.starts_with(root));
            let mut folders = own.ancestors().take_while(within);
            folders.find(|folder| names.iter().any(|name| folder.join(name).exists()))
        };
        let described = above(&[build::MANIFEST]);
        let folder = described
            .or_else(|| above(&PROJECT_FILES))
            .unwrap_or(own)
            .to_owned();
        let below = file
            .strip_prefix(&folder)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        let mut manifest = match described {
            Some(folder) => build::read_manifest(folder)?,
            None => without_manifest(&folder, &file, &below)?,
        };
        if manifest.program.pipeline.as_str() != below {
            manifest.program.pipeline = below.parse().map_err(VerbError::Name)?;
            manifest.program.function = None;
            manifest.name = name_of(&folder, &file)?;
        }
        Ok(Self { folder, manifest })
    }
}

/// Finds the pipeline of a folder, relative to it: one of the usual names, or the only Python file in the folder, or in its
/// `pipelines/` or `src/`, that has a pipeline.
pub(super) fn find_pipeline(folder: &Path) -> Option<PathBuf> {
    let usual = [
        "pipeline.py",
        "pipelines/pipeline.py",
        "src/pipeline.py",
        "pipeline.yaml",
        "pipeline.ipynb",
    ];
    if let Some(name) = usual.iter().find(|name| folder.join(name).is_file()) {
        return Some(PathBuf::from(name));
    }
    let has_pipeline = |path: &PathBuf| {
        let is_python = path.extension().is_some_and(|ending| ending == "py");
        let text = is_python
            .then(|| durable::read_named(&folder.join(path), limits::AUTHORING_BYTES).ok())
            .flatten();
        text.is_some_and(|text| String::from_utf8_lossy(&text).contains("@dsl.pipeline"))
    };
    let below = |part: &'static str| {
        let entries = std::fs::read_dir(folder.join(part))
            .into_iter()
            .flatten()
            .flatten();
        entries.map(move |entry| Path::new(part).join(entry.file_name()))
    };
    let all = ["", "pipelines", "src"].into_iter().flat_map(below);
    let mut found = all.filter(has_pipeline);
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

/// The manifest of a pipeline that has none.
fn without_manifest(folder: &Path, file: &Path, below: &str) -> Result<ProgramManifest, VerbError> {
    let text = template(&name_of(folder, file)?, below);
    let path = folder.join(build::MANIFEST);
    match authoring::parse(text.as_bytes()) {
        Ok(Authored::Program(manifest)) => Ok(*manifest),
        Ok(_) => Err(VerbError::Usage(format!("{} is no program", path.display()))),
        Err(source) => Err(build::BuildError::Authoring { path, source }.into()),
    }
}

/// Names a working copy after its file, or after the folder where the file has the usual name.
fn name_of(folder: &Path, file: &Path) -> Result<BundleName, VerbError> {
    let stem = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    match stem.parse() {
        Ok(name) if stem != "pipeline" => Ok(name),
        _ => name_from_folder(folder),
    }
}

async fn working_copy(site: &Site, request: BringRequest) -> Result<BringReport, VerbError> {
    let (bundle, new) = built_copy(site, request).await?;
    let layout = site.store().await?;
    let machine = site.machine(&layout, None).await?;
    let installed = lifecycle::install(&site.context, Arc::new(layout), &machine, bundle, new).await?;
    said(site, &installed.installation);
    reported(installed.installation)
}

/// Builds a project, and says as what it is to be installed.
async fn built_copy(
    site: &Site,
    request: BringRequest,
) -> Result<(Verified<OpenedBundle>, lifecycle::NewInstallation), VerbError> {
    let Project { folder, manifest } = match request.source {
        RunSource::File(file) => Project::of_file(&file, None)?,
        RunSource::Folder(folder) => Project::of_folder(folder, None)?,
        RunSource::Bundle(_) => return Err(VerbError::Usage("a bundle is no working copy".to_owned())),
    };
    let name = manifest.name.clone();
    let place = folder.canonicalize().map_err(VerbError::io("read", &folder))?;
    free_for_a_copy(site, &name)?;
    let layout = site.store().await?;
    let store: Arc<dyn Store> = Arc::new(layout.clone());
    let registries = SiteRegistries(site);
    let inputs = BuildInputs {
        function: request.pipeline.as_deref(),
        manifest: Some(manifest),
        release: false,
        ..inputs(site, &folder, &store, &[], &registries)
    };
    let built = built(site, &inputs).await?;
    let verified = Verified::by_consent(built.index.clone(), "built in this home from a working copy");
    let new = lifecycle::NewInstallation {
        name: Some(name),
        source: format!("{WORKING_COPY}{}@{}", place.display(), built.index.digest),
        exported: None,
        parameters: std::collections::BTreeMap::new(),
        credentials: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
        replace: true,
    };
    Ok((verified.open(&layout).await?, new))
}

/// Refuses a name that belongs to an installation of another kind.
fn free_for_a_copy(site: &Site, name: &BundleName) -> Result<(), VerbError> {
    let before = Installations::new(site.home()).find(name)?;
    match before.filter(|before| !before.source.starts_with(WORKING_COPY)) {
        None => Ok(()),
        Some(before) => Err(VerbError::Usage(format!(
            "{name} is installed from {}: a working copy of that name would replace it; uninstall it, or give the working \
             copy another name in samebundle.yaml",
            before.source
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_pipeline_of_a_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("pipelines/steps.py", "@dsl.component\n");
        assert_eq!(find_pipeline(folder.path()), None);
        write("pipelines/churn.py", "@dsl.pipeline\n");
        assert_eq!(find_pipeline(folder.path()), Some("pipelines/churn.py".into()));
        write("other.py", "@dsl.pipeline\n");
        assert_eq!(find_pipeline(folder.path()), None, "which of two?");
        write("pipelines/pipeline.py", "");
        assert_eq!(find_pipeline(folder.path()), Some("pipelines/pipeline.py".into()));
    }

    #[test]
    fn names_paths_and_references_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("digits")).unwrap();
        for file in ["train.py", "digits/p.ipynb"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let read = |text: &str| RunSource::read(text, folder.path());
        assert!(
            read("digits").unwrap().is_none(),
            "a plain word names an installation"
        );
        assert!(matches!(read("./digits"), Ok(Some(RunSource::Folder(_)))));
        assert!(matches!(read("."), Ok(Some(RunSource::Folder(_)))));
        assert!(matches!(read("train.py"), Ok(Some(RunSource::File(_)))));
        assert!(matches!(read("digits/p.ipynb"), Ok(Some(RunSource::File(_)))));
        for text in [
            "x.tgz",
            "registry.example/a/b:1",
            "layout:l",
            "digits:1.0.0",
            "arXiv.1303.5778v1:1.0",
            "https://h.example/o/r/p:1.0",
            "git+file:///srv/r@1.0#train.py",
        ] {
            assert!(matches!(read(text), Ok(Some(RunSource::Bundle(_)))), "{text}");
        }
        assert!(read("./nosuch").is_err());
        assert!(read("nosuch.py").is_err());
        assert!(read("NoName").unwrap().is_none());
    }
}
