//! The RPC service of files: expands paths, runs the work off the async threads, answers in the protocol's
//! codes.

use std::{fs, io, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use rustix::io::Errno;
use tokio::time::timeout;
use wrenn_rpc::{
    connectrpc::{
        ConnectError, RequestContext, Response, Router, ServiceRequest, ServiceResult,
        ServiceStream,
    },
    filesystem::{
        CreateWatcherRequest, CreateWatcherResponse, EntryInfo, Filesystem as Service,
        FilesystemExt as _, GetWatcherEventsRequest, GetWatcherEventsResponse, ListDirRequest,
        ListDirResponse, MakeDirRequest, MakeDirResponse, MoveRequest, MoveResponse, RemoveRequest,
        RemoveResponse, RemoveWatcherRequest, RemoveWatcherResponse, StatRequest, StatResponse,
        WatchDirRequest, WatchDirResponse,
        watch_dir_response::{self, KeepAlive, StartEvent},
    },
};

use super::{
    entry,
    listing::{self, ListError},
    moving,
    tree::{self, Made},
    watch::{Detail, Network, OpenError, Reach, Target, WatchError, Watcher},
};
use crate::{
    agent::Agent,
    paths,
    process::service::word,
    server::gate::{self, short},
    users::User,
};

/// Adds the service to `router`.
pub(crate) fn register(agent: Arc<Agent>, router: Router) -> Router {
    Arc::new(Filesystem { agent }).register(router)
}

#[derive(Debug)]
struct Filesystem {
    agent: Arc<Agent>,
}

#[expect(
    refining_impl_trait,
    reason = "the trait allows any encodable type; these are the messages"
)]
impl Service for Filesystem {
    async fn stat(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, StatRequest>,
    ) -> ServiceResult<StatResponse> {
        let (_, path) = self.locate(&context, request.path)?;
        let entry = self.run(move |agent| describe(agent, &path)).await?;
        Response::ok(StatResponse {
            entry: entry.into(),
            ..StatResponse::default()
        })
    }

    async fn make_dir(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, MakeDirRequest>,
    ) -> ServiceResult<MakeDirResponse> {
        let (user, path) = self.locate(&context, request.path)?;
        let work = move |agent: &Agent| match tree::make_all(&path, &user) {
            Ok(Made::Now) => describe(agent, &path),
            Ok(Made::Before) => Err(ConnectError::already_exists(format!(
                "'{}' exists",
                short(&path)
            ))),
            Err(fault) => Err(failed("make", &path, &fault.into())),
        };
        let entry = self.run(work).await?;
        Response::ok(MakeDirResponse {
            entry: entry.into(),
            ..MakeDirResponse::default()
        })
    }

    async fn r#move(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, MoveRequest>,
    ) -> ServiceResult<MoveResponse> {
        let (user, source) = self.locate(&context, request.source)?;
        let (_, destination) = self.locate(&context, request.destination)?;
        let work = move |agent: &Agent| {
            fs::symlink_metadata(&source).map_err(|fault| failed("move", &source, &fault))?;
            let parent = destination
                .rsplit_once('/')
                .map_or("/", |(parent, _)| parent);
            tree::make_all(parent, &user).map_err(|fault| failed("make", parent, &fault.into()))?;
            moving::move_to(&source, &destination)
                .map_err(|fault| failed("move", &source, &fault))?;
            describe(agent, &destination)
        };
        let entry = self.run(work).await?;
        Response::ok(MoveResponse {
            entry: entry.into(),
            ..MoveResponse::default()
        })
    }

    async fn list_dir(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ListDirRequest>,
    ) -> ServiceResult<ListDirResponse> {
        let (_, path) = self.locate(&context, request.path)?;
        let depth = request.depth;
        let work = move |agent: &Agent| {
            listing::list(&path, depth, &agent.users).map_err(|fault| match fault {
                ListError::TooMany => ConnectError::resource_exhausted(fault.to_string()),
                ListError::Io(fault) if fault.raw_os_error() == Some(libc::ELOOP) => {
                    ConnectError::failed_precondition(format!(
                        "'{}' is a loop of links",
                        short(&path)
                    ))
                }
                ListError::Io(fault) => failed("list", &path, &fault),
            })
        };
        let entries = self.run(work).await?;
        Response::ok(ListDirResponse {
            entries,
            ..ListDirResponse::default()
        })
    }

    async fn remove(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, RemoveRequest>,
    ) -> ServiceResult<RemoveResponse> {
        let (_, path) = self.locate(&context, request.path)?;
        if path == "/" {
            return Err(ConnectError::invalid_argument("'/' cannot be removed"));
        }
        let work = move |_: &Agent| {
            tree::remove_all(&path).map_err(|fault| failed("remove", &path, &fault.into()))
        };
        self.run(work).await?;
        Response::ok(RemoveResponse::default())
    }

    async fn watch_dir(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, WatchDirRequest>,
    ) -> ServiceResult<ServiceStream<WatchDirResponse>> {
        let (_, path) = self.locate(&context, request.path)?;
        let target = target(
            path,
            request.recursive,
            request.include_entry,
            request.allow_network_mounts,
        );
        let watcher = self.watch(target).await?;
        let events = watch_events(watcher, gate::keepalive(context.headers()));
        Response::ok(Box::pin(events))
    }

    async fn create_watcher(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateWatcherRequest>,
    ) -> ServiceResult<CreateWatcherResponse> {
        let (_, path) = self.locate(&context, request.path)?;
        let target = target(
            path,
            request.recursive,
            request.include_entry,
            request.allow_network_mounts,
        );
        let watcher = self.watch(target).await?;
        let id = self.agent.watchers.keep(&self.agent, watcher);
        Response::ok(CreateWatcherResponse {
            watcher_id: id.map_err(|_| ConnectError::internal("there is no randomness"))?,
            ..CreateWatcherResponse::default()
        })
    }

    async fn get_watcher_events(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetWatcherEventsRequest>,
    ) -> ServiceResult<GetWatcherEventsResponse> {
        let id = request.watcher_id;
        let watchers = &self.agent.watchers;
        let watcher = watchers.get(id).ok_or_else(|| no_watcher(id))?;
        match watcher.take_all().await {
            Ok(events) => Response::ok(GetWatcherEventsResponse {
                events,
                ..GetWatcherEventsResponse::default()
            }),
            Err(lost) => {
                watchers.remove(id);
                Err(ConnectError::resource_exhausted(lost.to_string()))
            }
        }
    }

    async fn remove_watcher(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, RemoveWatcherRequest>,
    ) -> ServiceResult<RemoveWatcherResponse> {
        let id = request.watcher_id;
        match self.agent.watchers.remove(id) {
            Some(_) => Response::ok(RemoveWatcherResponse::default()),
            None => Err(no_watcher(id)),
        }
    }
}

