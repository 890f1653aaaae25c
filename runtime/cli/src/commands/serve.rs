//! `registry serve`.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use samebundle_registry::server::{Access, Bounds, Config, Log, Rules, Scheme, Server, Storage, Tls};
use samebundle_runtime::Clock;
use serde_json::json;

use crate::args::{self, Login};
use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::settings::SystemClock;

/// Serves a registry until it is interrupted.
pub(crate) async fn serve(session: &Session, args: &args::Serve) -> Result<Report, CliError> {
    let root = session.settings.current_dir.join(&args.root);
    let config = config(session, args)?;
    let listening = |source| CliError::Io {
        operation: "listen on",
        path: args.listen.to_string(),
        source,
    };
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    // Whoever started us with port 0 waits for this line.
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "serving {} on {address}; interrupt to stop",
        root.display()
    )
    .map_err(listening)?;
    let rules = Rules {
        read_only: args.read_only,
        immutable_tags: args.immutable_tags,
        manifest_bytes: args.bounds.max_manifest,
        blob_bytes: args.bounds.max_blob,
    };
    let server = Server::new(Storage::open_with(&root, rules)?, config)?;
    if args.collect_every > 0 && !args.read_only {
        let every = Duration::from_secs(args.collect_every);
        let grace = Duration::from_secs(args.grace);
        let cancel = session.context.cancel.clone();
        tokio::spawn(server.clone().collect_every(every, grace, cancel));
    }
    server.serve(listener, session.context.cancel.clone()).await?;
    Ok(Report::new("stopped", json!({"address": address.to_string()})))
}

fn config(session: &Session, args: &args::Serve) -> Result<Config, CliError> {
    let at = |path: &Path| session.settings.current_dir.join(path);
    let scheme = match args.users.login {
        Login::Basic => Scheme::Basic,
        Login::Token => Scheme::Token {
            address: args
                .users
                .public_address
                .as_ref()
                .map(|address| address.trim_end_matches('/').to_owned()),
            life: args.users.token_life,
        },
    };
    let access = args.users.htpasswd.as_ref().map(|users| {
        let rules = args.users.access.as_deref().map(at);
        Access::open(scheme, &at(users), rules.as_deref(), || SystemClock.now())
    });
    let tls = args.tls.tls_certificate.as_ref().zip(args.tls.tls_key.as_ref());
    let log = args.access_log.as_ref().map(|path| -> Result<Log, CliError> {
        if path.as_os_str() == "-" {
            return Ok(Log::new(std::io::stderr()));
        }
        let path = at(path);
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        Ok(Log::new(file.map_err(CliError::io("open", &path))?))
    });
    Ok(Config {
        access: access.transpose()?,
        tls: tls
            .map(|(certificate, key)| Tls::open(&at(certificate), &at(key)))
            .transpose()?,
        bounds: Bounds {
            connections: args.bounds.max_connections,
            header_silence: args.bounds.header_timeout,
            body_silence: args.bounds.idle_timeout,
            chunk_bytes: args.bounds.min_chunk,
        },
        log: log.transpose()?,
        clock: || SystemClock.now(),
    })
}
