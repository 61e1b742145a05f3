//! `wrenn up`: a whole platform on this machine, then a first sandbox.
//!
//! This process checks, makes the images and shows the steps; the services belong to the supervisor. With
//! `--foreground` the supervisor is a task of this process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use wrenn_api::{CreateSandbox, Exec, ExecResult};

use crate::{
    DONE, Outcome, block_on,
    client::Client,
    config::{ConfigFile, LOCAL, Target},
    context::Context,
    error::{Attempt, CliError, Exit},
    local::{
        checks,
        control::{self, Connection, Reply, Request},
        first_run::{FirstRun, Times},
        images,
        platform::Platform,
        state::{HostChoice, Settings, StateDir},
        supervisor,
    },
    out::{Progress, StepEvent, Style, seconds},
    signals::Signals,
    units,
};

/// How long the supervisor may take to answer for the first time.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn up\n  wrenn up --listen 127.0.0.1:9090 --memory 8G\n  wrenn up --plan\n\n\
                        See also: wrenn status, wrenn down, wrenn doctor"
)]
pub(crate) struct Arguments {
    /// Address of the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where everything is kept [default: /var/lib/wrenn, or ~/.local/state/wrenn]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where sandboxes run [default: native where KVM is usable, else virtual]
    #[arg(long, value_name = "WHERE")]
    host: Option<HostChoice>,
    /// Processors of the virtual host [default: half of this machine]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory of the virtual host [default: half of this machine]
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    memory: Option<u32>,
    /// Disk of the virtual host when it is first made [default: 40G]
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    disk: Option<u32>,
    /// Stay; Ctrl-C stops the services and leaves sandboxes to the next up
    #[arg(long)]
    foreground: bool,
    /// Do not try a first sandbox
    #[arg(long)]
    no_first_run: bool,
    /// Print the steps and change nothing
    #[arg(long)]
    plan: bool,
}

impl Arguments {
    fn settings(&self, last: Option<Settings>) -> Settings {
        let last = last.unwrap_or_default();
        Settings {
            listen: self.listen.unwrap_or(last.listen),
            host: self.host.or(last.host),
            cpus: self.cpus.or(last.cpus),
            memory_mib: self.memory.or(last.memory_mib),
            disk_gib: self
                .disk
                .map(|mebibytes| mebibytes.div_ceil(1024))
                .or(last.disk_gib),
            agent_listen: last.agent_listen,
        }
    }
}

/// Starts what is missing and shows how to go on.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let begun = Instant::now();
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    let settings = arguments.settings(state.settings()?);
    if arguments.plan {
        return plan(context, &state, &settings);
    }
    let exposed = !settings.listen.ip().is_loopback();
    if exposed {
        context.out.warning(&format!(
            "{} is reachable from other machines, without https",
            settings.listen
        ));
        if !context.global.yes && !context.out.may_ask() {
            return Err(CliError::usage("listening beyond this machine needs --yes")
                .hint("go on", "wrenn up --yes …"));
        }
    }
    let progress = context.out.progress();
    // Whoever works on this directory is named before its ports are called taken.
    let early = state
        .at("run")
        .exists()
        .then(|| state.lock("up.lock", "wrenn up"))
        .transpose()?;
    progress.step("Checks", || checks::before_up(&state, &settings))?;
    let _lock = progress.step("State", || {
        state.prepare()?;
        let lock = early.map_or_else(|| state.lock("up.lock", "wrenn up"), Ok)?;
        state.store_settings(&settings)?;
        Ok::<_, CliError>((state.root().display().to_string(), lock))
    })?;
    if checks::host_choice(&settings)?.0 != HostChoice::None {
        progress.step("Images", || {
            let images = images::ensure(&state, None, &|note| progress.note(note, None))?;
            let versions = format!(
                "kernel {}, Firecracker {}",
                images.kernel_version(),
                images.firecracker_version()
            );
            Ok::<_, CliError>((versions, ()))
        })?;
    }
    block_on(async {
        let serving = Serving::begin(&state, &settings, arguments.foreground).await?;
        let fresh = matches!(serving, Serving::Started(_) | Serving::Here(_));
        let mut signals = Signals::listen()?;
        tokio::select! {
            result = follow_up(&state, &progress) => result?,
            exit = signals.next() => {
                drop(progress);
                if fresh {
                    stop(&state).await?;
                    context.out.note("Interrupted: what had been started was stopped again.");
                }
                return Err(CliError::silent(exit));
            }
        }
        finish(context, arguments, &state, &settings, &progress).await?;
        drop(progress);
        show(context, &state, &settings, begun.elapsed()).await?;
        if let Serving::Here(task) = serving {
            context
                .out
                .note("\nCtrl-C stops the services; sandboxes are left to the next wrenn up.");
            task.await.unwrap_or_else(|error| {
                Err(CliError::local(format_args!("the supervisor: {error}")))
            })?;
        }
        Ok(DONE)
    })
}

