//! `doctor`: this machine.

use samebundle_runtime::driver::{Capacity, DriverError};
use serde_json::json;

use crate::error::CliError;
use crate::render::{Report, size, table::table};
use crate::session::Session;

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
