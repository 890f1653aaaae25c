//! What happens to an installation: build, plan, run, record.
//!
//! Library code here never prints, exits, reads the environment or asks the time: it takes a [`Context`] and emits
//! [`Event`]s. Drivers sit behind cargo features.

pub mod build;
pub mod context;
pub mod driver;
pub mod engine;
pub mod event;
pub mod foreign;
pub mod home;
pub mod image;
mod layer;
pub mod lifecycle;
pub mod listing;
pub mod metadata;
mod meter;
pub mod opened;
pub mod outside;
pub mod page;
pub mod plan;
pub mod portable;
mod process;
pub mod record;
pub mod results;
pub mod secret;
pub mod upkeep;
pub mod verbs;

pub use context::{Clock, Context};
pub use event::{Amount, Event, Events, Logged, Working};
pub use home::Home;
