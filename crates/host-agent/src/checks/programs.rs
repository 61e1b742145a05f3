//! Needs that programs and images on the host meet.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use super::Check;
use crate::{config::Config, sandbox::binaries, templates::Images};

/// Oldest Firecracker whose API the agent speaks.
const OLDEST: (u32, u32) = (1, 12);

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let (firecracker, jailer) = binaries(config);
    let images = Images::new(&config.images_dir);
    let kernel = images
        .kernel()
        .map(|kernel| kernel.version)
        .map_err(|error| error.to_string());
    vec![
        Check::of(
            "nftables",
            "the program nft",
            program_in_path("nft"),
            "apt-get install nftables",
        ),
        Check::of(
            "Firecracker",
            "Firecracker 1.12 or newer",
            version_of(&firecracker),
            "run `wrenn setup`, or set WRENN_FIRECRACKER_DIR",
        ),
        Check::of(
            "jailer",
            "Firecracker's jailer 1.12 or newer",
            version_of(&jailer),
            "run `wrenn setup`, or set WRENN_FIRECRACKER_DIR",
        ),
        Check::of(
            "guest kernel",
            "a guest kernel with its initrd",
            kernel,
            "run `wrenn setup`",
        ),
    ]
}

pub(super) fn firecracker_version(config: &Config) -> String {
    let line = version_of(&binaries(config).0).unwrap_or_default();
    line.rsplit(' ')
        .next()
        .unwrap_or_default()
        .trim_start_matches('v')
        .to_owned()
}

fn program_in_path(name: &str) -> Result<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| is_executable(file))
        .map(|file| file.display().to_string())
        .ok_or_else(|| format!("no {name} in PATH"))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|stat| stat.is_file() && stat.permissions().mode() & 0o111 != 0)
}

fn version_of(program: &Path) -> Result<String, String> {
    if !is_executable(program) {
        return Err(format!("no {}", program.display()));
    }
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().to_owned();
    match parse(&line) {
        Some(version) if version >= OLDEST => Ok(line),
        _ => Err(format!("{} that says {line:?}", program.display())),
    }
}

fn parse(line: &str) -> Option<(u32, u32)> {
    let version = line.split_whitespace().last()?.trim_start_matches('v');
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(u32, u32)>) {
        assert_eq!(parse(line), expected, "{line}");
    }

    #[test]
    fn a_version_line_ends_with_the_version() {
        check("Firecracker v1.12.1", Some((1, 12)));
        check("Jailer v1.13.0-dev", Some((1, 13)));
        check("Firecracker", None);
        check("", None);
        assert!(parse("Firecracker v1.9.1") < Some(OLDEST));
    }
}
