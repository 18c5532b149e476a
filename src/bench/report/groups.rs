//! Cells that belong into one picture: the same conditions and the same workers.

use std::collections::BTreeSet;

use super::palette::{Look, Palette};
use super::plot::PlotPoint;
use super::scale::is_share;
use super::{Report, ReportSource};
use crate::bench::result::{Cell, ClassFigures, Round};
use crate::bench::table::{Row, Setting, class_names, median, shows_slowdown};
use crate::bench::tally;

/// Policies under the same conditions with the same workers.
#[derive(Debug)]
pub(super) struct PictureGroup<'a> {
    pub(super) setting: &'a Setting,
    pub(super) members: Vec<GroupMember<'a>>,
    /// The traces of the lines: those whose rounds count for everybody who has any.
    seeds: BTreeSet<u64>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct GroupMember<'a> {
    /// Its name, told apart from those of other results.
    pub(super) label: String,
    pub(super) look: Look,
    pub(super) row: &'a Row,
    pub(super) cell: &'a Cell,
}

impl<'a> PictureGroup<'a> {
    /// All groups: settings in their order, workers ascending.
    pub(super) fn all(report: &'a Report) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (setting, rows) in report.table.settings() {
            let first_of_setting = groups.len();
            for row in rows {
                let member = GroupMember::new(report, row);
                let is_same = |group: &&mut Self| {
                    let other = group.members[0].row;
                    other.workers == row.workers && other.speeds == row.speeds
                };
                match groups[first_of_setting..].iter_mut().find(is_same) {
                    Some(group) => group.members.push(member),
                    None => {
                        groups.push(Self {
                            setting,
                            members: vec![member],
                            seeds: BTreeSet::new(),
                        });
                    }
                }
            }
        }
        for group in &mut groups {
            group.seeds = common_seeds(&group.members);
        }
        groups
    }

    pub(super) fn rows(&self) -> Vec<&'a Row> {
        self.members.iter().map(|member| member.row).collect()
    }

    /// `4 workers`, and their speeds where they differ.
    pub(super) fn workers(&self) -> String {
        workers_words(self.members[0].row)
    }

    /// Workers, where they are known, and setting.
    pub(super) fn conditions(&self, between: &str) -> String {
        let setting = self.setting.words();
        match self.members[0].row.workers {
            0 => setting,
            _ => format!("{}{between}{setting}", self.workers()),
        }
    }

    /// Each class: its position and its name.
    pub(super) fn classes(&self) -> Vec<(usize, &'a str)> {
        class_names(&self.rows()).into_iter().enumerate().collect()
    }

    pub(super) fn shows_slowdown(&self, class: (usize, &str)) -> bool {
        shows_slowdown(&self.rows(), class)
    }

    /// The best possible, over all members and rounds.
    pub(super) fn bound_curve(&self, class: (usize, &str)) -> Vec<PlotPoint> {
        let all = self.members.iter().flat_map(|member| self.figures(member, class));
        let curves: Vec<_> = all.map(|figures| figures.bound_curve.as_slice()).collect();
        let points = merged(&curves).into_iter();
        points.map(|point| PlotPoint { ends: None, ..point }).collect()
    }

    /// A member's curve of a class in slowdowns or milliseconds: the median over the rounds, and
    /// their ends. Rounds whose curve has the other unit have no part in it.
    pub(super) fn curve(
        &self,
        member: &GroupMember<'a>,
        class: (usize, &str),
        is_slowdown: bool,
    ) -> Vec<PlotPoint> {
        let curves: Vec<_> = self
            .figures(member, class)
            .filter(|figures| is_slowdown == figures.slowdown.is_some())
            .map(|figures| figures.curve.as_slice())
            .collect();
        let unit = if is_slowdown { 1.0 } else { 1e3 };
        let shown = |point: PlotPoint| PlotPoint {
            y: point.y / unit,
            ends: point.ends.map(|(low, high)| (low / unit, high / unit)),
            ..point
        };
        merged(&curves).into_iter().map(shown).collect()
    }

    fn figures<'b>(
        &'b self,
        member: &GroupMember<'a>,
        (at, name): (usize, &'b str),
    ) -> impl Iterator<Item = &'a ClassFigures> + 'b {
        let is_drawn = |round: &&Round| self.seeds.is_empty() || self.seeds.contains(&round.seed);
        let rounds = member.cell.good_rounds().filter(is_drawn);
        let classes = rounds.filter_map(move |round| round.classes.get(at));
        classes.filter(move |class| class.name == name)
    }
}

