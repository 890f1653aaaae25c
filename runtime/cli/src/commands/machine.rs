//! `registry serve`, `doctor`: this machine.

use std::io::Write;
use std::time::Duration;

use samebundle_registry::server::{self, Rules, Storage};
use samebundle_runtime::driver::{Capacity, DriverError};
use serde_json::json;

use crate::args;
use crate::error::CliError;
use crate::render::{Report, size, table::table};
use crate::session::Session;

/// Serves a registry until it is interrupted.
pub(crate) async fn serve(session: &Session, args: &args::Serve) -> Result<Report, CliError> {
    let root = session.settings.current_dir.join(&args.root);
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

/// Says what works here.
pub(crate) async fn doctor(session: &Session) -> Result<Report, CliError> {
    let store = session.store().await?;
    let mut rows = Vec::new();
    let mut works = false;
    for candidate in session.drivers(&store)? {
        let capacity = candidate.probe().await.map(|(_, capacity)| capacity);
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
