//! Which driver runs something: the one that was asked for, or the first that works here.

use std::sync::Arc;

use super::{Capacity, Driver, DriverError};

/// A driver that may be chosen: it can be there, or not, with the reason.
#[derive(Debug)]
pub struct Candidate {
    /// Its name.
    pub name: &'static str,
    /// The driver, or why there is none.
    pub driver: Result<Arc<dyn Driver>, DriverError>,
}

/// Chooses among candidates in order of preference.
///
/// # Errors
/// [`DriverError::Unknown`] if there is no driver of the name that was asked for; its own error if it does not work here;
/// [`DriverError::NoneUsable`] with the reason of each if none works.
pub async fn choose(
    candidates: Vec<Candidate>,
    wanted: Option<&str>,
) -> Result<(Arc<dyn Driver>, Capacity), DriverError> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != "local") else {
        return first_that_works(candidates).await;
    };
    let known: Vec<&str> = candidates.iter().map(|candidate| candidate.name).collect();
    let known = known.join(", ");
    match candidates.into_iter().find(|candidate| candidate.name == wanted) {
        Some(candidate) => probed(candidate).await,
        None => Err(DriverError::Unknown {
            wanted: wanted.to_owned(),
            known,
        }),
    }
}

async fn probed(candidate: Candidate) -> Result<(Arc<dyn Driver>, Capacity), DriverError> {
    let driver = candidate.driver?;
    let capacity = driver.probe().await?;
    Ok((driver, capacity))
}

async fn first_that_works(candidates: Vec<Candidate>) -> Result<(Arc<dyn Driver>, Capacity), DriverError> {
    let mut reasons = Vec::new();
    for candidate in candidates {
        match probed(candidate).await {
            Ok(found) => return Ok(found),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(DriverError::NoneUsable {
        reasons: reasons.join("; "),
    })
}
