//! An installation as one file: the bundle with its signatures, and the records of chosen runs.
//!
//! The file is an OCI layout in a tar. Its tagged root is the bundle's index, unchanged, so every signature stays
//! valid. The history is a referrer of the index: `installation.json`, and for each run
//! `runs/ID/{run,claim,result}.json` and `log.jsonl`. A second layer holds files that the runs left, by digest; of what
//! stays behind, the records have digest and size.
//!
//! An export's history is written to a scratch layout and never to the local store: a later push does not publish the
//! runs of this home. An author who wants that sets `history:` in `samebundle.yaml`, and the build attaches the runs in
//! the store. The history of an export that was imported stays in the store, and no push takes it along either
//! ([`travelling()`]).

mod error;
mod export;
mod history;
mod import;
mod outputs;
mod travelling;

pub use error::PortableError;
pub use export::{CarriedOutputs, ExportOptions, Exported, attach_history, export};
pub use import::{CarriedHistory, ComingRuns, TakenRuns, history_of, prepare_runs};
pub use outputs::{LeftBehind, Why};
pub use travelling::{Travelling, travelling};
