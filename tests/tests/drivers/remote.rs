//! A driver of another machine, as a cluster's would be: it gets the bytes of what an operation names and hands bytes back.
//! The other machine is played by a folder of its own, with a store and an embedded driver in it, of which the engine knows
//! nothing; nothing of the engine's folders is known there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::store::{ByteStream, Memory, Sink, Source, SourceExt};
use samebundle_runtime::driver::embedded::{EmbeddedDriver, Helper};
use samebundle_runtime::driver::{
    Content, Driver, DriverError, Input, LogSink, Offers, Operation, Outcome, Output, Staging, Streams,
    parcel,
};
use samebundle_spec::{Descriptor, Digest, Manifest, limits};
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

/// Runs containers on the other machine.
#[derive(Debug)]
pub(crate) struct Remote {
    source: Arc<dyn Source>,
    machine: Machine,
    volumes: tokio::sync::Mutex<()>,
}

/// The other machine.
#[derive(Debug)]
struct Machine {
    folder: PathBuf,
    store: Arc<Memory>,
    driver: EmbeddedDriver,
}

/// Who gets what a container prints.
enum How<'a> {
    Heard(&'a dyn LogSink),
    Attended(Streams),
}

impl Remote {
    /// Sends what a container needs, runs it there, and fetches what it wrote.
    async fn around(
        &self,
        operation: &Operation,
        staging: &Staging,
        how: How<'_>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        // Two containers with the same volume would overwrite each other's changes.
        let _volumes = match operation.volumes.iter().any(|volume| volume.name.is_some()) {
            true => Some(self.volumes.lock().await),
            false => None,
        };
        let sent = async {
            self.send_image(operation, staging).await?;
            self.send_contents(operation, staging).await
        };
        let there = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Outcome::Cancelled),
            there = sent => there.map_err(failed("send the contents", operation))?,
        };
        let driver = &self.machine.driver;
        let outcome = match how {
            How::Heard(log) => driver.run(operation, &there, log, cancel).await?,
            How::Attended(streams) => driver.attend(operation, &there, streams, cancel).await?,
        };
        if outcome != Outcome::Cancelled {
            let fetched = self.fetch_outputs(operation, staging, &outcome).await;
            fetched.map_err(failed("fetch the outputs", operation))?;
        }
        let _ = std::fs::remove_dir_all(self.machine.place(operation, ""));
        Ok(outcome)
    }

    /// A driver whose machine is played in `folder`; images come from `source`.
    pub(crate) fn new(folder: &Path, source: Arc<dyn Source>, helper: Helper) -> Self {
        let store = Arc::new(Memory::new());
        let machine = Machine {
            folder: folder.join("contents"),
            driver: EmbeddedDriver::new(folder, Arc::clone(&store) as _, helper),
            store,
        };
        Self {
            source,
            machine,
            volumes: tokio::sync::Mutex::default(),
        }
    }

    /// Sends an image and more layers to the machine's store.
    async fn send_image(&self, operation: &Operation, staging: &Staging) -> Result<(), String> {
        let failed = |error: samebundle_registry::StoreError| error.to_string();
        let bytes = self
            .source
            .fetch_bytes(&operation.image, limits::MANIFEST_BYTES)
            .await;
        let manifest: Manifest =
            serde_json::from_slice(&bytes.map_err(failed)?).map_err(|error| error.to_string())?;
        let extra = operation.extra_layers.iter();
        let stored = extra.filter(|layer| staging.layer_folder(layer).is_none());
        let parts = manifest.layers.iter().chain(stored);
        let all: Vec<&Descriptor> = parts.chain([&manifest.config, &operation.image]).collect();
        for blob in all {
            let sent = self.machine.store.push_from(&blob.bare(), &*self.source).await;
            sent.map_err(failed)?;
        }
        Ok(())
    }

    /// Sends the inputs, and says where they are on the machine, and where outputs are to be.
    async fn send_contents(&self, operation: &Operation, staging: &Staging) -> Result<Staging, String> {
        let mut there = Staging::default();
        for (number, input) in operation.inputs.iter().enumerate() {
            if matches!(input.content, Content::Bytes(_) | Content::Files { .. }) {
                // They travel with the operation.
                continue;
            }
            let path = self.machine.place(operation, &format!("in-{number}"));
            let parcel = staging.send(input).map_err(|error| error.to_string())?;
            self.machine.unpack(input, parcel, &path).await?;
            there.input(input, path);
        }
        for layer in &operation.extra_layers {
            if let Some(folder) = staging.layer_folder(layer) {
                let path = self
                    .machine
                    .place(operation, &format!("layer-{}", layer.digest.hex()));
                let mut packed = Vec::new();
                parcel::pack(folder, &mut packed).map_err(|error| error.to_string())?;
                parcel::unpack(packed.as_slice(), &path).map_err(|error| error.to_string())?;
                there.layer(layer, path);
            }
        }
        for (number, output) in operation.outputs.iter().enumerate() {
            there.output(output, self.machine.place(operation, &format!("out-{number}")));
        }
        for name in operation.volumes.iter().filter_map(|volume| volume.name.as_ref()) {
            let path = self
                .machine
                .place(operation, &format!("volume-{}", name.replace('/', "-")));
            let parcel = staging.send_volume(name).map_err(|error| error.to_string())?;
            let (bridge, to) = (SyncIoBridge::new(parcel), path.clone());
            let unpacked = tokio::task::spawn_blocking(move || parcel::unpack(bridge, &to)).await;
            let unpacked = unpacked.map_err(|error| error.to_string())?;
            unpacked.map_err(|error| error.to_string())?;
            there.volume(name, path);
        }
        Ok(there)
    }

    async fn fetch_outputs(
        &self,
        operation: &Operation,
        staging: &Staging,
        outcome: &Outcome,
    ) -> Result<(), String> {
        for (number, output) in operation.outputs.iter().enumerate() {
            if *output == Output::Root && *outcome != Outcome::Succeeded {
                continue;
            }
            let path = self.machine.place(operation, &format!("out-{number}"));
            let bytes = self.machine.read(output, &path).await?;
            let stream: ByteStream = Box::pin(std::io::Cursor::new(bytes));
            let received = staging.receive(output, stream).await;
            received.map_err(|error| error.to_string())?;
        }
        for name in operation.volumes.iter().filter_map(|volume| volume.name.as_ref()) {
            let path = self
                .machine
                .place(operation, &format!("volume-{}", name.replace('/', "-")));
            let mut bytes = Vec::new();
            parcel::pack(&path, &mut bytes).map_err(|error| error.to_string())?;
            let stream: ByteStream = Box::pin(std::io::Cursor::new(bytes));
            let received = staging.receive_volume(name, stream).await;
            received.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Machine {
    fn place(&self, operation: &Operation, name: &str) -> PathBuf {
        self.folder
            .join(&operation.run_id)
            .join(&operation.name)
            .join(name)
    }

    async fn unpack(&self, input: &Input, parcel: ByteStream, path: &Path) -> Result<(), String> {
        let (bridge, to) = (SyncIoBridge::new(parcel), path.to_owned());
        let unpacked = tokio::task::spawn_blocking(move || parcel::unpack(bridge, &to)).await;
        unpacked
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        match &input.content {
            Content::Artifact { digest, .. } if path.is_file() => {
                let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
                assert_eq!(
                    *digest,
                    Digest::sha256(&bytes),
                    "what was sent is not what was named"
                );
            }
            _ => {}
        }
        Ok(())
    }

    async fn read(&self, output: &Output, path: &Path) -> Result<Vec<u8>, String> {
        let (is_folder, path) = (matches!(output, Output::Folder { .. }), path.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            if !is_folder {
                return std::fs::read(path);
            }
            let mut bytes = Vec::new();
            parcel::pack(&path, &mut bytes).map(|()| bytes)
        });
        let read = read.await.map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())
    }
}

fn failed(operation: &'static str, container: &Operation) -> impl FnOnce(String) -> DriverError {
    let container = container.name.clone();
    move |why| DriverError::Start {
        operation,
        container,
        why,
    }
}

#[async_trait]
impl Driver for Remote {
    fn name(&self) -> &'static str {
        "remote"
    }

    async fn offers(&self) -> Result<Offers, DriverError> {
        self.machine.driver.offers().await
    }

    async fn run(
        &self,
        operation: &Operation,
        staging: &Staging,
        log: &dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.around(operation, staging, How::Heard(log), cancel).await
    }

    async fn attend(
        &self,
        operation: &Operation,
        staging: &Staging,
        streams: Streams,
        cancel: &CancellationToken,
    ) -> Result<Outcome, DriverError> {
        self.around(operation, staging, How::Attended(streams), cancel)
            .await
    }

    async fn recover(&self, run_id: &str) -> Result<usize, DriverError> {
        let _ = std::fs::remove_dir_all(self.machine.folder.join(run_id));
        self.machine.driver.recover(run_id).await
    }
}
