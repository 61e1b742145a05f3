//! The steps of a longer work: a spinner, a tick and the time of each.
//!
//! On a terminal the current step is one line that is redrawn ten times a second; elsewhere lines with a time
//! stamp, at most one a second. With `--json` each event is one object on stdout. A thread of its own redraws,
//! so that a step that blocks is seen to live.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Out, Style};

/// What happens to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StepEvent {
    /// A step began.
    Step { name: String },
    /// The current step got further; `fraction` from 0 to 1 where it is known.
    Progress {
        name: String,
        note: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        fraction: Option<f32>,
    },
    /// A step is done.
    Done { name: String, note: String, ms: u64 },
}

#[derive(Debug)]
struct Current {
    name: String,
    note: String,
    fraction: Option<f32>,
    since: Instant,
}

/// The steps on the screen. Dropping it clears the unfinished line.
#[derive(Debug)]
pub(crate) struct Progress {
    out: Out,
    current: Arc<Mutex<Option<Current>>>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

impl Progress {
    pub(super) fn start(out: Out) -> Self {
        let current: Arc<Mutex<Option<Current>>> = Arc::default();
        let ticker = (!out.quiet && !out.json).then(|| {
            let (stop, stopped) = channel();
            let (shown, terminal) = (Arc::clone(&current), out.clone());
            (
                stop,
                std::thread::spawn(move || tick(&terminal, &shown, &stopped)),
            )
        });
        Self {
            out,
            current,
            ticker,
        }
    }

    /// Shows `event`.
    pub(crate) fn event(&self, event: &StepEvent) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            StepEvent::Step { name } => {
                *current = Some(Current {
                    name: name.clone(),
                    note: String::new(),
                    fraction: None,
                    since: Instant::now(),
                });
            }
            StepEvent::Progress { note, fraction, .. } => {
                if let Some(current) = current.as_mut() {
                    current.note.clone_from(note);
                    current.fraction = *fraction;
                }
            }
            StepEvent::Done { name, note, ms } => {
                *current = None;
                if !self.out.json && !self.out.quiet {
                    self.clear();
                    let time = format!("{:>8}", seconds(Duration::from_millis(*ms)));
                    let time = self.out.paint(Style::Dim, &time);
                    self.out.to_stderr(&format!(
                        "{} {name:<14} {time}  {note}",
                        self.out.paint(Style::Good, "✓")
                    ));
                }
            }
        }
        if self.out.json && !matches!(event, StepEvent::Progress { .. }) {
            let _ = self.out.json_line(event);
        }
    }

    /// Runs `work` as the step `name`; `work` returns its note and its value.
    pub(crate) fn step<T, E>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<(String, T), E>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        self.event(&StepEvent::Step {
            name: name.to_owned(),
        });
        let (note, value) = work()?;
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.event(&StepEvent::Done {
            name: name.to_owned(),
            note,
            ms,
        });
        Ok(value)
    }

    /// How far the current step is.
    pub(crate) fn note(&self, note: &str, fraction: Option<f32>) {
        self.event(&StepEvent::Progress {
            name: String::new(),
            note: note.to_owned(),
            fraction,
        });
    }

    /// Forgets the unfinished step, also while another thread still works at it.
    pub(crate) fn abandon(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.take().is_some() && !self.out.quiet && !self.out.json {
            self.clear();
        }
    }

    fn clear(&self) {
        if self.out.stderr_terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            let _ = thread.join();
            self.abandon();
        }
    }
}

fn tick(out: &Out, current: &Mutex<Option<Current>>, stopped: &Receiver<()>) {
    let pause = Duration::from_millis(if out.stderr_terminal { 100 } else { 1000 });
    let mut frame = 0;
    let mut last_line = (String::new(), Instant::now());
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let guard = current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = guard.as_ref() else { continue };
        let elapsed = step.since.elapsed();
        let note = match step.fraction {
            Some(fraction) => format!("{} {:.0} %", step.note, fraction.clamp(0.0, 1.0) * 100.0),
            None => step.note.clone(),
        };
        if out.stderr_terminal {
            frame = (frame + 1) % SPINNER.len();
            let width = rustix::termios::tcgetwinsize(std::io::stderr())
                .map_or(80, |size| usize::from(size.ws_col));
            let line = format!(
                "{} {:<14} {:>8}  {note}",
                SPINNER[frame],
                step.name,
                seconds(elapsed)
            );
            let line: String = line.chars().take(width.saturating_sub(1)).collect();
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
        } else if elapsed >= Duration::from_secs(1)
            && (last_line.0 != note || last_line.1.elapsed() >= Duration::from_secs(10))
        {
            let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            out.to_stderr(&format!(
                "{now} {} … {} {note}",
                step.name,
                seconds(elapsed)
            ));
            last_line = (note, Instant::now());
        }
    }
}

/// A time for people: `31 ms`, `4.2 s`, `2 min 5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(seconds(Duration::from_millis(31)), "31 ms");
        assert_eq!(seconds(Duration::from_millis(4210)), "4.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
