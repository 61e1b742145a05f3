//! Aligned columns for people: upper-case headings, no borders.
//!
//! Columns are two spaces apart; the last one is cut where the line would pass the width. Control characters
//! in a cell are escaped, so that a name chosen by somebody else cannot move the cursor.

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    with_headings: bool,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
            with_headings: true,
        }
    }

    /// Leaves the headings out.
    pub(crate) fn without_headings(&mut self) {
        self.with_headings = false;
    }

    /// Adds a row of as many cells as there are headings.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.into_iter().map(|cell| escape(&cell)).collect());
    }

    /// The text of the table, no line longer than `width` characters.
    pub(crate) fn render(&self, width: usize) -> String {
        let headings = self.with_headings.then(|| {
            self.headings
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        });
        let lines: Vec<&Vec<String>> = headings.iter().chain(&self.rows).collect();
        let widest = |column: usize| {
            lines
                .iter()
                .filter_map(|cells| cells.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(widest).collect();
        let mut text = String::new();
        for cells in lines {
            let mut line = String::new();
            for (cell, wide) in cells.iter().zip(&widths) {
                line.push_str(&format!("{cell:wide$}  "));
            }
            let line = line.trim_end();
            if line.chars().count() > width {
                text.extend(line.chars().take(width.saturating_sub(1)));
                text.push('…');
            } else {
                text.push_str(line);
            }
            text.push('\n');
        }
        text
    }
}

fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped: Box<dyn Iterator<Item = char>> = if character.is_control() {
                Box::new(character.escape_default())
            } else {
                Box::new(std::iter::once(character))
            };
            escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: usize, expected: &str) {
        let mut table = Table::new(&["ID", "STATUS"]);
        table.row(vec!["sb-1".into(), "running".into()]);
        table.row(vec!["sb-long".into(), "a\u{1b}[2Jb".into()]);
        assert_eq!(table.render(width), expected);
    }

    #[test]
    fn columns_align_and_controls_are_escaped() {
        check(
            usize::MAX,
            "ID       STATUS\nsb-1     running\nsb-long  a\\u{1b}[2Jb\n",
        );
    }

    #[test]
    fn a_line_is_cut_at_the_width() {
        check(15, "ID       STATUS\nsb-1     runni…\nsb-long  a\\u{1…\n");
    }
}
