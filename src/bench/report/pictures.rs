//! Which pictures a report has, and what each is made of.

use super::Report;
use super::dots::{Panel, Ranking, Strip, Strips};
use super::groups::{GroupMember, PictureGroup};
use super::palette::Look;
use super::plot::{Frame, Plot, PlotLine, PlotPoint};
use super::svg::Picture;
use crate::bench::result::WorkerFigures;
use crate::bench::table::{RoundSpread, Row, Setting, class_of, median};

/// What a figure of a class is divided by, or in what it is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Measure {
    /// The 99th percentile of the slowdown over that of the bound.
    ToBound,
    /// The 99th percentile of the slowdown.
    Slowdown,
    /// The 99th percentile of the latency.
    LatencyMs,
}

/// Everything known under one setting about its first class, policy by policy.
pub(super) fn ranking(groups: &[&PictureGroup<'_>], name: &str) -> Option<Ranking> {
    let class = groups.iter().find_map(|group| group.classes().first().copied())?;
    let measure = Measure::of(groups, class);
    let mut names: Vec<(String, Look)> = Vec::new();
    for member in groups.iter().flat_map(|group| &group.members) {
        if !names.iter().any(|(name, _)| *name == member.label) {
            names.push((member.label.clone(), member.look));
        }
    }
    let panel = |group: &&PictureGroup<'_>| {
        let spread = |(name, _): &(String, Look)| {
            let member = group.members.iter().find(|member| member.label == *name)?;
            measure.spread(member, class)
        };
        let spreads: Vec<_> = names.iter().map(spread).collect();
        let is_empty = spreads.iter().all(Option::is_none);
        (!is_empty).then(|| Panel { heading: group.workers(), spreads })
    };
    let panels: Vec<Panel> = groups.iter().filter_map(panel).collect();
    (!panels.is_empty()).then(|| Ranking {
        name: name.to_owned(),
        title: measure.title(class.1),
        subtitle: groups[0].setting.words(),
        is_simulated: groups[0].setting.is_simulated,
        unit: measure.unit(),
        is_ratio: measure == Measure::ToBound,
        names,
        panels,
    })
}

