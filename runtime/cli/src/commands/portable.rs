//! `export` and `import`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::store::{Source, archive};
use samebundle_registry::trust::Verified;
use samebundle_runtime::lifecycle::{self, InstallRequest};
use samebundle_runtime::portable::{self, ExportRequest};
use samebundle_runtime::record::Installations;
use samebundle_spec::{Descriptor, Version};
use serde_json::json;

use super::opened::Opened;
use super::{install, opened, receipt, transfer};
use crate::args;
use crate::error::CliError;
use crate::place::Place;
use crate::render::{Report, size};
use crate::session::Session;

/// Writes an installation to one file.
pub(crate) async fn export(session: &Session, args: &args::Export) -> Result<Report, CliError> {
    let installation = Installations::new(&session.home).get(&args.name.name)?;
    let store = session.store().await?;
    install::still_verified(session, &store, &installation).await?;
    let version = match &args.name.version {
        Some(version) => version.clone(),
        None => bundle_version(&installation.version)?,
    };
    // The name and the version hold no character that a file system treats in its own way, except a colon that is not used.
    let default = || PathBuf::from(format!("{}-{}.tgz", installation.name, version.as_tag()));
    let path = session
        .settings
        .current_dir
        .join(args.file.clone().unwrap_or_else(default));
    let options = archive::Options {
        form: archive::Form::of(&path),
        copy: transfer::options(session, None),
        since: match &args.since {
            Some(file) => Some(Arc::new(since(session, file, args.since_key.as_deref()).await?)),
            None => None,
        },
        cut: transfer::cut(&args.volumes),
    };
    let request = ExportRequest {
        installation: installation.clone(),
        version: version.clone(),
        runs: args.runs.limit(),
        path: path.clone(),
        archive: options,
    };
    let exported = portable::export(&session.context, &store, request).await?;
    let (files, mut json) = transfer::files(&path, &exported.files);
    let mut text = format!(
        "exported {} as {version} with {} runs to {files}",
        installation.name,
        exported.runs.len(),
    );
    if exported.omitted > 0 {
        text = format!(
            "{text}; {} that the other side has are left out",
            size::bytes(exported.omitted)
        );
    }
    json["file"] = json!(path);
    json["digest"] = json!(exported.index.digest);
    json["version"] = json!(version);
    json["runs"] = json!(exported.runs);
    json["omitted"] = json!({"bytes": exported.omitted});
    Ok(Report::new(text, json))
}

/// What the other side holds, by an archive that it has imported, or by the receipt that it signed.
async fn since(session: &Session, file: &Path, key: Option<&Path>) -> Result<archive::Since, CliError> {
    let path = session.settings.current_dir.join(file);
    if key.is_some() || is_document(&path)? {
        let (site, receipt) = receipt::read(session, file, key)?;
        session.step(format!("leave out what {site} holds"));
        let store = session.store().await?;
        return Ok(archive::Since {
            root: receipt.summary.subject,
            digests: receipt.held(),
            older: store.chunked().await?,
            source: Arc::new(store),
        });
    }
    let earlier = archive::open(&path, &session.home.scratch()).await;
    Ok(earlier.map_err(opened::damaged)?.since()?)
}

/// Archives begin with a name or the mark of gzip, receipts as JSON does.
fn is_document(path: &Path) -> Result<bool, CliError> {
    let mut first = [0];
    let mut file = std::fs::File::open(path).map_err(CliError::io("read", path))?;
    let read = file.read(&mut first).map_err(CliError::io("read", path))?;
    Ok(read == 1 && first == *b"{")
}

fn bundle_version(text: &str) -> Result<Version, CliError> {
    text.parse()
        .map_err(|error: samebundle_spec::name::NameError| CliError::Usage(error.to_string()))
}

/// Verifies a file and installs what is in it, with its history.
pub(crate) async fn import(session: &Session, args: &args::Import) -> Result<Report, CliError> {
    let opened = opened::open(session, &Place::Archive(args.file.clone())).await?;
    let issue = receipt::Issue::asked_or_usual(session, &args.receipt, &session.trust()?)?;
    session.step(format!("verify {}", opened.index.digest));
    let result = opened::verify(session, &opened, &args.consent).await;
    let verified = receipt::noted(session, issue.as_ref(), &opened, result)?;
    if let Some(to) = &args.to {
        return into_registry(session, &opened, &verified, to, issue.as_ref()).await;
    }
    let history = portable::history_of(opened.source.as_ref(), &opened.index).await?;
    let copied = transfer::into_store(session, &opened, None).await?;
    let store = session.store().await?;
    let receipt = match &issue {
        Some(issue) => Some(
            issue
                .accepted(session, &opened, &verified, (&store, &store))
                .await?,
        ),
        None => None,
    };
    let before = history.installation();
    if let Some(before) = before.filter(|before| !before.parameters.is_empty()) {
        // Nobody signed them: they must not steer runs here unseen.
        let set: Vec<String> = before
            .parameters
            .iter()
            .map(|(name, value)| format!("-p {name}={value}"))
            .collect();
        session.notice(format!(
            "it was installed with parameters of its own, which are not taken over: {}",
            set.join(" ")
        ));
    }
    let request = InstallRequest {
        name: args.name.clone().or_else(|| Some(before?.name.clone())),
        source: opened.shown.clone(),
        parameters: BTreeMap::new(),
        replace: false,
    };
    let machine = session
        .machine(&store, session.settings.variable("SAME_ENVIRONMENT"))
        .await?;
    let installed =
        lifecycle::install(&session.context, Arc::new(store), &machine, verified, request).await?;
    let one = &installed.installation;
    let runs = portable::import_runs(&session.context, &history, &one.index, &one.name)?;
    let mut text = format!(
        "imported {} {} ({}) with {runs} runs, trusted by {}",
        one.name,
        one.version,
        one.index.digest.short(),
        super::history::trusted_by(&one.verification)
    );
    if let Some(file) = &receipt {
        write!(text, "\nreceipt: {}", file.display())?;
    }
    let json = json!({
        "installation": one, "runs": runs, "sent": {"bytes": copied.bytes}, "reused": {"bytes": copied.reused},
        "receipt": receipt,
    });
    Ok(Report::new(text, json))
}

/// Copies a verified file into a registry of the site: all of it, and nothing of it changed.
async fn into_registry(
    session: &Session,
    opened: &Opened,
    verified: &Verified<Descriptor>,
    to: &Place,
    issue: Option<&receipt::Issue>,
) -> Result<Report, CliError> {
    let Place::Registry(reference) = to else {
        return Err(CliError::Usage(
            "--to takes a registry and repository; `copy` writes files and folders".to_owned(),
        ));
    };
    let tag = match (&reference.tag, &reference.digest) {
        (None, None) => transfer::version_tag(opened).await?,
        (tag, _) => tag.clone(),
    };
    let remote = session.remote(&reference.repository)?;
    let copied = transfer::copy_to(session, opened, &remote, tag.clone()).await?;
    let receipt = match issue {
        Some(issue) => Some(
            issue
                .accepted(session, opened, verified, (&remote, &remote))
                .await?,
        ),
        None => None,
    };
    let place = match &tag {
        Some(tag) => format!("{}:{tag}", reference.repository),
        None => reference.pinned(opened.index.digest).to_string(),
    };
    let mut report = transfer::report(&opened.index, &place, copied);
    if let Some(file) = &receipt {
        write!(report.text, "\nreceipt: {}", file.display())?;
    }
    report.json["receipt"] = json!(receipt);
    Ok(report)
}
