//! `--detach`: a run in a process of its own, which gives the terminal back.
//!
//! The command does first what a person may have to answer: it trusts, plans, and reads the credentials. Then it starts itself
//! under a hidden word, in a session of its own, and hands the request over through a pipe, because a request may hold secrets.
//! The other process says which run it began, and writes what it has to say into the run's folder from then on. What goes wrong
//! before is the error of the command. Nothing else is shared: the run's log and its lock are what `attach` and `cancel` use.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use samebundle_runtime::secret::Answers;
use samebundle_runtime::verbs::{self, ResumeRequest, RunRequest};
use samebundle_runtime::{Event, Events, Logged};
use samebundle_spec::record::{RunEventKind, RunId};
use samebundle_spec::{ErrorKind, limits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::run::ended;
use crate::answers::EnvironmentAndTerminal;
use crate::error::CliError;
use crate::render::{Report, progress};
use crate::session::Session;

/// The hidden word under which the program does a run that was prepared.
pub(crate) const HIDDEN: &str = "internal-run";

/// What such a process writes, in the folder of its run.
const SAID: &str = "detached.log";

/// How a run is left alone.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DetachOptions {
    /// Give the terminal back once the run has begun; `attach` follows it, `cancel` ends it
    #[arg(long)]
    pub(crate) detach: bool,
}

/// What the other process is handed.
#[derive(Serialize, Deserialize)]
struct Handed {
    work: Work,
    /// What a person answered, by what was asked.
    answers: BTreeMap<String, Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Work {
    Run(Box<RunRequest>),
    Resume(Box<ResumeRequest>),
}

/// Begins a run in another process.
pub(super) async fn run(session: &Session, request: RunRequest) -> Result<Report, CliError> {
    let asked = Arc::new(Asked::of(session));
    let site = session.site.clone().with_answers(Arc::<Asked>::clone(&asked));
    verbs::check_run(&site, request.clone()).await?;
    hand_over(session, Work::Run(Box::new(request)), &asked).await
}

/// Lets another process go on with a run.
pub(super) async fn resume(session: &Session, mut request: ResumeRequest) -> Result<Report, CliError> {
    let asked = Arc::new(Asked::of(session));
    let site = session.site.clone().with_answers(Arc::<Asked>::clone(&asked));
    request.run = verbs::check_resume(&site, request.clone()).await?.to_string();
    hand_over(session, Work::Resume(Box::new(request)), &asked).await
}

async fn hand_over(session: &Session, work: Work, asked: &Asked) -> Result<Report, CliError> {
    let handed = Handed {
        work,
        answers: asked.answers(),
    };
    let handed = serde_json::to_vec(&handed).expect("the keys of a request are text");
    let program = std::env::current_exe();
    let program = program.map_err(CliError::io("find", Path::new("this program")))?;
    let mut other = start(session, &program).map_err(CliError::io("start", &program))?;
    let run = tokio::select! {
        begun = begun(&mut other, &handed) => begun?,
        () = session.site.context.cancel.cancelled() => {
            // It ends in order if it was about to begin the run.
            let id = other.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
            let _ = id.map(|id| rustix::process::kill_process(id, rustix::process::Signal::TERM));
            return Err(CliError::Interrupted("interrupted before the run began".to_owned()));
        }
    };
    let program = session.program();
    let text = format!(
        "run {run} goes on in the background\n  follow it:               {program} attach {run}\n  \
         see what its tasks print: {program} logs {run} --follow\n  end it:                  {program} cancel {run}"
    );
    Ok(Report::new(text, &json!({"run": run, "detached": true})))
}

fn start(session: &Session, program: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg0(session.program()).arg(HIDDEN);
    command.arg("--home").arg(session.site.home().root());
    if session.site.context.offline {
        command.arg("--offline");
    }
    if session.verbose {
        command.arg("--verbose");
    }
    // The error of a run that does not begin comes as a document.
    command.args(["--output", "json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// Hands the request over, and waits until the run has begun.
async fn begun(other: &mut Child, handed: &[u8]) -> Result<RunId, CliError> {
    let lost = || CliError::NotBegun {
        kind: ErrorKind::Internal,
        message: "the process that was to do the run ended before it began".to_owned(),
    };
    let (Some(mut stdin), Some(stdout)) = (other.stdin.take(), other.stdout.take()) else {
        return Err(lost());
    };
    // A process that ended says why on its output.
    drop(stdin.write_all(handed).await);
    drop(stdin);
    let mut stdout = BufReader::new(stdout).take(limits::RUN_BYTES);
    let mut said = String::new();
    drop(stdout.read_line(&mut said).await);
    let id = |text: &str| -> Option<RunId> {
        let begun: Value = serde_json::from_str(text).ok()?;
        begun["run"]
            .as_str()?
            .parse()
            .ok()
            .filter(|_| begun["error"].is_null())
    };
    if let Some(run) = id(&said) {
        return Ok(run);
    }
    drop(stdout.read_to_string(&mut said).await);
    let document: Option<Value> = serde_json::from_str(&said).ok();
    let error = document.as_ref().and_then(|document| failure(&document["error"]));
    Err(error.unwrap_or_else(lost))
}

/// The error of the other process as one of this.
fn failure(error: &Value) -> Option<CliError> {
    let kind = ErrorKind::ALL
        .into_iter()
        .find(|kind| error["kind"] == kind.word())?;
    let causes = error["causes"].as_array().into_iter().flatten();
    let texts = std::iter::once(&error["message"])
        .chain(causes)
        .filter_map(Value::as_str);
    let message = texts.collect::<Vec<_>>().join(": ");
    Some(CliError::NotBegun { kind, message })
}

/// Asks as the command does, and keeps what a person answered.
#[derive(Debug)]
struct Asked {
    inner: EnvironmentAndTerminal,
    answers: Mutex<Hidden>,
}

/// Answers of a person, which nothing prints.
#[derive(Default)]
struct Hidden(BTreeMap<String, Vec<u8>>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answers", self.0.len())
    }
}

fn question(name: &str, what: &str) -> String {
    format!("{name}\n{what}")
}

impl Asked {
    fn of(session: &Session) -> Self {
        Self {
            inner: EnvironmentAndTerminal {
                settings: session.settings.clone(),
            },
            answers: Mutex::default(),
        }
    }

    fn answers(&self) -> BTreeMap<String, Vec<u8>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.0.clone()
    }
}

impl Answers for Asked {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.variable(name)
    }

    fn ask(&self, name: &str, what: &str) -> io::Result<Option<Vec<u8>>> {
        let answer = self.inner.ask(name, what)?;
        if let Some(answer) = &answer {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.0.insert(question(name, what), answer.clone());
        }
        Ok(answer)
    }

    fn can_ask(&self) -> bool {
        self.inner.can_ask()
    }
}

/// Knows what was answered before. Nobody else can be asked.
#[derive(Debug)]
struct Answered {
    inner: EnvironmentAndTerminal,
    answers: Hidden,
}

impl Answers for Answered {
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.variable(name)
    }

