//! `trust`, `sign`, `verify`: who may sign what, signing, and finding out who did.

use std::fmt::Write;
use std::time::Duration;

use samebundle_registry::store::Layout;
use samebundle_registry::trust::{self, Basis, Verified, keys};
use samebundle_runtime::opened::OpenedBundle;
use samebundle_spec::signing::{Policy, Predicate, Release, Scope, Statement};
use samebundle_spec::{Descriptor, Repository};
use serde_json::{Value, json};

use super::{key, opened, receipt};
use crate::args;
use crate::error::CliError;
use crate::place::Place;
use crate::render::{Report, table::table};
use crate::session::Session;

/// Trusts a public key.
pub(crate) fn add(session: &Session, args: &args::TrustAdd) -> Result<Report, CliError> {
    let file = session.settings.current_dir.join(&args.file);
    let public = keys::load_public(&file)?;
    let scope = match &args.scope {
        Some(scope) => scope
            .parse()
            .map_err(|error: samebundle_spec::signing::ScopeError| CliError::Usage(error.to_string()))?,
        None => Scope::ANY,
    };
    session.trust()?.add(&args.name, &public, &scope)?;
    let id = public.id();
    let text = format!("key {} ({}) is trusted for {scope}", args.name, id.short());
    Ok(Report::new(
        text,
        json!({"key": args.name, "id": id.to_string(), "scope": scope.to_string()}),
    ))
}

/// Stops trusting a key.
pub(crate) fn remove(session: &Session, args: &args::TrustRemove) -> Result<Report, CliError> {
    session.trust()?.remove(&args.name)?;
    Ok(Report::new(
        format!("key {} is no longer trusted", args.name),
        json!({"key": args.name}),
    ))
}

/// Lists rules.
pub(crate) fn list(session: &Session) -> Result<Report, CliError> {
    let trust = session.trust()?;
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for (scope, rule) in trust.policy().rules() {
        for name in &rule.keys {
            let id = trust
                .keys()
                .get(name)
                .map_or_else(String::new, |key| key.id().short());
            rows.push(vec![
                scope.to_string(),
                name.to_string(),
                id,
                rule.threshold.to_string(),
            ]);
        }
        json.push(json!({"scope": scope.to_string(), "rule": rule}));
    }
    let text = match rows.is_empty() {
        true => "nobody is trusted; `trust add NAME FILE` adds a key".to_owned(),
        false => table(&["scope", "key", "id", "threshold"], &rows),
    };
    Ok(Report::new(text, json!({"rules": json})))
}

/// Says which rule decides about a bundle and what comes of it.
pub(crate) async fn explain(session: &Session, args: &args::TrustExplain) -> Result<Report, CliError> {
    let opened = opened::open(session, &args.place).await?;
    let trust = session.trust()?;
    let rule = match trust.explain(&opened.place) {
        Some((scope, rule)) => format!(
            "the rule for {scope} decides: {} of {}",
            rule.threshold,
            names(&rule.keys)
        ),
        None => format!("no rule covers {}: it is rejected", opened.place),
    };
    let consent = args::Consent {
        allow_unsigned: false,
        allow_downgrade: true,
    };
    let verdict = match opened::verify(session, &opened, &consent).await {
        Ok(verified) => describe(&verified),
        Err(error) => format!("refused: {error}"),
    };
    Ok(Report::new(
        format!("{rule}\n{verdict}"),
        json!({"rule": rule, "verdict": verdict}),
    ))
}

