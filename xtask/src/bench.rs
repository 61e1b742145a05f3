//! The benches: builds what is measured, runs the programs that measure, shows one table.
//!
//! The programs are the test kit's and hand over rows as JSON. The build is the tests' own, of the whole
//! workspace with all features, so that a tested tree is not compiled again.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{envd, programs};

const PROGRAMS: [&str; 2] = ["bench-control-plane", "bench-host"];
const REPORT: &str = "target/bench.json";

/// Measures everything.
pub(crate) fn run() -> Result<()> {
    programs::cargo(&["build", "--bins"])?;
    envd::run()?;
    envd::speed()?;
    let mut rows = Vec::new();
    for program in PROGRAMS {
        rows.extend(measure(program).with_context(|| format!("run {program}"))?);
    }
    for row in &mut rows {
        row["ratio"] = json!(ratio(row));
    }
    let report = serde_json::to_string_pretty(&rows)?;
    fs::write(REPORT, report).with_context(|| format!("write {REPORT}"))?;
    let mut output = std::io::stdout();
    writeln!(output, "{}\nalso in {REPORT}", table(&rows))?;
    Ok(())
}

fn measure(program: &str) -> Result<Vec<Value>> {
    let output = Command::new(format!("target/release/{program}"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start it")?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("read its rows")
}

fn ratio(row: &Value) -> Option<f64> {
    let floor = row["floor"].as_f64().filter(|floor| *floor != 0.0)?;
    Some(row["value"].as_f64()? / floor)
}

fn table(rows: &[Value]) -> String {
    let mut text = format!(
        "{:<56} {:>12} {:>12} {:>7}  {}\n",
        "what", "value", "floor", "ratio", "target"
    );
    for row in rows {
        let number = |name: &str| match row[name].as_f64() {
            Some(number) if number.abs() >= 100.0 => format!("{number:.0}"),
            Some(number) => format!("{number:.2}"),
            None => "–".to_owned(),
        };
        let unit = row["unit"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<56} {:>12} {:>12} {:>7}  {}",
            row["what"].as_str().unwrap_or_default(),
            format!("{} {unit}", number("value")),
            number("floor"),
            number("ratio"),
            row["target"].as_str().unwrap_or("–"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_its_value_beside_its_floor() {
        let mut row =
            json!({ "what": "exec", "unit": "ms", "value": 3.0, "floor": 2.0, "target": null });
        assert_eq!(ratio(&row), Some(1.5));
        row["ratio"] = json!(ratio(&row));
        let shown = table(&[row]);
        let words: Vec<_> = shown
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(words, ["exec", "3.00", "ms", "2.00", "1.50", "–"]);
        assert_eq!(ratio(&json!({ "value": 3.0, "floor": null })), None);
    }
}
