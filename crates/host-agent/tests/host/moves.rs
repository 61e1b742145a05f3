//! What the random run does to one sandbox, and which answers are legal.

use std::time::Duration;

use tokio::{join, time::sleep};
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    hostagent::{Sandbox, error_detail::Reason},
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{
        Answer, destroy, fork, fork_request, idle_after, keep, keep_request, pause, resume, shell,
    },
    contents::fill,
    fixture::reason,
};

/// What the model knows of a sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: SandboxId,
    /// `None`: it runs or is paused, as the last commands happened to be ordered.
    pub(crate) paused: Option<bool>,
    pub(crate) holds: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Fill,
    Pause,
    Resume,
    Fork,
    Keep,
    Destroy,
    PauseAndDestroy,
    PauseAndResume,
    ResumeAndDestroy,
    ResumeTwice,
    ForkAndPause,
    ForkAndDestroy,
    IdleAndExec,
}

pub(crate) const OF_RUNNING: [Action; 10] = [
    Action::Fill,
    Action::Pause,
    Action::Pause,
    Action::PauseAndDestroy,
    Action::PauseAndResume,
    Action::ForkAndPause,
    Action::ForkAndDestroy,
    Action::Fork,
    Action::Keep,
    Action::IdleAndExec,
];
pub(crate) const OF_PAUSED: [Action; 9] = [
    Action::Resume,
    Action::Resume,
    Action::ResumeTwice,
    Action::PauseAndResume,
    Action::ResumeAndDestroy,
    Action::Fork,
    Action::ForkAndDestroy,
    Action::Keep,
    Action::Destroy,
];

/// What an action leaves.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) known: Vec<Known>,
    pub(crate) template: Option<(TemplateId, String)>,
}

/// One action with all that chance decides about it.
pub(crate) struct Move<'a> {
    pub(crate) host: &'a AgentHost,
    pub(crate) known: Known,
    pub(crate) action: Action,
    /// Between two commands that contradict each other.
    pub(crate) gap: Duration,
    /// Not more children than there is room for.
    pub(crate) children: usize,
    pub(crate) word: String,
}

/// A command that met a destroy: done, or refused for that.
fn overtaken<T: std::fmt::Debug>(answer: Answer<T>) -> Option<T> {
    let error = match answer {
        Ok(done) => return Some(done),
        Err(error) => error,
    };
    let legal = match error.code {
        ErrorCode::NotFound | ErrorCode::FailedPrecondition | ErrorCode::Aborted => {
            matches!(
                reason(&error),
                Reason::WRONG_STATE | Reason::SANDBOX_NOT_FOUND
            )
        }
        _ => false,
    };
    assert!(legal, "{error:?}");
    None
}

pub(crate) fn must<T>(what: &str, answer: Result<T, ConnectError>) -> T {
    answer.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

impl Move<'_> {
    pub(crate) async fn play(mut self) -> After {
        let (host, id) = (self.host, self.known.id);
        let gap = sleep(self.gap);
        let mut after = After::default();
        match self.action {
            Action::Fill => self.known.holds = must("fill", fill(host, id, &self.word).await),
            Action::Pause => {
                must("pause", pause(host, id).await);
                self.known.paused = Some(true);
            }
            Action::Resume => {
                must("resume", resume(host, id).await);
                self.known.paused = Some(false);
            }
            Action::Destroy => {
                must("destroy", destroy(host, id).await);
                return after;
            }
            Action::Keep => {
                let template = TemplateId::new();
                must("keep", keep(host, keep_request(host, id, template)).await);
                after.template = Some((template, self.known.holds.clone()));
            }
            Action::Fork => {
                let (children, forked) = self.fork();
                must("fork", forked.await);
                after.known = children;
            }
            Action::PauseAndDestroy | Action::ResumeAndDestroy => {
                let gone = async {
                    gap.await;
                    must("destroy", destroy(host, id).await);
                };
                if self.action == Action::PauseAndDestroy {
                    overtaken(join!(pause(host, id), gone).0);
                } else {
                    overtaken(join!(resume(host, id), gone).0);
                }
                return after;
            }
            Action::PauseAndResume => {
                let resumed = async {
                    gap.await;
                    resume(host, id).await
                };
                let (paused, resumed) = join!(pause(host, id), resumed);
                must("pause", paused);
                must("resume", resumed);
                self.known.paused = None;
            }
            Action::ResumeTwice => {
                let again = async {
                    gap.await;
                    resume(host, id).await
                };
                let (first, second) = join!(resume(host, id), again);
                let began = |answer: Answer<Sandbox>| must("resume", answer).started_at_ms;
                assert_eq!(began(first), began(second), "it is resumed once");
                self.known.paused = Some(false);
            }
            Action::ForkAndPause => {
                let (children, forked) = self.fork();
                let forked = async {
                    gap.await;
                    forked.await
                };
                let (paused, forked) = join!(pause(host, id), forked);
                must("pause", paused);
                must("fork", forked);
                after.known = children;
                self.known.paused = Some(true);
            }
            Action::ForkAndDestroy => {
                let (children, forked) = self.fork();
                let gone = async {
                    gap.await;
                    must("destroy", destroy(host, id).await);
                };
                let (forked, ()) = join!(forked, gone);
                if overtaken(forked).is_some() {
                    after.known = children;
                }
                return after;
            }
            Action::IdleAndExec => {
                must("update", idle_after(host, id, 1).await);
                gap.await;
                // What has begun is not cut off.
                let work = "timeout 3 tail -f /dev/null; echo whole";
                if let Some(told) = overtaken(shell(host, id, work).await) {
                    assert_eq!(told, "whole\n");
                }
                must("update", idle_after(host, id, 0).await);
                self.known.paused = None;
            }
        }
        after.known.push(self.known);
        after
    }

    fn fork(&self) -> (Vec<Known>, impl Future<Output = Answer<()>> + use<>) {
        let child = |_| Known {
            id: SandboxId::new(),
            paused: Some(false),
            holds: self.known.holds.clone(),
        };
        let children: Vec<_> = (0..self.children).map(child).collect();
        let ids: Vec<_> = children.iter().map(|child| child.id).collect();
        let forked = fork(self.host, fork_request(self.host, self.known.id, &ids));
        (children, async move { forked.await.map(drop) })
    }
}
