//! What the fault tests do to a sandbox, and how they see that nothing of it is lost.

use futures::future::BoxFuture;
use wrenn_ids::{SandboxId, TemplateId};
use wrenn_rpc::{
    connectrpc::ErrorCode,
    hostagent::{ListSandboxesRequest, ListTemplatesRequest, SandboxState},
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::{
    calls::{
        Answer, create_of, delete_template, destroy, fork, fork_request, keep, keep_request, pause,
        resume, shell, state,
    },
    contents::{fill, look},
    fault_points::Operation,
    fixture::get,
};

/// What one case is about: a template of two generations, so that what is made of it has a page server, one sandbox of
/// it, and what is made of that.
pub(crate) struct Subject {
    pub(crate) seed: TemplateId,
    pub(crate) id: SandboxId,
    pub(crate) holds: String,
    pub(crate) children: [SandboxId; 2],
    pub(crate) kept: TemplateId,
}

/// It on a host.
pub(crate) struct Case<'a> {
    pub(crate) host: &'a AgentHost,
    subject: Subject,
}

impl Subject {
    /// On its host.
    pub(crate) fn of(self, host: &AgentHost) -> Case<'_> {
        Case {
            host,
            subject: self,
        }
    }
}

impl std::ops::Deref for Case<'_> {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl<'a> Case<'a> {
    pub(crate) fn new(host: &'a AgentHost, seed: TemplateId) -> Self {
        let id = SandboxId::new();
        let holds = host.block_on(async {
            create_of(host, id, seed).await.expect("it is created");
            fill(host, id, "word").await.expect("it is filled")
        });
        let subject = Subject {
            seed,
            id,
            holds,
            children: [SandboxId::new(), SandboxId::new()],
            kept: TemplateId::new(),
        };
        subject.of(host)
    }

    /// Without its host, while that is away.
    pub(crate) fn parted(self) -> Subject {
        self.subject
    }

    pub(crate) fn call(&self, operation: Operation) -> BoxFuture<'static, Answer<()>> {
        let (host, id) = (self.host, self.id);
        match operation {
            Operation::Pause => {
                let paused = pause(host, id);
                Box::pin(async { paused.await.map(drop) })
            }
            Operation::Resume => {
                let resumed = resume(host, id);
                Box::pin(async { resumed.await.map(drop) })
            }
            Operation::Keep => Box::pin(keep(host, keep_request(host, id, self.kept))),
            Operation::Fork => {
                let forked = fork(host, fork_request(host, id, &self.children));
                Box::pin(async { forked.await.map(drop) })
            }
            Operation::Destroy => Box::pin(destroy(host, id)),
        }
    }

    /// Brings it to where the operation begins.
    pub(crate) fn prepare(&self, operation: Operation) {
        if operation == Operation::Resume {
            let paused = self.host.block_on(pause(self.host, self.id));
            paused.expect("it is paused");
        }
    }

    pub(crate) fn state(&self) -> Option<SandboxState> {
        settled(self.host, self.id)
    }

    /// It is there, and holds what it held. Leaves it running.
    pub(crate) fn is_whole(&self, id: SandboxId, when: &str) {
        let host = self.host;
        if settled(host, id) == Some(SandboxState::Paused) {
            let resumed = host.block_on(resume(host, id));
            resumed.unwrap_or_else(|error| panic!("{when}: {error}\n{}", host.log()));
        }
        let held = host.block_on(look(host, id));
        let held = held.unwrap_or_else(|error| panic!("{when}: {error}\n{}", host.log()));
        assert_eq!(held, self.holds, "{when}");
    }

    /// Whether the agent has the snapshot template.
    pub(crate) fn is_kept(&self) -> bool {
        let host = self.host;
        let listed = host.block_on(host.client.list_templates(ListTemplatesRequest::default()));
        let listed = listed.expect("they are listed").into_owned().templates;
        let id = self.kept.to_string();
        listed.iter().any(|found| found.template_id == id)
    }

    /// What the operation makes is whole if it is there; gives whether it is.
    pub(crate) fn made(&self, operation: Operation, when: &str) -> bool {
        let host = self.host;
        match operation {
            Operation::Keep => {
                let kept = self.is_kept();
                if kept {
                    let child = self.children[0];
                    let created = host.block_on(create_of(host, child, self.kept));
                    created.unwrap_or_else(|error| panic!("{when}: {error}\n{}", host.log()));
                    self.is_whole(child, when);
                }
                kept
            }
            Operation::Fork => {
                let there = self.children.map(|child| settled(host, child).is_some());
                for (child, there) in self.children.into_iter().zip(there) {
                    if there {
                        self.is_whole(child, when);
                    }
                }
                there == [true, true]
            }
            Operation::Pause | Operation::Resume | Operation::Destroy => true,
        }
    }

    /// Takes everything away; nothing but the seed is left.
    pub(crate) fn clear(self, when: &str, census: &str) {
        let host = self.host;
        host.block_on(async {
            for id in self.children.into_iter().chain([self.id]) {
                destroy(host, id).await.expect(when);
            }
            delete_template(host, self.kept).await.expect(when);
        });
        host.await_census(census).expect(when);
        let left = host.shell("ls /var/lib/wrenn/templates").expect("list");
        assert_eq!(left.trim(), self.seed.to_string(), "{when}");
    }
}

/// Its state once nothing changes it any more; none when it is not there.
pub(crate) fn settled(host: &AgentHost, id: SandboxId) -> Option<SandboxState> {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(180);
    loop {
        let now = match get(host, id) {
            Ok(sandbox) => state(&sandbox),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::NotFound);
                return None;
            }
        };
        // The death of its VM may not have been seen.
        let lives = || host.block_on(shell(host, id, "true")).is_ok();
        if now == SandboxState::Paused || (now == SandboxState::Running && lives()) {
            return Some(now);
        }
        assert!(std::time::Instant::now() < until, "{id} stays {now:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// What all cases begin with: its census, and the template.
pub(crate) fn seed(host: &AgentHost) -> (String, TemplateId) {
    let (id, template) = (SandboxId::new(), TemplateId::new());
    host.block_on(async {
        create_of(host, id, TemplateId::ZERO).await.expect("create");
        fill(host, id, "seed").await.expect("fill");
        pause(host, id).await.expect("pause");
        resume(host, id).await.expect("resume");
        keep(host, keep_request(host, id, template))
            .await
            .expect("keep");
        destroy(host, id).await.expect("destroy");
    });
    (host.census().expect("count"), template)
}

pub(crate) fn end(host: &AgentHost, seed: TemplateId, before: &str) {
    host.block_on(delete_template(host, seed)).expect("delete");
    host.await_census(before).expect("nothing is left");
    let left = host.block_on(host.client.list_sandboxes(ListSandboxesRequest::default()));
    assert!(left.expect("list").into_owned().sandboxes.is_empty());
}
