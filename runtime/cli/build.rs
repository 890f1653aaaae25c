//! Builds `samebundle-runner`, the static program inside invocation images, so that `samebundle build` needs no file but
//! itself: the CLI includes its bytes from `OUT_DIR/samebundle-runner`.
//!
//! A nested cargo with a target directory of its own does it, in the profile `runner` whatever the outer profile is, with
//! the C library linked in. The bytes do not depend on the folder, the user or the outer build's settings: paths are
//! remapped, and every variable that could change the code is taken out of the environment. Runs again when the runner, the
//! spec or the dependencies' versions change.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Variables that a nested cargo must not inherit: they would change the code, or put clippy in the compiler's place.
const FOREIGN: [&str; 9] = [
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_INCREMENTAL",
    "CARGO_BUILD_RUSTFLAGS",
];

fn main() -> Outcome<()> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()?;
    for watched in [
        "bundles/runner/src",
        "bundles/runner/Cargo.toml",
        "spec/src",
        "spec/Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let target = static_target(&variable("TARGET")?)?;
    let built = build(&root, &out.join("runner"), &target)?;
    std::fs::copy(built, out.join("samebundle-runner"))?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by the environment"
)]
fn variable(name: &str) -> Outcome<String> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

/// The target of the runner: Linux of the CLI's own architecture, with a C library that can be linked in.
fn static_target(target: &str) -> Outcome<String> {
    match target.split_once('-') {
        Some((_, "unknown-linux-gnu" | "unknown-linux-musl")) => Ok(target.to_owned()),
        _ => Err(format!(
            "the runner inside invocation images is built for Linux; {target} is not supported"
        )
        .into()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by the environment"
)]
fn build(root: &Path, target_dir: &Path, target: &str) -> Outcome<PathBuf> {
    let cargo = variable("CARGO")?;
    let mut command = Command::new(&cargo);
    command
        .current_dir(root)
        .args([
            "build",
            "--locked",
            "--offline",
            "--package",
            "samebundle-runner",
            "--profile",
            "runner",
        ])
        .args(["--target", target, "--target-dir"])
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root)?.join("\u{1f}"));
    let profile = |name: &str| name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_FEATURE_");
    for (name, _) in env::vars().filter(|(name, _)| FOREIGN.contains(&name.as_str()) || profile(name)) {
        command.env_remove(name);
    }
    let status = command
        .status()
        .map_err(|error| format!("could not start {cargo}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "building samebundle-runner for {target} failed ({status}); its output is above"
        )
        .into());
    }
    Ok(target_dir.join(target).join("runner/samebundle-runner"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by the environment"
)]
fn flags(root: &Path) -> Outcome<Vec<String>> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let cargo_home = match env::var("CARGO_HOME") {
        Ok(home) => PathBuf::from(home),
        Err(_) => Path::new(&variable("HOME")?).join(".cargo"),
    };
    let sysroot = Command::new(variable("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    Ok(vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        // The note would hold a hash over intermediate files whose order may differ.
        "-Clink-arg=-Wl,--build-id=none".to_owned(),
        remap(Path::new(sysroot.trim()), "/rust"),
        remap(&cargo_home, "/cargo"),
        remap(root, "/samebundle"),
    ])
}
