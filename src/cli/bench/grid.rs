//! From the flags of `bench simulate` and `bench fairness` to the grid that is gone through, and
//! from what was found to a folder and a table.

use std::fs;
use std::path::Path;

use super::args::GridArgs;
use super::values::{FLAGS, decimal, list, time, whole};
use super::{Misuse, fail};
use crate::bench::environment;
use crate::bench::grid::{Axes, ConnectionSharing, GridGroup};
use crate::bench::mix::NAMES;
use crate::bench::result::{Cell, Environment, FORMAT, MeasurementKind, Medium, Results};
use crate::bench::table::{Table, render_text};
use crate::cli::exit::CliExit;
use crate::cli::{print_or_fail, term};
use crate::config::{Wrong, policy, words};
use crate::limits::{SLOTS_MAX, TRACE_REQUESTS_MAX};
use crate::units::Span;

/// What both kinds of studies have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GridPlan {
    pub(super) groups: Vec<GridGroup>,
    pub(super) rounds: u32,
    pub(super) requests: u64,
    pub(super) seed: u64,
}

const POLICIES: [&str; 5] = ["rr", "least", "jbsq", "shared", "reuseport"];
const REQUESTS_DEFAULT: u64 = 60_000;
const ROUNDS_DEFAULT: u32 = 5;
const ROUNDS_MAX: u32 = 1_000;

/// A policy, and behind slashes what is dispatched and what makes a class: `jbsq/request/target`.
fn contestant(text: &str) -> Result<(), Wrong> {
    let (policy, dispatch, classes) = GridGroup::flags_of(text);
    policy::parse(policy)?;
    dispatch.map_or(Ok(()), |word| words::one_of(word, &words::DISPATCHES).map(drop))?;
    classes.map_or(Ok(()), |word| words::one_of(word, &words::CLASSES).map(drop))
}

/// What the flags mean.
///
/// # Errors
/// The first wrong value.
pub(super) fn plan(args: &GridArgs, medium: Medium) -> Result<GridPlan, Misuse> {
    let policies = POLICIES.map(str::to_owned);
    let axes = Axes {
        policies: list("policy", args.policy.as_deref(), &policies, |text| {
            contestant(text).map(|()| text.to_owned())
        })?,
        workers: list("workers", args.workers.as_deref(), &[2, 4, 8], |text| {
            let wrong = || Wrong::new(format!("numbers from 1 to {SLOTS_MAX} such as 2,4,8"));
            let number = whole(text, 1, SLOTS_MAX as u64).ok_or_else(wrong)?;
            Ok(u32::try_from(number).unwrap_or(u32::MAX))
        })?,
        mixes: list("mix", args.mix.as_deref(), &["bim100".to_owned()], |text| {
            let wrong = || Wrong::new(format!("one or more of {}", NAMES.join(", ")));
            NAMES.contains(&text).then(|| text.to_owned()).ok_or_else(wrong)
        })?,
        medium,
        unit_ms: milliseconds(
            time("unit", args.unit.as_deref(), Span::from_us(1))?.unwrap_or(Span::from_ms(1)),
        ),
        loads: list("load", args.load.as_deref(), &[0.8], |text| {
            let wrong = || Wrong::new("shares above 0 and below 1 such as 0.5,0.8");
            decimal(text).filter(|load| 0.0 < *load && *load < 1.0).ok_or_else(wrong)
        })?,
        sharings: list(
            "connections",
            args.connections.as_deref(),
            &[ConnectionSharing::Close],
            |text| match text {
                "close" => Ok(ConnectionSharing::Close),
                "keep-alive" => Ok(ConnectionSharing::KeepAlive),
                _ => Err(Wrong::new("close, keep-alive, or both with a comma between")),
            },
        )?,
        speeds: list("speeds", args.speeds.as_deref(), &[], |text| {
            let wrong = || Wrong::new("numbers above 0 and up to 100 such as 1,1,0.5,0.5");
            decimal(text).filter(|speed| 0.0 < *speed && *speed <= 100.0).ok_or_else(wrong)
        })?,
    };
    let number = |flag: &str, given: Option<&str>, default, least, most| {
        FLAGS.read(flag, given, default, |text| {
            let wrong = || Wrong::new(format!("a number from {least} to {most}"));
            whole(text, least, most).ok_or_else(wrong)
        })
    };
    let rounds = args.rounds.as_deref();
    let rounds = number("rounds", rounds, ROUNDS_DEFAULT.into(), 1, ROUNDS_MAX.into())?;
    Ok(GridPlan {
        groups: axes.groups().expect("the names of the mixes are known"),
        rounds: u32::try_from(rounds).unwrap_or(ROUNDS_MAX),
        requests: number(
            "requests",
            args.requests.as_deref(),
            REQUESTS_DEFAULT,
            100,
            TRACE_REQUESTS_MAX,
        )?,
        seed: number("seed", args.seed.as_deref(), 1, 0, u64::MAX)?,
    })
}

