//! The host, its templates and its events on the wire.

use std::sync::Arc;

use futures::{Stream, stream};
use tokio_util::sync::CancellationToken;
use wrenn_ids::{HostId, TemplateId};
use wrenn_rpc::hostagent::{
    GetHostInfoResponse, HostEvent, Template, WatchEventsResponse,
    host_event::{Exited, IdleDestroyed, PauseFailed, Paused},
};

use super::sandboxes::pause_reason;
use crate::{
    events::{Event, EventKind, Events},
    facts,
    sandbox::{Host, Phase, Registry, seed::SnapshotTemplate},
    templates,
};

/// The host as callers see it.
pub(super) fn info(registry: &Registry, host_id: HostId) -> GetHostInfoResponse {
    let host = registry.host();
    let (memory, disk) = (facts::memory(), facts::disk(&host.state_dir));
    let running = registry
        .list()
        .iter()
        .filter(|view| matches!(view.state, Phase::Running(_)))
        .count();
    GetHostInfoResponse {
        host_id: host_id.to_string(),
        boot_id: host.events.boot_id().to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu_cores: facts::cpu_cores(),
        memory_mib: memory.total_mib,
        memory_free_mib: memory.free_mib,
        disk_mib: disk.total_mib,
        disk_free_mib: disk.free_mib,
        agent_version: facts::AGENT_VERSION.to_owned(),
        firecracker_version: host.warm.firecracker_version().to_owned(),
        kernel_version: facts::kernel_release(),
        running_sandboxes: running.try_into().unwrap_or(u32::MAX),
        ..GetHostInfoResponse::default()
    }
}

/// A template as callers see it.
pub(super) fn template(template: templates::Template) -> Template {
    Template {
        template_id: template.id.to_string(),
        name: template.name,
        size_bytes: template.size_bytes,
        envd_version: template.envd_version,
        disk_mib: template.disk_mib,
        ..Template::default()
    }
}

/// A snapshot template as callers see it.
pub(super) fn snapshot_template(
    host: &Host,
    id: TemplateId,
    template: &SnapshotTemplate,
) -> Template {
    let (sandbox, snapshot) = (&template.sandbox, template.sandbox.snapshot.as_ref());
    Template {
        template_id: id.to_string(),
        name: template.name.clone(),
        size_bytes: template.size_bytes(&host.snapshot_template(id)),
        envd_version: snapshot.map_or_else(String::new, |taken| taken.envd_version.clone()),
        disk_mib: sandbox.disk_mib,
        vcpus: sandbox.vcpus,
        memory_mib: sandbox.memory_mib,
        ..Template::default()
    }
}

/// An event as callers see it.
pub(super) fn event(event: Event) -> HostEvent {
    HostEvent {
        seq: event.seq,
        at_ms: event.at_ms,
        sandbox_id: event.sandbox_id.to_string(),
        generation: event.generation,
        kind: match event.kind {
            EventKind::Exited => Exited::default().into(),
            EventKind::Paused(reason) => Paused {
                reason: pause_reason(reason).into(),
                ..Paused::default()
            }
            .into(),
            EventKind::IdleDestroyed => IdleDestroyed::default().into(),
            EventKind::PauseFailed => PauseFailed::default().into(),
        },
        ..HostEvent::default()
    }
}

/// Events after `seq`, those recorded already and then each as it happens, until `stop`. The first message
/// carries no event, so that the caller knows at once that it is being told.
pub(super) fn watch(
    events: Arc<Events>,
    seq: u64,
    stop: CancellationToken,
) -> impl Stream<Item = WatchEventsResponse> + Send {
    struct State {
        events: Arc<Events>,
        newest: tokio::sync::watch::Receiver<u64>,
        told: u64,
        waiting: std::vec::IntoIter<Event>,
        greeted: bool,
        stop: CancellationToken,
    }
    let newest = events.watch();
    let state = State {
        events,
        newest,
        told: seq,
        waiting: Vec::new().into_iter(),
        greeted: false,
        stop,
    };
    stream::unfold(state, |mut state| async move {
        let boot_id = state.events.boot_id().to_owned();
        if !state.greeted {
            state.greeted = true;
            return Some((
                WatchEventsResponse {
                    boot_id,
                    ..Default::default()
                },
                state,
            ));
        }
        loop {
            if let Some(next) = state.waiting.next() {
                state.told = next.seq;
                let event = event(next).into();
                return Some((
                    WatchEventsResponse {
                        boot_id,
                        event,
                        ..Default::default()
                    },
                    state,
                ));
            }
            state.newest.mark_unchanged();
            state.waiting = state.events.after(state.told).into_iter();
            if state.waiting.len() == 0 {
                tokio::select! {
                    () = state.stop.cancelled() => return None,
                    changed = state.newest.changed() => changed.ok()?,
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use wrenn_ids::SandboxId;

    use super::*;

    #[tokio::test]
    async fn a_watcher_sees_what_was_and_what_comes_and_then_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let events = Arc::new(Events::open(directory.path(), "boot".into()).unwrap());
        let record = || {
            events
                .record(SandboxId::ZERO, 1, EventKind::Exited)
                .unwrap()
        };
        record();
        record();
        let stop = CancellationToken::new();
        let mut watch = Box::pin(watch(Arc::clone(&events), 1, stop.clone()));
        let seq = |message: WatchEventsResponse| message.event.into_option().map(|event| event.seq);
        assert_eq!(seq(watch.next().await.unwrap()), None);
        assert_eq!(seq(watch.next().await.unwrap()), Some(2));
        record();
        assert_eq!(seq(watch.next().await.unwrap()), Some(3));
        stop.cancel();
        assert!(watch.next().await.is_none());
    }
}
