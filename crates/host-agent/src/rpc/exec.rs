//! Running a program to its end, and as a stream.

use std::time::{Duration, Instant};

use futures::{Stream, stream};
use wrenn_rpc::hostagent::{ExecResponse, ExecStreamResponse, exec_stream_response as wire};

use super::error::CallError;
use crate::{
    envd::{Event, Process},
    sandbox::InUse,
};

/// Bytes of each stream that an answer holds when the request does not say, and at most.
const OUTPUT_LIMIT: usize = 16 << 20;

/// Collects a program's output up to the limit; what is beyond is read and thrown away.
pub(super) async fn collect(
    mut process: Process,
    limit: u32,
    begun: Instant,
) -> Result<ExecResponse, CallError> {
    let limit = match usize::try_from(limit) {
        Ok(limit) if limit > 0 => limit.min(OUTPUT_LIMIT),
        _ => OUTPUT_LIMIT,
    };
    let mut answer = ExecResponse::default();
    while let Some(event) = process.next().await {
        match event? {
            Event::Started(_) | Event::KeepAlive => {}
            Event::Stdout(bytes) => answer.truncated |= append(&mut answer.stdout, &bytes, limit),
            Event::Stderr(bytes) => answer.truncated |= append(&mut answer.stderr, &bytes, limit),
            Event::Ended {
                exit_code,
                timed_out,
            } => {
                answer.exit_code = exit_code;
                answer.timed_out = timed_out;
                answer.duration_ms = begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
                return Ok(answer);
            }
        }
    }
    Err(CallError::internal("the program's end is not known"))
}

/// Appends what fits; true when something did not.
fn append(to: &mut Vec<u8>, bytes: &[u8], limit: usize) -> bool {
    let fits = bytes.len().min(limit.saturating_sub(to.len()));
    to.extend_from_slice(&bytes[..fits]);
    fits < bytes.len()
}

/// A program's events as they come. Dropping the stream ends the program's group.
pub(super) fn follow(
    process: Process,
    in_use: InUse,
) -> impl Stream<Item = Result<ExecStreamResponse, CallError>> + Send {
    stream::unfold(Some((process, in_use)), |state| async move {
        let (mut process, in_use) = state?;
        in_use.touch();
        let event = match process.next().await? {
            Ok(event) => event,
            Err(error) => return Some((Err(error.into()), None)),
        };
        let last = matches!(event, Event::Ended { .. });
        Some((Ok(on_wire(event)), (!last).then_some((process, in_use))))
    })
}

fn on_wire(event: Event) -> ExecStreamResponse {
    let event = match event {
        Event::Started(pid) => wire::Started {
            pid,
            ..Default::default()
        }
        .into(),
        Event::Stdout(bytes) => wire::Event::Stdout(bytes),
        Event::Stderr(bytes) => wire::Event::Stderr(bytes),
        Event::KeepAlive => wire::KeepAlive::default().into(),
        Event::Ended {
            exit_code,
            timed_out,
        } => wire::Exited {
            exit_code,
            timed_out,
            ..Default::default()
        }
        .into(),
    };
    ExecStreamResponse {
        event: Some(event),
        ..ExecStreamResponse::default()
    }
}

/// Longest time limit of a program that runs to its end: a day.
pub(super) const MOST_TIME: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_beyond_the_limit_is_cut_and_said_to_be() {
        let mut kept = Vec::new();
        assert!(!append(&mut kept, b"abc", 5));
        assert!(append(&mut kept, b"defg", 5));
        assert!(append(&mut kept, b"h", 5));
        assert!(!append(&mut kept, b"", 5));
        assert_eq!(kept, b"abcde");
    }
}
