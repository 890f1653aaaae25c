//! The same program run by somebody who is not root.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use samebundle_tests::{Ran, Sandbox, Test, command_under_test, greet, is_root, skip, tests};

use crate::flow::outputs;

pub(crate) const TESTS: &[Test] = tests![a_program_runs_without_root];

/// A user and group id that own nothing.
const NOBODY: &str = "65534";

fn open(path: &Path) {
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | 0o555)).unwrap();
}

fn a_program_runs_without_root() {
    let Some(greet) = greet() else {
        return skip("rootless: the busybox image was not made (tests/setup/images)");
    };
    let call = [
        "run",
        "greet",
        "--who=you",
        "--times=2",
        "--env",
        "embedded",
        "--output",
        "json",
    ];
    let sandbox = Sandbox::new();
    if !is_root() {
        let home = greet.publisher(&sandbox);
        let _ = home.ok(["install", "greet", "--allow-unsigned"]);
        assert_eq!(outputs(&home.ok(call))["greeting"], "hello you");
        return;
    }
    let drop = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let namespaces = Command::new("setpriv")
        .args(drop)
        .args(["unshare", "-r", "true"])
        .output();
    if !namespaces.is_ok_and(|out| out.status.success()) {
        return skip("rootless: this machine gives no user namespaces to ordinary users");
    }
    // The command and a bundle, where that user can read them; a home that is the user's own.
    open(sandbox.path());
    let binary = sandbox.path().join("samebundle");
    std::fs::copy(command_under_test(), &binary).unwrap();
    open(&binary);
    let file = sandbox.path().join("greet.tar");
    let _ = greet
        .publisher(&sandbox)
        .ok(["copy", "greet", file.to_str().unwrap()]);
    open(&file);
    let own = sandbox.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let nobody = NOBODY.parse().unwrap();
    std::os::unix::fs::chown(&own, Some(nobody), Some(nobody)).unwrap();
    let same = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(drop)
            .arg(&binary)
            .arg("--home")
            .arg(own.join("home"))
            .args(arguments);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &own)
            .env("TMPDIR", &own);
        Ran::of(command.current_dir(&own)).ok()
    };
    let _ = same(&["install", file.to_str().unwrap(), "--allow-unsigned"]);
    let first = outputs(&same(&call));
    assert_eq!(first["greeting"], "hello you");

    let root = greet.publisher(&sandbox);
    let _ = root.ok(["install", "greet", "--allow-unsigned"]);
    assert_eq!(
        outputs(&root.ok(call)),
        first,
        "root and others get different answers"
    );
}
