//! `wrenn sandbox cp`: one file into or out of a sandbox.
//!
//! A download goes to a temporary file beside its target and is renamed when it is whole, so that a broken
//! transfer never replaces a good file. Directories are refused with a way out.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Args;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use wrenn_ids::SandboxId;

use crate::{
    DONE, Outcome,
    client::Client,
    context::Context,
    error::{Attempt, CliError, Exit},
    out::{Progress, StepEvent},
};

/// Piece in which files are read.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "One side is ID:/path, the other a local path; - is standard input or output.\n\nExamples:\n  \
                        wrenn sandbox cp ./data.csv @last:/root/data.csv\n  wrenn sandbox cp @last:/etc/os-release -\n  \
                        tar c . | wrenn sandbox cp - @last:/root/here.tar"
)]
pub(crate) struct Arguments {
    /// What to copy: a local file, - or ID:/path
    #[arg(value_name = "SRC")]
    source: String,
    /// Where to: ID:/path, a local path, or -
    #[arg(value_name = "DST")]
    target: String,
    /// Replace a local file that exists
    #[arg(short, long)]
    force: bool,
}

/// One side of a copy.
#[derive(Debug, PartialEq)]
enum Side<'a> {
    Stream,
    Local(&'a Path),
    Sandbox(&'a str, &'a str),
}

impl<'a> Side<'a> {
    fn parse(text: &'a str) -> Result<Self, CliError> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(':') {
            // `./a:b` is local: a reference has no slash.
            Some((reference, path))
                if !reference.contains('/')
                    && (reference == "@last" || reference.starts_with("sb-")) =>
            {
                if path.is_empty() {
                    return Err(CliError::usage(format_args!("`{text}` names no path"))
                        .hint("try", format_args!("{text}/root/")));
                }
                Ok(Self::Sandbox(reference, path))
            }
            _ => Ok(Self::Local(Path::new(text))),
        }
    }
}

/// Copies a file.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    match (
        Side::parse(&arguments.source)?,
        Side::parse(&arguments.target)?,
    ) {
        (Side::Sandbox(..), Side::Sandbox(..)) => Err(CliError::usage("one side must be local")
            .hint(
                "try",
                format_args!(
                    "wrenn sandbox cp {} - | wrenn sandbox cp - {}",
                    arguments.source, arguments.target
                ),
            )),
        (source, Side::Sandbox(reference, path)) => {
            let id = client.sandbox_find(reference).await?;
            upload(context, &client, source, id, path).await
        }
        (Side::Sandbox(reference, path), target) => {
            let id = client.sandbox_find(reference).await?;
            download(context, &client, id, path, target, arguments.force).await
        }
        _ => Err(CliError::usage("no side names a sandbox").hint(
            "write",
            format_args!("wrenn sandbox cp {} ID:/root/", arguments.source),
        )),
    }?;
    Ok(DONE)
}

async fn upload(
    context: &Context,
    client: &Client,
    source: Side<'_>,
    id: SandboxId,
    path: &str,
) -> Result<(), CliError> {
    let Side::Local(file) = source else {
        if path.ends_with('/') {
            return Err(CliError::usage(
                "standard input has no name: give the whole target path",
            ));
        }
        return client
            .file_write(
                id,
                path,
                reqwest::Body::wrap_stream(ReaderStream::with_capacity(tokio::io::stdin(), PIECE)),
            )
            .await;
    };
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let into = |dir: &str| format!("{}/{name}", dir.trim_end_matches('/'));
    let path = if path.ends_with('/') {
        into(path)
    } else {
        path.to_owned()
    };
    let progress = context.out.progress();
    match send_file(&progress, client, file, id, &path).await {
        // The target is a directory: the file goes into it, as with cp.
        Err(error) if matches!(error.code.as_str(), "conflict" | "invalid_request") => {
            send_file(&progress, client, file, id, &into(&path)).await
        }
        result => result,
    }
}

