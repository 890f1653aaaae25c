//! `runs push` and `runs crate`, and what `run` sends at its end: runs, told to others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use samebundle_registry::remote::web::{WebAddress, WebService};
use samebundle_spec::record::{Run, RunId, RunStatus};
use samebundle_spec::{BundleName, Classify, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Site, VerbError};
use crate::metadata::{
    Destination, Ledger, MetadataError, Mlflow, OpenLineage, Place, Sent, SentState, Sink, Subject, ro_crate,
};
use crate::record::{RecordError, Runs};
use crate::secret::{self, CredentialSource, SecretValue};

/// Where runs are sent to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetadataGiven {
    /// The places: `mlflow=URL`, `openlineage=URL`, `openlineage=file:PATH`.
    pub to: Vec<Destination>,
    /// Where the token comes from that the places want; none: what the variables of their own clients say.
    pub token: Option<CredentialSource>,
}

/// Sends runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PushRunsRequest {
    /// Runs, each by its id, the beginning of it, or `last`; or names of installations. None: all runs.
    #[serde(default)]
    pub runs: Vec<String>,
    /// Where to; none: where a run was to be sent to before and is not.
    #[serde(default)]
    pub metadata: MetadataGiven,
    /// Places that the runs need not be sent to any more.
    #[serde(default)]
    pub forget: Vec<Destination>,
}

/// What was sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PushRunsReport {
    /// Each run and place, oldest first.
    pub pushed: Vec<PushedRun>,
    /// Each run and place of which nothing is remembered any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<ForgottenPlace>,
}

/// A place that a run need not be sent to any more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ForgottenPlace {
    /// The run.
    pub run: RunId,
    /// The place.
    pub to: Destination,
}

/// A run that was sent to a place.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PushedRun {
    /// The run.
    pub run: RunId,
    /// The place.
    pub to: Destination,
    /// What was sent; absent if it failed.
    #[serde(flatten)]
    pub sent: Option<Sent>,
    /// Why it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The kind of that failure.
    #[serde(skip)]
    pub kind: Option<ErrorKind>,
}

impl PushedRun {
    fn new(run: &Run, to: Destination, sent: Result<Sent, VerbError>) -> Self {
        Self {
            run: run.id.clone(),
            to,
            failed: sent.as_ref().err().map(whole),
            kind: sent.as_ref().err().map(Classify::kind),
            sent: sent.ok(),
        }
    }
}

/// Writes a run as an RO-Crate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrateRequest {
    /// The run: its id, the beginning of it, or `last`.
    pub run: String,
    /// The folder to write to.
    pub to: PathBuf,
}

/// The crate that was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CrateReport {
    /// The run.
    pub run: RunId,
    /// The folder.
    pub folder: String,
    /// What is not in it, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// Sends runs to the places that are named, or completes what could not be sent before. A place that fails keeps no run
/// from another place: each failure is in the report. Where only one thing was to be sent, its failure is the error.
///
/// # Errors
/// If a text names no run, a run that was named goes on, a place may not be contacted as things are set up, or the sending
/// is interrupted.
pub async fn runs_push(site: &Site, request: PushRunsRequest) -> Result<PushRunsReport, VerbError> {
    if request.forget.is_empty() {
        allowed(site, &request.metadata)?;
    }
    let chosen = chosen(site, &request.runs)?;
    let forgotten = forget(site, &chosen, &request.forget)?;
    let mut report = PushRunsReport {
        pushed: Vec::new(),
        forgotten,
    };
    if !request.forget.is_empty() {
        return Ok(report);
    }
    let mut waiting = Vec::new();
    for run in &chosen {
        let to = places(site, run, &request.metadata)?;
        waiting.extend(to.into_iter().map(|to| (run, to)));
    }
    let only_one = waiting.len() == 1;
    let mut sinks = Sinks::new(site, request.metadata.token.as_ref());
    for (run, to) in waiting {
        let sent = sinks.send(run, &to).await;
        let sent = match sent {
            Err(error) if only_one || error.kind() == ErrorKind::Interrupted => return Err(error),
            sent => sent,
        };
        report.pushed.push(PushedRun::new(run, to, sent));
    }
    Ok(report)
}

/// The places that a run is sent to: those that are given, or those where it should be and is not.
fn places(site: &Site, run: &Run, given: &MetadataGiven) -> Result<Vec<Destination>, VerbError> {
    if !given.to.is_empty() {
        return Ok(given.to.clone());
    }
    let ledger = Ledger::read(&Runs::new(site.home()).folder(&run.id))?;
    let waiting = ledger.destinations.into_iter();
    let waiting = waiting.filter(|(_, entry)| entry.complete.is_none());
    Ok(waiting.map(|(to, _)| to).collect())
}

/// Drops what is remembered of runs that could not be sent to these places.
fn forget(site: &Site, runs: &[Run], places: &[Destination]) -> Result<Vec<ForgottenPlace>, VerbError> {
    let mut forgotten = Vec::new();
    for run in runs {
        let folder = Runs::new(site.home()).folder(&run.id);
        for to in places {
            if Ledger::forget(&folder, to)? {
                forgotten.push(ForgottenPlace {
                    run: run.id.clone(),
                    to: to.clone(),
                });
            }
        }
    }
    Ok(forgotten)
}

