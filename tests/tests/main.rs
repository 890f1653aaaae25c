//! The project as a whole, judged from outside: its shape, and its command run as a person runs it.
//!
//! One binary, so that it links once and its modules share what they build.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is a test; clippy's leave for tests does not reach the functions that tests share"
)]

mod approvals;
mod bench;
mod budget;
mod clients;
mod cluster;
mod cnab;
mod comparing;
mod concurrency;
mod conformance;
mod corpus;
mod cosign;
mod crash;
mod debugging;
mod delta;
mod detached;
mod disks;
mod dist;
mod docker;
mod faults;
mod flow;
mod gap;
mod layering;
mod lifecycle;
mod metadata;
mod named;
mod notebooks;
mod outside;
mod pages;
mod places;
mod powercut;
mod projects;
mod readme;
mod registries;
mod released;
mod reports;
mod results;
mod reuse;
mod rootless;
mod runs;
mod scenarios;
mod secrets;
mod services;
mod serving;
mod signatures;
mod site;
mod sources;
mod tamper;
mod transfer;
mod upkeep;

fn main() -> std::process::ExitCode {
    samebundle_tests::run(&[
        approvals::TESTS,
        bench::TESTS,
        budget::TESTS,
        clients::TESTS,
        cluster::TESTS,
        cnab::TESTS,
        comparing::TESTS,
        concurrency::TESTS,
        conformance::TESTS,
        corpus::TESTS,
        cosign::TESTS,
        crash::TESTS,
        debugging::TESTS,
        delta::TESTS,
        detached::TESTS,
        disks::TESTS,
        dist::TESTS,
        dist::debian::TESTS,
        dist::tampering::TESTS,
        docker::TESTS,
        faults::TESTS,
        flow::TESTS,
        gap::TESTS,
        layering::TESTS,
        metadata::TESTS,
        lifecycle::TESTS,
        named::TESTS,
        notebooks::TESTS,
        outside::TESTS,
        pages::TESTS,
        places::TESTS,
        powercut::TESTS,
        projects::TESTS,
        readme::TESTS,
        registries::TESTS,
        released::TESTS,
        reports::TESTS,
        results::TESTS,
        reuse::TESTS,
        rootless::TESTS,
        runs::TESTS,
        secrets::TESTS,
        services::TESTS,
        serving::TESTS,
        signatures::TESTS,
        site::TESTS,
        sources::TESTS,
        tamper::TESTS,
        transfer::TESTS,
        upkeep::TESTS,
    ])
}
