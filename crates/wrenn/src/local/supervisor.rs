//! The process that owns the services: it answers on the control socket until it is told to end.
//!
//! One `up` or `down` works at a time; `status` answers meanwhile. Invariant: when it ends by itself, every
//! child it started has ended before; the virtual host alone may be left for the next supervisor.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bring_up,
    component::Component,
    control::{self, Reply, Request},
    images::build_id,
    machine::Machine,
    platform::Platform,
    state::{Lock, Settings, StateDir},
};
use crate::{
    error::{Attempt, CliError, Exit},
    out::StepEvent,
    signals::Signals,
};

/// What a step says when it stopped something.
const STOPPED: &str = "stopped";

/// The services that run, in the order in which they started.
#[derive(Debug, Default)]
pub(crate) struct Services {
    components: Mutex<Vec<Arc<Component>>>,
    machine: Mutex<Option<Arc<Machine>>>,
    /// What goes on in threads of its own: starts of the virtual host, the making of the database. Waited for
    /// before the supervisor ends: the children of an `initdb` that is killed would outlive it.
    pub(crate) starts: TaskTracker,
}

impl Services {
    /// The component `name`, if it was started.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Component>> {
        self.list()
            .into_iter()
            .find(|component| component.spec.name == name)
    }

    /// Adds a component that was started.
    pub(crate) fn add(&self, component: Arc<Component>) {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(component);
    }

    /// The virtual host, if one is kept.
    pub(crate) fn machine(&self) -> Option<Arc<Machine>> {
        self.machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets or clears the virtual host.
    pub(crate) fn set_machine(&self, machine: Option<Machine>) {
        *self.machine.lock().unwrap_or_else(PoisonError::into_inner) = machine.map(Arc::new);
    }

    fn list(&self) -> Vec<Arc<Component>> {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn statuses(&self) -> Vec<super::component::Status> {
        let components = self.list().into_iter().map(|component| component.status());
        components
            .chain(self.machine().map(|machine| machine.status()))
            .collect()
    }
}

/// Tells whoever asked how the work goes.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    replies: mpsc::UnboundedSender<Reply>,
}

impl Reporter {
    fn reply(&self, reply: Reply) {
        // Whoever asked may be gone; the work goes on.
        let _ = self.replies.send(reply);
    }

    /// How far the step `name` is.
    pub(crate) fn note(&self, name: &str, note: &str) {
        tracing::info!(step = name, "{note}");
        self.reply(Reply::Step(StepEvent::Progress {
            name: name.to_owned(),
            note: note.to_owned(),
            fraction: None,
        }));
    }

    /// Runs `work` as the step `name`; it returns a note for people.
    pub(crate) async fn step(
        &self,
        name: &str,
        work: impl Future<Output = Result<String, CliError>>,
    ) -> Result<(), CliError> {
        let begun = std::time::Instant::now();
        self.reply(Reply::Step(StepEvent::Step {
            name: name.to_owned(),
        }));
        let note = work.await?;
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(step = name, ms, "{note}");
        self.reply(Reply::Step(StepEvent::Done {
            name: name.to_owned(),
            note,
            ms,
        }));
        Ok(())
    }
}

#[derive(Debug)]
struct Shared {
    platform: Arc<Platform>,
    services: Services,
    build: String,
    /// Held by the one `up` or `down` that works.
    work: tokio::sync::Mutex<()>,
    /// Cancelled when the supervisor is to end.
    end: CancellationToken,
    settled: AtomicBool,
    /// What becomes of the virtual host when the supervisor ends.
    keep_machine: AtomicBool,
}

/// Makes this process the one that may serve `state`.
pub(crate) fn lock(state: &StateDir) -> Result<Lock, CliError> {
    state.lock("supervisor.lock", "the supervisor")
}

impl Shared {
    /// Ends the serving loop, and first an `up` that works.
    fn end(&self) {
        self.services.starts.close();
        self.end.cancel();
        if !self.services.starts.is_empty() {
            wrenn_virtual_host::interrupt();
        }
    }
}

/// Serves the control socket of `state` until a request or a signal ends it; the caller holds the lock.
pub(crate) async fn serve(state: StateDir, settings: Settings) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let path = control::socket(&state);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(CliError::local(format_args!(
                "remove {}: {error}",
                path.display()
            )));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).attempt(|| format!("listen on {}", path.display()))?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .attempt(|| format!("protect {}", path.display()))?;
    let shared = Arc::new(Shared {
        platform: Arc::new(Platform::new(state, settings)?),
        services: Services::default(),
        build: build_id()?,
        work: tokio::sync::Mutex::default(),
        end: CancellationToken::new(),
        settled: AtomicBool::new(false),
        keep_machine: AtomicBool::new(true),
    });
    let requests = TaskTracker::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(requests.spawn(serve_request(Arc::clone(&shared), stream))),
                Err(error) => tracing::error!(%error, "accept on the control socket"),
            },
            exit = signals.next() => {
                tracing::info!(?exit, "signal: stopping the services");
                shared.end();
                break;
            }
            () = shared.end.cancelled() => break,
        }
    }
    {
        let _work = shared.work.lock().await;
        stop_all(&shared, None).await;
    }
    let _ = std::fs::remove_file(&path);
    requests.close();
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), requests.wait()).await;
    Ok(())
}

