//! `list` and `show`: installations.

use samebundle_spec::record::Installation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::resolve::installation;
use super::{LocalName, Site, VerbError};
use crate::record::{Installations, Runs};

/// All installations.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListReport {
    /// Each of them, by name.
    pub installations: Vec<Installation>,
}

/// Asks for one installation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShowRequest {
    /// Its name, and the version that it has to have.
    pub name: LocalName,
}

/// One installation.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShowReport {
    /// The installation.
    pub installation: Installation,
    /// How many runs of it are recorded.
    pub runs: usize,
}

/// Lists installations.
///
/// # Errors
/// If a record cannot be read.
pub fn list(site: &Site) -> Result<ListReport, VerbError> {
    let installations = Installations::new(site.home()).list()?;
    Ok(ListReport { installations })
}

/// Shows one installation.
///
/// # Errors
/// If there is none of that name, or a record cannot be read.
pub fn show(site: &Site, request: &ShowRequest) -> Result<ShowReport, VerbError> {
    let installation = installation(site, &request.name)?;
    let runs = Runs::new(site.home()).list(Some(&installation.name))?.len();
    Ok(ShowReport { installation, runs })
}
