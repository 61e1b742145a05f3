//! `wrenn sandbox exec`, and the session that `wrenn run` shares with it.

use std::time::Duration;

use clap::Args;
use tokio::{sync::mpsc, time::Instant};
use wrenn_api::{ErrorCode, stream::Start};
use wrenn_ids::SandboxId;

use super::{create::whole_seconds, environment};
use crate::{
    Outcome,
    client::{
        Client,
        exec::{Ended, Stdin, Stop},
    },
    context::Context,
    error::{CliError, Exit},
    signals::Signals,
    units,
};

/// Time beyond the limit after which the server ends a program whose client is gone.
const SERVER_GRACE: Duration = Duration::from_secs(5);

/// A program that was told to stop may take this long, its kill included, before the session is left.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How a program is started; `wrenn run` takes the same.
#[derive(Debug, Clone, Args)]
pub(crate) struct Program {
    /// Directory it starts in [default: home of the user]
    #[arg(short = 'w', long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// User it runs as [default: the template's]
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// End it after this long, with exit code 124
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Forward standard input also from a terminal
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The command and its arguments; -- before them keeps their flags apart from ours
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<String>,
}

impl Program {
    /// The request to start it.
    ///
    /// # Errors
    /// The time limit is longer than the API takes.
    pub(crate) fn start(&self, env: &[(String, String)]) -> Result<Start, CliError> {
        let (cmd, args) = self
            .command
            .split_first()
            .ok_or_else(|| CliError::usage("no command was given"))?;
        Ok(Start {
            cmd: cmd.clone(),
            args: Some(args.to_vec()),
            envs: (!env.is_empty()).then(|| env.iter().cloned().collect()),
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            timeout_sec: self
                .time_limit
                .map(|limit| whole_seconds(limit + SERVER_GRACE))
                .transpose()?,
            ..Start::default()
        })
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn sandbox exec @last -- uname -a\n  wrenn sandbox exec @last -e LANG=C -w /tmp -- ls -la\n  \
                        echo hello | wrenn sandbox exec @last -- cat\n\n\
                        Exit codes: the command's own; 125 Wrenn failed, 126 not executable, 127 not found, 124 time limit"
)]
pub(crate) struct Arguments {
    /// Id, unique beginning of one, or @last
    #[arg(value_name = "ID")]
    sandbox: String,
    /// A variable of its environment; a bare name copies ours (repeatable)
    #[arg(short, long = "env", value_name = "KEY[=VALUE]", value_parser = environment)]
    env: Vec<(String, String)>,
    #[command(flatten)]
    program: Program,
}

/// Runs a program in a sandbox that exists.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let mut signals = Signals::listen()?;
    let client = context.client().map_err(ours)?;
    let id = client
        .sandbox_find(&arguments.sandbox)
        .await
        .map_err(ours)?;
    session(
        &client,
        id,
        &arguments.program,
        &arguments.env,
        &mut signals,
    )
    .await
    .map_err(|error| ours(asleep(id, error)))
}

/// What is in the way of a program is most often that its sandbox sleeps and may not be woken by use.
fn asleep(id: SandboxId, mut error: CliError) -> CliError {
    if error.code == ErrorCode::InvalidState.as_str() {
        error.hints.clear();
        return error
            .hint("wake", format_args!("wrenn resume {id}"))
            .hint("see", format_args!("wrenn sandbox get {id}"));
    }
    error
}

/// Runs `program` until it ends and returns the exit code to pass on: the first signal ends the program, the
/// second the session.
pub(crate) async fn session(
    client: &Client,
    id: SandboxId,
    program: &Program,
    env: &[(String, String)],
    signals: &mut Signals,
) -> Outcome {
    let (stop, mut stops) = mpsc::channel(4);
    let exec = client.exec(
        id,
        program.start(env)?,
        Stdin::choose(program.interactive),
        &mut stops,
    );
    tokio::pin!(exec);
    let limit = async {
        match program.time_limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let mut ended_by: Option<Exit> = None;
    let give_up = tokio::time::sleep(Duration::MAX);
    tokio::pin!(give_up);
    loop {
        tokio::select! {
            ended = &mut exec => {
                let exit = match (ended_by, ended?) {
                    (Some(exit), _) => exit,
                    (None, Ended::Exited(code)) => Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                    // As a local command whose reader went away: 128 + SIGPIPE.
                    (None, Ended::Closed) => Exit::Code(141),
                    (None, Ended::Left) => Exit::Interrupted,
                };
                return Ok(exit);
            }
            exit = signals.next() => {
                let action = if ended_by.replace(exit).is_none() { Stop::Command } else { Stop::Now };
                let _ = stop.try_send(action);
                give_up.as_mut().reset(Instant::now() + STOP_LIMIT);
            }
            () = &mut limit, if ended_by.is_none() => {
                ended_by = Some(Exit::Code(124));
                let _ = stop.try_send(Stop::Command);
                give_up.as_mut().reset(Instant::now() + STOP_LIMIT);
            }
            () = &mut give_up => {
                let _ = stop.try_send(Stop::Now);
                give_up.as_mut().reset(Instant::now() + STOP_LIMIT);
            }
        }
    }
}

/// Our own failure, told apart from the command's codes.
pub(crate) fn ours(mut error: CliError) -> CliError {
    if !matches!(
        error.exit,
        Exit::Usage | Exit::Code(_) | Exit::Interrupted | Exit::Terminated
    ) {
        error.exit = Exit::Code(125);
    }
    error
}