async fn serve_request(shared: Arc<Shared>, stream: UnixStream) {
    let (read, write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let request = tokio::time::timeout(std::time::Duration::from_secs(5), lines.next_line()).await;
    let Ok(Ok(Some(line))) = request else { return };
    let (replies, to_send) = mpsc::unbounded_channel();
    let reporter = Reporter { replies };
    let answer = async {
        match serde_json::from_str(&line) {
            Ok(request) => answer(&shared, request, reporter).await,
            Err(error) => {
                reporter.reply(Reply::Failed(
                    CliError::local(format_args!(
                        "the supervisor is of another version ({error})"
                    ))
                    .hint("try", "wrenn up"),
                ));
            }
        }
    };
    tokio::join!(answer, send_replies(write, to_send));
}

async fn send_replies(mut write: OwnedWriteHalf, mut replies: mpsc::UnboundedReceiver<Reply>) {
    while let Some(reply) = replies.recv().await {
        let Ok(mut line) = serde_json::to_string(&reply) else {
            continue;
        };
        line.push('\n');
        if write.write_all(line.as_bytes()).await.is_err() {
            // Nobody listens: the rest is dropped, the work goes on.
            replies.close();
        }
    }
}

async fn answer(shared: &Arc<Shared>, request: Request, reporter: Reporter) {
    let result = match request {
        Request::Status => {
            reporter.reply(Reply::Status(status(shared)));
            return;
        }
        Request::Up => up(shared, &reporter).await,
        Request::Down => down(shared, &reporter, false).await,
        Request::HandOver => down(shared, &reporter, true).await,
        Request::MachineStop => machine_stop(shared, &reporter).await,
        Request::MachineStart => {
            let _work = shared.work.lock().await;
            bring_up::host(&shared.platform, &shared.services, &reporter).await
        }
    };
    reporter.reply(result.map_or_else(Reply::Failed, |()| Reply::Done));
}

fn status(shared: &Shared) -> control::Status {
    control::Status {
        pid: std::process::id(),
        build: shared.build.clone(),
        external: shared.platform.external.fingerprint(),
        settings: shared.platform.settings.clone(),
        components: shared.services.statuses(),
        host: shared.platform.host_sentence(),
        host_why: shared.platform.why().to_owned(),
        settled: shared.settled.load(Ordering::Relaxed),
    }
}

async fn up(shared: &Shared, reporter: &Reporter) -> Result<(), CliError> {
    let _work = shared.work.lock().await;
    let result = tokio::select! {
        result = bring_up::all(&shared.platform, &shared.services, reporter) => result,
        () = shared.end.cancelled() => {
            Err(CliError::new(Exit::Conflict, "stopped", "the platform was told to stop meanwhile").hint("again", "wrenn up"))
        }
    };
    match &result {
        Ok(()) => shared.settled.store(true, Ordering::Relaxed),
        // Nothing half-started stays behind.
        Err(error) if !shared.settled.load(Ordering::Relaxed) => {
            tracing::error!("{}", error.message);
            let found_running = shared
                .services
                .machine()
                .is_some_and(|machine| machine.found_running);
            shared.keep_machine.store(found_running, Ordering::Relaxed);
            shared.end();
            stop_all(shared, Some(reporter)).await;
        }
        Err(error) => tracing::error!("{}", error.message),
    }
    result
}

async fn down(shared: &Shared, reporter: &Reporter, keep_machine: bool) -> Result<(), CliError> {
    shared.keep_machine.store(keep_machine, Ordering::Relaxed);
    shared.end();
    let _work = shared.work.lock().await;
    stop_all(shared, Some(reporter)).await;
    Ok(())
}

async fn machine_stop(shared: &Shared, reporter: &Reporter) -> Result<(), CliError> {
    let _work = shared.work.lock().await;
    let Some(machine) = shared.services.machine() else {
        return Ok(());
    };
    let stopping = async {
        machine.stop(&shared.platform.state).await?;
        Ok(STOPPED.to_owned())
    };
    reporter.step("Virtual host", stopping).await?;
    shared.services.set_machine(None);
    Ok(())
}

/// Stops everything in the order agent, control plane, Redis, PostgreSQL.
async fn stop_all(shared: &Shared, reporter: Option<&Reporter>) {
    let machine = shared.services.machine();
    shared.services.set_machine(None);
    if let Some(machine) = &machine {
        machine.leave().await;
    }
    // A start that was given up still works in its thread.
    shared.services.starts.close();
    shared.services.starts.wait().await;
    if let Some(machine) = machine
        && !shared.keep_machine.load(Ordering::Relaxed)
    {
        let stopping = async {
            machine.stop(&shared.platform.state).await?;
            Ok(STOPPED.to_owned())
        };
        report(reporter, "Virtual host", stopping).await;
    }
    loop {
        // The last started first: everything stops before what it needs.
        let last = shared
            .services
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let Some(component) = last else { break };
        let stopping = async {
            component.stop().await;
            Ok(STOPPED.to_owned())
        };
        report(reporter, bring_up::title(component.spec.name), stopping).await;
    }
}

async fn report(
    reporter: Option<&Reporter>,
    name: &str,
    work: impl Future<Output = Result<String, CliError>>,
) {
    let result = match reporter {
        Some(reporter) => reporter.step(name, work).await,
        None => work.await.map(drop),
    };
    if let Err(error) = result {
        tracing::error!("{}", error.message);
    }
}
