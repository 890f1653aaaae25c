//! Counts what a server sends, from between it and its client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A port that passes everything on to a server; its threads end with the connections.
#[derive(Debug)]
pub struct Meter {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
}

impl Meter {
    /// In front of the server at `host:port`.
    ///
    /// # Panics
    /// When there is no port for it.
    #[expect(clippy::panic, reason = "a machine without a loopback port cannot run tests")]
    pub fn before(server: &str) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("no free port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let sent = Arc::new(AtomicU64::new(0));
        let (server, counter) = (server.to_owned(), Arc::clone(&sent));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                std::thread::spawn(move || pass(from_client, to_server, |_| ()));
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || {
                    pass(server, client, |bytes| {
                        counter.fetch_add(bytes, Ordering::Relaxed);
                    });
                });
            }
        });
        Self { address, sent }
    }

    /// A reference in the registry behind it.
    pub fn reference(&self, repository_and_tag: &str) -> String {
        format!("{}/{repository_and_tag}", self.address)
    }

    /// How many bytes the server has sent since the last call.
    pub fn taken(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: impl Fn(u64)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        count(read as u64);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
