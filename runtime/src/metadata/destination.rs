//! Names of the places that runs are sent to, as people write them: `mlflow=URL`, `openlineage=URL`, `openlineage=file:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use samebundle_registry::remote::web::WebAddress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MetadataError;

/// A place that runs are sent to. It holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Destination {
    /// A tracking server of MLflow.
    Mlflow(WebAddress),
    /// A receiver of OpenLineage events.
    OpenLineage(Place),
}

/// Where OpenLineage events go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A service.
    Service(WebAddress),
    /// A file to which they are appended, one a line.
    File(PathBuf),
}

impl Destination {
    /// The same destination, with a file below this folder.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        match self {
            Self::OpenLineage(Place::File(path)) => Self::OpenLineage(Place::File(folder.join(path))),
            other => other,
        }
    }
}

impl FromStr for Destination {
    type Err = MetadataError;

    fn from_str(text: &str) -> Result<Self, MetadataError> {
        // What follows may hold a password, so that it is repeated only after it was read.
        let wrong = |kind: &str, why: &str| MetadataError::Destination {
            kind: kind.chars().take(32).collect(),
            why: why.to_owned(),
        };
        let (kind, rest) = text.split_once('=').unwrap_or((text, ""));
        match (kind, rest.strip_prefix("file:")) {
            ("mlflow", None) if rest.starts_with("sqlite:") => Err(wrong(kind, NO_SERVER)),
            ("mlflow", Some(_)) => Err(wrong(kind, NO_SERVER)),
            ("mlflow", None) => {
                let address = WebAddress::parse(rest).map_err(|why| wrong(kind, why))?;
                Ok(Self::Mlflow(address))
            }
            ("openlineage", Some("")) => Err(wrong(kind, "a path follows file:")),
            ("openlineage", Some(path)) => Ok(Self::OpenLineage(Place::File(path.into()))),
            ("openlineage", None) => {
                let address = WebAddress::parse(rest).map_err(|why| wrong(kind, why))?;
                Ok(Self::OpenLineage(Place::Service(address)))
            }
            _ => Err(wrong(
                kind,
                "write mlflow=URL, openlineage=URL or openlineage=file:PATH",
            )),
        }
    }
}

/// Why a store of MLflow without a server is not written to.
const NO_SERVER: &str = "a store is written through its server only, because its form changes with each version of MLflow; \
     start `mlflow server --backend-store-uri …` over it, and give the address of that";

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mlflow(address) => write!(f, "mlflow={address}"),
            Self::OpenLineage(Place::Service(address)) => write!(f, "openlineage={address}"),
            Self::OpenLineage(Place::File(path)) => write!(f, "openlineage=file:{}", path.display()),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = MetadataError;

    fn try_from(text: String) -> Result<Self, MetadataError> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}
