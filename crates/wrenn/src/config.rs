//! Contexts: which server with which key (cli.md §2.2).
//!
//! The file is `config.toml` in `$XDG_CONFIG_HOME/wrenn`, mode 0600, refused when others can read it, replaced
//! by rename; keys that this version does not know are kept. Precedence: flag, environment, the chosen or
//! current context, the local instance that `wrenn up` started.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    client::login::Login,
    context::Global,
    error::{Attempt, CliError, Exit},
    local::state::StateDir,
};

/// The context that `wrenn up` writes.
pub(crate) const LOCAL: &str = "local";

/// One server with credentials.
#[derive(Clone)]
pub(crate) struct Target {
    /// The context it came from; `@last` is remembered under this name.
    pub(crate) context: String,
    /// Without a trailing slash; a path prefix is kept.
    pub(crate) base_url: String,
    /// An API key.
    pub(crate) api_key: Option<String>,
    /// A person's login.
    pub(crate) login: Option<Login>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("context", &self.context)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Chooses by flag, environment, context file and local instance.
    pub(crate) fn choose(global: &Global) -> Result<Self, CliError> {
        let file = ConfigFile::load(&ConfigFile::path()?)?;
        let env_key = std::env::var("WRENN_API_KEY")
            .ok()
            .filter(|key| !key.is_empty());
        let name = global.context.clone().or_else(|| file.current());
        let stored = match (&name, global.context.is_some()) {
            (Some(name), chosen) => match file.context(name) {
                Some(context) => Some(context),
                None if chosen => {
                    return Err(CliError::new(
                        Exit::NotFound,
                        "not_found",
                        format_args!("no context is named `{name}`"),
                    )
                    .hint("see", ConfigFile::path()?.display()));
                }
                None => None,
            },
            (None, _) => None,
        };
        let base_url = match (&global.base_url, &stored) {
            (Some(url), _) => url.clone(),
            // A key from the environment belongs to the local instance unless an address was named with it.
            (None, _) if env_key.is_some() && global.context.is_none() => local_url().ok_or_else(|| {
                CliError::new(Exit::Usage, "usage", "WRENN_API_KEY is set, but neither an address nor a local instance is known")
                    .hint("set", "WRENN_BASE_URL=https://…")
                    .hint("or", "wrenn up")
            })?,
            (None, Some(context)) => context.base_url.clone(),
            (None, None) => local_url().ok_or_else(|| {
                CliError::new(Exit::Credentials, "no_server", "no server is known: nothing was started here and no context is stored")
                    .hint("start", "wrenn up")
                    .hint("or", "WRENN_BASE_URL=https://… WRENN_API_KEY=… wrenn …")
            })?,
        };
        // What is stored goes to no other server than its own.
        let own = stored
            .as_ref()
            .filter(|context| same_server(&context.base_url, &base_url));
        let login = own.and_then(|context| context.login.clone());
        let api_key = env_key.or_else(|| own.and_then(|context| context.api_key.clone()));
        let context = stored.map_or_else(|| LOCAL.to_owned(), |context| context.context);
        Ok(Self {
            context,
            base_url: base_url.trim_end_matches('/').to_owned(),
            api_key,
            login,
        })
    }
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn local_url() -> Option<String> {
    let state = StateDir::locate(None).ok()?;
    state
        .settings()
        .ok()
        .flatten()
        .map(|settings| settings.local_url())
}

/// The configuration file, as a table that is edited in place.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    table: Table,
}

impl ConfigFile {
    /// Where the file lies: `WRENN_CONFIG`, else below the configuration home.
    pub(crate) fn path() -> Result<PathBuf, CliError> {
        if let Some(path) = std::env::var_os("WRENN_CONFIG").filter(|path| !path.is_empty()) {
            return Ok(PathBuf::from(path));
        }
        Ok(home_dir("XDG_CONFIG_HOME", ".config")?.join("wrenn/config.toml"))
    }