async fn send_file(
    progress: &Progress,
    client: &Client,
    file: &Path,
    id: SandboxId,
    path: &str,
) -> Result<(), CliError> {
    let opened = tokio::fs::File::open(file)
        .await
        .attempt(|| format!("read {}", file.display()))?;
    let meta = opened
        .metadata()
        .await
        .attempt(|| format!("read {}", file.display()))?;
    if meta.is_dir() {
        return Err(
            CliError::usage(format_args!("{} is a directory", file.display())).hint(
                "try",
                format_args!(
                    "tar c -C {} . | wrenn sandbox exec {id} -- tar x -C {path}",
                    file.display()
                ),
            ),
        );
    }
    progress.event(&StepEvent::Step {
        name: "Copy".into(),
    });
    let (total, sent) = (meta.len(), Arc::new(AtomicU64::new(0)));
    let shown = Meter::new(progress, total);
    let counter = Arc::clone(&sent);
    let pieces = ReaderStream::with_capacity(opened, PIECE).inspect(move |piece| {
        if let Ok(piece) = piece {
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let write = client.file_write(id, path, reqwest::Body::wrap_stream(pieces));
    tokio::pin!(write);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
    loop {
        tokio::select! {
            result = &mut write => return result,
            _ = tick.tick() => shown.at(sent.load(Ordering::Relaxed)),
        }
    }
}

async fn download(
    context: &Context,
    client: &Client,
    id: SandboxId,
    path: &str,
    target: Side<'_>,
    force: bool,
) -> Result<(), CliError> {
    let Side::Local(target) = target else {
        let mut pieces = client.file_read(id, path).await?;
        let terminal = std::io::stdout().is_terminal();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if terminal && piece.contains(&0) {
                return Err(
                    CliError::usage("the file is binary and would upset the terminal")
                        .hint("try", "a file name, or a pipe"),
                );
            }
            context.out.bytes(&piece)?;
        }
        return Ok(());
    };
    let name = path
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty() && !matches!(*name, "." | ".."));
    let target: PathBuf =
        if target.is_dir() || target.as_os_str().as_encoded_bytes().ends_with(b"/") {
            let name =
                name.ok_or_else(|| CliError::usage(format_args!("`{path}` ends in no file name")))?;
            target.join(name)
        } else {
            target.to_owned()
        };
    if !force && target.exists() {
        return Err(CliError::new(
            Exit::Conflict,
            "conflict",
            format_args!("{} exists", target.display()),
        )
        .hint("replace", "the same with --force"));
    }
    let mut pieces = client.file_read(id, path).await?;
    let dir = target
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
    let temporary = Temporary(dir.join(format!(".wrenn-cp-{}", std::process::id())));
    let progress = context.out.progress();
    progress.event(&StepEvent::Step {
        name: "Copy".into(),
    });
    let (shown, mut got) = (Meter::new(&progress, 0), 0);
    let writing = || format!("write {}", target.display());
    let mut file = tokio::fs::File::create(&temporary.0)
        .await
        .attempt(writing)?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        file.write_all(&piece).await.attempt(writing)?;
        got += piece.len() as u64;
        shown.at(got);
    }
    file.flush().await.attempt(writing)?;
    std::fs::rename(&temporary.0, &target).attempt(writing)
}

/// A file that is removed unless its download became whole.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Bytes so far, with the share of the whole where that is known.
struct Meter<'a> {
    progress: &'a Progress,
    total: u64,
}

impl<'a> Meter<'a> {
    fn new(progress: &'a Progress, total: u64) -> Self {
        Self { progress, total }
    }

    fn at(&self, bytes: u64) {
        let fraction = (self.total > 0).then(|| bytes as f32 / self.total as f32);
        self.progress
            .note(&crate::units::show_mebibytes(bytes >> 20), fraction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_before_a_colon_name_a_sandbox() {
        let check = |text: &str, expected: Side<'_>| {
            assert_eq!(Side::parse(text).expect("a side"), expected, "{text}")
        };
        check("-", Side::Stream);
        check("./a:b", Side::Local(Path::new("./a:b")));
        check("a:b", Side::Local(Path::new("a:b")));
        check("@last:/etc/x", Side::Sandbox("@last", "/etc/x"));
        check("sb-0123:x:y", Side::Sandbox("sb-0123", "x:y"));
        assert!(Side::parse("@last:").is_err());
    }
}
