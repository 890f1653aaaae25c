//! Sandbox, peers and services for the end-to-end tests.
//!
//! A test gets a [`Sandbox`] (a folder of its own, thrown away), homes in it, and calls the built command there as a person
//! would: nothing of the caller's environment or home is seen. A test that lacks something on this machine is shown
//! as ignored, with the reason ([`skip`]). Services that a test starts ([`Registry`], [`DockerEngine`]) end with it;
//! the [`Cluster`] that tests share ends with the process.

mod cluster;
mod docker;
mod fixture;
mod harness;
mod meter;
mod mlflow;
pub mod power;
mod registry;
mod sandbox;
mod skip;
pub mod strace;
mod tool;
mod tree;

pub use cluster::{Cluster, Gpus, Namespace, Turn, kubectl, wait_for};
pub use docker::DockerEngine;
pub use fixture::{Greet, digits, greet};
pub use harness::{Skipped, Test, run};
pub use meter::Meter;
pub use mlflow::MlflowServer;
pub use registry::Registry;
pub use sandbox::{Home, Ran, Running, Sandbox, command_under_test, is_root};
pub use skip::{skip, tell};
pub use tool::{cache, full, image, judges, kfp, peer, repository, vectors};
pub use tree::{copy_tree, tree_digest};
