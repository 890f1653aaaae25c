//! `registry serve`.

mod args;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samebundle_registry::StoreError;
use samebundle_registry::archive;
use samebundle_registry::durable;
use samebundle_registry::layout::Layout;
use samebundle_registry::server::{
    Access, Bounds, Config, Exhibit, Log, Rules, Scheme, Server, Storage, Tls,
};
use samebundle_registry::store::Origin;
use samebundle_runtime::Clock;
use samebundle_runtime::verbs::{Location, archive_stem};
use serde_json::json;

use crate::error::CliError;
use crate::render::Report;
use crate::session::Session;
use crate::settings::SystemClock;

use args::Login;
pub(crate) use args::Serve;

impl Serve {
    pub(crate) async fn run(self: Box<Self>, session: &Session) -> Result<Report, CliError> {
        serve(session, &self).await
    }
}

/// Serves a registry until it is interrupted.
async fn serve(session: &Session, args: &Serve) -> Result<Report, CliError> {
    let config = config(session, args)?;
    let wanted = args.listen.to_string();
    let listening = |error| CliError::io("listen on", Path::new(&wanted))(error);
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    let (server, what) = server(session, args, config, address).await?;
    // A process that started this server with port 0 waits for this line.
    writeln!(
        std::io::stderr(),
        "serving {what} on {address}; interrupt to stop"
    )
    .map_err(listening)?;
    if !args.collect_every.is_zero() {
        let cancel = session.site.context.cancel.clone();
        tokio::spawn(
            server
                .clone()
                .collect_every(args.collect_every, args.grace, cancel),
        );
    }
    server
        .serve(listener, session.site.context.cancel.clone())
        .await?;
    Ok(Report::new("stopped", &json!({"address": address.to_string()})))
}

/// Makes the server, and a text that says what it serves.
async fn server(
    session: &Session,
    args: &Serve,
    config: Config,
    address: SocketAddr,
) -> Result<(Server, String), CliError> {
    let Some(place) = &args.place else {
        let root = session.at(args.root.as_deref().unwrap_or(Path::new(".")));
        let rules = Rules {
            read_only: args.read_only,
            immutable_tags: args.immutable_tags,
            manifest_bytes: args.bounds.max_manifest,
            blob_bytes: args.bounds.max_blob,
        };
        let server = Server::new(Storage::open_with(&root, rules)?, config)?;
        return Ok((server, root.display().to_string()));
    };
    let (origin, path) = shown(session, place).await?;
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let stem = archive_stem(file).unwrap_or(file);
    let name = args.repository.clone().unwrap_or_else(|| stem.to_lowercase());
    let exhibit = Exhibit::open(origin, &name).await.map_err(|error| match error {
        StoreError::Invalid { why, .. } if args.repository.is_none() => CliError::Usage(format!(
            "{name:?} is no name of a repository ({why}); give one with --repository"
        )),
        other => other.into(),
    })?;
    let what = format!("{} as {address}/{name}, read-only,", path.display());
    Ok((Server::showing(exhibit, config)?, what))
}

/// Opens the file or layout that is shown.
async fn shown(session: &Session, place: &Location) -> Result<(Arc<dyn Origin>, PathBuf), CliError> {
    match place {
        Location::Archive(path, None) => {
            let path = session.at(path);
            let archive = archive::open(&path, &session.site.home().scratch()).await?;
            Ok((Arc::new(archive), path))
        }
        Location::Layout(path, None) => {
            let path = session.at(path);
            Ok((Arc::new(Layout::open(&path).await?), path))
        }
        _ => Err(CliError::Usage(
            "only a file or a whole layout:DIR can be shown; give --root DIR for a registry that takes pushes".to_owned(),
        )),
    }
}

fn config(session: &Session, args: &Serve) -> Result<Config, CliError> {
    let at = |path: &Path| session.at(path);
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
        let file = durable::target(&path).and_then(|file| {
            let mut options = std::fs::OpenOptions::new();
            options.append(true).create(true).open(file)
        });
        Ok(Log::new(file.map_err(CliError::io("write", &path))?))
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
