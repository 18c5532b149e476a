//! Text within so many columns: a label on the left, and beside it what belongs to it, which goes
//! on below where it is too long.

/// A page that is being written.
#[derive(Debug)]
pub(super) struct TextPage {
    text: String,
    columns: usize,
    /// Columns of a label, and of the gap behind it.
    label: usize,
}

impl TextPage {
    pub(super) const fn new(columns: usize, label: usize) -> Self {
        Self { text: String::new(), columns, label }
    }

    /// Columns that a line may have.
    pub(super) const fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A line as it is, cut where the page ends.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(clip(line, self.columns).trim_end());
        self.text.push('\n');
    }

    /// Pieces with so many blanks between them, behind a label. A piece is kept together where it
    /// fits into a line.
    pub(super) fn entry(&mut self, label: &str, pieces: &[String], blanks: usize) {
        let (beside, room) = (self.label, self.columns.saturating_sub(self.label));
        let mut line = String::new();
        let mut label = label;
        for piece in pieces.iter().flat_map(|piece| parts(piece, room)) {
            if line.is_empty() {
                line = piece;
            } else if width(&line) + blanks + width(&piece) <= room {
                line.push_str(&" ".repeat(blanks));
                line.push_str(&piece);
            } else {
                self.line(&format!("{label:<beside$}{line}"));
                (label, line) = ("", piece);
            }
        }
        self.line(&format!("{label:<beside$}{line}"));
    }
}

/// A piece in parts that fit into so many columns.
fn parts(piece: &str, room: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = piece;
    while room < width(rest) {
        let most = clip(rest, room.max(2));
        // At the last blank, if there is one.
        let end = most.rfind(' ').filter(|end| 0 < *end).unwrap_or(most.len());
        parts.push(most[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    parts.push(rest.to_owned());
    parts
}

/// As much of a text as fits into so many columns.
pub(super) fn clip(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let too_far = text.char_indices().find(|(_, each)| {
        taken += columns_of(*each);
        columns < taken
    });
    too_far.map_or(text, |(end, _)| &text[..end])
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Two for all that could take two.
const fn columns_of(each: char) -> usize {
    if each.is_ascii() { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pieces: &[&str]) -> String {
        let mut page = TextPage::new(21, 11);
        let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        page.entry("label", &pieces, 2);
        page.into_text()
    }

    #[test]
    fn what_fits_stays_together_and_what_does_not_is_parted_at_blanks() {
        assert_eq!(entry(&["a 1", "b 2"]), "label      a 1  b 2\n");
        assert_eq!(entry(&["a 1", "bcd 23"]), "label      a 1\n           bcd 23\n");
        let parted = "label      one two\n           three\n";
        assert_eq!(entry(&["one two three"]), parted);
        let broken = "label      0123456789\n           0\n";
        assert_eq!(entry(&["01234567890"]), broken);
        assert_eq!(entry(&[]), "label\n");
    }

    #[test]
    fn what_may_be_wide_is_taken_for_wide() {
        let wide = "\u{65e5}";
        let text = format!("label      {}\n           {wide}\n", wide.repeat(5));
        assert_eq!(entry(&[&wide.repeat(6)]), text);
    }
}
