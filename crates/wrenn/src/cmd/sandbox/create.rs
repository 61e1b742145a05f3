//! `wrenn sandbox create`.

use std::time::{Duration, Instant};

use clap::Args;
use wrenn_api::{CreateSandbox, Sandbox};

use super::{environment, label};
use crate::{DONE, Outcome, context::Context, error::CliError, units};

/// What a sandbox is made of; `wrenn run` takes the same.
#[derive(Debug, Clone, Args)]
pub(crate) struct Shape {
    /// Template to start from
    #[arg(short = 'T', long, value_name = "NAME", default_value = wrenn_api::sandbox::DEFAULT_TEMPLATE)]
    pub(crate) template: String,
    /// Virtual CPUs, 1 to 32 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) vcpus: Option<u32>,
    /// Memory, like 512M or 2G [default: 512M]
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    pub(crate) memory: Option<u32>,
    /// Disk, like 5G [default: 5G]
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    pub(crate) disk: Option<u32>,
    /// A label to find it by (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// A variable of its environment; a bare name copies ours (repeatable)
    #[arg(short, long = "env", value_name = "KEY[=VALUE]", value_parser = environment)]
    pub(crate) env: Vec<(String, String)>,
}

impl Shape {
    /// The request for it.
    pub(crate) fn request(&self) -> CreateSandbox {
        CreateSandbox {
            template: Some(self.template.clone()),
            vcpus: self.vcpus,
            memory_mb: self.memory,
            disk_size_mb: self.disk,
            metadata: (!self.labels.is_empty()).then(|| self.labels.iter().cloned().collect()),
            envs: (!self.env.is_empty()).then(|| self.env.iter().cloned().collect()),
            ..CreateSandbox::default()
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn sandbox create\n  wrenn sandbox create --memory 1G --label job=42\n  \
                        ID=$(wrenn sandbox create -q)\n\nSee also: wrenn run, wrenn sandbox exec, wrenn sandbox rm"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    shape: Shape,
    /// Pause it after this long without activity; 0 is never [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    idle_timeout: Option<Duration>,
    /// Do not wake it when it is used while it is paused
    #[arg(long)]
    no_auto_resume: bool,
    /// Do not wait until it runs
    #[arg(long)]
    no_wait: bool,
}

/// Creates a sandbox and shows its id and status.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let mut request = arguments.shape.request();
    request.timeout_sec = arguments.idle_timeout.map(whole_seconds).transpose()?;
    request.auto_resume = arguments.no_auto_resume.then_some(false);
    let begun = Instant::now();
    let progress = context.out.progress();
    progress.event(&crate::out::StepEvent::Step {
        name: "Sandbox".into(),
    });
    let mut sandbox = client.sandbox_create(&request).await?;
    if !arguments.no_wait {
        progress.note(&format!("{} is {}", sandbox.id, sandbox.status), None);
        sandbox = client.sandbox_wait_running(sandbox).await?;
    }
    drop(progress);
    context.out.detail(
        1,
        &format!(
            "{} after {} ms",
            sandbox.status,
            begun.elapsed().as_millis()
        ),
    );
    show(context, &sandbox)?;
    Ok(DONE)
}

fn show(context: &Context, sandbox: &Sandbox) -> Result<(), CliError> {
    if context.out.is_json() {
        return context.out.json(sandbox);
    }
    if context.out.is_quiet() {
        return context.out.line(&sandbox.id.to_string());
    }
    context
        .out
        .line(&format!("{}  {}", sandbox.id, sandbox.status))?;
    if context.out.may_ask() {
        context.out.note(&format!(
            "\n  next  wrenn sandbox exec {} -- uname -a",
            sandbox.id
        ));
    }
    Ok(())
}

/// Whole seconds as the API takes them.
pub(crate) fn whole_seconds(time: Duration) -> Result<u32, CliError> {
    u32::try_from(time.as_secs()).map_err(|_| CliError::usage("the duration is too long"))
}
