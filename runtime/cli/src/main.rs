//! Entry point.

mod args;
mod place;
mod render;
mod seed;
mod settings;

fn main() {}
