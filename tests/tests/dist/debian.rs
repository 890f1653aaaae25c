//! A release installs and runs the demo on machines that have nothing else.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use samebundle_tests::{Ran, Sandbox, Test, cache, digits, is_root, repository, skip, tests};
use serde_json::Value;

use super::release;

pub(crate) const TESTS: &[Test] = tests![
    the_installer_runs_the_demo_in_an_empty_debian,
    the_archive_runs_the_demo_in_an_empty_debian,
    the_package_runs_the_demo_in_an_empty_debian,
    the_wheel_runs_the_demo_in_a_debian_with_python_alone
];

/// The demo's bundle as one file, its author's key, and what it gives where it was built.
struct Demo {
    sandbox: Sandbox,
    outputs: Value,
}

fn demo() -> Result<&'static Demo, &'static str> {
    static MADE: OnceLock<Result<Demo, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let sandbox = Sandbox::shared();
        let sources = digits(&sandbox)?;
        let author = sandbox.home("author");
        let _ = author.ok(["build", sources.to_str().unwrap(), "-t", "digits"]);
        let _ = author.ok(["key", "generate", "--no-passphrase"]);
        let _ = author.ok(["key", "export", "--file", "author.pub"]);
        let _ = author.ok(["sign", "digits"]);
        let _ = author.ok(["copy", "digits", "digits.tgz"]);
        let _ = author.ok(["install", "digits"]);
        let ran = author.ok(["run", "digits", "--epochs=30", "--output", "json"]);
        Ok(Demo {
            outputs: crate::flow::outputs(&ran),
            sandbox,
        })
    });
    made.as_ref().map_err(String::as_str)
}

/// A machine that has a root of its own.
struct Root {
    sandbox: Sandbox,
}

impl Root {
    /// Unpacks a root from a tar.
    fn of(tar: &Path) -> Result<Self, String> {
        if !is_root() {
            return Err("a machine's root can be made by root only".to_owned());
        }
        let sandbox = Sandbox::new();
        let root = sandbox.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let _ = Ran::of(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(&root)).ok();
        std::fs::create_dir_all(root.join("srv")).unwrap();
        Ok(Self { sandbox })
    }

    /// A Debian with what an installer needs.
    fn empty() -> Result<Self, String> {
        let tar = cache().join("roots/bookworm.tar");
        match tar.exists() {
            true => Self::of(&tar),
            false => Err("the empty Debian was not made (tests/setup/root)".to_owned()),
        }
    }

    fn put(&self, file: &Path, name: &str) {
        std::fs::copy(file, self.sandbox.path().join("root/srv").join(name)).unwrap();
    }

    fn types(&self, lines: &str) -> Ran {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .arg(repository().join("tests/setup/enter"))
            .arg(self.sandbox.path().join("root"))
            .args(["bash", "-c", lines]);
        Ran::of(&mut command)
    }

    /// Installs by these lines, and runs the demo.
    fn runs_the_demo(&self, demo: &Demo, install: &str) {
        for name in ["digits.tgz", "author.pub"] {
            self.put(&demo.sandbox.path().join(name), name);
        }
        let said = self.types("! command -v cc gcc cargo rustc make same").ok();
        assert_eq!(said.stdout, "");
        let _ = self.types(&format!("set -e\n{install}")).ok();
        let _ = self
            .types("same trust add author /srv/author.pub && same create program -f /srv/digits.tgz")
            .ok();
        let ran = self
            .types("same run program digits --epochs=30 --output json")
            .ok();
        assert_eq!(crate::flow::outputs(&ran), demo.outputs);
    }
}

fn the_installer_runs_the_demo_in_an_empty_debian() {
    let (release, demo, root) = (need!(release()), need!(demo()), need!(Root::empty()));
    let url = release.url("release");
    // A person installs below their own home, without any right.
    let person = "env HOME=/srv/person setpriv --reuid=1000 --regid=1000 --clear-groups bash";
    let _ = root
        .types(&format!(
            "install -d -o 1000 -g 1000 /srv/person\ncurl -fsS {url}/install.sh | {person}\n/srv/person/.local/bin/same --version"
        ))
        .ok();
    let lines = format!("export SAME_ENVIRONMENT=local\ncurl {url}/install.sh | bash");
    root.runs_the_demo(demo, &lines);
}

fn the_archive_runs_the_demo_in_an_empty_debian() {
    let (release, demo, root) = (need!(release()), need!(demo()), need!(Root::empty()));
    root.put(&release.file(".tar.gz"), "samebundle.tar.gz");
    root.runs_the_demo(
        demo,
        "tar -xzf /srv/samebundle.tar.gz --strip-components=1 -C /usr/local",
    );
}

fn the_package_runs_the_demo_in_an_empty_debian() {
    let (release, demo, root) = (need!(release()), need!(demo()), need!(Root::empty()));
    root.put(&release.file(".deb"), "samebundle.deb");
    root.runs_the_demo(demo, "dpkg -i /srv/samebundle.deb\ndpkg --verify samebundle");
    // It leaves as it came.
    let _ = root
        .types("dpkg --purge samebundle && ! command -v same samebundle")
        .ok();
}

fn the_wheel_runs_the_demo_in_a_debian_with_python_alone() {
    let (release, demo) = (need!(release()), need!(demo()));
    let image =
        need!(samebundle_tests::image("python").ok_or("the python image was not made (tests/setup/images)"));
    let index: Value = serde_json::from_slice(&std::fs::read(image.join("index.json")).unwrap()).unwrap();
    let blob = |digest: &Value| {
        image
            .join("blobs")
            .join(digest.as_str().unwrap().replace(':', "/"))
    };
    let manifest = std::fs::read(blob(&index["manifests"][0]["digest"])).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let root = need!(Root::of(&blob(&manifest["layers"][0]["digest"])));
    let wheel = release.file(".whl");
    let name = wheel.file_name().unwrap().to_str().unwrap();
    root.put(&wheel, name);
    root.runs_the_demo(
        demo,
        &format!("pip install --no-index --root-user-action=ignore /srv/{name}"),
    );
}
