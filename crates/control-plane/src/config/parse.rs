//! From texts to typed settings; every fault is noted and the rest is still judged.

use std::{fmt::Display, str::FromStr};

use secrecy::SecretString;

use super::{Config, LogFormat, QuotaDefaults, SchedulerKind, sources::Values};
use crate::{ca::CertificateAuthority, sealing::SealingKeys};

/// `None` when anything that a server needs is missing or bad; the faults say what.
pub(super) fn config(values: &mut Values) -> Option<Config> {
    let database_url = url(values, "DATABASE_URL", &["postgres://", "postgresql://"]);
    let redis_url = url(
        values,
        "REDIS_URL",
        &["redis://", "rediss://", "redis+unix://", "unix://"],
    );
    let listen = parsed(
        values,
        "WRENN_LISTEN",
        "must be an address such as 127.0.0.1:8080",
    );
    let public_url = public_url(values);
    let secret = master_secret(values, "WRENN_SECRET");
    let secret_previous = master_secret(values, "WRENN_SECRET_PREVIOUS");
    let sealing = sealing(values);
    let ca = authority(values);
    let scheduler = choice(
        values,
        "WRENN_SCHEDULER",
        &[
            ("least_loaded", SchedulerKind::LeastLoaded),
            ("round_robin", SchedulerKind::RoundRobin),
        ],
    );
    let log_format = choice(
        values,
        "WRENN_LOG_FORMAT",
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );
    let cpu_overcommit = ratio(values, "WRENN_CPU_OVERCOMMIT");
    let mem_overcommit = ratio(values, "WRENN_MEM_OVERCOMMIT");
    let rate_limits = worded(values, "WRENN_RATE_LIMITS");
    let trusted_proxies = worded(values, "WRENN_TRUSTED_PROXIES");
    let quota_defaults = quota_defaults(values);
    let cors_origins = super::origins::cors_origins(values);
    let people = super::people::people(values);
    let db_max_connections = ranged(values, "WRENN_DB_MAX_CONNECTIONS", 2, 1000);
    let sandbox_domain = values
        .get("WRENN_SANDBOX_DOMAIN")
        .map(str::to_owned)
        .or_else(|| {
            let rest = public_url.as_deref()?.split_once("://")?.1;
            rest.split(['/', ':']).next().map(str::to_owned)
        });
    Some(Config {
        database_url: database_url?,
        redis_url: redis_url?,
        listen: listen?,
        public_url,
        sandbox_domain: sandbox_domain.unwrap_or_else(|| "wrenn.localhost".to_owned()),
        secret: secret?,
        secret_previous,
        sealing: sealing?,
        ca: ca?,
        scheduler: scheduler?,
        cpu_overcommit: cpu_overcommit?,
        mem_overcommit: mem_overcommit?,
        rate_limits: rate_limits?,
        quota_defaults: quota_defaults?,
        trusted_proxies: trusted_proxies?,
        cors_origins,
        people: people?,
        metrics_token: values.get("WRENN_METRICS_TOKEN").map(SecretString::from),
        log: values.get("WRENN_LOG").unwrap_or("info").to_owned(),
        log_format,
        db_max_connections: db_max_connections?,
        effective: Vec::new(),
        warnings: Vec::new(),
    })
}

fn url(values: &mut Values, name: &'static str, schemes: &[&str]) -> Option<SecretString> {
    let text = values.get(name)?.to_owned();
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return Some(text.into());
    }
    values.fault(
        name,
        format!("must be a URL that begins with {}", schemes[0]),
    );
    None
}

fn public_url(values: &mut Values) -> Option<String> {
    let text = values
        .get("CP_PUBLIC_URL")?
        .trim_end_matches('/')
        .to_owned();
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    if host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])) {
        return Some(text);
    }
    values.fault(
        "CP_PUBLIC_URL",
        "must be http(s)://host[:port] without a path",
    );
    None
}

