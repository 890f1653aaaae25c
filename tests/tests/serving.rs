//! `registry serve` with users, TLS, and over a file: foreign clients and ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use samebundle_tests::{
    Greet, Home, Ran, Registry, Running, Sandbox, Test, greet, image, is_root, peer, skip, tests,
};

pub(crate) const TESTS: &[Test] = tests![
    skopeo_crane_and_we_log_in_with_a_password,
    skopeo_crane_and_we_log_in_for_a_token,
    tls_is_spoken_and_a_new_certificate_is_taken,
    an_archive_and_a_layout_are_served_as_they_are,
    what_the_server_cannot_do_is_on_its_error_stream,
    a_full_disk_is_said_to_clients_and_on_the_error_stream
];

const RULES: &str = "version: 1
rules:
  - {users: [anonymous], repositories: [public], may: [pull]}
  - {users: [alice], repositories: [team, public], may: [pull, push, delete]}
";

/// The files of a server's users, and a client's credentials for it.
struct Users {
    htpasswd: PathBuf,
    access: PathBuf,
}

impl Users {
    fn new(sandbox: &Sandbox, home: &Home) -> Self {
        let folder = sandbox.path().join("users");
        std::fs::create_dir_all(&folder).unwrap();
        let (htpasswd, access) = (folder.join("htpasswd"), folder.join("access.yaml"));
        let password = folder.join("password");
        std::fs::write(&password, "sesame\n").unwrap();
        std::fs::write(&access, RULES).unwrap();
        let (file, password) = (htpasswd.to_str().unwrap(), password.to_str().unwrap());
        home.ok([
            "registry",
            "user",
            "alice",
            "--htpasswd",
            file,
            "--password-file",
            password,
        ]);
        Self { htpasswd, access }
    }

    fn arguments<'a>(&'a self, login: &'a str) -> Vec<&'a str> {
        let (htpasswd, access) = (self.htpasswd.to_str().unwrap(), self.access.to_str().unwrap());
        vec!["--htpasswd", htpasswd, "--access", access, "--login", login]
    }
}

/// A file of credentials as docker and skopeo write it.
fn auth_file(folder: &Path, registry: &str, password: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let pair = format!("alice:{password}");
    let encoded = Ran::of(Command::new("sh").args(["-c", "printf %s \"$0\" | base64", &pair])).ok();
    let text = format!(
        "{{\"auths\": {{\"{registry}\": {{\"auth\": \"{}\"}}}}}}",
        encoded.stdout.trim()
    );
    let file = folder.join("config.json");
    std::fs::write(&file, text).unwrap();
    file
}

fn layout() -> Option<String> {
    let busybox = image("busybox");
    if busybox.is_none() {
        skip("serving: the busybox image was not made (tests/setup/images)");
    }
    Some(format!("oci:{}", busybox?.display()))
}

/// skopeo and crane log in, do what they may and no more.
fn foreign_clients(sandbox: &Sandbox, registry: &Registry, source: &str) {
    let file = sandbox.path().join("auth.json");
    let to = |repository: &str| format!("docker://{}", registry.reference(repository));
    if let Some(skopeo) = peer("skopeo") {
        let login = |password: &str| {
            Ran::of(
                Command::new(&skopeo)
                    .args(["login", "--tls-verify=false", "-u", "alice", "-p", password])
                    .arg("--authfile")
                    .arg(&file)
                    .arg(registry.address()),
            )
        };
        assert_ne!(login("wrong").code, 0);
        let _ = login("sesame").ok();
        let copy = |to: &str| {
            Ran::of(
                Command::new(&skopeo)
                    .args(["copy", "--dest-tls-verify=false", "--authfile"])
                    .arg(&file)
                    .args([source, to]),
            )
        };
        let _ = copy(&to("team/busybox:1")).ok();
        let _ = copy(&to("public/busybox:1")).ok();
        assert_ne!(copy(&to("other/busybox:1")).code, 0, "alice may not push there");
        // Nobody's pull of what is public.
        let here = sandbox.path().join("pulled");
        let _ = Ran::of(
            Command::new(&skopeo)
                .args([
                    "copy",
                    "--src-tls-verify=false",
                    "--src-no-creds",
                    &to("public/busybox:1"),
                ])
                .arg(format!("oci:{}", here.display())),
        )
        .ok();
    } else {
        skip("serving: skopeo is not installed (tests/setup/packages)");
    }
    let Some(crane) = peer("crane") else {
        return skip("serving: crane was not built (tests/setup/peers)");
    };
    let crane = |arguments: &[&str]| {
        Ran::of(
            Command::new(&crane)
                .args(arguments)
                .env("DOCKER_CONFIG", sandbox.path().join("docker")),
        )
    };
    let repository = registry.reference("team/busybox");
    assert_ne!(crane(&["ls", &repository]).code, 0, "nobody may list it");
    let _ = crane(&[
        "auth",
        "login",
        "-u",
        "alice",
        "-p",
        "sesame",
        &registry.address(),
    ])
    .ok();
    assert_eq!(crane(&["ls", &repository]).ok().stdout.trim(), "1");
    let _ = crane(&[
        "copy",
        &format!("{repository}:1"),
        &registry.reference("team/copied:2"),
    ])
    .ok();
    assert_ne!(
        crane(&[
            "copy",
            &format!("{repository}:1"),
            &registry.reference("other/x:1")
        ])
        .code,
        0
    );
    let _ = crane(&["delete", &format!("{repository}:1")]).ok();
}

