//! The driver contract over the real drivers. Not an ordinary test binary: the embedded driver's helper has to be a process
//! with one thread, so this program starts itself again for it.

#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "a test program prints its cases and what its children said, and fails"
)]

mod pipeline;
mod remote;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use remote::Remote;
use samebundle_registry::layout::Layout;
use samebundle_registry::store::{Memory, Source};
use samebundle_runtime::driver::contract::{Bench, CASES, busybox_image, endless, is_running};
use samebundle_runtime::driver::docker::DockerDriver;
use samebundle_runtime::driver::embedded::{EmbeddedDriver, Helper, helper_main};
use samebundle_runtime::driver::{Driver, LogSink, Staging};
use samebundle_tests::{DockerEngine, Sandbox, Skipped, is_root, skip};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const HELPER: &str = "container-helper";
const OTHER: &str = "endless-container";
/// What stands for the embedded driver where a Docker engine's address could stand.
const EMBEDDED: &str = "embedded";
/// The same for the driver of another machine.
const REMOTE: &str = "remote";

/// Where Debian's busybox-static puts it.
const BUSYBOX: &str = "/bin/busybox";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(HELPER) => return ExitCode::from(u8::try_from(helper_main()).unwrap_or(1)),
        Some(OTHER) => return run_endless(&arguments[2..]),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // Cases measure time.
    arguments.test_threads = Some(1);
    let skipped = Skipped::default();
    if !Path::new(BUSYBOX).is_file() {
        let why = format!("drivers: {BUSYBOX} is not there (apt-get install busybox-static)");
        return skipped.run(&arguments, vec![lacking(&skipped, "drivers", why)]);
    }
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let sandbox = Sandbox::new();
    let mut trials = of_driver("embedded", EMBEDDED, sandbox.path(), &runtime);
    trials.extend(of_driver("remote", REMOTE, sandbox.path(), &runtime));
    trials.push(Trial::test("pipeline::handed_on", handed_on));
    trials.push(skipped.trial("pipeline::digits", digits));
    if is_root() {
        trials.push(Trial::test("embedded_without_root", without_root));
        trials.push(Trial::test("embedded_in_a_change_root", in_a_change_root));
    }
    let engine = DockerEngine::start(&sandbox);
    match &engine {
        Ok(engine) => trials.extend(of_driver("docker", engine.address(), sandbox.path(), &runtime)),
        Err(why) => trials.push(lacking(&skipped, "docker", format!("drivers: docker: {why}"))),
    }
    skipped.run(&arguments, trials)
}

/// Stands for the cases that this machine cannot run.
fn lacking(skipped: &Skipped, name: &str, why: String) -> Trial {
    skipped.trial(name, move || {
        skip(&why);
        Ok(())
    })
}

fn of_driver(name: &str, address: &str, folder: &Path, runtime: &Arc<Runtime>) -> Vec<Trial> {
    let bench = Arc::new(runtime.block_on(bench(address, &folder.join(name))));
    let trial = |case: &'static samebundle_runtime::driver::contract::Case| {
        let (bench, runtime) = (Arc::clone(&bench), Arc::clone(runtime));
        Trial::test(format!("{name}::{}", case.name), move || {
            runtime.block_on(case.check(&bench)).map_err(Failed::from)
        })
    };
    CASES.iter().map(trial).collect()
}

fn helper() -> Helper {
    Helper {
        program: this_program(),
        arguments: vec![HELPER.to_owned()],
    }
}

/// Drivers of this machine and of another one.
fn both(folder: &Path, source: &Arc<dyn Source>) -> [Arc<dyn Driver>; 2] {
    let elsewhere = Remote::new(&folder.join("elsewhere"), Arc::clone(source), helper());
    let here = EmbeddedDriver::new(&folder.join("here"), Arc::clone(source), helper());
    [Arc::new(here), Arc::new(elsewhere)]
}

fn handed_on() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    Runtime::new()?.block_on(async {
        let store = Arc::new(Memory::new());
        let busybox = busybox_image(&*store, Path::new(BUSYBOX)).await?;
        let drivers = both(&folder.path().join("drivers"), &(Arc::clone(&store) as _));
        pipeline::handed_on(busybox.image, store, drivers, folder.path()).await;
        Ok(())
    })
}

fn digits() -> Result<(), Failed> {
    let sandbox = Sandbox::new();
    let sources = match samebundle_tests::digits(&sandbox) {
        Ok(sources) => sources,
        Err(why) => {
            skip(&format!("drivers: {why}"));
            return Ok(());
        }
    };
    let home = sandbox.home("home");
    let sources = sources.to_str().ok_or("a path that is no text")?;
    let _ = home.ok(["build", sources, "-t", "digits"]);
    let folder = sandbox.path().join("drivers");
    let drivers = |store: &Arc<Layout>| both(&folder, &(Arc::clone(store) as _));
    Runtime::new()?.block_on(pipeline::digits(home.path(), &folder, drivers));
    Ok(())
}

