//! Files as streams, and what cannot be read or written.

use futures::stream;
use wrenn_ids::SandboxId;
use wrenn_rpc::{
    connectrpc::{ConnectError, ErrorCode},
    hostagent::{
        ReadFileStreamRequest, ReadFileStreamResponse, WriteFileStreamRequest,
        error_detail::Reason,
        write_file_stream_request::{End, Head, Part},
    },
};
use wrenn_testkit::virtual_host_agent::AgentHost;

use crate::fixture::{create, destroy, host, reason, sh};

/// Longest piece.
const PIECE: usize = 64 * 1024;

fn part(part: impl Into<Part>) -> WriteFileStreamRequest {
    WriteFileStreamRequest {
        part: Some(part.into()),
        ..WriteFileStreamRequest::default()
    }
}

fn head(id: SandboxId, path: &str) -> WriteFileStreamRequest {
    part(Head {
        sandbox_id: id.to_string(),
        path: path.to_owned(),
        ..Head::default()
    })
}

fn write(host: &AgentHost, id: SandboxId, path: &str, content: &[u8]) -> Result<u64, ConnectError> {
    let mut parts = vec![head(id, path)];
    parts.extend(
        content
            .chunks(PIECE)
            .map(|piece| part(Part::Data(piece.to_vec()))),
    );
    parts.push(part(End::default()));
    let written = host.block_on(host.client.write_file_stream(stream::iter(parts)))?;
    Ok(written.into_owned().size)
}

fn read(
    host: &AgentHost,
    id: SandboxId,
    path: &str,
) -> Result<(Option<u64>, Vec<u8>), ConnectError> {
    host.block_on(async {
        let request = ReadFileStreamRequest {
            sandbox_id: id.to_string(),
            path: path.to_owned(),
            ..ReadFileStreamRequest::default()
        };
        let mut stream = host.client.read_file_stream(request).await?;
        let (mut size, mut content, mut pieces) = (None, Vec::new(), 0);
        while let Some(piece) = stream.message::<ReadFileStreamResponse>().await? {
            let piece = piece.to_owned_message();
            assert!(piece.data.len() <= PIECE);
            assert_eq!(
                piece.size.is_some(),
                pieces == 0,
                "the size stands in the first piece"
            );
            size = size.or(piece.size);
            content.extend(piece.data);
            pieces += 1;
        }
        assert!(pieces > 0, "even an empty file has a piece");
        Ok((size, content))
    })
}

#[test]
fn files_arrive_as_they_were_sent_and_faults_are_typed() {
    let host = host();
    let id = create(&host);
    let content: Vec<u8> = (0..3 * 1024 * 1024 + 7u32)
        .map(|i| (i * 31 % 251) as u8)
        .collect();

    assert_eq!(
        write(&host, id, "/root/new/dir/file", &content).expect("written"),
        content.len() as u64
    );
    let (size, back) = read(&host, id, "/root/new/dir/file").expect("read");
    assert_eq!(size, Some(content.len() as u64));
    assert!(back == content, "bytes differ");
    assert_eq!(write(&host, id, "empty", b"").expect("written"), 0);
    assert_eq!(
        read(&host, id, "/root/empty").expect("read"),
        (Some(0), Vec::new())
    );

    sh(
        &host,
        id,
        "install -o user -g user -m 640 /dev/null /tmp/kept",
    );
    write(&host, id, "/tmp/kept", b"x").expect("written");
    assert_eq!(
        sh(&host, id, "stat -c '%U %a %s' /tmp/kept").trim(),
        "user 640 1"
    );

    let fault = |path: &str| read(&host, id, path).map(drop).expect_err(path);
    let missing = fault("/no/such/file");
    assert_eq!(
        (missing.code, reason(&missing)),
        (ErrorCode::NotFound, Reason::FILE_NOT_FOUND)
    );
    let directory = fault("/etc");
    assert_eq!(
        (directory.code, reason(&directory)),
        (ErrorCode::InvalidArgument, Reason::IS_A_DIRECTORY)
    );
    let onto = write(&host, id, "/etc", b"x").expect_err("a directory");
    assert_eq!(
        (onto.code, reason(&onto)),
        (ErrorCode::InvalidArgument, Reason::IS_A_DIRECTORY)
    );
    for bad in ["", "a\0b", &"x".repeat(5000)] {
        assert_eq!(fault(bad).code, ErrorCode::InvalidArgument, "{bad:?}");
    }

    let cut = vec![head(id, "/root/cut"), part(Part::Data(b"half".to_vec()))];
    let cut = host
        .block_on(host.client.write_file_stream(stream::iter(cut)))
        .expect_err("no end mark");
    assert_eq!(cut.code, ErrorCode::InvalidArgument);
    let headless = vec![part(Part::Data(b"x".to_vec()))];
    let headless = host.block_on(host.client.write_file_stream(stream::iter(headless)));
    assert_eq!(
        headless.expect_err("no head").code,
        ErrorCode::InvalidArgument
    );

    let big = vec![0u8; 1100 << 20 >> 4];
    sh(
        &host,
        id,
        "fallocate -l $(($(df --output=avail -B1 / | tail -1) - 20000000)) /root/ballast",
    );
    let full = write(&host, id, "/root/big", &big).expect_err("no space");
    assert_eq!(
        (full.code, reason(&full)),
        (ErrorCode::ResourceExhausted, Reason::GUEST_DISK_FULL)
    );
    destroy(&host, id);
}
