//! Provides every image that a pipeline names: from a layout, an archive or a registry, or made here from a base and
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::StoreError;
use samebundle_registry::archive;
use samebundle_registry::chunk::Codec;
use samebundle_registry::layout::Layout;
use samebundle_registry::store::Origin;
use samebundle_spec::authoring::{FileCopy, ImageBuild, ImageOrigin, ImageSource};
use samebundle_spec::pipeline::Pipeline;
use samebundle_spec::{Descriptor, ImageConfig, MediaType, Reference, limits};

use super::error::{BuildError, ImageError};
use super::image::{bring, compose};
use super::tarball::{Entry, Tarball};
use super::{BuildInputs, is_inside};
use crate::context::Context;
use crate::event::Event;
use crate::image::Image;
use crate::layer::Layer;

/// Opens the registries of images. The caller provides credentials and connections.
#[async_trait]
pub trait Registries: std::fmt::Debug + Send + Sync {
    /// Opens the repository of a reference and resolves the reference. Without tag and digest it means the tag
    /// `latest`.
    ///
    /// # Errors
    /// If the registry cannot be reached, refuses, or does not have the image.
    async fn open(&self, reference: &Reference) -> Result<(Arc<dyn Origin>, Descriptor), StoreError>;
}

/// The annotation with the name of an entry in an image layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The images of a pipeline.
#[derive(Debug)]
pub(super) struct Provided {
    /// The images by their names in the pipeline.
    pub(super) images: BTreeMap<String, Image>,
    /// The chunk indexes of the layers that were made here.
    pub(super) indexes: Vec<Descriptor>,
}

/// The names of the images that a bundle carries: those of the pipeline; where inputs choose, also those that they are shown
/// to choose, and what `samebundle.yaml` names besides.
pub(super) fn named(pipeline: &Pipeline, sources: &BTreeMap<String, ImageSource>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = pipeline.images().into_iter().map(str::to_owned).collect();
    if pipeline.chooses_images() {
        names.extend(pipeline.chosen_images());
        names.extend(sources.keys().cloned());
    }
    names
}

/// Provides the images of a pipeline, by their names in it.
pub(super) async fn provide(
    inputs: &BuildInputs<'_>,
    pipeline: &Pipeline,
    sources: &BTreeMap<String, ImageSource>,
    context: &Context,
) -> Result<Provided, BuildError> {
    let mut images = BTreeMap::new();
    let mut indexes = Vec::new();
    for name in &named(pipeline, sources) {
        let name = name.as_str();
        let from = |origin| fetch(inputs, name, origin, context);
        let image = match sources.get(name) {
            Some(ImageSource::From(origin)) => from(origin.clone()).await?,
            Some(ImageSource::Build(build)) => {
                let (image, index) = make(inputs, name, build, context).await?;
                indexes.extend(index);
                image
            }
            None => {
                let reference = Reference::parse_docker(name).map_err(|source| ImageError::Name {
                    image: name.to_owned(),
                    source,
                })?;
                from(ImageOrigin::Registry(reference)).await?
            }
        };
        images.insert(name.to_owned(), image);
    }
    Ok(Provided { images, indexes })
}

async fn fetch(
    inputs: &BuildInputs<'_>,
    name: &str,
    origin: ImageOrigin,
    context: &Context,
) -> Result<Image, BuildError> {
    context.events.emit(Event::Step {
        name: format!("fetch image {name} from {origin}"),
    });
    let unavailable = |source| ImageError::Unavailable {
        image: name.to_owned(),
        place: origin.to_string(),
        source,
    };
    let (source, root) = match &origin {
        ImageOrigin::Layout(text) => {
            let (path, wanted) = split(inputs.sources, text, Path::is_dir);
            let layout = Layout::open(&path).await.map_err(unavailable)?;
            let entries = layout.entries().await.map_err(unavailable)?;
            let root = choose(name, &origin, wanted, &entries)?;
            (Arc::new(layout) as Arc<dyn Origin>, root)
        }
        ImageOrigin::Archive(text) => {
            let (path, wanted) = split(inputs.sources, text, Path::is_file);
            let archive = archive::open(&path, &context.home.scratch())
                .await
                .map_err(unavailable)?;
            let root = choose(name, &origin, wanted, archive.entries())?;
            (Arc::new(archive) as Arc<dyn Origin>, root)
        }
        ImageOrigin::Registry(reference) => {
            if context.offline {
                let (image, place) = (name.to_owned(), reference.to_string());
                return Err(ImageError::Offline { image, place }.into());
            }
            inputs.registries.open(reference).await.map_err(unavailable)?
        }
    };
    bring(name, &*source, &root, &**inputs.store, context).await
}

