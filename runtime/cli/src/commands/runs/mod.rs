//! `runs`: the list of runs, one run, and the removal of runs.

pub(super) mod one;
mod push;
mod remove;
mod ro_crate;

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use samebundle_runtime::Clock;
use samebundle_runtime::verbs::{self, MetricName, RunSummary, RunsReport, RunsRequest};
use samebundle_spec::record::{RunStatus, ends_with};
use samebundle_spec::{BundleName, Timestamp};

use crate::error::CliError;
use crate::render::screen::{Screen, colour_of};
use crate::render::table::{Column, shortened, table};
use crate::render::{Report, safe, size};
use crate::session::Session;
use crate::settings::SystemClock;
use crate::values::{self, Since};

/// The column of what came of runs or tasks.
pub(crate) fn status() -> Column {
    Column::whole("status").coloured(|word| values::status(word).ok().map(colour_of))
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Runs {
    /// Only runs of this installation; or one run with its tasks, metrics and outputs: its id, the beginning or end of it, or
    /// `last`
    #[arg(value_name = "NAME|RUN")]
    of: Option<String>,
    /// Only runs of this installation
    #[arg(long, value_name = "NAME")]
    program: Option<BundleName>,
    /// Only runs of which this came, several separated by commas: running, succeeded, failed, cancelled, skipped, interrupted
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = values::status)]
    status: Vec<RunStatus>,
    /// Only runs that began in this time, e.g. 2h or 7d, or since a point in time
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    since: Option<Since>,
    /// Only runs that meet this condition on a parameter, a metric or a column, e.g. 'epochs>=100'; may be given several times
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Only the newest N of those
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Sort by started, duration, status, parameters.NAME or metrics.NAME; with a - before it, the largest first
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Show these metrics, separated by commas [default: all that fit]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Of one run, show everything: all items of loops, all metrics and outputs
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Remove runs with their outputs, logs and records
    ///
    /// A run that goes on stays. What bundles need is removed by `store gc`.
    #[command(visible_alias = "rm")]
    Remove(remove::Remove),
    /// Send runs to a metadata store: an MLflow tracking server or a receiver of OpenLineage events
    ///
    /// What is there already is not sent again, so that the command may be repeated. Without --metadata it completes what
    /// could not be sent before.
    Push(push::Push),
    /// Write a run with its files as a Workflow Run RO-Crate, a folder that describes itself
    Crate(ro_crate::Crate),
}

impl Runs {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        match self.verb {
            Some(Verb::Remove(args)) => return args.run(session).await,
            Some(Verb::Push(args)) => return args.run(session).await,
            Some(Verb::Crate(args)) => return args.run(session),
            None => {}
        }
        let request = RunsRequest {
            of: self.of,
            program: self.program,
            status: self.status,
            since: self.since.map(|since| since.before(SystemClock.now())),
            conditions: self.conditions,
            last: self.last,
            sort: self.sort,
            metrics: self.metrics,
        };
        let report = verbs::runs(&session.site, &request)?;
        let text = match report.runs.as_slice() {
            [] if request == RunsRequest::default() => {
                "there are no runs yet; `run NAME` makes one".to_owned()
            }
            [] => "there are no such runs".to_owned(),
            [run] if report.tasks.is_some() => one::text(run, &report, self.all, session.screen)?,
            _ => list(&request, &report, session.screen),
        };
        Ok(Report::new(text, &report))
    }
}

/// The most characters of a metric's name on a terminal, unless the metric was asked for.
const METRIC: usize = 24;
/// How many characters of parameters are shown rather than another metric.
const PARAMETERS: usize = 24;

/// A row of the list, in the order of the columns.
type Cell = fn(&RunSummary, Screen) -> String;

fn list(request: &RunsRequest, report: &RunsReport, screen: Screen) -> String {
    let chosen = !request.metrics.is_empty();
    let of_one = request.of.is_some() || request.program.is_some();
    let mut cells: Vec<(Column, Cell)> =
        vec![(Column::whole("run"), |run, screen| screen.id(&run.short, &run.id))];
    if !of_one || screen.wide {
        let program = Column::from("program").optional();
        cells.push((program, |run, _| run.installation.to_string()));
    }
    if screen.wide {
        cells.push((Column::whole("version"), |run, _| run.version.to_string()));
        cells.push(("action".into(), |run, _| safe(&run.action)));
        cells.push(("driver".into(), |run, _| safe(&run.driver)));
    }
    cells.push((Column::whole("started").optional(), started));
    cells.push((Column::number("took").optional(), |run, _| took(run)));
    cells.push((status(), |run, _| run.status.word().to_owned()));
    if report.runs.iter().any(|run| run.imported_with.is_some()) {
        let by = Column::whole("from").optional();
        cells.push((by, |run, _| {
            run.imported_with.map_or("here", |_| "import").to_owned()
        }));
    }
    // Some metrics fewer, so that the parameters can be read.
    let parameters = Column::from("parameters").at_least(PARAMETERS);
    cells.push((parameters.optional(), |run, _| changed(run)));
    if screen.wide {
        cells.push((Column::whole("bundle"), |run, _| run.bundle_digest.to_string()));
    }
    let metrics = in_order(&report.metrics, request.sort.as_deref());
    let columns = cells.iter().map(|(column, _)| column.clone());
    let of_metrics = metrics.iter().map(|metric| {
        let name = safe(&metric.short);
        match chosen || screen.width.is_none() {
            true => Column::number(&name),
            false => Column::number(&shortened(&name, METRIC, true)).optional(),
        }
    });
    let rows = report.runs.iter().map(|run| {
        let cells = cells.iter().map(|(_, cell)| cell(run, screen));
        let numbers = metrics.iter().map(|metric| {
            let number = run.metrics.get(&metric.name).copied();
            number
                .map(|number| measured(number.0, screen))
                .unwrap_or_default()
        });
        cells.chain(numbers).collect()
    });
    table(screen, columns.chain(of_metrics), &rows.collect::<Vec<_>>())
}

/// The metric by which the list is sorted stands first, so that it is seen on a narrow screen.
fn in_order<'a>(metrics: &'a [MetricName], sort: Option<&str>) -> Vec<&'a MetricName> {
    let name = sort.map(|sort| sort.strip_prefix('-').unwrap_or(sort));
    let name = name.map(|name| name.strip_prefix("metrics.").unwrap_or(name));
    let mut metrics: Vec<&MetricName> = metrics.iter().collect();
    metrics.sort_by_key(|metric| !name.is_some_and(|name| ends_with(&metric.name, name)));
    metrics
}

pub(crate) fn measured(number: f64, screen: Screen) -> String {
    match screen.wide {
        true => number.to_string(),
        false => size::number(number),
    }
}

fn took(run: &RunSummary) -> String {
    size::duration(Duration::try_from_secs_f64(run.seconds).unwrap_or_default())
}

fn started(run: &RunSummary, screen: Screen) -> String {
    match screen.wide {
        true => run.started.whole_seconds().to_string(),
        false => ago(run.started),
    }
}

pub(crate) fn ago(time: Timestamp) -> String {
    let since = SystemClock.now().duration_since(SystemTime::from(time));
    size::ago(since.unwrap_or_default())
}

/// The parameters that were set; a secret has no value.
fn changed(run: &RunSummary) -> String {
    let values = run.changed.iter().map(|name| match run.parameters.get(name) {
        None | Some(serde_json::Value::Null) => format!("{name}=***"),
        Some(serde_json::Value::String(text)) => format!("{name}={text}"),
        Some(value) => format!("{name}={value}"),
    });
    safe(&values.collect::<Vec<_>>().join(" "))
}
