//! A registry server: OCI distribution-spec 1.1 over a folder.
//!
//! ```text
//! admission ── connection ── service ── route (path -> Route) ── access ── blobs | uploads | manifests | listing ── Storage
//!                               └── account ── log, meter, failures
//! ```
//!
//! * [`Storage`]: the files on disk; each blob once for all repositories, and what each repository has.
//! * [`Exhibit`]: instead of it, any store that can be copied from, served as one repository.
//! * `route`: the only code that reads paths; names, tags and digests are parsed there and nowhere else.
//! * `access`: the users and what they may do; [`Tls`]: certificates; `connection`: time limits and the end.
//! * `admission`: the connections, and which one gives way.
//! * `refusal`: every refusal with its status and its error code of the specification.
//! * `account`: one line in the access log and the figures of `/metrics` for every request; `failures`: what the
//!   server itself failed at, in its log.
//!
//! Invariants: a blob is acknowledged only after it was hashed, synced and renamed; a blob that does not have its
//! digest leaves nothing behind; a repository has only what was pushed to it, even if another has the same blob; a
//! manifest is accepted only if everything that it names exists; with [`Access`], nothing is done before a user was
//! found who may do it. Bodies stream through a bounded channel, so memory does not grow with their size. Concurrency:
//! requests are independent; manifests and tags of one repository are written one at a time; one process serves a
//! folder (kernel lock). Failure: a refused or cut request changes nothing, but for the bytes of an upload session,
//! from which the client may go on.

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
