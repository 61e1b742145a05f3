//! Where values come from, and which source wins.

use std::{collections::BTreeMap, fmt, io, path::Path};

use super::{
    Effective, Fault,
    settings::{KNOWN_ELSEWHERE, SETTINGS, Setting},
};

/// Source of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Command line.
    Flag,
    /// Environment.
    Environment,
    /// `.env` in the working directory.
    DotEnv,
    /// State file of `wrenn up`.
    StateFile,
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::DotEnv => ".env",
            Self::StateFile => "state file",
            Self::Default => "default",
        })
    }
}

/// Values by variable name, by source.
#[derive(Clone, Default)]
pub struct Sources {
    layers: BTreeMap<Origin, BTreeMap<String, String>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("Sources")
            .field("origins", &self.layers.keys())
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// The process's environment and `.env` of the working directory.
    ///
    /// # Errors
    /// `.env` exists and cannot be read.
    pub fn of_process() -> io::Result<Self> {
        let mut sources = Self::default();
        sources.add(Origin::Environment, std::env::vars());
        sources.add_file(Origin::DotEnv, Path::new(".env"))?;
        Ok(sources)
    }

    /// Adds values of one source; empty ones count as absent.
    pub fn add(
        &mut self,
        origin: Origin,
        values: impl IntoIterator<Item = (String, String)>,
    ) -> &mut Self {
        self.layers
            .entry(origin)
            .or_default()
            .extend(values.into_iter().filter(|(_, value)| !value.is_empty()));
        self
    }

    /// Adds a file of `NAME=value` lines; a missing file is an empty one.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn add_file(&mut self, origin: Origin, path: &Path) -> io::Result<&mut Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(self.add(origin, text.lines().filter_map(assignment)))
    }

    fn find(&self, name: &str) -> Option<(&str, Origin)> {
        self.layers
            .iter()
            .find_map(|(origin, values)| values.get(name).map(|value| (value.as_str(), *origin)))
    }

    pub(super) fn resolve(&self) -> Values {
        let mut values = Values::default();
        for setting in SETTINGS {
            let direct = self.find(setting.name);
            let file_name = format!("{}_FILE", setting.name);
            let by_file = if setting.is_secret() {
                self.find(&file_name)
            } else {
                None
            };
            let found = match (direct, by_file) {
                // A nearer source wins; within one source the value itself.
                (Some(direct), Some(file)) if file.1 < direct.1 => values.read(setting, file),
                (Some((value, origin)), _) => Some((value.to_owned(), origin)),
                (None, Some(file)) => values.read(setting, file),
                (None, None) => setting
                    .default
                    .map(|value| (value.to_owned(), Origin::Default)),
            };
            let missing = found.is_none() && setting.required;
            if missing && !values.faults.iter().any(|fault| fault.name == setting.name) {
                values.fault(setting.name, format!("is not set: {}", setting.help));
            }
            if let Some(found) = found {
                values.found.insert(setting.name, found);
            }
        }
        values.warnings = self.unknown();
        values
    }

    fn unknown(&self) -> Vec<String> {
        let known = |name: &str| {
            let base = name.strip_suffix("_FILE").unwrap_or(name);
            SETTINGS
                .iter()
                .any(|setting| setting.name == name || setting.name == base)
                || KNOWN_ELSEWHERE.contains(&name)
        };
        let mut names: Vec<_> = self
            .layers
            .values()
            .flat_map(BTreeMap::keys)
            .filter(|name| name.starts_with("WRENN_") && !known(name))
            .collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| format!("{name} is not a setting of this version"))
            .collect()
    }
}

/// One line of a settings file.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line
        .strip_prefix("export ")
        .unwrap_or(line)
        .split_once('=')?;
    let value = value.trim();
    let quoted = ['"', '\''].iter().find_map(|quote| {
        value
            .strip_prefix(*quote)
            .and_then(|rest| rest.strip_suffix(*quote))
    });
    // Quoted values may hold a PEM text with its line ends written as \n.
    let value = quoted.map_or_else(|| value.to_owned(), |text| text.replace("\\n", "\n"));
    Some((name.trim().to_owned(), value))
}

/// Values that won, and what is wrong with them.
#[derive(Default)]
pub(super) struct Values {
    found: BTreeMap<&'static str, (String, Origin)>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

impl Values {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.found.get(name).map(|(value, _)| value.as_str())
    }

    pub(super) fn fault(&mut self, name: &'static str, problem: impl Into<String>) {
        self.faults.push(Fault {
            name,
            problem: problem.into(),
        });
    }

    fn read(
        &mut self,
        setting: &Setting,
        (path, origin): (&str, Origin),
    ) -> Option<(String, Origin)> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some((text.trim_end().to_owned(), origin)),
            Err(error) => {
                self.fault(
                    setting.name,
                    format!(
                        "cannot be read from the file that {}_FILE names: {error}",
                        setting.name
                    ),
                );
                None
            }
        }
    }

    pub(super) fn effective(&self) -> Vec<Effective> {
        SETTINGS
            .iter()
            .filter_map(|setting| {
                let (value, origin) = self.found.get(setting.name)?;
                let value = if setting.is_secret() {
                    "********".to_owned()
                } else {
                    value.clone()
                };
                Some(Effective {
                    name: setting.name,
                    value,
                    origin: *origin,
                })
            })
            .collect()
    }
}
