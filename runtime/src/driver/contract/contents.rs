//! What goes into a container and what comes out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use samebundle_spec::Digest;

use super::{Bench, Verdict, image, lines, said, same, told};
use crate::driver::{Content, Input, Operation, Outcome, Output, Staging};

/// A file that is given as bytes.
pub(super) fn bytes(target: &str, text: &str) -> Input {
    Input {
        target: target.to_owned(),
        content: Content::Bytes(text.as_bytes().to_vec()),
    }
}

/// Makes a folder with a file `in`, and returns its path.
fn folder(bench: &Bench, name: &str) -> Result<(Input, PathBuf), String> {
    let source = bench.folder.join(name);
    let text = format!("from outside, {name}");
    said("make a folder", fs::create_dir_all(source.join("deep")))?;
    said("write a file", fs::write(source.join("in"), &text))?;
    said(
        "write a file",
        fs::write(source.join("deep/run"), "#!/bin/sh\necho run\n"),
    )?;
    let executable = fs::Permissions::from_mode(0o755);
    said(
        "change a mode",
        fs::set_permissions(source.join("deep/run"), executable),
    )?;
    let input = Input {
        target: "/mounted/there".to_owned(),
        content: Content::Artifact {
            digest: Digest::sha256(text.as_bytes()),
            size: text.len() as u64,
        },
    };
    Ok((input, source))
}

pub(super) async fn reads_inputs(bench: &Bench) -> Verdict {
    let mut staging = Staging::default();
    let (there, source) = folder(bench, "inputs")?;
    staging.input(&there, &source);
    let single = Input {
        target: "/etc/single".to_owned(),
        content: Content::Artifact {
            digest: Digest::sha256(b"from outside, inputs"),
            size: 20,
        },
    };
    staging.input(&single, source.join("in"));
    let mut operation = bench.shell(
        "reads",
        "cd /mounted/there; cat in; echo; cat /etc/single; echo; cat /etc/given; echo; deep/run; ls; \
         for name in out in /etc/single /etc/given; do echo x 2>/dev/null > $name; done; true",
    );
    operation.inputs = vec![single, bytes("/etc/given", "as bytes"), there];
    let wanted = [
        "from outside, inputs",
        "from outside, inputs",
        "as bytes",
        "run",
        "deep",
        "in",
    ];
    same(
        "output",
        lines(&wanted),
        bench.output_with(&operation, &staging).await?,
    )?;
    same("a file written", false, source.join("out").exists())?;
    same(
        "the file",
        "from outside, inputs".to_owned(),
        said("read", fs::read_to_string(source.join("in")))?,
    )
}

/// Makes an operation that writes to a folder, and returns the path of that folder.
fn writing(bench: &Bench, name: &str, line: &str) -> (Operation, Staging, PathBuf) {
    let mut operation = bench.shell(name, line);
    let output = Output::Folder {
        target: "/made/out".to_owned(),
        folders: vec!["sub".to_owned(), "sub/deep".to_owned()],
    };
    operation.outputs = vec![output.clone()];
    let path = bench.folder.join(format!("out-{name}"));
    let mut staging = Staging::default();
    staging.output(&output, &path);
    (operation, staging, path)
}

pub(super) async fn hands_outputs_back(bench: &Bench) -> Verdict {
    let line = "cd /made/out; ls; ls sub; echo written > file; echo x > sub/deep/x; mkdir -p a/b; ln -s /etc/passwd a/b/link; ln file hard";
    for user in ["", "77:88"] {
        let (mut operation, staging, path) = writing(bench, "back", line);
        operation.image = image::with_user(bench, user).await?;
        let got = bench.output_with(&operation, &staging).await?;
        same("folders", lines(&["sub", "deep"]), got)?;
        for (name, text) in [
            ("file", "written\n"),
            ("hard", "written\n"),
            ("sub/deep/x", "x\n"),
        ] {
            same(
                name,
                text.to_owned(),
                said(name, fs::read_to_string(path.join(name)))?,
            )?;
        }
        let link = said("read a link", fs::read_link(path.join("a/b/link")))?;
        same("a link", PathBuf::from("/etc/passwd"), link)?;
    }
    Ok(())
}

