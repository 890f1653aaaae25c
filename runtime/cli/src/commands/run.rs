//! `run` and `plan`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use clap::ArgMatches;
use samebundle_registry::store::Layout;
use samebundle_runtime::lifecycle::{self, Machine, Plan};
use samebundle_runtime::opened::OpenedBundle;
use samebundle_runtime::record::Installations;
use samebundle_spec::bundle::View;
use samebundle_spec::limits;
use samebundle_spec::record::{Run, RunStatus};
use serde_json::{Value, json};

use super::{history, install};
use crate::args::RunArgs;
use crate::error::CliError;
use crate::flags;
use crate::render::{Report, safe, table::table};
use crate::session::Session;

/// Everything that a plan is made of.
struct Planned {
    store: Layout,
    machine: Machine,
    plan: Plan,
}

async fn prepare(session: &Session, args: &RunArgs, matches: &ArgMatches) -> Result<Planned, CliError> {
    let installation = Installations::new(&session.home).get(&args.name)?;
    let store = session.store().await?;
    let verified = install::still_verified(session, &store, &installation).await?;
    let bundle = OpenedBundle::open(&store, &installation.index).await?;
    let given = given(session, args, matches, bundle.bundle.view())?;
    let machine = session.machine(&store, args.env.as_deref()).await?;
    let plan = lifecycle::plan(
        &verified,
        bundle,
        &installation,
        &args.action,
        &given,
        &machine.capacity,
    )?;
    Ok(Planned { store, machine, plan })
}

/// Parameters of a run: a file, then `-p`, then flags; the later wins.
fn given(
    session: &Session,
    args: &RunArgs,
    matches: &ArgMatches,
    view: &View,
) -> Result<BTreeMap<String, Value>, CliError> {
    let mut values = match &args.params_file {
        Some(file) => from_file(&session.settings.current_dir.join(file))?,
        None => BTreeMap::new(),
    };
    let mut texts = BTreeMap::new();
    for text in &args.params {
        let (name, value) = flags::assignment(text)?;
        texts.insert(name, value);
    }
    if let Some((_, matches)) = matches.subcommand() {
        texts.extend(flags::given(matches));
    }
    values.extend(flags::typed(texts, view)?);
    Ok(values)
}

/// JSON is YAML, so one reader does for both.
fn from_file(path: &std::path::Path) -> Result<BTreeMap<String, Value>, CliError> {
    let bytes = std::fs::read(path).map_err(CliError::io("read", path))?;
    let parsed = samebundle_spec::yaml::from_slice(&bytes, limits::PARAMETER_BYTES);
    parsed.map_err(|error| CliError::Usage(format!("{} is no map of parameters: {error}", path.display())))
}

/// Says what would happen.
pub(crate) async fn plan(
    session: &Session,
    args: &RunArgs,
    matches: &ArgMatches,
) -> Result<Report, CliError> {
    let Planned { machine, plan, .. } = prepare(session, args, matches).await?;
    if !plan.shortfalls.is_empty() {
        return Err(lifecycle::LifecycleError::Shortfalls(plan.shortfalls).into());
    }
    let view = plan.bundle.bundle.view();
    let mut text = format!(
        "would run {} of {} {} with the {} driver\n",
        plan.action,
        safe(&view.name),
        view.version,
        machine.driver.name()
    );
    for (name, parameter) in &plan.parameters {
        let value = parameter
            .value
            .as_ref()
            .map_or_else(|| "***".to_owned(), ToString::to_string);
        writeln!(text, "  {} = {} ({})", safe(name), safe(&value), parameter.set_by)?;
    }
    let json = json!({
        "action": plan.action, "bundle": view.name, "version": view.version, "driver": machine.driver.name(),
        "parameters": plan.parameters, "shortfalls": [],
    });
    Ok(Report::new(text.trim_end(), json))
}

/// Runs an installed program.
pub(crate) async fn run(session: &Session, args: &RunArgs, matches: &ArgMatches) -> Result<Report, CliError> {
    let Planned { store, machine, plan } = prepare(session, args, matches).await?;
    let program = session.settings.program.clone();
    let run = lifecycle::run(&session.context, Arc::new(store), machine.driver, plan).await?;
    let report = report(&program, &run)?;
    match run.status {
        RunStatus::Succeeded => Ok(report),
        RunStatus::Cancelled => Err(CliError::Interrupted(format!(
            "run {} was interrupted; it is recorded",
            run.id
        ))),
        _ => {
            let message = run
                .message
                .clone()
                .unwrap_or_else(|| "the program failed".to_owned());
            Err(CliError::Failed {
                report: Box::new(report),
                message: failure(&program, &run, &message),
            })
        }
    }
}

fn failure(program: &str, run: &Run, message: &str) -> String {
    format!(
        "run {} failed: {message}; `{program} logs {}` shows what its tasks printed",
        run.id, run.id
    )
}

fn report(program: &str, run: &Run) -> Result<Report, CliError> {
    let mut text = format!(
        "run {} {} with the {} driver\n",
        run.id,
        run.status.word(),
        run.driver
    );
    let rows: Vec<Vec<String>> = run
        .outputs
        .iter()
        .flat_map(|(name, output)| history::output_rows(name, output))
        .collect();
    if !rows.is_empty() {
        writeln!(text, "{}", table(&["output", "value", "size"], &rows))?;
        write!(
            text,
            "write them to a folder with: {program} outputs {} --to DIR",
            run.id
        )?;
    }
    let json = json!({
        "run": run.id, "status": run.status, "driver": run.driver, "outputs": history::outputs_json(run),
    });
    Ok(Report::new(text.trim_end(), json))
}
