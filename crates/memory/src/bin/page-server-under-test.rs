//! The page server alone, for this crate's tests: `SNAPSHOT SOCKET STATS [PREFETCH] [RECORD]`, an empty argument
//! for none. Users have it as a part of the `wrenn` program.

use std::{env, error::Error, path::PathBuf, process::ExitCode};

use wrenn_memory::page_server::{Options, run};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let mut next = || arguments.next().filter(|path| !path.as_os_str().is_empty());
    let options = Options {
        snapshot: next().unwrap_or_default(),
        socket: next().unwrap_or_default(),
        owner: None,
        stats: next(),
        prefetch: next(),
        record: next(),
    };
    let Err(error) = run(&options) else {
        return ExitCode::SUCCESS;
    };
    let mut cause: Option<&dyn Error> = Some(&error);
    while let Some(error) = cause {
        complain(error);
        cause = error.source();
    }
    ExitCode::FAILURE
}

#[expect(
    clippy::print_stderr,
    reason = "a program's last words; the tests read them"
)]
fn complain(error: &dyn Error) {
    eprintln!("{error}");
}
