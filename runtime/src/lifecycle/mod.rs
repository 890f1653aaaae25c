//! What happens to an installation, step by step. Each step takes what the one before it returned:
//! `Verified` -> [`OpenedBundle`](crate::opened::OpenedBundle) -> [`Plan`] -> run -> record.

mod action;
mod claim;
mod demands;
mod error;
mod events;
mod install;
mod run;

pub use action::Action;
pub use error::LifecycleError;
pub use install::{InstallRequest, Installed, Machine, install, uninstall};
pub use run::{Plan, RUN, plan, resolve_interrupted, run};
