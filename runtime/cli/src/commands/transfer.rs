//! `push`, `pull`, `copy`: moving bundles with everything that belongs to them.

use std::path::Path;
use std::sync::Arc;

use samebundle_registry::copy::{self, Copied, Options};
use samebundle_registry::store::archive::volumes::{Cut, Volume};
use samebundle_registry::store::{Layout, Origin, Target, archive};
use samebundle_runtime::opened::{OpenError, OpenedBundle};
use samebundle_spec::{Descriptor, Tag};
use serde_json::{Value, json};

use super::opened::{self, Opened};
use crate::args;
use crate::error::CliError;
use crate::meter::Meter;
use crate::place::{LocalName, Place};
use crate::render::{Report, size};
use crate::session::Session;

/// The options of every copy that a command makes.
pub(crate) fn options(session: &Session, tag: Option<Tag>) -> Options {
    Options {
        tag,
        progress: Some(Arc::new(Meter::new(Arc::clone(&session.context.events)))),
        cancel: session.context.cancel.clone(),
        ..Options::default()
    }
}

/// Copies a bundle from any place to any place.
pub(crate) async fn copy(
    session: &Session,
    from: &Place,
    to: &Place,
    cut: Option<Cut>,
) -> Result<Report, CliError> {
    if cut.is_some() && !matches!(to, Place::Archive(_)) {
        return Err(CliError::Usage("only a file is cut into volumes".to_owned()));
    }
    let opened = opened::open_to_copy(session, from).await?;
    session.step(format!("copy {} to {}", opened.index.digest, shown(to)));
    let copied = match to {
        Place::Registry(reference) => {
            let sink = session.remote(&reference.repository)?;
            if let Place::Registry(from) = from {
                sink.add_sibling(&from.repository);
            }
            copy_to(session, &opened, &sink, reference.tag.clone()).await?
        }
        Place::Layout(dir, tag) => {
            let tag = match tag.clone().or_else(|| opened.tag.clone()) {
                Some(tag) => tag,
                // What has no tag would not be found there.
                None => version_tag(&opened).await?.ok_or_else(|| {
                    let why = "it has neither tag nor version; give it a tag";
                    CliError::Usage(format!("{why}: layout:{}:TAG", dir.display()))
                })?,
            };
            let layout = Layout::create(&session.settings.current_dir.join(dir)).await?;
            copy_to(session, &opened, &layout, Some(tag)).await?
        }
        Place::Archive(path) => {
            let path = session.settings.current_dir.join(path);
            return write_archive(session, &opened, &path, cut).await;
        }
        Place::Local(name) => into_store(session, &opened, Some(name)).await?,
        Place::Stored(_) => into_store(session, &opened, None).await?,
    };
    Ok(report(&opened.index, &shown(to), copied))
}

fn shown(place: &Place) -> String {
    match place {
        Place::Registry(reference) => reference.to_string(),
        Place::Archive(path) => path.display().to_string(),
        Place::Layout(dir, _) => dir.display().to_string(),
        Place::Local(name) => format!("the local store as {}", name.name),
        Place::Stored(_) => "the local store".to_owned(),
    }
}

