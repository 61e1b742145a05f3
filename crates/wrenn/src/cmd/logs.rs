//! `wrenn logs`: the services' logs, merged by time.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    DONE, Outcome,
    context::Context,
    error::{CliError, Exit},
    interruptible,
    local::state::StateDir,
    out::Style,
};

/// Between two looks at files that are followed.
const FOLLOW_PERIOD: Duration = Duration::from_millis(250);
/// Read from the end of each file at most.
const READ_LIMIT: u64 = 64 << 20;

/// What writes a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Component {
    ControlPlane,
    HostAgent,
    Postgres,
    Redis,
    VirtualHost,
    Supervisor,
}

impl Component {
    const ALL: [Self; 6] = [
        Self::ControlPlane,
        Self::HostAgent,
        Self::Postgres,
        Self::Redis,
        Self::VirtualHost,
        Self::Supervisor,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::HostAgent => "host-agent",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::VirtualHost => "virtual-host",
            Self::Supervisor => "supervisor",
        }
    }

    /// Where it writes; an agent in the virtual host writes to another place than a native one.
    fn files(self, state: &StateDir) -> Vec<PathBuf> {
        match self {
            Self::VirtualHost => vec![state.at("machine/console.log")],
            Self::HostAgent => vec![
                state.at("logs/host-agent.log"),
                state.at("machine/agent.log"),
            ],
            _ => vec![state.at(&format!("logs/{}.log", self.name()))],
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  wrenn logs\n  wrenn logs control-plane host-agent -f\n  wrenn logs --tail 200 --grep sb-01jx"
)]
pub(crate) struct Arguments {
    /// Whose logs [default: all]
    #[arg(value_name = "COMPONENT")]
    components: Vec<Component>,
    /// Go on as lines come
    #[arg(short, long)]
    follow: bool,
    /// So many lines from the end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    tail: usize,
    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// One line of a log.
#[derive(Debug)]
struct Line {
    component: Component,
    at: Option<Timestamp>,
    text: String,
}

/// Shows the last lines, and with `-f` the ones to come.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let state = StateDir::locate(arguments.state_dir.as_deref())?;
    let components = if arguments.components.is_empty() {
        Component::ALL.to_vec()
    } else {
        arguments.components.clone()
    };
    let mut sources: Vec<Source> = components
        .iter()
        .flat_map(|&component| {
            component
                .files(&state)
                .into_iter()
                .map(move |path| Source::new(component, path))
        })
        .collect();
    let mut lines = Vec::new();
    for source in &mut sources {
        lines.extend(source.read(true));
    }
    if lines.is_empty() && !arguments.follow {
        return Err(CliError::new(
            Exit::NotFound,
            "not_found",
            format_args!("there are no logs in {}", state.root().display()),
        )
        .hint("start", "wrenn up"));
    }
    let wanted = |line: &Line| {
        arguments
            .grep
            .as_ref()
            .is_none_or(|text| line.text.contains(text))
    };
    lines.retain(wanted);
    lines.sort_by_key(|line| line.at);
    for line in &lines[lines.len().saturating_sub(arguments.tail)..] {
        show(context, line)?;
    }
    if !arguments.follow {
        return Ok(DONE);
    }
    interruptible(async {
        loop {
            tokio::time::sleep(FOLLOW_PERIOD).await;
            let mut lines: Vec<Line> = sources
                .iter_mut()
                .flat_map(|source| source.read(false))
                .filter(wanted)
                .collect();
            lines.sort_by_key(|line| line.at);
            for line in &lines {
                show(context, line)?;
            }
        }
    })
}

/// A file that is read on from where it was left.
struct Source {
    component: Component,
    path: PathBuf,
    offset: u64,
    last: Option<Timestamp>,
}

impl Source {
    fn new(component: Component, path: PathBuf) -> Self {
        Self {
            component,
            path,
            offset: 0,
            last: None,
        }
    }

