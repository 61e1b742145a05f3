//! `wrenn run`: create, execute, pass the exit code through, destroy.
//!
//! Invariant: on every way out that this process sees, the sandbox is destroyed or its id is printed. A
//! sandbox whose client was killed pauses when idle, and the next `wrenn run` on this machine removes it.

use std::sync::Arc;

use clap::Args;
use wrenn_api::Sandbox;
use wrenn_ids::SandboxId;

use super::sandbox::{
    create::Shape,
    exec::{Program, ours, session},
};
use crate::{
    Outcome, block_on, client::Client, context::Context, error::CliError, process, signals::Signals,
};

/// Seconds after which a sandbox whose client is gone goes idle.
const IDLE_SECONDS: u32 = 300;
/// Labels that name the client machine and process.
const MACHINE_LABEL: &str = "wrenn-run/machine";
const PROCESS_LABEL: &str = "wrenn-run/process";

#[derive(Debug, Args)]
#[command(
    after_help = "Standard output and error come through unchanged; piped input is forwarded.\n\nExamples:\n  \
                        wrenn run -- python3 -c 'print(6*7)'\n  echo hello | wrenn run -- tr a-z A-Z\n  \
                        wrenn run --memory 1G -e LANG=C -- sh -c 'free -m && env'\n\n\
                        Exit codes: the command's own; 125 Wrenn failed, 126 not executable, 127 not found, 124 time limit\n\n\
                        See also: wrenn sandbox create, wrenn sandbox exec"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    program: Program,
    /// Keep the sandbox and print its id on standard error
    #[arg(long)]
    keep: bool,
}

/// Runs a command in a sandbox of its own.
pub(crate) fn run(context: &Context, arguments: Arguments) -> Outcome {
    if let [line] = &arguments.program.command[..]
        && line.contains(char::is_whitespace)
    {
        return Err(CliError::usage(format_args!(
            "`{line}` is one word with spaces, not a command with arguments"
        ))
        .hint("try", format_args!("wrenn run -- sh -c '{line}'")));
    }
    block_on(create_and_run(context, arguments)).map_err(ours)
}

async fn create_and_run(context: &Context, arguments: Arguments) -> Outcome {
    let mut signals = Signals::listen()?;
    let client = Arc::new(context.client()?);
    // Beside the work; what it does not get to is left to the next run.
    tokio::spawn(remove_abandoned(Arc::clone(&client)));
    let mut request = arguments.shape.request();
    request.timeout_sec = Some(IDLE_SECONDS);
    let labels = request.metadata.get_or_insert_default();
    labels.insert(MACHINE_LABEL.to_owned(), machine());
    labels.insert(
        PROCESS_LABEL.to_owned(),
        process::identity(std::process::id()).unwrap_or_default(),
    );

    // A signal while the request is under way is obeyed when the answer tells which sandbox to remove.
    let create = client.sandbox_create(&request);
    tokio::pin!(create);
    let mut interrupted = None;
    let sandbox = loop {
        tokio::select! {
            sandbox = &mut create => break sandbox?,
            exit = signals.next() => if interrupted.replace(exit).is_some() {
                context.out.warning("left while a sandbox was being created; wrenn sandbox ls shows it");
                return Err(CliError::silent(exit));
            },
        }
    };
    let id = sandbox.id;
    context
        .out
        .detail(1, &format!("sandbox {id} is {}", sandbox.status));
    let result = match interrupted {
        Some(exit) => Ok(exit),
        None => wait_and_run(&client, sandbox, &arguments, &mut signals).await,
    };
    if arguments.keep {
        context.out.note(&format!(
            "kept {id}\n  next  wrenn sandbox exec {id} -- sh\n  drop  wrenn sandbox rm {id}"
        ));
        return result;
    }
    destroy(context, &client, id, &mut signals).await?;
    result
}

async fn wait_and_run(
    client: &Client,
    sandbox: Sandbox,
    arguments: &Arguments,
    signals: &mut Signals,
) -> Outcome {
    let sandbox = tokio::select! {
        sandbox = client.sandbox_wait_running(sandbox) => sandbox?,
        exit = signals.next() => return Ok(exit),
    };
    session(client, sandbox.id, &arguments.program, &[], signals).await
}

/// Destroys the sandbox; a signal meanwhile leaves at once and says what is left behind.
async fn destroy(
    context: &Context,
    client: &Client,
    id: SandboxId,
    signals: &mut Signals,
) -> Result<(), CliError> {
    let left = |error: &str| {
        context.out.warning(&format!(
            "sandbox {id} was not destroyed: {error}\n  drop  wrenn sandbox rm {id}"
        ));
    };
    tokio::select! {
        result = client.sandbox_destroy(id) => {
            // The command's own result stands; a sandbox that is left is a warning.
            if let Err(error) = result {
                left(&error.message);
            }
            Ok(())
        }
        exit = signals.next() => {
            left("interrupted");
            Err(CliError::silent(exit))
        }
    }
}

/// Destroys the sandboxes of earlier runs on this machine whose process is gone; failing is no harm.
async fn remove_abandoned(client: Arc<Client>) {
    let query = format!(
        "status=running,paused&metadata={MACHINE_LABEL}:{}",
        machine()
    );
    let Ok(sandboxes) = client.sandbox_list::<Sandbox>(&query).await else {
        return;
    };
    for sandbox in sandboxes {
        let owner = sandbox
            .metadata
            .get(PROCESS_LABEL)
            .map(String::as_str)
            .unwrap_or_default();
        if !owner.is_empty() && process::living(owner).is_none() {
            let _ = client.sandbox_destroy(sandbox.id).await;
        }
    }
}

/// This machine, as a label: its name without characters that a label or a query may not have.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        .collect();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn the_machine_is_a_label() {
        let machine = machine();
        assert!(
            !machine.is_empty() && machine.len() <= 64 && !machine.contains(['&', '=', ' ']),
            "{machine}"
        );
    }

    #[test]
    fn our_own_failures_are_125() {
        assert_eq!(
            ours(CliError::new(Exit::Unavailable, "x", "y")).exit,
            Exit::Code(125)
        );
        assert_eq!(ours(CliError::usage("y")).exit, Exit::Usage);
    }
}
