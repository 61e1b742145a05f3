//! The template `minimal` as it lies on the disk (guest.md §11). What only shows when it runs is asked of
//! a running guest, in the host agent's tests.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use wrenn_virtual_host::{
    Cache,
    image::{EnvdBinary, FirecrackerSource, Images, MINIMAL_TEMPLATE_ID},
};

const PACKAGES: &str = include_str!("../../../../guest/minimal/packages");
/// All times in it.
const EPOCH: &str = "0x68e77800";
const MIB: u64 = 1 << 20;

/// The template's directory, built where the cache lacks it.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let cache = Cache::from_env().expect("a cache directory");
        build(&cache, &target().join("test-images"))
    })
}

fn build(cache: &Cache, dir: &Path) -> PathBuf {
    let images = Images {
        dir,
        envd: &EnvdBinary {
            path: envd(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        firecracker: FirecrackerSource::from_env(),
    };
    images.ensure(cache, &|_| {}).expect("the images are built");
    dir.join("templates").join(MINIMAL_TEMPLATE_ID)
}

fn target() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let found = program
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists());
    found.expect("a target directory").to_owned()
}

fn envd() -> PathBuf {
    target().join("x86_64-unknown-linux-gnu/envd/envd")
}

fn run(program: &str, words: &[&str]) -> (bool, String) {
    let done = Command::new(program).args(words).output();
    let done = done.expect("it starts");
    (
        done.status.success(),
        String::from_utf8_lossy(&done.stdout).into_owned(),
    )
}

/// What `debugfs` says to one command.
fn debugfs(command: &str) -> String {
    let image = template().join("rootfs.ext4");
    let image = image.to_str().expect("a plain path");
    run("debugfs", &["-R", command, image]).1
}

fn cat(path: &str) -> String {
    debugfs(&format!("cat {path}"))
}

/// Type, mode and owners of a file.
#[track_caller]
fn check(path: &str, expected: (&str, &str, &str)) {
    let stat = debugfs(&format!("stat {path}"));
    let words: Vec<_> = stat.split_whitespace().collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name);
        at.map_or("", |at| words[at + 1])
    };
    let owners = format!("{}:{}", after("User:"), after("Group:"));
    assert_eq!(
        (after("Type:"), after("Mode:"), owners.as_str()),
        expected,
        "{path}"
    );
}

/// Names in a directory.
fn names(path: &str) -> Vec<String> {
    let listed = debugfs(&format!("ls -p {path}"));
    let names = listed.lines().filter_map(|line| line.split('/').nth(5));
    names
        .filter(|name| ![".", ".."].contains(name))
        .map(str::to_owned)
        .collect()
}

/// Name and version of each package, the architecture left out.
fn packages(list: &str) -> Vec<(String, String)> {
    let lines = list.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(name, version)| {
            let name = name.split(':').next().unwrap_or_default();
            (name.to_owned(), version.to_owned())
        })
        .collect()
}

#[test]
fn the_package_list_is_that_of_the_image() {
    let beside = fs::read_to_string(template().join("packages.list")).unwrap();
    assert_eq!(beside, cat("/usr/share/wrenn/packages.list"));
    let listed = packages(&beside);
    let database = cat("/var/lib/dpkg/status");
    let installed: Vec<_> = database
        .split("\n\n")
        .filter_map(|entry| {
            let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
            assert_eq!(
                field("Status: ").unwrap_or("install ok installed"),
                "install ok installed"
            );
            Some((
                field("Package: ")?.to_owned(),
                field("Version: ")?.to_owned(),
            ))
        })
        .collect();
    let mut sorted = (listed.clone(), installed);
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1);
    assert!(listed.iter().all(|(_, version)| !version.is_empty()));
}

#[test]
fn every_promised_package_is_in_it() {
    let listed = packages(&cat("/usr/share/wrenn/packages.list"));
    for promised in PACKAGES.split_whitespace() {
        assert!(
            listed.iter().any(|(name, _)| name == promised),
            "{promised}"
        );
    }
}

#[test]
fn there_is_no_kernel_no_systemd_and_no_docker() {
    for (name, _) in packages(&cat("/usr/share/wrenn/packages.list")) {
        let unwanted = ["linux-image", "docker", "containerd"]
            .iter()
            .any(|word| name.starts_with(word))
            || ["systemd", "systemd-sysv", "udev", "dbus"].contains(&name.as_str());
        assert!(!unwanted, "{name}");
    }
    assert!(names("/boot").is_empty(), "{:?}", names("/boot"));
    assert!(!names("/usr/sbin").contains(&"init".to_owned()));
}

#[test]
fn the_file_system_is_clean() {
    let image = template().join("rootfs.ext4");
    let (clean, said) = run("e2fsck", &["-fn", image.to_str().unwrap()]);
    assert!(clean, "{said}");
}

