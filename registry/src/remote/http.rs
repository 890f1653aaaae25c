//! The HTTP clients that send requests, and the addresses that they may contact.
//!
//! Plain http is used only for this machine, except for hosts that are listed as secure or have certificates, and for
//! hosts that are listed as insecure. No client follows redirects by itself or sends credentials of its own accord. No
//! cookies, no decompression: bytes are returned as they were sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, Request, Response, StatusCode, Url};
use samebundle_spec::{Repository, reference};

use super::network::{Proxies, certificates_of};
use super::retry::Failure;
use super::tls::{self, Trusted};
use super::{ClientError, RemoteConfig};

/// The longest time for making a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// The longest silence of the other side; registries need time to sync a large blob before they answer.
const SILENCE: Duration = Duration::from_secs(120);
/// The host of Docker Hub's registry.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Sends requests to the addresses that are allowed.
#[derive(Debug)]
pub(super) struct Http {
    user_agent: String,
    insecure: BTreeSet<String>,
    secure: BTreeSet<String>,
    proxies: Proxies,
    certificates: Vec<PathBuf>,
    /// The system's certificates, read when they are first needed, because that takes some milliseconds.
    trusted: OnceLock<Trusted>,
    clients: Mutex<Clients>,
    /// Addresses that have answered plain http properly.
    plain: Mutex<BTreeSet<String>>,
}

/// Each client is made when it is first needed.
#[derive(Debug, Default)]
struct Clients {
    /// For plain http without a proxy: it needs no certificates.
    plain: Option<Client>,
    /// For https without a proxy.
    direct: Option<Client>,
    /// For all that goes through a proxy.
    proxied: Option<Client>,
    /// The client for each address that is contacted by https: one of these, or its own for a registry with certificates.
    by_address: BTreeMap<String, Client>,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct RequestError {
    pub(super) failure: Failure,
    pub(super) why: String,
}

impl RequestError {
    /// A failure that a retry does not help.
    fn lasting(why: String) -> Self {
        let failure = Failure::Lasting;
        Self { failure, why }
    }
}

impl Http {
    /// Makes what sends requests to servers that are no registries.
    pub(super) fn to_others(config: RemoteConfig) -> Result<Self, ClientError> {
        if config.offline {
            return Err(ClientError::Offline);
        }
        let agent = concat!("samebundle/", env!("CARGO_PKG_VERSION"));
        Self::new(
            agent,
            config.insecure,
            config.secure,
            config.proxies,
            config.certificates,
        )
    }

    pub(super) fn new(
        user_agent: &str,
        insecure: BTreeSet<String>,
        secure: BTreeSet<String>,
        proxies: Proxies,
        certificates: Vec<PathBuf>,
    ) -> Result<Self, ClientError> {
        // The TLS provider of the process; another one that was installed before serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // An address that is not valid is reported before any request.
        let applied = proxies.apply(builder(user_agent));
        drop(applied.map_err(|why| ClientError::Proxy { why })?);
        Ok(Self {
            user_agent: user_agent.to_owned(),
            insecure,
            secure,
            proxies,
            certificates,
            trusted: OnceLock::new(),
            clients: Mutex::default(),
            plain: Mutex::default(),
        })
    }

    /// The proxy that an address is reached through, as `host:port`.
    pub(super) fn proxy(&self, url: &Url) -> Option<String> {
        match is_local(url) {
            true => None,
            false => self.proxies.on_the_way_to(url),
        }
    }

    /// The trusted certificates for an address.
    fn trusted(&self, address: &str) -> Result<Trusted, String> {
        let system = self.trusted.get_or_init(Trusted::by_system);
        let folder = certificates_of(&self.certificates, address);
        folder.map_or_else(|| Ok(system.clone()), |folder| system.with_folder(&folder))
    }