fn master_secret(values: &mut Values, name: &'static str) -> Option<SecretString> {
    let text = values.get(name)?.to_owned();
    if text.len() >= 32 {
        return Some(text.into());
    }
    values.fault(name, "must have at least 32 bytes");
    None
}

fn sealing(values: &mut Values) -> Option<SealingKeys> {
    let text = values.get("WRENN_ENCRYPTION_KEY")?.to_owned();
    match SealingKeys::parse(&text) {
        Ok(keys) => Some(keys),
        Err(error) => {
            values.fault("WRENN_ENCRYPTION_KEY", error.to_string());
            None
        }
    }
}

fn authority(values: &mut Values) -> Option<CertificateAuthority> {
    let certificate = pem(values, "WRENN_CA_CERT");
    let key = pem(values, "WRENN_CA_KEY");
    match CertificateAuthority::from_pem(&certificate?, &key?) {
        Ok(ca) => Some(ca),
        Err(error) => {
            values.fault(
                "WRENN_CA_CERT",
                format!("and WRENN_CA_KEY are unusable: {error}"),
            );
            None
        }
    }
}

/// PEM text, or the content of the file that the value names.
fn pem(values: &mut Values, name: &'static str) -> Option<String> {
    let text = values.get(name)?.to_owned();
    if text.trim_start().starts_with("-----BEGIN") {
        return Some(text);
    }
    match std::fs::read_to_string(&text) {
        Ok(text) => Some(text),
        Err(error) => {
            values.fault(
                name,
                format!("must be PEM text or a readable file: {error}"),
            );
            None
        }
    }
}

fn parsed<T: FromStr>(values: &mut Values, name: &'static str, problem: &str) -> Option<T> {
    let parsed = values.get(name)?.parse().ok();
    if parsed.is_none() {
        values.fault(name, problem);
    }
    parsed
}

fn ranged<T: FromStr + PartialOrd + Display>(
    values: &mut Values,
    name: &'static str,
    least: T,
    most: T,
) -> Option<T> {
    let parsed = values
        .get(name)?
        .parse()
        .ok()
        .filter(|value| *value >= least && *value <= most);
    if parsed.is_none() {
        values.fault(name, format!("must be a number from {least} to {most}"));
    }
    parsed
}

/// A value whose own parser says what it must be.
fn worded<T: FromStr<Err: Display>>(values: &mut Values, name: &'static str) -> Option<T> {
    match values.get(name)?.parse() {
        Ok(value) => Some(value),
        Err(problem) => {
            values.fault(name, problem.to_string());
            None
        }
    }
}

fn quota_defaults(values: &mut Values) -> Option<QuotaDefaults> {
    const NAME: &str = "WRENN_QUOTA_DEFAULTS";
    let mut quota = QuotaDefaults::default();
    let Some(text) = values.get(NAME) else {
        return Some(quota);
    };
    let known = text.split(',').all(|item| {
        let Some((name, value)) = item.trim().split_once('=') else {
            return false;
        };
        let value = value.parse::<i32>().ok().filter(|value| *value >= 0);
        let place = match name {
            "sandboxes" => &mut quota.sandboxes,
            "vcpus" => &mut quota.vcpus,
            "memory_mb" => &mut quota.memory_mb,
            "disk_mb" => &mut quota.disk_mb,
            _ => return false,
        };
        *place = value;
        value.is_some()
    });
    if known {
        return Some(quota);
    }
    let problem = "must be a list such as sandboxes=50,vcpus=64,memory_mb=131072,disk_mb=512000 (0 is no limit)";
    values.fault(NAME, problem);
    None
}

fn ratio(values: &mut Values, name: &'static str) -> Option<f64> {
    ranged(values, name, 0.1, 100.0)
}

fn choice<T: Copy>(values: &mut Values, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
    let text = values.get(name)?;
    let found = choices
        .iter()
        .find(|(choice, _)| *choice == text)
        .map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
        values.fault(name, format!("must be {}", names.join(" or ")));
    }
    found
}
