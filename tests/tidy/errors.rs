//! What an error says, and what the one behind it says. Whoever prints an error prints the whole
//! chain, so that a text which repeats its source says everything twice, and one which leaves it
//! out says enough.

/// Texts of errors that repeat their sources, by the lines in which they begin. `lines` are those
/// of the file, `code` the same without comments and literals.
pub(crate) fn repeated_sources(lines: &[&str], code: &[String]) -> Vec<usize> {
    let begins: Vec<usize> =
        (0..code.len()).filter(|at| code[*at].trim_start().starts_with("#[error(")).collect();
    let repeats = |begin: &usize| {
        let is_last = |at: &usize| code[*at].trim_end().ends_with(")]");
        let end = (*begin..code.len()).find(is_last).unwrap_or(*begin);
        let text = lines[*begin..=end].join("\n");
        source_of(&code[end + 1..]).is_some_and(|source| names(&text, &source))
    };
    begins.into_iter().filter(repeats).map(|at| at + 1).collect()
}

/// What the text calls the source of the item that these lines begin with, if it has one.
fn source_of(code: &[String]) -> Option<String> {
    let item = code.iter().map(|line| line.trim());
    let mut item = item.take_while(|line| !line.starts_with("#[error(") && *line != "}");
    while let Some(line) = item.next() {
        let behind_mark = ["#[source]", "#[from]"].iter().find_map(|mark| line.split_once(mark));
        match behind_mark {
            Some((before, _)) if before.contains('(') => {
                let number = before.matches(',').count();
                return Some(number.to_string());
            }
            Some((_, "")) => return item.next().and_then(field),
            Some((_, rest)) => return field(rest),
            None if field(line).as_deref() == Some("source") => return field(line),
            None => {}
        }
    }
    None
}

/// The name of the field that a line declares.
fn field(line: &str) -> Option<String> {
    let name = line.trim().trim_start_matches("pub ").split_once(": ")?.0;
    name.chars().all(|sign| sign.is_alphanumeric() || sign == '_').then(|| name.to_owned())
}

/// Whether the text of an error names this field.
fn names(text: &str, field: &str) -> bool {
    let ways = [
        format!("{{{field}}}"),
        format!("{{{field}:"),
        format!(".{field},"),
        format!(".{field})"),
        format!("= {field}"),
    ];
    ways.iter().any(|way| text.contains(way))
}
