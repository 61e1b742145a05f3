//! The configuration file: `config.toml` in `$XDG_CONFIG_HOME/wrenn`.
//!
//! Mode 0600, refused when others can read it, replaced by rename. It is edited as a table: keys that this version
//! does not know are kept.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::Target;
use crate::{
    client::login::Login,
    error::{Attempt, CliError},
};

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

    /// The names of all contexts, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let contexts = self.table.get("contexts").and_then(Value::as_table);
        let mut names: Vec<String> = contexts
            .into_iter()
            .flat_map(|contexts| contexts.keys().cloned())
            .collect();
        names.sort();
        names
    }

    /// A text that the context `name` holds.
    pub(crate) fn text(&self, name: &str, key: &str) -> Option<&str> {
        self.table.get("contexts")?.get(name)?.get(key)?.as_str()
    }

    /// The context `name`, if it has an address.
    pub(crate) fn context(&self, name: &str) -> Option<Target> {
        let context = self.table.get("contexts")?.get(name)?;
        let text = |key: &str| context.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Target {
            context: name.to_owned(),
            base_url: text("base_url")?,
            team: text("team"),
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

    /// Has the context `name` mean this server; credentials for another one are forgotten.
    pub(crate) fn set_server(&mut self, name: &str, base_url: &str) {
        let before = self.text(name, "base_url");
        if before.is_some_and(|before| !super::same_server(before, base_url)) {
            self.forget_login(name);
            self.drop_keys(name, &["api_key", "state_dir"]);
        }
        self.set(name, &[("base_url", base_url)]);
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
        self.drop_keys(name, &["token", "refresh_token", "email", "team"]);
    }

    /// Has the context `name` say nothing about its team.
    pub(crate) fn forget_team(&mut self, name: &str) {
        self.drop_keys(name, &["team"]);
    }

    fn drop_keys(&mut self, name: &str, keys: &[&str]) {
        let contexts = self.table.get_mut("contexts").and_then(Value::as_table_mut);
        let context = contexts.and_then(|contexts| contexts.get_mut(name)?.as_table_mut());
        if let Some(context) = context {
            for key in keys {
                context.remove(*key);
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
        self.text(name, "state_dir").map(PathBuf::from)
    }

    /// Forgets the context `name`; false when there was none.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let contexts = self.table.get_mut("contexts").and_then(Value::as_table_mut);
        let removed = contexts.is_some_and(|contexts| contexts.remove(name).is_some());
        if self.current().as_deref() == Some(name) {
            self.table.remove("current");
        }
        removed
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
    use crate::config::LOCAL;

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
    fn credentials_do_not_move_to_another_server() {
        let mut file = ConfigFile::default();
        file.set(
            "a",
            &[("api_key", "wrn_1"), ("token", "t"), ("colour", "blue")],
        );
        file.set_server("a", "https://one");
        assert_eq!(file.text("a", "token"), Some("t"));
        file.set_server("a", "https://one/");
        assert_eq!(file.text("a", "api_key"), Some("wrn_1"));
        file.set_server("a", "https://two");
        assert_eq!(
            (file.text("a", "token"), file.text("a", "api_key")),
            (None, None)
        );
        assert_eq!(file.text("a", "colour"), Some("blue"));
    }

    #[test]
    fn removing_the_current_context_leaves_none() {
        let mut file = ConfigFile::default();
        file.set(
            LOCAL,
            &[("base_url", "http://127.0.0.1:8080"), ("state_dir", "/x")],
        );
        assert_eq!(file.state_dir(LOCAL), Some(PathBuf::from("/x")));
        assert!(file.remove(LOCAL) && !file.remove(LOCAL));
        assert!(file.context(LOCAL).is_none() && file.current().is_none());
    }
}
