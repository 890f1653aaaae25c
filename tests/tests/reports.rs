//! What `--output json` prints, as snapshots: the report of every command on the road of the greet bundle, and the usual
//! failures. What differs from machine to machine or from run to run stands there as a fixed word.
//!
//! `INSTA_UPDATE=always cargo test -p samebundle-tests --test world reports::` writes them again. What commands say to
//! people is a snapshot beside the commands (`runtime/cli/src/commands/tests.rs`).

use std::path::Path;

use samebundle_tests::{Greet, Home, Registry, Sandbox, Test, greet, skip, tests};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = tests![
    reports_of_an_author,
    reports_of_a_reader,
    reports_about_registries,
    reports_about_a_home,
    error_documents
];

const NO_IMAGE: &str = "reports: the busybox image was not made (tests/setup/images)";

/// Numbers from here on are sizes, sequence numbers or times, which are not the same everywhere; smaller ones are counts.
const LARGE: f64 = 100.0;

/// What is put in the place of a word or a number that is not the same everywhere.
struct Plain {
    /// Whole texts, and their fixed words.
    known: Vec<(String, &'static str)>,
    /// Keys whose values tell of the machine.
    of_machine: &'static [&'static str],
}

impl Plain {
    fn of(sandbox: &Sandbox) -> Self {
        Self {
            known: vec![(text(sandbox.path()).to_owned(), "SANDBOX")],
            of_machine: &[],
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(words) => *words = self.words(words),
            Value::Number(number) if number.as_f64().is_none_or(|n| n >= LARGE || n.fract() != 0.0) => {
                *value = "NUMBER".into();
            }
            Value::Array(values) => {
                values.iter_mut().for_each(|value| self.value(value));
                // A list in the order of its digests has another order each time.
                if values.iter().all(|value| value.get("digest").is_some()) {
                    values.sort_by_key(Value::to_string);
                }
            }
            Value::Object(values) => {
                for (key, value) in values {
                    if key == "short" {
                        *value = "ID".into();
                    }
                    if self.of_machine.contains(&key.as_str()) {
                        *value = "OF THIS MACHINE".into();
                    }
                    self.value(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn words(&self, words: &str) -> String {
        let mut plain = words.to_owned();
        for (from, to) in &self.known {
            plain = plain.replace(from, to);
        }
        // What is left is recognised by its letters: digests, ids, keys and times.
        let mut shown = String::new();
        let mut rest = plain.as_str();
        while let Some(first) = rest.chars().next() {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "+/=-:.".contains(c);
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end.max(first.len_utf8()));
            let is_amount = word.starts_with(|c: char| c.is_ascii_digit()) && after.get(2..4) == Some("iB");
            shown.push_str(&if is_amount {
                "AMOUNT".to_owned()
            } else {
                fixed(word)
            });
            rest = after;
        }
        shown
    }
}

/// A word, or the fixed one in its place.
fn fixed(word: &str) -> String {
    let all = |part: &str, fits: fn(char) -> bool| part.chars().all(fits);
    let is_time = word.len() >= 20
        && word.ends_with('Z')
        && word.as_bytes().get(10) == Some(&b'T')
        && all(&word[..4], |c| c.is_ascii_digit());
    if is_time {
        return "TIME".to_owned();
    }
    if word.len() >= 9 && all(word, |c| c.is_ascii_digit()) {
        return "NUMBER".to_owned();
    }
    let by_part = word.split_inclusive([':', '.', '-', '/', '+']).map(|part| {
        let bare = part.trim_end_matches([':', '.', '-', '/', '+']);
        let separator = &part[bare.len()..];
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let is_ulid = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase();
        let to = if bare.len() >= 12 && all(bare, is_hex) {
            "HEX"
        } else if bare.len() == 26 && bare.starts_with('0') && all(bare, is_ulid) {
            "RUN"
        } else {
            bare
        };
        format!("{to}{separator}")
    });
    let shown: String = by_part.collect();
    // An unbroken word of this length is a key or its id in base64.
    if shown.len() >= 40 && all(&shown, |c| c.is_ascii_alphanumeric() || "+/=".contains(c)) {
        return "BASE64".to_owned();
    }
    shown
}

/// Calls of one home, whose reports are compared.
struct Caller<'a> {
    home: Home,
    plain: &'a Plain,
}

impl Caller<'_> {
    fn call(&self, line: &str) -> (i32, String) {
        let words = line.split(' ').chain(["--output", "json"]);
        let ran = self.home.run(words);
        let mut report = ran.json();
        self.plain.value(&mut report);
        (ran.code, format!("{report:#}"))
    }

    /// Runs a command, which must succeed, and compares its report.
    #[track_caller]
    fn reports(&self, name: &str, line: &str) {
        let (code, report) = self.call(line);
        assert_eq!(code, 0, "{line}: {report}");
        insta::assert_snapshot!(name, report);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The bundle as a file in the folder from which commands are called, and the key that signed it.
fn carried(greet: &Greet, sandbox: &Sandbox) {
    let _ = greet.publisher(sandbox).ok(["copy", "greet", "greet.tar"]);
    std::fs::copy(greet.key(), sandbox.path().join("release.pub")).unwrap();
}

fn reports_of_an_author() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let _ = greet.sources(&sandbox);
    let plain = Plain::of(&sandbox);
    let author = Caller {
        home: sandbox.home("author"),
        plain: &plain,
    };
    author.reports("init", "init hello");
    author.reports("lint", "lint greet");
    author.reports("build", "build greet -t greet");
    author.reports("key-generate", "key generate --name release --no-passphrase");
    author.reports("key-list", "key list");
    author.reports("key-export", "key export release --file release.pub");
    author.reports("sign", "sign greet --key release");
    author.reports("inspect", "inspect greet");
    author.reports("explain-bundle", "explain greet");
    author.reports("copy", "copy greet greet.tar");
    author.reports("copy-in-volumes", "copy greet across.tgz --volume-size 1MB");
}

fn reports_of_a_reader() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    carried(greet, &sandbox);
    let plain = Plain::of(&sandbox);
    let reader = Caller {
        home: sandbox.home("reader"),
        plain: &plain,
    };
    reader.reports("trust-add", "trust add release release.pub");
    reader.reports("trust-list", "trust list");
    reader.reports("trust-explain", "trust explain greet.tar");
    reader.reports("verify", "verify greet.tar");
    reader.reports("install", "install greet.tar");
    reader.reports("list", "list");
    reader.reports("show", "show greet");
    reader.reports("plan", "plan greet --who=you --times=2 --env embedded");
    reader.reports("run", "run greet --who=you --times=2 --env embedded");
    reader.reports("runs", "runs greet");
    reader.reports("runs-remove", "runs remove greet --keep 0 --dry-run");
    reader.reports("logs", "logs");
    reader.reports("outputs", "outputs");
    reader.reports("export", "export greet --file moved.tar");
    reader.reports("import", "import moved.tar --name again");
    let _ = reader.home.ok(["key", "generate", "--no-passphrase"]);
    let _ = reader
        .home
        .ok(["import", "moved.tar", "--name", "third", "--receipt", "r.json"]);
    reader.reports("receipt", "receipt r.json");
    reader.reports("upgrade", "upgrade greet greet.tar --env embedded");
    reader.reports("uninstall", "uninstall again --env embedded");
    reader.reports("trust-remove", "trust remove release");
}

fn reports_about_registries() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    carried(greet, &sandbox);
    let registry = Registry::own(&sandbox, &sandbox.home("server"));
    let mut plain = Plain::of(&sandbox);
    plain.known.push((registry.address(), "REGISTRY"));
    let publisher = Caller {
        home: greet.publisher(&sandbox),
        plain: &plain,
    };
    let place = registry.reference("team/greet:1.0.0");
    publisher.reports("push", &format!("push greet {place}"));
    publisher.reports("registry-doctor", &format!("registry doctor {place}"));
    std::fs::write(sandbox.path().join("password"), "a long password").unwrap();
    let user = "registry user alice --htpasswd users --password-file password";
    publisher.reports("registry-user", user);
    let reader = Caller {
        home: greet.trusting(&sandbox, "reader"),
        plain: &plain,
    };
    reader.reports("pull", &format!("pull {place}"));
    let island = registry.reference("island/greet:1.0.0");
    reader.reports(
        "import-into-a-registry",
        &format!("import greet.tar --to {island}"),
    );
}

fn reports_about_a_home() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    let mut plain = Plain::of(&sandbox);
    let home = greet.publisher(&sandbox);
    let _ = home.ok(["install", "greet", "--allow-unsigned"]);
    let owner = Caller {
        home: home.clone(),
        plain: &plain,
    };
    owner.reports("store-usage", "store usage");
    owner.reports("store-check", "store check");
    owner.reports("store-forget", "store forget greet");
    let _ = home.ok(["uninstall", "greet"]);
    owner.reports("store-gc", "store gc --grace 0s");
    owner.reports("manual", "manual --dir man");
    plain.of_machine = &["detail", "verdict"];
    let owner = Caller { home, plain: &plain };
    owner.reports("doctor", "doctor");
}

