//! `wrenn help`: the help of a command, or a topic.

use clap::{Args, CommandFactory};

use crate::{DONE, Outcome, context::Context, error::CliError};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wrenn help sandbox create\n  wrenn help exit-codes")]
pub(crate) struct Arguments {
    /// A command, or exit-codes, environment, formats, references
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

/// A page that belongs to no command.
pub(crate) struct Topic {
    name: &'static str,
    /// As the manual heads it.
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

/// All topics.
pub(crate) const TOPICS: [Topic; 4] = [
    Topic {
        name: "exit-codes",
        title: "EXIT CODES",
        text: "\
  0    done
  1    a failure not listed here
  2    wrong usage
  3    not signed in
  4    not allowed
  5    not found, or an ambiguous reference
  6    conflict, or the wrong state
  7    unavailable: no connection, no host, a failing server
  8    the deadline passed
  9    a check found problems (doctor, status)
  130  interrupted
  143  terminated

`wrenn run` and `wrenn sandbox exec` return the command's own code, 128 + n when signal n ended it.
Their own failures are 125 (Wrenn failed), 126 (found, not executable), 127 (not found) and 124 (time limit).
",
    },
    Topic {
        name: "environment",
        title: "ENVIRONMENT",
        text: "\
  WRENN_API_KEY    key to use; without WRENN_BASE_URL it is for the local instance
  WRENN_BASE_URL   server to talk to
  WRENN_CONTEXT    context of the configuration file
  WRENN_TEAM       team to act for, by id, slug or name
  WRENN_CONFIG     configuration file [default: ~/.config/wrenn/config.toml]
  WRENN_STATE_DIR  state of the local instance [default: /var/lib/wrenn, or ~/.local/state/wrenn]
  WRENN_CACHE_DIR  downloads and built images [default: ~/.cache/wrenn]
  DATABASE_URL     PostgreSQL for `wrenn up` instead of a private one
  REDIS_URL        Redis for `wrenn up` instead of a private one
  NO_COLOR         no colour
  CLICOLOR_FORCE   colour also when piped

`wrenn config check` shows the settings of the server roles.
",
    },
    Topic {
        name: "formats",
        title: "FORMATS",
        text: "\
  durations   30s, 5m, 2h, 1d, or a number of seconds
  sizes       512 or 512M (MiB), 1G, 5Gi
  times       2026-01-31T09:30:00Z, or how long ago: 30s, 10m, 2h, 3d
  labels      KEY=VALUE
  addresses   HOST:PORT
",
    },
    Topic {
        name: "references",
        title: "REFERENCES",
        text: "\
  sb-…        a full id
  sb-01jx     the unique beginning of an id, 4 or more characters after the prefix
  @last       the sandbox last created in this context
",
    },
];

/// Shows help.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    if let [word] = &arguments.words[..]
        && let Some(topic) = TOPICS.iter().find(|topic| topic.name == word)
    {
        context.out.bytes(topic.text.as_bytes())?;
        return Ok(DONE);
    }
    let (mut command, _) = find(&crate::args::Arguments::command(), &arguments.words)?;
    // What `--help` would print, by asking for it: clap chooses there between its two layouts.
    let Err(shown) = command.try_get_matches_from_mut(["wrenn", "--help"]) else {
        return Ok(DONE);
    };
    context.out.line(shown.render().to_string().trim_end())?;
    Ok(DONE)
}

/// The command that `words` name, built with the global flags, and its full name.
pub(crate) fn find(
    root: &clap::Command,
    words: &[String],
) -> Result<(clap::Command, String), CliError> {
    let mut root = root.clone();
    root.build();
    let (mut command, mut name) = (&root, "wrenn".to_owned());
    for word in words {
        command = command.find_subcommand(word).ok_or_else(|| {
            CliError::usage(format_args!("`{name}` has no command `{word}`"))
                .hint("see", "wrenn --help")
        })?;
        name = format!("{name} {}", command.get_name());
    }
    Ok((command.clone(), name))
}
