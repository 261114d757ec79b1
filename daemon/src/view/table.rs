//! Columns of text.

/// Between two columns.
const GAP: usize = 3;

/// Rows below a header, which need not be of the same length.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Of numbers, which stand at the right.
    right: Vec<usize>,
    gap: usize,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|name| (*name).to_owned()).collect();
        Self { rows: vec![header], right: Vec::new(), gap: GAP }
    }

    /// Without a header.
    pub(super) fn plain() -> Self {
        Self { rows: Vec::new(), right: Vec::new(), gap: 2 }
    }

    /// These columns stand at the right.
    pub(super) fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// So many blanks between two columns.
    pub(super) fn gap(mut self, gap: usize) -> Self {
        self.gap = gap;
        self
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// A line each, aligned, without blanks at its end.
    pub(super) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let blanks = widths[column].saturating_sub(cell.chars().count());
                let (before, after) = if self.right.contains(&column) { (blanks, 0) } else { (0, blanks) };
                line.extend(std::iter::repeat_n(' ', before));
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', after + self.gap));
            }
            line.truncate(line.trim_end().len());
            line
        };
        self.rows.iter().map(line).collect()
    }

    /// All lines.
    pub(super) fn text(&self) -> String {
        self.lines().into_iter().fold(String::new(), |text, line| text + &line + "\n")
    }
}

/// What others have written must not move the cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The line's beginning that fits.
pub(super) fn cut(line: &str, width: usize) -> &str {
    line.char_indices().nth(width).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_a_blank() {
        let mut table = Table::new(&["NAME", "COUNT", "WHY"]).right(&[1]);
        table.row(vec!["a-long-name".to_owned(), "7".to_owned(), String::new()]);
        table.row(vec!["ä".to_owned(), "1234567".to_owned(), "be\ncause\x1b[2J".to_owned()]);
        let text = table.text();
        let expected = "\
NAME            COUNT   WHY
a-long-name         7
ä             1234567   be cause [2J
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("", 0), "");
    }
}