    /// Reads the file; a missing one is empty.
    pub(crate) fn load(path: &Path) -> Result<Self, CliError> {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(CliError::local(format_args!(
                    "read {}: {error}",
                    path.display()
                )));
            }
        };
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(CliError::local(format_args!(
                "{} holds keys and others can read it",
                path.display()
            ))
            .hint("fix", format_args!("chmod 600 {}", path.display())));
        }
        let text = fs::read_to_string(path).attempt(|| format!("read {}", path.display()))?;
        let table = text
            .parse()
            .attempt(|| format!("read {}", path.display()))?;
        Ok(Self { table })
    }

    /// Replaces the file.
    pub(crate) fn store(&self, path: &Path) -> Result<(), CliError> {
        let text = toml::to_string_pretty(&self.table).attempt(|| "write the configuration")?;
        write_private(path, text.as_bytes())
    }

    /// The name of the current context.
    pub(crate) fn current(&self) -> Option<String> {
        self.table
            .get("current")
            .and_then(Value::as_str)
            .map(str::to_owned)
    }

    /// The context `name`, if it has an address.
    pub(crate) fn context(&self, name: &str) -> Option<Target> {
        let context = self.table.get("contexts")?.get(name)?;
        let text = |key: &str| context.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Target {
            context: name.to_owned(),
            base_url: text("base_url")?,
            api_key: text("api_key"),
            login: text("token")
                .zip(text("refresh_token"))
                .map(|(token, refresh_token)| Login {
                    token,
                    refresh_token,
                }),
        })
    }

    /// Writes `values` into the context `name`, keeping its other keys; makes it current if there is none.
    /// Returns whether anything changed.
    pub(crate) fn set(&mut self, name: &str, values: &[(&str, &str)]) -> bool {
        let before = self.table.clone();
        let contexts = self
            .table
            .entry("contexts")
            .or_insert_with(|| Value::Table(Table::new()));
        if let Some(contexts) = contexts.as_table_mut() {
            let context = contexts
                .entry(name)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Some(context) = context.as_table_mut() {
                for (key, value) in values {
                    context.insert((*key).to_owned(), Value::String((*value).to_owned()));
                }
            }
        }
        self.table
            .entry("current")
            .or_insert_with(|| Value::String(name.to_owned()));
        self.table != before
    }

    /// Stores a login in the context `name`.
    pub(crate) fn set_login(&mut self, name: &str, login: &Login) {
        self.set(
            name,
            &[
                ("token", &login.token),
                ("refresh_token", &login.refresh_token),
            ],
        );
    }

    /// Forgets the login of the context `name`; its other keys stay.
    pub(crate) fn forget_login(&mut self, name: &str) {
        let contexts = self.table.get_mut("contexts").and_then(Value::as_table_mut);
        let context = contexts.and_then(|contexts| contexts.get_mut(name)?.as_table_mut());
        if let Some(context) = context {
            for key in ["token", "refresh_token", "email"] {
                context.remove(key);
            }
        }
    }

    /// Makes the context `name` the current one.
    pub(crate) fn choose(&mut self, name: &str) {
        self.table
            .insert("current".to_owned(), Value::String(name.to_owned()));
    }

    /// The state directory that the context `name` belongs to.
    pub(crate) fn state_dir(&self, name: &str) -> Option<PathBuf> {
        self.table
            .get("contexts")?
            .get(name)?
            .get("state_dir")?
            .as_str()
            .map(PathBuf::from)
    }

    /// Forgets the context `name`.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(contexts) = self.table.get_mut("contexts").and_then(Value::as_table_mut) {
            contexts.remove(name);
        }
        if self.current().as_deref() == Some(name) {
            self.table.remove("current");
        }
    }
}

/// `$variable`, else `~/<below>`.
pub(crate) fn home_dir(variable: &str, below: &str) -> Result<PathBuf, CliError> {
    if let Some(dir) = std::env::var_os(variable).filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.map(|home| home.join(below))
        .ok_or_else(|| CliError::local(format_args!("HOME is not set, so there is no ~/{below}")))
}

/// Replaces `path` by rename; only the owner can read it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = dir.join(name);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.attempt(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_survive_and_the_file_is_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("wrenn/config.toml");
        write_private(
            &path,
            b"future = 1\n[contexts.a]\nbase_url = \"https://a\"\ncolour = \"blue\"\n",
        )
        .expect("written");
        let mut file = ConfigFile::load(&path).expect("read");
        file.set("a", &[("api_key", "wrn_1")]);
        file.store(&path).expect("written");
        let file = ConfigFile::load(&path).expect("read");
        assert_eq!(
            file.table.get("future").and_then(Value::as_integer),
            Some(1)
        );
        assert_eq!(file.table["contexts"]["a"]["colour"].as_str(), Some("blue"));
        let target = file.context("a").expect("the context");
        assert_eq!(
            (target.base_url.as_str(), target.api_key.as_deref()),
            ("https://a", Some("wrn_1"))
        );
        assert_eq!(file.current().as_deref(), Some("a"));
        assert_eq!(
            fs::metadata(&path).expect("meta").permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
        let error = ConfigFile::load(&path).expect_err("refused");
        assert!(error.hints[0].command.starts_with("chmod 600"), "{error:?}");
    }

    #[test]
    fn removing_the_current_context_leaves_none() {
        let mut file = ConfigFile::default();
        file.set(
            LOCAL,
            &[("base_url", "http://127.0.0.1:8080"), ("state_dir", "/x")],
        );
        assert_eq!(file.state_dir(LOCAL), Some(PathBuf::from("/x")));
        file.remove(LOCAL);
        assert!(file.context(LOCAL).is_none() && file.current().is_none());
    }
}
