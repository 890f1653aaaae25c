//! The driver contract over the real drivers. Not an ordinary test binary: the embedded driver's helper has to be a process
//! with one thread, so this program starts itself again for it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use samebundle_registry::store::Memory;
use samebundle_runtime::driver::contract::{Bench, CASES, Case, busybox_image, endless};
use samebundle_runtime::driver::embedded::{EmbeddedDriver, Helper, helper_main};
use samebundle_runtime::driver::{Driver, LogSink};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const HELPER: &str = "container-helper";
const OTHER: &str = "endless-container";

/// Where Debian's busybox-static puts it.
const BUSYBOX: &str = "/bin/busybox";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(HELPER) => return ExitCode::from(u8::try_from(helper_main()).unwrap_or(1)),
        Some(OTHER) => return run_endless(&arguments[2..]),
        _ => {}
    }
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let mut trials = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    if Path::new(BUSYBOX).is_file() {
        let bench = Arc::new(runtime.block_on(bench(folder.path())));
        trials.extend(CASES.iter().map(|case| trial("embedded", case, &bench, &runtime)));
    } else {
        println!("skipped: {BUSYBOX} is not there (apt-get install busybox-static)");
    }
    let mut arguments = Arguments::from_args();
    // Cases measure time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(driver: &str, case: &'static Case, bench: &Arc<Bench>, runtime: &Arc<Runtime>) -> Trial {
    let (bench, runtime) = (Arc::clone(bench), Arc::clone(runtime));
    Trial::test(format!("{driver}::{}", case.name), move || {
        runtime.block_on(case.check(&bench)).map_err(Failed::from)
    })
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program's path")
}

fn driver(home: &Path, store: &Arc<Memory>) -> Arc<dyn Driver> {
    let helper = Helper {
        program: this_program(),
        arguments: vec![HELPER.to_owned()],
    };
    Arc::new(EmbeddedDriver::new(home, Arc::clone(store) as _, helper))
}

async fn bench(folder: &Path) -> Bench {
    let store = Arc::new(Memory::new());
    let home = folder.join("home");
    std::fs::create_dir_all(&home).expect("a home");
    let busybox = busybox_image(&*store, Path::new(BUSYBOX))
        .await
        .expect("an image");
    let driver = driver(&home, &store);
    let capacity = driver.probe().await.expect("a usable driver");
    println!("embedded: {capacity:?}");
    let mounts = folder.join("mounts");
    std::fs::create_dir_all(&mounts).expect("a folder");
    Bench {
        driver,
        sink: store,
        busybox,
        folder: mounts,
        other: Box::new(move |run_id| start_other(&home, run_id)),
    }
}

fn start_other(home: &Path, run_id: &str) -> std::io::Result<Child> {
    let mut command = Command::new(this_program());
    command.arg(OTHER).arg(home).arg(run_id);
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
    let [home, run_id] = arguments else {
        return ExitCode::FAILURE;
    };
    let runtime = Runtime::new().expect("a runtime");
    let outcome = runtime.block_on(async {
        let store = Arc::new(Memory::new());
        let busybox = busybox_image(&*store, Path::new(BUSYBOX))
            .await
            .expect("an image");
        let operation = endless(&busybox.image, run_id);
        driver(Path::new(home), &store)
            .run(&operation, &Printed, &CancellationToken::new())
            .await
    });
    println!("{outcome:?}");
    ExitCode::FAILURE
}
