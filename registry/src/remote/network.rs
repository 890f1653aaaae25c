//! How registries are reached: proxies and certificates. The caller reads the environment and passes them.
//!
//! Certificates are kept as docker and containers keep them (containers-certs.d(5)): in each of some folders one named
//! `HOST` or `HOST:PORT` (what is in it: [`tls`](super::tls)). The folder that is found first counts, as a whole. A registry
//! that has such a folder is contacted by https, also on this machine.

use std::fmt;
use std::path::PathBuf;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Proxy, Url};
use zeroize::Zeroizing;

use super::http::authority;

/// The protocols of a proxy.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Proxies, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` have them. This machine is never reached through one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain http: `http://host:port`, with a name and password if the proxy wants them; `socks5h://` as well.
    pub http: Option<Zeroizing<String>>,
    /// For https.
    pub https: Option<Zeroizing<String>>,
    /// Hosts, `host:port`s, domains, addresses and blocks of addresses that are reached without a proxy, separated by
    /// commas; `*` is all.
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
    /// The proxy that an address is reached through, as `host:port`.
    pub(super) fn on_the_way_to(&self, url: &Url) -> Option<String> {
        let address = authority(url);
        let entries = || self.except.split(',').map(str::trim);
        if entries().any(|entry| entry == "*" || entry == address) {
            return None;
        }
        let domains: Vec<_> = entries()
            .map(|entry| match entry.strip_prefix('*') {
                Some(domain) if domain.starts_with('.') => domain,
                _ => entry,
            })
            .collect();
        let text = |url: &Option<Zeroizing<String>>| url.as_ref().map_or("", |url| url.as_str()).to_owned();
        let matcher = Matcher::builder()
            .http(text(&self.http))
            .https(text(&self.https))
            .no(domains.join(","))
            .build();
        let found = matcher.intercept(&url.as_str().parse().ok()?)?;
        // The text before an `@` may be a secret.
        let proxy = found.uri().authority()?.as_str();
        proxy.rsplit('@').next().map(str::to_owned)
    }

    /// Makes a client send its requests through the proxies.
    ///
    /// # Errors
    /// If an address is not valid. The error does not repeat it, because it may hold a password.
    pub(super) fn apply(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        let http = self.http.as_ref().map(|url| (url, "http_proxy"));
        let https = self.https.as_ref().map(|url| (url, "https_proxy"));
        for (url, variable) in [http, https].into_iter().flatten() {
            let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
            if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
                return Err(format!(
                    "the proxy that {variable} or all_proxy names is to be reached by {scheme:?}; use one of {}",
                    SCHEMES.join(", ")
                ));
            }
            let proxy = match variable {
                "http_proxy" => Proxy::http(url.as_str()),
                _ => Proxy::https(url.as_str()),
            };
            builder = builder.proxy(proxy.map_err(|_| {
                format!("the proxy that {variable} or all_proxy names has no valid address; write http://HOST:PORT")
            })?);
        }
        Ok(builder)
    }
}

/// The folder with the certificates of a registry, if there is one.
pub(super) fn certificates_of(folders: &[PathBuf], registry: &str) -> Option<PathBuf> {
    let mut own = folders.iter().map(|folder| folder.join(registry));
    own.find(|folder| folder.is_dir())
}
