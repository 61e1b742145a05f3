//! Takes over what the metadata service says the sandbox is: as variables and as files for its programs.

use std::{fs, io, path::Path};

use crate::{
    agent::Agent,
    guest::{mmds::Metadata, replace_file},
};

/// Remembers the ids and writes them where the guest's programs look for them.
pub(crate) fn adopt(agent: &Agent, metadata: &Metadata) {
    {
        let mut state = agent.sandbox.state();
        state.sandbox_id.clone_from(&metadata.sandbox_id);
        state.template_id.clone_from(&metadata.template_id);
    }
    if let Err(fault) = write_files(metadata) {
        tracing::warn!(%fault, "cannot write the sandbox's id files");
    }
}

fn write_files(metadata: &Metadata) -> io::Result<()> {
    for directory in ["/run/e2b", "/run/wrenn"] {
        fs::create_dir_all(directory)?;
    }
    for (path, content) in [
        ("/run/e2b/.E2B_SANDBOX", "true"),
        ("/run/e2b/.E2B_SANDBOX_ID", &metadata.sandbox_id),
        ("/run/e2b/.E2B_TEMPLATE_ID", &metadata.template_id),
        ("/run/wrenn/sandbox-id", &metadata.sandbox_id),
        ("/run/wrenn/template-id", &metadata.template_id),
    ] {
        replace_file(Path::new(path), content.as_bytes(), 0o444)?;
    }
    Ok(())
}