/// Runs this program again as somebody who may nothing, in a home of their own.
fn without_root() -> Result<(), Failed> {
    /// A user that no machine needs to have.
    const SOMEBODY: u32 = 54_321;
    let folder = tempfile::tempdir()?;
    let (program, home) = (folder.path().join("drivers"), folder.path().join("home"));
    std::fs::copy(this_program(), &program)?;
    std::fs::create_dir(&home)?;
    for path in [folder.path(), &program, &home] {
        std::os::unix::fs::chown(path, Some(SOMEBODY), Some(SOMEBODY))?;
    }
    let mut command = Command::new(program);
    command.uid(SOMEBODY).gid(SOMEBODY).current_dir(&home);
    succeeds(command.env_clear().env("TMPDIR", &home))
}

/// Runs some cases in a change-root whose root is a plain folder, no mount point, and looks whether they leave mounts.
fn in_a_change_root() -> Result<(), Failed> {
    /// In a namespace of mounts that shares with another one, as a system's own does.
    const SCRIPT: &str = "mount --make-rshared / && cd \"$1\" && mount -t proc proc proc && mount -t sysfs sysfs sys && \
        mount --bind /dev dev && before=$(grep -c . /proc/self/mountinfo) && \
        unshare -m --propagation unchanged chroot . /drivers embedded::tells && \
        unshare -m --propagation unchanged chroot . /drivers embedded::has_no_network && \
        after=$(grep -c . /proc/self/mountinfo) && echo \"$before mounts before, $after after\" && [ $before = $after ]";
    let root = tempfile::tempdir()?;
    for folder in ["proc", "sys", "dev", "tmp", "bin"] {
        std::fs::create_dir(root.path().join(folder))?;
    }
    std::fs::copy(this_program(), root.path().join("drivers"))?;
    std::fs::copy(BUSYBOX, root.path().join(BUSYBOX.trim_start_matches('/')))?;
    let libraries = Command::new("ldd").arg(this_program()).output()?;
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.path().join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().ok_or("a library in no folder")?)?;
        std::fs::copy(library, to)?;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", SCRIPT, "sh"]).arg(root.path());
    succeeds(command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// Runs a command, prints what it printed, and fails if it does.
fn succeeds(command: &mut Command) -> Result<(), Failed> {
    let output = command.output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program's path")
}

async fn driver(address: &str, home: &Path, store: &Arc<Memory>) -> Arc<dyn Driver> {
    if ![EMBEDDED, REMOTE].contains(&address) {
        let driver = DockerDriver::connect(address, Arc::clone(store) as _, home.join("scratch")).await;
        return Arc::new(driver.expect("an engine"));
    }
    if address == REMOTE {
        return Arc::new(Remote::new(
            &home.join("elsewhere"),
            Arc::clone(store) as _,
            helper(),
        ));
    }
    Arc::new(EmbeddedDriver::new(home, Arc::clone(store) as _, helper()))
}

async fn bench(address: &str, folder: &Path) -> Bench {
    let store = Arc::new(Memory::new());
    let (home, mounts) = (folder.join("home"), folder.join("mounts"));
    for folder in [&home, &mounts] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let busybox = busybox_image(&*store, Path::new(BUSYBOX))
        .await
        .expect("an image");
    let driver = driver(address, &home, &store).await;
    let offers = driver.offers().await.expect("a usable driver");
    println!("{address}: {offers:?}");
    let address = address.to_owned();
    Bench {
        driver,
        sink: store,
        busybox,
        folder: mounts,
        is_running,
        other: Box::new(move |run_id| start_other(&address, &home, run_id)),
    }
}

fn start_other(address: &str, home: &Path, run_id: &str) -> std::io::Result<Child> {
    let mut command = Command::new(this_program());
    command.args([OTHER, address]).arg(home).arg(run_id);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// Prints what the container prints.
struct Printed;

impl LogSink for Printed {
    fn line(&self, line: &str, _stderr: bool) {
        println!("{line}");
    }
}

fn run_endless(arguments: &[String]) -> ExitCode {
    let [address, home, run_id] = arguments else {
        return ExitCode::FAILURE;
    };
    let runtime = Runtime::new().expect("a runtime");
    let outcome = runtime.block_on(async {
        let store = Arc::new(Memory::new());
        let busybox = busybox_image(&*store, Path::new(BUSYBOX))
            .await
            .expect("an image");
        let operation = endless(&busybox.image, run_id);
        driver(address, Path::new(home), &store)
            .await
            .run(
                &operation,
                &Staging::default(),
                &Printed,
                &CancellationToken::new(),
            )
            .await
    });
    println!("{outcome:?}");
    ExitCode::FAILURE
}
