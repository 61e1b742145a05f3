//! The parsers of untrusted bytes, opened to the fuzz targets in `fuzz`.
//!
//! Each target takes any bytes, never panics and states what always holds of what was read. None of them
//! starts a process or changes a file.

use bytes::BytesMut;
use serde::{Serialize, de::DeserializeOwned};
use wrenn_rpc::{
    buffa::Message,
    connectrpc::envelope::Envelope,
    filesystem::{
        CreateWatcherRequest, GetWatcherEventsRequest, ListDirRequest, MakeDirRequest, MoveRequest,
        RemoveRequest, RemoveWatcherRequest, StatRequest, WatchDirRequest,
    },
    process::{
        CloseStdinRequest, ConnectRequest, ListRequest, SendInputRequest, SendSignalRequest,
        StartRequest, StreamInputRequest, UpdateRequest,
    },
};

use crate::{filesystem, guest, http, init, paths, ports, server, users};

/// A target: any bytes go in, a broken promise is a panic.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("accounts", users::fuzz),
    ("boot", boot),
    ("envelope", envelope),
    ("form", http::files::fuzz_form),
    ("headers", headers),
    ("path", paths::fuzz),
    ("request", request),
    ("sockets", ports::fuzz),
    ("watch", filesystem::watch::fuzz),
];

/// The target called `name`.
pub fn target(name: &str) -> Option<Target> {
    TARGETS
        .into_iter()
        .find_map(|(known, target)| (known == name).then_some(target))
}

fn boot(data: &[u8]) {
    init::fuzz(data);
    guest::mmds::fuzz(data);
}

fn headers(data: &[u8]) {
    http::files::fuzz_headers(data);
    http::signature::fuzz(data);
    server::gate::fuzz(data);
}

/// A stream of envelopes is the same however it is cut, and none is longer than its limit.
fn envelope(data: &[u8]) {
    const LIMIT: usize = 1000;
    let (cut, stream) = data.split_first().unwrap_or((&1, &[]));
    let read = |step: usize| {
        let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
        for chunk in stream.chunks(step.max(1)) {
            buffer.extend_from_slice(chunk);
            loop {
                match Envelope::decode_with_limit(&mut buffer, LIMIT) {
                    Ok(Some(envelope)) => {
                        assert!(envelope.data.len() <= LIMIT);
                        seen.push((envelope.flags, envelope.data));
                    }
                    Ok(None) => break,
                    Err(_) => return (seen, true),
                }
            }
        }
        (seen, false)
    };
    assert_eq!(read(usize::from(*cut)), read(stream.len()));
}

/// The first byte says which message, the rest is it: as JSON, else as binary.
fn request(data: &[u8]) {
    let readers: [Target; 17] = [
        message::<ListRequest>,
        message::<ConnectRequest>,
        message::<StartRequest>,
        message::<UpdateRequest>,
        message::<StreamInputRequest>,
        message::<SendInputRequest>,
        message::<SendSignalRequest>,
        message::<CloseStdinRequest>,
        message::<StatRequest>,
        message::<MakeDirRequest>,
        message::<MoveRequest>,
        message::<ListDirRequest>,
        message::<RemoveRequest>,
        message::<WatchDirRequest>,
        message::<CreateWatcherRequest>,
        message::<GetWatcherEventsRequest>,
        message::<RemoveWatcherRequest>,
    ];
    if let Some((which, rest)) = data.split_first() {
        readers[usize::from(*which) % readers.len()](rest);
    }
}

/// What is read of a message is what is read of it again when it was written.
fn message<M: Message + PartialEq + Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<M>(data) {
        let again = M::decode_from_slice(&read.encode_to_vec());
        assert!(again.is_ok_and(|again| again == read));
    }
    if let Ok(read) = M::decode_from_slice(data) {
        let again = M::decode_from_slice(&read.encode_to_vec());
        assert!(again.is_ok_and(|again| again.encode_to_vec() == read.encode_to_vec()));
    }
}
