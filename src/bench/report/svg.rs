//! Pictures as text. They are few and plain, so a writer of lines, marks and words is shorter than
//! the use of a library would be, and knows of light, dark and screen readers; decision 008.

use std::fmt::Write as _;

use super::palette::{Look, standalone_rules};

pub(super) type CanvasPoint = (f64, f64);

/// What pictures are made of.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    body: String,
}

/// On which side of its place a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A finished picture.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// What its file is called, without ending.
    pub(super) name: String,
    /// What it shows.
    pub(super) title: String,
    /// Under which conditions.
    pub(super) subtitle: String,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) body: String,
}

impl Canvas {
    pub(super) fn line(&mut self, classes: &str, (x1, y1): CanvasPoint, (x2, y2): CanvasPoint) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        let _ = writeln!(
            self.body,
            r#"<line class="{classes}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
        );
    }

    pub(super) fn path(&mut self, classes: &str, points: &[CanvasPoint]) {
        let _ = writeln!(self.body, r#"<path class="{classes}" d="{}"/>"#, steps(points));
    }

    /// A closed path.
    pub(super) fn area(&mut self, classes: &str, points: &[CanvasPoint]) {
        let _ = writeln!(self.body, r#"<path class="{classes}" d="{}Z"/>"#, steps(points));
    }

    pub(super) fn text(&mut self, classes: &str, anchor: Anchor, (x, y): CanvasPoint, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let (x, y, text) = (number(x), number(y), escape(text));
        let _ =
            writeln!(self.body, r#"<text class="{classes}" x="{x}" y="{y}"{anchor}>{text}</text>"#);
    }

    /// The mark of a look, about 7 units wide.
    pub(super) fn mark(&mut self, look: Look, more: &str, (x, y): CanvasPoint) {
        let classes = format!("f {}{more}", look.classes());
        let around = |offsets: &[CanvasPoint]| {
            offsets.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>()
        };
        let offsets: &[CanvasPoint] = match look.shape() {
            0 => {
                let (x, y) = (number(x), number(y));
                let _ =
                    writeln!(self.body, r#"<circle class="{classes}" cx="{x}" cy="{y}" r="3.4"/>"#);
                return;
            }
            1 => &[(-3.0, -3.0), (3.0, -3.0), (3.0, 3.0), (-3.0, 3.0)],
            2 => &[(0.0, -4.2), (3.9, 2.8), (-3.9, 2.8)],
            3 => &[(0.0, -4.4), (4.4, 0.0), (0.0, 4.4), (-4.4, 0.0)],
            4 => &[(0.0, 4.2), (3.9, -2.8), (-3.9, -2.8)],
            5 => &[(-4.0, -1.4), (4.0, -1.4), (4.0, 1.4), (-4.0, 1.4)],
            6 => &[(-1.4, -4.2), (1.4, -4.2), (1.4, 4.2), (-1.4, 4.2)],
            _ => &[
                (-4.0, -4.0),
                (0.0, -1.4),
                (4.0, -4.0),
                (1.4, 0.0),
                (4.0, 4.0),
                (0.0, 1.4),
                (-4.0, 4.0),
                (-1.4, 0.0),
            ],
        };
        self.area(&classes, &around(offsets));
    }

    pub(super) fn into_body(self) -> String {
        self.body
    }
}

impl Picture {
    /// The picture as a part of a page, which has its style.
    pub(super) fn inline(&self) -> String {
        let (width, height) = (number(self.width), number(self.height));
        format!(
            "<svg class=\"pic\" role=\"img\" viewBox=\"0 0 {width} {height}\">\n\
             <title>{title}</title>\n{body}</svg>\n",
            title = escape(&format!("{}: {}", self.title, self.subtitle)),
            body = self.body
        )
    }

    /// The picture as a file of its own, with its heading and its background.
    pub(super) fn standalone(&self) -> String {
        let (width, height) = (self.width + 2.0 * MARGIN, self.height + HEADING + MARGIN);
        let mut heading = Canvas::default();
        heading.text("h", Anchor::Start, (0.0, 8.0 - HEADING + MARGIN), &self.title);
        heading.text("m", Anchor::Start, (0.0, 25.0 - HEADING + MARGIN), &self.subtitle);
        let (left, top) = (number(-MARGIN), number(-HEADING));
        let (wide, high) = (number(width), number(height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"pic\" role=\"img\" \
             width=\"{shown_wide}\" height=\"{shown_high}\" \
             viewBox=\"{left} {top} {wide} {high}\">\n<title>{title}</title>\n\
             <style>\n{rules}</style>\n\
             <rect class=\"bg\" x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{high}\"/>\n\
             {heading}{body}</svg>\n",
            shown_wide = number(width * SHOWN),
            shown_high = number(height * SHOWN),
            title = escape(&format!("{}: {}", self.title, self.subtitle)),
            rules = standalone_rules(),
            heading = heading.into_body(),
            body = self.body
        )
    }
}

/// Around a picture that stands alone.
const MARGIN: f64 = 12.0;
/// Above it, for its heading.
const HEADING: f64 = 54.0;
/// How large it is shown where nothing says otherwise.
const SHOWN: f64 = 1.2;

/// Text as text of a page or a picture, whatever is in it: markup is taken by its word, and signs
/// that XML does not have are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            sign if sign.is_control() => escaped.push('\u{fffd}'),
            sign => escaped.push(sign),
        }
    }
    escaped
}

/// Text of at most so many signs, the last of them an ellipsis where some are left out.
pub(super) fn shortened(text: &str, signs: usize) -> String {
    if text.chars().count() <= signs {
        return text.to_owned();
    }
    text.chars().take(signs.saturating_sub(1)).chain(['\u{2026}']).collect()
}

/// About how wide a text is.
pub(super) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * 6.7
}

fn steps(points: &[CanvasPoint]) -> String {
    let mut text = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(text, "{}{} {}", if at == 0 { 'M' } else { 'L' }, number(*x), number(*y));
    }
    text
}

/// A coordinate to a tenth, so that the same input always gives the same bytes.
fn number(value: f64) -> String {
    let text = format!("{:.1}", if value.is_finite() { value } else { 0.0 });
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            escape("<b a='\"'>&\u{1b}\u{0}\n"),
            "&lt;b a=&#39;&quot;&#39;&gt;&amp;\u{fffd}\u{fffd} "
        );
        let mut canvas = Canvas::default();
        canvas.text("m", Anchor::End, (1.0, 2.0), "</text><script>");
        assert!(!canvas.into_body().contains("<script>"));
    }

    #[test]
    fn numbers_are_short_and_always_numbers() {
        for (value, text) in
            [(1.0, "1"), (-0.04, "0"), (1.25, "1.2"), (f64::NAN, "0"), (-12.34, "-12.3")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde\u{2026}");
    }
}
