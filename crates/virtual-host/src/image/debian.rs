//! Debian as a source of files: single packages through the machine's own apt, whole trees through
//! `mmdebstrap`. Neither needs Docker; trees need no root where user namespaces are set up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{Cache, Key};
use crate::tool::Tool;
use crate::{
    FileError, Progress,
    image::{ImageError, ext4::EPOCH},
};

/// The Debian release of all images.
const SUITE: &str = "bookworm";
const QUERY_DEADLINE: Duration = Duration::from_secs(60);
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(900);
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(1800);

/// One binary package of the machine's apt sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Package {
    /// The version of `name` that apt would install.
    pub(crate) fn candidate(name: &str) -> Result<Self, ImageError> {
        let shown = apt_cache(&["show", "--no-all-versions", name])?;
        match field(&shown, "Version: ") {
            Some(version) => Ok(Self {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
            None => Err(ImageError::NoPackage(name.to_owned())),
        }
    }

    /// The package that the metapackage `name` stands for: its first dependency.
    pub(crate) fn behind(name: &str) -> Result<Self, ImageError> {
        let shown = apt_cache(&["depends", name])?;
        match field(&shown, "Depends: ") {
            Some(real) => Self::candidate(real),
            None => Err(ImageError::NoPackage(name.to_owned())),
        }
    }

    /// Downloads the package and unpacks its files into `dir`, running none of its scripts.
    pub(crate) fn unpack(&self, dir: &Path) -> Result<(), ImageError> {
        let download = tempfile::tempdir_in(dir).map_err(FileError::at("making", dir))?;
        Tool::new("apt-get", DOWNLOAD_DEADLINE)
            .args([
                "-qq",
                "download",
                &format!("{}={}", self.name, self.version),
            ])
            .dir(download.path())
            .run()?;
        let deb = std::fs::read_dir(download.path())
            .map_err(FileError::at("reading", download.path()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .ok_or_else(|| ImageError::NoPackage(self.name.clone()))?;
        Tool::new("dpkg-deb", DOWNLOAD_DEADLINE)
            .arg("-x")
            .arg(deb)
            .arg(dir)
            .run()?;
        Ok(())
    }
}

/// A minimal Debian tree with more packages, as a tar file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    /// What it is for, in messages and as the kind of its cache entries.
    pub(crate) name: &'a str,
    /// Package names, separated by white space.
    pub(crate) packages: &'a str,
    /// Shell script run last, with the tree's path as `$1`, as the root of the tree.
    pub(crate) finish: &'a str,
}

impl Tree<'_> {
    /// The path of the tar file.
    pub(crate) fn ensure(
        &self,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<PathBuf, ImageError> {
        let dir = cache.entry(self.name, &self.key(), progress, |dir| {
            progress(&format!("installing Debian packages for {}", self.name));
            let include = self
                .packages
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(",");
            let paths = PATHS_LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}"));
            Tool::new("mmdebstrap", BOOTSTRAP_DEADLINE)
                .args(["--quiet", "--variant=minbase", "--architectures=amd64"])
                .arg(format!("--include={include}"))
                .args(paths)
                .arg(format!("--customize-hook=set -eu\n{}", self.finish))
                .arg(SUITE)
                .arg(dir.join("tree.tar"))
                .args(sources()?)
                // For what writes the time of its making into a file, such as the accounts' shadow.
                .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
                .run()?;
            Ok::<_, ImageError>(())
        })?;
        Ok(dir.join("tree.tar"))
    }

    /// What the tree is made from. Where its packages came from makes no difference.
    fn key(&self) -> Key {
        Key::new(2)
            .text(SUITE)
            .text(self.packages)
            .text(self.finish)
            .text(&PATHS_LEFT_OUT.concat())
    }
}

/// The machine's own sources of [`SUITE`], as lines of a sources.list, so that a mirror that it is
/// set up for is used here too. None on another distribution: mmdebstrap then uses Debian's own.
fn sources() -> Result<Vec<String>, ImageError> {
    let format = "$(RELEASE) deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets = Tool::new("apt-get", QUERY_DEADLINE)
        .args([
            "indextargets",
            "Created-By: Packages",
            "Origin: Debian",
            "--format",
            format,
        ])
        .output()?;
    let mut sources: Vec<String> = targets
        .text()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(release, _)| release.split('-').next() == Some(SUITE))
        .map(|(_, source)| source.to_owned())
        .collect();
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// Documentation and translations: never read by programs.
const PATHS_LEFT_OUT: [&str; 6] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
];

fn apt_cache(args: &[&str]) -> Result<String, ImageError> {
    let captured = Tool::new("apt-cache", QUERY_DEADLINE)
        .args(args)
        .env("LC_ALL", "C")
        .output()?;
    Ok(captured.text())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim_start().strip_prefix(name))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_with_and_without_indent() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1\nVersion: 6.1-2\n";
        assert_eq!(field(text, "Depends: "), Some("linux-image-6.1"));
        assert_eq!(field(text, "Version: "), Some("6.1-2"));
        assert_eq!(field(text, "Size: "), None);
    }
}
