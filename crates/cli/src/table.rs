//! Columns of text.

use crate::output::Printer;

/// A cell: what is printed, and how wide it looks (colours have no width).
pub(crate) struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    /// Plain text.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            width: text.chars().count(),
            text,
        }
    }

    /// Text with colours, and the same without.
    pub(crate) fn styled(text: String, plain: &str) -> Self {
        Self {
            text,
            width: plain.chars().count(),
        }
    }
}

/// Rows with columns as wide as their widest cell; no blanks at a line's end.
pub(crate) fn render(rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.width)
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&cell.text);
            line.push_str(&" ".repeat(width - cell.width + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one a line; what is empty is left out.
pub(crate) fn fields(printer: &Printer, fields: &[(&str, String)]) -> String {
    let shown = fields.iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<Vec<Cell>> = shown
        .map(|(name, value)| {
            vec![
                Cell::styled(printer.dim(name), name),
                Cell::plain(value.clone()),
            ]
        })
        .collect();
    render(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [
            vec![
                Cell::plain("NAME"),
                Cell::plain("STATUS"),
                Cell::plain("IP"),
            ],
            vec![
                Cell::plain("feature"),
                Cell::styled("\u{1b}[32mRUNNING\u{1b}[0m".into(), "RUNNING"),
                Cell::plain(""),
            ],
        ];
        assert_eq!(
            render(&rows),
            "NAME     STATUS   IP\nfeature  \u{1b}[32mRUNNING\u{1b}[0m\n"
        );
    }
}
