//! Columns that line up, as kubectl writes them.

use super::paint::{Paint, Tone};

/// Between two columns.
const GAP: &str = "   ";

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Cell {
    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Normal)
    }
}

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| Cell::toned(*heading, Tone::Strong)).collect()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Takes a column out again.
    pub(super) fn without(mut self, heading: &str) -> Self {
        let place = self.rows[0].iter().position(|cell| cell.text == heading);
        if let Some(place) = place {
            self.rows.iter_mut().for_each(|row| drop(row.remove(place)));
        }
        self
    }

    /// The table with each line behind `indent`.
    pub(super) fn render(&self, paint: Paint, indent: &str) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            out.push_str(indent);
            for (column, cell) in row.iter().enumerate() {
                out.push_str(&paint.tone(&cell.text, cell.tone));
                if column + 1 < columns {
                    out.push_str(&" ".repeat(widths[column] - cell.width()));
                    out.push_str(GAP);
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "READY", "AGE"]);
        table.row(["hello".into(), Cell::toned("True", Tone::Good), "5m".into()]);
        table.row(["größer-als".into(), Cell::toned("Unknown", Tone::Pending), "12s".into()]);
        table
    }

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let expected = "NAME         READY     AGE\n\
                        hello        True      5m\n\
                        größer-als   Unknown   12s\n";
        assert_eq!(table().render(Paint::Plain, ""), expected);
    }

    #[test]
    fn colours_take_no_width() {
        let painted = table().render(Paint::Ansi, "");
        let line = painted.lines().nth(1).unwrap();
        assert_eq!(line, "hello        \x1b[32mTrue\x1b[0m      5m");
    }

    #[test]
    fn a_column_can_be_left_out() {
        assert_eq!(table().without("READY").render(Paint::Plain, "  ").lines().next(), Some("  NAME         AGE"));
    }
}
