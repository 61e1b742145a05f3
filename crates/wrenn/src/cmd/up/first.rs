//! What `up` does once the platform runs: a key that works in the context `local`, and a first sandbox.

use std::time::{Duration, Instant};

use wrenn_api::{CreateSandbox, Exec, ExecResult};

use crate::{
    client::Client,
    config::{ConfigFile, LOCAL, Target},
    context::Context,
    error::{CliError, Exit},
    local::{
        first_run::{FirstRun, Times},
        platform::Platform,
        state::{Settings, StateDir},
    },
    out::{Progress, StepEvent, seconds},
};

/// Whether a first sandbox is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstSandbox {
    UnlessDone,
    /// Nobody wants it, or there is no host for it.
    Unwanted,
}

/// Stores the context and tries the first sandbox.
pub(super) async fn finish(
    context: &Context,
    state: &StateDir,
    settings: &Settings,
    progress: &Progress,
    first_sandbox: FirstSandbox,
) -> Result<(), CliError> {
    let mut record = FirstRun::load(state)?;
    let client = client_with_key(context, state, settings, &mut record).await?;
    if first_sandbox == FirstSandbox::UnlessDone && record.times.is_none() {
        let begun = Instant::now();
        progress.event(&StepEvent::Step {
            name: "First sandbox".into(),
        });
        let times = run_sandbox(&client, progress).await?;
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
            ..Target::default()
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

async fn run_sandbox(client: &Client, progress: &Progress) -> Result<Times, CliError> {
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

pub(super) fn sentence(times: Times) -> String {
    let time = |ms| seconds(Duration::from_millis(ms));
    format!(
        "create {}, exec {}, destroy {}",
        time(times.create),
        time(times.exec),
        time(times.destroy)
    )
}
