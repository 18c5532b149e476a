//! `dispatchd report`: reads results, and writes the report where and as it is wanted.

use std::fs;
use std::path::Path;

use super::args::ReportArgs;
use super::exit::CliExit;
use super::{print_or_fail, term};
use crate::bench::report::{Report, ReportSource};
use crate::bench::result::Results;

/// Columns of text where nobody says otherwise.
const COLUMNS: usize = 80;

/// Writes the report; to the standard output what has no file.
pub(super) fn report(args: &ReportArgs) -> CliExit {
    match read(args).and_then(|report| write(args, &report)) {
        Ok(printed) => print_or_fail(&printed, CliExit::Done),
        Err(why) => {
            term::complain(&why);
            CliExit::Failed
        }
    }
}

fn read(args: &ReportArgs) -> Result<Report, String> {
    let load = |path: &std::path::PathBuf| {
        let results = Results::load(path).map_err(|error| term::told(&error))?;
        Ok(ReportSource { path: path.display().to_string(), results })
    };
    let sources = args.results.iter().map(load).collect::<Result<Vec<_>, String>>()?;
    let rejected =
        sources.iter().flat_map(|source| &source.results.cells).flat_map(|cell| &cell.rounds);
    let first_reason = rejected.filter_map(|round| round.rejected.clone()).next();
    let names: Vec<String> = sources.iter().map(|source| source.path.clone()).collect();
    let report = Report::new(sources);
    if report.has_figures() {
        return Ok(report);
    }
    let why = first_reason.map_or_else(
        || "there is none at all".to_owned(),
        |reason| format!("the first was rejected: {reason}"),
    );
    Err(format!("no round of {} counts, so there is nothing to report; {why}", names.join(", ")))
}

/// Writes the files; returns what is to be printed.
fn write(args: &ReportArgs, report: &Report) -> Result<String, String> {
    if let Some(output) = &args.output {
        let is_input = |input: &std::path::PathBuf| is_same_file(input, output);
        if args.results.iter().any(is_input) {
            return Err(format!(
                "{} is a result and would be overwritten; name another file with --output",
                output.display()
            ));
        }
        write_file(output, &report.html(), "another file with --output")?;
    }
    if let Some(folder) = &args.svg {
        fs::create_dir_all(folder).map_err(|error| {
            format!("cannot make the folder {}: {error}; name another with --svg", folder.display())
        })?;
        for (name, text) in report.svgs() {
            write_file(&folder.join(name), &text, "another folder with --svg")?;
        }
    }
    if args.json {
        return Ok(report.json());
    }
    if args.md {
        return Ok(report.markdown());
    }
    let has_file = args.output.is_some() || args.svg.is_some();
    let text = args.text || !has_file;
    Ok(if text { report.text(COLUMNS) } else { String::new() })
}

fn write_file(path: &Path, text: &str, cure: &str) -> Result<(), String> {
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}; name {cure}", path.display()))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = if one.is_dir() { one.join("results.json") } else { one.to_owned() };
    match (file.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
