//! `plan`.

use std::fmt::Write;

use clap::{ArgMatches, Args};
use samebundle_runtime::verbs::{self, PlanReport};

use super::run::RunArgs;
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    args: RunArgs,
}

impl Plan {
    pub(crate) async fn run(self, session: &Session, matches: &ArgMatches) -> Result<Report, CliError> {
        let request = self.args.request(session, matches)?;
        let plan = match session.foreseen() {
            Some(foreseen) => verbs::plan_foreseen(&session.site, foreseen, request).await?,
            None => verbs::plan(&session.site, request).await?,
        };
        Ok(Report::new(text(&plan)?.trim_end(), &plan))
    }
}

fn text(plan: &PlanReport) -> Result<String, CliError> {
    let mut text = format!(
        "would do `{}` of {} {} with the {} driver\n",
        safe(&plan.action),
        safe(&plan.bundle),
        plan.version,
        plan.driver
    );
    for (name, parameter) in &plan.parameters {
        let value = parameter.value.as_ref();
        let value = value.map_or_else(|| "***".to_owned(), ToString::to_string);
        writeln!(
            text,
            "  {} = {} ({})",
            safe(name),
            safe(&value),
            parameter.set_by.word()
        )?;
    }
    for (name, source) in &plan.credentials {
        writeln!(text, "  {} from {}", safe(name), safe(source))?;
    }
    for (task, words) in &plan.questions {
        let colon = if words.is_empty() { "" } else { ": " };
        writeln!(
            text,
            "  stops at task {} for a person{colon}{}",
            safe(task),
            safe(words)
        )?;
    }
    Ok(text)
}
