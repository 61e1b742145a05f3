//! `/files`: content up and down.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, symlink},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

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
    message(&format!("{root}/file/below"), 404);
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

/// The body of an answer in chunks.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}

#[test]
fn downloads_are_packed_for_those_who_prefer_it() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let noise = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]);
    for (name, content) in [
        ("text", b"all work and no play\n".repeat(50_000)),
        ("noise", noise.collect()),
        ("empty", Vec::new()),
    ] {
        let path = format!("{root}/{name}");
        fs::write(&path, &content).unwrap();
        let line = format!("GET /files?path={path}");
        let (status, head, body) = envd.http(&line, "Accept-Encoding: gzip, br\r\n", b"");
        assert_eq!(status, 200);
        for header in ["content-encoding: gzip", "vary: Accept-Encoding"] {
            assert!(head.contains(header), "{head}");
        }
        let mut unpacked = Vec::new();
        let body = unchunked(&body);
        GzDecoder::new(&body[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert!(unpacked == content, "{name}");
        check_down(
            &envd,
            &path,
            "Accept-Encoding: gzip, identity\r\n",
            (200, &content),
        );
    }
    let path = format!("{root}/text");
    let line = format!("GET /files?path={path}");
    let (_, head, body) = envd.http(&line, "Accept-Encoding: gzip\r\nRange: bytes=0-2\r\n", b"");
    assert_eq!(body, b"all");
    assert!(!head.contains("content-encoding"), "{head}");
    let (status, _, body) = envd.http(&line, "Accept-Encoding: identity;q=0\r\n", b"");
    assert_eq!(status, 406, "{}", String::from_utf8_lossy(&body));
    let line = "GET /files?path=/proc/self/status";
    let (_, head, body) = envd.http(line, "Accept-Encoding: gzip\r\n", b"");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut unpacked = String::new();
    let body = unchunked(&body);
    GzDecoder::new(&body[..])
        .read_to_string(&mut unpacked)
        .unwrap();
    assert!(unpacked.contains("Name:\tenvd"), "{unpacked}");
}

#[test]
fn conditions_save_a_download() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let path = format!("{}/file.txt", directory.path().display());
    fs::write(&path, "content").unwrap();
    let head = check_down(&envd, &path, "", (200, b"content"));
    let modified = head
        .lines()
        .find_map(|line| line.strip_prefix("last-modified: "))
        .unwrap();
    assert!(head.contains("content-type: text/plain"), "{head}");
    let check = |name: &str, expected: (u16, &[u8])| {
        let headers = format!("{name}: {modified}\r\nAccept-Encoding: gzip\r\n");
        let head = check_down(&envd, &path, &headers, expected);
        assert!(!head.contains("content-encoding"), "{head}");
    };
    check("If-Modified-Since", (304, b""));
    check("If-Unmodified-Since", (200, b"content"));
    let (status, head, body) = envd.http(
        &format!("GET /files?path={path}"),
        "Range: bytes=7-\r\n",
        b"",
    );
    assert_eq!(status, 416);
    assert!(head.contains("content-range: bytes */7"), "{head}");
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"code":416,"message":"the file has no such range"}"#
    );
    check_down(
        &envd,
        &path,
        "Range: bytes=1-2\r\nIf-Range: Fri, 13 Feb 2009 23:31:30 GMT\r\n",
        (200, b"content"),
    );
    check_down(
        &envd,
        &path,
        "If-Unmodified-Since: Fri, 13 Feb 2009 23:31:30 GMT\r\n",
        (412, br#"{"code":412,"message":"the file is another one"}"#),
    );
}

#[test]
fn files_are_composed_in_order_and_their_sources_are_gone() {
    let envd = Envd::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let compose = |sources: &[&str], destination: &str, expected: u16| {
        let sources: Vec<String> = sources.iter().map(|one| format!("{root}/{one}")).collect();
        let body = serde_json::json!({
            "source_paths": sources,
            "destination": format!("{root}/{destination}"),
            "username": "daemon",
        });
        let json = "Content-Type: application/json\r\n";
        let (status, _, answer) =
            envd.http("POST /files/compose", json, body.to_string().as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(status, expected, "{body}: {answer}");
        answer
    };
    let large = vec![7; 3 << 20];
    for (name, content) in [
        ("a", &b"first "[..]),
        ("b", &large),
        ("c", b""),
        ("d", b" last"),
    ] {
        fs::write(format!("{root}/{name}"), content).unwrap();
    }
    fs::create_dir(format!("{root}/directory")).unwrap();
    compose(&[], "whole", 400);
    compose(&["a", "b"], "b", 400);
    compose(&["a"], "directory", 400);
    compose(&["a", "directory"], "whole", 400);
    compose(&["a", "missing"], "whole", 404);
    compose(&["a", "b"], "a/below", 400);
    let left: Vec<_> = fs::read_dir(root).unwrap().collect();
    assert_eq!(left.len(), 5, "a refusal changes nothing: {left:?}");
    let answer = compose(&["a", "b", "c", "d"], "new/whole", 200);
    let path = format!("{root}/new/whole");
    assert_eq!(
        answer,
        format!(r#"{{"name":"whole","path":"{path}","type":"file"}}"#)
    );
    let expected = [&b"first "[..], &large, b" last"].concat();
    assert!(fs::read(&path).unwrap() == expected);
    let owner = fs::metadata(&path).unwrap();
    assert_eq!((owner.uid(), owner.mode() & 0o777), (1, 0o644));
    let left: Vec<_> = fs::read_dir(root)
        .unwrap()
        .chain(fs::read_dir(format!("{root}/new")).unwrap())
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "directory, new, whole: {left:?}");
    let json = "Content-Type: application/json\r\n";
    for bad in ["", "{}", r#"{"source_paths":"a","destination":"b"}"#] {
        let (status, ..) = envd.http("POST /files/compose", json, bad.as_bytes());
        assert_eq!(status, 400, "{bad}");
    }
}