pub(super) async fn makes_outputs_anew(bench: &Bench) -> Verdict {
    for _ in 0..2 {
        let (operation, staging, path) = writing(bench, "anew", "ls /made/out; echo x > /made/out/left");
        let got = bench.output_with(&operation, &staging).await?;
        same("what was there", lines(&["sub"]), got)?;
        same("what is left", true, path.join("left").is_file())?;
    }
    Ok(())
}

pub(super) async fn hands_outputs_of_a_failure_back(bench: &Bench) -> Verdict {
    let (operation, staging, path) = writing(bench, "failure", "echo why > /made/out/why; exit 3");
    let (outcome, _) = bench.run_with(&operation, &staging).await;
    let failed = matches!(outcome, Ok(Outcome::Failed { code: 3, .. }));
    same(&told(&outcome), true, failed)?;
    same(
        "the file",
        "why\n".to_owned(),
        said("read", fs::read_to_string(path.join("why")))?,
    )
}

/// A task may leave files that its own user may not read, and so may a failed one. They are handed back alike whoever runs
/// the driver, and can be removed by whoever owns them.
pub(super) async fn hands_back_what_nobody_may_read(bench: &Bench) -> Verdict {
    let line = "cd /made/out; mkdir d; echo x > d/x; echo y > y; chmod 0 d/x y; chmod 0 d; exit $CODE";
    for (user, code) in [("", "0"), ("77:88", "3")] {
        let (mut operation, staging, path) = writing(bench, "closed", line);
        operation.image = image::with_user(bench, user).await?;
        operation.environment = [("CODE".to_owned(), code.to_owned())].into();
        let (outcome, log) = bench.run_with(&operation, &staging).await;
        let ended = matches!(outcome, Ok(Outcome::Succeeded | Outcome::Failed { code: 3, .. }));
        same(&format!("{} {log:?}", told(&outcome)), true, ended)?;
        for (name, text, least) in [("d/x", "x\n", 0o444), ("y", "y\n", 0o444)] {
            let read = said(name, fs::read_to_string(path.join(name)))?;
            same(name, text.to_owned(), read)?;
            let mode = said(name, fs::metadata(path.join(name)))?.permissions().mode();
            same(&format!("readable bits of {name}"), least, mode & 0o444)?;
        }
        let mode = said("d", fs::metadata(path.join("d")))?.permissions().mode();
        same("bits of d", 0o755, mode & 0o777)?;
        said("remove", fs::remove_dir_all(&path))?;
    }
    Ok(())
}

/// A relative link in an output is a link in the next container as well, which reads what it leads to.
pub(super) async fn hands_links_on(bench: &Bench) -> Verdict {
    let line = "cd /made/out; mkdir v1; echo weights > v1/model; ln -s v1 latest; ln -s ../v1/model sub/best; ln -s gone nothing";
    let (operation, staging, path) = writing(bench, "linked-out", line);
    bench.output_with(&operation, &staging).await?;
    let mut next = bench.shell(
        "linked-in",
        "cd /mounted/there; cat latest/model sub/best; ls -l | grep -c -e '-> v1' -e '-> gone'",
    );
    let input = Input {
        target: "/mounted/there".to_owned(),
        content: Content::Artifact {
            digest: Digest::sha256(b"listing"),
            size: 8,
        },
    };
    let mut staging = Staging::default();
    staging.input(&input, &path);
    next.inputs = vec![input];
    same(
        "output",
        lines(&["weights", "weights", "2"]),
        bench.output_with(&next, &staging).await?,
    )
}

pub(super) async fn puts_nothing_behind_a_link(bench: &Bench) -> Verdict {
    let outside = bench.folder.join("outside");
    said("make a folder", fs::create_dir_all(&outside))?;
    let target = outside.to_string_lossy().into_owned();
    let mut operation = bench.shell("link", "cat /trap/deep/in");
    operation.image = image::with_link(bench, "trap", &target).await?;
    let (mut input, source) = folder(bench, "linked")?;
    "/trap/deep".clone_into(&mut input.target);
    let mut staging = Staging::default();
    staging.input(&input, source);
    operation.inputs = vec![input];
    let (outcome, _) = bench.run_with(&operation, &staging).await;
    // The operation may run with the link resolved inside, or be refused: in both cases nothing may be made outside.
    let left = said("list", fs::read_dir(&outside))?.count();
    same(&format!("files made outside ({})", told(&outcome)), 0, left)
}
