//! Pictures of lines: a percentile plot, its mirror image, and what grows with load or workers.

use super::palette::Look;
use super::scale::{Scale, is_share};
use super::svg::{Anchor, Canvas, CanvasPoint, Picture, shortened, width_of};

/// What a picture of lines shows.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) is_simulated: bool,
    pub(super) frame: Frame,
    /// What the axes measure.
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) lines: Vec<PlotLine>,
}

/// Which kind of axes a picture has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// Shares of all requests to the right, on the scale of 1 / (1 - share).
    Percentiles,
    /// How many requests are beyond a value; both are logarithms.
    Beyond,
    /// Loads to the right.
    Loads,
    /// Numbers of workers to the right.
    Workers,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct PlotLine {
    pub(super) label: String,
    pub(super) look: Look,
    /// Ascending in the first number.
    pub(super) points: Vec<PlotPoint>,
}

/// A place of a line, and how far the rounds lay apart there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PlotPoint {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) ends: Option<(f64, f64)>,
}

pub(super) const WIDTH: f64 = 420.0;
const LEFT: f64 = 44.0;
const HEIGHT: f64 = 206.0;
const BELOW: f64 = 40.0;
/// Room that a line of text takes.
const LINE: f64 = 15.0;
const LABEL_SIGNS: usize = 19;

impl Plot {
    /// Nothing if there is not one place to draw.
    pub(super) fn draw(mut self) -> Option<Picture> {
        let is_log_x = self.frame != Frame::Loads;
        for line in &mut self.lines {
            line.points.retain(|point| {
                point.y.is_finite()
                    && 0.0 < point.y
                    && (!is_log_x || 0.0 < point.x || is_share(point.x))
            });
        }
        self.lines.retain(|line| !line.points.is_empty());
        if self.lines.is_empty() {
            return None;
        }
        let mut canvas = Canvas::default();
        let top = self.top(&mut canvas);
        let height = HEIGHT.max(self.lines.len() as f64 * LINE * 0.95);
        let (x, y) = self.scales(top, height);
        self.axes(&mut canvas, &x, &y);
        for line in &self.lines {
            band(&mut canvas, line, &x, &y);
        }
        for line in self.lines.iter().rev() {
            self.line(&mut canvas, line, &x, &y);
        }
        if self.frame != Frame::Beyond {
            self.labels(&mut canvas, &x, &y);
        }
        Some(Picture {
            name: self.name,
            title: self.title,
            subtitle: self.subtitle,
            width: WIDTH,
            height: top + height + BELOW,
            body: canvas.into_body(),
        })
    }

    /// What stands above the axes; returns where these begin.
    fn top(&self, canvas: &mut Canvas) -> f64 {
        canvas.text("m", Anchor::Start, (4.0, 12.0), self.y);
        if self.is_simulated {
            canvas.text("m b", Anchor::End, (WIDTH - 2.0, 12.0), "simulated");
        }
        if self.frame != Frame::Beyond {
            return 24.0;
        }
        let (mut x, mut y) = (LEFT, 30.0);
        for line in &self.lines {
            let label = shortened(&line.label, LABEL_SIGNS);
            let width = 30.0 + width_of(&label);
            if WIDTH < x + width && LEFT < x {
                (x, y) = (LEFT, y + LINE);
            }
            canvas
                .path(&format!("l {}", line.look.classes()), &[(x, y - 4.0), (x + 20.0, y - 4.0)]);
            if line.look != Look::Bound {
                canvas.mark(line.look, "", (x + 10.0, y - 4.0));
            }
            canvas.text("", Anchor::Start, (x + 25.0, y), &label);
            x += width + 8.0;
        }
        y + 14.0
    }

    fn scales(&self, top: f64, height: f64) -> (Scale, Scale) {
        let room =
            if self.frame == Frame::Beyond { 22.0 } else { self.label_width() * 1.12 + 14.0 };
        let xs = || self.points().map(|point| point.x);
        let ends = |point: &PlotPoint| {
            let (low, high) = point.ends.unwrap_or((point.y, point.y));
            [low, high, point.y]
        };
        let across = (LEFT, WIDTH - room);
        let up = (top + height, top);
        let y = match self.frame {
            Frame::Workers => Scale::log_around(self.points().flat_map(ends), up),
            Frame::Percentiles | Frame::Beyond | Frame::Loads => {
                Scale::log(self.points().flat_map(ends), up)
            }
        };
        let x = match self.frame {
            Frame::Percentiles => Scale::percentile(xs(), across),
            Frame::Beyond => Scale::log(xs(), across),
            Frame::Loads => Scale::linear(xs(), across),
            Frame::Workers => Scale::doubling(xs(), across),
        };
        (x, y)
    }

