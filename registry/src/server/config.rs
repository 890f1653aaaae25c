//! How a registry is served.

use std::time::{Duration, SystemTime};

use samebundle_spec::limits;

use super::access::Access;
use super::log::Log;
use super::tls::Tls;

/// How many clients may connect, and how long they may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most connections at one time; for one more, one that is silent gives way.
    pub connections: usize,
    /// Longest time for the head of a request, or between two requests of a connection.
    pub header_silence: Duration,
    /// Longest silence of a client inside a request's body, or while it should take an answer.
    pub body_silence: Duration,
    /// The smallest part that clients are asked to upload, bytes (`OCI-Chunk-Min-Length`); 0 asks for nothing. Smaller parts
    /// are taken all the same.
    pub chunk_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS,
            header_silence: Duration::from_secs(limits::HEADER_SILENCE_SECONDS),
            body_silence: Duration::from_secs(limits::BODY_SILENCE_SECONDS),
            chunk_bytes: 0,
        }
    }
}

/// How a registry is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// Users and the actions that they may take; without it everybody may do everything.
    pub access: Option<Access>,
    /// Certificates; without them plain HTTP is used.
    pub tls: Option<Tls>,
    /// Limits on clients.
    pub bounds: Bounds,
    /// The access log.
    pub log: Option<Log>,
    /// The time, for the access log.
    pub clock: fn() -> SystemTime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            access: None,
            tls: None,
            bounds: Bounds::default(),
            log: None,
            clock: || SystemTime::UNIX_EPOCH,
        }
    }
}
