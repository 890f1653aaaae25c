//! `registry doctor`.

use std::collections::BTreeSet;

use samebundle_registry::remote::profile::{Profile, ProfileFile};
use serde_json::json;

use crate::args;
use crate::error::CliError;
use crate::render::{Report, table::table};
use crate::session::Session;

/// Finds out what a registry can and cannot do, and keeps that for all later commands.
pub(crate) async fn doctor(session: &Session, args: &args::RegistryDoctor) -> Result<Report, CliError> {
    let folder = session.home.registries();
    // Without what was found before: that is what is to be found out, and a file that is damaged is to be replaced.
    let place = session.remote_unprofiled(&args.repository)?;
    let before = ProfileFile::read(&folder, &place.address()).unwrap_or_default();
    let mut hosts: BTreeSet<String> = before.map(|file| file.profile.upload_hosts).unwrap_or_default();
    hosts.extend(args.upload_hosts.iter().cloned());
    let mut profile = Profile::default();
    profile.upload_hosts = hosts.clone();
    session.step(format!("examining {}", args.repository));
    let found = place.with_profile(profile).examine().await?;
    let mut file = ProfileFile::new(&found.registry, session.now());
    file.profile = found.profile;
    file.profile.upload_hosts = hosts;
    let path = file.write(&folder)?;
    let rows: Vec<_> = found
        .checks
        .iter()
        .map(|check| {
            let verdict = match check.works {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not known",
            };
            vec![check.what.to_owned(), verdict.to_owned(), check.detail.clone()]
        })
        .collect();
    let mut text = table(&["what", "verdict", "detail"], &rows);
    for digest in &found.left {
        text.push_str(&format!("\nstays in {}: {digest}", args.repository));
    }
    text.push_str(&format!("\nprofile: {}", path.display()));
    let json = json!({
        "registry": found.registry,
        "repository": args.repository.to_string(),
        "file": path,
        "profile": file.profile,
        "checks": found.checks,
        "left": found.left,
    });
    Ok(Report::new(text, json))
}
