//! Chooses the driver: the one that was asked for, or the first that works on this machine.
//!
//! A driver is opened only when it is needed: to connect to a container engine that nobody asked for costs time, and
//! may start it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Driver, DriverError, Offers};

type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Driver>, DriverError>> + Send>>;

/// A driver that may be chosen.
pub struct Candidate {
    /// Its name.
    pub name: &'static str,
    open: Box<dyn Fn() -> Opening + Send + Sync>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// Makes a candidate from a name and a function that opens the driver.
    pub fn new<F>(name: &'static str, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn Driver>, DriverError>> + Send + 'static,
    {
        Self {
            name,
            open: Box::new(move || Box::pin(open())),
        }
    }

    /// Opens the driver.
    ///
    /// # Errors
    /// Why the driver cannot be opened.
    pub async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
        (self.open)().await
    }

    /// Opens the driver and reads what it offers.
    ///
    /// # Errors
    /// Why the driver does not work on this machine.
    pub async fn offers(&self) -> Result<(Arc<dyn Driver>, Offers), DriverError> {
        let driver = self.open().await?;
        let offers = driver.offers().await?;
        Ok((driver, offers))
    }
}

/// Chooses among candidates in order of preference.
///
/// # Errors
/// [`DriverError::Unknown`] if there is no driver of the name that was asked for; its own error if it does not work here;
/// [`DriverError::NoneUsable`] with the reason of each if none works.
pub async fn choose(
    candidates: &[Candidate],
    wanted: Option<&str>,
) -> Result<(Arc<dyn Driver>, Offers), DriverError> {
    let is = |name: &str| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name));
    let Some(wanted) = wanted.filter(|_| !is("local")) else {
        return first_that_works(candidates).await;
    };
    match candidates.iter().find(|candidate| is(candidate.name)) {
        Some(candidate) => candidate.offers().await,
        None => {
            let known: Vec<&str> = candidates.iter().map(|candidate| candidate.name).collect();
            Err(DriverError::Unknown {
                wanted: wanted.to_owned(),
                known: known.join(", "),
            })
        }
    }
}

async fn first_that_works(candidates: &[Candidate]) -> Result<(Arc<dyn Driver>, Offers), DriverError> {
    let mut reasons = Vec::new();
    for candidate in candidates {
        match candidate.offers().await {
            Ok(found) => return Ok(found),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(DriverError::NoneUsable {
        reasons: reasons.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Outcome;
    use crate::driver::fake::Fake;

    fn absent(name: &'static str) -> Candidate {
        Candidate::new(name, || async {
            Err(DriverError::Unusable {
                driver: "none",
                why: "it is not there".to_owned(),
            })
        })
    }

    fn works(name: &'static str) -> Candidate {
        Candidate::new(name, || async {
            Ok(Arc::new(Fake::immediate(|_| Outcome::Succeeded)) as Arc<dyn Driver>)
        })
    }

    fn never(name: &'static str) -> Candidate {
        Candidate::new(name, || async { unreachable!("opened without need") })
    }

    #[tokio::test]
    async fn opens_only_what_is_needed() {
        assert!(choose(&[absent("a"), works("b"), never("c")], None).await.is_ok());
        assert!(choose(&[never("a"), works("b")], Some("b")).await.is_ok());
        assert!(choose(&[works("a"), never("b")], Some("local")).await.is_ok());
        assert!(choose(&[works("a"), never("b")], Some("Local")).await.is_ok());
        assert!(choose(&[never("a"), works("b")], Some("B")).await.is_ok());
    }

    #[tokio::test]
    async fn says_why_there_is_none() {
        let unknown = choose(&[never("a"), never("b")], Some("c")).await;
        assert!(matches!(unknown, Err(DriverError::Unknown { known, .. }) if known == "a, b"));
        let none = choose(&[absent("a"), absent("b")], None).await;
        assert!(matches!(none, Err(DriverError::NoneUsable { reasons }) if reasons.contains("not there")));
        assert!(choose(&[absent("a"), never("b")], Some("a")).await.is_err());
    }
}
