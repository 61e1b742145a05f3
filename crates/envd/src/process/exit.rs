//! How a process ended, in the words of the protocol.

use wrenn_rpc::process::process_event::EndEvent;

/// The end of a process's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal { number: i32, dumped: bool },
}

impl Exit {
    /// The event that ends a stream.
    pub(super) fn event(self) -> EndEvent {
        let status = self.status();
        EndEvent {
            exit_code: match self {
                Self::Code(code) => code,
                Self::Signal { .. } => -1,
            },
            exited: matches!(self, Self::Code(_)),
            error: (self != Self::Code(0)).then(|| status.clone()),
            status,
            ..EndEvent::default()
        }
    }

    fn status(self) -> String {
        match self {
            Self::Code(code) => format!("exit status {code}"),
            Self::Signal { number, dumped } => {
                let dumped = if dumped { " (core dumped)" } else { "" };
                match name(number) {
                    Some(name) => format!("signal: {name}{dumped}"),
                    None => format!("signal: signal {number}{dumped}"),
                }
            }
        }
    }
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGSTKFLT => "stack fault",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "file size limit exceeded",
        libc::SIGVTALRM => "virtual timer expired",
        libc::SIGPROF => "profiling timer expired",
        libc::SIGIO => "I/O possible",
        libc::SIGPWR => "power failure",
        libc::SIGSYS => "bad system call",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(exit: Exit, expected: (i32, bool, &str, Option<&str>)) {
        let event = exit.event();
        let seen = (
            event.exit_code,
            event.exited,
            event.status.as_str(),
            event.error.as_deref(),
        );
        assert_eq!(seen, expected);
    }

    #[test]
    fn ends_are_told_as_agreed() {
        check(Exit::Code(0), (0, true, "exit status 0", None));
        check(
            Exit::Code(7),
            (7, true, "exit status 7", Some("exit status 7")),
        );
        let killed = Exit::Signal {
            number: libc::SIGKILL,
            dumped: false,
        };
        check(
            killed,
            (-1, false, "signal: killed", Some("signal: killed")),
        );
        let fault = Exit::Signal {
            number: libc::SIGSEGV,
            dumped: true,
        };
        let text = "signal: segmentation fault (core dumped)";
        check(fault, (-1, false, text, Some(text)));
        let odd = Exit::Signal {
            number: 40,
            dumped: false,
        };
        check(
            odd,
            (-1, false, "signal: signal 40", Some("signal: signal 40")),
        );
    }
}
