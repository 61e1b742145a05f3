//! The invariants of ARCHITECTURE.md that a machine can hold: arrows between crates, where SQL, HTTP types
//! and unsafe code may stand, what never enters the dependency tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate → the crates of ours it may use outside its tests. A crate that is not named may not exist.
const ARROWS: [(&str, &[&str]); 15] = [
    ("wrenn-ids", &[]),
    ("wrenn-api", &["wrenn-ids"]),
    ("wrenn-rpc", &[]),
    ("wrenn-database", &["wrenn-ids", "wrenn-api"]),
    (
        "wrenn-control-plane",
        &["wrenn-ids", "wrenn-api", "wrenn-rpc", "wrenn-database"],
    ),
    ("wrenn-firecracker", &[]),
    ("wrenn-network", &[]),
    ("wrenn-block", &[]),
    ("wrenn-memory", &[]),
    (
        "wrenn-host-agent",
        &[
            "wrenn-ids",
            "wrenn-rpc",
            "wrenn-firecracker",
            "wrenn-network",
            "wrenn-block",
            "wrenn-memory",
        ],
    ),
    ("wrenn-envd", &["wrenn-rpc"]),
    ("wrenn-virtual-host", &[]),
    (
        "wrenn",
        &[
            "wrenn-ids",
            "wrenn-api",
            "wrenn-rpc",
            "wrenn-database",
            "wrenn-control-plane",
            "wrenn-firecracker",
            "wrenn-network",
            "wrenn-block",
            "wrenn-memory",
            "wrenn-host-agent",
            "wrenn-virtual-host",
        ],
    ),
    (
        "wrenn-testkit",
        &[
            "wrenn-ids",
            "wrenn-api",
            "wrenn-rpc",
            "wrenn-database",
            "wrenn-control-plane",
            "wrenn-firecracker",
            "wrenn-network",
            "wrenn-block",
            "wrenn-memory",
            "wrenn-host-agent",
            "wrenn-virtual-host",
        ],
    ),
    ("xtask", &[]),
];

/// (crate, dependency it must not have): who never talks to what.
const BARRED: [(&str, &[&str]); 8] = [
    ("wrenn-host-agent", &["sqlx", "redis"]),
    ("wrenn-firecracker", &["sqlx", "redis"]),
    ("wrenn-network", &["sqlx", "redis"]),
    ("wrenn-block", &["sqlx", "redis"]),
    ("wrenn-memory", &["sqlx", "redis"]),
    ("wrenn-envd", &["sqlx", "redis", "rustls", "reqwest"]),
    ("wrenn-api", &["axum", "sqlx", "redis", "tokio"]),
    ("wrenn-control-plane", &["sqlx"]),
];

/// Packages that must not be built, whatever the features, and why.
const NEVER: [(&str, &str); 4] = [
    (
        "ring",
        "a second crypto provider makes rustls panic at run time",
    ),
    ("openssl-sys", "the tree builds with gcc alone"),
    ("bindgen", "the tree builds with gcc alone"),
    ("aws-lc-fips-sys", "needs cmake and Go"),
];

/// Crates that may hold unsafe code.
const UNSAFE: [&str; 5] = ["block", "memory", "network", "envd", "virtual-host"];

#[test]
fn every_invariant_of_the_architecture_holds() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut broken = dependencies(&root)?;
    broken.extend(sources(&root)?);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn dependencies(root: &Path) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .context("read cargo metadata")?;
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let ours: BTreeSet<&str> = arrows.keys().copied().collect();
    let mut broken = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(allowed) = arrows.get(name) else {
            broken.push(format!(
                "{name} is not in the plan of the house (xtask/src/invariants.rs)"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let used = dependency.name.as_str();
            if ours.contains(used) && !allowed.contains(&used) {
                broken.push(format!("{name} uses {used}: no such arrow"));
            }
            let barred = BARRED
                .iter()
                .any(|(user, names)| *user == name && names.contains(&used));
            if barred {
                broken.push(format!("{name} uses {used}: it never may"));
            }
        }
    }
    // The lock file also names optional packages that nothing turns on: what counts is what is built.
    let tree = std::process::Command::new("cargo")
        .args([
            "tree",
            "--locked",
            "--workspace",
            "--all-features",
            "--prefix",
            "none",
        ])
        .current_dir(root)
        .output()
        .context("run cargo tree")?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let built: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    for (name, why) in NEVER.iter().filter(|(name, _)| built.contains(name)) {
        broken.push(format!("{name} would be built: {why}"));
    }
    Ok(broken)
}

fn sources(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in rust_files(&root.join("crates"))?
        .into_iter()
        .chain(rust_files(&root.join("xtask"))?)
    {
        let shown = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        if shown.contains("/generated/") || shown.contains("/fuzz/") {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("read {shown}"))?;
        if !text.starts_with("//!") {
            broken.push(format!("{shown} does not open with `//!`"));
        }
        let folder = shown.split('/').nth(1).unwrap_or_default();
        if !UNSAFE.contains(&folder)
            && text.lines().any(|line| line.contains("unsafe {"))
            && folder != "src"
        {
            broken.push(format!("{shown} has unsafe code"));
        }
        if shown.starts_with("crates/control-plane/src/app/") {
            for foreign in ["axum", "HeaderMap", "StatusCode"] {
                if text.contains(foreign) {
                    broken.push(format!("{shown} names {foreign}: app never sees HTTP"));
                }
            }
        }
        let sql = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "];
        let holds_sql = |line: &str| sql.iter().any(|word| line.contains(&format!("\"{word}")));
        if folder != "database"
            && !shown.contains("/tests/")
            && folder != "testkit"
            && folder != "src"
            && text.lines().any(holds_sql)
        {
            broken.push(format!("{shown} holds SQL"));
        }
    }
    Ok(broken)
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
