//! The page: one file without a script, which asks nobody for anything, in the reader's own light
//! or dark, as readable on a phone as on paper.

use std::fmt::Write as _;

use super::groups::PictureGroup;
use super::pictures;
use super::sheets::{self, Sheet};
use super::svg::{Picture, escape};
use super::{Report, ReportSource, palette, reading};
use crate::bench::result::{Environment, MeasurementKind};

/// Writes the page.
pub(super) fn render(report: &Report) -> String {
    let groups = PictureGroup::all(report);
    let title = title(report);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title}</title>\n\
         <style>\n{variables}{STYLE}{rules}</style>\n</head>\n<body>\n",
        title = escape(&title),
        variables = palette::variables(),
        rules = palette::page_rules()
    );
    push_header(&mut page, report, &title);
    page.push_str("<main>\n");
    push_reading(&mut page, report);
    push_rankings(&mut page, &groups);
    push_sheets(&mut page, report);
    push_loads(&mut page, &groups);
    push_groups(&mut page, &groups);
    if let Some(sheet) = sheets::rejected(report) {
        page.push_str("<section id=\"rejected\">\n<h2>Rounds that do not count</h2>\n");
        push_sheet(&mut page, &sheet);
        page.push_str("</section>\n");
    }
    push_method(&mut page, report);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

const STYLE: &str = include_str!("style.css");

/// Groups whose pictures are unfolded at first.
const OPEN_GROUPS: usize = 6;

fn title(report: &Report) -> String {
    match report.sources.as_slice() {
        [source] => source.results.title.clone(),
        sources => {
            let mut titles: Vec<&str> =
                sources.iter().map(|source| source.results.title.as_str()).collect();
            titles.dedup();
            format!("{} results: {}", sources.len(), titles.join("; "))
        }
    }
}

fn push_header(page: &mut String, report: &Report, title: &str) {
    let _ = write!(page, "<header>\n<h1>{}</h1>\n<p class=\"meta\">", escape(title));
    let each = report.sources.iter().map(|ReportSource { results, .. }| {
        let Environment { date, version, host, .. } = &results.environment;
        let host = host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
        let mark =
            if results.kind == MeasurementKind::Simulation { "simulated" } else { "measured" };
        format!(
            "<span class=\"tag\">{mark}</span> {}",
            escape(&format!("{date}, dispatchd {version}{host}"))
        )
    });
    page.push_str(&each.collect::<Vec<_>>().join("<br/>\n"));
    page.push_str(
        "</p>\n<nav aria-label=\"Parts\"><a href=\"#tables\">Tables</a> \
         <a href=\"#distributions\">Distributions</a> <a href=\"#method\">How it was measured</a>\
         </nav>\n</header>\n",
    );
}

fn push_reading(page: &mut String, report: &Report) {
    let reading = reading::of(report);
    let _ = writeln!(
        page,
        "<section id=\"reading\">\n<h2>In plain words</h2>\n<p class=\"lead\">{}</p>",
        escape(&reading.lead)
    );
    for (heading, items) in &reading.findings {
        push_list(page, heading, items);
    }
    push_list(page, "To be kept in mind", &reading.caveats);
    page.push_str("</section>\n");
}

fn push_list(page: &mut String, heading: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h3>{}</h3>\n<ul>", escape(heading));
    for item in items {
        let _ = writeln!(page, "<li>{}</li>", escape(item));
    }
    page.push_str("</ul>\n");
}