/// Fails if a place may not be contacted as things are set up, before anything is done for its sake or remembered of it.
///
/// # Errors
/// If an address is one of plain http elsewhere than on this machine.
pub(super) fn allowed(site: &Site, metadata: &MetadataGiven) -> Result<(), VerbError> {
    for to in metadata.to.iter().filter(|_| !site.context.offline) {
        match to {
            Destination::Mlflow(address) => drop(service(site, to, MLFLOW, address, None)?),
            Destination::OpenLineage(Place::Service(address)) => {
                drop(service(site, to, OPENLINEAGE, address, None)?);
            }
            Destination::OpenLineage(Place::File(_)) => {}
        }
    }
    Ok(())
}

/// Asks a person for the token, if it is to be asked for, so that the answer is there when the run has ended.
pub(super) async fn ask(site: &Site, metadata: &MetadataGiven) -> Result<(), VerbError> {
    if let Some(source @ CredentialSource::Prompt) = &metadata.token {
        secret::read("metadata", "the token", source, false, site.answers()).await?;
    }
    Ok(())
}

const MLFLOW: &str = "MLflow";
const OPENLINEAGE: &str = "OpenLineage";

/// Sends a run that has just ended. A failure is no error of the run: it is noted, and `runs push` makes it good.
pub(super) async fn send_ended(site: &Site, run: &Run, metadata: &MetadataGiven) -> Vec<PushedRun> {
    let mut pushed = Vec::new();
    if run.status.is_open() {
        return pushed;
    }
    let mut sinks = Sinks::new(site, metadata.token.as_ref());
    for to in &metadata.to {
        let one = PushedRun::new(run, to.clone(), sinks.send(run, to).await);
        if let Some(why) = &one.failed {
            site.notice(format!(
                "run {} is recorded and was not sent to {to}: {why}; `runs push` sends it",
                run.id
            ));
        }
        pushed.push(one);
    }
    pushed
}

/// Writes a run as a folder that describes itself.
///
/// # Errors
/// If there is no such run, it goes on, or a file cannot be read or written.
pub fn runs_crate(site: &Site, request: &CrateRequest) -> Result<CrateReport, VerbError> {
    let runs = Runs::new(site.home());
    let run = runs.get(&runs.find_id(&request.run)?)?;
    if run.status == RunStatus::Running {
        return Err(goes_on(&run).into());
    }
    let subject = subject(site, &run);
    let left = ro_crate::write(&subject, &request.to)?;
    Ok(CrateReport {
        run: run.id,
        folder: request.to.display().to_string(),
        left,
    })
}

/// The runs that texts name, oldest first, each once. Runs that go on are left out unless they are named by their ids.
fn chosen(site: &Site, texts: &[String]) -> Result<Vec<Run>, VerbError> {
    let runs = Runs::new(site.home());
    let mut all = runs.list(None)?;
    all.reverse();
    if texts.is_empty() {
        all.retain(|run| !run.status.is_open());
        return Ok(all);
    }
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    for text in texts {
        let name = text.parse::<BundleName>().ok();
        match name.filter(|name| text != "last" && all.iter().any(|run| run.installation == *name)) {
            Some(name) => names.push(name),
            None => match runs.find_id(text) {
                Err(RecordError::NoRun { near, .. }) if text != "last" => {
                    let text = text.clone();
                    return Err(VerbError::NothingOf { text, near });
                }
                id => ids.push(id?),
            },
        }
    }
    let going = all
        .iter()
        .find(|run| run.status.is_open() && ids.contains(&run.id));
    if let Some(run) = going {
        return Err(goes_on(run).into());
    }
    all.retain(|run| {
        let named = names.contains(&run.installation) && !run.status.is_open();
        named || ids.contains(&run.id)
    });
    Ok(all)
}

fn goes_on(run: &Run) -> MetadataError {
    MetadataError::GoesOn {
        run: run.id.to_string(),
    }
}

/// The sinks of one command, each made when it is first needed: a person is asked for a token once.
struct Sinks<'a> {
    site: &'a Site,
    token: Option<&'a CredentialSource>,
    made: BTreeMap<Destination, Arc<dyn Sink>>,
    /// The places that cannot be reached, and why: each is waited for once.
    away: BTreeMap<Destination, String>,
}

impl<'a> Sinks<'a> {
    fn new(site: &'a Site, token: Option<&'a CredentialSource>) -> Self {
        Self {
            site,
            token,
            made: BTreeMap::new(),
            away: BTreeMap::new(),
        }
    }

    async fn sink(&mut self, to: &Destination) -> Result<Arc<dyn Sink>, VerbError> {
        if let Some(made) = self.made.get(to) {
            return Ok(Arc::clone(made));
        }
        let made = sink(self.site, to, self.token).await?;
        self.made.insert(to.clone(), Arc::clone(&made));
        Ok(made)
    }