fn ours(sandbox: &Sandbox, registry: &Registry, greet: &Greet) {
    let publisher = greet.publisher(sandbox);
    let with = |password: &str, arguments: &[&str]| {
        let file = auth_file(&sandbox.path().join("ours"), &registry.address(), password);
        Ran::of(publisher.command(arguments).env("REGISTRY_AUTH_FILE", file))
    };
    let to = registry.reference("team/greet:1.0.0");
    let denied = with("wrong", &["push", "greet", &to]);
    assert_ne!(denied.code, 0);
    assert_eq!(
        with("sesame", &["push", "greet", &to]).ok().digest(),
        greet.digest()
    );
    assert_ne!(
        with(
            "sesame",
            &["push", "greet", &registry.reference("other/greet:1.0.0")]
        )
        .code,
        0
    );
    assert_eq!(with("sesame", &["inspect", &to]).ok().digest(), greet.digest());
    assert_ne!(publisher.run(["inspect", &to]).code, 0, "nobody may see it");
}

fn log_in(login: &str) {
    let Some(source) = layout() else { return };
    let sandbox = Sandbox::new();
    let home = sandbox.home("server");
    let users = Users::new(&sandbox, &home);
    let log = sandbox.path().join("access.jsonl");
    let mut arguments = users.arguments(login);
    arguments.extend(["--access-log", log.to_str().unwrap()]);
    let registry = Registry::own_with(&sandbox, &home, &arguments);
    foreign_clients(&sandbox, &registry, &source);
    match greet() {
        Some(greet) => ours(&sandbox, &registry, greet),
        None => skip("serving: the busybox image was not made (tests/setup/images)"),
    }
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.lines().any(|line| line.contains("\"user\":\"alice\"")));
    assert!(!log.contains("sesame") && !log.contains("Bearer"));
}

fn skopeo_crane_and_we_log_in_with_a_password() {
    log_in("basic");
}

fn skopeo_crane_and_we_log_in_for_a_token() {
    log_in("token");
}

/// A certificate for 127.0.0.1 that is its own root.
pub(crate) fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    std::fs::create_dir_all(folder).unwrap();
    let (certificate, key) = (folder.join("ca.crt"), folder.join("key.pem"));
    let _ = Ran::of(
        Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ])
            .args([
                "-subj",
                "/CN=registry",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    )
    .ok();
    (certificate, key)
}

