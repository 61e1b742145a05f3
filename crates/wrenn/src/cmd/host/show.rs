//! How hosts are shown.

use wrenn_api::{
    Time,
    host::{Host, HostDeletion},
};

use crate::{context::Context, error::CliError, out::Table, units};

fn ago(time: Option<Time>) -> String {
    time.map_or_else(
        || "never".to_owned(),
        |time| units::age_of(&time.to_string()),
    )
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

/// What is used of what there is.
fn of(used: u64, whole: Option<u64>, show: impl Fn(u64) -> String) -> String {
    match whole {
        Some(whole) => format!("{} / {}", show(used), show(whole)),
        None => String::new(),
    }
}

fn vcpus(host: &Host) -> String {
    of(host.used.vcpus, host.cpu_cores.map(u64::from), |count| {
        count.to_string()
    })
}

fn memory(host: &Host) -> String {
    of(host.used.memory_mb, host.memory_mb, units::show_mebibytes)
}

/// All of them.
pub(super) fn list(context: &Context, hosts: &[Host], wide: bool) -> Result<(), CliError> {
    if context.out.is_json() {
        return context.out.json(&hosts);
    }
    if context.out.is_quiet() {
        return hosts
            .iter()
            .try_for_each(|host| context.out.line(&host.id.to_string()));
    }
    if hosts.is_empty() {
        context.out.note("No hosts.\n\n  next  wrenn host token");
        return Ok(());
    }
    let mut headings = vec![
        "STATUS",
        "TYPE",
        "SANDBOXES",
        "VCPU",
        "MEMORY",
        "SEEN",
        "ID",
    ];
    if wide {
        headings.extend(["ADDRESS", "PROVIDER", "ZONE", "TEAM", "TAGS", "VERSION"]);
    }
    let mut table = Table::new(&headings);
    for host in hosts {
        let mut cells = vec![
            host.status.to_string(),
            host.r#type.to_string(),
            host.used.sandboxes.to_string(),
            vcpus(host),
            memory(host),
            ago(host.last_heartbeat_at),
            host.id.to_string(),
        ];
        if wide {
            cells.extend([
                text(host.address.as_ref()),
                text(host.provider.as_ref()),
                text(host.availability_zone.as_ref()),
                text(host.team_name.as_ref()),
                host.tags.join(","),
                text(host.agent_version.as_ref()),
            ]);
        }
        table.row(cells);
    }
    context.out.table(&table)
}

/// One of them.
pub(super) fn one(context: &Context, host: &Host) -> Result<(), CliError> {
    if context.out.is_json() {
        return context.out.json(host);
    }
    let disk = host.disk_gb.map(|gb| gb * 1024);
    let disk = of(host.used.disk_mb, disk, units::show_mebibytes);
    let time = |time: Option<Time>| time.map_or_else(String::new, |time| time.to_string());
    context.out.pairs(&[
        ("id", host.id.to_string()),
        ("status", host.status.to_string()),
        ("type", host.r#type.to_string()),
        (
            "team",
            host.team_id.map_or_else(String::new, |id| id.to_string()),
        ),
        ("address", text(host.address.as_ref())),
        ("provider", text(host.provider.as_ref())),
        ("zone", text(host.availability_zone.as_ref())),
        ("arch", text(host.arch.as_ref())),
        ("tags", host.tags.join(" ")),
        ("sandboxes", host.used.sandboxes.to_string()),
        ("vcpus", vcpus(host)),
        ("memory", memory(host)),
        ("disk", disk),
        ("agent", text(host.agent_version.as_ref())),
        ("certificate", time(host.cert_expires_at)),
        ("seen", ago(host.last_heartbeat_at)),
        ("added", time(Some(host.created_at))),
        ("added by", host.created_by.clone()),
    ])
}

/// What is asked before a host is deleted with its sandboxes, and what is at stake.
pub(super) fn stakes(preview: &HostDeletion) -> (String, String) {
    let (all, paused) = (preview.sandbox_ids.len(), preview.paused_sandbox_ids.len());
    let lost = match (preview.reachable, paused) {
        (false, 1..) => {
            format!(
                "; it does not answer, so the memory and files of {paused} paused ones are lost"
            )
        }
        _ => String::new(),
    };
    (
        format!(
            "Delete {} and destroy its {all} sandboxes{lost}?",
            preview.host.id
        ),
        format!("{all} sandboxes are destroyed{lost}"),
    )
}