    /// Sends one run to one place, unless another one has just shown that the place is away.
    async fn try_to_send(&mut self, subject: &Subject, to: &Destination) -> Result<Sent, VerbError> {
        if let Some(why) = self.away.get(to) {
            return Err(MetadataError::Away { why: why.clone() }.into());
        }
        let sent = match self.sink(to).await {
            Ok(sink) => sink.send(subject).await.map_err(VerbError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = &sent
            && matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Unavailable)
        {
            self.away.insert(to.clone(), whole(error));
        }
        sent
    }

    /// Sends one run to one place, and remembers how it went.
    async fn send(&mut self, run: &Run, to: &Destination) -> Result<Sent, VerbError> {
        let site = self.site;
        site.step(format!("send what {to} lacks of run {}", run.id));
        let subject = subject(site, run);
        // Two processes must not both find that a run is not there.
        let lock = site.home().lock("metadata").await;
        let _lock = lock.map_err(VerbError::io("lock", site.home().root()))?;
        let sent = self.try_to_send(&subject, to).await;
        let now = site.now();
        let noted = Ledger::note(&subject.folder, to, |entry| match &sent {
            Ok(_) => {
                entry.complete = Some(now);
                entry.failed = None;
            }
            Err(error) => {
                entry.complete = None;
                entry.failed = Some(whole(error));
            }
        });
        let sent = sent?;
        noted?;
        match sent.left.as_slice() {
            [first, more @ ..] if sent.state != SentState::Already => {
                let more = match more.len() {
                    0 => String::new(),
                    count => format!(", and {count} more; --output json lists them"),
                };
                site.notice(format!("run {}: {first}{more}", run.id));
            }
            _ => {}
        }
        Ok(sent)
    }
}

/// An error with its causes in one line.
fn whole(error: &VerbError) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        text.push_str(&format!(": {source}"));
        cause = source;
    }
    text
}

fn subject(site: &Site, run: &Run) -> Subject {
    let user = site.answers().variable("USER");
    let user = user.and_then(|user| String::from_utf8(user).ok());
    Subject {
        run: run.clone(),
        folder: Runs::new(site.home()).folder(&run.id),
        scratch: site.home().scratch(),
        // Somebody else ran what was imported.
        user: user.filter(|user| run.imported_with.is_none() && !user.is_empty()),
        cancel: site.context.cancel.clone(),
    }
}

/// The sink of a place.
async fn sink(
    site: &Site,
    to: &Destination,
    token: Option<&CredentialSource>,
) -> Result<Arc<dyn Sink>, VerbError> {
    match to {
        Destination::Mlflow(address) => {
            let names = [
                "MLFLOW_TRACKING_TOKEN",
                "MLFLOW_TRACKING_USERNAME",
                "MLFLOW_TRACKING_PASSWORD",
            ];
            let authorization = authorization(site, token, names).await?;
            let service = service(site, to, MLFLOW, address, authorization.as_ref())?;
            Ok(Arc::new(Mlflow::new(service)))
        }
        Destination::OpenLineage(Place::Service(address)) => {
            let authorization = authorization(site, token, ["OPENLINEAGE_API_KEY", "", ""]).await?;
            let service = service(site, to, OPENLINEAGE, address, authorization.as_ref())?;
            Ok(Arc::new(OpenLineage::new(to.clone(), Some(service))))
        }
        Destination::OpenLineage(Place::File(_)) => Ok(Arc::new(OpenLineage::new(to.clone(), None))),
    }
}

fn service(
    site: &Site,
    to: &Destination,
    what: &str,
    address: &WebAddress,
    authorization: Option<&Zeroizing<String>>,
) -> Result<WebService, VerbError> {
    if site.context.offline {
        let destination = to.to_string();
        return Err(MetadataError::Offline { destination }.into());
    }
    let service = WebService::new(site.web_config(), what, address.clone(), authorization);
    Ok(service.map_err(MetadataError::Client)?)
}

/// What stands in the header `Authorization`: the token of a source, or what the variables say that the place's own client
/// reads: a token, or a name and a password.
async fn authorization(
    site: &Site,
    token: Option<&CredentialSource>,
    [token_name, user, password]: [&str; 3],
) -> Result<Option<Zeroizing<String>>, VerbError> {
    let bearer = |token: &[u8]| {
        let token = String::from_utf8_lossy(token);
        Zeroizing::new(format!("Bearer {}", token.trim()))
    };
    let variable = |name: &str| {
        let value = site.answers().variable(name).filter(|_| !name.is_empty());
        value.filter(|value| !value.is_empty()).map(Zeroizing::new)
    };
    if let Some(source) = token {
        let read = secret::read("metadata", "the token", source, false, site.answers()).await?;
        return match read {
            SecretValue::One(token) => Ok(Some(bearer(&Zeroizing::new(token)))),
            SecretValue::Keys(_) => Err(VerbError::Usage(
                "the token of --metadata-token is several values; name one of them".to_owned(),
            )),
        };
    }
    if let Some(token) = variable(token_name) {
        return Ok(Some(bearer(&token)));
    }
    Ok(variable(user).map(|user| {
        let mut pair = user;
        pair.push(b':');
        pair.extend(variable(password).iter().flat_map(|password| password.iter()));
        Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)))
    }))
}