impl<'a> GroupMember<'a> {
    pub(super) fn new(report: &'a Report, row: &'a Row) -> Self {
        let label = report.label(row);
        let look = report.palette.look(&label);
        let ReportSource { results, .. } = &report.sources[row.source];
        Self { label, look, row, cell: &results.cells[row.cell] }
    }
}

/// The seeds that every member with any has; none where they have none in common, which means all.
fn common_seeds(members: &[GroupMember<'_>]) -> BTreeSet<u64> {
    let each = members
        .iter()
        .map(|member| member.cell.good_rounds().map(|round| round.seed).collect::<BTreeSet<u64>>());
    let with_rounds = each.filter(|seeds| !seeds.is_empty());
    with_rounds.reduce(|one, other| &one & &other).unwrap_or_default()
}

/// How a row's workers are named.
pub(super) fn workers_words(row: &Row) -> String {
    match row.workers {
        0 => "one server".to_owned(),
        1 => "1 worker".to_owned(),
        _ if row.speeds.is_empty() => format!("{} workers", row.workers),
        _ => {
            let speeds: Vec<String> = row.speeds.iter().map(f64::to_string).collect();
            format!("{} workers, speeds {}", row.workers, speeds.join(" : "))
        }
    }
}

/// Everybody's look, by the names under which they stand in the pictures.
pub(super) fn palette_of<'a>(names: impl Iterator<Item = &'a str>) -> Palette {
    Palette::new(names)
}

/// The median of curves, at each share that at least half of them have. The last point of each,
/// its greatest value, has no place on a scale of 1 / (1 - share).
fn merged(curves: &[&[tally::PercentilePoint]]) -> Vec<PlotPoint> {
    let mut all: Vec<tally::PercentilePoint> =
        curves.iter().flat_map(|curve| curve.iter().copied()).collect();
    all.retain(|(share, value)| is_share(*share) && value.is_finite() && 0.0 < *value);
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let same_share =
        |one: &tally::PercentilePoint, other: &tally::PercentilePoint| other.0 - one.0 < 1e-9;
    let points = all.chunk_by(same_share).filter_map(|points| {
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        if values.len() * 2 < curves.len() {
            return None;
        }
        let ends = (1 < curves.len()).then(|| {
            values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (v.min(low), v.max(high)))
        });
        Some(PlotPoint { x: points[0].0, y: median(values)?, ends })
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{cell, class, results, round};
    use super::*;
    use crate::bench::result::MeasurementKind;

    #[test]
    fn the_lines_of_a_picture_are_of_the_same_traces() {
        let rounds = |p99: f64| -> Vec<Round> {
            let one = |seed: u32| {
                let bound = f64::from(seed) * 10.0;
                round(u64::from(seed), vec![class("short", 9, Some(p99 * bound), Some(bound))])
            };
            (1..=3).map(one).collect()
        };
        let mut jbsq = cell("jbsq", 2, rounds(1.1));
        jbsq.rounds[2].rejected = Some("late".into());
        let report = Report::of_samples(vec![results(
            MeasurementKind::Fairness,
            vec![cell("rr", 2, rounds(5.0)), jbsq],
        )]);
        let groups = PictureGroup::all(&report);
        // The medians of the two rounds that both have: that of the bound is 15 at 99 %.
        let at_half = |points: &[PlotPoint]| points[1].y;
        let short = (0, "short");
        let bound = at_half(&groups[0].bound_curve(short));
        for (member, times) in groups[0].members.iter().zip([5.0, 1.1]) {
            let ratio = at_half(&groups[0].curve(member, short, true)) / bound;
            assert!((ratio - times).abs() < 1e-9, "{}: {ratio}", member.label);
        }
    }

    #[test]
    fn curves_of_rounds_become_their_median() {
        let rounds: [&[tally::PercentilePoint]; 3] = [
            &[(0.0, 1.0), (0.5, 2.0), (0.9, 9.0), (1.0, 99.0)],
            &[(0.0, 3.0), (0.5 + 1e-16, 4.0), (1.0, 99.0)],
            &[(0.0, 2.0), (0.5, f64::NAN), (0.99, 7.0)],
        ];
        let point = |x, y, ends| PlotPoint { x, y, ends: Some(ends) };
        let expected = [point(0.0, 2.0, (1.0, 3.0)), point(0.5, 3.0, (2.0, 4.0))];
        assert_eq!(merged(&rounds), expected);
        assert_eq!(merged(&rounds[..1])[2], PlotPoint { x: 0.9, y: 9.0, ends: None });
        assert_eq!(merged(&[]), []);
    }
}
