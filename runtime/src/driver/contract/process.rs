//! What a container's program sees and prints.

use std::io::{Read, Write};

use samebundle_spec::limits;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Bench, Verdict, image, lines, said, same, told};
use crate::driver::{Outcome, Size, Staging, Streams};

pub(super) async fn tells_exit_codes(bench: &Bench) -> Verdict {
    for code in [0, 1, 3, 255] {
        let (outcome, log) = bench.run(&bench.shell("exit", &format!("exit {code}"))).await;
        let wanted = match code {
            0 => Outcome::Succeeded,
            code => Outcome::Failed {
                code,
                out_of_memory: false,
            },
        };
        let outcome = outcome.map_err(|error| format!("{}; {log:?}", told(&Err(error))))?;
        same("outcome", wanted, outcome)?;
    }
    Ok(())
}

pub(super) async fn tells_signals(bench: &Bench) -> Verdict {
    // The first process of a container cannot kill itself, so a child kills itself and the shell passes the exit code
    // on.
    let (outcome, _) = bench
        .run(&bench.shell("signal", "sh -c 'kill -9 $$'; exit $?"))
        .await;
    match outcome {
        Ok(Outcome::Failed {
            code: 137,
            out_of_memory: false,
        }) => Ok(()),
        other => Err(format!("wanted 137, got {}", told(&other))),
    }
}

/// A command that the image does not have is a mistake of the program, so that it fails as a shell would, with 127, and the
/// log says which command that is.
pub(super) async fn says_that_there_is_no_such_program(bench: &Bench) -> Verdict {
    for program in ["/no/such/program", "no-such-program"] {
        let mut operation = bench.shell("missing", "");
        operation.command = lines(&[program]);
        let (outcome, log) = bench.run(&operation).await;
        let Ok(Outcome::Failed { code: 127, .. }) = outcome else {
            return Err(format!("wanted 127, got {}", told(&outcome)));
        };
        let said = log.lines(true);
        if !said.iter().any(|line| line.contains(program)) {
            return Err(format!("the log does not name the program: {said:?}"));
        }
    }
    Ok(())
}

pub(super) async fn streams_both_outputs(bench: &Bench) -> Verdict {
    let (outcome, log) = bench
        .run(&bench.shell("outputs", "echo one; echo two >&2; echo; printf three"))
        .await;
    same("outcome", "Succeeded".to_owned(), told(&outcome))?;
    same("standard output", lines(&["one", "", "three"]), log.lines(false))?;
    same("standard error", lines(&["two"]), log.lines(true))
}

/// A driver returns an outcome only after it has read both outputs to their ends, so that the message of a failure has
/// all lines.
pub(super) async fn reads_both_outputs_to_their_ends(bench: &Bench) -> Verdict {
    const LINES: usize = 200;
    let line = format!("for n in $(seq {LINES}); do echo out $n; echo err $n >&2; done; exit 1");
    for _ in 0..10 {
        let (_, log) = bench.run(&bench.shell("ends", &line)).await;
        for (stderr, name) in [(false, "out"), (true, "err")] {
            let got = log.lines(stderr);
            same("lines", LINES, got.len())?;
            same(
                "the last line",
                Some(format!("{name} {LINES}")),
                got.last().cloned(),
            )?;
        }
    }
    Ok(())
}

pub(super) async fn cuts_long_lines(bench: &Bench) -> Verdict {
    let line = "dd if=/dev/zero bs=1000 count=200 2>/dev/null; echo; echo end";
    let got = bench.output(&bench.shell("long", line)).await?;
    let longest = got.iter().map(String::len).max().unwrap_or(0);
    if longest > limits::LOG_LINE_BYTES {
        return Err(format!("a line of {longest} bytes was passed on whole"));
    }
    same("bytes", 200_003, got.iter().map(String::len).sum())?;
    same("last line", Some("end"), got.last().map(String::as_str))
}

/// A progress bar is shown while it moves, and its last state is a line.
pub(super) async fn shows_states_of_a_line(bench: &Bench) -> Verdict {
    let line = "printf '\\r10%%'; sleep 0.3; printf '\\r20%%'; sleep 0.3; printf '\\r30%%'; sleep 0.3; echo; echo end";
    let got = bench.output(&bench.shell("states", line)).await?;
    same("lines", lines(&["(10%)", "(20%)", "(30%)", "30%", "end"]), got)
}