/// Makes the folder for the results, so that one that cannot be written to fails before hours are
/// spent.
pub(super) fn prepare(folder: Option<&Path>) -> Result<(), anyhow::Error> {
    let Some(folder) = folder else { return Ok(()) };
    let probe = folder.join("results.json.part");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&probe, ""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| anyhow::anyhow!("cannot write to {}: {error}", folder.display()))
}

/// Keeps what was found, and prints it.
pub(super) fn tell(
    args: &GridArgs,
    kind: MeasurementKind,
    title: &str,
    cells: Vec<Cell>,
) -> CliExit {
    let results = Results {
        format: FORMAT.to_owned(),
        kind,
        title: title.to_owned(),
        environment: Environment::of_this_machine(environment::command_line()),
        cells,
    };
    let table = render_text(&Table::new([&results]));
    if let Some(folder) = &args.output {
        let kept = results.save(&folder.join("results.json")).map_err(anyhow::Error::from);
        let summary = folder.join("summary.txt");
        let kept = kept.and_then(|()| {
            fs::write(&summary, &table)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", summary.display()))
        });
        if let Err(error) = kept {
            return fail(error);
        }
    }
    let counts = results.cells.iter().all(|cell| 0 < cell.good_rounds().count());
    if !counts {
        term::complain("at least one cell has no round that counts; the table says why");
    }
    let text = if args.json {
        serde_json::to_string_pretty(&results).expect("plain data becomes JSON") + "\n"
    } else {
        table
    };
    print_or_fail(&text, if counts { CliExit::Done } else { CliExit::Failed })
}

fn milliseconds(span: Span) -> f64 {
    span.as_ns() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::term;

    #[test]
    fn nothing_given_is_the_headline_grid() {
        let plan = plan(&GridArgs::default(), Medium::Sleep).unwrap();
        let slugs: Vec<String> = plan.groups.iter().map(GridGroup::slug).collect();
        let expected = ["2", "4", "8"].map(|k| format!("bim100-sleep-close-0.8-k{k}"));
        assert_eq!(slugs, expected);
        assert_eq!(plan.groups[0].policies, POLICIES);
        assert_eq!((plan.rounds, plan.requests, plan.seed), (5, 60_000, 1));
    }

    #[test]
    fn wrong_values_name_the_flag_the_value_and_what_is_allowed() {
        let none = GridArgs::default;
        let some = |text: &str| Some(text.to_owned());
        for (args, words) in [
            (GridArgs { policy: some("rr,fifo"), ..none() }, ["--policy", "fifo", "jbsq"]),
            (GridArgs { policy: some("jbsq/all"), ..none() }, ["--policy", "all", "request"]),
            (GridArgs { policy: some("jbsq/auto/all"), ..none() }, ["--policy", "all", "target"]),
            (GridArgs { workers: some("2,0"), ..none() }, ["--workers", "2,0", "1 to 256"]),
            (GridArgs { mix: some("bim7"), ..none() }, ["--mix", "bim7", "bim100"]),
            (GridArgs { load: some("1"), ..none() }, ["--load", "'1'", "below 1"]),
            (GridArgs { connections: some("x"), ..none() }, ["--connections", "x", "keep-alive"]),
            (GridArgs { speeds: some("1,-1"), ..none() }, ["--speeds", "1,-1", "above 0"]),
            (GridArgs { rounds: some("0"), ..none() }, ["--rounds", "0", "from 1"]),
            (GridArgs { requests: some("5"), ..none() }, ["--requests", "5", "from 100"]),
            (GridArgs { unit: some("0s"), ..none() }, ["--unit", "0s", "a time from"]),
        ] {
            let error = term::told(&plan(&args, Medium::Sleep).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
