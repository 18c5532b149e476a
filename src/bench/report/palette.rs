//! Colours, dashes and marks. A policy looks the same in every picture, and no two lines of one
//! picture differ by colour alone: who cannot tell the colours has dash and mark.

use std::fmt::Write as _;

/// One colour for each background.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tone {
    pub(super) light: &'static str,
    pub(super) dark: &'static str,
}

const fn tone(light: &'static str, dark: &'static str) -> Tone {
    Tone { light, dark }
}

/// What lines, marks and their labels are drawn with; each readable as text on its background.
pub(super) const SERIES: [Tone; 8] = [
    tone("#0b5fa5", "#6cb4f5"),
    tone("#b5400c", "#f79a6b"),
    tone("#0b7358", "#4fcfa8"),
    tone("#8a3a8f", "#dba0e4"),
    tone("#7a5b00", "#dfb64f"),
    tone("#a82a56", "#ff93b4"),
    tone("#27708a", "#8fd6ee"),
    tone("#545b66", "#b4bcc8"),
];

/// The tones that are not of a line, by their names in the style sheet.
pub(super) const PLAIN: [(&str, Tone); 6] = [
    ("bg", tone("#ffffff", "#14171b")),
    ("ink", tone("#16191d", "#f0f2f4")),
    ("muted", tone("#59616b", "#a3abb6")),
    ("rule", tone("#c9ced6", "#414852")),
    ("grid", tone("#e8ebef", "#272c33")),
    ("wash", tone("#f5f7f9", "#1c2026")),
];

const DASHES: [&str; 8] = ["", "7 3", "2 2.5", "9 3 2 3", "4 2.5", "12 4", "6 2 2 2 2 2", "1 3"];

/// Policies that are the same in every report, in the order of the tones.
const KNOWN: [&str; 6] = ["jbsq", "rr", "least", "shared", "reuseport", "wrr"];

/// How one line is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Look {
    /// As the best possible: in the colour of text.
    Bound,
    /// As one of the subjects.
    Series(usize),
}

impl Look {
    /// The classes that colour it.
    pub(super) fn classes(self) -> String {
        match self {
            Self::Bound => "cb".to_owned(),
            Self::Series(series) => format!("c{} d{}", series % SERIES.len(), self.shape()),
        }
    }

    /// Its mark, and its dash: another one for each round through the colours.
    pub(super) const fn shape(self) -> usize {
        match self {
            Self::Bound => 0,
            Self::Series(series) => (series + series / SERIES.len()) % DASHES.len(),
        }
    }
}

/// Who is drawn how.
#[derive(Clone, Debug, Default)]
pub(super) struct Palette {
    /// Names beyond the known ones, in the order of their first appearance.
    others: Vec<String>,
}

impl Palette {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut others: Vec<String> = Vec::new();
        for name in names {
            if !KNOWN.contains(&name) && !others.iter().any(|other| other == name) {
                others.push(name.to_owned());
            }
        }
        Self { others }
    }

    pub(super) fn look(&self, name: &str) -> Look {
        let known = KNOWN.iter().position(|known| *known == name);
        let other = || self.others.iter().position(|other| other == name).unwrap_or_default();
        Look::Series(known.unwrap_or_else(|| KNOWN.len() + other()))
    }
}

/// The variables of the page: light, and dark where that is preferred.
pub(super) fn variables() -> String {
    let all = |pick: fn(&Tone) -> &'static str| {
        let mut text = String::new();
        for (name, tone) in &PLAIN {
            let _ = write!(text, "--{name}:{};", pick(tone));
        }
        for (at, tone) in SERIES.iter().enumerate() {
            let _ = write!(text, "--c{at}:{};", pick(tone));
        }
        text
    };
    let (light, dark) = (all(|tone| tone.light), all(|tone| tone.dark));
    format!(
        ":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n\
         @media print{{:root{{{light}}}}}\n"
    )
}

/// The rules of pictures within the page, by its variables.
pub(super) fn page_rules() -> String {
    rules(&|name| format!("var(--{name})"))
}