/// Where the supervisor is.
enum Serving {
    /// It ran before.
    Found,
    /// A process that was started now.
    Started(Child),
    /// A task of this process.
    Here(tokio::task::JoinHandle<Result<(), CliError>>),
}

impl Serving {
    async fn begin(
        state: &StateDir,
        settings: &Settings,
        foreground: bool,
    ) -> Result<Self, CliError> {
        if let Some(status) = control::status(state).await? {
            let current = status.build == images::build_id()? && same(&status.settings, settings);
            if current && !foreground {
                return Ok(Self::Found);
            }
            if foreground && current {
                return Err(CliError::new(
                    Exit::Conflict,
                    "running",
                    format_args!("the platform runs already, in process {}", status.pid),
                )
                .hint("first", "wrenn down"));
            }
            // Another build or other settings: the services start anew, sandboxes go on.
            hand_over(state).await?;
        }
        if foreground {
            let (state, settings) = (state.clone(), settings.clone());
            let serving = Self::Here(tokio::spawn(supervisor::serve(state.clone(), settings)));
            serving.wait(&state).await
        } else {
            let log_path = state.at("logs/supervisor.log");
            let log = std::fs::File::options()
                .append(true)
                .create(true)
                .open(&log_path)
                .attempt(|| format!("open {}", log_path.display()))?;
            let errors = log.try_clone().attempt(|| "open the supervisor's log")?;
            let binary = images::own_binary()?;
            let child = std::process::Command::new(&binary)
                .arg("supervise")
                .arg("--state-dir")
                .arg(state.root())
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(errors)
                .spawn()
                .attempt(|| format!("start {}", binary.display()))?;
            Self::Started(child).wait(state).await
        }
    }

