//! The filesystem service.

use std::{fs, os::unix::fs::MetadataExt as _, os::unix::fs::symlink};

use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    filesystem::{
        EntryInfo, FileType, ListDirRequest, MakeDirRequest, MoveRequest, RemoveRequest,
        StatRequest,
    },
};

use crate::envd::{Envd, as_user};

struct Place {
    envd: Envd,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            envd: Envd::start(&[]),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.directory.path().display())
    }

    async fn stat(&self, name: &str) -> Result<EntryInfo, ConnectError> {
        let request = StatRequest {
            path: self.path(name),
            ..StatRequest::default()
        };
        let answer = self.envd.files().stat(request).await?.into_owned();
        Ok(answer.entry.into_option().unwrap())
    }

    async fn make_dir(&self, name: &str) -> Result<(), ConnectError> {
        let request = MakeDirRequest {
            path: self.path(name),
            ..MakeDirRequest::default()
        };
        self.envd
            .files()
            .make_dir_with_options(request, as_user("daemon"))
            .await
            .map(drop)
    }

    async fn rename(&self, source: &str, destination: &str) -> Result<(), ConnectError> {
        let request = MoveRequest {
            source: self.path(source),
            destination: self.path(destination),
            ..MoveRequest::default()
        };
        self.envd.files().r#move(request).await.map(drop)
    }

    async fn remove(&self, name: &str) -> Result<(), ConnectError> {
        let request = RemoveRequest {
            path: self.path(name),
            ..RemoveRequest::default()
        };
        self.envd.files().remove(request).await.map(drop)
    }

    async fn list(&self, name: &str, depth: u32) -> Result<Vec<String>, ConnectError> {
        let request = ListDirRequest {
            path: self.path(name),
            depth,
            ..ListDirRequest::default()
        };
        let answer = self.envd.files().list_dir(request).await?.into_owned();
        let root = self.path("");
        Ok(answer
            .entries
            .iter()
            .map(|one| one.path.replace(&root, ""))
            .collect())
    }
}

fn check<T>(result: Result<T, ConnectError>, expected: ErrorCode) {
    let seen = result.err().map(|fault| fault.code);
    assert_eq!(seen, Some(expected));
}

#[tokio::test]
async fn directories_are_made_moved_listed_and_removed() {
    let place = Place::new();
    place.make_dir("/a/b").await.unwrap();
    let made = fs::metadata(place.path("/a/b")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o777), (1, 0o755));
    check(place.make_dir("/a/b").await, ErrorCode::AlreadyExists);
    fs::write(place.path("/a/file"), "12345").unwrap();
    check(place.make_dir("/a/file").await, ErrorCode::InvalidArgument);
    check(
        place.make_dir("/a/file/x").await,
        ErrorCode::InvalidArgument,
    );
    assert_eq!(place.list("/a", 1).await.unwrap(), ["/a/b", "/a/file"]);

    place.rename("/a/file", "/c/d/renamed").await.unwrap();
    assert_eq!(
        place.list("", 3).await.unwrap(),
        ["/a", "/a/b", "/c", "/c/d", "/c/d/renamed"]
    );
    check(place.rename("/missing", "/x").await, ErrorCode::NotFound);
    check(
        place.rename("/a", "/c").await,
        ErrorCode::FailedPrecondition,
    );

    place.remove("/c").await.unwrap();
    place.remove("/c").await.unwrap();
    assert_eq!(place.list("", 3).await.unwrap(), ["/a", "/a/b"]);
    let root = RemoveRequest {
        path: "/..".into(),
        ..RemoveRequest::default()
    };
    check(
        place.envd.files().remove(root).await,
        ErrorCode::InvalidArgument,
    );
}

#[tokio::test]
async fn entries_tell_what_a_file_is() {
    let place = Place::new();
    fs::write(place.path("/file"), "12345").unwrap();
    symlink(place.path("/file"), place.path("/link")).unwrap();
    symlink("loop", place.path("/loop")).unwrap();
    let file = place.stat("/file").await.unwrap();
    assert_eq!(
        (file.name.as_str(), file.size, file.owner.as_str()),
        ("file", 5, "root")
    );
    assert_eq!(file.r#type, FileType::File);
    assert!(file.modified_time.as_option().unwrap().seconds > 0);
    let link = place.stat("/link").await.unwrap();
    assert_eq!(link.r#type, FileType::File);
    assert!(link.symlink_target.unwrap().ends_with("/file"));
    assert_eq!(place.stat("/loop").await.unwrap().r#type, FileType::Symlink);

    check(place.stat("/missing").await, ErrorCode::NotFound);
    check(place.list("/missing", 1).await, ErrorCode::NotFound);
    check(place.list("/file", 1).await, ErrorCode::InvalidArgument);
    check(place.list("/loop", 1).await, ErrorCode::FailedPrecondition);
}
