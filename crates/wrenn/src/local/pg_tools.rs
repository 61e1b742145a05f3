//! PostgreSQL's own programs for a whole database: `pg_dump`, `pg_restore` and `psql`.
//!
//! They are told where the database is by their environment: a command line is read by everybody on the machine.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::Url;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};
use wrenn_database::{REPLACE_BEGIN, REPLACE_END};

use super::{
    backup::Writer,
    postgres::{major_version, reason},
    program::{find, missing},
};
use crate::error::{CliError, chain};

const NAMES: [&str; 3] = ["pg_dump", "pg_restore", "psql"];
/// Longest time for all of it. Ctrl-C ends it before.
const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// Bytes moved at a time.
const PIECE: usize = 256 << 10;
/// Bytes of a program's complaints that are kept.
const COMPLAINT: usize = 64 << 10;

/// Programs that fit a server.
#[derive(Debug)]
pub(crate) struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// The installed ones for a server of the major version `server`: of the same version, else of the next newer.
    pub(crate) fn find(server: u32) -> Result<Self, CliError> {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"));
        let on_path = find("pg_dump").and_then(|program| program.parent().map(Path::to_owned));
        let known = versions
            .chain(on_path)
            .filter(|dir| NAMES.iter().all(|name| dir.join(name).is_file()))
            .filter_map(|dir| Some((major_version(&dir.join("pg_dump"))?, dir)));
        let mut found: Vec<(u32, PathBuf)> = known.collect();
        found.sort();
        let package = format!("postgresql-client-{server}");
        if found.is_empty() {
            return Err(missing("PostgreSQL's client", &package));
        }
        let fits = found.into_iter().find(|(major, _)| *major >= server);
        let (_, dir) = fits.ok_or_else(|| {
            missing(
                &format!("a client for PostgreSQL {server}, which the server is,"),
                &package,
            )
        })?;
        Ok(Self { dir })
    }

    fn command(&self, name: &str, environment: &Environment) -> Command {
        let mut command = Command::new(self.dir.join(name));
        command
            .envs(environment.0.iter().map(|(name, value)| (*name, value)))
            .env("LC_ALL", "C.UTF-8")
            .env("PGCONNECT_TIMEOUT", "10")
            .env_remove("PGOPTIONS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Dumps the database into `writer`: all as it is at one moment, while others go on.
    pub(crate) async fn dump(
        &self,
        environment: &Environment,
        writer: &mut Writer,
    ) -> Result<(), CliError> {
        let mut command = self.command("pg_dump", environment);
        command.args([
            "--format=custom",
            "--no-owner",
            "--no-privileges",
            "--no-password",
        ]);
        command.args(["--lock-wait-timeout=10s"]);
        let mut child = spawn(&mut command, "pg_dump")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let moving = async {
            let mut stdout = stdout.ok_or_else(|| CliError::local("pg_dump has no output"))?;
            let mut piece = vec![0; PIECE];
            loop {
                match stdout.read(&mut piece).await {
                    Ok(0) => return Ok(()),
                    Ok(read) => writer.write(&piece[..read])?,
                    Err(error) => return Err(failed("pg_dump", &error.to_string())),
                }
            }
        };
        let work = async {
            let (moved, complaint) = tokio::join!(moving, complaints(stderr));
            moved?;
            ended(child, "pg_dump", &complaint).await
        };
        within(work).await
    }

    /// Replaces everything in the database by `dump`, in one transaction: it is all there, or all as before.
    pub(crate) async fn replace(
        &self,
        environment: &Environment,
        mut dump: impl Read,
    ) -> Result<(), CliError> {
        let mut restore = self.command("pg_restore", environment);
        restore
            .args(["--no-owner", "--no-privileges", "--file=-"])
            .stdin(Stdio::piped());
        let mut psql = self.command("psql", environment);
        psql.args([
            "--no-psqlrc",
            "--quiet",
            "--no-password",
            "--set=ON_ERROR_STOP=1",
        ])
        .args(["--file=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
        let mut restore = spawn(&mut restore, "pg_restore")?;
        let mut psql = spawn(&mut psql, "psql")?;
        let (source, script) = (restore.stdin.take(), restore.stdout.take());
        let (target, restore_says) = (psql.stdin.take(), restore.stderr.take());
        let psql_says = psql.stderr.take();
        // Either side may end before the other has said all; why, the programs tell.
        let feeding = async {
            let mut source = source?;
            let mut piece = vec![0; PIECE];
            loop {
                match dump.read(&mut piece) {
                    Ok(0) => return Some(()),
                    Ok(read) => source.write_all(&piece[..read]).await.ok()?,
                    Err(_) => return None,
                }
            }
        };
        let running = async {
            let (mut target, mut script) = (target?, script?);
            target.write_all(REPLACE_BEGIN.as_bytes()).await.ok()?;
            tokio::io::copy(&mut script, &mut target).await.ok()?;
            Some(target)
        };
        let driving = async {
            let (fed, target) = tokio::join!(feeding, running);
            let restored = restore.wait().await.is_ok_and(|status| status.success());
            let complete = fed.is_some() && restored;
            if let Some(mut target) = target
                && complete
            {
                // Only now: without this line all was for nothing.
                let _ = target.write_all(REPLACE_END.as_bytes()).await;
            }
            complete
        };
        let work = async {
            let (complete, restore_says, psql_says) =
                tokio::join!(driving, complaints(restore_says), complaints(psql_says));
            ended(psql, "psql", &psql_says).await?;
            if complete {
                Ok(())
            } else {
                Err(failed("pg_restore", &restore_says))
            }
        };
        within(work).await
    }
}

fn spawn(command: &mut Command, name: &str) -> Result<Child, CliError> {
    command
        .spawn()
        .map_err(|error| failed(name, &error.to_string()))
}

fn failed(name: &str, said: &str) -> CliError {
    CliError::local(format_args!("{name} failed: {}", reason(said)))
}

async fn ended(mut child: Child, name: &str, said: &str) -> Result<(), CliError> {
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed(name, said)),
        Err(error) => Err(failed(name, &error.to_string())),
    }
}

/// What a program says on stderr until it ends; of very much only the beginning.
async fn complaints(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let (mut kept, mut piece) = (Vec::new(), vec![0; 4096]);
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let room = COMPLAINT - kept.len();
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn within(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let done = tokio::time::timeout(LIMIT, work).await;
    done.unwrap_or_else(|_| Err(CliError::local("it took longer than 12 hours")))
}

/// What libpq's programs learn from their environment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(&'static str, String)>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Parameters of a URL that both we and libpq know, and the variable of each.
const PARAMETERS: [(&str, &str); 13] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("sslmode", "PGSSLMODE"),
    ("ssl-mode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("ssl-root-cert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

impl Environment {
    /// Of the database at `url`.
    pub(crate) fn of(url: &str) -> Result<Self, CliError> {
        let url = Url::parse(url)
            .map_err(|error| CliError::usage(format_args!("DATABASE_URL: {}", chain(&error))))?;
        let mut known: Vec<(&'static str, String)> = Vec::new();
        let mut set = |name: &'static str, value: String| {
            known.retain(|(known, _)| *known != name);
            known.push((name, value));
        };
        let host = url.host_str().unwrap_or_default();
        if !host.is_empty() {
            set("PGHOST", decoded(host.trim_matches(['[', ']'])));
        }
        if let Some(port) = url.port() {
            set("PGPORT", port.to_string());
        }
        if !url.username().is_empty() {
            set("PGUSER", decoded(url.username()));
        }
        if let Some(password) = url.password() {
            set("PGPASSWORD", decoded(password));
        }
        let database = url.path().trim_start_matches('/');
        if !database.is_empty() {
            set("PGDATABASE", decoded(database));
        }
        for (name, value) in url.query_pairs() {
            if let Some((_, variable)) = PARAMETERS.iter().find(|(known, _)| *known == name) {
                set(variable, value.into_owned());
            }
        }
        Ok(Self(known))
    }
}

/// A part of a URL without its percent signs.
fn decoded(part: &str) -> String {
    // Form decoding does more: what it would do more is hidden from it.
    let form = format!("={}", part.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(form.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_the_variables_of_libpq() {
        let check = |url: &str, expected: &[(&str, &str)]| {
            let found = Environment::of(url).expect("a URL");
            let mut found: Vec<_> = found.0.iter().map(|(n, v)| (*n, v.as_str())).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{url}");
        };
        check(
            "postgres://wrenn:p%40s+s%26@db.example.com:5433/main?sslmode=verify-full",
            &[
                ("PGDATABASE", "main"),
                ("PGHOST", "db.example.com"),
                ("PGPASSWORD", "p@s+s&"),
                ("PGPORT", "5433"),
                ("PGSSLMODE", "verify-full"),
                ("PGUSER", "wrenn"),
            ],
        );
        check(
            "postgres://wrenn@localhost/wrenn?host=%2Fvar%2Flib%2Frun",
            &[
                ("PGDATABASE", "wrenn"),
                ("PGHOST", "/var/lib/run"),
                ("PGUSER", "wrenn"),
            ],
        );
        check(
            "postgres:///test_1?host=/tmp/x&user=wrenn",
            &[
                ("PGDATABASE", "test_1"),
                ("PGHOST", "/tmp/x"),
                ("PGUSER", "wrenn"),
            ],
        );
        check(
            "postgres://[::1]/w",
            &[("PGDATABASE", "w"), ("PGHOST", "::1")],
        );
    }

    #[test]
    fn debug_output_holds_no_password() {
        let environment = Environment::of("postgres://u:secret@h/d").expect("a URL");
        assert!(!format!("{environment:?}").contains("secret"));
    }
}
