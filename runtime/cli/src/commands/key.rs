//! `key`: private keys of this home.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use samebundle_registry::trust::keys::{self, Passphrase};
use samebundle_spec::BundleName;
use samebundle_spec::signing::{self, PublicKey, Scope, SigningKey};
use serde_json::json;

use crate::args;
use crate::error::CliError;
use crate::render::{Report, table::table};
use crate::session::Session;

fn path(session: &Session, name: &BundleName) -> PathBuf {
    session.home.keys().join(format!("{name}.key"))
}

/// Makes a key pair; its owner trusts it.
pub(crate) fn generate(session: &Session, args: &args::KeyGenerate) -> Result<Report, CliError> {
    let passphrase = match args.no_passphrase {
        true => None,
        false => Some(passphrase(session, &args.passphrase, "new passphrase", true)?),
    };
    store(
        session,
        &args.name,
        &keys::generate(args.algorithm.into())?,
        passphrase.as_ref(),
    )
}

/// Takes over a private key of another tool.
pub(crate) fn import(session: &Session, args: &args::KeyImport) -> Result<Report, CliError> {
    let file = session.settings.current_dir.join(&args.file);
    let passphrase = match keys::is_encrypted(&file)? {
        true => Some(passphrase(
            session,
            &args.passphrase,
            "passphrase of the key",
            false,
        )?),
        false => None,
    };
    let key = keys::load(&file, passphrase.as_ref())?;
    store(session, &args.name, &key, passphrase.as_ref())
}

fn store(
    session: &Session,
    name: &BundleName,
    key: &SigningKey,
    passphrase: Option<&Passphrase>,
) -> Result<Report, CliError> {
    keys::save(&path(session, name), key, passphrase)?;
    session.trust()?.add(name, &key.public(), &Scope::ANY)?;
    let id = key.public().id();
    let json = json!({
        "key": name, "id": id.to_string(), "algorithm": key.algorithm().word(), "encrypted": passphrase.is_some(),
    });
    Ok(Report::new(
        format!(
            "key {name} ({}) can sign, and is trusted in this home",
            id.short()
        ),
        json,
    ))
}

/// Loads a private key, asking for its passphrase if it has one.
///
/// # Errors
/// If there is no such key, or the passphrase is wrong.
pub(crate) fn load(
    session: &Session,
    name: &BundleName,
    from: &args::Passphrase,
) -> Result<SigningKey, CliError> {
    let path = path(session, name);
    if !path.exists() {
        return Err(CliError::NoKey {
            name: name.to_string(),
        });
    }
    let passphrase = match keys::is_encrypted(&path)? {
        true => Some(passphrase(
            session,
            from,
            &format!("passphrase of key {name}"),
            false,
        )?),
        false => None,
    };
    Ok(keys::load(&path, passphrase.as_ref())?)
}

/// Tells whether a private key of this name can be used without a question to anybody.
///
/// # Errors
/// If its file cannot be read.
pub(crate) fn is_ready(
    session: &Session,
    name: &BundleName,
    from: &args::Passphrase,
) -> Result<bool, CliError> {
    let path = path(session, name);
    let told =
        from.passphrase_file.is_some() || session.settings.variable("SAMEBUNDLE_PASSPHRASE_FILE").is_some();
    Ok(path.exists() && (told || !keys::is_encrypted(&path)?))
}

/// Reads a passphrase from a file or the terminal; never from arguments or the environment.
fn passphrase(
    session: &Session,
    from: &args::Passphrase,
    prompt: &str,
    twice: bool,
) -> Result<Passphrase, CliError> {
    let file = from.passphrase_file.clone();
    let file = file.or_else(|| {
        session
            .settings
            .variable("SAMEBUNDLE_PASSPHRASE_FILE")
            .map(PathBuf::from)
    });
    let missing =
        "there is no terminal to ask for the passphrase: give --passphrase-file FILE or --no-passphrase";
    secret(session, file.as_deref(), prompt, twice, missing)
}

