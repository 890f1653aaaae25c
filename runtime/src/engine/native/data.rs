//! The data that a bundle carries, as files that tasks read.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use samebundle_registry::store::Source;
use samebundle_spec::bundle::program::CarriedData;
use samebundle_spec::{Descriptor, Digest, Digester, limits};

use super::{ProgramError, unpacked};
use crate::context::Context;
use crate::driver::{Content, Input};

/// The folder of data in containers.
const TARGET: &str = "/samebundle/data";

/// A file of data, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// The file on this machine.
    pub(crate) path: PathBuf,
    /// The address that it stands for.
    uri: Option<String>,
    input: Input,
}

impl Data {
    /// Unpacks data once, below the home's layers, into a folder named by the layer's digest and the data's name.
    ///
    /// # Errors
    /// If the layer cannot be read, or is not what its digest or the bundle says.
    pub(crate) async fn unpack(
        source: &dyn Source,
        carried: &CarriedData,
        layer: &Descriptor,
        context: &Context,
    ) -> Result<Self, ProgramError> {
        let name = carried.name.to_string();
        let folder = context.home.layers().join("data");
        let folder = folder.join(format!("{}.{name}", layer.digest.hex()));
        let wanted = carried.clone();
        let fill = move |plain: &mut dyn Read, folder: &Path| fill(plain, &wanted, folder);
        let step = (format!("unpack the data {name}"), &*context.events);
        let unpacked = unpacked::once(source, layer, folder.clone(), step, fill).await;
        unpacked.map_err(|source| ProgramError::Data {
            name: name.clone(),
            source,
        })?;
        Ok(Self {
            path: folder.join(&name),
            uri: carried.uri.clone(),
            input: Input {
                target: format!("{TARGET}/{name}/{name}"),
                content: Content::Artifact {
                    digest: carried.digest,
                    size: carried.size,
                },
            },
        })
    }

    /// Returns what a task can see of it: where it is, and its digest.
    pub(super) fn identity(&self) -> (&str, Option<Digest>) {
        match self.input.content {
            Content::Artifact { digest, .. } => (&self.input.target, Some(digest)),
            _ => (&self.input.target, None),
        }
    }

    /// Tells whether it stands for what is at an address, or is at this path in containers.
    pub(super) fn is_at(&self, address: &str) -> bool {
        self.uri.as_deref() == Some(address) || self.input.target == address
    }

    /// Returns the input for a task and its path on this machine.
    pub(super) fn to_input(&self) -> (Input, PathBuf) {
        (self.input.clone(), self.path.clone())
    }
}

fn fill(plain: &mut dyn Read, carried: &CarriedData, folder: &Path) -> io::Result<()> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut file = std::fs::File::create_new(folder.join(carried.name.as_str()))?;
    let mut digester = Digester::new(carried.digest.algorithm());
    let mut buffer = vec![0; limits::STREAM_BUFFER];
    let mut size = 0;
    loop {
        let count = plain.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > carried.size {
            return Err(wrong(format!("it unpacks to more than {} bytes", carried.size)));
        }
        digester.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
    }
    let found = digester.finish();
    if size != carried.size || found != carried.digest {
        let wanted = format!("{} bytes of digest {}", carried.size, carried.digest);
        return Err(wrong(format!(
            "it has {size} bytes of digest {found}, not {wanted}"
        )));
    }
    file.sync_all()
}
