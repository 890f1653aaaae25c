//! Folders that outlive a container, folders that do not, and small files with a mode.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Bench, Verdict, lines, said, same};
use crate::driver::{Content, Input, Staging, Volume};

fn volume(target: &str, name: Option<&str>) -> Volume {
    Volume {
        target: target.to_owned(),
        name: name.map(str::to_owned),
    }
}

pub(super) async fn keeps_what_is_in_a_volume(bench: &Bench) -> Verdict {
    let folder = bench.folder.join("volume-kept");
    said("make a folder", fs::create_dir_all(&folder))?;
    let any_user = fs::Permissions::from_mode(0o777);
    said("change a mode", fs::set_permissions(&folder, any_user))?;
    let mut staging = Staging::default();
    staging.volume("kept", &folder);
    for (name, wanted) in [("volume-first", "1"), ("volume-second", "2")] {
        let mut operation = bench.shell(
            name,
            "mkdir -p /data/deep; echo x >> /data/deep/log; wc -l < /data/deep/log; ls /empty; echo y > /empty/file",
        );
        operation.volumes = vec![volume("/data", Some("kept")), volume("/empty", None)];
        let got = bench.output_with(&operation, &staging).await?;
        same("what it printed", lines(&[wanted]), got)?;
    }
    let log = said("read the volume", fs::read_to_string(folder.join("deep/log")))?;
    same("what is in the volume", "x\nx\n".to_owned(), log)
}

pub(super) async fn reads_small_files_with_their_mode(bench: &Bench) -> Verdict {
    let files = |names: &[&str], mode| Content::Files {
        files: names
            .iter()
            .map(|name| ((*name).to_owned(), format!("in {name}").into_bytes()))
            .collect(),
        mode,
    };
    let mut operation = bench.shell(
        "small-files",
        "cd /secret; for name in *; do cat $name; echo; stat -c %a $name; done; stat -c %a /open/c; ls /none; \
         (echo x > /secret/a) 2>/dev/null; cat /secret/a; echo",
    );
    let input = |target: &str, content| Input {
        target: target.to_owned(),
        content,
    };
    operation.inputs = vec![
        input("/secret", files(&["a", "b"], 0o400)),
        input("/open", files(&["c"], 0o444)),
        input("/none", files(&[], 0o444)),
    ];
    let wanted = lines(&["in a", "400", "in b", "400", "444", "in a"]);
    same("what it printed", wanted, bench.output(&operation).await?)
}
