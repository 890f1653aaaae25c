//! `install`, and what it shares with `create` and `upgrade`.

use clap::Args;
use samebundle_runtime::verbs::{self, InstallReport, InstallRequest, Location, Wanted};
use samebundle_spec::record::{Installation, Verification};
use samebundle_spec::{BundleName, Version};

use crate::args::{Consent, CredentialOptions, Environment, Params};
use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The bundle
    #[arg(value_name = "BUNDLE", value_parser = values::location())]
    from: Location,
    #[command(flatten)]
    options: InstallOptions,
}

#[derive(Debug, Args)]
pub(crate) struct InstallOptions {
    /// Name of the installation [default: the bundle's name]
    #[arg(short, long, value_parser = BundleName::as_written)]
    name: Option<BundleName>,
    #[command(flatten)]
    params: Params,
    #[command(flatten)]
    credentials: CredentialOptions,
    #[command(flatten)]
    environment: Environment,
    #[command(flatten)]
    consent: Consent,
}

impl Install {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        self.options.install(session, self.from, None).await
    }
}

impl InstallOptions {
    /// Installs the bundle at a location.
    ///
    /// # Errors
    /// The error of the verb.
    pub(super) async fn install(
        self,
        session: &Session,
        from: Location,
        wanted: Option<Wanted>,
    ) -> Result<Report, CliError> {
        let request = InstallRequest {
            from: session.location(from),
            wanted,
            name: self.name,
            parameters: self.params.given(session)?,
            credentials: self.credentials.given(session)?,
            environment: self.environment.env,
            consent: self.consent.into(),
        };
        let report = verbs::install(&session.site, request).await?;
        Ok(Report::new(text(session.program(), &report), &report))
    }
}

/// What was installed, in words.
pub(super) fn text(program: &str, report: &InstallReport) -> String {
    changed(program, report, "upgraded")
}

/// The same, with the word for what was done to an installation that was there.
pub(super) fn changed(program: &str, report: &InstallReport, did: &str) -> String {
    let one = &report.installation;
    let (name, now) = (&one.name, one.known_version());
    let (version, by) = (with_digest(one), trusted_by(&one.verification));
    let text = match &report.replaced {
        _ if report.unchanged => format!("nothing changed: {name} has {version} already, trusted by {by}"),
        Some(before) if before.to_string() != now => {
            let lower = now.parse().is_ok_and(|now: Version| now < *before);
            let did = if lower && did == "upgraded" {
                "downgraded"
            } else {
                did
            };
            format!("{did} {name} from {before} to {version}, trusted by {by}")
        }
        _ => format!("installed {name} {version}, trusted by {by}"),
    };
    match report.runs {
        true => format!("{text}\nrun it with: {program} run {}", one.name),
        false => text,
    }
}

/// The version by which an installation is known, that of its bundle if it is another, and the digest.
fn with_digest(one: &Installation) -> String {
    let (known, digest) = (safe(&one.known_version()), one.index.digest.short());
    match &one.exported {
        Some(_) => format!("{known} (version {} of the bundle, {digest})", safe(&one.version)),
        None => format!("{known} ({digest})"),
    }
}

/// Returns in a few words why a bundle is trusted.
pub(super) fn trusted_by(verification: &Verification) -> String {
    match verification {
        Verification::Signature { keys, .. } => format!("key {}", keys.join(", ")),
        Verification::Consent { reason } => format!("consent ({})", safe(reason)),
    }
}