/// Figures of each class over the number of workers, where there are three or more of these.
pub(super) fn by_workers(groups: &[&PictureGroup<'_>]) -> Vec<Picture> {
    let Some(first) = groups.first().filter(|_| 2 < groups.len()) else { return Vec::new() };
    let plot = |class: (usize, &'_ str)| {
        let measure = Measure::of(groups, class);
        let members = groups.iter().flat_map(|group| &group.members);
        let mut lines = lines_over(members, |member| {
            let spread = measure.spread(member, class)?;
            Some(point(f64::from(member.row.workers), spread))
        });
        if measure == Measure::ToBound {
            let all = groups.iter().map(|group| f64::from(group.members[0].row.workers));
            lines.insert(0, bound_line(all.map(|x| PlotPoint { x, y: 1.0, ends: None }).collect()));
        }
        let plot = Plot {
            name: slug(&["workers", &first.setting.words(), class.1]),
            title: measure.title(class.1),
            subtitle: first.setting.words(),
            is_simulated: first.setting.is_simulated,
            frame: Frame::Workers,
            x: "workers",
            y: measure.unit(),
            lines,
        };
        plot.draw()
    };
    first.classes().into_iter().filter_map(plot).collect()
}

/// The 99th percentile of each class over the load, with the bound, where cells differ only in it.
pub(super) fn by_load(groups: &[PictureGroup<'_>]) -> Vec<(String, Vec<Picture>)> {
    let mut sweeps: Vec<Vec<&PictureGroup<'_>>> = Vec::new();
    for group in groups.iter().filter(|group| group.setting.load.is_some()) {
        let is_same = |sweep: &&mut Vec<&PictureGroup<'_>>| {
            let (own, other) = (group.members[0].row, sweep[0].members[0].row);
            own.setting.is_but_for_load(&other.setting)
                && own.workers == other.workers
                && own.speeds == other.speeds
        };
        match sweeps.iter_mut().find(is_same) {
            Some(sweep) => sweep.push(group),
            None => sweeps.push(vec![group]),
        }
    }
    sweeps.retain(|sweep| 1 < sweep.len());
    let heading = |sweep: &[&PictureGroup<'_>]| {
        format!("{}: {}", sweep[0].workers(), sweep[0].setting.words_without_load())
    };
    sweeps.into_iter().map(|sweep| (heading(&sweep), sweep_pictures(&sweep))).collect()
}

fn sweep_pictures(sweep: &[&PictureGroup<'_>]) -> Vec<Picture> {
    let first = sweep[0];
    let load = |row: &Row| row.setting.load.unwrap_or_default();
    let plot = |class: (usize, &'_ str)| {
        let is_slowdown = sweep.iter().all(|group| group.shows_slowdown(class));
        let members = || sweep.iter().flat_map(|group| &group.members);
        let mut bound: Vec<PlotPoint> = Vec::new();
        for group in sweep.iter().filter(|_| is_slowdown) {
            let p99s = group
                .members
                .iter()
                .filter_map(|member| Some(class_of(member.row, class)?.bound?.p99));
            if let Some(y) = median(p99s.collect()) {
                bound.push(PlotPoint { x: load(group.members[0].row), y, ends: None });
            }
        }
        bound.sort_by(|one, other| one.x.total_cmp(&other.x));
        let mut lines = vec![bound_line(bound)];
        let measure = if is_slowdown { Measure::Slowdown } else { Measure::LatencyMs };
        lines.extend(lines_over(members(), |member| {
            Some(point(load(member.row), measure.spread(member, class)?))
        }));
        let words = format!("{}, {}", first.workers(), first.setting.words_without_load());
        let plot = Plot {
            name: slug(&["load", &words, class.1]),
            title: measure.title(class.1),
            subtitle: words,
            is_simulated: first.setting.is_simulated,
            frame: Frame::Loads,
            x: "load (share of the workers' capacity)",
            y: measure.unit(),
            lines,
        };
        plot.draw()
    };
    first.classes().into_iter().filter_map(plot).collect()
}

/// What one group looks like: per class a percentile plot and its mirror image, then the workers.
pub(super) fn of_group(group: &PictureGroup<'_>) -> Vec<Picture> {
    let mut pictures: Vec<Picture> = Vec::new();
    for class in group.classes() {
        for frame in [Frame::Percentiles, Frame::Beyond] {
            pictures.extend(distribution(group, class, frame).draw());
        }
    }
    pictures.extend(strips(group).draw());
    pictures
}

fn distribution(group: &PictureGroup<'_>, class: (usize, &str), frame: Frame) -> Plot {
    let is_slowdown = group.shows_slowdown(class);
    let bound = if is_slowdown { group.bound_curve(class) } else { Vec::new() };
    let line = |member: &GroupMember<'_>| PlotLine {
        label: member.label.clone(),
        look: member.look,
        points: group.curve(member, class, is_slowdown),
    };
    let mut lines = vec![bound_line(bound)];
    lines.extend(group.members.iter().map(line));
    let unit = if is_slowdown { "slowdown" } else { "latency in ms" };
    let (kind, x, y, words) = match frame {
        Frame::Beyond => {
            lines.iter_mut().for_each(mirror);
            ("beyond", unit, "share of requests beyond it", "how many take longer")
        }
        Frame::Percentiles | Frame::Loads | Frame::Workers => {
            ("percentiles", "percentile", unit, "percentiles")
        }
    };
    let conditions = group.conditions(", ");
    Plot {
        name: slug(&[kind, &conditions, class.1]),
        title: capitalized(&format!("{} requests: {words}", class.1)),
        subtitle: conditions,
        is_simulated: group.setting.is_simulated,
        frame,
        x,
        y,
        lines,
    }
}

fn strips(group: &PictureGroup<'_>) -> Strips {
    let is_slowdown = group.classes().first().is_some_and(|class| group.shows_slowdown(*class));
    let conditions = group.conditions(", ");
    let row = |member: &GroupMember<'_>| {
        let workers = workers_of(member);
        let over_even = |of: fn(&WorkerTotals) -> f64| {
            let even = workers.iter().map(of).sum::<f64>() / workers.len() as f64;
            let share = |worker| if 0.0 < even { of(worker) / even } else { 0.0 };
            workers.iter().map(share).collect::<Vec<f64>>()
        };
        let unit = if is_slowdown { 1.0 } else { 1e3 };
        Strip {
            label: member.label.clone(),
            look: member.look,
            columns: [
                over_even(|worker| worker.requests),
                over_even(|worker| worker.busy_s),
                workers.iter().map(|worker| worker.p99 / unit).collect(),
            ],
        }
    };
    Strips {
        name: slug(&["single-workers", &conditions]),
        title: "Single workers".to_owned(),
        subtitle: conditions,
        is_simulated: group.setting.is_simulated,
        unit: if is_slowdown { "slowdown" } else { "ms" },
        rows: group.members.iter().map(row).collect(),
    }
}

/// One worker over all rounds that count.
struct WorkerTotals {
    requests: f64,
    busy_s: f64,
    p99: f64,
}

fn workers_of(member: &GroupMember<'_>) -> Vec<WorkerTotals> {
    let mut all: Vec<&WorkerFigures> =
        member.cell.good_rounds().flat_map(|round| &round.workers).collect();
    all.sort_by_key(|figures| figures.worker);
    let of_one = |figures: &[&WorkerFigures]| WorkerTotals {
        requests: figures.iter().map(|figures| figures.requests as f64).sum(),
        busy_s: figures.iter().map(|figures| figures.busy_s).sum(),
        p99: median(figures.iter().map(|figures| figures.p99).collect()).unwrap_or_default(),
    };
    all.chunk_by(|one, other| one.worker == other.worker).map(of_one).collect()
}

