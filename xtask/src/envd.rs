//! Builds the guest's agent as one fully static binary and checks what it promises: no interpreter, and
//! small enough for every guest image.
//!
//! `crt-static` is set here and nowhere else: the rest of the tree links the system's C library, and flags
//! in a configuration file would reach it too.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const MAX_BYTES: usize = 4 << 20;

// elf.h
const ET_DYN: u16 = 3;
const PT_INTERP: u32 = 3;
const PROGRAM_HEADERS: usize = 0x20;
const HEADER_SIZE: usize = 0x36;
const HEADER_COUNT: usize = 0x38;

/// Builds envd and prints the path of the binary.
pub(crate) fn run() -> Result<()> {
    print(&binary()?);
    Ok(())
}

/// Builds envd; the path of the binary.
pub(crate) fn binary() -> Result<PathBuf> {
    build(&["--bin", "envd"])?;
    let path = target_directory().join(TARGET).join("envd/envd");
    let binary = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    ensure!(is_static_pie(&binary), "envd is not a static-pie binary");
    ensure!(
        binary.len() <= MAX_BYTES,
        "envd has {} bytes, more than the {MAX_BYTES} that an image has room for",
        binary.len()
    );
    path.canonicalize().context("resolve the path of envd")
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds the program that measures envd within a guest, as static as envd is.
pub(crate) fn speed() -> Result<()> {
    build(&["--example", "speed"])
}

fn build(what: &[&str]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "envd", "--target", TARGET])
        .args(["--package", "wrenn-envd"])
        .args(what)
        .current_dir(root())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "the build of envd failed");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(
    clippy::print_stdout,
    reason = "the path is this task's result, read by make"
)]
fn print(path: &Path) {
    println!("{}", path.display());
}

/// Whether a 64-bit little-endian ELF file is position-independent and asks for no interpreter.
fn is_static_pie(binary: &[u8]) -> bool {
    let half = |at: usize| {
        binary
            .get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u16::from_le_bytes)
    };
    let word = |at: usize| {
        binary
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    let table = usize::try_from(word(PROGRAM_HEADERS)).unwrap_or(usize::MAX);
    let (size, count) = (
        usize::from(half(HEADER_SIZE)),
        usize::from(half(HEADER_COUNT)),
    );
    binary.starts_with(b"\x7fELF\x02\x01")
        && half(0x10) == ET_DYN
        && count > 0
        && (0..count).all(|index| word(table.saturating_add(index * size)) != PT_INTERP)
}