/// Splits `PATH` or `PATH:NAME`. Names of images contain colons, and names of folders may: the first split whose path
/// exists counts.
fn split<'a>(sources: &Path, text: &'a str, there: fn(&Path) -> bool) -> (PathBuf, Option<&'a str>) {
    let whole = (text, None);
    let parts = text
        .match_indices(':')
        .map(|(at, _)| (&text[..at], Some(&text[at + 1..])));
    let mut ways = std::iter::once(whole).chain(parts);
    let (path, wanted) = ways.find(|(path, _)| there(&sources.join(path))).unwrap_or(whole);
    (sources.join(path), wanted)
}

/// Finds an image among the entries of a layout or an archive.
fn choose(
    image: &str,
    origin: &ImageOrigin,
    wanted: Option<&str>,
    entries: &[Descriptor],
) -> Result<Descriptor, ImageError> {
    let (image, place) = (image.to_owned(), origin.to_string());
    pick(&image, wanted, entries).map_err(|found| match wanted {
        Some(wanted) => {
            let source = StoreError::NotFound {
                subject: wanted.to_owned(),
                place: place.clone(),
            };
            ImageError::Unavailable { image, place, source }
        }
        None => ImageError::Ambiguous { image, place, found },
    })
}

/// Finds the entry that is meant; otherwise returns how many entries there are.
fn pick(image: &str, wanted: Option<&str>, entries: &[Descriptor]) -> Result<Descriptor, usize> {
    let images: Vec<_> = entries
        .iter()
        .filter(|entry| entry.media_type.has_children())
        .collect();
    let named = |name: &str| {
        let entry = images
            .iter()
            .find(|entry| entry.annotations.get(REF_NAME).is_some_and(|found| found == name));
        entry.map(|entry| (**entry).clone())
    };
    if let Some(wanted) = wanted {
        return named(wanted).ok_or(0);
    }
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':'));
    match images.as_slice() {
        [only] => Ok((*only).clone()),
        _ => named(image)
            .or_else(|| tag.and_then(|(_, tag)| named(tag)))
            .ok_or(images.len()),
    }
}

/// Makes an image from a base, one layer of files, and a command. Returns it with the chunk index of that layer.
async fn make(
    inputs: &BuildInputs<'_>,
    name: &str,
    build: &ImageBuild,
    context: &Context,
) -> Result<(Image, Option<Descriptor>), BuildError> {
    let base = match &build.base {
        Some(origin) => Some(fetch(inputs, name, origin.clone(), context).await?),
        None => None,
    };
    context.events.emit(Event::Step {
        name: format!("build image {name}"),
    });
    let mut tarball = Tarball::default();
    for copy in &build.files {
        add_copy(&mut tarball, name, inputs.sources, copy)?;
    }
    let written = tarball
        .write_in(&context.home.scratch(), MediaType::OCI_LAYER_GZIP, Codec::Gzip)
        .await?;
    let diff_id = written.diff_id;
    let Layer { layer, index } = written.push(&**inputs.store).await?;
    let image = compose(&**inputs.store, base.as_ref(), (layer, diff_id), |config| {
        adjust(config, build);
    });
    Ok((image.await?, index))
}

fn adjust(config: &mut ImageConfig, build: &ImageBuild) {
    let config = &mut config.config;
    if !build.command.is_empty() {
        config.entrypoint = Vec::new();
        config.cmd.clone_from(&build.command);
    }
    for (name, value) in &build.env {
        config
            .env
            .retain(|entry| entry.split_once('=').is_none_or(|(known, _)| known != name));
        config.env.push(format!("{name}={value}"));
    }
    if let Some(folder) = &build.workdir {
        config.working_dir.clone_from(folder);
    }
    if let Some(user) = &build.user {
        config.user.clone_from(user);
    }
}

