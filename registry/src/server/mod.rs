//! A registry server: OCI distribution-spec 1.1 over a folder.
//!
//! ```text
//! admission ── connection ── service ── route (path -> Route) ── access ── blobs | uploads | manifests | listing ── Storage
//!                               └── account ── log, meter, failures
//! ```
//!
//! * [`Storage`]: what is on disk; content once for all repositories, and what each repository has.
//! * [`Exhibit`]: instead of it, any place that content can be copied from, shown as one repository.
//! * `route`: the one place that reads paths; names, tags and digests are parsed there and nowhere else.
//! * `access`: who asks and what they may do; [`Tls`]: certificates; `connection`: time limits and the end.
//! * `admission`: which connections there are, and which one gives way.
//! * `refusal`: every refusal with its status and its error code of the specification.
//! * `account`: one line in the access log and the figures of `/metrics` for every request; `failures`: what the
//!   server itself failed at, in its log.
//!
//! Invariants: content is acknowledged only after it was hashed, synced and renamed; content that does not have its digest
//! leaves nothing behind; a repository shows only what was pushed to it, also where another has the same content; a manifest
//! is taken only when all that it names is there; with [`Access`], nothing is done before a user was found who may.
//! Bodies stream through a bounded channel, so memory does not grow with
//! their size. Concurrency: requests are independent; manifests and tags of one repository are written one at a time; one
//! process serves a folder (kernel lock). Failure: a refused or cut request changes nothing, but for the bytes of an upload
//! session, from which the client may go on.

mod access;
mod account;
mod admission;
mod base;
mod blobs;
mod body;
mod config;
mod connection;
mod exhibit;
mod failures;
mod fresh;
mod listing;
mod log;
mod manifests;
mod meter;
mod random;
mod refusal;
mod route;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod tls;
mod uploads;

pub use access::{Access, Scheme, set_password};
pub use config::{Bounds, Config};
pub use exhibit::Exhibit;
pub use log::Log;
pub use service::Server;
pub use storage::{Collected, Rules, Storage};
pub use tls::Tls;
