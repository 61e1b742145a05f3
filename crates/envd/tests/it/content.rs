//! `/files`: content up and down.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, symlink},
};

use flate2::{Compression, write::GzEncoder};

use crate::envd::Envd;

const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

fn check_up(envd: &Envd, path: &str, headers: &str, body: &[u8], expected: u16) -> String {
    let (status, _, answer) = envd.http(&format!("POST /files?path={path}"), headers, body);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(status, expected, "{path} {headers}: {answer}");
    answer
}

fn check_down(envd: &Envd, path: &str, headers: &str, expected: (u16, &[u8])) -> String {
    let (status, head, body) = envd.http(&format!("GET /files?path={path}"), headers, b"");
    assert_eq!(status, expected.0, "{path} {headers}");
    assert!(
        body == expected.1,
        "{path} {headers}: {}",
        String::from_utf8_lossy(&body)
    );
    head
}

#[test]
fn what_goes_up_comes_down() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    for size in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
        let bytes: Vec<u8> = (0..size)
            .map(|index: u32| ((index * 31) >> 3).to_le_bytes()[0])
            .collect();
        let path = format!("{root}/new/deep/{size}.bin");
        let answer = check_up(&envd, &path, OCTETS, &bytes, 200);
        assert_eq!(
            answer,
            format!(r#"[{{"name":"{size}.bin","path":"{path}","type":"file"}}]"#)
        );
        assert!(fs::read(&path).unwrap() == bytes);
        let head = check_down(&envd, &path, "", (200, &bytes));
        assert!(
            head.contains(&format!("content-length: {size}\r\n"))
                || head.ends_with(&format!("content-length: {size}")),
            "{head}"
        );
    }
    let (_, _, status) = envd.http("GET /files?path=/proc/self/status", "", b"");
    assert!(
        String::from_utf8_lossy(&status).contains("Name:\tenvd"),
        "a file of /proc has content"
    );
    let path = format!("{root}/new/deep/1.bin");
    check_up(&envd, &path, OCTETS, b"shorter now", 200);
    assert_eq!(fs::read(&path).unwrap(), b"shorter now");
    check_down(&envd, &path, "Range: bytes=8-\r\n", (206, b"now"));
    check_down(&envd, &path, "Range: bytes=-3\r\n", (206, b"now"));
    check_down(&envd, &path, "Range: bytes=99-\r\n", (416, b""));
    let head = check_down(&envd, &path, "", (200, b"shorter now"));
    for header in [
        "content-length: 11",
        "vary: Accept-Encoding",
        "inline; filename=\"1.bin\"",
        "last-modified: ",
    ] {
        assert!(head.contains(header), "{head}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    fs::write(format!("{root}/file"), "x").unwrap();
    let message = |path: &str, status: u16| {
        let (seen, _, body) = envd.http(&format!("GET /files?path={path}"), "", b"");
        assert_eq!(seen, status, "{path}");
        String::from_utf8(body).unwrap()
    };
    let missing = message("/no/such", 404);
    assert_eq!(
        missing,
        r#"{"code":404,"message":"cannot read '/no/such': no such file or directory"}"#
    );
    assert_eq!(
        message("/etc", 400),
        r#"{"code":400,"message":"'/etc' is a directory"}"#
    );
    message("/dev/zero", 400);
    message("~other", 400);
    message("%00", 400);
    message(&format!("{root}/file/below"), 400);
    check_up(&envd, root, OCTETS, b"x", 400);
    check_up(&envd, &format!("{root}/file/below"), OCTETS, b"x", 400);
    check_up(&envd, "", OCTETS, b"x", 400);
    check_up(&envd, "/tmp/x", "Content-Type: text/plain\r\n", b"x", 400);
    check_up(
        &envd,
        "/tmp/x",
        &format!("{OCTETS}Content-Encoding: br\r\n"),
        b"x",
        400,
    );
    check_up(&envd, "/tmp/x&username=nobody-knows", OCTETS, b"x", 401);
    assert!(!fs::exists("/tmp/x").unwrap());
}

#[test]
fn files_belong_to_their_uploader_unless_told_otherwise() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let owner = |path: &str| {
        fs::metadata(path)
            .map(|it| (it.uid(), it.mode() & 0o777))
            .unwrap()
    };
    let path = format!("{root}/sub/file");
    check_up(&envd, &format!("{path}&username=daemon"), OCTETS, b"1", 200);
    assert_eq!(owner(&path), (1, 0o644));
    assert_eq!(owner(&format!("{root}/sub")), (1, 0o755));
    check_up(
        &envd,
        &path,
        &format!("{OCTETS}X-Wrenn-Keep-Owner: 1\r\n"),
        b"2",
        200,
    );
    assert_eq!(owner(&path).0, 1);
    // Basic "root:" as the SDKs send it.
    check_up(
        &envd,
        &path,
        &format!("{OCTETS}Authorization: Basic cm9vdDo=\r\n"),
        b"3",
        200,
    );
    assert_eq!(owner(&path).0, 0);
    symlink("sub/file", format!("{root}/link")).unwrap();
    check_up(&envd, &format!("{root}/link"), OCTETS, b"4", 200);
    assert_eq!(fs::read(&path).unwrap(), b"4");
}

#[test]
fn forms_carry_several_files_and_other_parts_are_skipped() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let part = |name: &str, file: &str, content: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n{content}\r\n"
        )
    };
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";
    let body = [
        part("file", &format!("{root}/a/one"), "1"),
        part("other", &format!("{root}/skipped"), "0"),
        part("file", &format!("{root}/two"), "22"),
        "--b--\r\n".into(),
    ];
    let (status, _, answer) = envd.http("POST /files", form, body.concat().as_bytes());
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(fs::read(format!("{root}/a/one")).unwrap(), b"1");
    assert_eq!(fs::read(format!("{root}/two")).unwrap(), b"22");
    assert!(!fs::exists(format!("{root}/skipped")).unwrap());
    let one = [part("file", "ignored", "3"), "--b--\r\n".into()].concat();
    check_up(&envd, &format!("{root}/named"), form, one.as_bytes(), 200);
    assert_eq!(fs::read(format!("{root}/named")).unwrap(), b"3");
    let twice = [
        part("file", "x", "3"),
        part("file", "y", "4"),
        "--b--\r\n".into(),
    ]
    .concat();
    check_up(&envd, &format!("{root}/same"), form, twice.as_bytes(), 400);
    check_up(&envd, &format!("{root}/same"), form, b"--b\r\nrubbish", 400);
}

#[test]
fn packed_bodies_are_unpacked_and_metadata_is_kept() {
    let envd = Envd::start(&[]);
    let directory = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let path = format!("{}/file", directory.path().display());
    let text = "all work and no play\n".repeat(50_000);
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let headers = format!("{OCTETS}Content-Encoding: gzip\r\nX-Metadata-Purpose: test\r\n");
    let answer = check_up(&envd, &path, &headers, &packed, 200);
    assert!(
        answer.contains(r#""metadata":{"purpose":"test"}"#),
        "{answer}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    check_up(&envd, &path, &headers, &packed[..packed.len() / 2], 400);
    check_up(&envd, &path, &headers, b"no gzip at all", 400);
    check_up(
        &envd,
        &path,
        &format!("{OCTETS}X-Metadata-A: \u{e4}\r\n"),
        b"x",
        400,
    );
}
