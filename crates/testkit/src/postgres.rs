//! A real PostgreSQL of the test process: one cluster, a migrated database per test.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use wrenn_database::PgPool;

use crate::server::{Server, as_user, find_program, scratch};

/// The user that the server runs as when the tests run as root.
const USER: &str = "postgres";
const TEMPLATE: &str = "wrenn_template";

/// A PostgreSQL cluster on a Unix socket.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    server: Mutex<Option<Server>>,
    template: OnceCell<()>,
    count: AtomicU32,
}

impl Postgres {
    /// The cluster that this process's tests share.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().expect("start the tests' PostgreSQL"))
    }

    /// A cluster of the caller's own, for tests that stop it.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self> {
        let directory = scratch("postgres")?;
        if rustix::process::geteuid().is_root() {
            let chown = std::process::Command::new("chown")
                .arg(USER)
                .arg(directory.path())
                .status()?;
            ensure!(chown.success(), "give PostgreSQL its directory");
        }
        let made = as_user(Some(USER))
            .arg(program("initdb")?)
            .args([
                "--username=wrenn",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
            ])
            .args(["--locale=C.UTF-8", "--pgdata"])
            .arg(directory.path().join("data"))
            .stdout(Stdio::null())
            .status()
            .context("run initdb")?;
        ensure!(made.success(), "initdb ended with {made}");
        let postgres = Self {
            directory,
            server: Mutex::new(None),
            template: OnceCell::new(),
            count: AtomicU32::new(0),
        };
        postgres.restart()?;
        Ok(postgres)
    }

    /// Kills the server, as a crash would.
    pub fn kill(&self) {
        self.server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
    }

    /// Starts the server again over the same data.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> Result<()> {
        self.kill();
        let at = |name: &str| self.directory.path().join(name);
        let data = at("data");
        let (data, socket) = (
            data.to_string_lossy(),
            self.directory.path().to_string_lossy(),
        );
        let options = [
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=300",
        ];
        let mut arguments = vec!["-D", &*data, "-k", &*socket];
        arguments.extend(options);
        let ready = || {
            let asked = std::process::Command::new(program("pg_isready").unwrap_or_default())
                .args(["-q", "-h", &*socket])
                .status();
            asked.is_ok_and(|status| status.success())
        };
        let server = Server::start(
            &program("postgres")?,
            &arguments,
            Some(USER),
            &at("log"),
            ready,
        )?;
        *self
            .server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// The address of the database `name`.
    fn url(&self, name: &str) -> String {
        format!(
            "postgres:///{name}?host={}&user=wrenn",
            self.directory.path().display()
        )
    }

    /// A new database at the newest schema; its address.
    ///
    /// # Errors
    /// When a statement or a migration fails.
    pub async fn database(&self) -> Result<String> {
        let admin = PgPool::connect(&self.url("postgres"))
            .await
            .context("connect")?;
        self.template
            .get_or_try_init(|| async {
                execute(&admin, &format!("CREATE DATABASE {TEMPLATE}")).await?;
                let pool = PgPool::connect(&self.url(TEMPLATE)).await?;
                wrenn_database::migrate(&pool, None)
                    .await
                    .context("migrate the template")?;
                pool.close().await;
                anyhow::Ok(())
            })
            .await?;
        let name = format!("test_{}", self.count.fetch_add(1, Ordering::Relaxed));
        execute(
            &admin,
            &format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"),
        )
        .await?;
        admin.close().await;
        Ok(self.url(&name))
    }

    /// A new database with no schema; its address.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn empty_database(&self) -> Result<String> {
        let admin = PgPool::connect(&self.url("postgres"))
            .await
            .context("connect")?;
        let name = format!("empty_{}", self.count.fetch_add(1, Ordering::Relaxed));
        execute(&admin, &format!("CREATE DATABASE {name}")).await?;
        admin.close().await;
        Ok(self.url(&name))
    }
}

async fn execute(pool: &PgPool, statement: &str) -> Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(pool)
        .await
        .with_context(|| statement.to_owned())?;
    Ok(())
}

/// Debian keeps the servers of each version outside the `PATH`; the newest is taken.
fn program(name: &str) -> Result<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path().join("bin"))
                .collect()
        })
        .unwrap_or_default();
    versions.sort();
    versions.reverse();
    find_program(name, &versions)
}

#[cfg(test)]
mod tests {
    use wrenn_database::PgPoolOptions;

    use super::*;

    #[tokio::test]
    async fn a_database_survives_a_crash_of_the_server() {
        let postgres = Postgres::start().unwrap();
        let url = postgres.database().await.unwrap();
        postgres.kill();
        let impatient = PgPoolOptions::new().acquire_timeout(std::time::Duration::from_secs(1));
        assert!(impatient.connect(&url).await.is_err());
        postgres.restart().unwrap();
        let pool = PgPool::connect(&url).await.unwrap();
        assert!(wrenn_database::platform_team_exists(&pool).await.unwrap());
    }
}
