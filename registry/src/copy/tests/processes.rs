//! Copies by other processes into one layout: killed at every write, and sixteen at once.
//!
//! The other processes are this test binary, started again for the same test with a variable set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{bundle, tag};
use crate::copy::{Options, copy};
use crate::layout::{Finding, Layout, check};
use crate::store::{Memory, Referrers, Resolve, SinkExt, Source, Tags};
use samebundle_spec::{Descriptor, Manifest, MediaType, Tag};

const ROOT: &str = "SAMEBUNDLE_TEST_LAYOUT";
const NUMBER: &str = "SAMEBUNDLE_TEST_NUMBER";

#[expect(
    clippy::disallowed_methods,
    reason = "a test tells itself in another process what to do"
)]
pub(crate) fn told(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A command that runs one test of this binary as a child, perhaps below `wrapper`.
pub(crate) fn child(wrapper: &[&str], test: &str, root: &Path, number: u32) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut words: Vec<OsString> = wrapper.iter().map(Into::into).collect();
    words.push(binary.into());
    words.extend(["--exact", test, "--test-threads=1"].map(OsString::from));
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env(ROOT, root)
        .env(NUMBER, number.to_string())
        .env_remove("SAMEBUNDLE_VECTORS")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// One thread for everything that blocks, so that the writes come in the same order on every run.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap()
}

/// Copies the bundle into the layout.
async fn fill(root: &Path) -> Descriptor {
    let from = Memory::new();
    let bundle = bundle(&from).await;
    let to = Layout::create(root).await.unwrap();
    let options = Options {
        concurrency: 1,
        ..Options::tagged(tag())
    };
    copy(&from, &to, &bundle, &options).await.unwrap();
    bundle
}

fn strace_works() -> bool {
    let result = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=none", "true"])
        .output();
    result.is_ok_and(|output| output.status.success())
}

/// What a killed copy left: perhaps an unfinished file, but nothing wrong that can be seen; and a second copy completes.
async fn survives(root: &Path, point: u32) {
    if root.join("oci-layout").exists() {
        let findings = check(root, true).await.unwrap().findings;
        let only_stray = findings
            .iter()
            .all(|finding| matches!(finding, Finding::Stray { .. }));
        assert!(only_stray, "killed at {point}: {findings:?}");
    }
    let bundle = fill(root).await;
    let report = check(root, true).await.unwrap();
    assert_eq!(report.findings, [], "killed at {point}");
    let layout = Layout::open(root).await.unwrap();
    assert_eq!(layout.resolve(&tag()).await.unwrap().bare(), bundle.bare());
    assert_eq!(
        layout.referrers(&bundle, None).await.unwrap().len(),
        1,
        "killed at {point}"
    );
}

#[test]
fn a_copy_killed_at_any_write_leaves_nothing_wrong_and_goes_on() {
    const TEST: &str = "copy::tests::processes::a_copy_killed_at_any_write_leaves_nothing_wrong_and_goes_on";
    if let Some(root) = told(ROOT) {
        runtime().block_on(fill(&PathBuf::from(root)));
        return;
    }
    if !strace_works() {
        println!("skipped: strace is not there, or may not trace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut killed = 0;
    for point in 1..1_000 {
        let root = folder.path().join(point.to_string());
        let calls = "write,fsync,fdatasync,?rename,renameat,renameat2,?mkdir,mkdirat,?unlink,unlinkat,?chmod,fchmod,flock";
        let inject = format!("inject={calls}:signal=KILL:when={point}");
        let trace = format!("trace={calls}");
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        let status = child(&strace, TEST, &root, 0).status().unwrap();
        let fresh = runtime();
        fresh.block_on(survives(&root, point));
        if status.success() {
            break;
        }
        killed += 1;
        std::fs::remove_dir_all(&root).unwrap();
    }
    println!("killed at {killed} points");
    assert!((50..999).contains(&killed), "killed at {killed} points");
}

/// What one of the sixteen does: the shared bundle, content of its own, a tag of its own, and a signature of the bundle.
async fn one_of_many(root: &Path, number: u32) {
    let bundle = fill(root).await;
    let layout = Layout::create(root).await.unwrap();
    for i in 0..5 {
        let own = layout
            .push_bytes(MediaType::OCI_LAYER, format!("{number} {i}").repeat(1_000).into())
            .await
            .unwrap();
        let signature = Manifest::artifact(MediaType::CONTENT, vec![own]).with_subject(bundle.bare());
        let signature = layout
            .push_bytes(MediaType::OCI_MANIFEST, signature.to_bytes().into())
            .await
            .unwrap();
        assert!(layout.contains(&signature).await.unwrap());
        let name: Tag = format!("p{number}-{i}").parse().unwrap();
        layout.tag(&bundle, &name).await.unwrap();
    }
}

#[test]
fn sixteen_processes_share_a_layout_and_lose_nothing() {
    const TEST: &str = "copy::tests::processes::sixteen_processes_share_a_layout_and_lose_nothing";
    const PROCESSES: u32 = 16;
    if let Some(root) = told(ROOT) {
        let number = told(NUMBER).unwrap().to_string_lossy().parse().unwrap();
        runtime().block_on(one_of_many(&PathBuf::from(root), number));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("layout");
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| child(&[], TEST, &root, number).spawn().unwrap())
        .collect();
    // Some more that are killed on the way must not disturb the others.
    let mut doomed: Vec<_> = (0..4)
        .map(|number| child(&[], TEST, &root, PROCESSES + number).spawn().unwrap())
        .collect();
    for (number, child) in doomed.iter_mut().enumerate() {
        std::thread::sleep(std::time::Duration::from_millis(20 * number as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    runtime().block_on(async {
        let layout = Layout::create(&root).await.unwrap();
        assert_eq!(check(&root, true).await.unwrap().findings, []);
        let tags: Vec<String> = layout
            .tags()
            .await
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        for number in 0..PROCESSES {
            for i in 0..5 {
                let name = format!("p{number}-{i}");
                assert!(tags.contains(&name), "{name} is lost");
            }
        }
        let bundle = layout.resolve(&tag()).await.unwrap();
        let wanted = usize::try_from(PROCESSES * 5).unwrap();
        let found = layout
            .referrers(&bundle, Some(&MediaType::CONTENT))
            .await
            .unwrap();
        assert!(found.len() >= wanted, "{} of {wanted} referrers", found.len());
    });
}
