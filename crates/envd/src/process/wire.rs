//! What a stream of a process tells, as bytes.
//!
//! Output is nearly all that envd sends, so its messages are written here and not built first: the bytes
//! that were read are the bytes that are sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use wrenn_rpc::{
    connectrpc::{CodecFormat, ConnectError, Encodable, EncodedBody},
    process::{ConnectResponse, ProcessEvent, StartResponse, process_event},
};

use super::output::{Chunk, Origin};

/// One event, of either stream: both carry it in their first field.
#[derive(Debug)]
pub(super) enum Told {
    Event(process_event::Event),
    Output(Chunk),
}

// process.proto: `event` of StartResponse and of ConnectResponse, `data` of ProcessEvent.
const EVENT: u8 = 1;
const DATA: u8 = 2;

impl Told {
    fn message(event: &process_event::Event) -> ProcessEvent {
        ProcessEvent {
            event: Some(event.clone()),
            ..ProcessEvent::default()
        }
    }
}

impl Encodable<StartResponse> for Told {
    fn encode(&self, codec: CodecFormat) -> Result<Bytes, ConnectError> {
        match self {
            Self::Output(chunk) => joined(chunk, codec),
            Self::Event(event) => Encodable::<StartResponse>::encode(
                &StartResponse {
                    event: Self::message(event).into(),
                    ..StartResponse::default()
                },
                codec,
            ),
        }
    }

    fn encode_segments(&self, codec: CodecFormat) -> Result<EncodedBody, ConnectError> {
        match (self, codec) {
            (Self::Output(chunk), CodecFormat::Proto) => Ok(segments(chunk)),
            _ => Encodable::<StartResponse>::encode(self, codec).map(EncodedBody::from),
        }
    }
}

impl Encodable<ConnectResponse> for Told {
    fn encode(&self, codec: CodecFormat) -> Result<Bytes, ConnectError> {
        match self {
            Self::Output(chunk) => joined(chunk, codec),
            Self::Event(event) => Encodable::<ConnectResponse>::encode(
                &ConnectResponse {
                    event: Self::message(event).into(),
                    ..ConnectResponse::default()
                },
                codec,
            ),
        }
    }

    fn encode_segments(&self, codec: CodecFormat) -> Result<EncodedBody, ConnectError> {
        match (self, codec) {
            (Self::Output(chunk), CodecFormat::Proto) => Ok(segments(chunk)),
            _ => Encodable::<ConnectResponse>::encode(self, codec).map(EncodedBody::from),
        }
    }
}

fn segments(chunk: &Chunk) -> EncodedBody {
    EncodedBody::from_segments(vec![head(chunk), chunk.bytes.clone()])
}

fn joined(chunk: &Chunk, codec: CodecFormat) -> Result<Bytes, ConnectError> {
    match codec {
        CodecFormat::Proto => {
            let mut whole = BytesMut::from(head(chunk));
            whole.extend_from_slice(&chunk.bytes);
            Ok(whole.freeze())
        }
        CodecFormat::Json => {
            let field = match chunk.origin {
                Origin::Stdout => "stdout",
                Origin::Stderr => "stderr",
                Origin::Terminal => "pty",
            };
            let mut text = String::with_capacity(chunk.bytes.len() * 4 / 3 + 64);
            text.push_str(r#"{"event":{"data":{""#);
            text.push_str(field);
            text.push_str(r#"":""#);
            STANDARD.encode_string(&chunk.bytes, &mut text);
            text.push_str(r#""}}}"#);
            Ok(text.into())
        }
        _ => Err(ConnectError::unimplemented("this encoding is not served")),
    }
}

/// Everything before the bytes: three fields, each the length of what is in it.
fn head(chunk: &Chunk) -> Bytes {
    let output = match chunk.origin {
        Origin::Stdout => 1,
        Origin::Stderr => 2,
        Origin::Terminal => 3,
    };
    let length = chunk.bytes.len();
    let inner = 1 + varint_length(length) + length;
    let middle = 1 + varint_length(inner) + inner;
    let mut head = BytesMut::with_capacity(32);
    for (field, length) in [(EVENT, middle), (DATA, inner), (output, length)] {
        // Wire type 2: a length and so many bytes.
        head.put_u8(field << 3 | 2);
        put_varint(&mut head, length);
    }
    head.freeze()
}

fn varint_length(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or(1)
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wrenn_rpc::{
        buffa::Message as _,
        process::process_event::{DataEvent, data_event::Output},
    };

    use super::*;

    fn expected(chunk: &Chunk) -> StartResponse {
        let bytes = chunk.bytes.to_vec();
        let output = match chunk.origin {
            Origin::Stdout => Output::Stdout(bytes),
            Origin::Stderr => Output::Stderr(bytes),
            Origin::Terminal => Output::Pty(bytes),
        };
        let data = DataEvent {
            output: Some(output),
            ..DataEvent::default()
        };
        StartResponse {
            event: Told::message(&data.into()).into(),
            ..StartResponse::default()
        }
    }

    proptest! {
        #[test]
        fn output_written_by_hand_is_the_message_that_it_stands_for(
            bytes in prop::collection::vec(any::<u8>(), 0..20_000),
            origin in prop::sample::select(vec![Origin::Stdout, Origin::Stderr, Origin::Terminal]),
        ) {
            let chunk = Chunk::new(origin, bytes.into());
            let message = expected(&chunk);
            prop_assert_eq!(&joined(&chunk, CodecFormat::Proto).unwrap()[..], &message.encode_to_vec()[..]);
            prop_assert_eq!(segments(&chunk).segments().concat(), message.encode_to_vec());
            let json = serde_json::to_vec(&message).unwrap();
            prop_assert_eq!(&joined(&chunk, CodecFormat::Json).unwrap()[..], &json[..]);
        }
    }
}
