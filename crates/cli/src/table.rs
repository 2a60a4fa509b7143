//! Tables.

use console::measure_text_width;

use crate::output::Printer;

/// Renders a table with a header. Colours have no width; lines have no trailing blanks.
pub(crate) fn render(printer: &Printer, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header = header.iter().map(|title| printer.dim(title)).collect();
    let mut all = vec![header];
    all.extend(rows);
    align(&all)
}

/// Returns the text of a value, or `-`.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| measure_text_width(cell))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - measure_text_width(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Renders names and values, one per line, without empty ones.
pub(crate) fn fields(printer: &Printer, fields: &[(&str, String)]) -> String {
    let shown = fields.iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<Vec<String>> = shown
        .map(|(name, value)| vec![printer.dim(name), value.clone()])
        .collect();
    align(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_colours_and_wide_characters() {
        let rows = [
            ["NAME", "STATUS", "IP"].map(str::to_owned).to_vec(),
            ["ゲスト", "\u{1b}[32mRUNNING\u{1b}[0m", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        assert_eq!(
            align(&rows),
            "NAME    STATUS   IP\nゲスト  \u{1b}[32mRUNNING\u{1b}[0m\n"
        );
    }
}
