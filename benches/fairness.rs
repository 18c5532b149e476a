//! Whether short requests wait for long ones: dispatchd on real workers, policy by policy on the
//! very same traces, held against the best that any dispatcher could do with them. It is the quick
//! form of `dispatchd bench fairness`: enough to see a policy that broke, too little to claim a
//! figure, which is why no comparison is printed without its sampling error.
//!
//! `cargo bench --bench fairness -- --help` names the flags.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::print_stderr, reason = "a bench says how far it is and what went wrong")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use dispatchd::bench::fairness::{self, FairnessStudy, Stalls, StudyProgress};
use dispatchd::bench::grid::{Axes, ConnectionSharing};
use dispatchd::bench::result::{Cell, Environment, FORMAT, MeasurementKind, Medium, Results};
use dispatchd::bench::table::{RoundSpread, Row, Table, digits, plain, render_text};

/// Slowdown of short requests under three policies, against the bound
#[derive(Debug, Parser)]
#[command(name = "fairness")]
struct Args {
    /// Interleaved rounds, each with a trace of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Requests per trace
    #[arg(long, default_value_t = 6_000, value_parser = clap::value_parser!(u64).range(100..))]
    requests: u64,
    /// One round of few requests: does it run at all? The figures mean nothing
    #[arg(long, visible_alias = "test")]
    quick: bool,
    /// Cargo says so to every bench, when it measures and does not test.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = parse();
    match measure(&args) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fairness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The flags. Cargo hands all flags to all benches: those of the others are named and left out.
fn parse() -> Args {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    loop {
        match Args::try_parse_from(&words) {
            Ok(args) => return args,
            Err(error) => match stranger_in(&words, &error) {
                Some(at) => {
                    let word = words.remove(at);
                    eprintln!("fairness: {} is for other benches", word.display());
                }
                None => error.exit(),
            },
        }
    }
}

/// Where the word stands that is no flag of ours, if that is what is wrong.
fn stranger_in(words: &[OsString], error: &clap::Error) -> Option<usize> {
    let Some(ContextValue::String(stranger)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_it = |word: &OsString| {
        let word = word.to_string_lossy();
        word.strip_prefix(stranger).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    // The first word is this program's name.
    let at = words.iter().skip(1).position(is_it)? + 1;
    (error.kind() == ErrorKind::UnknownArgument).then_some(at)
}

/// Runs the study in a folder that does not outlive it, and reports.
fn measure(args: &Args) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot make a folder for the rounds")?;
    let study = study(args, folder.path().to_owned())?;
    let cells = fairness::run(&study, &mut tell).context("THE RUN IS INVALID")?;
    Ok(report(&study, cells))
}

/// Policies that bind at once, on a credit, and not at all, on as many workers as there are cores
/// here, and on twice as many.
fn study(args: &Args, folder: PathBuf) -> Result<FairnessStudy> {
    // `cargo test` runs benches too, without `--bench`, and only asks whether they run.
    let is_trial = args.quick || !args.bench;
    let axes = Axes {
        workers: if is_trial { vec![2] } else { vec![2, 4] },
        mixes: vec!["bim10".to_owned()],
        medium: Medium::Sleep,
        unit_ms: 1.0,
        loads: vec![0.8],
        sharings: vec![ConnectionSharing::Close],
        speeds: Vec::new(),
        policies: ["rr", "jbsq", "shared"].map(str::to_owned).to_vec(),
    };
    Ok(FairnessStudy {
        program: env!("CARGO_BIN_EXE_dispatchd").into(),
        groups: axes.groups()?,
        rounds: if is_trial { 1 } else { args.rounds },
        requests: if is_trial { 500 } else { args.requests },
        seed: 1,
        folder,
        stalls: Stalls::Untested,
    })
}

fn tell(progress: StudyProgress<'_>) {
    let StudyProgress { done, total, doing, rejected } = progress;
    match rejected {
        None => eprintln!("fairness: {done} of {total} done, now {doing}"),
        Some(why) => eprintln!("fairness: once more, since that does not count: {}", plain(why)),
    }
}

fn report(study: &FairnessStudy, cells: Vec<Cell>) -> String {
    let title = format!(
        "Fairness, measured: interleaved rounds: {}, requests per trace: {}, the first tenth a \
         warm-up",
        study.rounds, study.requests
    );
    let command: Vec<String> = std::env::args().collect();
    let results = Results {
        format: FORMAT.to_owned(),
        kind: MeasurementKind::Fairness,
        title,
        environment: Environment::of_this_machine(command.join(" ")),
        cells,
    };
    let table = Table::new([&results]);
    let mut text = format!("\n{}\n{}\n\n", results.title, machine(&results.environment));
    text.push_str(&render_text(&table));
    text.push_str(LEGEND);
    for row in &table.rows {
        text.push_str(&cell_line(row));
    }
    text.push_str(&rejections(&results.cells));
    text
}

/// What the columns are.
const LEGEND: &str = "
All of it was measured, nothing is simulated. A slowdown is latency from the intended time over the
request's own service time. /bnd: its p99 over that of bound+o, a central queue that serves the same
trace in the order of arrival, each request costing o beside its service; median, least and greatest
of the rounds. /rr: p99 over that of rr on the same trace; mean of the rounds +- its sampling error.
idle%: time in which a worker was idle while a request waited; starv: the longest such wait, in ms;
CPU: of master and workers per request, in us.

";

fn machine(environment: &Environment) -> String {
    let known = |word: &Option<String>| plain(word.as_deref().unwrap_or("unknown"));
    format!(
        "{}, commit {}{}, kernel {}, {}, CPUs {}, load average {}",
        environment.date,
        known(&environment.commit),
        if environment.uncommitted_changes == Some(true) { " with changes" } else { "" },
        known(&environment.kernel),
        known(&environment.cpu_model),
        known(&environment.cpus_online),
        known(&environment.load_average),
    )
}

/// The o in the bound of a row, and what else its reader should know of its rounds.
fn cell_line(row: &Row) -> String {
    let median = |spread: Option<RoundSpread>| {
        spread.map_or_else(|| "-".to_owned(), |spread| digits(spread.median))
    };
    format!(
        "{:9} k {}: o {} us, requests/s {}, rounds that count {}, rejected {}, errors {}, foreign \
         CPU up to {} %\n",
        plain(&row.subject),
        row.workers,
        median(row.overhead_us),
        median(row.requests_per_s),
        row.rounds,
        row.rejected,
        row.errors,
        row.foreign_cpu.map_or_else(|| "-".to_owned(), |share| digits(share * 100.0)),
    )
}

/// Every try that does not count, and why.
fn rejections(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells {
        for round in &cell.rounds {
            if let Some(why) = &round.rejected {
                let (subject, workers, seed) = (plain(&cell.subject), cell.workers, round.seed);
                let why = plain(why);
                text.push_str(&format!("REJECTED: {subject} k {workers}, trace {seed}: {why}\n"));
            }
        }
    }
    text
}
