//! `wrenn sandbox get`.

use clap::Args;
use wrenn_api::Sandbox;

use crate::{DONE, Outcome, context::Context, units};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn sandbox get @last\n  wrenn sandbox get sb-01jx --json")]
pub(crate) struct Arguments {
    /// Id, unique beginning of one, or @last
    #[arg(value_name = "ID")]
    sandbox: String,
}

/// Shows all fields of a sandbox.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let id = client.sandbox_find(&arguments.sandbox).await?;
    if context.out.is_json() {
        context.out.json(
            &client
                .get::<serde_json::Value>(&format!("/v1/sandboxes/{id}"))
                .await?,
        )?;
        return Ok(DONE);
    }
    context.out.pairs(&fields(&client.sandbox_get(id).await?))?;
    Ok(DONE)
}

fn fields(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let reason = sandbox
        .reason
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = |time: Option<wrenn_api::Time>| {
        time.map(|time| format!("{time} ({})", units::age_of(&time.to_string())))
            .unwrap_or_default()
    };
    let versions = sandbox.versions.clone().unwrap_or_default();
    let mut fields = vec![
        ("id", sandbox.id.to_string()),
        ("status", format!("{}{reason}", sandbox.status)),
        ("template", sandbox.template.clone()),
        ("vcpus", sandbox.vcpus.to_string()),
        (
            "memory",
            units::show_mebibytes(u64::from(sandbox.memory_mb)),
        ),
        (
            "disk",
            units::show_mebibytes(u64::from(sandbox.disk_size_mb)),
        ),
        (
            "disk used",
            sandbox
                .disk_used_mb
                .map(units::show_mebibytes)
                .unwrap_or_default(),
        ),
        (
            "idle timeout",
            if sandbox.timeout_sec == 0 {
                "never".into()
            } else {
                format!("{} s, then {}", sandbox.timeout_sec, sandbox.on_idle)
            },
        ),
        ("created", time(Some(sandbox.created_at))),
        ("started", time(sandbox.started_at)),
        ("last active", time(sandbox.last_active_at)),
        (
            "host",
            sandbox.host_id.map(|id| id.to_string()).unwrap_or_default(),
        ),
        ("guest ip", or_empty(&sandbox.guest_ip)),
        ("host ip", or_empty(&sandbox.host_ip)),
        (
            "internet",
            if sandbox.network.allow_internet {
                "allowed"
            } else {
                "blocked"
            }
            .to_owned(),
        ),
        ("kernel", versions.kernel_version),
        ("firecracker", versions.firecracker_version),
        ("agent", versions.agent_version),
        ("envd", versions.envd_version),
    ];
    let own = sandbox
        .metadata
        .iter()
        .filter(|(key, _)| !wrenn_api::sandbox::RESERVED_METADATA.contains(&key.as_str()));
    fields.extend(own.map(|(key, value)| ("label", format!("{key}={value}"))));
    fields
}
