//! The contract of a [`Driver`], as cases that every implementation passes and that broken ones fail.
//!
//! Inputs and outputs are given by [`Staging`], so a driver on another machine can pass the contract as well. All cases
//! share one driver, as runs do. The image is made here from a static busybox, so that nothing is fetched.

mod contents;
mod image;
mod isolation;
mod layers;
mod lifecycle;
mod process;
mod volumes;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use samebundle_registry::store::Sink;
use samebundle_spec::Descriptor;
use tokio_util::sync::CancellationToken;

use super::{Driver, DriverError, Limits, LogSink, Operation, Outcome, Staging};

pub use image::{Busybox, Entry, LayerBuilder, Packing, busybox_image, push_image, push_layer};

/// How long one case may take on a busy machine.
const CASE_TIME: Duration = Duration::from_secs(120);

/// What the cases need to run.
pub struct Bench {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// The store from which the driver reads images.
    pub sink: Arc<dyn Sink>,
    /// The image of [`busybox_image`], in that store.
    pub busybox: Busybox,
    /// An empty folder of this machine for inputs and outputs. The user of the driver owns it.
    pub folder: PathBuf,
    /// Tells whether a process has a text in its command line, where the driver's containers run: [`is_running`].
    pub is_running: fn(&str) -> bool,
    /// Starts a process that runs an endless container by such a driver. The case kills it.
    pub other: Other,
}

/// Starts another process that runs [`endless`] under the run id given, through a driver of the same store.
pub type Other = Box<dyn Fn(&str) -> std::io::Result<std::process::Child> + Send + Sync>;

impl Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

/// A case: a sentence that the driver must make true, and the function that tries it.
pub struct Case {
    /// The promise.
    pub name: &'static str,
    run: Run,
}

type Verdict = Result<(), String>;
type Run = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

impl Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Case {
    /// Runs the case.
    ///
    /// # Errors
    /// A text with what was wanted and what happened.
    pub async fn check(&self, bench: &Bench) -> Result<(), String> {
        match tokio::time::timeout(CASE_TIME, (self.run)(bench)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("it took longer than {CASE_TIME:?}")),
        }
    }
}

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        &[$(Case { name: stringify!($case), run: |bench| Box::pin($module::$case(bench)) }),*]
    };
}

/// All cases.
pub const CASES: &[Case] = cases![
    process::tells_exit_codes,
    process::tells_signals,
    process::says_that_there_is_no_such_program,
    process::streams_both_outputs,
    process::reads_both_outputs_to_their_ends,
    process::cuts_long_lines,
    process::shows_states_of_a_line,
    process::sets_the_environment,
    process::starts_in_the_working_folder,
    process::runs_the_images_own_command,
    process::runs_as_the_images_user,
    process::gives_every_user_a_home,
    process::runs_as_another_user,
    process::reads_nothing_from_standard_input,
    process::is_attended_with_pipes,
    process::is_attended_at_a_terminal,
    contents::reads_inputs,
    contents::hands_outputs_back,
    contents::puts_nothing_behind_a_link,
    contents::makes_outputs_anew,
    contents::hands_outputs_of_a_failure_back,
    contents::hands_back_what_nobody_may_read,
    contents::hands_links_on,
    volumes::keeps_what_is_in_a_volume,
    volumes::reads_small_files_with_their_mode,
    isolation::has_no_network,
    isolation::has_a_loopback_device,
    isolation::resolves_its_own_names,
    isolation::sees_only_its_own_processes,
    isolation::reaches_no_program_of_the_driver,
    isolation::has_few_rights,
    isolation::makes_no_device,
    isolation::limits_processes,
    isolation::limits_memory,
    isolation::has_shared_memory_of_its_size,
    layers::applies_whiteouts,
    layers::throws_the_root_away,
    layers::keeps_what_was_written,
    layers::takes_a_layer_twice,
    layers::reads_zstd_and_plain_layers,
    layers::refuses_an_altered_layer,
    layers::refuses_names_that_climb,
    layers::keeps_links_inside,
    lifecycle::stops_within_two_seconds,
    lifecycle::is_cancelled_before_it_starts,
    lifecycle::runs_two_at_once,
    lifecycle::says_what_it_offers,
    lifecycle::refuses_what_it_does_not_offer,
    lifecycle::recovers_nothing_from_nothing,
    lifecycle::ends_what_a_killed_process_left,
];

