//! The project as a whole, judged from outside: its shape, and its command run as a person runs it.
//!
//! One binary, so that it links once and its modules share what they build.

mod budget;
mod cnab;
mod concurrency;
mod cosign;
mod crash;
mod docker;
mod flow;
mod layering;
mod readme;
mod rootless;
mod services;
mod tamper;
mod transfer;
