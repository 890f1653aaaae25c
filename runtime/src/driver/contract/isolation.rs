//! What a container cannot reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Bench, Verdict, image, lines, said, same, told};
use crate::driver::{Mount, Outcome};

pub(super) fn mount(bench: &Bench, name: &str, writable: bool) -> Result<Mount, String> {
    let source = bench.folder.join(name);
    said("make a folder", fs::create_dir_all(&source))?;
    // The users of some cases are not the one who owns the folder.
    said(
        "open a folder",
        fs::set_permissions(&source, fs::Permissions::from_mode(0o777)),
    )?;
    said("write a file", fs::write(source.join("in"), "from outside"))?;
    Ok(Mount {
        source,
        target: "/mounted/there".to_owned(),
        writable,
    })
}

pub(super) async fn mounts_read_only(bench: &Bench) -> Verdict {
    let folder = mount(bench, "ro", false)?;
    let file = Mount {
        source: folder.source.join("in"),
        target: "/etc/single".to_owned(),
        writable: false,
    };
    let mut operation = bench.shell(
        "ro",
        "cat /mounted/there/in; echo; cat /etc/single; echo; echo x > /mounted/there/out; echo x > /etc/single; echo x > /mounted/there/in; true",
    );
    let source = folder.source.clone();
    operation.mounts = vec![folder, file];
    let wanted = lines(&["from outside", "from outside"]);
    same("output", wanted, bench.output(&operation).await?)?;
    same("a file written", false, source.join("out").exists())?;
    same(
        "the file",
        "from outside".to_owned(),
        said("read", fs::read_to_string(source.join("in")))?,
    )
}

pub(super) async fn mounts_writable(bench: &Bench) -> Verdict {
    let folder = mount(bench, "rw", true)?;
    let mut operation = bench.shell(
        "rw",
        "cat /mounted/there/in; echo; echo written > /mounted/there/out",
    );
    let source = folder.source.clone();
    operation.mounts = vec![folder];
    same(
        "output",
        lines(&["from outside"]),
        bench.output(&operation).await?,
    )?;
    same(
        "the file",
        "written\n".to_owned(),
        said("read", fs::read_to_string(source.join("out")))?,
    )
}

pub(super) async fn mounts_over_no_link(bench: &Bench) -> Verdict {
    let outside = bench.folder.join("outside");
    said("make a folder", fs::create_dir_all(&outside))?;
    let target = outside.to_string_lossy().into_owned();
    let mut operation = bench.shell("link", "cat /trap/deep/in");
    operation.image = image::with_link(bench, "trap", &target).await?;
    operation.mounts = vec![Mount {
        target: "/trap/deep".to_owned(),
        ..mount(bench, "linked", false)?
    }];
    let (outcome, _) = bench.run(&operation).await;
    // Whether it runs with the link resolved inside or is refused: nothing may be made outside.
    let left = said("list", fs::read_dir(&outside))?.count();
    same(&format!("files made outside ({})", told(&outcome)), 0, left)
}

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
    let capacity = bench.driver.probe().await.map_err(|error| told(&Err(error)))?;
    if let Some(notice) = capacity.notices.iter().find(|notice| notice.contains("memory")) {
        // It cannot be enforced here, and the driver says so, which is what the contract asks for.
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
