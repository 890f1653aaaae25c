//! An installation as one file: the bundle with its signatures, and the records of chosen runs.
//!
//! The file is an OCI layout in a tar. Its tagged root is the bundle's index, unchanged, so every signature stays valid.
//! The history is an artifact beside it whose subject is the index: `installation.json`, and for each run
//! `runs/ID/{run,claim,result}.json` and `log.jsonl`. What runs produced stays a pointer: digest and size.
//!
//! An export's history is written to a scratch layout and never to the local store: a later push does not take own runs
//! along. An author who wants that says so (`history:` in `samebundle.yaml`); then the build attaches them in the store.

mod error;
mod export;
mod history;
mod import;

pub use error::PortableError;
pub use export::{ExportOptions, Exported, attach_history, export};
pub use import::{CarriedHistory, history_of, import_runs};
