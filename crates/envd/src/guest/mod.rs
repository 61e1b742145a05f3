//! The machine that envd serves: its names, clock, entropy, disk, cgroups and the metadata service.
//!
//! Each file owns one of them and nothing else knows how it is reached. None of them is touched where the
//! machine is not ours (`Surroundings::Machine`).

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod entropy;
pub(crate) mod freezer;
pub(crate) mod mmds;
pub(crate) mod names;
pub(crate) mod trust;
pub(crate) mod vital;
pub(crate) mod writeback;

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Puts `content` at `path` in one step; a link there is replaced by a file.
pub(crate) fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".wrenn-new");
    let temporary = Path::new(&temporary);
    let _ = fs::remove_file(temporary);
    let written = (|| {
        let mut file = File::create_new(temporary)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        fs::rename(temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}
