//! The clients that requests go out with, and which addresses they may go to.
//!
//! Plain http only to this machine, but for hosts that are listed as secure or have certificates, and to hosts that are listed
//! as insecure. No client follows redirects by itself or sends credentials of its own accord. No cookies, no decompression:
//! bytes come as they were sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Request, Response, Url};
use samebundle_spec::{Repository, reference};

use super::ClientError;
use super::network::{Proxies, certificates_of, trust};
use super::retry::Failure;

/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Longest silence of the other side; registries take their time to sync a large blob before they answer.
const SILENCE: Duration = Duration::from_secs(120);
/// Where Docker Hub's registry really is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Sends requests to where they may go.
#[derive(Debug)]
pub(super) struct Http {
    user_agent: String,
    insecure: BTreeSet<String>,
    secure: BTreeSet<String>,
    proxies: Proxies,
    certificates: Vec<PathBuf>,
    clients: Mutex<Clients>,
}

/// Each is made when it is needed for the first time: reading the system's certificates takes some milliseconds.
#[derive(Debug, Default)]
struct Clients {
    /// For this machine by plain http: never through a proxy, and without certificates.
    plain: Option<Client>,
    /// For this machine by https: never through a proxy.
    local: Option<Client>,
    remote: Option<Client>,
    /// The one for each address that is spoken to by https: one of these, or its own for a registry with certificates.
    by_address: BTreeMap<String, Client>,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    pub(super) why: String,
}

impl Http {
    pub(super) fn new(
        user_agent: &str,
        insecure: BTreeSet<String>,
        secure: BTreeSet<String>,
        proxies: Proxies,
        certificates: Vec<PathBuf>,
    ) -> Result<Self, ClientError> {
        // The process's TLS provider; somebody may have chosen one before, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // An address that makes no sense is said to be so before anything is asked.
        let applied = proxies.apply(builder(user_agent));
        drop(applied.map_err(|why| ClientError::Tls { why })?);
        Ok(Self {
            user_agent: user_agent.to_owned(),
            insecure,
            secure,
            proxies,
            certificates,
            clients: Mutex::default(),
        })
    }

    /// The client for an address. Its certificates are looked for when it is spoken to for the first time.
    fn client(&self, url: &Url) -> Result<Client, String> {
        let (address, https, local) = (authority(url), url.scheme() == "https", is_local(url));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if https && let Some(client) = clients.by_address.get(&address) {
            return Ok(client.clone());
        }
        let begin = || match builder(&self.user_agent) {
            builder if local => Ok(builder),
            builder => self.proxies.apply(builder),
        };
        let own = https
            .then(|| certificates_of(&self.certificates, &address))
            .flatten();
        let usual = match (local, https) {
            (true, false) => &mut clients.plain,
            (true, true) => &mut clients.local,
            (false, _) => &mut clients.remote,
        };
        let client = match (own, &usual) {
            (Some(folder), _) => build(trust(begin()?, &folder)?)?,
            (None, Some(client)) => client.clone(),
            (None, None) if local && !https => usual.insert(build(begin()?.tls_certs_only([]))?).clone(),
            (None, None) => usual.insert(build(begin()?)?).clone(),
        };
        if https {
            clients.by_address.insert(address, client.clone());
        }
        Ok(client)
    }

    /// The address of a registry.
    pub(super) fn base(&self, repository: &Repository) -> Result<Url, String> {
        let registry = match repository.registry() {
            reference::DOCKER_HUB => DOCKER_HUB_HOST,
            other => other,
        };
        let plain = Url::parse(&format!("http://{registry}/")).map_err(|error| error.to_string())?;
        let certified = certificates_of(&self.certificates, registry).is_some();
        if self.plain_allowed(&plain) && !certified {
            return Ok(plain);
        }
        let url = Url::parse(&format!("https://{registry}/")).map_err(|error| error.to_string())?;
        // Certificates that cannot be read are said to be so before anything is asked.
        self.client(&url)?;
        Ok(url)
    }

    /// Tells whether a request may go to this address at all: https, or plain http where that is allowed; no userinfo.
    pub(super) fn allowed(&self, url: &Url) -> bool {
        let clean = url.username().is_empty() && url.password().is_none();
        clean && (url.scheme() == "https" || (url.scheme() == "http" && self.plain_allowed(url)))
    }

    fn plain_allowed(&self, url: &Url) -> bool {
        let authority = authority(url);
        (is_local(url) && !self.secure.contains(&authority)) || self.insecure.contains(&authority)
    }

    /// Sends one request, once.
    pub(super) async fn send(&self, request: Request) -> Result<Response, Broken> {
        let client = self.client(request.url()).map_err(|why| Broken {
            failure: Failure::Connect,
            why,
        })?;
        client.execute(request).await.map_err(|error| Broken {
            failure: if error.is_connect() {
                Failure::Connect
            } else {
                Failure::Passing(None)
            },
            why: describe(&error),
        })
    }
}

fn builder(user_agent: &str) -> ClientBuilder {
    Client::builder()
        .user_agent(user_agent)
        .redirect(Policy::none())
        .referer(false)
        // No proxy but those that are added: the environment is the caller's to read.
        .no_proxy()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
}

fn build(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|error| describe(&error))
}

/// `host` or `host:port`, as a registry is written in a reference.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// The innermost reason, without the address: that may hold a signature of a storage service.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    if std::ptr::addr_eq(reason, error) {
        let what = if error.is_timeout() {
            "it took too long"
        } else {
            "the request failed"
        };
        return what.to_owned();
    }
    reason.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(insecure: &[&str]) -> Http {
        let insecure = insecure.iter().map(|host| (*host).to_owned()).collect();
        let secure = BTreeSet::from(["127.0.0.1:5443".to_owned()]);
        Http::new("test", insecure, secure, Proxies::default(), Vec::new()).unwrap()
    }

    #[test]
    fn speaks_plain_http_only_to_this_machine_and_listed_hosts() {
        let http = http(&["plain.example:5000"]);
        for (registry, expected) in [
            ("localhost:5000", "http://localhost:5000/"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/"),
            ("127.0.0.1:5443", "https://127.0.0.1:5443/"),
            ("127.9.9.9", "http://127.9.9.9/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("plain.example:5000", "http://plain.example:5000/"),
            ("plain.example:5001", "https://plain.example:5001/"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/"),
            ("localhost.example", "https://localhost.example/"),
            ("docker.io", "https://registry-1.docker.io/"),
        ] {
            let repository = Repository::new(registry, "a").unwrap();
            assert_eq!(http.base(&repository).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn refuses_addresses_that_smuggle_or_downgrade() {
        let http = http(&[]);
        for (url, expected) in [
            ("https://a.example/x", true),
            ("http://a.example/x", false),
            ("http://127.0.0.1:1/x", true),
            ("http://127.0.0.1:5443/x", false),
            ("http://169.254.169.254/latest", false),
            ("https://user:pass@a.example/", false),
            ("https://a.example@b.example/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(http.allowed(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