fn error_documents() {
    let Some(greet) = greet() else {
        return skip(NO_IMAGE);
    };
    let sandbox = Sandbox::new();
    carried(greet, &sandbox);
    let manifest = greet.sources(&sandbox).join("samebundle.yaml");
    let large = "requires:\n  resources: {memory: 4000Gi, disk: {size: 9000Ti}}\n";
    let asked = std::fs::read_to_string(&manifest).unwrap() + large;
    std::fs::write(&manifest, asked).unwrap();
    std::fs::create_dir(sandbox.path().join("wrong")).unwrap();
    std::fs::write(sandbox.path().join("wrong/samebundle.yaml"), "kind: Nothing\n").unwrap();
    let plain = Plain::of(&sandbox);
    let home = greet.trusting(&sandbox, "home");
    let _ = home.ok(["install", "greet.tar", "--env", "embedded"]);
    let _ = home.ok(["build", "greet", "-t", "large"]);
    let stranger = Caller {
        home: sandbox.home("stranger"),
        plain: &plain,
    };
    let owner = Caller { home, plain: &plain };
    let calls = [
        (&owner, "lint wrong"),
        (&owner, "run greet --times=-1 --env embedded"),
        (&owner, "verify greet.tar --nonsense"),
        (&owner, "plan greet --env nowhere"),
        (&stranger, "install greet.tar"),
        (&owner, "show nobody"),
        (&owner, "install nobody:1.0.0"),
        (&owner, "copy nowhere.tar there.tar"),
        (&owner, "logs nothing"),
        (&owner, "--offline inspect 127.0.0.1:1/team/greet:1.0.0"),
        (
            &owner,
            "install large --name large --allow-unsigned --env embedded",
        ),
    ];
    let answers: Vec<String> = calls
        .iter()
        .map(|(caller, line)| {
            let (code, document) = caller.call(line);
            format!("$ samebundle {line}\nexit {code}\n{document}\n")
        })
        .collect();
    insta::assert_snapshot!("errors", answers.join("\n"));
}
