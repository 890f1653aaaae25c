//! One request in five fails, by a schedule that a seed gives; everything must end well. Twenty schedules, or 200 with
//! `SAMEBUNDLE_FULL=1`.

use super::front::{Fault, Front, answer};
use super::*;
use crate::copy::tests::processes::told;
use crate::copy::{Options, copy};
use crate::layout::Layout;
use crate::store::{Memory, SinkExt, Store};
use samebundle_spec::manifest::Manifest;

fn fault(seed: u64, number: usize) -> Fault {
    let mut bytes = noise(8, seed.wrapping_mul(1_000_003).wrapping_add(number as u64 + 1));
    let dice = u64::from_le_bytes(bytes.split_off(0).try_into().unwrap());
    if dice % 5 != 0 {
        return Fault::None;
    }
    match (dice / 5) % 6 {
        0 => answer(500, &[], "<html>oops</html>"),
        1 => answer(503, &[("retry-after", "0")], ""),
        2 => answer(429, &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], ""),
        3 => Fault::Cut(0),
        4 => Fault::Cut(((dice / 30) % 200_000) as usize),
        _ => Fault::CutRequest(((dice / 30) % 200_000) as usize),
    }
}

async fn road(seed: u64) -> Result<(), StoreError> {
    let front = Front::start(move |_, number| fault(seed, number)).await;
    let folder = tempfile::tempdir().unwrap();
    let config = RemoteConfig {
        uploads: Some(folder.path().join("uploads")),
        ..config()
    };
    let place = repository_at(&front.address, config);
    // A layout sends in parts and takes ranges; memory takes streams.
    let memory: Box<dyn Store> = match seed % 2 {
        0 => Box::new(Memory::new()),
        _ => Box::new(Layout::create(&folder.path().join("from")).await?),
    };
    let memory = memory.as_ref();
    let config = memory.push_bytes(MediaType::OCI_EMPTY, "{}".into()).await?;
    let mut layers = Vec::new();
    for (index, size) in [40_000, 300_000, 6_000_000].into_iter().enumerate() {
        let bytes = noise(size, seed + index as u64);
        layers.push(memory.push_bytes(MediaType::OCI_LAYER, bytes.into()).await?);
    }
    let manifest = Manifest::new(config.clone(), layers.clone());
    let root = memory
        .push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into())
        .await?;
    let kind: MediaType = "application/vnd.example.signature".parse().unwrap();
    let signature = Manifest::artifact(kind, Vec::new()).with_subject(root.clone());
    let signature = memory
        .push_bytes(MediaType::OCI_MANIFEST, signature.to_bytes().into())
        .await?;
    let tag: Tag = "v1".parse().unwrap();
    let options = Options {
        tag: Some(tag.clone()),
        ..Options::default()
    };
    copy(memory, &place, &root, &options).await?;
    let found = place.resolve(&tag).await?;
    assert_eq!(found.digest, root.digest);
    let back: Box<dyn Store> = match seed % 3 {
        0 => Box::new(Memory::new()),
        _ => Box::new(Layout::create(&folder.path().join("back")).await?),
    };
    copy(&place, back.as_ref(), &found, &options).await?;
    for descriptor in layers.iter().chain([&config, &root, &signature]) {
        assert!(back.contains(descriptor).await?, "{}", descriptor.digest);
    }
    assert_eq!(back.referrers(&root, None).await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_in_five_is_survived() {
    let schedules = if told("SAMEBUNDLE_FULL").is_some() {
        200
    } else {
        20
    };
    for seed in 1..=schedules {
        if let Err(error) = road(seed).await {
            panic!("seed {seed}: {error:?}");
        }
    }
    println!("{schedules} schedules survived");
}