/// Reads a secret from a file or the terminal; `missing` is said where there is neither.
pub(super) fn secret(
    session: &Session,
    file: Option<&Path>,
    prompt: &str,
    twice: bool,
    missing: &str,
) -> Result<Passphrase, CliError> {
    if let Some(file) = file {
        let file = session.settings.current_dir.join(file);
        let text = Passphrase::new(std::fs::read_to_string(&file).map_err(CliError::io("read", &file))?);
        return Ok(Passphrase::new(text.trim_end_matches(['\n', '\r']).to_owned()));
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(missing.to_owned()));
    }
    let first = ask(prompt)?;
    if twice && *ask("the same again")? != *first {
        return Err(CliError::Usage("the two are not the same".to_owned()));
    }
    Ok(first)
}

/// Asks on the terminal without echo.
fn ask(prompt: &str) -> Result<Passphrase, CliError> {
    let terminal = |source| CliError::Io {
        operation: "read from",
        path: "the terminal".to_owned(),
        source,
    };
    write!(std::io::stderr(), "{prompt}: ").map_err(terminal)?;
    let answer = rpassword::read_password().map_err(terminal)?;
    Ok(Passphrase::new(answer))
}

/// Lists the keys that can sign.
pub(crate) fn list(session: &Session) -> Result<Report, CliError> {
    let mut rows = Vec::new();
    let folder = session.home.keys();
    let trust = session.trust()?;
    for entry in std::fs::read_dir(&folder).map_err(CliError::io("list", &folder))? {
        let path = entry.map_err(CliError::io("list", &folder))?.path();
        rows.extend(row(&path, &trust)?);
    }
    rows.sort();
    let json: Vec<_> = rows
        .iter()
        .map(|row| json!({"key": row[0], "id": row[1], "algorithm": row[2], "encrypted": row[3] == "yes"}))
        .collect();
    let text = match rows.is_empty() {
        true => "there is no key; `key generate` makes one".to_owned(),
        false => table(&["key", "id", "algorithm", "encrypted"], &rows),
    };
    Ok(Report::new(text, json!({"keys": json})))
}

fn row(path: &Path, trust: &samebundle_registry::trust::TrustStore) -> Result<Option<Vec<String>>, CliError> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_suffix(".key"));
    let Some(name) = name.and_then(|name| name.parse::<BundleName>().ok()) else {
        return Ok(None);
    };
    let public = trust.keys().get(&name);
    let id = public.map_or_else(|| "not trusted".to_owned(), |key| key.id().short());
    let algorithm = public.map_or("", |key| key.algorithm().word());
    let encrypted = if keys::is_encrypted(path)? { "yes" } else { "no" };
    Ok(Some(vec![
        name.to_string(),
        id,
        algorithm.to_owned(),
        encrypted.to_owned(),
    ]))
}

/// Prints a public key.
pub(crate) fn export(session: &Session, args: &args::KeyExport) -> Result<Report, CliError> {
    let pem = match args.certificate {
        true => certificate(session, args)?,
        false => public(session, &args.name)?.to_pem(),
    };
    match &args.file {
        Some(file) => {
            let file = session.settings.current_dir.join(file);
            std::fs::write(&file, &pem).map_err(CliError::io("write", &file))?;
            Ok(Report::new(
                format!("wrote {}", file.display()),
                json!({"file": file, "pem": pem}),
            ))
        }
        None => Ok(Report::new(pem.trim_end(), json!({"pem": pem}))),
    }
}

/// The certificate is signed by the key itself, so the secret half makes it; the same one each time.
fn certificate(session: &Session, args: &args::KeyExport) -> Result<String, CliError> {
    let key = load(session, &args.name, &args.passphrase)?;
    let der = signing::certificate::self_signed(&key).ok_or_else(|| {
        let (name, kind) = (&args.name, key.algorithm().word());
        CliError::Usage(format!(
            "key {name} is {kind}, and only p256 keys have a certificate: `key generate --algorithm p256`"
        ))
    })?;
    Ok(signing::certificate::to_pem(&der))
}

/// The public half is in the trust store since the key was made.
fn public(session: &Session, name: &BundleName) -> Result<PublicKey, CliError> {
    let trust = session.trust()?;
    let key = trust.keys().get(name).copied();
    key.ok_or_else(|| CliError::NoKey {
        name: name.to_string(),
    })
}