fn tls_is_spoken_and_a_new_certificate_is_taken() {
    if peer("openssl").is_none() || peer("curl").is_none() {
        return skip("serving: openssl and curl are not installed");
    }
    let Some(source) = layout() else { return };
    let sandbox = Sandbox::new();
    let home = sandbox.home("server");
    let users = Users::new(&sandbox, &home);
    let (file, key) = certificate(&sandbox.path().join("certificates"));
    let mut arguments = users.arguments("token");
    arguments.extend([
        "--tls-certificate",
        file.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    let registry = Registry::own_with(&sandbox, &home, &arguments);
    let url = format!("https://{}/v2/", registry.address());
    let curl = |root: &Path| {
        Ran::of(
            Command::new("curl")
                .args(["-s", "-i", "--cacert"])
                .arg(root)
                .arg(&url),
        )
    };
    let said = curl(&file).ok().stdout;
    assert!(
        said.contains(&format!("realm=\"https://{}/token\"", registry.address())),
        "{said}"
    );
    assert_ne!(
        Ran::of(Command::new("curl").args(["-s", &url.replace("https", "http")])).code,
        0
    );
    let auth = auth_file(&sandbox.path().join("client"), &registry.address(), "sesame");
    if let Some(skopeo) = peer("skopeo") {
        let to = format!("docker://{}", registry.reference("team/busybox:1"));
        let certificates = file.parent().unwrap();
        let _ = Ran::of(
            Command::new(skopeo)
                .args(["copy", "--authfile"])
                .arg(&auth)
                .arg("--dest-cert-dir")
                // skopeo takes every .crt there for a root.
                .arg(certificates)
                .args([&source, &to]),
        )
        .ok();
    }
    if let Some(greet) = greet() {
        let to = registry.reference("team/greet:1.0.0");
        let publisher = greet.publisher(&sandbox);
        let mut push = publisher.command(["push", "greet", &to]);
        push.env("REGISTRY_AUTH_FILE", &auth)
            .env("SSL_CERT_FILE", &file)
            .env("SAMEBUNDLE_SECURE_REGISTRIES", registry.address());
        assert_eq!(Ran::of(&mut push).ok().digest(), greet.digest());
        push.env("SSL_CERT_FILE", "/dev/null");
        assert_ne!(
            Ran::of(&mut push).code,
            0,
            "a certificate that nobody vouches for"
        );
    }
    // The files are replaced while it serves: first the one, then the other.
    let (newer, newer_key) = certificate(&sandbox.path().join("newer"));
    std::fs::copy(&newer_key, &key).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    let _ = curl(&file).ok();
    std::fs::copy(&newer, &file).unwrap();
    let start = Instant::now();
    while curl(&newer).code != 0 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the new certificate is not taken"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn an_archive_and_a_layout_are_served_as_they_are() {
    let Some(greet) = greet() else {
        return skip("serving: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let publisher = greet.publisher(&sandbox);
    let archive = sandbox.path().join("Greet 1.tgz");
    let layout = sandbox.path().join("greet-layout");
    publisher.ok(["copy", "greet", archive.to_str().unwrap()]);
    publisher.ok(["copy", "greet", &format!("layout:{}", layout.display())]);
    for (place, repository) in [
        (archive.display().to_string(), "lab/greet"),
        (format!("layout:{}", layout.display()), "lab/greet"),
    ] {
        let home = sandbox.home("server");
        let registry = Registry::serving(&sandbox, &home, &[&place, "--repository", repository]);
        let tags = Ran::of(Command::new("curl").args([
            "-s",
            &format!("http://{}/v2/{repository}/tags/list", registry.address()),
        ]))
        .ok();
        let tag = tags
            .stdout
            .split("\"tags\":[\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let tag = tag.unwrap_or_else(|| panic!("{}", tags.stdout));
        let from = registry.reference(&format!("{repository}:{tag}"));
        // With its signature: it installs where only the key is trusted.
        let name = if place.starts_with("layout:") {
            "by-layout"
        } else {
            "by-archive"
        };
        let reader = greet.trusting(&sandbox, name);
        let installed = reader.ok(["install", &from]);
        assert!(installed.stdout.contains("greet"), "{}", installed.stdout);
        assert_eq!(reader.ok(["inspect", &from]).digest(), greet.digest());
        let refused = publisher.run(["push", "greet", &registry.reference(&format!("{repository}:new"))]);
        assert_ne!(refused.code, 0);
        assert!(refused.stderr.contains("read-only"), "{}", refused.stderr);
        let Some(skopeo) = peer("skopeo") else {
            skip("serving: skopeo is not installed (tests/setup/packages)");
            continue;
        };
        let to = format!("oci:{}", sandbox.path().join(name).display());
        let _ = Ran::of(Command::new(skopeo).args([
            "copy",
            "--all",
            "--src-tls-verify=false",
            &format!("docker://{from}"),
            &to,
        ]))
        .ok();
    }
}

/// The status and body of a request by curl.
fn request(arguments: &[&str], url: &str) -> (String, String) {
    let mut command = Command::new("curl");
    command
        .args(["-s", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(url);
    let out = Ran::of(&mut command).ok().stdout;
    let (body, status) = out.trim_end().rsplit_once('\n').unwrap_or(("", &out));
    (status.to_owned(), body.to_owned())
}

/// Waits until the error stream of a server has a line with all of these, and returns how many there are.
fn lines_with(log: &Path, words: &[&str]) -> usize {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        let found = text
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        match found.count() {
            0 => assert!(
                start.elapsed() < Duration::from_secs(20),
                "no line with {words:?}: {text}"
            ),
            count => return count,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn what_the_server_cannot_do_is_on_its_error_stream() {
    if peer("curl").is_none() {
        return skip("serving: curl is not installed");
    }
    let sandbox = Sandbox::new();
    let home = sandbox.home("server");
    let users = Users::new(&sandbox, &home);
    let root = sandbox.path().join("data");
    let mut arguments = vec!["--root", root.to_str().unwrap()];
    arguments.extend(users.arguments("basic"));
    let registry = Registry::serving(&sandbox, &home, &arguments);
    let port = registry.address().rsplit(':').next().unwrap().to_owned();
    let log = sandbox.path().join(format!("own-registry-{port}.log"));
    let url = |path: &str| format!("http://{}/v2/{path}", registry.address());
    let alice = ["-u", "alice:sesame"];
    assert_eq!(request(&alice, &url("")).0, "200");

    std::fs::write(&users.htpasswd, "alice:plain\n").unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(
        request(&alice, &url("")).0,
        "200",
        "what was read before is in force"
    );
    let file = users.htpasswd.to_str().unwrap();
    lines_with(&log, &["ERROR", "the users were not read again", file, "bcrypt"]);

    std::fs::remove_dir_all(root.join("uploads")).unwrap();
    let post = ["-u", "alice:sesame", "-X", "POST"];
    for _ in 0..3 {
        let (status, body) = request(&post, &url("team/a/blobs/uploads/"));
        assert_eq!(status, "500");
        assert!(body.contains("the storage of the registry failed"), "{body}");
        assert!(!body.contains(root.to_str().unwrap()), "{body}");
    }
    let uploads = root.join("uploads");
    let count = lines_with(
        &log,
        &[
            "ERROR",
            "could not create",
            uploads.to_str().unwrap(),
            "os error 2",
        ],
    );
    assert_eq!(count, 1, "once a minute");
}

fn a_full_disk_is_said_to_clients_and_on_the_error_stream() {
    let flags: &[&str] = if is_root() { &["-m"] } else { &["-m", "-r"] };
    let can_mount = "mount -t tmpfs tmpfs /mnt";
    if peer("curl").is_none()
        || Ran::of(Command::new("unshare").args(flags).args(["sh", "-c", can_mount])).code != 0
    {
        return skip("serving: curl is not installed, or no disk can be mounted here (unshare -m)");
    }
    let sandbox = Sandbox::new();
    let home = sandbox.home("server");
    let root = sandbox.path().join("data");
    std::fs::create_dir_all(&root).unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let listen = address.to_string();
    let (log, access) = (sandbox.path().join("log"), sandbox.path().join("access.jsonl"));
    let mut command = Command::new("unshare");
    command
        .args(flags)
        .args([
            "sh",
            "-c",
            "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"",
        ])
        .arg(&root)
        .arg(samebundle_tests::command_under_test())
        .arg("--home")
        .arg(home.path())
        .args(["registry", "serve", "--listen", &listen, "--root"])
        .arg(&root)
        .args(["--collect-every", "1s", "--grace", "1h", "--access-log"])
        .arg(&access);
    home.furnish(&mut command);
    let mut process = Running::of(command.stderr(std::fs::File::create(&log).unwrap()));
    let start = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(process.ended().is_none() && start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    let large = sandbox.path().join("large");
    std::fs::write(&large, vec![7; 3 << 20]).unwrap();
    let data = format!("@{}", large.display());
    let digest = format!("sha256:{}", "0".repeat(64));
    let url = format!("http://{listen}/v2/team/a/blobs/uploads/?digest={digest}");
    for _ in 0..3 {
        let (status, body) = request(&["-X", "POST", "-H", "Expect:", "--data-binary", &data], &url);
        assert_eq!(status, "507", "{body}");
        assert!(body.contains("the storage of the registry is full"), "{body}");
        assert!(!body.contains(root.to_str().unwrap()), "{body}");
    }
    let place = root.join("uploads");
    let words = [
        "ERROR",
        "could not write",
        place.to_str().unwrap(),
        "No space left on device (os error 28)",
    ];
    assert_eq!(lines_with(&log, &words), 1, "once a minute");
    let requests = std::fs::read_to_string(&access).unwrap();
    assert!(
        requests.lines().all(|line| line.contains("os error 28")),
        "{requests}"
    );
    process.end();
}
