//! What a container cannot reach.

use std::path::Path;

use super::image::{self, Entry, LayerBuilder, Packing};
use super::{Bench, Verdict, lines, said, same, told};
use crate::driver::Outcome;

pub(super) async fn has_no_network(bench: &Bench) -> Verdict {
    let line =
        "cat /proc/net/route | tail -n +2; cat /proc/net/dev | tail -n +3 | cut -d: -f1 | grep -v lo; true";
    let got = bench.output(&bench.shell("network", line)).await?;
    same("routes and devices", Vec::<String>::new(), got)
}

pub(super) async fn has_a_loopback_device(bench: &Bench) -> Verdict {
    // The routing table of the machine's own addresses has 127.0.0.1 only while the device is up.
    let got = bench
        .output(&bench.shell("loopback", "grep -c 127.0.0.1 /proc/net/fib_trie"))
        .await?;
    same("an address", true, got.first().is_some_and(|count| count != "0"))
}

/// Programs that connect to themselves use these names: Ray, Spark, `torch.distributed`. Nothing listens there, but the
/// first line of the output shows that the name is known.
pub(super) async fn resolves_its_own_names(bench: &Bench) -> Verdict {
    for (name, address) in [
        ("localhost", "127.0.0.1:9"),
        ("samebundle", "127.0.0.1:9"),
        ("ip6-localhost", "[::1]:9"),
    ] {
        let line = format!("wget -O - http://{name}:9/ 2>&1 | grep -c '^Connecting to {name}:9 ({address})'");
        let line = line.replace('[', "[[]").replace("::1]", "::1[]]");
        let (outcome, log) = bench.run(&bench.shell("names", &line)).await;
        same(
            &format!("{name} ({}, {log:?})", told(&outcome)),
            lines(&["1"]),
            log.lines(false),
        )?;
    }
    Ok(())
}

/// The first process of a container runs a program of the driver until it executes the container's program, which can
/// then find the former as `/proc/self/exe` (CVE-2019-5736). That file must not run as a command. Even as the
/// interpreter of a script, where the driver does not see it, it must not be a file of the machine: a container that
/// knows its path could write to it.
pub(super) async fn reaches_no_program_of_the_driver(bench: &Bench) -> Verdict {
    let image = trapped(bench).await?;
    for command in ["/proc/self/exe", "/bin/own", "own", "/bin/script"] {
        let mut operation = bench.shell("own-program", "");
        operation.image = image.clone();
        operation.command = lines(&[command]);
        let (outcome, log) = bench.run(&operation).await;
        let shown = format!("{command}: {}, {log:?}", told(&outcome));
        // A Docker engine's runtime runs a sealed copy of itself, which this driver cannot prevent.
        if command != "/bin/script" && bench.driver.name() != "docker" {
            same(&shown, false, matches!(outcome, Ok(Outcome::Succeeded)))?;
        }
        let paths = log.lines(false);
        same(&shown, false, paths.iter().any(|path| Path::new(path).is_file()))?;
    }
    Ok(())
}

/// An image with a link to the program that starts a container, with a script that the link interprets, and with loaders of
/// dynamic programs that print the path of the program that they were to load.
async fn trapped(bench: &Bench) -> Result<samebundle_spec::Descriptor, String> {
    let layer = LayerBuilder::default()
        .add("bin/own", 0o777, 0, Entry::Link("/proc/self/exe"))
        .and_then(|layer| layer.add("bin/script", 0o755, 0, Entry::File(b"#!/bin/own\n")));
    let mut layer = said("make a layer", layer)?;
    for loader in ["lib64/ld-linux-x86-64.so.2", "lib/ld-musl-x86_64.so.1"] {
        let added = layer.add(loader, 0o755, 0, Entry::File(&prints_its_program()));
        layer = said("make a layer", added)?;
    }
    image::over(bench, layer, Packing::Gzip).await
}

/// An ELF program for `x86_64` that prints where `/proc/self/exe` leads and ends. It uses no C library, because that
/// does not start as the loader of another program.
fn prints_its_program() -> Vec<u8> {
    const CODE: &[u8] = b"\x48\x81\xec\x00\x10\x00\x00\
        \xb8\x59\x00\x00\x00\x48\x8d\x3d\x25\x00\x00\x00\x48\x89\xe6\xba\x00\x10\x00\x00\x0f\x05\
        \x48\x89\xc2\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00\x48\x89\xe6\x0f\x05\
        \xb8\x3c\x00\x00\x00\x31\xff\x0f\x05\
        /proc/self/exe\0";
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + CODE.len() as u64;
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut add = |bytes: &[u8]| program.extend_from_slice(bytes);
    // A shared object for x86_64 (type 3, machine 62) with one header of a segment.
    [3_u16, 62].iter().for_each(|half| add(&half.to_le_bytes()));
    add(&1_u32.to_le_bytes());
    [HEADERS, 64, 0].iter().for_each(|word| add(&word.to_le_bytes()));
    add(&0_u32.to_le_bytes());
    [64_u16, 56, 1, 64, 0, 0]
        .iter()
        .for_each(|half| add(&half.to_le_bytes()));
    // The segment is loaded whole (type 1), readable and executable (5).
    [1_u32, 5].iter().for_each(|word| add(&word.to_le_bytes()));
    [0, 0, 0, size, size, 4_096]
        .iter()
        .for_each(|word: &u64| add(&word.to_le_bytes()));
    add(CODE);
    program
}

