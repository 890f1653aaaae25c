//! What happens to an installation, step by step. Each step takes what the one before it returned:
//! `Verified<`[`OpenedBundle`](crate::opened::OpenedBundle)`>` -> [`Plan`](crate::plan::Plan) -> run -> record.

mod action;
mod debug;
mod error;
mod install;
mod run;

pub use action::Action;
pub use debug::{Debugging, debug};
pub use error::LifecycleError;
pub use install::{Installed, Machine, NewInstallation, foresee, install, uninstall};
pub use run::{end_abandoned, end_rest, resolve_interrupted, resume, run};