impl Measure {
    /// The best that all groups have.
    fn of(groups: &[&PictureGroup<'_>], class: (usize, &str)) -> Self {
        let members = || groups.iter().flat_map(|group| &group.members);
        let has_ratio = |member: &GroupMember<'_>| {
            class_of(member.row, class).is_some_and(|class| class.to_bound.is_some())
        };
        if members().any(has_ratio) {
            Self::ToBound
        } else if groups.iter().all(|group| group.shows_slowdown(class)) {
            Self::Slowdown
        } else {
            Self::LatencyMs
        }
    }

    /// The figure of a member, over its rounds.
    fn spread(self, member: &GroupMember<'_>, (at, name): (usize, &str)) -> Option<RoundSpread> {
        if self == Self::ToBound {
            return class_of(member.row, (at, name))?.to_bound;
        }
        let classes = member.cell.good_rounds().filter_map(|round| round.classes.get(at));
        let p99s = classes.filter(|class| class.name == name).filter_map(|class| match self {
            Self::ToBound => None,
            Self::Slowdown => class.slowdown.map(|slowdown| slowdown.p99),
            Self::LatencyMs => Some(class.latency_us.p99 / 1e3),
        });
        RoundSpread::of(p99s)
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::ToBound => "p99 \u{f7} best possible",
            Self::Slowdown => "p99 slowdown",
            Self::LatencyMs => "p99 in ms",
        }
    }

    fn title(self, class: &str) -> String {
        match self {
            Self::ToBound => format!("p99 of {class} requests over the best possible"),
            Self::Slowdown => format!("p99 slowdown of {class} requests"),
            Self::LatencyMs => format!("p99 latency of {class} requests"),
        }
    }
}

/// The settings of all groups, each with its own.
pub(super) fn by_setting<'a, 'b>(
    groups: &'b [PictureGroup<'a>],
) -> Vec<(&'a Setting, Vec<&'b PictureGroup<'a>>)> {
    let mut settings: Vec<(&Setting, Vec<&PictureGroup<'_>>)> = Vec::new();
    for group in groups {
        match settings.iter_mut().find(|(setting, _)| *setting == group.setting) {
            Some((_, groups)) => groups.push(group),
            None => settings.push((group.setting, vec![group])),
        }
    }
    settings
}

/// The setting that is told first: a real one before a simulated one, then the one whose load is
/// nearest to that of the headline, then the first.
pub(super) fn headline<'a, 'b>(groups: &'b [PictureGroup<'a>]) -> Vec<&'b PictureGroup<'a>> {
    let has_figures =
        |groups: &Vec<&PictureGroup<'_>>| groups.iter().any(|g| !g.classes().is_empty());
    let distance = |setting: &Setting| setting.load.map_or(1.0, |load| (load - 0.8).abs());
    let all = by_setting(groups).into_iter().filter(|(_, groups)| has_figures(groups));
    let nearest = all.min_by(|(one, _), (other, _)| {
        let nearness = distance(one).total_cmp(&distance(other));
        one.is_simulated.cmp(&other.is_simulated).then(nearness)
    });
    nearest.map(|(_, groups)| groups).unwrap_or_default()
}

/// Every picture of a report as a file: the name with its ending, and the text.
pub(super) fn files(report: &Report) -> Vec<(String, String)> {
    let groups = PictureGroup::all(report);
    let mut pictures: Vec<Picture> = Vec::new();
    pictures.extend(ranking(&headline(&groups), "headline").and_then(|all| all.draw_together()));
    for (setting, groups) in by_setting(&groups) {
        let name = slug(&["ranking", &setting.words()]);
        pictures.extend(ranking(&groups, &name).and_then(|ranking| ranking.draw_together()));
        pictures.extend(by_workers(&groups));
    }
    pictures.extend(by_load(&groups).into_iter().flat_map(|(_, pictures)| pictures));
    pictures.extend(groups.iter().flat_map(of_group));
    let mut names: Vec<String> = Vec::new();
    for picture in &pictures {
        let again = |name: &String| names.iter().any(|other| other == name);
        let numbered = (2_u32..).map(|number| format!("{}-{number}", picture.name));
        let name = std::iter::once(picture.name.clone()).chain(numbered).find(|name| !again(name));
        names.extend(name);
    }
    let files = names.into_iter().zip(&pictures);
    files.map(|(name, picture)| (format!("{name}.svg"), picture.standalone())).collect()
}