/// The tag that a bundle has by its own version, wherever it is; none of what is no bundle.
///
/// # Errors
/// If the place cannot be read.
pub(crate) async fn version_tag(opened: &Opened) -> Result<Option<Tag>, CliError> {
    match OpenedBundle::open(opened.source.as_ref(), &opened.index).await {
        Ok(bundle) => Ok(bundle.bundle.view().version.as_tag().parse().ok()),
        Err(OpenError::Store(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Says what a copy did.
pub(crate) fn report(index: &Descriptor, to: &str, copied: Copied) -> Report {
    let mut text = format!(
        "copied {} to {to}: {} contents, {} sent, {} were there",
        index.digest,
        copied.contents,
        size::bytes(copied.bytes),
        copied.skipped
    );
    if copied.reused > 0 {
        text = format!(
            "{text}, {} taken from older versions there",
            size::bytes(copied.reused)
        );
    }
    let json = json!({
        "digest": index.digest, "to": to,
        "sent": {"contents": copied.contents, "bytes": copied.bytes}, "present": copied.skipped,
        "reused": {"bytes": copied.reused},
    });
    Report::new(text, json)
}

/// Copies what was opened.
///
/// # Errors
/// The copy's.
pub(crate) async fn copy_to<T: Target + ?Sized>(
    session: &Session,
    opened: &Opened,
    sink: &T,
    tag: Option<Tag>,
) -> Result<Copied, CliError> {
    let copied = copy::copy(
        opened.source.as_ref(),
        sink,
        &opened.index,
        &options(session, tag),
    )
    .await;
    Ok(copied?)
}

async fn write_archive(
    session: &Session,
    opened: &Opened,
    path: &Path,
    cut: Option<Cut>,
) -> Result<Report, CliError> {
    let source: &dyn Origin = opened.source.as_ref();
    let options = archive::Options {
        form: archive::Form::of(path),
        copy: options(session, None),
        since: None,
        cut,
    };
    // The bundle's own name for its version: the file has the same bytes wherever it is made.
    let tag = version_tag(opened).await?.or_else(|| opened.tag.clone());
    let written = archive::write(source, &[(opened.index.clone(), tag)], path, &options).await?;
    let (text, mut json) = files(path, &written.files);
    let text = format!("wrote {text}");
    session.step(text.clone());
    json["digest"] = json!(opened.index.digest);
    json["to"] = json!(path);
    Ok(Report::new(text, json))
}

/// How the user wants an archive cut.
pub(crate) fn cut(options: &args::VolumeOptions) -> Option<Cut> {
    let parity = options.parity;
    options.volume_size.map(|size| Cut { size, parity })
}

/// Names the files that an archive was written to: in words, and `size` and `volumes` for programs.
pub(crate) fn files(path: &Path, files: &[Volume]) -> (String, Value) {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let one = files.first().is_none_or(|file| file.path == path);
    let text = match (one, files.first(), files.last()) {
        (false, Some(first), Some(last)) => format!(
            "{} to {} ({} volumes, {})",
            first.path.display(),
            last.path.display(),
            files.len(),
            size::bytes(bytes)
        ),
        _ => format!("{} ({})", path.display(), size::bytes(bytes)),
    };
    let volumes = files.iter().filter(|_| !one);
    let volumes: Vec<Value> = volumes
        .map(|file| json!({"file": file.path, "size": file.bytes}))
        .collect();
    (text, json!({"size": bytes, "volumes": volumes}))
}

/// Copies what was opened into the local store under the bundle's own name and version, or under another name.
///
/// # Errors
/// If it cannot be copied, or is no bundle.
pub(crate) async fn into_store(
    session: &Session,
    opened: &Opened,
    name: Option<&LocalName>,
) -> Result<Copied, CliError> {
    let store = session.store().await?;
    let copied = copy_to(session, opened, &store, None).await?;
    let bundle = OpenedBundle::open(&store, &opened.index).await?;
    name_in_store(&store, &bundle, name).await?;
    Ok(copied)
}

/// Tags a bundle in the local store with its name, and with its name and version.
///
/// # Errors
/// If a tag cannot be set.
pub(crate) async fn name_in_store(
    store: &Layout,
    bundle: &OpenedBundle,
    name: Option<&LocalName>,
) -> Result<(), CliError> {
    use samebundle_registry::store::Tags;

    let view = bundle.bundle.view();
    let own = view.name.parse().ok();
    let Some(short) = name.map(|name| name.name.clone()).or(own) else {
        // A foreign bundle whose name is no name here is reached by its installation.
        return Ok(());
    };
    let version = name
        .and_then(|name| name.version.clone())
        .or_else(|| Some(view.version.clone()));
    let plain = LocalName {
        name: short.clone(),
        version: None,
    };
    store.tag(&bundle.index, &opened::local_tag(&plain)?).await?;
    if version.is_some() {
        store
            .tag(
                &bundle.index,
                &opened::local_tag(&LocalName { name: short, version })?,
            )
            .await?;
    }
    Ok(())
}

/// Verifies a bundle and copies it into the local store.
pub(crate) async fn pull(session: &Session, args: &args::Pull) -> Result<Report, CliError> {
    let opened = opened::open(session, &args.from).await?;
    opened::verify(session, &opened, &args.consent).await?;
    let copied = into_store(session, &opened, None).await?;
    Ok(report(&opened.index, "the local store", copied))
}