    /// Waits until it answers.
    async fn wait(mut self, state: &StateDir) -> Result<Self, CliError> {
        let begun = Instant::now();
        loop {
            if control::status(state).await?.is_some() {
                return Ok(self);
            }
            let ended = match &mut self {
                Self::Found => false,
                Self::Started(child) => child.try_wait().is_ok_and(|status| status.is_some()),
                Self::Here(task) => task.is_finished(),
            };
            if ended || begun.elapsed() > SUPERVISOR_LIMIT {
                if let Self::Here(task) = self {
                    task.await.unwrap_or_else(|error| {
                        Err(CliError::local(format_args!("the supervisor: {error}")))
                    })?;
                }
                return Err(CliError::local("the supervisor does not start")
                    .hint("logs", "wrenn logs supervisor --tail 20"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn same(one: &Settings, other: &Settings) -> bool {
    serde_json::to_value(one).ok() == serde_json::to_value(other).ok()
}

async fn hand_over(state: &StateDir) -> Result<(), CliError> {
    let Some(mut connection) = Connection::ask(state, Request::HandOver).await? else {
        return Ok(());
    };
    while matches!(connection.next().await?, Reply::Step(_)) {}
    wait_for_end(state).await
}

/// Waits until no supervisor holds the state directory.
pub(super) async fn wait_for_end(state: &StateDir) -> Result<(), CliError> {
    let begun = Instant::now();
    while let Err(error) = state.lock("supervisor.lock", "the supervisor").map(drop) {
        if begun.elapsed() > SUPERVISOR_LIMIT {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Stops what was started, quietly.
async fn stop(state: &StateDir) -> Result<(), CliError> {
    if let Some(mut connection) = Connection::ask(state, Request::Down).await? {
        while matches!(connection.next().await, Ok(Reply::Step(_))) {}
    }
    wait_for_end(state).await
}

async fn follow_up(state: &StateDir, progress: &Progress) -> Result<(), CliError> {
    let connection = Connection::ask(state, Request::Up).await?;
    follow(
        connection
            .ok_or_else(|| CliError::local("the supervisor ended").hint("again", "wrenn up"))?,
        progress,
    )
    .await
}

/// Shows the steps until the work is done.
pub(super) async fn follow(
    mut connection: Connection,
    progress: &Progress,
) -> Result<(), CliError> {
    loop {
        match connection.next().await? {
            Reply::Step(event) => progress.event(&event),
            Reply::Failed(error) => return Err(error),
            Reply::Done | Reply::Status(_) => return Ok(()),
        }
    }
}

/// Stores the context and tries the first sandbox.
async fn finish(
    context: &Context,
    arguments: &Arguments,
    state: &StateDir,
    settings: &Settings,
    progress: &Progress,
) -> Result<(), CliError> {
    let mut record = FirstRun::load(state)?;
    let client = client_with_key(context, state, settings, &mut record).await?;
    let wanted = !arguments.no_first_run
        && record.times.is_none()
        && checks::host_choice(settings)?.0 != HostChoice::None;
    if wanted {
        let begun = Instant::now();
        progress.event(&StepEvent::Step {
            name: "First sandbox".into(),
        });
        let times = first_sandbox(&client, progress).await?;
        let ms = milliseconds(begun.elapsed());
        progress.event(&StepEvent::Done {
            name: "First sandbox".into(),
            note: sentence(times),
            ms,
        });
        record.times = Some(times);
        record.store(state)?;
    }
    Ok(())
}

/// A client with a valid key, which the context `local` holds from then on.
async fn client_with_key(
    context: &Context,
    state: &StateDir,
    settings: &Settings,
    record: &mut FirstRun,
) -> Result<Client, CliError> {
    let path = ConfigFile::path()?;
    let mut file = ConfigFile::load(&path)?;
    let url = settings.local_url();
    let client = |api_key| {
        let target = Target {
            context: LOCAL.to_owned(),
            base_url: url.clone(),
            api_key,
        };
        Client::new(target, Duration::from_secs(60), context.out.clone())
    };
    let made = record
        .credentials
        .as_ref()
        .and_then(|credentials| credentials.api_key.clone());
    let stored = file
        .context(LOCAL)
        .filter(|_| file.state_dir(LOCAL).is_some_and(|dir| dir == state.root()));
    let mut key = made.or_else(|| stored.and_then(|stored| stored.api_key));
    let asked = client(key.clone())?
        .get::<serde_json::Value>("/v1/sandboxes?limit=1")
        .await;
    match asked {
        Ok(_) => {}
        // The configuration was lost, or belongs to another instance.
        Err(error) if error.exit == Exit::Credentials => {
            let another = Platform::new(state.clone(), settings.clone())?
                .another_key()
                .await?;
            let credentials = record.credentials.get_or_insert_default();
            credentials.api_key = Some(another.clone());
            record.store(state)?;
            key = Some(another);
        }
        Err(error) => return Err(error),
    }
    if let Some(key) = &key {
        let root = state.root().display().to_string();
        let values = [
            ("base_url", url.as_str()),
            ("api_key", key),
            ("state_dir", &root),
        ];
        if file.set(LOCAL, &values) {
            file.store(&path)?;
        }
    }
    client(key)
}

async fn first_sandbox(client: &Client, progress: &Progress) -> Result<Times, CliError> {
    progress.note("creating", None);
    let begun = Instant::now();
    let sandbox = client.sandbox_create(&CreateSandbox::default()).await?;
    let used = async {
        client.sandbox_wait_running(sandbox.clone()).await?;
        let created = Instant::now();
        progress.note("running echo", None);
        let request = Exec {
            cmd: "echo".to_owned(),
            args: Some(vec!["hello".to_owned()]),
            ..Exec::default()
        };
        let result: ExecResult = client
            .post(&format!("/v1/sandboxes/{}/exec", sandbox.id), &request)
            .await?;
        if result.stdout.trim() != "hello" {
            return Err(CliError::local(format_args!(
                "the first sandbox answered `{}` to echo hello",
                result.stdout.trim()
            )));
        }
        Ok((created, Instant::now()))
    }
    .await;
    progress.note("destroying", None);
    client.sandbox_destroy(sandbox.id).await?;
    let (created, executed) = used?;
    Ok(Times {
        create: milliseconds(created - begun),
        exec: milliseconds(executed - created),
        destroy: milliseconds(executed.elapsed()),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn sentence(times: Times) -> String {
    let time = |ms| seconds(Duration::from_millis(ms));
    format!(
        "create {}, exec {}, destroy {}",
        time(times.create),
        time(times.exec),
        time(times.destroy)
    )
}

/// The final block; credentials stand in it once.
async fn show(
    context: &Context,
    state: &StateDir,
    settings: &Settings,
    took: Duration,
) -> Result<(), CliError> {
    let mut record = FirstRun::load(state)?;
    let host = control::status(state)
        .await?
        .map(|status| status.host)
        .unwrap_or_default();
    let dashboard = format!("http://localhost:{}", settings.listen.port());
    if context.out.is_json() {
        context.out.json_line(&serde_json::json!({
            "type": "up", "version": env!("CARGO_PKG_VERSION"), "url": settings.local_url(), "dashboard": dashboard, "host": host,
            "admin_email": record.credentials.as_ref().map(|c| &c.admin_email),
            "admin_password": record.credentials.as_ref().and_then(|c| c.admin_password.as_ref()),
            "api_key": record.credentials.as_ref().and_then(|c| c.api_key.as_ref()),
            "first_run": record.times,
        }))?;
    } else {
        let line = |name: &str, text: String| context.out.line(&format!("  {name:<11} {text}"));
        context.out.line(&format!(
            "\n{}\n",
            context.out.paint(
                Style::Bold,
                &format!(
                    "Wrenn {} is up ({})",
                    env!("CARGO_PKG_VERSION"),
                    seconds(took)
                )
            )
        ))?;
        line("Dashboard", dashboard)?;
        if let Some(credentials) = &record.credentials {
            if let Some(password) = &credentials.admin_password {
                line(
                    "Sign in",
                    format!(
                        "{}   password  {password}   (shown once)",
                        credentials.admin_email
                    ),
                )?;
            }
            if let Some(key) = &credentials.api_key {
                line(
                    "API key",
                    format!("{key}   (shown once; saved in context \"{LOCAL}\")"),
                )?;
            }
        }
        line("API", format!("{}/docs", settings.local_url()))?;
        line("Host", host)?;
        if let Some(times) = record.times {
            line("First run", sentence(times))?;
        }
        context.out.line("\n  Next        wrenn run -- uname -a")?;
    }
    if record.credentials.take().is_some() {
        record.store(state)?;
    }
    Ok(())
}

fn plan(context: &Context, state: &StateDir, settings: &Settings) -> Outcome {
    let (host, why) = checks::host_choice(settings)?;
    let external = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let database = if external("DATABASE_URL") {
        "use DATABASE_URL"
    } else {
        "start a private one, Unix socket only"
    };
    let redis = if external("REDIS_URL") {
        "use REDIS_URL"
    } else {
        "start a private one, Unix socket only"
    };
    let host_text = match host {
        HostChoice::Native => format!("run the agent on this machine ({why})"),
        HostChoice::Virtual => format!("start the virtual host ({why})"),
        HostChoice::None => format!("start none ({why})"),
    };
    context.out.pairs(&[
        ("Checks", "packages, ports, disk, memory, rights".to_owned()),
        ("State", state.root().display().to_string()),
        (
            "Images",
            if host == HostChoice::None {
                "none needed"
            } else {
                "kernel, Firecracker, template minimal"
            }
            .to_owned(),
        ),
        ("PostgreSQL", database.to_owned()),
        ("Redis", redis.to_owned()),
        ("Migrations", "to the version of this binary".to_owned()),
        ("Authority", "make it once".to_owned()),
        ("Accounts", "make admin, team and key once".to_owned()),
        ("Control plane", settings.local_url()),
        ("Host", host_text),
        ("Registration", "with a one-time token".to_owned()),
        (
            "First sandbox",
            "create, echo, destroy, the first time".to_owned(),
        ),
    ])?;
    Ok(DONE)
}
