//! Users and groups of the guest, read from `/etc/passwd` and `/etc/group` without NSS.
//!
//! A static program has no NSS, and the guest's programs may write both files at any moment: they are read
//! again when they change, any bytes parse, and a broken line is skipped.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Larger files are cut: no guest has that many users for us.
const MAX_FILE: usize = 4 << 20;
/// The kernel's own limit (NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// Who a request acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    /// The primary group and every group that lists the user.
    pub(crate) groups: Vec<u32>,
}

#[derive(Debug)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The accounts of this guest.
#[derive(Debug)]
pub(crate) struct Users {
    accounts: Cached<Account>,
    groups: Cached<Group>,
}

impl Users {
    /// Those of the running system.
    pub(crate) fn system() -> Self {
        Self {
            accounts: Cached::new("/etc/passwd", account),
            groups: Cached::new("/etc/group", group),
        }
    }

    /// The user called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<User> {
        let accounts = self.accounts.read();
        let account = accounts.iter().find(|account| account.name == name)?;
        let groups = self.groups.read();
        let mut ids = vec![account.gid];
        for group in groups
            .iter()
            .filter(|group| group.members.iter().any(|one| one == name))
        {
            if !ids.contains(&group.gid) && ids.len() < MAX_GROUPS {
                ids.push(group.gid);
            }
        }
        Some(User {
            name: account.name.clone(),
            uid: account.uid,
            gid: account.gid,
            home: if account.home.is_empty() {
                "/".into()
            } else {
                account.home.clone()
            },
            groups: ids,
        })
    }

    /// The name of a user id, else the number.
    pub(crate) fn user_name(&self, uid: u32) -> String {
        let accounts = self.accounts.read();
        let known = accounts.iter().find(|account| account.uid == uid);
        known.map_or_else(|| uid.to_string(), |account| account.name.clone())
    }

    /// The name of a group id, else the number.
    pub(crate) fn group_name(&self, gid: u32) -> String {
        let groups = self.groups.read();
        let known = groups.iter().find(|group| group.gid == gid);
        known.map_or_else(|| gid.to_string(), |group| group.name.clone())
    }
}

/// The lines of one file, parsed again when the file is another one.
#[derive(Debug)]
struct Cached<T> {
    path: &'static str,
    parse: fn(&str) -> Option<T>,
    known: Mutex<(Stamp, Arc<Vec<T>>)>,
}

/// What changes when a file does: inode, size, and the times of content and of inode.
type Stamp = (u64, u64, i64, i64, i64, i64);

impl<T> Cached<T> {
    fn new(path: &'static str, parse: fn(&str) -> Option<T>) -> Self {
        Self {
            path,
            parse,
            known: Mutex::new(((0, 0, 0, 0, 0, 0), Arc::default())),
        }
    }

    fn read(&self) -> Arc<Vec<T>> {
        let stamp = stamp(Path::new(self.path));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != stamp {
            *known = (
                stamp,
                Arc::new(parse_file(Path::new(self.path), self.parse)),
            );
        }
        Arc::clone(&known.1)
    }
}

fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).map_or((0, 0, 0, 0, 0, 0), |it| {
        (
            it.ino(),
            it.size(),
            it.mtime(),
            it.mtime_nsec(),
            it.ctime(),
            it.ctime_nsec(),
        )
    })
}

fn parse_file<T>(path: &Path, parse: fn(&str) -> Option<T>) -> Vec<T> {
    let mut bytes = fs::read(path).unwrap_or_default();
    bytes.truncate(MAX_FILE);
    parse_lines(&bytes, parse)
}

fn parse_lines<T>(bytes: &[u8], parse: fn(&str) -> Option<T>) -> Vec<T> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter_map(parse)
        .collect()
}

/// Any bytes are accounts and groups, at most one a line, each with a name.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').count();
    let accounts = parse_lines(data, account);
    let groups = parse_lines(data, group);
    assert!(accounts.len() <= lines && groups.len() <= lines);
    assert!(!accounts.iter().any(|account| account.name.is_empty()));
    assert!(!groups.iter().any(|group| group.name.is_empty()));
}

/// `name:password:uid:gid:gecos:home:shell`
fn account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    fields.next()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    fields.next()?;
    let home = fields.next()?;
    Some(Account {
        name: name.into(),
        uid,
        gid,
        home: home.into(),
    })
}

/// `name:password:gid:member,member`
fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    fields.next()?;
    let gid = fields.next()?.parse().ok()?;
    let members = fields
        .next()?
        .split(',')
        .filter(|member| !member.is_empty());
    Some(Group {
        name: name.into(),
        gid,
        members: members.map(String::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, u32, u32, &str)>) {
        let seen = account(line);
        let seen = seen
            .as_ref()
            .map(|it| (it.name.as_str(), it.uid, it.gid, it.home.as_str()));
        assert_eq!(seen, expected, "{line}");
    }

    #[test]
    fn an_account_is_read_and_a_broken_one_skipped() {
        check(
            "user:x:1000:1001:Some,One:/home/user:/bin/bash",
            Some(("user", 1000, 1001, "/home/user")),
        );
        check(
            "user:x:1000:1001::/home/user",
            Some(("user", 1000, 1001, "/home/user")),
        );
        check("", None);
        check(":x:0:0::/:/bin/sh", None);
        check("user:x:-1:0::/:", None);
        check("user:x:4294967296:0::/:", None);
        check("user:x:1", None);
    }

    #[test]
    fn a_group_is_read_with_its_members() {
        let seen = group("sudo:x:27:a,,b").unwrap();
        assert_eq!((seen.name.as_str(), seen.gid), ("sudo", 27));
        assert_eq!(seen.members, ["a", "b"]);
        assert!(group("sudo:x:many:").is_none());
        assert!(group("sudo").is_none());
    }

    #[test]
    fn a_file_of_any_bytes_parses() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            b"\xff\xfe:x\nroot:x:0:0::/root:/bin/sh\n\0\n:::::\n",
        )
        .unwrap();
        let accounts = parse_file(file.path(), account);
        assert_eq!(accounts.len(), 1);
        assert!(parse_file(Path::new("/nonexistent"), account).is_empty());
    }

    #[test]
    fn root_of_this_machine_is_found() {
        let users = Users::system();
        let root = users.find("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(users.user_name(0), "root");
        assert_eq!(users.user_name(4_000_000_000), "4000000000");
        assert_eq!(users.find("no such user"), None);
    }
}
