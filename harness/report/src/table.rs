//! Rows to columns that line up.

/// Rows under heads. Columns are as wide as their widest cell.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    words_last: bool,
}

impl Table {
    /// With these heads.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()], words_last: false }
    }

    /// With words in the last column, which go to the left.
    #[must_use]
    pub fn words_last(self) -> Self {
        Self { words_last: true, ..self }
    }

    /// Adds a row, with a cell for each head.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The first column to the left, the others to the right.
    pub fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                let gap = if column == 0 { "" } else { "  " };
                let left = column == 0 || (self.words_last && column + 1 == columns);
                let (before, after) = if left { ("", pad.as_str()) } else { (pad.as_str(), "") };
                out.push_str(&format!("{gap}{before}{cell}{after}"));
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }
}
