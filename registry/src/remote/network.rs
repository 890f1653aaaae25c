//! How registries are reached: proxies and certificates, given by the caller, who reads the environment.
//!
//! Certificates are kept as docker and containers keep them (containers-certs.d(5)): in each of some folders one named
//! `HOST` or `HOST:PORT`, in it `*.crt` (authorities that are trusted beside the system's) and pairs `NAME.cert` and
//! `NAME.key` (who we are). The folder that is found first counts, as a whole. A registry that has such a folder is spoken to
//! by https, also on this machine.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity, NoProxy, Proxy};
use zeroize::Zeroizing;

use super::http::describe;

/// Proxies, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` have them. This machine is never reached through one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain http: `http://host:port`, with a name and password if the proxy wants them.
    pub http: Option<Zeroizing<String>>,
    /// For https.
    pub https: Option<Zeroizing<String>>,
    /// Hosts, domains and address blocks that are reached without, apart by commas; `*` is all.
    pub except: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their addresses may hold passwords.
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("except", &self.except)
            .finish()
    }
}

impl Proxies {
    /// Sends what a client sends through the proxies.
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        // The addresses are not repeated: they may hold passwords.
        let invalid = |_| "the address of the proxy is not valid".to_owned();
        let http = self.http.as_ref().map(|url| Proxy::http(url.as_str()));
        let https = self.https.as_ref().map(|url| Proxy::https(url.as_str()));
        for proxy in [http, https].into_iter().flatten() {
            let except = NoProxy::from_string(&self.except);
            builder = builder.proxy(proxy.map_err(invalid)?.no_proxy(except));
        }
        Ok(builder)
    }
}

/// The folder with the certificates of a registry, if there is one.
pub(super) fn certificates_of(folders: &[PathBuf], registry: &str) -> Option<PathBuf> {
    let mut own = folders.iter().map(|folder| folder.join(registry));
    own.find(|folder| folder.is_dir())
}

/// Trusts the authorities in a folder, and shows the certificate that is in it.
pub(super) fn trust(mut builder: ClientBuilder, folder: &Path) -> Result<ClientBuilder, String> {
    let failed = |path: &Path, why: String| format!("{}: {why}", path.display());
    let read = |path: &Path| std::fs::read(path).map_err(|error| failed(path, error.to_string()));
    let listed = std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
    let mut files: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for path in &files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => {
                let found = Certificate::from_pem_bundle(&read(path)?);
                let found = found.map_err(|error| failed(path, describe(&error)))?;
                builder = builder.tls_certs_merge(found);
            }
            Some("cert") => {
                let key = path.with_extension("key");
                let mut pair = Zeroizing::new(read(&key)?);
                pair.push(b'\n');
                pair.extend_from_slice(&read(path)?);
                let own = Identity::from_pem(&pair);
                builder = builder.identity(own.map_err(|error| failed(path, describe(&error)))?);
            }
            _ => {}
        }
    }
    Ok(builder)
}
