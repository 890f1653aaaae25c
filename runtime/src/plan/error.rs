//! Why there is no plan.

use samebundle_spec::bundle::parameter::ParameterError;
use samebundle_spec::pipeline::PipelineFault;
use samebundle_spec::{Classify, Digest, ErrorKind};

use super::Shortfall;

/// An error of planning. Nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The bundle has no such action.
    #[error("bundle {bundle} has no action {action}")]
    NoAction {
        /// The bundle.
        bundle: String,
        /// The action that was asked for.
        action: String,
    },
    /// A parameter is wrong.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// An amount in the pipeline cannot be read.
    #[error("{0}")]
    Demand(PipelineFault),
    /// The bundle asks for a right that its signer was not granted.
    #[error("the bundle asks for {right}, which the policy does not allow its signer")]
    Right {
        /// The right.
        right: String,
    },
    /// The bundle is of a kind that cannot be run yet.
    #[error(
        "bundle {bundle} is {kind}, which cannot be installed yet; only programs and other tools' CNAB bundles can"
    )]
    NotYet {
        /// The bundle.
        bundle: String,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// The installation holds another bundle than the one that was verified: somebody replaced it meanwhile.
    #[error("{installation} holds {installed}, not {verified}, which was verified; run the command again")]
    Replaced {
        /// The installation.
        installation: String,
        /// What it holds.
        installed: Digest,
        /// What was verified.
        verified: Digest,
    },
    /// This machine cannot give what the bundle requires.
    #[error("{} cannot be provisioned here:{}", .0.len(), list(.0))]
    Shortfalls(Vec<Shortfall>),
}

fn list(shortfalls: &[Shortfall]) -> String {
    shortfalls
        .iter()
        .map(|shortfall| format!("\n  {shortfall}"))
        .collect()
}

impl Classify for PlanError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoAction { .. } | Self::Demand(_) | Self::NotYet { .. } => ErrorKind::Input,
            Self::Parameter(error) => error.kind(),
            Self::Right { .. } => ErrorKind::NotTrusted,
            Self::Replaced { .. } => ErrorKind::Conflict,
            Self::Shortfalls(_) => ErrorKind::CannotProvision,
        }
    }
}
