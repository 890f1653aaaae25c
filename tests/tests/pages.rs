//! Pages about runs, as the command writes them and as a browser shows them.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use samebundle_spec::Digest;
use samebundle_tests::{Home, Ran, Sandbox, Test, greet, skip, tests};
use serde_json::{Value, json};

pub(crate) const TESTS: &[Test] = tests![
    a_page_shows_runs_alone_and_side_by_side,
    a_browser_fetches_nothing_for_a_page,
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn a_page_shows_runs_alone_and_side_by_side() {
    let Some(greet) = greet() else {
        return skip("pages: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let file = sandbox.path().join("greet.tar");
    let _ = publisher.ok(["copy", "greet", text(&file)]);
    let home = greet.trusting(&sandbox, "reader");
    let _ = home.ok(["install", text(&file)]);
    let _ = home.ok(["run", "greet"]);
    let first = home.ok(["runs", "--output", "json"]).json()["runs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let _ = home.ok(["run", "greet", "--times=2"]);

    let page = sandbox.path().join("page.html");
    let report = home
        .ok(["show", "last", "--html", text(&page), "--output", "json"])
        .json();
    assert_eq!(report["file"], text(&page));
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(report["size"], html.len());
    for part in [
        "<h1>greet ",
        "status succeeded",
        "by the run",
        "class=\"node succeeded\"",
        "class=\"edge\"",
        "id=\"task-1\"",
        "key release",
    ] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    assert!(!html.contains("<script") && !html.contains("Got executor_input"));

    let _ = home.ok(["show", &first, "--html", text(&page), "--compare", "last"]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("2 runs compared") && html.contains(">differs<") && html.contains(&first));

    let _ = home.run(["show", "0NONE", "--html", text(&page)]).exits(5);
    let _ = home.run(["show", "last", "--compare", "last"]).exits(2);
    assert_eq!(
        std::fs::read_to_string(&page).unwrap(),
        html,
        "the file is as it was"
    );
}

/// What a stranger's page tries: a host for each way by which a browser reaches one.
const HOSTILE: &str = "<!DOCTYPE html><html><head>\
    <link rel=dns-prefetch href=//prefetch.h.example><link rel=preconnect href=http://connect.h.example>\
    <link rel=stylesheet href=http://style.h.example/a.css><link rel=icon href=http://icon.h.example/i.png>\
    <meta http-equiv=refresh content='0;url=http://refresh.h.example/'>\
    <style>@import 'http://import.h.example/a.css';body{background:url(http://background.h.example/b.png)}\
    @font-face{font-family:f;src:url(http://font.h.example/f)}p{font-family:f}</style>\
    <script src=http://script.h.example/a.js></script><script>fetch('http://fetch.h.example/');location='http://location.h.example/';\
    top.location='http://top.h.example/'</script></head><body onload=\"new Image().src='http://event.h.example/'\">\
    <p>text<img src=http://image.h.example/i.png><iframe src=http://frame.h.example/></iframe><video src=http://video.h.example/v></video>\
    <object data=http://object.h.example/o></object><embed src=http://embed.h.example/e><svg><image href=http://svg.h.example/i.png /></svg>\
    <form action=http://form.h.example/><input autofocus></form>";

/// The first lines of all requests that reach a proxy of our own, and its address.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut line = String::new();
                let _ = BufReader::new(stream).read_line(&mut line);
                lines.lock().unwrap().push(line);
            });
        }
    });
    (address, seen)
}

/// Opens a file in a headless browser behind a proxy, and returns the hosts of ours that it asked for.
fn asked_for(sandbox: &Sandbox, page: &Path) -> Vec<String> {
    let (address, seen) = proxy();
    let mut browser = Command::new("chromium");
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args([
            "--virtual-time-budget=5000",
            "--window-size=1200,6000",
            "--proxy-bypass-list=<-loopback>",
        ])
        .arg(format!("--proxy-server=http://{address}"))
        .arg(format!(
            "--user-data-dir={}",
            sandbox.path().join("browser").display()
        ))
        .arg(format!(
            "--screenshot={}",
            sandbox.path().join("page.png").display()
        ))
        .arg(format!("file://{}", page.display()));
    let _ = Ran::of(&mut browser).ok();
    let seen = seen.lock().unwrap();
    // What the browser asks for by itself is none of the page's.
    seen.iter()
        .filter(|line| line.contains("h.example"))
        .cloned()
        .collect()
}

/// Writes the record and the file of a run that has a stranger's page as its output, as HTML and as Markdown.
fn write_run(home: &Home, id: &str) {
    let folder = home.path().join("runs").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("page"), HOSTILE).unwrap();
    let artifact = |artifact_type: &str| -> Value {
        json!({"artifacts": [{"artifactType": artifact_type, "digest": Digest::sha256(HOSTILE.as_bytes()), "size": HOSTILE.len(), "path": "page"}]})
    };
    let run = json!({
        "format": "1.0", "id": id, "installation": "churn", "action": "run", "bundle": HOSTILE, "version": "1.0.0",
        "bundleDigest": Digest::sha256(b""), "verification": {"by": "consent", "reason": HOSTILE}, "driver": HOSTILE,
        "parameters": {}, "status": "failed", "message": HOSTILE, "started": "2026-11-27T21:00:00Z",
        "finished": "2026-11-27T21:00:01Z",
        "outputs": {"report": artifact("system.HTML"), "notes": artifact("system.Markdown")},
    });
    std::fs::write(folder.join("run.json"), run.to_string()).unwrap();
}

fn a_browser_fetches_nothing_for_a_page() {
    if Command::new("chromium").arg("--version").output().is_err() {
        return skip("pages: there is no chromium (tests/setup/packages browser)");
    }
    let sandbox = Sandbox::new();
    let home = sandbox.home("reader");
    let _ = home.ok(["list"]);
    let bare = sandbox.path().join("bare.html");
    std::fs::write(&bare, "<!DOCTYPE html><img src=http://image.h.example/i.png>").unwrap();
    assert!(
        !asked_for(&sandbox, &bare).is_empty(),
        "the proxy sees what a page without a policy fetches"
    );
    let id = "01M8GQFPQY5XDHQ7BKJHFDB7GF";
    write_run(&home, id);
    let page = sandbox.path().join("page.html");
    let _ = home.ok(["show", id, "--html", text(&page)]);
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(
        html.matches("<iframe").count(),
        2,
        "both artifacts stand in frames"
    );
    assert_eq!(asked_for(&sandbox, &page), Vec::<String>::new());
}