fn names(keys: &[samebundle_spec::BundleName]) -> String {
    keys.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Signs a bundle where it is.
pub(crate) async fn sign(session: &Session, args: &args::Sign) -> Result<Report, CliError> {
    let opened = opened::open(session, &args.place).await?;
    let bundle = OpenedBundle::open(opened.source.as_ref(), &opened.index).await?;
    let statement = statement(session, args, &opened.index, &bundle)?;
    let signing_key = key::load(session, &args.key, &args.passphrase)?;
    let (index, by) = (&opened.index, &signing_key);
    let attested = match &args.place {
        // Who may push there may attach a document there, so none of them is signed: sign in the store, then push.
        Place::Registry(reference) => {
            let remote = session.remote(&reference.repository)?;
            trust::sign(&remote, index, &statement, by).await?;
            Vec::new()
        }
        Place::Layout(dir, _) => {
            let layout = Layout::open(&session.settings.current_dir.join(dir)).await?;
            trust::sign(&layout, index, &statement, by).await?;
            trust::attest::sign_documents(&layout, index, by).await?
        }
        Place::Local(_) | Place::Stored(_) => {
            let store = session.store().await?;
            trust::sign(&store, index, &statement, by).await?;
            trust::attest::sign_documents(&store, index, by).await?
        }
        Place::Archive(_) => {
            return Err(CliError::Usage(
                "an archive is not changed: sign in the store, then export".to_owned(),
            ));
        }
    };
    let release = &statement.release;
    let mut text = format!(
        "signed {} {} ({}) with key {}",
        release.name, release.version, opened.index.digest, args.key
    );
    for kind in &attested {
        write!(text, "\nattested: {}", kind.word())?;
    }
    let json = json!({
        "digest": opened.index.digest, "key": args.key, "algorithm": signing_key.algorithm().word(), "statement": release,
        "attested": attested,
    });
    Ok(Report::new(text, json))
}

fn statement(
    session: &Session,
    args: &args::Sign,
    index: &Descriptor,
    bundle: &OpenedBundle,
) -> Result<Statement, CliError> {
    let view = bundle.bundle.view();
    let unfit = |error: samebundle_spec::name::NameError| {
        CliError::Usage(format!("this bundle cannot be signed: {error}"))
    };
    let issued = session.now().whole_seconds();
    let expires = args
        .expires_in
        .map(|days| issued.after(Duration::from_secs(u64::from(days) * 86_400)));
    let repositories: Result<Vec<Repository>, CliError> =
        args.repositories.iter().map(|text| repository(text)).collect();
    Ok(Statement {
        subject: index.digest,
        release: Release {
            name: view.name.parse().map_err(unfit)?,
            version: view.version.clone(),
            sequence: args
                .sequence
                .unwrap_or_else(|| u64::try_from(issued.as_unix()).unwrap_or_default()),
            media_type: index.media_type.clone(),
            size: index.size,
            issued,
            expires,
            repositories: repositories?,
        },
    })
}

fn repository(text: &str) -> Result<Repository, CliError> {
    let (registry, path) = text.split_once('/').unwrap_or((text, ""));
    Repository::new(registry, path).map_err(|error| CliError::Usage(error.to_string()))
}

/// Verifies a bundle and says who signed it.
pub(crate) async fn verify(session: &Session, args: &args::Verify) -> Result<Report, CliError> {
    let opened = opened::open(session, &args.place).await?;
    let mut trust = session.trust()?;
    if let Some(file) = &args.policy {
        let file = session.settings.current_dir.join(file);
        let bytes = std::fs::read(&file).map_err(CliError::io("read", &file))?;
        trust = trust.with_policy(Policy::from_bytes(&bytes)?)?;
    }
    let issue = receipt::Issue::asked(session, &args.receipt, &trust)?;
    let wanted = args.predicates.iter().map(|kind| (*kind).into()).collect();
    let result = opened::verify_with(session, &opened, &args.consent, &trust, wanted).await;
    let verified = receipt::noted(session, issue.as_ref(), &opened, result)?;
    let mut text = describe(&verified);
    let mut json = as_json(&verified);
    if let Some(issue) = &issue {
        let store = session.store().await?;
        let file = issue
            .accepted(session, &opened, &verified, (opened.source.as_ref(), &store))
            .await?;
        write!(text, "\nreceipt: {}", file.display())?;
        json["receipt"] = json!(file);
    }
    if let (true, Basis::Policy { attested, .. }) = (args.show, verified.basis()) {
        for one in attested {
            write!(text, "\n{:#}", one.predicate)?;
        }
    }
    Ok(Report::new(text, json))
}

/// Says why a bundle is trusted and what the signature covers.
fn describe(verified: &Verified<Descriptor>) -> String {
    let digest = verified.get().digest;
    match verified.basis() {
        Basis::Policy {
            scope,
            signers,
            release,
            warnings,
            bare,
            attested,
            ..
        } => {
            let signers: Vec<String> = signers.iter().map(named).collect();
            let mut lines = vec![format!(
                "trusted: signed by {} (rule for {scope})",
                signers.join(", ")
            )];
            if let Some(release) = release {
                lines.push(format!(
                    "covers: {} {}, all content of {digest}",
                    release.name, release.version
                ));
                lines.push(format!(
                    "sequence {}, signed {}",
                    release.sequence, release.issued
                ));
                lines.extend(release.expires.map(|expires| format!("expires {expires}")));
            }
            lines.extend(bare.map(|form| {
                let form = form.word();
                format!("by a signature of {form} alone: it binds {digest}, but no name, version or order")
            }));
            lines.extend(attested.iter().map(|one| {
                let (kind, signer) = (one.kind.word(), named(&one.signer));
                format!("attested: {kind} by {signer}{}", summary(one))
            }));
            lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
            lines.join("\n")
        }
        Basis::Consent { reason } => {
            format!("not signed by anybody trusted; taken by consent ({reason}): {digest}")
        }
    }
}

fn named(signer: &trust::Signer) -> String {
    let name = signer.names.first();
    name.map_or_else(|| signer.id.short(), ToString::to_string)
}

/// How much an attestation says.
fn summary(attested: &trust::Attested) -> String {
    let (pointer, what) = match attested.kind {
        Predicate::Slsa => ("/buildDefinition/resolvedDependencies", "dependencies"),
        Predicate::Spdx => ("/packages", "packages"),
    };
    let list = attested.predicate.pointer(pointer).and_then(Value::as_array);
    list.map_or_else(String::new, |list| format!(", {} {what}", list.len()))
}

fn as_json(verified: &Verified<Descriptor>) -> Value {
    let (bare, attested) = match verified.basis() {
        Basis::Policy { bare, attested, .. } => (*bare, attested.as_slice()),
        Basis::Consent { .. } => (None, &[][..]),
    };
    let attested: Vec<Value> = attested
        .iter()
        .map(|one| json!({"kind": one.kind, "signer": named(&one.signer), "predicate": one.predicate}))
        .collect();
    json!({
        "digest": verified.get().digest, "verification": verified.verification(), "release": verified.release(),
        "bare": bare, "attested": attested,
    })
}
