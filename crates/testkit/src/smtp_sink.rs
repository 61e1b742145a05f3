//! A mail server that keeps what it is given: SMTP as RFC 5321 has it, as far as one client needs it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Result;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A mail as it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Sender of the envelope.
    pub from: String,
    /// Receiver of the envelope.
    pub to: String,
    /// Head and text.
    pub text: String,
}

impl Mail {
    /// The first link in its text.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        let begin = self.text.find("http")?;
        self.text[begin..]
            .lines()
            .map(str::trim)
            .find(|line| line.contains('#'))
            .map(|line| line.split_whitespace().next().unwrap_or(line))
    }
}

#[derive(Debug, Default)]
struct Kept {
    mails: Mutex<Vec<Mail>>,
    refusals: AtomicU32,
}

/// The server; ends when dropped.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    kept: Arc<Kept>,
    serving: JoinHandle<()>,
}

impl SmtpSink {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept::default());
        let serving = tokio::spawn({
            let kept = Arc::clone(&kept);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let kept = Arc::clone(&kept);
                    tokio::spawn(async move { converse(stream, &kept).await });
                }
            }
        });
        Ok(Self {
            address,
            kept,
            serving,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// What it was given so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.kept.mails.lock().clone()
    }

    /// Refuses the next mails, for now.
    pub fn refuse(&self, mails: u32) {
        self.kept.refusals.store(mails, Ordering::SeqCst);
    }

    /// Mails that it will still refuse.
    #[must_use]
    pub fn refusals_left(&self) -> u32 {
        self.kept.refusals.load(Ordering::SeqCst)
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One connection, to its end.
async fn converse(stream: TcpStream, kept: &Kept) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut say = async |text: &str| write.write_all(text.as_bytes()).await.ok();
    say("220 sink ESMTP\r\n").await?;
    let (mut from, mut to) = (String::new(), String::new());
    while let Ok(Some(line)) = lines.next_line().await {
        let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250-sink\r\n250 8BITMIME\r\n").await?,
            "HELO" | "RSET" | "NOOP" => say("250 ok\r\n").await?,
            "MAIL" => {
                from = between(&line);
                say("250 ok\r\n").await?;
            }
            "RCPT" => {
                to = between(&line);
                say("250 ok\r\n").await?;
            }
            "DATA" => {
                let refused =
                    kept.refusals
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                            left.checked_sub(1)
                        });
                if refused.is_ok() {
                    say("451 not now\r\n").await?;
                    continue;
                }
                say("354 go on\r\n").await?;
                let mut text = String::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    // A dot at the beginning of a line was doubled.
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                kept.mails.lock().push(Mail {
                    from: std::mem::take(&mut from),
                    to: std::mem::take(&mut to),
                    text: unquoted(&text),
                });
                say("250 kept\r\n").await?;
            }
            "QUIT" => {
                say("221 bye\r\n").await?;
                return Some(());
            }
            _ => say("500 what?\r\n").await?,
        }
    }
    Some(())
}

fn between(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}

/// Long lines as they were before quoted-printable broke them.
fn unquoted(text: &str) -> String {
    if !text.to_ascii_lowercase().contains("quoted-printable") {
        return text.to_owned();
    }
    text.replace("=\n", "").replace("=3D", "=")
}
