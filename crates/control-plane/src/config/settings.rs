//! The table of settings: what help, manual, documentation and validation are made from.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// The flag without dashes; `None` for secrets, which never stand on a command line.
    pub flag: Option<&'static str>,
    /// Value when nothing is given.
    pub default: Option<&'static str>,
    /// Whether a server cannot start without it.
    pub required: bool,
    /// What it means.
    pub help: &'static str,
}

impl Setting {
    /// Whether its value is never shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        self.flag.is_none()
    }
}

const fn plain(
    name: &'static str,
    flag: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        flag: Some(flag),
        default,
        required: false,
        help,
    }
}

const fn secret(name: &'static str, required: bool, help: &'static str) -> Setting {
    Setting {
        name,
        flag: None,
        default: None,
        required,
        help,
    }
}

/// Every setting of the control plane.
pub const SETTINGS: &[Setting] = &[
    secret(
        "DATABASE_URL",
        true,
        "PostgreSQL, as postgres://user:password@host/database",
    ),
    secret("REDIS_URL", true, "Redis, as redis://host:6379"),
    plain(
        "WRENN_LISTEN",
        "listen",
        Some("0.0.0.0:8080"),
        "address of the API and the dashboard",
    ),
    plain(
        "CP_PUBLIC_URL",
        "public-url",
        None,
        "how people reach this server",
    ),
    plain(
        "WRENN_SANDBOX_DOMAIN",
        "sandbox-domain",
        None,
        "domain in sandbox URLs; default: the host of CP_PUBLIC_URL",
    ),
    secret(
        "WRENN_SECRET",
        true,
        "master secret of all tokens, at least 32 bytes",
    ),
    secret(
        "WRENN_SECRET_PREVIOUS",
        false,
        "the master secret before, while it is rotated",
    ),
    secret(
        "WRENN_ENCRYPTION_KEY",
        true,
        "keys that seal stored values: [id:]64 hex digits, more after commas",
    ),
    secret(
        "WRENN_CA_CERT",
        true,
        "certificate of the authority for hosts: PEM text or a path",
    ),
    secret(
        "WRENN_CA_KEY",
        true,
        "key of that authority: PEM text or a path",
    ),
    plain(
        "WRENN_SCHEDULER",
        "scheduler",
        Some("least_loaded"),
        "how hosts are ranked: least_loaded or round_robin",
    ),
    plain(
        "WRENN_CPU_OVERCOMMIT",
        "cpu-overcommit",
        Some("4.0"),
        "virtual CPUs per processor",
    ),
    plain(
        "WRENN_MEM_OVERCOMMIT",
        "mem-overcommit",
        Some("1.0"),
        "promised MiB per MiB",
    ),
    plain(
        "WRENN_RATE_LIMITS",
        "rate-limits",
        Some("on"),
        "on, off, or class=requests per second/at once, more after commas",
    ),
    plain(
        "WRENN_QUOTA_DEFAULTS",
        "quota-defaults",
        None,
        "limits of new teams: sandboxes=50,vcpus=64,memory_mb=131072,disk_mb=512000",
    ),
    plain(
        "WRENN_TRUSTED_PROXIES",
        "trusted-proxies",
        Some("loopback"),
        "networks of proxies whose X-Forwarded-For counts",
    ),
    plain(
        "WRENN_CORS_ORIGINS",
        "cors-origins",
        None,
        "origins whose pages may call from a browser, such as https://app.example.com",
    ),
    plain(
        "WRENN_SIGNUP",
        "signup",
        Some("open"),
        "who may make an account: open, closed, or domains separated by commas",
    ),
    secret(
        "WRENN_SETUP_TOKEN",
        false,
        "lets whoever holds it make the first administrator",
    ),
    secret(
        "WRENN_SMTP_URL",
        false,
        "mail server, as smtp://user:password@host:587?tls=required or smtps://…",
    ),
    plain(
        "WRENN_MAIL_FROM",
        "mail-from",
        None,
        "who mail comes from, such as Wrenn <wrenn@example.com>",
    ),
    plain(
        "OAUTH_GITHUB_CLIENT_ID",
        "oauth-github-client-id",
        None,
        "the application at GitHub that people sign in by",
    ),
    secret(
        "OAUTH_GITHUB_CLIENT_SECRET",
        false,
        "secret of that application",
    ),
    plain(
        "WRENN_OAUTH_GITHUB_BASE_URL",
        "oauth-github-base-url",
        Some("https://github.com"),
        "GitHub, or GitHub Enterprise",
    ),
    secret(
        "WRENN_METRICS_TOKEN",
        false,
        "opens /metrics to others than the loopback address",
    ),
    plain("WRENN_LOG", "log", Some("info"), "log filter"),
    plain(
        "WRENN_LOG_FORMAT",
        "log-format",
        None,
        "text or json; default: text on a terminal",
    ),
    plain(
        "WRENN_DB_MAX_CONNECTIONS",
        "db-max-connections",
        Some("20"),
        "connections to PostgreSQL per replica",
    ),
];

/// `WRENN_*` variables that other parts of the product read.
pub(super) const KNOWN_ELSEWHERE: &[&str] = &[
    "WRENN_ADDRESS",
    "WRENN_AGENT_LISTEN",
    "WRENN_API_KEY",
    "WRENN_BASE_URL",
    "WRENN_CACHE_DIR",
    "WRENN_CONTEXT",
    "WRENN_CP_URL",
    "WRENN_DISCONNECT_PAUSE_SEC",
    "WRENN_FIRECRACKER_DIR",
    "WRENN_GUEST_CA",
    "WRENN_GUEST_DNS",
    "WRENN_IMAGES_DIR",
    "WRENN_OUTPUT",
    "WRENN_PROXY_DOMAIN",
    "WRENN_REGISTRATION_TOKEN",
    "WRENN_STATE_DIR",
];
