//! Registries as they are: each failure has its exit code, and `registry doctor` finds out and keeps what one can do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use samebundle_tests::{Home, Registry, Sandbox, Test, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    every_way_in_which_a_registry_fails_has_its_code,
    the_doctor_examines_our_own_server,
    the_doctor_examines_docker_registry
];

/// Answers every request with the same bytes, on a thread that ends with the test process; returns its address.
fn canned(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            let mut piece = [0; 4096];
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(length) if length > 0 => head.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn every_way_in_which_a_registry_fails_has_its_code() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("reader");
    for (answer, code, word) in [
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            5,
            "not-found",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            6,
            "denied",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            6,
            "denied",
        ),
        (
            "HTTP/1.1 503 Gone\r\nretry-after: 86400\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            7,
            "unavailable",
        ),
        (
            "HTTP/1.1 429 Slow\r\nretry-after: 86400\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            11,
            "throttled",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>",
            12,
            "broken",
        ),
    ] {
        let address = canned(answer);
        for command in ["verify", "install"] {
            let reference = format!("{address}/team/digits:1.0.0");
            let ran = home.run([command, &reference, "--output", "json"]).exits(code);
            let error = ran.json();
            assert_eq!(error["error"]["kind"], word, "{command}: {error}");
            let said = error.to_string();
            assert!(!said.contains("unsigned") && !said.contains("<html>"), "{said}");
        }
    }
}

/// Examines a registry and returns what was printed.
fn examine(home: &Home, registry: &Registry) -> serde_json::Value {
    let place = registry.reference("team/scratch");
    let report = home.ok(["registry", "doctor", &place, "--output", "json"]).json();
    let kept = std::fs::read(Path::new(report["file"].as_str().unwrap())).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["profile"], report["profile"]);
    assert_eq!(kept["registry"], registry.address());
    report
}

fn the_doctor_examines_our_own_server() {
    let sandbox = Sandbox::new();
    let registry = Registry::own(&sandbox, &sandbox.home("server"));
    let report = examine(&sandbox.home("engineer"), &registry);
    let profile = &report["profile"];
    for (field, wanted) in [
        ("parts", serde_json::json!(true)),
        ("resumes", true.into()),
        ("ranges", true.into()),
        ("referrers", "api".into()),
        ("deniesAbsent", false.into()),
        ("deletes", true.into()),
    ] {
        assert_eq!(profile[field], wanted, "{field}: {report}");
    }
    assert_eq!(report["left"], serde_json::json!([]));
}

fn the_doctor_examines_docker_registry() {
    let sandbox = Sandbox::new();
    let Some(registry) = Registry::debian(&sandbox) else {
        return skip("registries: docker-registry is not installed (tests/setup/packages)");
    };
    let home = sandbox.home("engineer");
    let report = examine(&home, &registry);
    let profile = &report["profile"];
    assert_eq!(profile["parts"], true, "{report}");
    assert_eq!(profile["ranges"], true, "{report}");
    // Distribution 2.8 has no such API.
    assert_eq!(profile["referrers"], "tag", "{report}");
    assert_eq!(profile["fallbackTag"], true, "{report}");
    assert_eq!(profile["deletes"], true, "{report}");
    // What was found is read by the next command, and a file that cannot be read is said to be what it is.
    let file = report["file"].as_str().unwrap();
    std::fs::write(file, "{}").unwrap();
    let reference = registry.reference("team/scratch:1");
    let ran = home.run(["inspect", &reference]).exits(1);
    assert!(ran.stderr.contains("registry doctor"), "{}", ran.stderr);
    examine(&home, &registry);
    let _ = home.run(["inspect", &reference]).exits(5);
}
