//! What a container's root is made of, and what becomes of it.

use bytes::Bytes;
use samebundle_registry::store::SinkExt;
use samebundle_spec::{Digest, MediaType};

use super::contents::bytes;
use super::image::{self, Entry, LayerBuilder, Packing};
use super::{Bench, Verdict, lines, said, same, told};
use crate::driver::{Output, Staging};

pub(super) async fn applies_whiteouts(bench: &Bench) -> Verdict {
    let line = "ls /data /data/hidden /data/sub; cat /data/stays; echo; ls -a /data | grep -c wh; true";
    let wanted = [
        "/data:",
        "hidden",
        "stays",
        "sub",
        "",
        "/data/hidden:",
        "new",
        "",
        "/data/sub:",
        "new",
        "old",
        "stays",
        "0",
    ];
    same(
        "files",
        lines(&wanted),
        bench.output(&bench.shell("whiteouts", line)).await?,
    )
}

pub(super) async fn throws_the_root_away(bench: &Bench) -> Verdict {
    let line = "ls /root; echo x > /root/left; rm /data/stays; ls /root";
    for _ in 0..2 {
        same(
            "files",
            lines(&["left"]),
            bench.output(&bench.shell("thrown", line)).await?,
        )?;
    }
    Ok(())
}

pub(super) async fn keeps_what_was_written(bench: &Bench) -> Verdict {
    let line = "mkdir -p /opt/kept; echo kept > /opt/kept/file; ln /opt/kept/file /opt/kept/hard; ln -s file /opt/kept/soft; rm /data/stays; rm -r /data/hidden; mkdir /data/hidden; echo fresh > /data/hidden/fresh; sleep $PAUSE";
    let mut first: Option<Digest> = None;
    let mut tar = Vec::new();
    for pause in ["0", "1"] {
        let mut operation = bench.shell("kept", line);
        let path = bench.folder.join("kept.tar");
        operation.outputs = vec![Output::Root];
        operation.environment = [("PAUSE".to_owned(), pause.to_owned())].into();
        operation.inputs = vec![bytes("/somewhere/mounted", "content")];
        let mut staging = Staging::default();
        staging.output(&Output::Root, &path);
        bench.output_with(&operation, &staging).await?;
        tar = said("read the layer", std::fs::read(&path))?;
        let digest = Digest::sha256(&tar);
        same("the same layer again", *first.get_or_insert(digest), digest)?;
    }
    let layer = bench
        .sink
        .push_bytes(MediaType::OCI_LAYER, Bytes::from(tar))
        .await;
    let line = "cat /opt/kept/file /opt/kept/hard /opt/kept/soft; ls /data /data/hidden; ls -d /somewhere";
    let mut operation = bench.shell("overlaid", &format!("{line}; true"));
    operation.extra_layers = vec![layer.map_err(|error| error.to_string())?];
    let wanted = [
        "kept",
        "kept",
        "kept",
        "/data:",
        "hidden",
        "sub",
        "",
        "/data/hidden:",
        "fresh",
    ];
    same("files", lines(&wanted), bench.output(&operation).await?)
}

pub(super) async fn takes_a_layer_twice(bench: &Bench) -> Verdict {
    let layer = LayerBuilder::default().add("twice", 0o644, 0, Entry::File(b"twice\n"));
    let tar = said("make a layer", layer.and_then(LayerBuilder::tar))?;
    let pushed = image::push_layer(&*bench.sink, tar, Packing::Plain).await;
    let (blob, _) = pushed.map_err(|error| error.to_string())?;
    let mut operation = bench.shell("twice", "cat /twice");
    operation.extra_layers = vec![blob.clone(), blob];
    same("file", lines(&["twice"]), bench.output(&operation).await?)
}

pub(super) async fn reads_zstd_and_plain_layers(bench: &Bench) -> Verdict {
    for packing in [Packing::Plain, Packing::Zstd] {
        let name = format!("{packing:?}");
        let content = Entry::File(name.as_bytes());
        let layer = LayerBuilder::default().add("packed", 0o644, 0, content);
        let image = image::over(bench, said("make a layer", layer)?, packing).await?;
        let mut operation = bench.shell("packed", "cat /packed");
        operation.image = image;
        same("file", lines(&[&name]), bench.output(&operation).await?)?;
    }
    Ok(())
}

pub(super) async fn refuses_an_altered_layer(bench: &Bench) -> Verdict {
    let layer = LayerBuilder::default().add("altered", 0o644, 0, Entry::File(b"x"));
    let tar = said("make a layer", layer.and_then(LayerBuilder::tar))?;
    let pushed = image::push_layer(&*bench.sink, tar, Packing::Gzip).await;
    let (blob, _) = pushed.map_err(|error| error.to_string())?;
    let lie = [(blob, Digest::sha256(b"something else"))];
    let image = image::push_image(&*bench.sink, Default::default(), &lie).await;
    let mut operation = bench.shell("altered", "true");
    operation.image = image.map_err(|error| error.to_string())?;
    refused(bench, &operation).await
}

pub(super) async fn refuses_names_that_climb(bench: &Bench) -> Verdict {
    for (name, content) in [
        ("../climbed", Entry::File(b"x")),
        ("a/../../climbed", Entry::File(b"x")),
        (".", Entry::Link("/etc")),
        ("hard", Entry::HardLink("../../etc/passwd")),
        ("hard", Entry::HardLink("/etc/not-in-this-layer")),
    ] {
        let layer = said(
            "make a layer",
            LayerBuilder::default().add(name, 0o644, 0, content),
        )?;
        let mut operation = bench.shell("climbs", "true");
        operation.image = image::over(bench, layer, Packing::Gzip).await?;
        refused(bench, &operation)
            .await
            .map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

/// A layer that links outside and then writes through the link stays inside: the link means the container's own root.
pub(super) async fn keeps_links_inside(bench: &Bench) -> Verdict {
    let outside = bench.folder.join("linked-outside");
    said("make a folder", std::fs::create_dir_all(&outside))?;
    let target = outside.to_string_lossy().into_owned();
    let layer = LayerBuilder::default()
        .add("exit", 0o777, 0, Entry::Link(&target))
        .and_then(|layer| layer.add("up", 0o777, 0, Entry::Link("../../../../../../../..")))
        .and_then(|layer| layer.add("exit/written", 0o644, 0, Entry::File(b"x")))
        .and_then(|layer| layer.add(&format!("up{target}/too"), 0o644, 0, Entry::File(b"x")));
    let mut operation = bench.shell("links", "true");
    operation.image = image::over(bench, said("make a layer", layer)?, Packing::Gzip).await?;
    let (outcome, _) = bench.run(&operation).await;
    let left = said("list", std::fs::read_dir(&outside))?.count();
    same(&format!("files made outside ({})", told(&outcome)), 0, left)
}

async fn refused(bench: &Bench, operation: &crate::driver::Operation) -> Verdict {
    match bench.run(operation).await {
        (Err(_), _) => Ok(()),
        (other, _) => Err(format!("wanted a refusal, got {}", told(&other))),
    }
}
