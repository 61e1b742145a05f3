//! Bad settings are all told at once, and secrets are never shown.

use wrenn_control_plane::{Config, Sources, ca, config::Origin};

fn sources(values: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::default();
    let values = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    sources.add(Origin::Environment, values);
    sources
}

fn good(ca: &ca::GeneratedCa) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", "postgres://localhost/x".to_owned()),
        ("REDIS_URL", "redis://localhost".to_owned()),
        ("WRENN_SECRET", "s".repeat(32)),
        ("WRENN_ENCRYPTION_KEY", "a".repeat(64)),
        ("WRENN_CA_CERT", ca.cert_pem.clone()),
        ("WRENN_CA_KEY", ca.key_pem.clone()),
    ]
}

#[test]
fn every_missing_setting_is_named_at_once() {
    let faults = Config::load(&Sources::default()).unwrap_err();
    let names: Vec<_> = faults.0.iter().map(|fault| fault.name).collect();
    let required = [
        "DATABASE_URL",
        "REDIS_URL",
        "WRENN_SECRET",
        "WRENN_ENCRYPTION_KEY",
        "WRENN_CA_CERT",
        "WRENN_CA_KEY",
    ];
    assert_eq!(names, required);
    assert_eq!(faults.to_string().lines().count(), required.len());
}

#[test]
fn each_bad_setting_is_one_sentence_that_names_it() {
    let ca = ca::generate().unwrap();
    let check = |name: &'static str, value: &str| {
        let mut values = good(&ca);
        values.retain(|(known, _)| *known != name);
        values.push((name, value.to_owned()));
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let faults = Config::load(&sources(&values)).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults:?}");
        assert_eq!(faults.0[0].name, name);
    };
    check("DATABASE_URL", "mysql://x");
    check("REDIS_URL", "x");
    check("WRENN_LISTEN", "8080");
    check("CP_PUBLIC_URL", "example.com");
    check("CP_PUBLIC_URL", "https://example.com/path");
    check("WRENN_SECRET", "short");
    check("WRENN_SECRET_PREVIOUS", "short");
    check("WRENN_ENCRYPTION_KEY", "abc");
    check("WRENN_CA_CERT", "/no/such/file");
    check("WRENN_SCHEDULER", "best");
    check("WRENN_CPU_OVERCOMMIT", "0");
    check("WRENN_MEM_OVERCOMMIT", "x");
    check("WRENN_LOG_FORMAT", "xml");
    check("WRENN_CORS_ORIGINS", "*");
    check("WRENN_CORS_ORIGINS", "https://a.example.com/path");
    check("WRENN_CORS_ORIGINS", "https://a.example.com,");
    check("WRENN_DB_MAX_CONNECTIONS", "1");
    // A key of another authority is a fault of the pair.
    check("WRENN_CA_CERT", &ca::generate().unwrap().cert_pem);
}

#[test]
fn a_nearer_source_wins_and_secrets_are_masked() {
    let ca = ca::generate().unwrap();
    let values = good(&ca);
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut sources = sources(&values);
    let listen = |address: &str| [("WRENN_LISTEN".to_owned(), address.to_owned())];
    sources.add(Origin::StateFile, listen("127.0.0.1:1"));
    assert_eq!(Config::load(&sources).unwrap().listen.port(), 1);
    sources.add(Origin::Flag, listen("127.0.0.1:2"));
    sources.add(
        Origin::Environment,
        [("WRENN_TYPO".to_owned(), "x".to_owned())],
    );
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(
        config.warnings,
        ["WRENN_TYPO is not a setting of this version"]
    );
    let shown = format!("{:?} {config:?}", config.effective);
    assert!(
        !shown.contains(&"s".repeat(32)) && !shown.contains(&"a".repeat(64)),
        "{shown}"
    );
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

#[test]
fn a_secret_may_be_given_as_a_file() {
    let ca = ca::generate().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", "f".repeat(40))).unwrap();
    let mut values = good(&ca);
    values.retain(|(name, _)| *name != "WRENN_SECRET");
    values.push(("WRENN_SECRET_FILE", file.path().display().to_string()));
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let config = Config::load(&sources(&values)).unwrap();
    assert!(config.warnings.is_empty());
    drop(file);
    let faults = Config::load(&sources(&values)).unwrap_err();
    assert_eq!(faults.0[0].name, "WRENN_SECRET");
}

#[test]
fn mail_and_oauth_want_all_their_parts_and_an_address() {
    let ca = ca::generate().unwrap();
    let check = |more: &[(&'static str, &str)], expected: &[&str]| {
        let mut values = good(&ca);
        values.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let faults = Config::load(&sources(&values)).map_or_else(|faults| faults.0, |_| Vec::new());
        let names: Vec<_> = faults.iter().map(|fault| fault.name).collect();
        assert_eq!(names, expected, "{more:?}");
    };
    let public = ("CP_PUBLIC_URL", "https://wrenn.example.com");
    let smtp = ("WRENN_SMTP_URL", "smtp://localhost:2525");
    let from = ("WRENN_MAIL_FROM", "Wrenn <wrenn@example.com>");
    let (id, secret) = (
        ("OAUTH_GITHUB_CLIENT_ID", "id"),
        ("OAUTH_GITHUB_CLIENT_SECRET", "secret"),
    );
    check(&[public, smtp, from, id, secret], &[]);
    check(&[smtp], &["WRENN_MAIL_FROM"]);
    check(&[from], &["WRENN_SMTP_URL"]);
    check(&[smtp, from], &["CP_PUBLIC_URL"]);
    check(
        &[public, ("WRENN_SMTP_URL", "localhost"), from],
        &["WRENN_SMTP_URL"],
    );
    check(
        &[public, smtp, ("WRENN_MAIL_FROM", "nobody")],
        &["WRENN_MAIL_FROM"],
    );
    check(&[id], &["OAUTH_GITHUB_CLIENT_SECRET"]);
    check(&[secret], &["OAUTH_GITHUB_CLIENT_ID"]);
    check(&[id, secret], &["CP_PUBLIC_URL"]);
    check(&[("WRENN_SIGNUP", "example.com, example.org")], &[]);
    check(&[("WRENN_SIGNUP", "ajar")], &["WRENN_SIGNUP"]);
}
