//! `registry serve`, `store check`, `store usage`, `doctor`: this machine and what is on it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use samebundle_registry::server::{self, Rules, Storage};
use samebundle_registry::store::layout;
use samebundle_runtime::driver::{Capacity, DriverError};
use serde_json::json;

use crate::args;
use crate::error::CliError;
use crate::render::{Report, size, table::table};
use crate::session::Session;

/// Serves a registry until it is interrupted.
pub(crate) async fn serve(session: &Session, args: &args::Serve) -> Result<Report, CliError> {
    let root = session.settings.current_dir.join(&args.root);
    std::fs::create_dir_all(&root).map_err(CliError::io("make", &root))?;
    let listening = |source| CliError::Io {
        operation: "listen on",
        path: args.listen.to_string(),
        source,
    };
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    // Whoever started us with port 0 waits for this line.
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "serving {} on {address}; interrupt to stop",
        root.display()
    )
    .map_err(listening)?;
    let rules = Rules {
        read_only: args.read_only,
        immutable_tags: args.immutable_tags,
    };
    let storage = Storage::open_with(&root, rules)?;
    if args.collect_every > 0 && !args.read_only {
        let every = Duration::from_secs(args.collect_every);
        let grace = Duration::from_secs(args.grace);
        let cancel = session.context.cancel.clone();
        tokio::spawn(server::collect_every(storage.clone(), every, grace, cancel));
    }
    server::serve(listener, storage, session.context.cancel.clone()).await?;
    Ok(Report::new("stopped", json!({"address": address.to_string()})))
}

/// Checks that the local store is whole.
pub(crate) async fn check(session: &Session, args: &args::StoreCheck) -> Result<Report, CliError> {
    let store = session.store().await?;
    session
        .resolve_interrupted(&session.drivers(&store).await?)
        .await?;
    let report = layout::check(&session.home.store(), !args.quick).await?;
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

/// Says how much space is taken.
pub(crate) async fn usage(session: &Session) -> Result<Report, CliError> {
    let home = session.home.clone();
    let folders = [home.store(), home.layers(), home.runs(), home.scratch()];
    let mut rows = Vec::new();
    for folder in folders {
        let path = folder.clone();
        let bytes = tokio::task::spawn_blocking(move || size_of(&path))
            .await
            .unwrap_or(0);
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        rows.push((name, bytes));
    }
    let json: serde_json::Value = rows
        .iter()
        .map(|(name, bytes)| (name.clone(), json!(bytes)))
        .collect();
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, bytes)| vec![name, size::bytes(bytes)])
        .collect();
    Ok(Report::new(table(&["what", "size"], &rows), json))
}

/// Bytes below a folder, as far as it can be read; links are not followed.
fn size_of(folder: &Path) -> u64 {
    let mut todo = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => todo.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Says what works here.
pub(crate) async fn doctor(session: &Session) -> Result<Report, CliError> {
    let store = session.store().await?;
    let mut rows = Vec::new();
    let mut works = false;
    for candidate in session.drivers(&store).await? {
        let capacity = match candidate.driver {
            Ok(driver) => driver.probe().await,
            Err(error) => Err(error),
        };
        works |= capacity.is_ok();
        rows.extend(verdict(candidate.name, capacity));
    }
    rows.push(vec![
        "home".to_owned(),
        "works".to_owned(),
        session.home.root().display().to_string(),
    ]);
    let json: Vec<_> = rows
        .iter()
        .map(|row| json!({"what": row[0], "verdict": row[1], "detail": row[2]}))
        .collect();
    let report = Report::new(
        table(&["what", "verdict", "detail"], &rows),
        json!({"checks": json}),
    );
    match works {
        true => Ok(report),
        false => Err(CliError::NothingRuns {
            report: Box::new(report),
        }),
    }
}

/// One line a driver, and one for each limit that it cannot enforce.
fn verdict(name: &str, capacity: Result<Capacity, DriverError>) -> Vec<Vec<String>> {
    let capacity = match capacity {
        Ok(capacity) => capacity,
        Err(error) => {
            return vec![vec![
                name.to_owned(),
                "does not work".to_owned(),
                error.to_string(),
            ]];
        }
    };
    let has = format!(
        "{} cores, {} of memory, {} of free disk, {} GPUs",
        capacity.cpus,
        size::bytes(capacity.memory),
        size::bytes(capacity.disk),
        capacity.gpus.values().sum::<u32>()
    );
    let notices = capacity.notices.into_iter();
    let notices = notices.map(|notice| vec![String::new(), "note".to_owned(), notice]);
    std::iter::once(vec![name.to_owned(), "works".to_owned(), has])
        .chain(notices)
        .collect()
}
