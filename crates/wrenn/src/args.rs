//! The command tree. Each command's own arguments stand beside the command, in `cmd`.

use clap::{Parser, Subcommand};

use crate::{
    cmd::{
        admin, api, audit, completions, config, context, control_plane, debug, doctor, down, help,
        host, host_agent, key, login, logs, machine, man, migrate, page_server, run, sandbox,
        setup, snapshot, status, supervise, team, template, up, version,
    },
    context::Global,
};

/// The command line of `wrenn`.
#[derive(Debug, Parser)]
#[command(
    name = "wrenn",
    about = "Run untrusted code in microVMs on machines that you own",
    after_help = "The first three commands:\n  wrenn up                             start everything on this machine\n  \
                  wrenn run -- python3 -c 'print(6*7)'  run a command in a fresh sandbox\n  \
                  wrenn sandbox create                 keep a sandbox; see wrenn sandbox --help\n\n\
                  Topics: wrenn help exit-codes, wrenn help environment",
    disable_help_subcommand = true,
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Everything that `wrenn` does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole platform on this machine and run a first sandbox
    Up(up::Arguments),
    /// Stop what `wrenn up` started
    Down(down::Arguments),
    /// Show what runs on this machine and how it is
    Status(status::Arguments),
    /// Check this machine and the installation, with remedies
    Doctor(doctor::Arguments),
    /// Show the logs of the services on this machine
    Logs(logs::Arguments),
    /// Run a command in a fresh sandbox and destroy the sandbox afterwards
    Run(run::Arguments),
    /// Create, list, use and remove sandboxes
    #[command(subcommand, visible_aliases = ["sb", "capsule"], arg_required_else_help = true)]
    Sandbox(sandbox::Command),
    /// Short for `wrenn sandbox create`
    Create(sandbox::create::Arguments),
    /// Short for `wrenn sandbox ls`
    Ls(sandbox::ls::Arguments),
    /// Short for `wrenn sandbox exec`
    Exec(sandbox::exec::Arguments),
    /// Short for `wrenn sandbox cp`
    Cp(sandbox::cp::Arguments),
    /// Short for `wrenn sandbox pause`
    Pause(sandbox::pause::Arguments),
    /// Short for `wrenn sandbox resume`
    Resume(sandbox::resume::Arguments),
    /// Short for `wrenn sandbox rm`
    Rm(sandbox::rm::Arguments),
    /// Keep sandboxes as templates, with their memory
    #[command(subcommand, arg_required_else_help = true)]
    Snapshot(snapshot::Command),
    /// Look at what sandboxes are made from
    #[command(subcommand, arg_required_else_help = true)]
    Template(template::Command),
    /// Make, change and leave teams
    #[command(subcommand, arg_required_else_help = true)]
    Team(team::Command),
    /// Make and revoke API keys
    #[command(subcommand, arg_required_else_help = true)]
    Key(key::Command),
    /// Add, look at, empty and delete hosts
    #[command(subcommand, arg_required_else_help = true)]
    Host(host::Command),
    /// Show who did what
    Audit(audit::Arguments),
    /// Repair accounts on the control plane's machine, through its database
    #[command(subcommand, arg_required_else_help = true)]
    Admin(admin::Command),
    /// Sign in at a server
    Login(login::Arguments),
    /// Sign out and forget the login
    Logout(login::Logout),
    /// Show who the commands act as
    Whoami(login::Whoami),
    /// Choose between servers
    #[command(subcommand, arg_required_else_help = true)]
    Context(context::Command),
    /// Call the API directly
    Api(api::Arguments),
    /// Look at the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(config::Command),
    /// Serve the API: one replica of the control plane
    ControlPlane(control_plane::Arguments),
    /// Run sandboxes on this machine for a control plane
    HostAgent(host_agent::Arguments),
    /// Look into a host's files
    #[command(subcommand, arg_required_else_help = true)]
    Debug(debug::Command),
    /// The process that serves the memory of a restored VM
    #[command(hide = true)]
    PageServer(page_server::Arguments),
    /// Fetch and build the guest kernel, Firecracker and the base image
    Setup(setup::Arguments),
    /// Handle the virtual host: the QEMU machine for machines without usable KVM
    #[command(subcommand, arg_required_else_help = true)]
    Machine(machine::Command),
    /// Bring the database to this version
    #[command(subcommand, arg_required_else_help = true)]
    Migrate(migrate::Command),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Show a manual page, or write all of them
    Man(man::Arguments),
    /// Show the version
    Version(version::Arguments),
    /// Show help for a command or a topic
    Help(help::Arguments),
    /// The process behind `wrenn up`
    #[command(hide = true)]
    Supervise(supervise::Arguments),
}

/// `wrenn page-server` alone: a restoration waits for it, and to make the whole tree of commands takes longer than
/// the rest of its start.
#[derive(Debug, Parser)]
pub(crate) struct PageServerArguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: OnlyPageServer,
}

#[derive(Debug, Subcommand)]
enum OnlyPageServer {
    PageServer(page_server::Arguments),
}

impl From<PageServerArguments> for Arguments {
    fn from(parsed: PageServerArguments) -> Self {
        let OnlyPageServer::PageServer(arguments) = parsed.command;
        Self {
            global: parsed.global,
            command: Command::PageServer(arguments),
        }
    }
}