    /// Lines since the last call; the first one may begin in the rotated file.
    fn read(&mut self, first: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        let size = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        if first {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            if size < READ_LIMIT / 64 {
                self.take(Path::new(&old), 0, &mut lines);
            }
        }
        if size < self.offset {
            // Rotated.
            self.offset = 0;
        }
        let path = self.path.clone();
        self.offset = self.take(&path, self.offset, &mut lines);
        lines
    }

    /// Reads whole lines from `offset` and returns where the next read begins.
    fn take(&mut self, path: &Path, offset: u64, lines: &mut Vec<Line>) -> u64 {
        let Ok(mut file) = File::open(path) else {
            return offset;
        };
        let size = file.metadata().map_or(0, |meta| meta.len());
        let mut at = offset.max(size.saturating_sub(READ_LIMIT));
        if file.seek(SeekFrom::Start(at)).is_err() {
            return offset;
        }
        let mut reader = BufReader::new(file.take(READ_LIMIT));
        let mut bytes = Vec::new();
        while reader
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|read| read > 0)
            && bytes.ends_with(b"\n")
        {
            at += bytes.len() as u64;
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            // A line without a time belongs to the one before it.
            self.last = time_of(&text).or(self.last);
            lines.push(Line {
                component: self.component,
                at: self.last,
                text,
            });
        }
        at
    }
}

fn time_of(text: &str) -> Option<Timestamp> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.get("timestamp")?.as_str()?.parse().ok()
}

fn show(context: &Context, line: &Line) -> Result<(), CliError> {
    let out = &context.out;
    let parsed: Option<serde_json::Map<String, Value>> = serde_json::from_str(&line.text).ok();
    if out.is_json() {
        let mut object = parsed.unwrap_or_else(|| {
            serde_json::Map::from_iter([("message".to_owned(), Value::from(line.text.clone()))])
        });
        object.insert("component".to_owned(), line.component.name().into());
        object.entry("type").or_insert_with(|| "log".into());
        return out.json_line(&object);
    }
    let time = line.at.map_or_else(
        || " ".repeat(12),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%H:%M:%S.%3f")
                .to_string()
        },
    );
    let (level, message) = match parsed {
        Some(mut object) => {
            let level = object
                .remove("level")
                .and_then(|level| level.as_str().map(str::to_owned))
                .unwrap_or_default();
            (level, sentence(object))
        }
        None => (String::new(), line.text.clone()),
    };
    let level_shown = match level.as_str() {
        "ERROR" => out.paint(Style::Bad, "ERROR"),
        "WARN" => out.paint(Style::Warning, "WARN "),
        other => format!("{other:<5}"),
    };
    let message: String = message
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '·' } else { c })
        .collect();
    out.line(&format!(
        "{} {:<13} {level_shown} {message}",
        out.paint(Style::Dim, &time),
        line.component.name()
    ))
}

/// The message, then the other fields as `key=value`.
fn sentence(mut object: serde_json::Map<String, Value>) -> String {
    let mut text = object
        .remove("message")
        .map(|message| {
            message
                .as_str()
                .map_or_else(|| message.to_string(), str::to_owned)
        })
        .unwrap_or_default();
    for key in ["timestamp", "target", "span", "spans"] {
        object.remove(key);
    }
    for (key, value) in object {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!(" {key}={value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_time_stay_with_the_one_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.log");
        std::fs::write(
            &path,
            "{\"timestamp\":\"2026-01-01T00:00:00Z\",\"message\":\"one\"}\nplain\nunfinished",
        )
        .expect("written");
        let mut source = Source::new(Component::Redis, path.clone());
        let lines = source.read(true);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].at, lines[0].at);
        std::fs::write(&path, "short\n").expect("rotated");
        assert_eq!(source.read(false)[0].text, "short");
    }

    #[test]
    fn fields_follow_the_message() {
        let object = serde_json::from_str(
            r#"{"timestamp":"t","message":"started","pid":3,"component":"redis"}"#,
        )
        .expect("JSON");
        assert_eq!(sentence(object), "started component=redis pid=3");
    }
}
