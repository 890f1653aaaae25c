//! What is found where a command reads and writes: links, pipes, devices, read-only file systems, and disks without room.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use samebundle_tests::{Home, Sandbox, Test, command_under_test, greet, is_root, skip, tests};

pub(crate) const TESTS: &[Test] = tests![
    nothing_but_files_is_written_and_nothing_else_is_replaced,
    the_mask_of_the_process_holds_for_what_it_writes,
    a_read_only_home_is_read_and_not_written,
    where_there_is_no_room_to_unpack_the_scratch_folder_is_named,
    a_run_that_fills_the_disk_leaves_room_and_a_full_disk_is_emptied
];

/// A shell script in a mount namespace of its own, with the home and the command as its arguments; `None` where this
/// machine cannot make one.
fn in_namespace(home: &Home, script: &str) -> Option<std::process::Output> {
    let flags: &[&str] = if is_root() { &["-m"] } else { &["-r", "-m"] };
    let works = Command::new("unshare").args(flags).arg("true").output();
    if !works.is_ok_and(|out| out.status.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(flags).args(["--", "sh", "-ec", script, "sh"]);
    command.arg(home.path()).arg(command_under_test());
    home.furnish(&mut command);
    Some(command.output().unwrap())
}

fn nothing_but_files_is_written_and_nothing_else_is_replaced() {
    let Some(greet) = greet() else {
        return skip("disks: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let at = |name: &str| sandbox.path().join(name);
    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    std::fs::create_dir(at("folder")).unwrap();
    for name in ["pipe", "folder", "-", "new/", "a.tar.zst", &"x".repeat(300)] {
        let target = format!("archive:{name}");
        let code = home.run(["copy", "greet", &target]).code;
        // What can be told from the words alone is a usage error.
        assert!([1, 2, 8].contains(&code), "{target}: {code}");
    }
    assert!(
        std::fs::symlink_metadata(at("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert!(!at("-").exists() && !at("a.tar.zst").exists());
    std::fs::write(at("file.tgz"), "old").unwrap();
    std::os::unix::fs::symlink("file.tgz", at("link.tgz")).unwrap();
    let _ = home.ok(["copy", "greet", "link.tgz"]);
    assert!(std::fs::symlink_metadata(at("link.tgz")).unwrap().is_symlink());
    assert!(std::fs::metadata(at("file.tgz")).unwrap().len() > 1_000);
    // And read through the same link.
    let _ = home.ok(["inspect", "link.tgz"]);
}

fn the_mask_of_the_process_holds_for_what_it_writes() {
    let Some(greet) = greet() else {
        return skip("disks: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let script = r#"
        umask 077
        for to in a.tgz a.tar layout:l:1; do "$2" --home "$1" copy greet "$to"; done
        "$2" --home "$1" copy greet v.tgz --volume-size 1MiB
    "#;
    let mut command = Command::new("sh");
    command
        .args(["-ec", script, "sh"])
        .arg(home.path())
        .arg(command_under_test());
    home.furnish(&mut command);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["a.tgz", "a.tar", "l/index.json", "l/oci-layout", "v.tgz.v001"] {
        assert_eq!(mode(&sandbox.path().join(name)), 0o600, "{name}");
    }
    for blob in std::fs::read_dir(sandbox.path().join("l/blobs/sha256")).unwrap() {
        assert_eq!(mode(&blob.unwrap().path()), 0o400);
    }
}

fn a_read_only_home_is_read_and_not_written() {
    let Some(greet) = greet() else {
        return skip("disks: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let script = r#"
        mount --bind "$1" "$1"
        mount -o remount,ro,bind "$1"
        for verb in "explain greet" "inspect greet" "verify greet" "store check" "store usage" list "copy greet a.tgz"; do
            "$2" --home "$1" $verb
        done
        ! "$2" --home "$1" copy greet other
    "#;
    let Some(out) = in_namespace(&home, script) else {
        return skip("disks: no mount namespace can be made here (unshare -m)");
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(sandbox.path().join("a.tgz").exists());
}

fn where_there_is_no_room_to_unpack_the_scratch_folder_is_named() {
    let sandbox = Sandbox::new();
    let home = sandbox.home("small");
    std::fs::create_dir_all(home.path()).unwrap();
    let script = r#"
        mount -t tmpfs -o size=4m tmpfs "$1"
        head -c 8000000 /dev/urandom > blob
        tar -czf big.tgz blob
        "$2" --home "$1" inspect big.tgz
    "#;
    let Some(out) = in_namespace(&home, script) else {
        return skip("disks: no mount namespace can be made here (unshare -m)");
    };
    assert_eq!(out.status.code(), Some(8));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("scratch") && said.contains("make room"), "{said}");
}

fn a_run_that_fills_the_disk_leaves_room_and_a_full_disk_is_emptied() {
    let Some(greet) = greet() else {
        return skip("disks: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let start = crate::upkeep::writer(greet, &sandbox);
    let home = sandbox.home("small");
    std::fs::create_dir_all(home.path()).unwrap();
    let script = r#"
        home=$1; same=$2; dead=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        s() { "$same" --home "$home" "$@"; }
        mount -t tmpfs -o size=32m tmpfs "$home"
        cp -a homes/publisher/. "$home"
        s run greet --times=1000 || exit 90
        # What another failure leaves can be looked at.
        ! s run greet --times=13
        s outputs | grep -q greet.words
        # What fills the disk is removed, and the next run has room.
        code=0; s run greet --times=100000 2>task || code=$?; test $code = 3
        test -z "$(find "$home/runs" -size +1000000c)"
        s run greet --times=1000
        # Where nothing can be written, the answer names what helps, and that works.
        mkdir "$home/layers/$dead"
        head -c 300000 /dev/zero >"$home/layers/$dead/file"
        head -c 50000000 /dev/zero >"$home/filler" || true
        code=0; s run greet --times=1 2>full || code=$?; test $code = 8
        s store usage
        s store gc --grace 0s
        test ! -e "$home/layers/$dead"
        head -c 50000000 /dev/zero >>"$home/filler" || true
        s runs remove --failed
        s runs remove last --outputs-only
        s runs remove greet --keep 0
        test -z "$(ls -A "$home/runs")"
        s run greet --times=1
    "#;
    let Some(out) = in_namespace(&home, script) else {
        return skip("disks: no mount namespace can be made here (unshare -m)");
    };
    if out.status.code() == Some(90) && !is_root() {
        return skip("disks: no container can be started in a mount namespace here");
    }
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{}{said}",
        String::from_utf8_lossy(&out.stdout)
    );
    let task = std::fs::read_to_string(sandbox.path().join("task")).unwrap();
    assert!(
        task.contains("the disk of the home was full") && task.contains("runs remove"),
        "{task}"
    );
    let full = std::fs::read_to_string(sandbox.path().join("full")).unwrap();
    assert!(full.contains("`runs remove` and `store gc` do that"), "{full}");
    drop(start);
}
