//! `import`: an exported file is verified and installed, or copied into a registry unchanged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use samebundle_registry::trust::Verified;
use samebundle_spec::record::Installation;
use samebundle_spec::{BundleName, Descriptor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::copy::{Bytes, CopyReport, copy_to, destination, never_changes, report, verified_into_store};
use super::credentials;
use super::install::take_runs;
use super::receipt::{self, ReceiptOptions, ReceiptWriter};
use super::resolve::{ArchiveCheck, resolve, still_verified};
use super::{Consent, Location, ResolvedBundle, Site, VerbError};
use crate::lifecycle;
use crate::portable;

/// Verifies a file and installs what is in it, or brings it into a registry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportRequest {
    /// The file, or one of its volumes.
    pub file: PathBuf,
    /// Name of the installation; none: the one that it was exported as.
    #[serde(default)]
    pub name: Option<BundleName>,
    /// A registry to bring it into instead; nothing is installed then.
    #[serde(default)]
    pub to: Option<Location>,
    /// Where a foreign bundle's own action runs, and what is checked; none: what works.
    #[serde(default)]
    pub environment: Option<String>,
    /// The receipt that is written.
    #[serde(default)]
    pub receipt: ReceiptOptions,
    /// What is accepted although the policy does not.
    #[serde(default)]
    pub consent: Consent,
}

/// What was imported.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one a request")]
pub enum ImportReport {
    /// Into this home.
    Installed(Imported),
    /// Into a registry.
    Copied(ImportedCopy),
}

/// What was installed from a file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Imported {
    /// The installation.
    pub installation: Installation,
    /// How many runs that came along are new here.
    pub runs: usize,
    /// How many of them were here already.
    pub known: usize,
    /// What was copied.
    pub sent: Bytes,
    /// What was taken from older versions.
    pub reused: Bytes,
    /// The receipt's file.
    pub receipt: Option<String>,
}

/// What was brought into a registry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ImportedCopy {
    /// What was copied.
    #[serde(flatten)]
    pub copy: CopyReport,
    /// The receipt's file.
    pub receipt: Option<String>,
}

/// Verifies a file and installs what is in it, with its history; or copies it into a registry unchanged.
///
/// # Errors
/// If it is not trusted, damaged, or cannot be installed or copied.
pub async fn import(site: &Site, request: ImportRequest) -> Result<ImportReport, VerbError> {
    let bundle = resolve(
        site,
        &Location::Archive(request.file, None),
        ArchiveCheck::BeforeUse,
    )
    .await?;
    let writer = ReceiptWriter::requested_or_default(site, &request.receipt, &site.trust()?)?;
    site.step(format!("verify {}", bundle.index.digest));
    // What is installed is recorded as seen when that has succeeded; what a registry gets is, at once.
    let result = match &request.to {
        Some(_) => bundle.verify(site, request.consent).await,
        None => bundle.verify_to_install(site, request.consent).await,
    };
    let verified = receipt::write_if_refused(site, writer.as_ref(), &bundle, result)?;
    if let Some(to) = &request.to {
        return into_registry(site, &bundle, &verified, to, writer.as_ref()).await;
    }
    let history = portable::history_of(bundle.source.as_ref(), &bundle.index).await?;
    let store = site.store().await?;
    let (copied, opened) = verified_into_store(site, &bundle, verified, &store).await?;
    let receipt = match &writer {
        Some(writer) => Some(
            writer
                .write_accepted(site, &bundle, &opened, (&store, &store))
                .await?,
        ),
        None => None,
    };
    let before = history.installation().cloned();
    // What came along is checked whole before anything is installed.
    let coming = portable::prepare_runs(&site.context, bundle.source.as_ref(), history).await?;
    if let Some(before) = before.as_ref().filter(|before| !before.parameters.is_empty()) {
        parameters_stay(site, before);
    }
    let install = lifecycle::NewInstallation {
        name: request.name.or_else(|| Some(before.as_ref()?.name.clone())),
        source: bundle.shown.clone(),
        exported: before.as_ref().and_then(|before| before.exported.clone()),
        parameters: BTreeMap::new(),
        credentials: BTreeMap::new(),
        secrets: credentials::of_own_action(site, opened.get(), "install").await?,
        replace: false,
    };
    let machine = site.machine(&store, request.environment.as_deref()).await?;
    let installed =
        lifecycle::install(&site.context, Arc::new(store.clone()), &machine, opened, install).await?;
    let installation = installed.installation;
    still_verified(site, &store, &installation).await?;
    let runs = take_runs(site, coming, &installation)?;
    Ok(ImportReport::Installed(Imported {
        installation,
        runs: runs.new,
        known: runs.known,
        sent: Bytes { bytes: copied.bytes },
        reused: Bytes { bytes: copied.reused },
        receipt,
    }))
}

/// Reports the parameters that the installation had where it was exported. Nobody signed them, so they must not
/// influence runs here without notice.
fn parameters_stay(site: &Site, before: &Installation) {
    let set = before
        .parameters
        .iter()
        .map(|(name, value)| format!("-p {name}={value}"));
    let set: Vec<String> = set.collect();
    site.notice(format!(
        "it was installed with parameters of its own, which are not taken over: {}",
        set.join(" ")
    ));
}

async fn into_registry(
    site: &Site,
    bundle: &ResolvedBundle,
    verified: &Verified<Descriptor>,
    to: &Location,
    writer: Option<&ReceiptWriter>,
) -> Result<ImportReport, VerbError> {
    let Location::Registry(reference) = to else {
        return Err(VerbError::Usage(
            "--to takes a registry and repository; `copy` writes files and folders".to_owned(),
        ));
    };
    let (tag, shown) = destination(bundle, reference).await?;
    let remote = site.remote(&reference.repository)?;
    never_changes(&remote, tag.as_ref(), (&shown, bundle.index.digest)).await?;
    let along = portable::travelling(bundle.source.as_ref(), &bundle.index).await?;
    let copied = copy_to(site, bundle, &remote, tag).await?;
    let receipt = match writer {
        Some(writer) => Some(
            writer
                .write_accepted(site, bundle, verified, (&remote, &remote))
                .await?,
        ),
        None => None,
    };
    Ok(ImportReport::Copied(ImportedCopy {
        copy: CopyReport {
            runs: along.published_runs.saturating_add(along.private_runs),
            ..report(&bundle.index, shown, copied)
        },
        receipt,
    }))
}
