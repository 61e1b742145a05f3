//! Golden help: every command's `--help` is a file in `tests/help`; `WRENN_BLESS=1` rewrites them.

use std::{collections::BTreeSet, path::Path, process::Command};

fn wrenn(words: &[String], last: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_wrenn"))
        .args(words)
        .arg(last)
        .env_clear()
        .env("HOME", "/home/user")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "wrenn {words:?} {last} failed: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The names under `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// The name of a command's page.
fn page(words: &[String]) -> String {
    words
        .iter()
        .fold("wrenn".to_owned(), |name, word| format!("{name}-{word}"))
}

fn walk(words: &[String], check: &mut impl FnMut(&[String], &str)) {
    let help = wrenn(words, "--help");
    check(words, &help);
    for name in subcommands(&help) {
        walk(&[words, &[name]].concat(), check);
    }
}

#[test]
fn every_help_text_is_as_written_down() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let bless = std::env::var_os("WRENN_BLESS").is_some();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    walk(&[], &mut |words, help| {
        let name = format!("{}.txt", page(words));
        let path = dir.join(&name);
        if bless {
            std::fs::write(&path, help).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(help) {
            wrong.push(name.clone());
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 120),
            "{name} is too wide"
        );
        seen.insert(name);
    });
    let files: BTreeSet<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    wrong.extend(
        files
            .difference(&seen)
            .map(|name| format!("{name} belongs to no command")),
    );
    assert!(wrong.is_empty(), "WRENN_BLESS=1 rewrites these: {wrong:?}");
}

#[test]
fn every_command_that_does_something_has_examples() {
    walk(&[], &mut |words, help| {
        if subcommands(help).is_empty() {
            let shown = words.join(" ");
            assert!(help.contains("Examples:"), "wrenn {shown} has no examples");
            let examples = help.split("Examples:").nth(1).unwrap_or_default();
            assert!(
                examples
                    .lines()
                    .filter(|line| line.contains("wrenn"))
                    .count()
                    >= 2,
                "wrenn {shown} has one example"
            );
        }
    });
}

#[test]
fn pages_and_completions_exist_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    wrenn(
        &["man".into(), "--dir".into()],
        dir.path().to_str().unwrap(),
    );
    let mut commands = Vec::new();
    walk(&[], &mut |words, _| {
        commands.push(page(words));
    });
    for name in commands {
        let text = std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
        assert!(text.contains(".TH"), "{name}");
    }
    let script = wrenn(&["completions".into()], "bash");
    let path = dir.path().join("wrenn.bash");
    std::fs::write(&path, script).unwrap();
    let syntax = Command::new("bash").arg("-n").arg(&path).status().unwrap();
    assert!(syntax.success());
}

#[test]
fn topics_are_shown() {
    for topic in ["exit-codes", "environment", "formats", "references"] {
        assert!(!wrenn(&["help".into()], topic).is_empty());
    }
    assert_eq!(
        wrenn(&["help".into(), "sandbox".into()], "create"),
        wrenn(&["sandbox".into(), "create".into()], "--help")
    );
}