    /// The client for an address. Its certificates are looked up when it is first contacted.
    fn client(&self, url: &Url) -> Result<Client, String> {
        let (address, https) = (authority(url), url.scheme() == "https");
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if https && let Some(client) = clients.by_address.get(&address) {
            return Ok(client.clone());
        }
        let proxied = self.proxy(url).is_some();
        let own = https && certificates_of(&self.certificates, &address).is_some();
        let usual = match (proxied, https) {
            (true, _) => &mut clients.proxied,
            (false, true) => &mut clients.direct,
            (false, false) => &mut clients.plain,
        };
        let client = match &*usual {
            Some(client) if !own => client.clone(),
            _ => {
                let mut begun = builder(&self.user_agent);
                if proxied {
                    begun = self.proxies.apply(begun)?;
                }
                begun = match proxied || https {
                    true => begun.tls_backend_preconfigured(self.trusted(&address)?.config()?),
                    false => begun.tls_certs_only([]),
                };
                let client = begun.build().map_err(|error| describe(&error))?;
                if !own {
                    *usual = Some(client.clone());
                }
                client
            }
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
        // Certificates that cannot be read are reported before any request.
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
    pub(super) async fn send(&self, request: Request) -> Result<Response, RequestError> {
        let url = request.url().clone();
        let client = self.client(&url).map_err(RequestError::lasting)?;
        let sent = client.execute(request).await;
        if url.scheme() == "http" && self.is_tls(&url, &sent).await {
            return Err(RequestError::lasting(self.speak_tls(&url)));
        }
        match sent {
            Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(RequestError::lasting(PROXY_LOGIN.to_owned()))
            }
            Ok(response) => Ok(response),
            Err(error) => Err(self.broken(&url, &error)),
        }
    }

    /// Tells whether an address that was contacted by plain http speaks TLS instead. Such a server breaks the
    /// connection, sends something other than http, or answers 400; TLS is tried then, unless the address has answered
    /// plain http before.
    async fn is_tls(&self, url: &Url, sent: &reqwest::Result<Response>) -> bool {
        let odd = match sent {
            Ok(response) => response.status() == StatusCode::BAD_REQUEST,
            Err(error) => !error.is_connect() && !error.is_timeout(),
        };
        let known = {
            let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
            if sent.is_ok() && !odd {
                plain.insert(authority(url));
            }
            plain.contains(&authority(url))
        };
        let mut tls = url.clone();
        if !odd || known || self.proxy(url).is_some() || tls.set_scheme("https").is_err() {
            return false;
        }
        // The port is stated where it is the one of plain http, which is not that of https.
        let _ = tls.set_port(url.port_or_known_default());
        tls.set_path("/v2/");
        tls.set_query(None);
        let Ok(client) = self.client(&tls) else {
            return false;
        };
        match client.execute(Request::new(Method::GET, tls)).await {
            Ok(_) => true,
            Err(error) => tls::cause(&error).is_some_and(|error| !tls::is_no_tls(error)),
        }
    }

    fn speak_tls(&self, url: &Url) -> String {
        let address = authority(url);
        let what = match self.insecure.contains(&address) {
            true => "take it out of SAMEBUNDLE_INSECURE_REGISTRIES, and of `insecure` in registries.conf",
            false => "name it in SAMEBUNDLE_SECURE_REGISTRIES",
        };
        format!("{address} speaks TLS and was contacted by plain http; {what}")
    }

    fn speak_plain(&self, url: &Url) -> String {
        let address = authority(url);
        let what = match (self.secure.contains(&address), is_local(url)) {
            (true, _) => "take it out of SAMEBUNDLE_SECURE_REGISTRIES".to_owned(),
            (false, true) => format!("remove its folder certs.d/{address}"),
            (false, false) => "name it in SAMEBUNDLE_INSECURE_REGISTRIES".to_owned(),
        };
        format!(
            "{address} was contacted by TLS and does not speak it; if it is to be reached by plain http, {what}"
        )
    }

    /// The meaning of a request that got no answer.
    fn broken(&self, url: &Url, error: &reqwest::Error) -> RequestError {
        let why = describe(error);
        match tls::cause(error) {
            Some(error) if tls::is_no_tls(error) => return RequestError::lasting(self.speak_plain(url)),
            Some(
                error @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::AlertReceived(_)
                | rustls::Error::PeerIncompatible(_)),
            ) => {
                let address = authority(url);
                let complaints = self.trusted(&address).map(|trusted| trusted.complaints);
                let why = tls::explain(error, &address, &complaints.unwrap_or_default());
                return RequestError::lasting(why);
            }
            _ => {}
        }
        if why.contains("proxy authorization required") {
            return RequestError::lasting(PROXY_LOGIN.to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        // The proxy, if there is one, looks up a name.
        let unresolved = why.starts_with(NO_ADDRESS) && self.proxy(url).is_none();
        if unresolved && !host.contains('.') {
            return RequestError::lasting(format!(
                "there is no host {host:?}; a reference begins with the registry, as in docker.io/library/NAME:TAG"
            ));
        }
        if unresolved && !why.contains("Temporary") && !why.contains("Try again") {
            return RequestError::lasting(format!("there is no host {host:?} ({why})"));
        }
        RequestError {
            failure: if error.is_connect() {
                Failure::Connect
            } else {
                Failure::Passing(None)
            },
            why,
        }
    }
}

/// The remedy for a proxy that answers 407.
const PROXY_LOGIN: &str =
    "the proxy wants a name and a password; put them into its address, http://NAME:PASSWORD@HOST:PORT";
/// The system's words for a name without an address.
const NO_ADDRESS: &str = "failed to lookup address information";

fn builder(user_agent: &str) -> ClientBuilder {
    Client::builder()
        .user_agent(user_agent)
        .redirect(Policy::none())
        .referer(false)
        // There is no proxy except those that are added, because only the caller reads the environment.
        .no_proxy()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
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
