//! Pictures of dots: a row for each policy, for one figure with its spread or for the single
//! workers.

use super::palette::Look;
use super::plot::WIDTH;
use super::scale::Scale;
use super::svg::{Anchor, Canvas, Picture, shortened};
use crate::bench::table::{RoundSpread, digits};

/// One figure per policy, for one number of workers after the other.
#[derive(Debug)]
pub(super) struct Ranking {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) is_simulated: bool,
    /// What is measured.
    pub(super) unit: &'static str,
    /// Whether 1 is the best possible.
    pub(super) is_ratio: bool,
    /// The policies, and how each is drawn.
    pub(super) names: Vec<(String, Look)>,
    pub(super) panels: Vec<Panel>,
}

/// The policies at one number of workers.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) heading: String,
    /// One for each name; none where it has no such figure.
    pub(super) spreads: Vec<Option<RoundSpread>>,
}

/// The single workers of each policy.
#[derive(Debug)]
pub(super) struct Strips {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) is_simulated: bool,
    /// What the third column measures.
    pub(super) unit: &'static str,
    pub(super) rows: Vec<Strip>,
}

/// The workers of one policy: requests and busy time over an even share, and p99.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub(super) label: String,
    pub(super) look: Look,
    pub(super) columns: [Vec<f64>; 3],
}

/// Room for the names of the policies.
const NAMES: f64 = 128.0;
const ROW: f64 = 23.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 38.0;
/// A panel alone has its heading outside.
const RAISED: f64 = 14.0;
const NAME_SIGNS: usize = 19;
/// What one of several panels beside each other takes.
const PANEL: f64 = 216.0;
const PANELS_PER_ROW: usize = 4;

impl Ranking {
    /// A picture for each panel, all on one scale.
    pub(super) fn draw_each(&self) -> Vec<Picture> {
        let draw = |panel: &Panel| {
            let mut canvas = Canvas::default();
            let scale = self.scale((NAMES + 6.0, WIDTH - 124.0));
            self.name_rows(&mut canvas, -RAISED);
            self.panel(&mut canvas, panel, &scale, (-RAISED, true));
            self.mark_simulated(&mut canvas, WIDTH);
            let subtitle = format!("{}, {}", self.title, self.subtitle);
            let size = (WIDTH, self.height() - RAISED);
            self.picture((&panel.heading, &subtitle), canvas, size)
        };
        self.panels.iter().map(draw).collect()
    }

    /// All panels as one picture, beside each other. Nothing without panels.
    pub(super) fn draw_together(&self) -> Option<Picture> {
        let columns = self.panels.len().min(PANELS_PER_ROW);
        let width = (NAMES + PANEL * columns as f64).max(WIDTH);
        let mut canvas = Canvas::default();
        let mut top = 0.0;
        for beside in self.panels.chunks(PANELS_PER_ROW) {
            self.name_rows(&mut canvas, top);
            for (at, panel) in beside.iter().enumerate() {
                let left = NAMES + PANEL * at as f64;
                let scale = self.scale((left + 6.0, left + PANEL - 52.0));
                self.panel(&mut canvas, panel, &scale, (top, false));
            }
            top += self.height() + 8.0;
        }
        self.mark_simulated(&mut canvas, width);
        (0 < columns).then(|| self.picture((&self.title, &self.subtitle), canvas, (width, top)))
    }

    fn picture(
        &self,
        (title, subtitle): (&str, &str),
        canvas: Canvas,
        (width, height): (f64, f64),
    ) -> Picture {
        Picture {
            name: self.name.clone(),
            title: title.to_owned(),
            subtitle: subtitle.to_owned(),
            width,
            height,
            body: canvas.into_body(),
        }
    }

    fn mark_simulated(&self, canvas: &mut Canvas, width: f64) {
        if self.is_simulated {
            canvas.text("m b", Anchor::End, (width - 2.0, 12.0), "simulated");
        }
    }

    fn scale(&self, places: (f64, f64)) -> Scale {
        let spreads = self.panels.iter().flat_map(|panel| panel.spreads.iter().flatten());
        let ends = spreads.flat_map(|spread| [spread.min, spread.max]);
        Scale::log_around(ends.chain(self.is_ratio.then_some(1.0)), places)
    }

    fn name_rows(&self, canvas: &mut Canvas, top: f64) {
        for (at, (name, _)) in self.names.iter().enumerate() {
            let name = shortened(name, NAME_SIGNS);
            canvas.text("", Anchor::End, (NAMES - 6.0, top + row_at(at) + 4.0), &name);
        }
    }

    fn height(&self) -> f64 {
        HEAD + self.names.len() as f64 * ROW + FOOT
    }

    fn panel(&self, canvas: &mut Canvas, panel: &Panel, scale: &Scale, (top, wide): (f64, bool)) {
        let (left, right) = scale.places();
        let bottom = top + HEAD + self.names.len() as f64 * ROW;
        if !wide {
            canvas.text("b", Anchor::Start, (left, top + 13.0), &panel.heading);
        }
        ticks(canvas, scale, (top + HEAD - 8.0, bottom));
        canvas.text("m", Anchor::Middle, (f64::midpoint(left, right), bottom + 31.0), self.unit);
        if self.is_ratio {
            canvas.line("l cb", (scale.at(1.0), top + HEAD - 12.0), (scale.at(1.0), bottom));
        }
        for (at, ((_, look), spread)) in self.names.iter().zip(&panel.spreads).enumerate() {
            let y = top + row_at(at);
            let Some(RoundSpread { median, min, max }) = *spread else {
                canvas.text("m", Anchor::End, (right + 42.0, y + 4.0), "\u{2013}");
                continue;
            };
            let classes = format!("w {}", look.classes());
            canvas.line(&classes, (scale.at(min), y), (scale.at(max), y));
            for end in [min, max] {
                canvas.line(&classes, (scale.at(end), y - 3.0), (scale.at(end), y + 3.0));
            }
            canvas.mark(*look, "", (scale.at(median), y));
            canvas.text("b", Anchor::End, (right + 42.0, y + 4.0), &digits(median));
            if wide {
                let range = format!("{}\u{2013}{}", digits(min), digits(max));
                canvas.text("m", Anchor::Start, (right + 48.0, y + 4.0), &range);
            }
        }
    }
}