    fn points(&self) -> impl Iterator<Item = &PlotPoint> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    fn label_width(&self) -> f64 {
        let widths = self.lines.iter().map(|line| width_of(&shortened(&line.label, LABEL_SIGNS)));
        widths.fold(30.0, f64::max)
    }

    fn axes(&self, canvas: &mut Canvas, x: &Scale, y: &Scale) {
        let ((left, right), (bottom, top)) = (x.places(), y.places());
        for (at, name) in y.ticks() {
            canvas.line("g", (left, at), (right, at));
            canvas.text("m", Anchor::End, (left - 6.0, at + 4.0), &name);
        }
        let mut free_from = f64::MIN;
        for (at, name) in x.ticks() {
            canvas.line("g", (at, top), (at, bottom));
            let half = width_of(&name) / 2.0;
            if free_from <= at - half {
                canvas.text("m", Anchor::Middle, (at, bottom + 16.0), &name);
                free_from = at + half + 5.0;
            }
        }
        canvas.line("a", (left, bottom), (right, bottom));
        canvas.text("m", Anchor::Middle, (f64::midpoint(left, right), bottom + 33.0), self.x);
    }

    fn line(&self, canvas: &mut Canvas, line: &PlotLine, x: &Scale, y: &Scale) {
        let places: Vec<CanvasPoint> =
            line.points.iter().map(|point| (x.at(point.x), y.at(point.y))).collect();
        canvas.path(&format!("l {}", line.look.classes()), &thinned(&places));
        if line.look == Look::Bound {
            return;
        }
        match self.frame {
            Frame::Loads | Frame::Workers => {
                for place in places {
                    canvas.mark(line.look, "", place);
                }
            }
            Frame::Percentiles => {
                for share in [0.5, 0.9, 0.99, 0.999, 0.9999] {
                    if let Some(value) = value_at(&line.points, share) {
                        canvas.mark(line.look, "", (x.at(share), y.at(value)));
                    }
                }
            }
            Frame::Beyond => {
                let last = places.len() - 1;
                for part in [1, 2, 3] {
                    canvas.mark(line.look, "", places[last * part / 3]);
                }
            }
        }
    }

    /// Each line's name at its end, moved where others stand.
    fn labels(&self, canvas: &mut Canvas, x: &Scale, y: &Scale) {
        let end =
            |line: &PlotLine| line.points.last().map_or((0.0, 0.0), |p| (x.at(p.x), y.at(p.y)));
        let mut labels: Vec<(&PlotLine, CanvasPoint)> =
            self.lines.iter().map(|line| (line, end(line))).collect();
        labels.sort_by(|(_, one), (_, other)| one.1.total_cmp(&other.1));
        let wanted: Vec<f64> = labels.iter().map(|(_, end)| end.1).collect();
        let (bottom, top) = y.places();
        let heights = spread_out(&wanted, (top - 2.0, bottom), LINE * 0.92);
        let from = x.places().1;
        for ((line, (end_x, end_y)), at) in labels.into_iter().zip(heights) {
            if 3.0 < (at - end_y).abs() || end_x + 8.0 < from {
                canvas.line("a", (end_x + 5.0, end_y), (from + 7.0, at));
            }
            let look = line.look.classes();
            let label = shortened(&line.label, LABEL_SIGNS);
            canvas.text(&format!("f b {look}"), Anchor::Start, (from + 9.0, at + 4.0), &label);
        }
    }
}

/// How far the rounds lay apart.
fn band(canvas: &mut Canvas, line: &PlotLine, x: &Scale, y: &Scale) {
    let ends =
        |point: &PlotPoint| point.ends.map(|(low, high)| (x.at(point.x), y.at(low), y.at(high)));
    let ends: Vec<_> = line.points.iter().filter_map(ends).collect();
    if ends.len() < 2 {
        return;
    }
    let above: Vec<CanvasPoint> = ends.iter().map(|(x, _, high)| (*x, *high)).collect();
    let below: Vec<CanvasPoint> = ends.iter().rev().map(|(x, low, _)| (*x, *low)).collect();
    let around = [thinned(&above), thinned(&below)].concat();
    canvas.area(&format!("f band {}", line.look.classes()), &around);
}

