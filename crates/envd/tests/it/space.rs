//! What happens when the disk is full.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, process::Command};

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use wrenn_rpc::{
    connectrpc::ErrorCode,
    filesystem::{MakeDirRequest, MoveRequest, RemoveRequest},
};

use crate::envd::{Envd, Kept};

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";
const DISK_BYTES: u64 = 4 << 20;
const DISK_INODES: &str = "64";

/// A small ext4 file system, mounted while this lives.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::File::create(&image)
            .unwrap()
            .set_len(DISK_BYTES)
            .unwrap();
        let disk = Self { directory };
        fs::create_dir(disk.root()).unwrap();
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-t", "ext4", "-O", "^has_journal", "-N", DISK_INODES]);
        assert!(make.arg(&image).status().unwrap().success());
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(disk.root());
        assert!(mount.status().unwrap().success());
        disk
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn path(&self, name: &str) -> String {
        self.root().join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(self.root(), UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_name_and_everything_else_goes_on() {
    let (envd, disk) = (Envd::start(&[]), Disk::new());
    let mut connection = Kept::open(&envd);
    let upload = |connection: &mut Kept, name: &str, length: u64| {
        let line = format!("POST /files?path={}", disk.path(name));
        connection.send(&line, OCTETS, length, &[7; 1 << 16]);
        connection.answer()
    };
    // Both are written before the disk is full: what is composed is a third.
    for name in ["first", "second"] {
        assert_eq!(upload(&mut connection, name, DISK_BYTES / 4).0, 200);
    }
    let sources = [disk.path("first"), disk.path("second")];
    let wanted = serde_json::json!({ "source_paths": sources, "destination": disk.path("both") });
    let wanted = wanted.to_string();
    let (status, _, answer) = envd.http(
        "POST /files/compose",
        "Content-Type: application/json\r\n",
        wanted.as_bytes(),
    );
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(status, 507, "{answer}");
    let mut left: Vec<_> = fs::read_dir(disk.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        ["first", "lost+found", "second"],
        "nothing half-made, nothing lost"
    );

    // The connection that carried too much carries on.
    let (status, answer) = upload(&mut connection, "large", DISK_BYTES * 4);
    let path = disk.path("large");
    let told =
        format!(r#"{{"code":507,"message":"cannot write '{path}': no space left on device"}}"#);
    assert_eq!((status, answer), (507, told));
    // What an upload has written is there, for whoever asks to see.
    assert!(fs::metadata(&path).unwrap().size() < DISK_BYTES);
    let form = "Content-Type: multipart/form-data; boundary=x\r\n";
    let part = format!(
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\r\n{}\r\n--x--\r\n",
        disk.path("form"),
        "x".repeat(1 << 20)
    );
    assert_eq!(envd.http("POST /files", form, part.as_bytes()).0, 507);

    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::write(&elsewhere, vec![1; 1 << 20]).unwrap();
    let source = elsewhere.path().to_str().unwrap().to_owned();
    let enter = MoveRequest {
        source,
        destination: disk.path("entered"),
        ..Default::default()
    };
    let refused = envd.files().r#move(enter).await.err().unwrap();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted, "{refused:?}");
    assert_eq!(fs::metadata(&elsewhere).unwrap().size(), 1 << 20);

    // With room again everything works.
    fs::remove_file(path).unwrap();
    assert_eq!(upload(&mut connection, "small", 1000).0, 200);
    assert_eq!(fs::metadata(disk.path("small")).unwrap().size(), 1000);
}

#[tokio::test]
async fn a_disk_without_inodes_is_full_too() {
    let (envd, disk) = (Envd::start(&[]), Disk::new());
    let mut connection = Kept::open(&envd);
    let mut statuses = Vec::new();
    while !statuses.contains(&507) {
        assert!(statuses.len() < 100, "{statuses:?}");
        let line = format!(
            "POST /files?path={}",
            disk.path(&statuses.len().to_string())
        );
        connection.send(&line, OCTETS, 0, b"");
        statuses.push(connection.answer().0);
    }
    assert!(statuses.len() > 10, "{statuses:?}");
    let make = MakeDirRequest {
        path: disk.path("directory"),
        ..Default::default()
    };
    let refused = envd.files().make_dir(make).await.err().unwrap();
    assert_eq!(refused.code, ErrorCode::ResourceExhausted, "{refused:?}");
}

#[tokio::test]
async fn nothing_is_written_where_nothing_may_be() {
    let (envd, disk) = (Envd::start(&[]), Disk::new());
    fs::write(disk.path("file"), "x").unwrap();
    mount_remount(disk.root(), MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    let make = MakeDirRequest {
        path: disk.path("directory"),
        ..Default::default()
    };
    let refused = envd.files().make_dir(make).await.err().unwrap();
    assert_eq!(refused.code, ErrorCode::FailedPrecondition, "{refused:?}");
    let remove = RemoveRequest {
        path: disk.path("file"),
        ..Default::default()
    };
    let refused = envd.files().remove(remove).await.err().unwrap();
    assert_eq!(refused.code, ErrorCode::FailedPrecondition, "{refused:?}");
    let line = format!("POST /files?path={}", disk.path("new"));
    assert_eq!(envd.http(&line, OCTETS, b"x").0, 500);
}
