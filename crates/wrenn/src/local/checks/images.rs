//! Images: present and undamaged.

use wrenn_virtual_host::image::ImagesDir;

use super::{Check, Group};
use crate::{error::chain, local::state::StateDir};

pub(super) fn checks(state: &StateDir) -> Vec<Check> {
    let group = Group::Images;
    let dir = state.at("images");
    let images = match ImagesDir::open(&dir) {
        Ok(Some(images)) => images,
        Ok(None) => {
            return vec![group.skip(
                "images",
                format!(
                    "not made yet in {}; wrenn up or wrenn setup makes them",
                    dir.display()
                ),
            )];
        }
        Err(error) => return vec![group.fail("images", chain(&error), "wrenn setup")],
    };
    let present = group.ok(
        "images",
        format!(
            "kernel {}, Firecracker {}",
            images.kernel_version(),
            images.firecracker_version()
        ),
    );
    let whole = match images.damaged() {
        Ok(damaged) if damaged.is_empty() => {
            group.ok("checksums", "all files are as they were made")
        }
        Ok(damaged) => {
            let names: Vec<String> = damaged
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            group.fail(
                "checksums",
                format!("damaged: {}", names.join(", ")),
                format!("rm -r {}; wrenn setup", dir.display()),
            )
        }
        Err(error) => group.fail("checksums", chain(&error), "wrenn setup"),
    };
    vec![present, whole]
}