/// Without the places between two others of the same height, which no eye would miss.
fn thinned(places: &[CanvasPoint]) -> Vec<CanvasPoint> {
    let is_needed = |at: usize| {
        let (Some(before), Some(next)) =
            (at.checked_sub(1).map(|at| places[at]), places.get(at + 1))
        else {
            return true;
        };
        0.05 < (before.1 - places[at].1).abs() || 0.05 < (next.1 - places[at].1).abs()
    };
    (0..places.len()).filter(|at| is_needed(*at)).map(|at| places[at]).collect()
}

/// The height of a line at a share, between its points.
fn value_at(points: &[PlotPoint], share: f64) -> Option<f64> {
    let next = points.iter().position(|point| share <= point.x + 1e-9)?;
    let (before, next) = (points[next.saturating_sub(1)], points[next]);
    if next.x - before.x < 1e-9 {
        return Some(next.y);
    }
    // Lines are straight on the scales on which they are drawn.
    let measured = |share: f64| -(1.0 - share).ln();
    let part = (measured(share) - measured(before.x)) / (measured(next.x) - measured(before.x));
    Some((before.y.ln() + (next.y.ln() - before.y.ln()) * part).exp())
}

/// Heights as near to those wanted (ascending) as a gap between any two allows.
fn spread_out(wanted: &[f64], (top, bottom): (f64, f64), gap: f64) -> Vec<f64> {
    let mut heights = wanted.to_vec();
    let mut free = top;
    for height in &mut heights {
        *height = height.max(free);
        free = *height + gap;
    }
    let mut free = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(free);
        free = *height - gap;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, look: Look, points: &[(f64, f64)]) -> PlotLine {
        let point =
            |(x, y): &(f64, f64)| PlotPoint { x: *x, y: *y, ends: Some((y * 0.9, y * 1.1)) };
        PlotLine { label: label.into(), look, points: points.iter().map(point).collect() }
    }

    fn plot(frame: Frame, lines: Vec<PlotLine>) -> Plot {
        Plot {
            name: "n".into(),
            title: "t".into(),
            subtitle: "s".into(),
            is_simulated: false,
            frame,
            x: "x axis",
            y: "y axis",
            lines,
        }
    }

    #[test]
    fn every_line_is_drawn_and_named_in_every_frame() {
        for frame in [Frame::Percentiles, Frame::Beyond, Frame::Loads, Frame::Workers] {
            let lines = vec![
                line("bound", Look::Bound, &[(0.1, 1.0), (0.5, 2.0), (0.99, 10.0)]),
                line("jbsq", Look::Series(0), &[(0.1, 1.0), (0.5, 2.0), (0.99, 11.0)]),
                line("rr", Look::Series(1), &[(0.1, 1.0), (0.5, 20.0), (0.99, 100.0)]),
            ];
            let body = plot(frame, lines).draw().unwrap().body;
            for label in ["bound", "jbsq", "rr", "x axis", "y axis"] {
                assert!(body.contains(&format!(">{label}</text>")), "{frame:?}: {label}");
            }
            for classes in ["l cb", "l c0 d0", "l c1 d1", "f band c1 d1"] {
                assert!(body.contains(&format!("class=\"{classes}\"")), "{frame:?}: {classes}");
            }
            assert!(!body.contains("simulated"));
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let bad = line("bad", Look::Series(0), &[(0.5, 0.0), (0.6, f64::NAN), (0.7, -1.0)]);
        assert!(plot(Frame::Percentiles, vec![bad.clone()]).draw().is_none());
        let good = line("good", Look::Series(1), &[(0.5, 3.0)]);
        let both = Plot { is_simulated: true, ..plot(Frame::Percentiles, vec![bad, good]) };
        let body = both.draw().unwrap().body;
        assert!(body.contains("good") && !body.contains("bad") && body.contains(">simulated<"));
    }

    #[test]
    fn labels_keep_their_distance_and_stay_within() {
        let heights = spread_out(&[5.0, 6.0, 7.0, 99.0, 100.0], (0.0, 100.0), 10.0);
        assert!(heights.windows(2).all(|pair| 9.999 <= pair[1] - pair[0]), "{heights:?}");
        assert!(0.0 <= heights[0] && heights[4] <= 100.0, "{heights:?}");
        assert!((spread_out(&[50.0], (0.0, 100.0), 10.0)[0] - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_mark_lies_on_its_line() {
        let points = line("", Look::Series(0), &[(0.9, 10.0), (0.999, 1_000.0)]).points;
        assert!((value_at(&points, 0.99).unwrap() - 100.0).abs() < 1e-6);
        assert_eq!(value_at(&points, 0.9999), None);
        let places = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 5.0)];
        assert_eq!(thinned(&places), [places[0], places[2], places[3]]);
    }
}
