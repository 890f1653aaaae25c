//! History on disk: installations, and runs with their logs.

mod error;
mod find;
mod follow;
mod forms;
mod holder;
mod installations;
mod lines;
mod log;
mod mask;
mod noise;
mod runs;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::RecordError;
pub(crate) use error::did_you_mean;
pub use follow::{Cursor, Follow, FollowLog};
pub use holder::Holder;
pub use installations::Installations;
pub use lines::RunEvents;
pub use log::RunLog;
pub(crate) use log::TaskLines;
pub use mask::Mask;
pub(crate) use noise::OfTask as NoiseOfTask;
pub use noise::{Noise, own_part};
pub use runs::{Held, Runs};
pub(crate) use runs::{RECORD, RUN_OUTPUTS, write_run};
pub use samebundle_spec::record::LogLine;
