//! Templates and guest kernels on this host, as their manifests describe them; read only.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use wrenn_ids::TemplateId;

use crate::durable;

/// Format of `manifest.json` that this version reads.
const FORMAT: u32 = 1;

/// A template whose files are here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Template {
    format: u32,
    /// Its id; also the name of its directory.
    pub id: TemplateId,
    /// Its name.
    pub name: String,
    /// Size of its file system, in MiB.
    pub disk_mib: u32,
    /// Version of envd inside.
    pub envd_version: String,
    /// User of commands that name none.
    pub default_user: String,
    /// Size of its files, in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its file system, in hex.
    pub sha256: String,
}

/// A guest kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its version; also the name of its directory.
    pub version: String,
    /// ELF image.
    pub image: PathBuf,
    /// Initial RAM disk.
    pub initrd: PathBuf,
}

/// Why the images on this host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be listed.
    #[error("list {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A manifest cannot be read.
    #[error("read a template's manifest")]
    Manifest(#[from] durable::Error),
    /// A manifest of another format, or of another template than its directory says.
    #[error("template {0}: its manifest does not describe it")]
    Foreign(TemplateId),
    /// The template is not here.
    #[error("template {0} is not on this host")]
    Missing(TemplateId),
    /// There is no guest kernel.
    #[error("there is no guest kernel in {}", .0.display())]
    NoKernel(PathBuf),
}

/// The images of one host.
#[derive(Debug, Clone)]
pub struct Images {
    directory: PathBuf,
}

impl Images {
    /// The images under `directory`.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// One template.
    ///
    /// # Errors
    /// When it is not here or its manifest is unusable.
    pub fn template(&self, id: TemplateId) -> Result<Template, Error> {
        let path = self.template_dir(id).join("manifest.json");
        let template: Template = durable::read_json(&path)?.ok_or(Error::Missing(id))?;
        if template.format != FORMAT || template.id != id {
            return Err(Error::Foreign(id));
        }
        Ok(template)
    }

    /// The file system of a template.
    #[must_use]
    pub fn rootfs(&self, id: TemplateId) -> PathBuf {
        self.template_dir(id).join("rootfs.ext4")
    }

    /// Every usable template; an unusable one is logged and left out.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn templates(&self) -> Result<Vec<Template>, Error> {
        let mut templates = Vec::new();
        for name in names(&self.directory.join("templates"))? {
            let Ok(id) = name.parse::<TemplateId>() else {
                continue;
            };
            match self.template(id) {
                Ok(template) => templates.push(template),
                Err(error) => {
                    tracing::warn!(template_id = %id, error = %crate::chain(&error), "template is unusable");
                }
            }
        }
        templates.sort_by_key(|template| template.id);
        Ok(templates)
    }

    /// The newest guest kernel.
    ///
    /// # Errors
    /// When there is none.
    pub fn kernel(&self) -> Result<Kernel, Error> {
        let kernels = self.directory.join("kernels");
        let mut versions = names(&kernels)?;
        versions.sort_by_key(|version| version_key(version));
        while let Some(version) = versions.pop() {
            let directory = kernels.join(&version);
            let (image, initrd) = (directory.join("vmlinux"), directory.join("initrd"));
            if image.is_file() && initrd.is_file() {
                return Ok(Kernel {
                    version,
                    image,
                    initrd,
                });
            }
        }
        Err(Error::NoKernel(kernels))
    }

    fn template_dir(&self, id: TemplateId) -> PathBuf {
        self.directory.join("templates").join(id.to_string())
    }
}

/// Names in a directory; none when it does not exist.
fn names(path: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::List {
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Orders versions by their numbers: `6.1.9` before `6.1.10`.
fn version_key(version: &str) -> (Vec<u64>, String) {
    let numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    (numbers, version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_kernel_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::new(directory.path());
        assert!(matches!(images.kernel(), Err(Error::NoKernel(_))));
        for (version, files) in [
            ("6.1.0-9-cloud-amd64", &["vmlinux", "initrd"][..]),
            ("6.1.0-10-cloud-amd64", &["vmlinux", "initrd"]),
            ("6.1.0-11-cloud-amd64", &["vmlinux"]),
        ] {
            let kernel = directory.path().join("kernels").join(version);
            fs::create_dir_all(&kernel).unwrap();
            files
                .iter()
                .for_each(|file| fs::write(kernel.join(file), "").unwrap());
        }
        assert_eq!(images.kernel().unwrap().version, "6.1.0-10-cloud-amd64");
    }

    #[test]
    fn only_a_template_whose_manifest_describes_it_is_offered() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::new(directory.path());
        let write = |id: TemplateId, manifest: &str| {
            let template = directory.path().join("templates").join(id.to_string());
            fs::create_dir_all(&template).unwrap();
            fs::write(template.join("manifest.json"), manifest).unwrap();
        };
        let manifest = |id: TemplateId, format: u32| {
            format!(
                r#"{{"format":{format},"id":"{id}","name":"minimal","disk_mib":1024,"envd_version":"0.1.0",
                   "default_user":"root","size_bytes":1,"sha256":"x"}}"#
            )
        };
        let (good, other, torn) = (TemplateId::ZERO, TemplateId::new(), TemplateId::new());
        write(good, &manifest(good, 1));
        write(other, &manifest(good, 1));
        write(torn, "{");
        fs::create_dir_all(directory.path().join("templates/..not-an-id")).unwrap();
        let found: Vec<_> = images
            .templates()
            .unwrap()
            .into_iter()
            .map(|template| template.id)
            .collect();
        assert_eq!(found, [good]);
        assert!(matches!(
            images.template(TemplateId::new()),
            Err(Error::Missing(_))
        ));
    }
}
