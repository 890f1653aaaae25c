//! Another origin, which keeps every byte that it gets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::CANARY;

/// What the home registry's token service gives out begins with this.
pub(super) const TOKEN: &str = "token-5c1e";
/// The refresh token of a user that has one.
pub(super) const REFRESH: &str = "refresh-9d02";

type Bytes = Arc<Mutex<Vec<u8>>>;

/// A server's side of TLS with these files (PEM).
pub(super) fn acceptor(certificate: &std::path::Path, key: &std::path::Path) -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(certificate).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A TCP listener of one canned answer; ends when it is dropped.
pub(super) struct Spy {
    pub(super) port: u16,
    bytes: Bytes,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hear(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String, bytes: Bytes) {
    let mut piece = [0; 64 << 10];
    let mut answered = false;
    // What comes after the answer is kept as well: bodies, second requests.
    while let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut piece)).await
    {
        if length == 0 {
            return;
        }
        let headed = {
            let mut bytes = bytes.lock().unwrap();
            bytes.extend_from_slice(&piece[..length]);
            bytes.windows(4).any(|window| window == b"\r\n\r\n")
        };
        if headed && !answered {
            answered = true;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

impl Spy {
    /// Answers everything with this status line, headers and body.
    pub(super) async fn start(head: &str, body: &str) -> Self {
        Self::listen(head, body, None).await
    }

    /// The same, over TLS.
    pub(super) async fn start_tls(head: &str, body: &str, acceptor: TlsAcceptor) -> Self {
        Self::listen(head, body, Some(acceptor)).await
    }

    async fn listen(head: &str, body: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bytes = Bytes::default();
        let kept = Arc::clone(&bytes);
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, kept) = (answer.clone(), Arc::clone(&kept));
                match acceptor.clone() {
                    None => drop(tokio::spawn(hear(stream, answer, kept))),
                    Some(acceptor) => drop(tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            hear(stream, answer, kept).await;
                        }
                    })),
                }
            }
        });
        Self { port, bytes, task }
    }

    /// Wants a password, and names a token service of its own.
    pub(super) async fn greedy() -> Self {
        let head = "401 Unauthorized\r\nwww-authenticate: Basic realm=\"give\"\r\n\
                    www-authenticate: Bearer realm=\"/token\",service=\"give\"";
        Self::start(head, "").await
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The names under which it is reached: other port, other host, forms that a parser may read in two ways.
    pub(super) fn names(&self) -> Vec<String> {
        let port = self.port;
        ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1"]
            .into_iter()
            .map(|host| format!("{host}:{port}"))
            .collect()
    }

    /// All that came, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    pub(super) fn heard(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    /// No byte of a credential came here, in any form that it is sent in.
    pub(super) fn assert_clean(&self, case: &str) {
        let bytes = self.bytes.lock().unwrap();
        let pair = STANDARD.encode(format!("bird:{CANARY}"));
        let text = String::from_utf8_lossy(&bytes);
        let lower = text.to_lowercase();
        for secret in [CANARY, &pair, TOKEN, REFRESH, &STANDARD.encode(CANARY)] {
            assert!(!text.contains(secret), "{case}: {text}");
        }
        assert!(!lower.contains("\r\nauthorization:"), "{case}: {text}");
        assert!(!lower.contains("\r\ncookie:"), "{case}: {text}");
    }

    /// Nothing came here at all.
    pub(super) fn assert_unheard(&self, case: &str) {
        let bytes = self.bytes.lock().unwrap();
        assert!(bytes.is_empty(), "{case}: {}", String::from_utf8_lossy(&bytes));
    }
}
