//! What stops `wrenn up`: each time one sentence with what to do, and nothing half-started stays behind.

use std::{net::TcpListener, path::Path, process::Command};

use crate::user::{User, eventually};

#[test]
fn a_taken_port_is_refused_and_nothing_stays() {
    let user = User::new();
    let _holder = TcpListener::bind(&user.listen).unwrap();
    let refused = user.try_run(&["up", "--listen", &user.listen]);
    refused.failed(1, &["is taken", "--listen"]);
    assert!(!user.state().exists());
    user.assert_nothing_runs();
}

#[test]
fn of_two_at_once_the_second_names_the_first() {
    let user = User::new();
    let arguments = ["up", "--host", "none", "--listen", &user.listen];
    let first = user.start(&arguments);
    let lock = user.state().join("run/up.lock");
    eventually("the first works", || {
        std::fs::read_to_string(&lock).is_ok_and(|holder| holder.contains("process"))
    });
    let process = format!("wrenn up (process {})", first.child.id());
    user.try_run(&arguments).failed(6, &["in use by", &process]);
    assert_eq!(first.end().code, Some(0));
    user.run(&["status"], 0);
}

#[test]
fn a_disk_too_small_is_refused_before_anything_is_made() {
    let user = User::new();
    let _disk = Tmpfs::at(&user.state(), 100);
    let refused = user.try_run(&["up", "--host", "none", "--listen", &user.listen]);
    refused.failed(1, &["100 MiB free", "are needed", "--state-dir"]);
    assert_eq!(std::fs::read_dir(user.state()).unwrap().count(), 0);
    user.assert_nothing_runs();
}

#[test]
fn a_disk_that_fills_up_ends_the_up_and_a_later_one_completes_it() {
    let user = User::new();
    let _disk = Tmpfs::at(&user.state(), 600);
    let arguments = ["up", "--host", "none", "--listen", &user.listen];
    let up = user.start(&arguments);
    // After the checks: whichever service comes to write finds no room.
    let lock = user.state().join("run/up.lock");
    eventually("the checks are done", || lock.exists());
    let filler = user.state().join("filler");
    let full = Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", "status=none"])
        .arg(format!("of={}", filler.display()))
        .status();
    assert!(!full.unwrap().success(), "the disk is full");
    up.end().failed(1, &["space on the disk of", "df -h"]);
    user.assert_nothing_runs();
    std::fs::remove_file(filler).unwrap();
    user.run(&arguments, 0);
    user.run(&["status"], 0);
    user.run(&["down"], 0);
}

#[test]
fn without_root_it_works_but_not_on_the_machine_itself() {
    let user = User::without_root();
    let native = user.try_run(&["up", "--host", "native", "--listen", &user.listen]);
    // Whichever is missing here is named first.
    native.failed(1, &["on this machine itself", "try"]);
    user.run(&["up", "--host", "none", "--listen", &user.listen], 0);
    user.run(&["status"], 0);
    user.run(&["down", "--purge", "--yes"], 0);
    user.assert_nothing_runs();
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let user = User::without_root();
    let place = ["--listen", &user.listen, "--state-dir", "/usr/wrenn"];
    let refused = user.try_run(&[&["up", "--host", "none"][..], &place].concat());
    refused.failed(1, &["make /usr/wrenn", "sudo wrenn up", "--state-dir"]);
    assert!(!Path::new("/usr/wrenn").exists());
}

#[test]
fn listening_for_others_is_confirmed() {
    let user = User::new();
    let refused = user.try_run(&["up", "--host", "none", "--listen", "0.0.0.0:0"]);
    refused.failed(2, &["reachable from other machines", "--yes"]);
    assert!(!user.state().exists());
}

/// A small disk over a directory; gone with this value.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn at(dir: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let options = format!("size={mebibytes}m,mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir)
            .status();
        assert!(mounted.unwrap().success(), "mounting needs root");
        Self(dir.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Also when something still works in it: the test has failed then anyway.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