/// A container that never ends by itself.
pub fn endless(image: &Descriptor, run_id: &str) -> Operation {
    shell(
        image,
        run_id,
        "endless",
        &format!("echo ready; sleep 86400; : {run_id}"),
    )
}

/// A container that runs a line of shell.
fn shell(image: &Descriptor, run_id: &str, name: &str, line: &str) -> Operation {
    Operation {
        run_id: run_id.to_owned(),
        name: name.to_owned(),
        image: image.clone(),
        extra_layers: Vec::new(),
        command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        environment: BTreeMap::new(),
        user: None,
        inputs: Vec::new(),
        outputs: Vec::new(),
        limits: Limits::default(),
        volumes: Vec::new(),
        working_dir: None,
    }
}

/// What a container printed.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(String, bool)>>);

impl LogSink for Log {
    fn line(&self, line: &str, stderr: bool) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((line.to_owned(), stderr));
    }

    fn replaced(&self, line: &str, stderr: bool) {
        self.line(&format!("({line})"), stderr);
    }
}

impl Log {
    fn lines(&self, stderr: bool) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_stream = lines.iter().filter(|(_, from)| *from == stderr);
        of_stream.map(|(line, _)| line.clone()).collect()
    }
}

impl Bench {
    fn shell(&self, name: &str, line: &str) -> Operation {
        shell(&self.busybox.image, "01CONTRACT0000000000000000", name, line)
    }

    async fn run(&self, operation: &Operation) -> (Result<Outcome, DriverError>, Log) {
        self.run_with(operation, &Staging::default()).await
    }

    async fn run_with(
        &self,
        operation: &Operation,
        staging: &Staging,
    ) -> (Result<Outcome, DriverError>, Log) {
        let (log, never) = (Log::default(), CancellationToken::new());
        let outcome = self.driver.run(operation, staging, &log, &never).await;
        (outcome, log)
    }

    /// Runs to success and returns the lines of standard output.
    async fn output(&self, operation: &Operation) -> Result<Vec<String>, String> {
        self.output_with(operation, &Staging::default()).await
    }

    async fn output_with(&self, operation: &Operation, staging: &Staging) -> Result<Vec<String>, String> {
        let (outcome, log) = self.run_with(operation, staging).await;
        match outcome {
            Ok(Outcome::Succeeded) => Ok(log.lines(false)),
            other => Err(format!(
                "{operation_name}: wanted success, got {}; it printed {log:?}",
                told(&other),
                operation_name = operation.name
            )),
        }
    }
}

/// An outcome or an error with its causes.
fn told(outcome: &Result<Outcome, DriverError>) -> String {
    match outcome {
        Ok(outcome) => format!("{outcome:?}"),
        Err(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(error);
            while let Some(cause) = next {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                next = cause.source();
            }
            text
        }
    }
}

fn same<T: Debug + PartialEq>(what: &str, wanted: T, got: T) -> Verdict {
    if wanted == got {
        Ok(())
    } else {
        Err(format!("{what}: wanted {wanted:?}, got {got:?}"))
    }
}

fn lines(wanted: &[&str]) -> Vec<String> {
    wanted.iter().map(|&line| line.to_owned()).collect()
}

fn said<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// Tells whether a process of this machine has a text in its command line.
pub fn is_running(text: &str) -> bool {
    let Ok(processes) = std::fs::read_dir(Path::new("/proc")) else {
        return false;
    };
    processes.flatten().any(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        process.file_name() != "self" && String::from_utf8_lossy(&command).contains(text)
    })
}
