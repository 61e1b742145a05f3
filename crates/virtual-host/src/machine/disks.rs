//! The two disks that belong to one machine: its data, and its configuration.
//!
//! The configuration disk is a plain tar file: `authorized_keys`, `ssh_host_key` and, where an agent
//! is to run, `agent.env`, a shell script of exports.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::config::MachineConfig;
use super::ports::Ports;
use super::{MachineError, ssh::Keys};
use crate::FileError;
use crate::tool::Tool;

const FORMAT_DEADLINE: Duration = Duration::from_secs(120);

/// Makes the data disk unless there is one.
pub(crate) fn ensure_data(path: &Path, gib: u32) -> Result<(), MachineError> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    let file = File::create(&unfinished).map_err(FileError::at("making", &unfinished))?;
    file.set_len(u64::from(gib) << 30)
        .map_err(FileError::at("sizing", &unfinished))?;
    Tool::new("mke2fs", FORMAT_DEADLINE)
        .args([
            "-q",
            "-t",
            "ext4",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
        ])
        .arg(&unfinished)
        .run()?;
    Ok(fs::rename(&unfinished, path).map_err(FileError::at("making", path))?)
}

/// Writes the configuration disk, readable by its owner alone: it holds keys and a token.
pub(crate) fn write_config(
    path: &Path,
    config: &MachineConfig,
    keys: &Keys,
    ports: Ports,
) -> Result<(), MachineError> {
    let failed = FileError::at("writing", path);
    let write = || {
        let _ = fs::remove_file(path);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut archive = tar::Builder::new(file);
        append(&mut archive, "authorized_keys", keys.public.as_bytes())?;
        append(&mut archive, "ssh_host_key", keys.host_private.as_bytes())?;
        if config.agent_env.is_some() {
            append(
                &mut archive,
                "agent.env",
                agent_env(config, ports).as_bytes(),
            )?;
        }
        let file = archive.into_inner()?;
        // A disk is a whole number of sectors.
        file.set_len(file.metadata()?.len().next_multiple_of(4096))
    };
    Ok(write().map_err(failed)?)
}

fn append(archive: &mut tar::Builder<File>, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o600);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)
}

fn agent_env(config: &MachineConfig, ports: Ports) -> String {
    let mut env = config.agent_env.clone().unwrap_or_default();
    let defaults = [
        ("WRENN_AGENT_LISTEN", "0.0.0.0:9443".to_owned()),
        ("WRENN_ADDRESS", format!("127.0.0.1:{}", ports.agent)),
        ("WRENN_STATE_DIR", "/var/lib/wrenn".to_owned()),
        ("WRENN_IMAGES_DIR", "/opt/wrenn".to_owned()),
        // QEMU's own resolver, which asks the machine's: guests resolve what the machine does.
        ("WRENN_GUEST_DNS", "10.0.2.3".to_owned()),
    ];
    for (name, value) in defaults {
        env.entry(name.to_owned()).or_insert(value);
    }
    env.iter()
        .map(|(name, value)| format!("export {name}={}\n", super::ssh::quote(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_agents_environment_survives_the_shell() {
        let mut config = MachineConfig::new("/nowhere");
        let hard = "a 'b' \"c\" $d `e`\nf";
        config.agent_env = Some(BTreeMap::from([
            ("HARD".to_owned(), hard.to_owned()),
            ("WRENN_GUEST_DNS".to_owned(), "192.0.2.1".to_owned()),
        ]));
        let env = agent_env(
            &config,
            Ports {
                agent: 4000,
                ssh: 4001,
            },
        );
        let script =
            format!("{env}\nprintf '%s|%s|%s' \"$HARD\" \"$WRENN_ADDRESS\" \"$WRENN_GUEST_DNS\"");
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let expected = format!("{hard}|127.0.0.1:4000|192.0.2.1");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[test]
    fn a_data_disk_is_made_once_and_is_sparse() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.raw");
        ensure_data(&path, 8).unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!(made.len(), 8 << 30);
        assert!(made.blocks() * 512 < 200 << 20);
        ensure_data(&path, 9).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), made.ino());
    }
}