    fn ask(&self, name: &str, what: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.answers.0.get(&question(name, what)).cloned())
    }

    fn can_ask(&self) -> bool {
        !self.answers.0.is_empty()
    }
}

/// Does a run that another process has prepared.
#[derive(Debug, Args)]
pub(crate) struct Detached {}

impl Detached {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        // Closing the terminal must not end the run. It fails only for a process that leads a group already.
        let _ = rustix::process::setsid();
        let handed = handed().map_err(CliError::io("read", Path::new("the request")))?;
        let answers = Answered {
            inner: EnvironmentAndTerminal {
                settings: session.settings.clone(),
            },
            answers: Hidden(handed.answers),
        };
        let mut site = session.site.clone().with_answers(Arc::new(answers));
        site.context.events = Arc::new(Begins {
            lines: progress::lines(&session.settings, session.verbose),
            runs: session.site.home().runs(),
            resumed: match &handed.work {
                Work::Run(_) => None,
                Work::Resume(request) => request.run.parse().ok(),
            },
            begun: AtomicBool::new(false),
        });
        let run = match handed.work {
            Work::Run(request) => Box::pin(verbs::run(&site, *request)).await?,
            Work::Resume(request) => Box::pin(verbs::resume(&site, *request)).await?,
        };
        ended(session, run)
    }
}

fn handed() -> io::Result<Handed> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(limits::RUN_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Says nothing before the run has begun, because the command has said it. Then it tells the command so, and goes on in the
/// folder of the run.
#[derive(Debug)]
struct Begins {
    lines: Arc<dyn Events>,
    /// The folder of all runs.
    runs: PathBuf,
    /// The run that goes on; none if a new one begins.
    resumed: Option<RunId>,
    begun: AtomicBool,
}

impl Begins {
    fn begin(&self, run: &RunId) {
        let mut stdout = io::stdout().lock();
        drop(writeln!(stdout, "{}", json!({"run": run})).and_then(|()| stdout.flush()));
        let path = self.runs.join(run.as_str()).join(SAID);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        // Without the file, what is said from here on is lost, and the run is not.
        if let Ok(file) = file.or_else(|_| OpenOptions::new().write(true).open("/dev/null")) {
            let _ = rustix::stdio::dup2_stdout(&file);
            let _ = rustix::stdio::dup2_stderr(&file);
        }
        self.begun.store(true, Ordering::Release);
    }
}

impl Events for Begins {
    fn emit(&self, event: Event) {
        if self.begun.load(Ordering::Acquire) {
            self.lines.emit(event);
        }
    }

    fn logged(&self, logged: Logged<'_>) {
        let id = match logged {
            Logged::Event(event) => match &event.kind {
                RunEventKind::RunStarted(started) => Some(&started.id),
                RunEventKind::RunResumed => self.resumed.as_ref(),
                _ => None,
            },
            _ => None,
        };
        if let Some(id) = id {
            self.begin(id);
        }
        // What tasks print is in the log of the run already.
        if matches!(logged, Logged::Event(_)) {
            self.lines.logged(logged);
        }
    }
}