/// What to watch, from the three switches that both requests have.
fn target(path: String, tree: bool, entry: bool, network: bool) -> Target {
    Target {
        path,
        reach: if tree { Reach::Tree } else { Reach::Directory },
        detail: if entry { Detail::Entry } else { Detail::Name },
        network: if network {
            Network::Allowed
        } else {
            Network::Refused
        },
    }
}

fn no_watcher(id: &str) -> ConnectError {
    ConnectError::not_found(format!("no watcher '{}'", short(id)))
}

/// The events of a watcher: start, events, keepalives where nothing else comes.
fn watch_events(
    watcher: Arc<Watcher>,
    keepalive: Duration,
) -> impl Stream<Item = Result<WatchDirResponse, ConnectError>> + Send + 'static {
    let answer = |event: watch_dir_response::Event| WatchDirResponse {
        event: Some(event),
        ..WatchDirResponse::default()
    };
    let start = stream::once(async move { Ok(answer(StartEvent::default().into())) });
    let rest = stream::unfold(Some(watcher), move |watcher| async move {
        let watcher = watcher?;
        match timeout(keepalive, watcher.next()).await {
            Err(_) => Some((Ok(answer(KeepAlive::default().into())), Some(watcher))),
            Ok(Ok(event)) => Some((Ok(answer(event.into())), Some(watcher))),
            Ok(Err(lost)) => {
                let fault = ConnectError::resource_exhausted(lost.to_string());
                Some((Err(fault), None))
            }
        }
    });
    start.chain(rest)
}

impl Filesystem {
    /// The user of a request and the absolute path that it means to them.
    fn locate(&self, context: &RequestContext, path: &str) -> Result<(User, String), ConnectError> {
        let user = gate::user(&self.agent, context.headers())?;
        let workdir = self.agent.sandbox.state().default_workdir.clone();
        let path = paths::expand(path, &user.home, workdir.as_deref())
            .map_err(|fault| ConnectError::invalid_argument(fault.to_string()))?;
        Ok((user, path))
    }

    async fn watch(&self, target: Target) -> Result<Arc<Watcher>, ConnectError> {
        let path = target.path.clone();
        let opened = self.agent.watchers.open(&self.agent, target).await;
        opened.map_err(|fault| match fault {
            WatchError::TooMany | WatchError::Open(OpenError::TooMany) => {
                ConnectError::resource_exhausted(fault.to_string())
            }
            WatchError::Open(OpenError::Network) => {
                ConnectError::invalid_argument(format!("'{}' {fault}", short(&path)))
            }
            // The kernel's limits of watches and of watchers of one user.
            WatchError::Open(OpenError::Io(fault))
                if matches!(fault.raw_os_error(), Some(libc::ENOSPC | libc::EMFILE)) =>
            {
                ConnectError::resource_exhausted("the kernel has no more watches")
            }
            WatchError::Open(OpenError::Io(fault)) => failed("watch", &path, &fault),
        })
    }

    /// Runs work that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Agent) -> Result<T, ConnectError> + Send + 'static,
    ) -> Result<T, ConnectError> {
        let agent = Arc::clone(&self.agent);
        tokio::task::spawn_blocking(move || work(&agent))
            .await
            .unwrap_or_else(|_| Err(ConnectError::internal("the operation panicked")))
    }
}

fn describe(agent: &Agent, path: &str) -> Result<EntryInfo, ConnectError> {
    let found = entry::describe(path.as_ref(), path, &agent.users).map_err(paths::looked_up);
    found.map_err(|fault| failed("read", path, &fault))
}

/// A failed step in the protocol's codes, with the path that the caller knows and the kernel's word.
fn failed(attempt: &str, path: &str, fault: &io::Error) -> ConnectError {
    let number = fault.raw_os_error().unwrap_or(libc::EIO);
    let word = word(Errno::from_raw_os_error(number));
    let text = format!("cannot {attempt} '{}': {word}", short(path));
    match number {
        libc::ENOENT => ConnectError::not_found(text),
        libc::ENOTDIR | libc::EISDIR | libc::EINVAL | libc::ENAMETOOLONG => {
            ConnectError::invalid_argument(text)
        }
        libc::ENOSPC | libc::EDQUOT => ConnectError::resource_exhausted(text),
        libc::EROFS | libc::EPERM | libc::EBUSY | libc::ENOTEMPTY | libc::EEXIST | libc::ELOOP => {
            ConnectError::failed_precondition(text)
        }
        _ => ConnectError::internal(text),
    }
}