fn push_rankings(page: &mut String, groups: &[PictureGroup<'_>]) {
    let headline = pictures::headline(groups);
    let mut settings = pictures::by_setting(groups);
    settings.sort_by_key(|(setting, _)| headline.first().is_none_or(|g| g.setting != *setting));
    let mut text = String::new();
    for (setting, groups) in settings {
        let ranking = pictures::ranking(&groups, "ranking");
        // A single figure needs no picture.
        let Some(ranking) = ranking.filter(|all| all.is_ratio || 1 < all.names.len()) else {
            continue;
        };
        let heading = format!("{}: {}", setting.words(), ranking.title);
        let _ = writeln!(text, "<h3>{}</h3>", escape(&heading));
        let mut all = ranking.draw_each();
        all.extend(pictures::by_workers(&groups));
        push_pictures(&mut text, "thirds", &all);
    }
    if !text.is_empty() {
        let _ = writeln!(
            page,
            "<section id=\"headline\">\n<h2>Policy by policy</h2>\n<p>The dot is the median over \
             the rounds, the bar reaches from the least to the greatest.</p>\n{text}</section>"
        );
    }
}

fn push_sheets(page: &mut String, report: &Report) {
    page.push_str(
        "<section id=\"tables\">\n<h2>Tables</h2>\n<p>Quantiles are medians over the rounds. \
         <i>bound+o</i> is the best possible, overhead included; its ratio is taken within each \
         round. The ratio to rr is paired by trace; its error is the standard deviation over the \
         rounds over the root of their number.</p>\n",
    );
    for (setting, rows) in report.table.settings() {
        let _ = writeln!(page, "<h3>{}</h3>", escape(&setting.words()));
        for sheet in sheets::of_setting(report, setting, &rows) {
            push_sheet(page, &sheet);
        }
    }
    page.push_str("</section>\n");
}

fn push_loads(page: &mut String, groups: &[PictureGroup<'_>]) {
    let sweeps = pictures::by_load(groups);
    if sweeps.is_empty() {
        return;
    }
    page.push_str("<section id=\"loads\">\n<h2>Over load</h2>\n");
    for (heading, pictures) in sweeps {
        let _ = writeln!(page, "<h3>{}</h3>", escape(&heading));
        push_pictures(page, "halves", &pictures);
    }
    page.push_str("</section>\n");
}

fn push_groups(page: &mut String, groups: &[PictureGroup<'_>]) {
    page.push_str(
        "<section id=\"distributions\">\n<h2>Distributions</h2>\n<p>Lines are medians over the \
         rounds that count for all policies of a picture, the shade reaches from the least to the \
         greatest. The thick line is the best possible.</p>\n",
    );
    for (at, group) in groups.iter().enumerate() {
        let pictures = pictures::of_group(group);
        if pictures.is_empty() {
            continue;
        }
        let heading = group.conditions(": ");
        let open = if at < OPEN_GROUPS { " open=\"\"" } else { "" };
        let _ = writeln!(page, "<details{open}>\n<summary><h3>{}</h3></summary>", escape(&heading));
        push_pictures(page, "halves", &pictures);
        page.push_str("</details>\n");
    }
    page.push_str("</section>\n");
}

fn push_pictures(page: &mut String, columns: &str, pictures: &[Picture]) {
    let _ = writeln!(page, "<div class=\"pictures {columns}\">");
    for picture in pictures {
        let _ = writeln!(
            page,
            "<figure>\n<figcaption>{}</figcaption>\n{}</figure>",
            escape(&picture.title),
            picture.inline()
        );
    }
    page.push_str("</div>\n");
}

/// A table in a box of its own, which scrolls where the page is too narrow for it. Lines with the
/// same first column stand under it as their heading.
fn push_sheet(page: &mut String, sheet: &Sheet) {
    let caption = escape(&sheet.caption);
    let _ = write!(
        page,
        "<div class=\"box\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\">\n<table>\n\
         <caption><span>{caption}</span></caption>\n<thead><tr>"
    );
    for (at, column) in sheet.columns.iter().enumerate().skip(1) {
        let class = if at < sheet.words { " class=\"w\"" } else { "" };
        let _ = write!(page, "<th scope=\"col\"{class}>{}</th>", escape(column));
    }
    page.push_str("</tr></thead>\n");
    for lines in sheet.lines.chunk_by(|one, other| one[0] == other[0]) {
        page.push_str("<tbody>\n");
        let heading = match lines[0][0].as_str() {
            "0" => None,
            "1" => Some("1 worker".to_owned()),
            workers => Some(format!("{workers} workers")),
        };
        if let Some(heading) = heading {
            let _ = writeln!(
                page,
                "<tr class=\"k\"><th scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>",
                sheet.columns.len() - 1,
                escape(&heading)
            );
        }
        for line in lines {
            page.push_str("<tr>");
            for (at, value) in line.iter().enumerate().skip(1) {
                let value = escape(value);
                let _ = match at {
                    1 => write!(page, "<th scope=\"row\">{value}</th>"),
                    _ if at < sheet.words => write!(page, "<td class=\"w\">{value}</td>"),
                    _ => write!(page, "<td>{value}</td>"),
                };
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table>\n</div>\n");
}

fn push_method(page: &mut String, report: &Report) {
    page.push_str("<section id=\"method\">\n<h2>How it was measured</h2>\n");
    for source in &report.sources {
        let _ = write!(
            page,
            "<h3>{}</h3>\n<dl>\n<dt>result</dt><dd><code>{}</code></dd>\n",
            escape(&source.results.title),
            escape(&source.path)
        );
        for (name, value) in facts(&source.results.environment) {
            let value = escape(&value);
            let value = if name == "command" { format!("<code>{value}</code>") } else { value };
            let _ = writeln!(page, "<dt>{name}</dt><dd>{value}</dd>");
        }
        page.push_str("</dl>\n");
    }
    let paths: Vec<&str> = report.sources.iter().map(|source| source.path.as_str()).collect();
    let command = format!("dispatchd report {} -o report.html", paths.join(" "));
    let _ = write!(
        page,
        "<h3>Again</h3>\n<p>The command above, on the commit above, measures anew; the seeds in \
         the result give the same requests at the same times. This page is made by</p>\n\
         <pre><code>{}</code></pre>\n\
         <p>Latency counts from the time at which a request was meant to be sent. Slowdown is \
         latency over the request's own service time. Jain's index tells whether workers were \
         equally busy, not whether requests were served well: it is a diagnostic. Nothing of \
         what was measured with sleeping workers says anything about throughput.</p>\n</section>\n",
        escape(&command)
    );
}

/// What is known of the machine, the program and the command.
pub(super) fn facts(environment: &Environment) -> Vec<(&'static str, String)> {
    let Environment {
        date,
        version,
        commit,
        uncommitted_changes,
        command,
        kernel,
        host,
        cpu_model,
        cpus_online,
        governor,
        clock_source,
        load_average,
    } = environment;
    let changes = match uncommitted_changes {
        Some(true) => " with uncommitted changes",
        Some(false) => "",
        None => " (whether anything was changed is not known)",
    };
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    let facts = [
        ("command", known(command)),
        ("date", known(date)),
        ("dispatchd", known(version)),
        ("commit", commit.as_ref().map(|commit| format!("{commit}{changes}"))),
        ("kernel", kernel.clone()),
        ("host", host.clone()),
        ("CPU", cpu_model.clone()),
        ("CPUs online", cpus_online.clone()),
        ("governor", governor.clone()),
        ("clock", clock_source.clone()),
        ("load average at the end", load_average.clone()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{grid, sweep};
    use super::*;

    #[test]
    fn a_page_has_what_screens_and_their_readers_need() {
        let page = render(&Report::of_samples(vec![
            grid(MeasurementKind::Fairness),
            sweep(MeasurementKind::Simulation),
        ]));
        for part in [
            "<html lang=\"en\">",
            "name=\"viewport\"",
            "prefers-color-scheme:dark",
            "@media print",
            "<title>2 results: A sample</title>",
            "<h2>Over load</h2>",
            "<h2>Distributions</h2>",
            "scope=\"rowgroup\"",
            "dispatchd bench fairness --mix bim100",
            "dispatchd report sample-0/results.json sample-1/results.json -o report.html",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg ").count(), page.matches("role=\"img\"").count());
        // A title for each picture, and that of the page.
        assert_eq!(page.matches("<svg ").count() + 1, page.matches("<title>").count());
        assert_eq!(page.matches("<h1>").count(), 1);
        assert!(page.is_ascii() || page.contains("charset=\"utf-8\""));
    }

    #[test]
    fn only_the_first_groups_are_unfolded() {
        let page = render(&Report::of_samples(vec![
            grid(MeasurementKind::Fairness),
            grid(MeasurementKind::Simulation),
        ]));
        assert_eq!(page.matches("<details").count(), 12);
        assert_eq!(page.matches("<details open").count(), OPEN_GROUPS);
    }

    #[test]
    fn rejected_rounds_are_listed_with_their_reasons() {
        let mut results = grid(MeasurementKind::Fairness);
        assert!(!render(&Report::of_samples(vec![results.clone()])).contains("id=\"rejected\""));
        results.cells[0].rounds[1].rejected = Some("foreign CPU 4 % (3 % allowed)".into());
        let page = render(&Report::of_samples(vec![results]));
        assert!(page.contains("<td class=\"w\">foreign CPU 4 % (3 % allowed)</td>"));
        assert!(page.contains("<td class=\"w\">2 of 3</td>"));
    }
}
