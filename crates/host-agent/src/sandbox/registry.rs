//! Finds the task of a sandbox, or starts it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use futures::{StreamExt as _, stream};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use wrenn_ids::{SandboxId, TemplateId};

use super::{
    Failure, Host, Operation, Spec,
    copies::Copy,
    driver::{Birth, Command, Driver, Idle, QUEUE, Reply, Update, retry},
    host::IDLE_PAUSES,
    manifest::Manifest,
    policy::{Change, Known, Refusal, State, Verdict, judge},
    seed::SnapshotTemplate,
    tombstone::Tombstone,
    view::{PauseReason, Phase, Running, Use, View},
};
use crate::{chain, durable, envd::Envd};

/// Why a request on a sandbox is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No such sandbox on this host.
    #[error("sandbox {0} is not on this host")]
    NotFound(SandboxId),
    /// Not in this state; `None`: it is gone.
    #[error("sandbox {0} is not in a state for this")]
    WrongState(SandboxId, Option<State>),
    /// A newer operation has been seen.
    #[error("a newer operation on sandbox {0} has been seen")]
    StaleGeneration(SandboxId),
    /// The change failed.
    #[error("change sandbox {0}")]
    Failed(SandboxId, #[source] Failure),
    /// What is remembered of it cannot be read.
    #[error("read what is remembered of sandbox {0}")]
    Memory(SandboxId, #[source] durable::Error),
    /// The agent is stopping.
    #[error("the host agent is stopping")]
    Stopping,
}

/// A running sandbox in use: it is not idle before this is dropped.
#[derive(Debug)]
pub struct InUse {
    /// Its guest agent.
    pub envd: Envd,
    used: Use,
}

impl InUse {
    /// It is being used right now.
    pub fn touch(&self) {
        self.used.touch();
    }
}

#[derive(Debug)]
struct Handle {
    view: watch::Receiver<View>,
    commands: mpsc::Sender<Command>,
}

type Tasks = HashMap<SandboxId, Handle>;

/// All sandboxes of this host.
#[derive(Debug)]
pub struct Registry {
    host: Arc<Host>,
    tasks: Arc<Mutex<Tasks>>,
}

/// Takes one sandbox out of the registry.
#[derive(Debug)]
pub(super) struct Forget {
    id: SandboxId,
    tasks: Weak<Mutex<Tasks>>,
}

impl Forget {
    pub(super) fn now(&self) {
        if let Some(tasks) = self.tasks.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.remove(&self.id);
            gauge(&tasks);
        }
    }
}

impl Registry {
    /// Starts with what runs already, after finishing or undoing what an earlier agent left half done.
    pub async fn open(host: Arc<Host>) -> Self {
        let registry = Self {
            tasks: Arc::default(),
            host,
        };
        for (manifest, stack, phase) in super::adopt::adopt(&registry.host).await {
            // What was interrupted by the end of an earlier agent is undone before anybody may use it.
            let shown = match manifest.state {
                State::Pausing => Phase::Pausing,
                _ => phase.clone(),
            };
            let birth = Birth::Adopted(stack, phase);
            registry.start(&mut registry.lock(), manifest, shown, birth);
        }
        registry
    }

