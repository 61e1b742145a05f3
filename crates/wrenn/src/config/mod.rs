//! Contexts: which server, which team, with which credentials (cli.md §2.2).
//!
//! Precedence: flag, environment, the chosen or current context, the local instance that `wrenn up` started.
//! What a context holds goes to its own server only.

mod file;

pub(crate) use self::file::{ConfigFile, home_dir, write_private};
use crate::{
    client::login::Login,
    context::Global,
    error::{CliError, Exit},
    local::state::StateDir,
};

/// The context that `wrenn up` writes.
pub(crate) const LOCAL: &str = "local";

/// One server with credentials.
#[derive(Clone, Default)]
pub(crate) struct Target {
    /// The context it came from; `@last` is remembered under this name.
    pub(crate) context: String,
    /// Without a trailing slash; a path prefix is kept.
    pub(crate) base_url: String,
    /// The team to act for, by id, slug or name; that of the login where nobody says.
    pub(crate) team: Option<String>,
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
            .field("team", &self.team)
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
                None if chosen => return Err(no_context(name)),
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
                    .hint("or", "wrenn login --base-url https://…")
                    .hint("or", "WRENN_BASE_URL=https://… WRENN_API_KEY=… wrenn …")
            })?,
        };
        // What is stored goes to no other server than its own.
        let own = stored
            .as_ref()
            .filter(|context| same_server(&context.base_url, &base_url));
        let login = own.and_then(|context| context.login.clone());
        let team = global.team.clone();
        let team = team.or_else(|| own.and_then(|context| context.team.clone()));
        let api_key = env_key.or_else(|| own.and_then(|context| context.api_key.clone()));
        let context = stored.map_or_else(|| LOCAL.to_owned(), |context| context.context);
        Ok(Self {
            context,
            base_url: base_url.trim_end_matches('/').to_owned(),
            team,
            api_key,
            login,
        })
    }
}

/// The error for a context that was named and is not there.
pub(crate) fn no_context(name: &str) -> CliError {
    CliError::new(
        Exit::NotFound,
        "not_found",
        format_args!("no context is named `{name}`"),
    )
    .hint("see", "wrenn context ls")
    .hint("make", "wrenn login --name NAME --base-url https://…")
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
