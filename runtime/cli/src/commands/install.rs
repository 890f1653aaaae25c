//! `install` (`create program`), `upgrade`, `uninstall`.

use std::collections::BTreeMap;
use std::sync::Arc;

use samebundle_registry::store::Layout;
use samebundle_registry::trust::{self, Verified};
use samebundle_runtime::lifecycle::{self, InstallRequest, Installed};
use samebundle_runtime::opened::OpenedBundle;
use samebundle_runtime::portable;
use samebundle_runtime::record::Installations;
use samebundle_spec::record::{Installation, Verification};
use samebundle_spec::{BundleName, Descriptor, Reference, signing};
use serde_json::json;

use super::{opened, transfer};
use crate::args::{self, InstallOptions};
use crate::error::CliError;
use crate::flags;
use crate::place::Place;
use crate::render::{Report, safe};
use crate::session::Session;

/// Fetches, verifies, checks and remembers a bundle.
pub(crate) async fn install(
    session: &Session,
    place: &Place,
    options: InstallOptions,
) -> Result<Report, CliError> {
    install_as(session, place, options, false).await
}

async fn install_as(
    session: &Session,
    place: &Place,
    options: InstallOptions,
    replace: bool,
) -> Result<Report, CliError> {
    let opened = opened::open(session, place).await?;
    session.step(format!("verify {}", opened.index.digest));
    let verified = opened::verify(session, &opened, &options.consent).await?;
    session.step(format!("fetch {}", opened.shown));
    transfer::into_store(session, &opened, None).await?;
    let store = session.store().await?;
    let history = portable::history_of(&store, &opened.index).await?;
    let bundle = OpenedBundle::open(&store, &opened.index).await?;
    let parameters: Result<BTreeMap<String, String>, _> = options
        .params
        .iter()
        .map(|text| flags::assignment(text))
        .collect();
    let request = InstallRequest {
        name: options.name,
        source: opened.shown.clone(),
        parameters: flags::typed(parameters?, bundle.bundle.view())?,
        replace,
    };
    let machine = session.machine(&store, options.env.as_deref()).await?;
    let installed =
        lifecycle::install(&session.context, Arc::new(store), &machine, verified, request).await?;
    let one = &installed.installation;
    portable::import_runs(&session.context, &history, &one.index, &one.name)?;
    Ok(report(&session.settings.program, &installed, &bundle))
}

fn report(program: &str, installed: &Installed, bundle: &OpenedBundle) -> Report {
    let one = &installed.installation;
    let mut text = format!(
        "installed {} {} ({}), trusted by {}",
        one.name,
        safe(&one.version),
        one.index.digest.short(),
        super::history::trusted_by(&one.verification)
    );
    if bundle.program.is_some() {
        text = format!("{text}\nrun it with: {program} run {}", one.name);
    }
    let run = installed
        .run
        .as_ref()
        .map(|run| json!({"id": run.id, "status": run.status}));
    Report::new(text, json!({"installation": one, "run": run}))
}

/// Replaces an installation's bundle.
pub(crate) async fn upgrade(session: &Session, args: &args::Upgrade) -> Result<Report, CliError> {
    let before = Installations::new(&session.home).get(&args.name)?;
    let place = match &args.place {
        Some(place) => place.clone(),
        None => before.source.split('@').next().unwrap_or_default().parse()?,
    };
    let options = InstallOptions {
        name: Some(args.name.clone()),
        params: Vec::new(),
        env: session.settings.variable("SAME_ENVIRONMENT").map(str::to_owned),
        consent: args.consent.clone(),
    };
    install_as(session, &place, options, true).await
}

/// Forgets an installation.
pub(crate) async fn uninstall(session: &Session, name: &BundleName) -> Result<Report, CliError> {
    let installation = Installations::new(&session.home).get(name)?;
    let store = session.store().await?;
    let verified = still_verified(session, &store, &installation).await?;
    let machine = session
        .machine(&store, session.settings.variable("SAME_ENVIRONMENT"))
        .await?;
    lifecycle::uninstall(&session.context, Arc::new(store), &machine, verified, name).await?;
    Ok(Report::new(
        format!("uninstalled {name}; its runs stay"),
        json!({"uninstalled": name}),
    ))
}

/// Verifies an installation's bundle again before it is used: a key may have been removed since. What was taken by consent
/// stays so. An older release than the newest seen is no rollback here: it was accepted when it was installed.
///
/// # Errors
/// If it is not trusted any more.
pub(crate) async fn still_verified(
    session: &Session,
    store: &Layout,
    installation: &Installation,
) -> Result<Verified<Descriptor>, CliError> {
    if let Verification::Consent { reason } = &installation.verification {
        return Ok(Verified::by_consent(installation.index.clone(), reason.clone()));
    }
    let place = match installation.source.parse::<Reference>() {
        Ok(reference) => signing::Place::Registry(reference.repository),
        Err(_) => signing::Place::Local,
    };
    let request = trust::Request {
        allow_downgrade: true,
        ..trust::Request::new(installation.index.clone(), place, session.now())
    };
    Ok(trust::verify(store, request, &session.trust()?, &session.marks()).await?)
}
