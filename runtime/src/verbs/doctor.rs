//! `doctor`: what works on this machine.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Site, VerbError};
use crate::driver::{DriverError, Offers};
use crate::plan::binary_size;

/// What works on this machine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DoctorReport {
    /// What was looked at, in order.
    pub checks: Vec<DoctorCheck>,
    /// Whether anything here runs containers.
    #[serde(skip)]
    pub works: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DoctorCheck {
    /// A driver, or `home`; empty for a note on the one before.
    pub what: String,
    /// What is to say of it.
    pub verdict: Verdict,
    /// Why, or what there is.
    pub detail: String,
}

/// What is to say of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Verdict {
    /// It works.
    #[serde(rename = "works")]
    Works,
    /// It does not.
    #[serde(rename = "does not work")]
    DoesNotWork,
    /// It works with a limit.
    #[serde(rename = "note")]
    Note,
}

impl Verdict {
    /// Returns the text of the verdict.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::DoesNotWork => "does not work",
            Self::Note => "note",
        }
    }
}

/// Finds out what works on this machine. If nothing works, that is a report and not an error.
///
/// # Errors
/// If the local store cannot be opened.
pub async fn doctor(site: &Site) -> Result<DoctorReport, VerbError> {
    let store = site.store().await?;
    let mut checks = Vec::new();
    let mut works = false;
    for candidate in site.drivers(&store) {
        let offers = candidate.offers().await.map(|(_, offers)| offers);
        works |= offers.is_ok();
        checks.extend(driver_checks(candidate.name, offers));
    }
    checks.push(DoctorCheck {
        what: "home".to_owned(),
        verdict: Verdict::Works,
        detail: site.home().root().display().to_string(),
    });
    Ok(DoctorReport { checks, works })
}

/// Returns one check for each driver, and a note for each limit that the driver cannot enforce.
fn driver_checks(name: &str, offers: Result<Offers, DriverError>) -> Vec<DoctorCheck> {
    let check = |what: &str, verdict, detail| DoctorCheck {
        what: what.to_owned(),
        verdict,
        detail,
    };
    let offers = match offers {
        Ok(offers) => offers,
        Err(error) => return vec![check(name, Verdict::DoesNotWork, error.to_string())],
    };
    let has = format!(
        "{} cores, {} of memory, {} of free disk, {} GPUs",
        offers.cpus,
        binary_size(offers.memory),
        binary_size(offers.disk),
        offers.gpus.values().sum::<u32>()
    );
    let notices = offers.notices.into_iter();
    let notices = notices.map(|notice| check("", Verdict::Note, notice));
    std::iter::once(check(name, Verdict::Works, has))
        .chain(notices)
        .collect()
}
