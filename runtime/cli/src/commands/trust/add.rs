//! `trust add`.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use samebundle_runtime::verbs::{
    self, AddOfferedKeyRequest, AddTrustReport, AddTrustRequest, Location, OfferedKey, OfferedKeysReport,
    OfferedKeysRequest,
};
use samebundle_spec::BundleName;
use samebundle_spec::signing::{KeyId, Scope};

use crate::error::CliError;
use crate::render::{Report, safe};
use crate::session::Session;
use crate::values;

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name to know the key by
    #[arg(value_parser = BundleName::as_written)]
    name: BundleName,
    /// The public key: PEM, OpenSSH or minisign
    #[arg(required_unless_present = "from")]
    file: Option<PathBuf>,
    /// Take the key that travels with the signature of this bundle, after its fingerprint was shown and confirmed
    #[arg(long, value_name = "BUNDLE", value_parser = values::location(), conflicts_with = "file")]
    from: Option<Location>,
    /// Confirm the key with this fingerprint, all 64 digits of it, without being asked
    #[arg(long, value_name = "FINGERPRINT", requires = "from")]
    yes: Option<KeyId>,
    /// Registry or repository that the key may sign for, e.g. registry.example/team [default: everything; with --from the
    /// bundle's repository]
    #[arg(long, value_parser = values::scope)]
    scope: Option<Scope>,
}

impl Add {
    pub(crate) async fn run(self, session: &Session) -> Result<Report, CliError> {
        let scope = self.scope;
        let report = match (self.from, self.file) {
            (Some(from), _) => {
                let bundle = session.location(from);
                let id = match self.yes {
                    Some(id) => id,
                    None => confirmed(session, &bundle, &self.name, scope.as_ref()).await?,
                };
                let request = AddOfferedKeyRequest {
                    name: self.name,
                    bundle,
                    id,
                    scope,
                };
                verbs::trust_add_offered(&session.site, request).await?
            }
            (None, Some(file)) => {
                let request = AddTrustRequest {
                    name: self.name,
                    file: session.at(&file),
                    scope,
                };
                verbs::trust_add(&session.site, request)?
            }
            (None, None) => return Err(CliError::Usage("name the file of a public key".to_owned())),
        };
        Ok(Report::new(text(&report), &report))
    }
}

fn text(report: &AddTrustReport) -> String {
    format!(
        "key {} is trusted for {}\nfingerprint {}",
        report.key, report.scope, report.id
    )
}

/// Shows the keys of a bundle, and asks whether the one that nobody here trusts is to be trusted.
async fn confirmed(
    session: &Session,
    bundle: &Location,
    name: &BundleName,
    scope: Option<&Scope>,
) -> Result<KeyId, CliError> {
    let bundle = bundle.clone();
    let offered = verbs::offered_keys(&session.site, &OfferedKeysRequest { bundle }).await?;
    let shown = described(&offered)?;
    let new: Vec<_> = offered
        .keys
        .iter()
        .filter(|key| key.trusted_as.is_none())
        .collect();
    let only = match (new.as_slice(), offered.keys.as_slice()) {
        ([only], _) => *only,
        ([], [known]) => return Ok(known.id),
        _ => {
            return Err(CliError::Usage(format!(
                "{shown}\nname the key with --yes FINGERPRINT"
            )));
        }
    };
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "{shown}\nthere is no terminal to ask whether it is to be trusted: compare the fingerprint with what the publisher \
             says, and give it with --yes {}",
            only.id
        )));
    }
    let scope = scope.unwrap_or(&offered.scope);
    match asked(&shown, name, scope)? {
        true => Ok(only.id),
        false => Err(CliError::Interrupted(
            "the key is not trusted; nothing was changed".to_owned(),
        )),
    }
}

fn described(offered: &OfferedKeysReport) -> Result<String, CliError> {
    let mut text = String::new();
    for key in &offered.keys {
        let OfferedKey { id, release, .. } = key;
        let (name, version) = (&release.name, safe(&release.version.to_string()));
        writeln!(text, "fingerprint {id} ({})", key.algorithm.word())?;
        writeln!(text, "  signed {name} {version} at {}", release.issued)?;
        if let Some(known) = &key.trusted_as {
            writeln!(text, "  is trusted here as {known}")?;
        }
    }
    Ok(text.trim_end().to_owned())
}

fn asked(shown: &str, name: &BundleName, scope: &Scope) -> Result<bool, CliError> {
    let failed = |error| CliError::io("read", Path::new("the terminal"))(error);
    let question = format!(
        "{shown}\nnothing here says whose key this is: compare the fingerprint with what the publisher says.\n\
         Trust it as {name} for {scope}? [y/N] "
    );
    write!(io::stderr(), "{question}").map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
