//! Peak memory and disk of a push and a pull. Zeros of a sparse file are moved: 160 MiB, or 8 GiB with `SAMEBUNDLE_FULL=1`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::front::{Fault, Front};
use super::interrupted::{NUMBER, ROOT, Way, full, work};
use super::*;
use crate::copy::tests::processes::{child, told};
use crate::layout::Layout;
use crate::store::SinkExt;
use samebundle_spec::Digester;
use samebundle_spec::manifest::Manifest;

/// Most memory that a process may take, KiB.
const LIMIT_KIB: u64 = 64 << 10;

/// A layout at `folder/from` with an image of one layer of zeros that take no disk, tagged v1.
async fn zeros(folder: &Path, size: u64) {
    let layout = Layout::create(&folder.join("from")).await.unwrap();
    let mut digester = Digester::new(samebundle_spec::Algorithm::Sha256);
    let piece = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        digester.update(&piece);
    }
    let layer = Descriptor::new(MediaType::OCI_LAYER, digester.finish(), size);
    let path = folder.join("from/blobs/sha256").join(layer.digest.hex());
    std::fs::File::create(path).unwrap().set_len(size).unwrap();
    let config = layout
        .push_bytes(MediaType::OCI_EMPTY, "{}".into())
        .await
        .unwrap();
    let manifest = Manifest::new(config, vec![layer]);
    let root = layout
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await
        .unwrap();
    layout.tag(&root, &"v1".parse().unwrap()).await.unwrap();
}

/// The peak of this process's memory, KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Bytes on disk below a folder.
fn on_disk(folder: &Path) -> u64 {
    let metadata = std::fs::symlink_metadata(folder).unwrap();
    let below = if metadata.is_dir() {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| on_disk(&entry.unwrap().path())).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + below
}

fn measure(way: Way, test: &str) {
    if let Some(root) = told(ROOT) {
        let folder = PathBuf::from(root);
        let address = format!("127.0.0.1:{}", told(NUMBER).unwrap().to_string_lossy());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work(&folder, &address, way, hasty())).unwrap();
        std::fs::write(folder.join("peak"), peak().to_string()).unwrap();
        return;
    }
    let size: u64 = if full() { 8 << 30 } else { 160 << 20 };
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let front = runtime.block_on(Front::start(|_, _| Fault::None));
    runtime.block_on(zeros(folder.path(), size));
    let port = front.address.split_once(':').unwrap().1.parse().unwrap();
    if way == Way::Pull {
        runtime
            .block_on(work(folder.path(), &front.address, Way::Push, hasty()))
            .unwrap();
    }
    assert!(child(&[], test, folder.path(), port).status().unwrap().success());
    let peak: u64 = std::fs::read_to_string(folder.path().join("peak"))
        .unwrap()
        .parse()
        .unwrap();
    println!("{way:?} of {} MiB: peak memory {} MiB", size >> 20, peak >> 10);
    assert!(peak <= LIMIT_KIB, "{peak} KiB");
    if way == Way::Pull {
        let disk = on_disk(&folder.path().join("to"));
        assert!(disk <= size + size / 20, "{disk} bytes of disk for {size}");
    }
}

#[test]
fn a_push_takes_little_memory() {
    measure(Way::Push, "remote::tests::memory::a_push_takes_little_memory");
}

#[test]
fn a_pull_takes_little_memory_and_disk() {
    measure(
        Way::Pull,
        "remote::tests::memory::a_pull_takes_little_memory_and_disk",
    );
}