/// A line for each member's name, through what the members of that name have.
fn lines_over<'a, 'b: 'a>(
    members: impl Iterator<Item = &'a GroupMember<'b>>,
    figure: impl Fn(&GroupMember<'b>) -> Option<PlotPoint>,
) -> Vec<PlotLine> {
    let mut lines: Vec<PlotLine> = Vec::new();
    for member in members {
        let Some(point) = figure(member) else { continue };
        match lines.iter_mut().find(|line| line.label == member.label) {
            Some(line) => line.points.push(point),
            None => lines.push(PlotLine {
                label: member.label.clone(),
                look: member.look,
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|one, other| one.x.total_cmp(&other.x));
    }
    lines
}

fn bound_line(points: Vec<PlotPoint>) -> PlotLine {
    PlotLine { label: "best possible".to_owned(), look: Look::Bound, points }
}

fn point(x: f64, RoundSpread { median, min, max }: RoundSpread) -> PlotPoint {
    PlotPoint { x, y: median, ends: Some((min, max)) }
}

/// A percentile plot's line as that of the share beyond each value.
fn mirror(line: &mut PlotLine) {
    for point in &mut line.points {
        *point = PlotPoint { x: point.y, y: 1.0 - point.x, ends: None };
    }
}

/// A name for a file: small letters, digits and dashes.
fn slug(parts: &[&str]) -> String {
    let slugs = parts.iter().map(|part| {
        let plain = |sign: char| {
            if sign.is_ascii_alphanumeric() || sign == '.' {
                sign.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let text: String = part.chars().map(plain).collect();
        let words = text.split('-').filter(|word| !word.trim_matches('.').is_empty());
        words.collect::<Vec<_>>().join("-").chars().take(72).collect::<String>()
    });
    slugs.filter(|slug| !slug.is_empty()).collect::<Vec<_>>().join("-")
}

pub(super) fn capitalized(text: &str) -> String {
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| first.to_uppercase().chain(signs).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use super::super::samples::{grid, odd, sweep};
    use super::*;
    use crate::bench::result::MeasurementKind;

    #[test]
    fn a_grid_has_a_picture_of_each_kind() {
        let files = files(&Report::of_samples(vec![grid(MeasurementKind::Fairness)]));
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "headline.svg");
        for name in [
            "ranking-bim100-sleep-service-load-0.8-keep-alive-50.svg",
            "workers-bim100-sleep-service-load-0.8-close-short.svg",
            "percentiles-8-workers-bim100-sleep-service-load-0.8-close-short.svg",
            "beyond-2-workers-bim100-sleep-service-load-0.8-keep-alive-50-long.svg",
            "single-workers-4-workers-bim100-sleep-service-load-0.8-close.svg",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:#?}");
        }
        // The headline; two settings with a ranking and two classes over workers; six groups with
        // two classes twice and the workers.
        assert_eq!(names.len(), 1 + 2 * 3 + 6 * 5);
    }

    #[test]
    fn names_of_files_stay_in_their_folder_and_are_unlike() {
        assert_eq!(slug(&["a", "../../etc", "99%:/b?ms=1", "\u{e4}"]), "a-etc-99-b-ms-1");
        let mut results = odd();
        results.push(results[0].clone());
        results[0].cells[0].mix = "a b".into();
        results[4].cells[0].mix = "a/b".into();
        let mut names: Vec<String> =
            files(&Report::of_samples(results)).into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().all(|name| !name.contains('/') && !name.starts_with('.')));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn loads_are_swept_only_where_nothing_else_differs() {
        let pictures = |results| {
            let report = Report::of_samples(results);
            let groups = PictureGroup::all(&report);
            by_load(&groups).into_iter().map(|(heading, p)| (heading, p.len())).collect::<Vec<_>>()
        };
        let heading = "4 workers: bim100, sleep-service, close";
        assert_eq!(pictures(vec![sweep(MeasurementKind::Fairness)]), [(heading.to_owned(), 1)]);
        assert_eq!(pictures(vec![grid(MeasurementKind::Fairness)]), []);
        // Half of the loads are simulated: two sweeps, not one.
        let mut model = sweep(MeasurementKind::Simulation);
        model.cells.truncate(4);
        let both = pictures(vec![sweep(MeasurementKind::Fairness), model]);
        assert_eq!(both.len(), 2);
        assert!(both[1].0.contains("simulated"));
    }

    #[test]
    fn the_headline_is_real_and_near_the_headlines_load() {
        let mut model = grid(MeasurementKind::Simulation);
        model.cells.retain(|cell| cell.connections == "close");
        let report = Report::of_samples(vec![model, sweep(MeasurementKind::Fairness)]);
        let groups = PictureGroup::all(&report);
        let setting = headline(&groups)[0].setting;
        assert!(!setting.is_simulated && setting.load == Some(0.8));
    }
}