#[test]
fn it_is_a_gibibyte_of_which_little_is_used_and_less_is_stored() {
    let image = template().join("rootfs.ext4");
    let (_, said) = run("dumpe2fs", &["-h", image.to_str().unwrap()]);
    let value = |name: &str| -> u64 {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    assert_eq!(value("Block count:") * 4096, 1024 * MIB);
    let used = (value("Block count:") - value("Free blocks:")) * 4096;
    assert!(used <= 450 * MIB, "{} MiB", used / MIB);
    let file = fs::metadata(&image).unwrap();
    assert_eq!(file.len(), 1024 * MIB);
    assert!(file.blocks() * 512 <= used, "it has holes");
}

#[test]
fn its_users_are_root_who_has_no_password_and_user_who_may_become_root() {
    let accounts = cat("/etc/passwd");
    for line in [
        "root:x:0:0:root:/root:/bin/bash",
        "user:x:1000:1000::/home/user:/bin/bash",
    ] {
        assert!(accounts.lines().any(|one| one == line), "{line}");
    }
    for name in ["root", "user"] {
        let locked = format!("{name}:!");
        let shadow = cat("/etc/shadow");
        assert!(shadow.lines().any(|one| one.starts_with(&locked)), "{name}");
    }
    let groups = cat("/etc/group");
    for line in ["user:x:1000:", "sudo:x:27:user"] {
        assert!(groups.lines().any(|one| one == line), "{line}");
    }
    check("/home/user", ("directory", "0755", "1000:1000"));
    check("/etc/sudoers.d/user", ("regular", "0440", "0:0"));
    assert_eq!(cat("/etc/sudoers.d/user"), "user ALL=(ALL) NOPASSWD: ALL\n");
    check("/usr/bin/sudo", ("regular", "04755", "0:0"));
}

#[test]
fn the_agent_is_in_it_under_both_names() {
    check("/usr/local/bin/envd", ("regular", "0755", "0:0"));
    let (envd_stat, init_stat) = (
        debugfs("stat /usr/local/bin/envd"),
        debugfs("stat /usr/local/bin/wrenn-init"),
    );
    assert_eq!(envd_stat, init_stat, "one file");
    assert!(envd_stat.contains("Links: 2 "), "{envd_stat}");
    let image = template().join("rootfs.ext4");
    let words = ["-R", "cat /usr/local/bin/envd", image.to_str().unwrap()];
    let content = Command::new("debugfs").args(words).output().unwrap().stdout;
    assert!(content == fs::read(envd()).unwrap(), "the one just built");
}

#[test]
fn what_boots_and_serves_it_is_where_it_is_looked_for() {
    check("/usr/bin/tini", ("regular", "0755", "0:0"));
    check("/usr/sbin/chronyd", ("regular", "0755", "0:0"));
    assert_eq!(
        cat("/etc/chrony/chrony.conf"),
        "refclock PHC /dev/ptp0 poll 0 dpoll -2 offset 0\nmakestep 1.0 -1\ncmdport 0\n"
    );
    assert!(debugfs("stat /usr/bin/python").contains(r#"Fast link dest: "python3""#));
    assert_eq!(cat("/etc/fstab"), "");
    check("/etc/fstab", ("regular", "0644", "0:0"));
    check("/etc/resolv.conf", ("regular", "0644", "0:0"));
    check("/tmp", ("directory", "01777", "0:0"));
}

#[test]
fn nothing_is_in_it_that_nobody_reads_or_that_must_differ() {
    for empty in [
        "/usr/share/doc",
        "/usr/share/man",
        "/usr/share/info",
        "/usr/share/locale",
    ] {
        assert!(names(empty).is_empty(), "{empty}: {:?}", names(empty));
    }
    assert_eq!(names("/usr/lib/locale"), ["C.utf8"]);
    // What apt makes for itself.
    let own = ["lock".to_owned(), "partial".to_owned()];
    for of_apt in ["/var/lib/apt/lists", "/var/cache/apt/archives"] {
        let names = names(of_apt);
        assert!(
            names.iter().all(|name| own.contains(name)),
            "{of_apt}: {names:?}"
        );
    }
    check("/etc/machine-id", ("regular", "0644", "0:0"));
    assert_eq!(cat("/etc/machine-id"), "");
    assert_eq!(names("/var/lib/dbus"), [""; 0]);
    assert!(!names("/var/lib/systemd").contains(&"random-seed".to_owned()));
    let keys = names("/etc/ssh");
    assert!(keys.iter().all(|name| !name.starts_with("ssh_host_")));
}

#[test]
fn all_times_are_one() {
    for path in [
        "/",
        "/etc/passwd",
        "/usr/bin/python3",
        "/usr/local/bin/envd",
    ] {
        let stat = debugfs(&format!("stat {path}"));
        let times: Vec<_> = stat
            .lines()
            .filter(|line| line.contains("time: "))
            .collect();
        assert_eq!(times.len(), 4, "{stat}");
        for line in times {
            assert!(line.contains(&format!("time: {EPOCH}:")), "{path}: {line}");
        }
    }
}

#[test]
fn the_manifest_tells_what_it_is() {
    let manifest = fs::read_to_string(template().join("manifest.json")).unwrap();
    let image = template().join("rootfs.ext4");
    let (_, sum) = run("sha256sum", &[image.to_str().unwrap()]);
    let sum = sum.split(' ').next().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for field in [
        format!(r#""id": "{MINIMAL_TEMPLATE_ID}""#),
        format!(r#""sha256": "{sum}""#),
        format!(r#""envd_version": "{version}""#),
        r#""disk_mib": 1024"#.to_owned(),
        r#""default_user": "root""#.to_owned(),
    ] {
        assert!(manifest.contains(&field), "{field} in {manifest}");
    }
}

/// The file system and the agent in it are made again; in a long run the tree of packages too.
#[test]
fn the_same_inputs_make_the_same_bytes() {
    let first = template();
    let here = tempfile::tempdir_in(target()).unwrap();
    let cache = here.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let mut kept = vec!["busybox", "kernel", "firecracker"];
    if std::env::var_os("WRENN_SOAK").is_none() {
        kept.push("minimal-tree");
    }
    let known = Cache::from_env().expect("a cache directory");
    for kind in kept {
        symlink(known.root().join(kind), cache.join(kind)).unwrap();
    }
    let second = build(&Cache::at(&cache), &here.path().join("images"));
    let same = |file: &str| {
        let words = [first, &second].map(|template| template.join(file));
        Command::new("cmp").args(words).status().unwrap().success()
    };
    assert!(same("packages.list"), "the mirror has moved on meanwhile");
    assert!(same("rootfs.ext4"));
    assert!(same("manifest.json"));
}
