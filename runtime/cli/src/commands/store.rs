//! `store check`, `store gc`, `store forget`, `store usage`: the local store, and the space that a home takes.

use std::time::{Duration, SystemTime};

use samebundle_registry::StoreError;
use samebundle_registry::store::layout::{self, Collected, Held};
use samebundle_registry::store::{Resolve, Tags};
use samebundle_runtime::Home;
use samebundle_runtime::record::RecordError;
use samebundle_runtime::upkeep::{self, Swept};
use samebundle_spec::authoring::Runs;
use samebundle_spec::time::Timestamp;
use samebundle_spec::{Tag, limits};
use serde_json::{Value, json};

use super::opened::local_tag;
use crate::args;
use crate::error::CliError;
use crate::place::LocalName;
use crate::render::{Report, safe, size, table::table};
use crate::session::Session;

const GRACE: Duration = Duration::from_secs(limits::STORE_GRACE_SECONDS);

/// Checks that the local store is whole.
pub(crate) async fn check(session: &Session, args: &args::StoreCheck) -> Result<Report, CliError> {
    let store = session.store().await?;
    session.resolve_interrupted(&session.drivers(&store)?).await?;
    let held = upkeep::holdings(&session.home, Runs::All)?;
    let report = layout::check_held(&session.home.store(), !args.quick, held).await?;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let json = json!({"blobs": report.blobs, "bytes": report.bytes, "findings": findings});
    if findings.is_empty() {
        let how = if args.quick { "there" } else { "whole" };
        let text = format!(
            "{} contents, {}: all {how}",
            report.blobs,
            size::bytes(report.bytes)
        );
        return Ok(Report::new(text, json));
    }
    let message = format!("the store has {} faults", findings.len());
    Err(CliError::Faulty {
        report: Box::new(Report::new(findings.join("\n"), json)),
        message,
    })
}

/// Removes what nobody needs.
pub(crate) async fn gc(session: &Session, args: &args::StoreGc) -> Result<Report, CliError> {
    let home = &session.home;
    let _one = home.lock("gc").map_err(CliError::io("lock", home.root()))?;
    let store = session.store().await?;
    session.resolve_interrupted(&session.drivers(&store)?).await?;
    let grace = args.grace.unwrap_or(GRACE);
    let limits = layout::Limits {
        grace,
        dry_run: args.dry_run,
    };
    let collected = layout::collect(&home.store(), limits, held(home.clone(), args.runs)).await?;
    let mut swept = match upkeep::sweep_layers(home, &store, &collected.live, args.dry_run).await {
        Ok(Some(swept)) => swept,
        Ok(None) => {
            session.notice("unpacked layers stay: a run uses them");
            Vec::new()
        }
        Err(error) => {
            session.notice(format!("unpacked layers stay: {error}"));
            Vec::new()
        }
    };
    let now = session.context.clock.now();
    let scratch = upkeep::sweep_scratch(home, now, grace, args.dry_run);
    swept.extend(scratch.map_err(CliError::io("sweep", &home.scratches()))?);
    Ok(report(&collected, &swept, args.dry_run, now, home))
}

/// Removes names of a bundle: all of them, or that of one version and the plain name if it means that version now.
pub(crate) async fn forget(session: &Session, name: &LocalName) -> Result<Report, CliError> {
    let store = session.store().await?;
    let mut tags = Vec::new();
    let plain = local_tag(&LocalName {
        name: name.name.clone(),
        version: None,
    })?;
    if name.version.is_some() {
        let tag = local_tag(name)?;
        let index = store.resolve(&tag).await?;
        tags.push(tag);
        match store.resolve(&plain).await {
            Ok(current) if current.digest == index.digest => tags.push(plain),
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    } else {
        let prefix = format!("{plain}_");
        let of_a_version = |tag: &Tag| {
            let version = tag.as_str().strip_prefix(&prefix);
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        };
        let all = store.tags().await?.into_iter();
        tags.extend(all.filter(|tag| *tag == plain || of_a_version(tag)));
    }
    if tags.is_empty() {
        return Err(CliError::Store(StoreError::NotFound {
            subject: format!("bundle {}", name.name),
            place: "the local store".to_owned(),
        }));
    }
    for tag in &tags {
        store.untag(tag).await?;
    }
    let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let text = format!(
        "forgot {}; store gc removes what nothing else needs",
        names.join(", ")
    );
    Ok(Report::new(text, json!({"forgotten": names})))
}

/// Asks the records what they rely on. One that cannot be read stops everything.
fn held(home: Home, runs: Runs) -> impl Fn() -> Result<Vec<Held>, StoreError> + Send + 'static {
    move || {
        upkeep::holdings(&home, runs).map_err(|error: RecordError| StoreError::Invalid {
            subject: "the record of an installation or run".to_owned(),
            why: error.to_string(),
        })
    }
}