pub(super) async fn sets_the_environment(bench: &Bench) -> Verdict {
    let mut operation = bench.shell(
        "environment",
        "env | grep -v ^SHLVL | grep -v ^PWD | sort; hostname",
    );
    operation.environment = [("GIVEN", "a b=c"), ("FROM_IMAGE", "replaced")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let wanted = [
        "FROM_IMAGE=replaced",
        "GIVEN=a b=c",
        "HOME=/root",
        "HOSTNAME=samebundle",
        "PATH=/bin",
        "samebundle",
    ];
    same("environment", lines(&wanted), bench.output(&operation).await?)
}

pub(super) async fn starts_in_the_working_folder(bench: &Bench) -> Verdict {
    let mut operation = bench.shell("folder", "pwd");
    same(
        "the image's",
        lines(&["/work/here"]),
        bench.output(&operation).await?,
    )?;
    operation.working_dir = Some("/made/for/it".to_owned());
    same(
        "the operation's",
        lines(&["/made/for/it"]),
        bench.output(&operation).await?,
    )
}

pub(super) async fn runs_the_images_own_command(bench: &Bench) -> Verdict {
    let mut operation = bench.shell("own", "");
    operation.command.clear();
    same(
        "output",
        lines(&["the image speaks"]),
        bench.output(&operation).await?,
    )
}

pub(super) async fn runs_as_the_images_user(bench: &Bench) -> Verdict {
    let program = bench
        .output(&bench.shell(
            "program",
            "cat /bin/busybox | dd of=/dev/null 2>/dev/null; echo read",
        ))
        .await?;
    same("busybox", lines(&["read"]), program)?;
    for (user, wanted) in [
        ("worker", "1234 2345 /home/worker"),
        ("1234", "1234 2345 /home/worker"),
        ("77:88", "77 88 /samebundle/home"),
        ("worker:root", "1234 0 /home/worker"),
        ("", "0 0 /root"),
    ] {
        let image = image::with_user(bench, user).await?;
        let mut operation = bench.shell(
            "user",
            "echo $(id -u) $(id -g) $HOME; echo x > /tmp/x; : > /work/y",
        );
        operation.image = image;
        same(user, lines(&[wanted]), bench.output(&operation).await?)?;
    }
    let mut operation = bench.shell("user", "true");
    operation.image = image::with_user(bench, "nobody-there").await?;
    let (outcome, _) = bench.run(&operation).await;
    let text = told(&outcome);
    same(&text, true, outcome.is_err() && text.contains("nobody-there"))
}

/// Images for clusters have users whose home is missing, is root's, or is not in `passwd`. Libraries keep caches and
/// settings there, so it is the user's own.
pub(super) async fn gives_every_user_a_home(bench: &Bench) -> Verdict {
    let line = "echo $HOME; mkdir -p $HOME/.local/lib && echo x > $HOME/.cache && ls -a $HOME | grep -c -e .local -e .cache -e kept";
    for (user, home, lines_in_it, variable) in [
        ("worker", "/home/worker", "2", None),
        ("77:88", "/samebundle/home", "2", None),
        ("worker", "/opt/app/src", "3", Some("HOME=/opt/app/src")),
        ("1001:0", "/opt/app/src", "3", Some("HOME=/opt/app/src")),
        ("77", "/tmp", "2", Some("HOME=/tmp")),
    ] {
        let mut operation = bench.shell("home", line);
        operation.image = image::with_home(bench, user, variable).await?;
        let got = bench.output(&operation).await?;
        same(&format!("{user}, {variable:?}"), lines(&[home, lines_in_it]), got)?;
    }
    Ok(())
}

/// Who makes the container may say whom it runs as.
pub(super) async fn runs_as_another_user(bench: &Bench) -> Verdict {
    let mut operation = bench.shell("another", "id -u; echo x > /root/x; echo $HOME");
    operation.image = image::with_user(bench, "worker").await?;
    operation.user = Some("0".to_owned());
    same("root", lines(&["0", "/root"]), bench.output(&operation).await?)?;
    let mut operation = bench.shell("another", "id -u; echo $HOME");
    operation.user = Some("worker".to_owned());
    same(
        "worker",
        lines(&["1234", "/home/worker"]),
        bench.output(&operation).await?,
    )
}

pub(super) async fn reads_nothing_from_standard_input(bench: &Bench) -> Verdict {
    let got = bench.output(&bench.shell("input", "cat; echo end")).await?;
    same("output", lines(&["end"]), got)
}

/// Somebody with pipes: the container reads what they give, to its end, and both outputs are theirs.
pub(super) async fn is_attended_with_pipes(bench: &Bench) -> Verdict {
    let (input, mut ours) = said("pipe", std::io::pipe())?;
    let (mut output, theirs) = said("pipe", std::io::pipe())?;
    let (mut errors, their_errors) = said("pipe", std::io::pipe())?;
    said("write", ours.write_all(b"one\ntwo"))?;
    drop(ours);
    let streams = Streams {
        input: input.into(),
        output: theirs.into(),
        errors: their_errors.into(),
        terminal: None,
    };
    let operation = bench.shell("attended", "cat; echo err >&2; [ -t 0 ] && echo terminal; exit 3");
    let (never, staging) = (CancellationToken::new(), Staging::default());
    let outcome = bench.driver.attend(&operation, &staging, streams, &never).await;
    let out_of_memory = false;
    let wanted = Outcome::Failed {
        code: 3,
        out_of_memory,
    };
    same("outcome", format!("{wanted:?}"), told(&outcome))?;
    let (mut printed, mut complained) = (String::new(), String::new());
    said("read", output.read_to_string(&mut printed))?;
    said("read", errors.read_to_string(&mut complained))?;
    same("standard output", "one\ntwo", printed.as_str())?;
    same("standard error", "err\n", complained.as_str())
}

/// Somebody at a terminal: it has their size, and what they type reaches the program of the container, also Ctrl-C, which ends
/// that alone.
pub(super) async fn is_attended_at_a_terminal(bench: &Bench) -> Verdict {
    let (input, mut ours) = said("pipe", std::io::pipe())?;
    let (mut output, theirs) = said("pipe", std::io::pipe())?;
    let errors = said("clone", theirs.try_clone())?;
    let (sizes, terminal) = watch::channel(Size {
        rows: 33,
        columns: 77,
    });
    let streams = Streams {
        input: input.into(),
        output: theirs.into(),
        errors: errors.into(),
        terminal: Some(terminal),
    };
    let line =
        "trap 'echo interrupted' INT; tty; read -r x; stty size; stty -echo; echo got $x; sleep 60; exit 4";
    let operation = bench.shell("terminal", line);
    let typing = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        let mut part = [0; 512];
        let mut typed = 0;
        while let Ok(count @ 1..) = output.read(&mut part) {
            seen.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&seen);
            if typed == 0 && text.contains("/dev/") {
                // A driver gives the size as soon as it can.
                std::thread::sleep(std::time::Duration::from_millis(500));
                ours.write_all(b"hello\r")?;
                typed = 1;
            } else if typed == 1 && text.contains("got hello") {
                std::thread::sleep(std::time::Duration::from_millis(200));
                ours.write_all(b"\x03")?;
                typed = 2;
            }
        }
        Ok(String::from_utf8_lossy(&seen).into_owned())
    });
    let (never, staging) = (CancellationToken::new(), Staging::default());
    let outcome = bench.driver.attend(&operation, &staging, streams, &never).await;
    drop(sizes);
    let seen = said("type", typing.await.unwrap_or_else(|error| Err(error.into())))?;
    let out_of_memory = false;
    let wanted = Outcome::Failed {
        code: 4,
        out_of_memory,
    };
    same(&seen, format!("{wanted:?}"), told(&outcome))?;
    for part in ["/dev/pts/0", "33 77", "got hello", "interrupted"] {
        same(&format!("{part} in {seen}"), true, seen.contains(part))?;
    }
    Ok(())
}
