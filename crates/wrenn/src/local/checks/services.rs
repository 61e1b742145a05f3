//! Services, their secrets, and the client's own configuration.

use std::os::unix::fs::PermissionsExt;

use super::{Check, Group};
use crate::{
    config::ConfigFile,
    context::Context,
    local::{component::Phase, control, external::External, postgres, redis, state::StateDir},
};

pub(super) async fn services(state: &StateDir) -> Vec<Check> {
    let group = Group::Services;
    let external = External::find(state);
    let mut checks = vec![
        match postgres::Binaries::find() {
            _ if external.database.is_some() => {
                group.ok("PostgreSQL", "external, from DATABASE_URL")
            }
            Ok(binaries) => group.ok(
                "PostgreSQL",
                format!("version {} is installed", binaries.major()),
            ),
            Err(error) => group.failed("PostgreSQL", &error),
        },
        match redis::find_server() {
            _ if external.redis.is_some() => group.ok("Redis", "external, from REDIS_URL"),
            Ok((_, version)) => group.ok("Redis", format!("version {version} is installed")),
            Err(error) => group.failed("Redis", &error),
        },
    ];
    match control::status(state).await {
        Ok(None) => checks.push(group.skip("platform", "does not run; wrenn up starts it")),
        Ok(Some(status)) => {
            checks.push(group.ok("supervisor", format!("process {}", status.pid)));
            for component in status.components {
                let name = super::super::bring_up::title(&component.name);
                checks.push(match (component.phase, component.last_error) {
                    (Phase::Running, None) => group.ok(name, "running"),
                    (Phase::Running, Some(error)) => group.warn(
                        name,
                        format!(
                            "running, restarted {} times; last: {error}",
                            component.restarts
                        ),
                        format!("wrenn logs {}", component.name),
                    ),
                    (phase, error) => {
                        let finding =
                            format!("{phase:?}: {}", error.unwrap_or_default()).to_lowercase();
                        group.fail(name, finding, "wrenn up")
                    }
                });
            }
        }
        Err(error) => checks.push(group.failed("platform", &error)),
    }
    checks
}

pub(super) fn security(state: &StateDir) -> Vec<Check> {
    let group = Group::Security;
    let dir = state.at("secrets");
    let mut checks = Vec::new();
    match std::fs::read_dir(&dir) {
        Ok(files) => {
            let open: Vec<String> = files
                .flatten()
                .filter(|file| {
                    file.metadata()
                        .is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
                })
                .map(|file| file.path().display().to_string())
                .collect();
            checks.push(if open.is_empty() {
                group.ok("secrets", "only their owner can read them")
            } else {
                group.fail(
                    "secrets",
                    format!("others can read {}", open.join(", ")),
                    format!("chmod -R go= {}", dir.display()),
                )
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            checks.push(group.skip("secrets", "none made yet"))
        }
        Err(_) => checks.push(group.skip("secrets", "may not be read by this user")),
    }
    let settings = state.settings().ok().flatten().unwrap_or_default();
    checks.push(if settings.listen.ip().is_loopback() {
        group.ok(
            "listening",
            format!("{}, this machine only", settings.listen),
        )
    } else {
        group.warn(
            "listening",
            format!(
                "{} is reachable from other machines, without https",
                settings.listen
            ),
            "wrenn up --listen 127.0.0.1:8080",
        )
    });
    checks
}

pub(super) async fn client(context: &Context) -> Vec<Check> {
    let group = Group::Client;
    let mut checks = vec![match ConfigFile::path()
        .and_then(|path| ConfigFile::load(&path).map(|_| path))
    {
        Ok(path) => group.ok("configuration", path.display().to_string()),
        Err(error) => group.failed("configuration", &error),
    }];
    let Ok(target) = context.target() else {
        checks.push(group.skip("server", "none is known yet"));
        return checks;
    };
    let url = target.base_url.clone();
    let reached = async {
        context
            .client()?
            .sandbox_list::<serde_json::Value>("")
            .await
    }
    .await;
    checks.push(match reached {
        Ok(_) => group.ok("server", format!("{url} answers, and the key is valid")),
        Err(error) if error.code == "no_connection" => group.check(
            "server",
            super::Verdict::Warn,
            error.message,
            Some("wrenn up".to_owned()),
        ),
        Err(error) => group.failed("server", &error),
    });
    checks
}
