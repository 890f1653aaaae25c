//! Which driver runs something: the one that was asked for, or the first that works here.

use std::sync::Arc;

use super::{Capacity, Driver, DriverError};

/// Chooses among drivers in order of preference.
///
/// # Errors
/// [`DriverError::Unusable`] if the one asked for does not exist or does not work here, or if none works: then with the
/// reason of each.
pub async fn choose(
    drivers: &[Arc<dyn Driver>],
    wanted: Option<&str>,
) -> Result<(Arc<dyn Driver>, Capacity), DriverError> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != "local") else {
        return first_that_works(drivers).await;
    };
    let Some(driver) = drivers.iter().find(|driver| driver.name() == wanted) else {
        let known: Vec<&str> = drivers.iter().map(|driver| driver.name()).collect();
        return Err(DriverError::Unknown {
            wanted: wanted.to_owned(),
            known: known.join(", "),
        });
    };
    Ok((Arc::clone(driver), driver.probe().await?))
}

async fn first_that_works(drivers: &[Arc<dyn Driver>]) -> Result<(Arc<dyn Driver>, Capacity), DriverError> {
    let mut reasons = Vec::new();
    for driver in drivers {
        match driver.probe().await {
            Ok(capacity) => return Ok((Arc::clone(driver), capacity)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(DriverError::NoneUsable {
        reasons: reasons.join("; "),
    })
}
