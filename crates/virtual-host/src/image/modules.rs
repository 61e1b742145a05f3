//! Which kernel module files must be loaded, and in which order, read from depmod's `modules.dep`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::ImageError;
use crate::FileError;

/// The files of `names` and of all they need, each after what it needs, without those that are
/// built into the kernel. `dir` is `lib/modules/<release>`.
pub(crate) fn load_order(dir: &Path, names: &[&str]) -> Result<Vec<PathBuf>, ImageError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(FileError::at("reading", &path))
    };
    let order = order(&read("modules.dep")?, &read("modules.builtin")?, names)?;
    Ok(order.into_iter().map(|file| dir.join(file)).collect())
}

fn order(dep: &str, builtin: &str, names: &[&str]) -> Result<Vec<String>, ImageError> {
    let needs: HashMap<String, (&str, &str)> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (name_of(file), (file, needs)))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in names {
        let wanted = name.replace('-', "_");
        let Some((file, needs)) = needs.get(&wanted) else {
            if builtin.lines().any(|file| name_of(file) == wanted) {
                continue;
            }
            return Err(ImageError::NoModule(wanted));
        };
        // modules.dep lists all that is needed, the first to be loaded last.
        for file in needs.split_whitespace().rev().chain([*file]) {
            if !order.iter().any(|loaded| loaded == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "k/virtio.ko:\nk/virtio_ring.ko: k/virtio.ko\nk/net-failover.ko: k/failover.ko\n\
                       k/failover.ko:\nk/virtio_blk.ko: k/virtio_ring.ko k/virtio.ko\n\
                       k/virtio_net.ko: k/net-failover.ko k/failover.ko k/virtio_ring.ko k/virtio.ko\n";

    fn check(names: &[&str], expected: &[&str]) {
        assert_eq!(order(DEP, "k/ext4.ko\n", names).unwrap(), expected);
    }

    #[test]
    fn what_a_module_needs_comes_before_it_and_once() {
        check(
            &["virtio_blk", "virtio-net"],
            &[
                "k/virtio.ko",
                "k/virtio_ring.ko",
                "k/virtio_blk.ko",
                "k/failover.ko",
                "k/net-failover.ko",
                "k/virtio_net.ko",
            ],
        );
    }

    #[test]
    fn built_in_modules_need_no_file() {
        check(&["ext4", "virtio"], &["k/virtio.ko"]);
    }

    #[test]
    fn an_unknown_module_is_an_error() {
        let error = order(DEP, "", &["ext4"]).unwrap_err();
        assert!(matches!(error, ImageError::NoModule(name) if name == "ext4"));
    }
}
