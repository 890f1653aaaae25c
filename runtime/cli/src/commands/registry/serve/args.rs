//! Arguments of `registry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use samebundle_runtime::verbs::Location;
use samebundle_spec::limits;

use crate::values;

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Login {
    /// Name and password with each request
    Basic,
    /// Name and password for a short-lived token
    Token,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one and prints it
    #[arg(long, default_value = "127.0.0.1:5000")]
    pub(crate) listen: SocketAddr,
    /// A file (.tgz, .tar, archive:FILE) or layout:DIR to show, read-only
    #[arg(
        value_name = "PLACE",
        required_unless_present = "root",
        conflicts_with = "root",
        value_parser = values::location()
    )]
    pub(crate) place: Option<Location>,
    /// Name of its repository [default: from the file's name]
    #[arg(long, value_name = "NAME", requires = "place")]
    pub(crate) repository: Option<String>,
    /// Folder that holds the content; made if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Refuse every change, and write nothing to the folder: it may lie on read-only media, and several servers may share it
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Refuse to move or remove a tag that is there
    #[arg(long)]
    pub(crate) immutable_tags: bool,
    /// Time between two collections of what no manifest names: a number and s, m, h or d; 0 collects nothing
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time_or_seconds)]
    pub(crate) collect_every: Duration,
    /// How long what no manifest names is left alone before it is collected: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = time_or_seconds)]
    pub(crate) grace: Duration,
    /// Append a line of JSON for each request to this file; `-` for the error stream
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: Tls,
    #[command(flatten)]
    pub(crate) users: Users,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct Tls {
    /// Certificate chain in PEM, the server's own first; turns on TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Users")]
pub(crate) struct Users {
    /// Users and their bcrypt hashes, as `htpasswd -B` writes them; without, everybody may do everything
    #[arg(long, value_name = "FILE")]
    pub(crate) htpasswd: Option<PathBuf>,
    /// What each user may do, in YAML; without, every user may do everything and others nothing
    #[arg(long, value_name = "FILE", requires = "htpasswd")]
    pub(crate) access: Option<PathBuf>,
    /// How clients log in
    #[arg(long, value_name = "HOW", default_value = "basic", requires = "htpasswd")]
    pub(crate) login: Login,
    /// How long a token is good for: a number and s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = values::time)]
    pub(crate) token_life: Duration,
    /// Where clients fetch tokens, if this server stands behind another: e.g. https://registry.example
    /// [default: the address that each client uses]
    #[arg(long, value_name = "URL")]
    pub(crate) public_address: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Bounds {
    /// Most connections at one time; for one more, the one that is silent longest is closed
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS, value_parser = connections)]
    pub(crate) max_connections: usize,
    /// Largest manifest that is taken, bytes
    #[arg(long, value_name = "BYTES", default_value_t = limits::MANIFEST_BYTES)]
    pub(crate) max_manifest: u64,
    /// Largest blob that is taken, bytes
    #[arg(long, value_name = "BYTES", default_value_t = limits::BLOB_BYTES)]
    pub(crate) max_blob: u64,
    /// Smallest part that clients are asked to upload in, bytes; 0 asks for nothing
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) min_chunk: u64,
    /// Longest time for the head of a request, and between two requests of a connection
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::time)]
    pub(crate) header_timeout: Duration,
    /// Longest silence of a client that sends content or should take it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::time)]
    pub(crate) idle_timeout: Duration,
}

/// Reads a time with its unit, or a number of seconds, as scripts for earlier versions give it.
fn time_or_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => values::time(text),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one is needed".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        for (text, expected) in [
            ("2h", Some(7_200)),
            ("30s", Some(30)),
            ("1d", Some(86_400)),
            ("90", Some(90)),
            ("0", Some(0)),
            ("", None),
            ("h", None),
            ("1.5h", None),
            ("-1", None),
            ("2 hours", None),
        ] {
            let time = time_or_seconds(text).ok();
            assert_eq!(time, expected.map(Duration::from_secs), "{text}");
        }
    }
}
