//! The signals that end programs, as Linux numbers them.

use crate::driver::Limits;

/// The number, name and meaning of each signal that ends a program by itself or by another's hand.
const SIGNALS: [(i32, &str, &str); 15] = [
    (1, "SIGHUP", "hangup"),
    (2, "SIGINT", "interrupted"),
    (3, "SIGQUIT", "quit"),
    (4, "SIGILL", "illegal instruction"),
    (5, "SIGTRAP", "trap"),
    (6, "SIGABRT", "aborted"),
    (7, BUS, "bus error"),
    (8, "SIGFPE", "arithmetic error"),
    (9, "SIGKILL", "killed"),
    (11, "SIGSEGV", "segmentation fault"),
    (13, "SIGPIPE", "broken pipe"),
    (15, "SIGTERM", "terminated"),
    (24, "SIGXCPU", "limit of processor time"),
    (25, "SIGXFSZ", "limit of file size"),
    (31, "SIGSYS", "call that is not allowed"),
];

const BUS: &str = "SIGBUS";

/// Says how a program ended. An exit code above 128 means a signal: that is how drivers and shells tell it.
pub(super) fn ending(code: i32, limits: &Limits) -> String {
    let signal = SIGNALS.iter().find(|(number, ..)| code - 128 == *number);
    match signal {
        None => format!("it exited with code {code}"),
        Some((_, name, meaning)) if *name == BUS => {
            // Nearly always a write beyond the end of shared memory.
            let size = match limits {
                Limits {
                    shm: None,
                    memory: None,
                    ..
                } => "half of the machine's memory".to_owned(),
                limits => format!("{} MiB", limits.shared_memory(u64::MAX) >> 20),
            };
            format!(
                "it exited with code {code}: {name} ({meaning}); /dev/shm has {size}, ask for more with \
                 requires.resources.shm"
            )
        }
        Some((_, name, meaning)) => format!("it exited with code {code}: {name} ({meaning})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names() {
        let limits = Limits::default();
        assert_eq!(ending(3, &limits), "it exited with code 3");
        assert_eq!(ending(255, &limits), "it exited with code 255");
        assert_eq!(ending(137, &limits), "it exited with code 137: SIGKILL (killed)");
        assert_eq!(
            ending(139, &limits),
            "it exited with code 139: SIGSEGV (segmentation fault)"
        );
        let of = |limits: &Limits| ending(135, limits);
        assert!(of(&limits).contains("SIGBUS (bus error); /dev/shm has half of the machine's memory"));
        let limits = Limits {
            memory: Some(1 << 30),
            ..limits
        };
        assert!(of(&limits).contains("/dev/shm has 512 MiB"));
        let limits = Limits {
            shm: Some(100 << 20),
            ..limits
        };
        assert!(of(&limits).contains("/dev/shm has 100 MiB"));
    }
}