/// The rules of a picture that stands alone: light, without variables, which not every viewer of
/// pictures knows.
pub(super) fn standalone_rules() -> String {
    rules(&|name| {
        let plain = PLAIN.iter().find(|(other, _)| *other == name).map(|(_, tone)| *tone);
        let number = name.strip_prefix('c').and_then(|number| number.parse::<usize>().ok());
        let tone = plain.or_else(|| SERIES.get(number?).copied());
        tone.map_or_else(String::new, |tone| tone.light.to_owned())
    })
}

fn rules(color: &dyn Fn(&str) -> String) -> String {
    let (ink, muted, rule) = (color("ink"), color("muted"), color("rule"));
    let (grid, background) = (color("grid"), color("bg"));
    let mut text = format!(
        ".pic text{{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;\
         font-variant-numeric:tabular-nums;fill:{ink}}}\n\
         .pic .m{{fill:{muted}}}\n.pic .h{{font-weight:600;font-size:14px}}\n\
         .pic .b{{font-weight:600}}\n\
         .pic .halo{{paint-order:stroke;stroke:{background};stroke-width:3px;\
         stroke-linejoin:round}}\n\
         .pic .g{{stroke:{grid};stroke-width:1}}\n.pic .a{{stroke:{rule};stroke-width:1}}\n\
         .pic .bg{{fill:{background}}}\n\
         .pic .l{{fill:none;stroke-width:1.8;stroke-linejoin:round}}\n\
         .pic .w{{stroke-width:1.4}}\n.pic .band{{opacity:.1}}\n\
         .pic .soft{{fill-opacity:.6}}\n\
         .pic .l.cb{{stroke:{ink};stroke-width:2.4}}\n.pic .f.cb{{fill:{ink}}}\n"
    );
    for at in 0..SERIES.len() {
        let tone = color(&format!("c{at}"));
        let _ = writeln!(text, ".pic .l.c{at},.pic .w.c{at}{{stroke:{tone}}}");
        let _ = writeln!(text, ".pic .f.c{at}{{fill:{tone}}}");
    }
    for (at, dash) in DASHES.iter().enumerate().filter(|(_, dash)| !dash.is_empty()) {
        let _ = writeln!(text, ".pic .l.d{at}{{stroke-dasharray:{dash}}}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG.
    fn luminance(color: &str) -> f64 {
        let part = |at: usize| {
            let level = f64::from(u8::from_str_radix(&color[at..at + 2], 16).unwrap()) / 255.0;
            if level <= 0.03928 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn whatever_is_read_has_contrast_on_both_backgrounds() {
        let named = |wanted| PLAIN.iter().find(|(name, _)| *name == wanted).unwrap().1;
        let text = SERIES.into_iter().chain([named("ink"), named("muted")]);
        for tone in text {
            for ground in [named("bg"), named("wash")] {
                assert!(4.5 <= contrast(tone.light, ground.light), "{tone:?}");
                assert!(4.5 <= contrast(tone.dark, ground.dark), "{tone:?}");
            }
        }
    }

    #[test]
    fn a_policy_always_looks_the_same_and_no_two_are_alike() {
        let names: Vec<String> = (0..20).map(|at| format!("server {at}")).collect();
        let all = || KNOWN.into_iter().chain(names.iter().map(String::as_str));
        let palette = Palette::new(all());
        assert_eq!(palette.look("jbsq"), Palette::default().look("jbsq"));
        let mut looks: Vec<_> =
            all().map(|name| (palette.look(name).classes(), palette.look(name).shape())).collect();
        looks.sort();
        looks.dedup();
        assert_eq!(looks.len(), 26);
    }

    #[test]
    fn a_standalone_picture_has_every_colour_and_no_variable() {
        let rules = standalone_rules();
        assert!(!rules.contains("var(") && !rules.contains(":;") && !rules.contains(":}"));
        assert!(rules.contains(SERIES[7].light) && page_rules().contains("var(--c7)"));
    }
}