/// Adds a file, or a folder with all that is in it.
fn add_copy(tarball: &mut Tarball, image: &str, sources: &Path, copy: &FileCopy) -> Result<(), ImageError> {
    let error = |path: &Path, why: &str| ImageError::File {
        image: image.to_owned(),
        path: path.strip_prefix(sources).unwrap_or(path).display().to_string(),
        why: why.to_owned(),
    };
    let start = sources.join(copy.from.as_str());
    let inside = is_inside(&start, sources);
    if !inside.map_err(|source| error(&start, &format!("cannot be read: {source}")))? {
        return Err(error(
            &start,
            "leads outside the bundle's folder; copy it into the folder",
        ));
    }
    let to = copy.to.trim_matches('/');
    let last = copy.from.as_str().rsplit('/').next().unwrap_or_default();
    let into = copy.to.ends_with('/') && start.is_file();
    let first = if into { joined(to, last) } else { to.to_owned() };
    let mut left: Vec<(PathBuf, String)> = vec![(start, first)];
    let mut count = 0;
    while let Some((path, target)) = left.pop() {
        count += 1;
        if count > limits::ARCHIVE_ENTRIES {
            return Err(error(
                &path,
                "and what is beside it are too many files for one layer",
            ));
        }
        let read = |source: std::io::Error| error(&path, &format!("cannot be read: {source}"));
        let data = std::fs::symlink_metadata(&path).map_err(read)?;
        let entry = if data.is_dir() {
            for child in std::fs::read_dir(&path).map_err(read)? {
                let child = child.map_err(read)?;
                let name = child.file_name();
                let name = name
                    .to_str()
                    .ok_or_else(|| error(&child.path(), "has a name that is not UTF-8"))?;
                left.push((child.path(), joined(&target, name)));
            }
            Entry::Folder
        } else if data.is_file() {
            let executable = data.permissions().mode() & 0o111 != 0;
            Entry::File {
                source: path.clone(),
                executable,
            }
        } else {
            return Err(error(
                &path,
                "is neither file nor folder (links are not followed); copy what it stands for",
            ));
        };
        // The root itself needs no entry.
        if !target.is_empty() {
            let target = target
                .parse()
                .map_err(|fault| error(&path, &format!("cannot go there: {fault}")))?;
            tarball.add(target, entry);
        }
    }
    Ok(())
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Descriptor {
        Descriptor::of(MediaType::OCI_MANIFEST, name.as_bytes()).with_annotation(REF_NAME, name)
    }

    #[test]
    fn an_image_is_found_in_a_layout_by_name_or_by_being_alone() {
        let one = [entry("whatever")];
        assert_eq!(pick("python:3.11", None, &one), Ok(one[0].clone()));
        let two = [entry("python:3.11"), entry("3.12")];
        assert_eq!(pick("python:3.11", None, &two), Ok(two[0].clone()));
        assert_eq!(
            pick("registry.example:5000/python:3.12", None, &two),
            Ok(two[1].clone())
        );
        assert_eq!(pick("python:3.13", None, &two), Err(2));
        assert_eq!(pick("python:3.13", Some("3.12"), &two), Ok(two[1].clone()));
        assert_eq!(pick("python:3.11", Some("3.13"), &two), Err(0));
    }

    fn copied(from: &str, to: &str, folder: &Path) -> Result<String, ImageError> {
        let copy = FileCopy {
            from: from.parse().unwrap(),
            to: to.to_owned(),
        };
        let mut tarball = Tarball::default();
        add_copy(&mut tarball, "x", folder, &copy).map(|()| tarball.paths().join(" "))
    }

    #[test]
    fn files_and_folders_go_where_they_are_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("src/deep")).unwrap();
        std::fs::write(folder.path().join("src/deep/a.py"), "").unwrap();
        let copied = |from, to| copied(from, to, folder.path()).unwrap();
        assert_eq!(copied("src/deep/a.py", "/app/b.py"), "app app/b.py");
        assert_eq!(copied("src/deep/a.py", "/app/"), "app app/a.py");
        assert_eq!(copied("src", "/app"), "app app/deep app/deep/a.py");
        assert_eq!(copied("src", "/"), "deep deep/a.py");
    }

    #[test]
    fn links_and_what_is_outside_are_refused() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("way")).unwrap();
        for from in ["way", "way/secret", "absent"] {
            assert!(
                matches!(copied(from, "/x", folder.path()), Err(ImageError::File { .. })),
                "{from}"
            );
        }
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("src/link")).unwrap();
        let error = copied("src", "/x", folder.path()).unwrap_err().to_string();
        assert!(error.contains("links are not followed"), "{error}");
    }
}