    /// What sandboxes are made of.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Creates a sandbox and waits until it is usable. The creation goes on if the caller goes away.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub async fn create(&self, spec: Spec, op: &Operation) -> Result<View, Refused> {
        let id = spec.sandbox_id;
        let view = self.begin_create(spec, op)?;
        match settled(view, |view| !matches!(view.state, Phase::Starting)).await {
            View {
                state: Phase::Gone(Some(failure)),
                ..
            } => Err(Refused::Failed(id, failure)),
            view if matches!(view.state, Phase::Running(_)) => Ok(view),
            view => Err(Refused::WrongState(id, view.policy_state())),
        }
    }

    fn begin_create(&self, spec: Spec, op: &Operation) -> Result<watch::Receiver<View>, Refused> {
        let id = spec.sandbox_id;
        let tombstone = self.tombstone(id)?;
        let directory = self.host.snapshot_template(spec.template_id);
        let template =
            SnapshotTemplate::read(&directory).map_err(|error| Refused::Memory(id, error))?;
        let mut tasks = self.lock();
        let verdict = verdict(&tasks, id, tombstone.as_ref(), Change::Create, op);
        match (verdict, tasks.get(&id)) {
            (Verdict::Refuse(refusal), handle) => Err(refused(id, refusal, handle)),
            (Verdict::AlreadySo, Some(handle)) => Ok(handle.view.clone()),
            (Verdict::AlreadySo, None) => {
                Err(match tombstone.and_then(|tombstone| tombstone.failure) {
                    Some(failure) => Refused::Failed(id, failure),
                    None => Refused::WrongState(id, None),
                })
            }
            (Verdict::Accept, _) if self.host.stopping.is_cancelled() => Err(Refused::Stopping),
            (Verdict::Accept, _) => {
                let user = spec
                    .default_user
                    .clone()
                    .unwrap_or_else(|| match &template {
                        Some(template) => template.sandbox.default_user.clone(),
                        None => self.template_user(&spec),
                    });
                let manifest = Manifest::starting(&spec, op, &user);
                Ok(self.start(
                    &mut tasks,
                    manifest,
                    Phase::Starting,
                    Birth::Create(template.map(Box::new)),
                ))
            }
        }
    }

    /// Destroys a sandbox and waits until all it held is released or owed by the reaper.
    ///
    /// # Errors
    /// When a newer operation has been seen.
    pub async fn destroy(&self, id: SandboxId, op: &Operation) -> Result<(), Refused> {
        let tombstone = self.tombstone(id)?;
        let (view, commands) = {
            let tasks = self.lock();
            let verdict = verdict(&tasks, id, tombstone.as_ref(), Change::Destroy, op);
            let handle = tasks.get(&id);
            match (verdict, handle) {
                (Verdict::Refuse(refusal), handle) => return Err(refused(id, refusal, handle)),
                (Verdict::AlreadySo, Some(handle)) => (handle.view.clone(), None),
                (Verdict::Accept, Some(handle)) => {
                    (handle.view.clone(), Some(handle.commands.clone()))
                }
                (_, None) => return self.remember_absence(id, tombstone, op),
            }
        };
        if let Some(commands) = commands {
            // A task that has just ended needs no telling: its view says so.
            let _ = commands.send(Command::Destroy(op.clone())).await;
        }
        let settled = settled(view, |view| matches!(view.state, Phase::Gone(_))).await;
        match settled.state {
            Phase::Gone(_) => Ok(()),
            _ => Err(Refused::Stopping),
        }
    }

    /// A destroy of what is not here is success; a creation that comes later and is older is refused.
    fn remember_absence(
        &self,
        id: SandboxId,
        tombstone: Option<Tombstone>,
        op: &Operation,
    ) -> Result<(), Refused> {
        if tombstone.is_some_and(|tombstone| tombstone.generation >= op.generation) {
            return Ok(());
        }
        let tombstone = Tombstone {
            generation: op.generation,
            op_id: Some(op.id.clone()),
            failure: None,
        };
        self.host
            .graveyard
            .bury(id, &tombstone)
            .map_err(|error| Refused::Memory(id, error))
    }

    /// A sandbox as it is now.
    ///
    /// # Errors
    /// When it is not here.
    pub fn get(&self, id: SandboxId) -> Result<View, Refused> {
        let tasks = self.lock();
        tasks
            .get(&id)
            .map(|handle| handle.view.borrow().clone())
            .ok_or(Refused::NotFound(id))
    }

    /// All sandboxes as they are now.
    #[must_use]
    pub fn list(&self) -> Vec<View> {
        self.lock()
            .values()
            .map(|handle| handle.view.borrow().clone())
            .collect()
    }

    /// A running sandbox, to be used.
    ///
    /// # Errors
    /// When it is not here or does not run.
    pub fn in_use(&self, id: SandboxId) -> Result<InUse, Refused> {
        self.begin_use(id, false)
    }

    /// The same, to write a file: a pause waits for it.
    ///
    /// # Errors
    /// When it is not here or does not run.
    pub fn in_use_by_writer(&self, id: SandboxId) -> Result<InUse, Refused> {
        self.begin_use(id, true)
    }

    fn begin_use(&self, id: SandboxId, writes: bool) -> Result<InUse, Refused> {
        // First the use and then the state: a pause that begins in between sees the one or is seen.
        let used = Use::begin(&self.get(id)?.activity, writes);
        let view = self.get(id)?;
        match view.state {
            Phase::Running(Running { envd, .. }) => Ok(InUse { envd, used }),
            _ => Err(Refused::WrongState(id, view.policy_state())),
        }
    }

    /// Pauses a sandbox and waits until its snapshot is durable. The pause goes on if the caller goes away.
    ///
    /// # Errors
    /// When it is refused or fails; it runs on then.
    pub async fn pause(
        &self,
        id: SandboxId,
        op: &Operation,
        reason: PauseReason,
    ) -> Result<View, Refused> {
        self.ask(id, |reply| Command::Pause(op.clone(), reason, reply))
            .await
    }

    /// Pauses everything that runs, a few at once, on the agent's own account; gives how many were not paused and
    /// run on.
    pub async fn pause_all(&self, reason: PauseReason) -> usize {
        let ids = self.list().into_iter().filter_map(|view| {
            let runs = matches!(
                view.state,
                Phase::Starting | Phase::Running(_) | Phase::Resuming
            );
            runs.then_some(view.sandbox_id)
        });
        let ids: Vec<_> = ids.collect();
        let mut told = stream::iter(ids)
            .map(|id| self.tell(id, move |reply| Command::PauseUnasked(reason, reply)))
            .buffer_unordered(IDLE_PAUSES);
        let mut failed = 0;
        while let Some(told) = told.next().await {
            failed += usize::from(matches!(told, Err(Refused::Failed(..))));
        }
        failed
    }

    /// Resumes a sandbox and waits until it is usable. The resumption goes on if the caller goes away.
    ///
    /// # Errors
    /// When it is refused or fails; it stays paused then.
    pub async fn resume(&self, id: SandboxId, op: &Operation, idle: Idle) -> Result<View, Refused> {
        self.ask(id, |reply| Command::Resume(op.clone(), idle, reply))
            .await
    }

    /// Changes what may change while a sandbox lives.
    ///
    /// # Errors
    /// When it is refused or cannot be done.
    pub async fn update(
        &self,
        id: SandboxId,
        op: &Operation,
        update: Update,
    ) -> Result<View, Refused> {
        self.ask(id, |reply| Command::Update(op.clone(), update, reply))
            .await
    }

    /// Makes sandboxes from one, all or none, and waits until all are usable. It goes on if the caller goes away.
    ///
    /// # Errors
    /// When it is refused or fails; then there are none.
    pub async fn fork(
        self: &Arc<Self>,
        id: SandboxId,
        op: Operation,
        children: Vec<SandboxId>,
        idle: Idle,
    ) -> Result<Vec<View>, Refused> {
        let registry = Arc::clone(self);
        let forking = async move { registry.fork_whole(id, &op, &children, idle).await };
        let forked = self.host.tasks.spawn(forking).await;
        forked.unwrap_or(Err(Refused::Stopping))
    }

    async fn fork_whole(
        &self,
        id: SandboxId,
        op: &Operation,
        children: &[SandboxId],
        idle: Idle,
    ) -> Result<Vec<View>, Refused> {
        if let Some(known) = children.iter().find(|child| self.get(**child).is_ok())
            && self.get(id)?.op_id != op.id
        {
            return Err(Refused::WrongState(
                *known,
                self.get(*known)?.policy_state(),
            ));
        }
        let copy = Copy::Children(children.to_vec(), idle);
        self.tell(id, |reply| Command::Copy(op.clone(), copy, reply))
            .await?;
        let begun = Operation {
            id: op.id.clone(),
            generation: 1,
        };
        let born = children.iter().map(|child| async {
            self.adopt_copy(*child)?;
            self.resume(*child, &begun, idle).await
        });
        let born = futures::future::join_all(born).await;
        let born: Result<Vec<View>, Refused> = born.into_iter().collect();
        if born.is_err() {
            // Under the operation that it has seen a child that runs would take this as done.
            let undo = Operation {
                id: format!("undo {}", op.id),
                ..begun
            };
            for child in children {
                if let Err(error) = self.destroy(*child, &undo).await {
                    tracing::error!(sandbox_id = %child, error = %chain(&error), "a child of a failed fork stays");
                }
                self.host.graveyard.forget(*child); // the fork may be tried again
            }
        }
        born
    }

    /// Makes a snapshot template of a sandbox, which is afterwards as it was.
    ///
    /// # Errors
    /// When it is refused or fails; then there is none.
    pub async fn keep(
        &self,
        id: SandboxId,
        op: &Operation,
        template_id: TemplateId,
        name: &str,
    ) -> Result<SnapshotTemplate, Refused> {
        let directory = self.host.snapshot_template(template_id);
        let read = || SnapshotTemplate::read(&directory);
        let memory = |error| Refused::Memory(id, error);
        if let Some(template) = read().map_err(memory)?
            && template.op_id == op.id
        {
            return Ok(template);
        }
        let copy = Copy::Template(template_id, name.to_owned());
        self.tell(id, |reply| Command::Copy(op.clone(), copy, reply))
            .await?;
        read().map_err(memory)?.ok_or(Refused::NotFound(id))
    }

    /// Takes over the copy that a fork has left, unless that was done.
    fn adopt_copy(&self, id: SandboxId) -> Result<(), Refused> {
        let mut tasks = self.lock();
        if tasks.contains_key(&id) {
            return Ok(());
        }
        let directory = self.host.directory(id);
        let manifest = Manifest::read(&directory, id).ok().flatten();
        let manifest = manifest.ok_or(Refused::NotFound(id))?;
        let paused = manifest.paused(&directory).ok_or(Refused::NotFound(id))?;
        let stack = super::adopt::rest(&self.host, &manifest);
        let phase = Phase::Paused(paused);
        let birth = Birth::Adopted(stack, phase.clone());
        self.start(&mut tasks, manifest, phase, birth);
        Ok(())
    }

    /// Has the sandbox's task do something, and gives the sandbox as it is then.
    async fn ask(
        &self,
        id: SandboxId,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<View, Refused> {
        self.tell(id, command).await?;
        self.get(id)
    }

    /// Has the sandbox's task do something; it may be gone right after that.
    async fn tell(
        &self,
        id: SandboxId,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<(), Refused> {
        let commands = {
            let tasks = self.lock();
            let handle = tasks.get(&id).ok_or(Refused::NotFound(id))?;
            handle.commands.clone()
        };
        let (reply, answer) = oneshot::channel();
        // A task that ends meanwhile takes its replies with it.
        let _ = commands.send(command(reply)).await;
        match answer.await {
            Ok(done) => done,
            Err(_) if self.host.stopping.is_cancelled() => Err(Refused::Stopping),
            Err(_) => Err(Refused::NotFound(id)),
        }
    }

    fn start(
        &self,
        tasks: &mut Tasks,
        manifest: Manifest,
        phase: Phase,
        birth: Birth,
    ) -> watch::Receiver<View> {
        let id = manifest.sandbox_id;
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (view, published) = watch::channel(View::of(&manifest, phase));
        let driver = Driver {
            host: Arc::clone(&self.host),
            manifest,
            view,
            commands: inbox,
            waiting: VecDeque::new(),
            not_before: Instant::now(),
            retry: retry(),
            copy: None,
            forget: Forget {
                id,
                tasks: Arc::downgrade(&self.tasks),
            },
        };
        self.host.tasks.spawn(driver.run(birth));
        tasks.insert(
            id,
            Handle {
                view: published.clone(),
                commands,
            },
        );
        gauge(tasks);
        published
    }

    fn tombstone(&self, id: SandboxId) -> Result<Option<Tombstone>, Refused> {
        self.host
            .graveyard
            .find(id)
            .map_err(|error| Refused::Memory(id, error))
    }

    /// The template's default user; a missing template is found by the creation itself.
    fn template_user(&self, spec: &Spec) -> String {
        let template = self.host.images.template(spec.template_id);
        template.map_or_else(|_| "root".to_owned(), |template| template.default_user)
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(
    tasks: &Tasks,
    id: SandboxId,
    tombstone: Option<&Tombstone>,
    change: Change,
    op: &Operation,
) -> Verdict {
    if let Some(handle) = tasks.get(&id) {
        let view = handle.view.borrow();
        let known = Known {
            state: view.policy_state(),
            generation: view.generation,
            last_op: Some(&view.op_id),
        };
        return judge(known, change, &op.id, op.generation);
    }
    let known = tombstone.map_or(Known::NOTHING, |tombstone| Known {
        state: None,
        generation: tombstone.generation,
        last_op: tombstone.op_id.as_deref(),
    });
    judge(known, change, &op.id, op.generation)
}

fn refused(id: SandboxId, refusal: Refusal, handle: Option<&Handle>) -> Refused {
    match refusal {
        Refusal::StaleGeneration => Refused::StaleGeneration(id),
        Refusal::WrongState => Refused::WrongState(
            id,
            handle.and_then(|handle| handle.view.borrow().policy_state()),
        ),
    }
}

/// Waits until a view is as wanted, or its task has ended.
async fn settled(mut view: watch::Receiver<View>, wanted: impl FnMut(&View) -> bool) -> View {
    if let Ok(view) = view.wait_for(wanted).await {
        return view.clone();
    }
    view.borrow().clone()
}

fn gauge(tasks: &Tasks) {
    metrics::gauge!("wrenn_agent_sandboxes").set(tasks.len() as f64);
}