pub(super) async fn sees_only_its_own_processes(bench: &Bench) -> Verdict {
    let got = bench
        .output(&bench.shell("processes", "echo $$; ps | grep -c ."))
        .await?;
    same("own number", Some("1"), got.first().map(String::as_str))?;
    let count = got
        .get(1)
        .and_then(|count| count.parse::<u32>().ok())
        .unwrap_or(u32::MAX);
    if count <= 6 {
        Ok(())
    } else {
        Err(format!("ps shows {count} lines"))
    }
}

pub(super) async fn has_few_rights(bench: &Bench) -> Verdict {
    let got = bench
        .output(&bench.shell(
            "rights",
            "grep -E 'CapBnd|NoNewPrivs' /proc/self/status | cut -d: -f2",
        ))
        .await?;
    let bits = got
        .first()
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let bits = bits.ok_or_else(|| format!("no capabilities in {got:?}"))?;
    // SYS_ADMIN, SYS_MODULE, SYS_PTRACE, NET_ADMIN, NET_RAW, SYS_RESOURCE, MKNOD
    for bit in [21, 16, 19, 12, 13, 24, 27] {
        same(&format!("capability {bit}"), 0, bits >> bit & 1)?;
    }
    same("no_new_privs", Some("1"), got.get(1).map(|text| text.trim()))
}

pub(super) async fn makes_no_device(bench: &Bench) -> Verdict {
    let got = bench
        .output(&bench.shell("device", "mknod /tmp/disk b 254 0 2>/dev/null && cat /tmp/disk | dd bs=1 count=1 2>/dev/null | grep -c .; echo end"))
        .await?;
    same("output", lines(&["end"]), got)
}

pub(super) async fn limits_processes(bench: &Bench) -> Verdict {
    let line = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 30 & done; echo all";
    let mut operation = bench.shell("pids", line);
    operation.limits.pids = 10;
    let (outcome, log) = bench.run(&operation).await;
    match outcome {
        Ok(Outcome::Failed { .. }) if log.lines(false).is_empty() => Ok(()),
        other => Err(format!(
            "20 processes under a limit of 10: {}, {log:?}",
            told(&other)
        )),
    }
}

pub(super) async fn limits_memory(bench: &Bench) -> Verdict {
    let offers = bench.driver.offers().await.map_err(|error| told(&Err(error)))?;
    if let Some(notice) = offers.notices.iter().find(|notice| notice.contains("memory")) {
        // The limit cannot be enforced here and the driver says so, as the contract demands.
        return same("a notice with a reason", true, notice.contains("cgroup"));
    }
    let mut operation = bench.shell("memory", "dd if=/dev/zero of=/dev/null bs=200M count=1");
    operation.limits.memory = Some(32 << 20);
    match bench.run(&operation).await {
        (
            Ok(Outcome::Failed {
                out_of_memory: true, ..
            }),
            _,
        ) => Ok(()),
        (other, log) => Err(format!("200 MB under a limit of 32: {}, {log:?}", told(&other))),
    }
}

/// Libraries that share arrays between processes need as much as their data has. A write beyond the end is a bus error.
pub(super) async fn has_shared_memory_of_its_size(bench: &Bench) -> Verdict {
    let size = "df -k /dev/shm | tail -n 1 | { read -r device blocks rest; echo $blocks; }";
    let mebibytes = |got: Vec<String>| {
        got.first()
            .and_then(|blocks| blocks.parse::<u64>().ok())
            .map(|blocks| blocks >> 10)
    };
    let mut operation = bench.shell("shared", size);
    operation.limits.shm = Some(100 << 20);
    same(
        "what is asked for",
        Some(100),
        mebibytes(bench.output(&operation).await?),
    )?;
    operation.limits.shm = None;
    operation.limits.memory = Some(512 << 20);
    same(
        "half of the limit",
        Some(256),
        mebibytes(bench.output(&operation).await?),
    )?;
    operation.limits.memory = Some(32 << 20);
    same("the least", Some(64), mebibytes(bench.output(&operation).await?))?;
    operation.limits.memory = None;
    let half = bench
        .driver
        .offers()
        .await
        .map_err(|error| told(&Err(error)))?
        .memory
        >> 21;
    let got = mebibytes(bench.output(&operation).await?);
    same(
        &format!("{got:?} MiB of {half}"),
        true,
        got.is_some_and(|got| got.abs_diff(half) <= 1),
    )?;
    let line =
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=90 2>/dev/null && ls -l /dev/shm | grep -c 94371840";
    same(
        "written",
        lines(&["1"]),
        bench.output(&bench.shell("shared", line)).await?,
    )
}