fn report(collected: &Collected, swept: &[Swept], dry_run: bool, now: SystemTime, home: &Home) -> Report {
    let mut rows = Vec::new();
    for one in &collected.removed {
        let age = now.duration_since(one.modified).unwrap_or_default();
        let why = format!("{}; untouched for {}", one.why.words(), size::duration(age));
        rows.push(vec![one.digest.to_string(), size::bytes(one.bytes), why]);
    }
    for one in swept {
        let path = one.path.strip_prefix(home.root()).unwrap_or(&one.path);
        rows.push(vec![
            safe(&path.display().to_string()),
            size::bytes(one.bytes),
            one.why.to_owned(),
        ]);
    }
    let bytes = collected.bytes() + swept.iter().map(|one| one.bytes).sum::<u64>();
    let mut text = match rows.is_empty() {
        true => String::new(),
        false => format!("{}\n", table(&["what", "size", "why"], &rows)),
    };
    let verb = if dry_run { "would remove" } else { "removed" };
    text.push_str(&format!("{verb} {} things, {}", rows.len(), size::bytes(bytes)));
    if collected.young.0 > 0 {
        text.push_str(&format!(
            "; {} contents, {}, are not needed but too young or in use",
            collected.young.0,
            size::bytes(collected.young.1)
        ));
    }
    Report::new(text, as_json(collected, swept, dry_run, bytes))
}

fn as_json(collected: &Collected, swept: &[Swept], dry_run: bool, bytes: u64) -> Value {
    let contents: Vec<Value> = collected
        .removed
        .iter()
        .map(|one| {
            let modified = Timestamp::from(one.modified).to_string();
            json!({"digest": one.digest, "bytes": one.bytes, "why": one.why.words(), "modified": modified})
        })
        .collect();
    let files: Vec<Value> = swept
        .iter()
        .map(|one| json!({"path": one.path, "bytes": one.bytes, "why": one.why}))
        .collect();
    json!({
        "dryRun": dry_run, "bytes": bytes, "contents": contents, "files": files,
        "young": {"contents": collected.young.0, "bytes": collected.young.1}, "restored": collected.restored,
    })
}

/// Says how much space is taken, and for what.
pub(crate) async fn usage(session: &Session) -> Result<Report, CliError> {
    let home = session.home.clone();
    let held = upkeep::holdings(&home, Runs::All)?;
    let store = session.store().await?;
    let used = layout::usage(store.root(), GRACE, held).await?;
    let folders = tokio::task::spawn_blocking(move || {
        ["store", "layers", "cache", "runs", "scratch"]
            .map(|name| (name, upkeep::size_of(&home.root().join(name))))
    });
    let folders = folders.await.map_err(|error| CliError::Io {
        operation: "measure",
        path: session.home.root().display().to_string(),
        source: error.into(),
    })?;
    let total: u64 = folders.iter().map(|(_, bytes)| bytes).sum();
    let bundles: Vec<Vec<String>> = used
        .bundles
        .iter()
        .map(|bundle| {
            let names = short(&bundle.names);
            let digest = bundle.digest.short();
            vec![
                safe(&names),
                digest,
                size::bytes(bundle.own),
                size::bytes(bundle.shared),
            ]
        })
        .collect();
    let rows: Vec<Vec<String>> = folders
        .iter()
        .map(|(name, bytes)| vec![(*name).to_owned(), size::bytes(*bytes)])
        .chain([vec!["total".to_owned(), size::bytes(total)]])
        .collect();
    let text = format!(
        "{}\n\n{}\n\nstore gc would free {} of the store; {} are not needed but younger than a day",
        table(&["bundle", "digest", "own", "shared"], &bundles),
        table(&["folder", "size"], &rows),
        size::bytes(used.reclaimable),
        size::bytes(used.young),
    );
    let bundles: Vec<Value> = used
        .bundles
        .iter()
        .map(|one| json!({"digest": one.digest, "names": one.names, "own": one.own, "shared": one.shared}))
        .collect();
    let folders: Value = folders
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), json!(bytes)))
        .collect();
    let json = json!({
        "bundles": bundles, "folders": folders, "total": total,
        "contents": used.total, "reclaimable": used.reclaimable, "young": used.young,
    });
    Ok(Report::new(text, json))
}

/// A bundle that many runs ran has many names.
fn short(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
