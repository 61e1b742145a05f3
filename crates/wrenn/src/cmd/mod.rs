//! The commands, one module a noun: arguments, what it does, how its result is shown.

pub(crate) mod admin;
pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod control_plane;
pub(crate) mod debug;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod help;
pub(crate) mod host;
pub(crate) mod host_agent;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod page_server;
mod role;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod setup;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod supervise;
pub(crate) mod team;
pub(crate) mod template;
pub(crate) mod up;
pub(crate) mod version;

use crate::{Outcome, args::Command, context::Context};

/// Runs `command`.
pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    use sandbox::Command as Sandbox;
    match command {
        Command::Up(arguments) => up::run(context, &arguments),
        Command::Down(arguments) => down::run(context, &arguments),
        Command::Status(arguments) => status::run(context, &arguments),
        Command::Doctor(arguments) => doctor::run(context, &arguments),
        Command::Logs(arguments) => logs::run(context, &arguments),
        Command::Run(arguments) => run::run(context, arguments),
        Command::Sandbox(command) => sandbox::run(context, command),
        Command::Create(arguments) => sandbox::run(context, Sandbox::Create(arguments)),
        Command::Ls(arguments) => sandbox::run(context, Sandbox::Ls(arguments)),
        Command::Exec(arguments) => sandbox::run(context, Sandbox::Exec(arguments)),
        Command::Cp(arguments) => sandbox::run(context, Sandbox::Cp(arguments)),
        Command::Pause(arguments) => sandbox::run(context, Sandbox::Pause(arguments)),
        Command::Resume(arguments) => sandbox::run(context, Sandbox::Resume(arguments)),
        Command::Rm(arguments) => sandbox::run(context, Sandbox::Rm(arguments)),
        Command::Snapshot(command) => snapshot::run(context, command),
        Command::Template(command) => template::run(context, command),
        Command::Team(command) => team::run(context, command),
        Command::Key(command) => key::run(context, command),
        Command::Host(command) => host::run(context, command),
        Command::Audit(arguments) => audit::run(context, &arguments),
        Command::Admin(command) => admin::run(context, command),
        Command::Login(arguments) => login::run(context, &arguments),
        Command::Logout(arguments) => login::logout(context, &arguments),
        Command::Whoami(arguments) => login::whoami(context, &arguments),
        Command::Context(command) => context::run(context, &command),
        Command::Api(arguments) => api::run(context, arguments),
        Command::Config(command) => config::run(context, &command),
        Command::ControlPlane(arguments) => control_plane::run(&arguments),
        Command::HostAgent(arguments) => host_agent::run(context, &arguments),
        Command::Debug(command) => debug::run(context, command),
        Command::PageServer(arguments) => page_server::run(arguments),
        Command::Setup(arguments) => setup::run(context, &arguments),
        Command::Machine(command) => machine::run(context, &command),
        Command::Migrate(command) => migrate::run(context, &command),
        Command::Completions(arguments) => completions::run(context, &arguments),
        Command::Man(arguments) => man::run(context, &arguments),
        Command::Version(arguments) => version::run(context, &arguments),
        Command::Help(arguments) => help::run(context, &arguments),
        Command::Supervise(arguments) => supervise::run(context, &arguments),
    }
}
