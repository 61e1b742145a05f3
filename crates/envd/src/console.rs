//! Log events as JSON lines on standard error, which is the guest's serial console.
//!
//! A serial console under emulation is slow and the guest's programs can provoke events, so each kind of
//! event (each call site) has 20 lines a second; what is beyond is counted and told in one line.

use std::{
    collections::HashMap,
    error::Error,
    fmt::Debug,
    io::Write as _,
    iter,
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

const LINES_PER_SECOND: u32 = 20;

/// Makes this process log to standard error.
pub(crate) fn install(level: LevelFilter) {
    let console = Console {
        level,
        windows: Mutex::default(),
    };
    if tracing::subscriber::set_global_default(console).is_err() {
        unreachable!("the subscriber is installed once, at the start of the process");
    }
}

struct Console {
    level: LevelFilter,
    windows: Mutex<HashMap<Identifier, Window>>,
}

/// One second of one kind of event.
struct Window {
    opened: Instant,
    written: u32,
    suppressed: u32,
}

impl Window {
    /// Whether one more line may be written now, and how many the last window kept back.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        let mut told = 0;
        if now.duration_since(self.opened).as_secs() >= 1 {
            told = self.suppressed;
            *self = Self {
                opened: now,
                written: 0,
                suppressed: 0,
            };
        }
        if self.written == LINES_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.written += 1;
        Some(told)
    }
}

impl Subscriber for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let now = Instant::now();
        let suppressed = {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let window = windows.entry(metadata.callsite()).or_insert(Window {
                opened: now,
                written: 0,
                suppressed: 0,
            });
            match window.admit(now) {
                Some(suppressed) => suppressed,
                None => return,
            }
        };
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let Fields(mut line) = fields;
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        line.insert("ts".into(), Value::from(unix.as_secs_f64()));
        line.insert(
            "level".into(),
            Value::from(metadata.level().as_str().to_ascii_lowercase()),
        );
        line.insert("target".into(), Value::from(metadata.target()));
        let mut text = Value::Object(line).to_string();
        if suppressed > 0 {
            text.push_str(&format!(
                "\n{{\"message\":\"suppressed {suppressed} lines like this\"}}"
            ));
        }
        text.push('\n');
        // Nowhere is left to tell of a console that does not take the line.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    // Spans are never enabled.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0
            .insert(field.name().into(), Value::from(format!("{value:?}")));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes = iter::successors(Some(value), |one| (*one).source());
        let text: Vec<String> = causes.map(ToString::to_string).collect();
        self.0
            .insert(field.name().into(), Value::from(text.join(": ")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_twenty_first_line_of_a_second_waits_to_be_counted() {
        let start = Instant::now();
        let mut window = Window {
            opened: start,
            written: 0,
            suppressed: 0,
        };
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(window.admit(start), Some(0));
        }
        assert_eq!(window.admit(start), None);
        assert_eq!(window.admit(start), None);
        assert_eq!(window.admit(start + Duration::from_secs(1)), Some(2));
        assert_eq!(window.admit(start + Duration::from_secs(1)), Some(0));
    }
}