impl Strips {
    /// Nothing if no worker is known.
    pub(super) fn draw(self) -> Option<Picture> {
        if self.rows.iter().all(|row| row.columns[0].is_empty()) {
            return None;
        }
        let mut canvas = Canvas::default();
        if self.is_simulated {
            canvas.text("m b", Anchor::End, (NAMES - 6.0, 13.0), "simulated");
        }
        for (at, row) in self.rows.iter().enumerate() {
            let name = shortened(&row.label, NAME_SIGNS);
            canvas.text("", Anchor::End, (NAMES - 6.0, row_at(at) + 4.0), &name);
        }
        for (column, heading) in ["requests", "busy time", "p99"].into_iter().enumerate() {
            self.column(&mut canvas, column, heading);
        }
        let height = HEAD + self.rows.len() as f64 * ROW + FOOT;
        Some(Picture {
            name: self.name,
            title: self.title,
            subtitle: self.subtitle,
            width: WIDTH,
            height,
            body: canvas.into_body(),
        })
    }

    fn column(&self, canvas: &mut Canvas, column: usize, heading: &str) {
        let width = (WIDTH - NAMES - 10.0) / 3.0;
        let left = NAMES + 8.0 + width * column as f64;
        let places = (left, left + width - 28.0);
        let values = self.rows.iter().flat_map(|row| row.columns[column].iter().copied());
        let scale = if column == 2 {
            Scale::log(values, places)
        } else {
            Scale::linear(values.chain([0.0, 1.25]), places)
        };
        let bottom = HEAD + self.rows.len() as f64 * ROW;
        canvas.text("b", Anchor::Start, (left, 13.0), heading);
        ticks(canvas, &scale, (HEAD - 8.0, bottom));
        let unit = if column == 2 { self.unit } else { "\u{f7} even share" };
        canvas.text("m", Anchor::Middle, (f64::midpoint(left, places.1), bottom + 31.0), unit);
        for (at, row) in self.rows.iter().enumerate() {
            for value in &row.columns[column] {
                canvas.mark(row.look, " soft", (scale.at(*value), row_at(at)));
            }
        }
    }
}

fn ticks(canvas: &mut Canvas, scale: &Scale, (top, bottom): (f64, f64)) {
    let mut free_from = f64::MIN;
    for (at, name) in scale.ticks() {
        canvas.line("g", (at, top), (at, bottom));
        let half = super::svg::width_of(&name) / 2.0;
        if free_from <= at - half {
            canvas.text("m", Anchor::Middle, (at, bottom + 15.0), &name);
            free_from = at + half + 7.0;
        }
    }
    let (left, right) = scale.places();
    canvas.line("a", (left, bottom), (right, bottom));
}

fn row_at(at: usize) -> f64 {
    HEAD + (at as f64 + 0.5) * ROW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(panels: usize) -> Ranking {
        let spread = |median| Some(RoundSpread { median, min: median * 0.9, max: median * 1.1 });
        let panel = |at: usize| Panel {
            heading: format!("{at} workers"),
            spreads: vec![spread(1.05), None, spread(3.21)],
        };
        let names = ["jbsq", "least", "rr"].iter().enumerate();
        Ranking {
            name: "headline".into(),
            title: "t".into(),
            subtitle: "s".into(),
            is_simulated: true,
            unit: "over the bound",
            is_ratio: true,
            names: names.map(|(at, name)| ((*name).to_owned(), Look::Series(at))).collect(),
            panels: (0..panels).map(panel).collect(),
        }
    }

    #[test]
    fn every_policy_and_panel_is_there_once() {
        let count = |body: &str, part: &str| body.matches(part).count();
        let together = ranking(3).draw_together().unwrap();
        assert_eq!(count(&together.body, ">jbsq</text>"), 1);
        assert_eq!(count(&together.body, ">3.21</text>"), 3);
        assert_eq!(count(&together.body, "workers</text>"), 3);
        assert_eq!(count(&together.body, "l cb"), 3);
        assert_eq!(count(&together.body, ">simulated</text>"), 1);
        let wrapped = ranking(5).draw_together().unwrap();
        assert_eq!(count(&wrapped.body, ">jbsq</text>"), 2);
        let each = ranking(2).draw_each();
        assert_eq!(each.len(), 2);
        assert!(each[1].body.contains("2.89\u{2013}3.53"), "{}", each[1].body);
        assert!(each.iter().all(|picture| count(&picture.body, ">simulated</text>") == 1));
        assert!(ranking(0).draw_together().is_none());
    }

    #[test]
    fn every_worker_has_a_mark_in_every_column() {
        let strip = |values: Vec<f64>| Strip {
            label: "jbsq".into(),
            look: Look::Series(0),
            columns: [values.clone(), values.clone(), values],
        };
        let strips = |rows| Strips {
            name: "n".into(),
            title: "t".into(),
            subtitle: "s".into(),
            is_simulated: false,
            unit: "slowdown",
            rows,
        };
        let body = strips(vec![strip(vec![0.9, 1.0, 1.1]), strip(Vec::new())]).draw().unwrap().body;
        assert_eq!(body.matches("<circle").count(), 9);
        assert!(strips(vec![strip(Vec::new())]).draw().is_none());
    }
}
