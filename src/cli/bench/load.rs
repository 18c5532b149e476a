//! `dispatchd bench load`: one server under one load.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::args::LoadArgs;
use super::plan::{self, LoadPlan};
use super::{Misuse, fail, refuse, table};
use crate::bench::environment;
use crate::bench::load::{self, LoadTarget, Run};
use crate::bench::progress::Bar;
use crate::bench::result::{Cell, Environment, FORMAT, MeasurementKind, Medium, Results, Round};
use crate::bench::summary;
use crate::bench::trace::{Connections, Trace, TraceSpec};
use crate::cli::exit::CliExit;
use crate::cli::{print_or_fail, term};
use crate::units::Span;

/// Measures, and tells what was found.
pub(super) fn load(args: &LoadArgs) -> CliExit {
    let plan = match plan::plan(args) {
        Ok(plan) => plan,
        Err(misuse) => return refuse(&misuse),
    };
    let trace = match trace(args, &plan) {
        Ok(Ok(trace)) => trace,
        Ok(Err(misuse)) => return refuse(&misuse),
        Err(error) => return fail(error),
    };
    let warmup = match plan::warmup(&plan, &trace, args) {
        Ok(warmup) => warmup,
        Err(misuse) => return refuse(&misuse),
    };
    if let Err(error) = prepare_outputs(args, &trace) {
        return fail(error);
    }
    let bar = Bar::new("requests", trace.requests.len() as u64);
    let run = load::replay(&trace, &plan.target, &plan.options, &mut |far| bar.show(far));
    bar.finish();
    match run {
        Ok(run) => tell(args, &plan.target, &trace, warmup, &run),
        Err(error) => fail(error),
    }
}

/// What is sent: drawn, or read from a file. The inner error is one of the flags.
fn trace(args: &LoadArgs, plan: &LoadPlan) -> anyhow::Result<Result<Trace, Misuse>> {
    match (&plan.spec, &args.trace) {
        (Some(spec), _) => Ok(Trace::draw(spec.clone()).map_err(Misuse::from)),
        (None, Some(path)) => Ok(Ok(Trace::load(path)?)),
        (None, None) => anyhow::bail!("there is neither a trace nor anything to draw one from"),
    }
}

/// Writes what is known before the run, so that a folder that cannot be written to fails now.
fn prepare_outputs(args: &LoadArgs, trace: &Trace) -> anyhow::Result<()> {
    if let Some(path) = &args.save_trace {
        trace.save(path)?;
    }
    if let Some(folder) = &args.output {
        let cannot = || format!("cannot write to the folder {}", folder.display());
        fs::create_dir_all(folder).map_err(|error| anyhow::anyhow!("{}: {error}", cannot()))?;
        let probe = folder.join("results.json.part");
        fs::write(&probe, "")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|error| anyhow::anyhow!("{}: {error}", cannot()))?;
    }
    Ok(())
}

/// Sums up, saves and prints.
fn tell(args: &LoadArgs, target: &LoadTarget, trace: &Trace, warmup: Span, run: &Run) -> CliExit {
    let round = summary::summarise(trace, &run.outcome, warmup, &run.machine);
    let spec = &trace.spec;
    let title = format!(
        "{target}: {} at {} requests/s, {}",
        spec.mix.name,
        spec.rate,
        connections_text(spec.connections)
    );
    let results = results(&title, target, spec, &round);
    if let Some(folder) = &args.output
        && let Err(error) = save(folder, &results, trace, warmup, run)
    {
        return fail(error);
    }
    let text = if args.json {
        serde_json::to_string_pretty(&results).expect("plain data becomes JSON") + "\n"
    } else {
        table::render(&title, &round)
    };
    print_or_fail(&text, verdict(&round))
}

/// Whether the round says anything, and if not, why.
fn verdict(round: &Round) -> CliExit {
    if let Some(reason) = &round.rejected {
        term::complain(&format!("this round does not count: {reason}"));
        return CliExit::Failed;
    }
    if 0 < round.requests && round.errors == round.requests {
        term::complain("no request was answered as it should be");
        return CliExit::Failed;
    }
    CliExit::Done
}

fn results(title: &str, target: &LoadTarget, spec: &TraceSpec, round: &Round) -> Results {
    let cell = Cell {
        subject: target.to_string(),
        workers: u32::try_from(round.workers.len()).unwrap_or(u32::MAX),
        speeds: Vec::new(),
        mix: spec.mix.name.clone(),
        medium: medium(spec),
        load: None,
        connections: connections_text(spec.connections),
        stall: None,
        rounds: vec![round.clone()],
    };
    Results {
        format: FORMAT.to_owned(),
        kind: MeasurementKind::Load,
        title: title.to_owned(),
        environment: Environment::of_this_machine(environment::command_line()),
        cells: vec![cell],
    }
}

fn save(
    folder: &Path,
    results: &Results,
    trace: &Trace,
    warmup: Span,
    run: &Run,
) -> anyhow::Result<()> {
    results.save(&folder.join("results.json"))?;
    let mut taken = BTreeSet::new();
    for class in summary::tally_classes(trace, &run.outcome, warmup) {
        let path = folder.join(file_name(&class.name, &mut taken));
        fs::write(&path, class.latency.hgrm())
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// `short.hgrm`; a path becomes words, and a name that is taken gets a number.
fn file_name(class: &str, taken: &mut BTreeSet<String>) -> String {
    let words: Vec<&str> =
        class.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let plain = if words.is_empty() { "root".to_owned() } else { words.join("-") };
    let numbered = (2..).map(|number| format!("{plain}-{number}"));
    let mut names = std::iter::once(plain.clone()).chain(numbered);
    let name = names.find(|name| taken.insert(name.clone())).unwrap_or(plain);
    format!("{name}.hgrm")
}

/// How requests share connections, as results call it.
fn connections_text(connections: Connections) -> String {
    match connections {
        Connections::PerRequest => "close".to_owned(),
        Connections::KeepAlive { requests, .. } => format!("keep-alive {requests}"),
        Connections::Mixed { requests, .. } => format!("mixed {requests}"),
        Connections::Pool { count } => format!("pool {count}"),
    }
}

/// How the built-in worker spends the service time, by the paths that are asked for.
fn medium(spec: &TraceSpec) -> Medium {
    let all = |path| spec.mix.classes.iter().all(|class| class.path.starts_with(path));
    match (all("/sleep?"), all("/burn?")) {
        (true, _) => Medium::Sleep,
        (_, true) => Medium::Spin,
        (false, false) => Medium::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_files_of_their_own() {
        let mut taken = BTreeSet::new();
        for (class, file) in [
            ("short", "short.hgrm"),
            ("/burn?ms=1.5", "burn-ms-1-5.hgrm"),
            ("/burn?ms=1&5", "burn-ms-1-5-2.hgrm"),
            ("/", "root.hgrm"),
            ("../..", "root-2.hgrm"),
        ] {
            assert_eq!(file_name(class, &mut taken), file);
        }
    }

    #[test]
    fn a_round_that_does_not_count_fails() {
        let round = |requests, errors, rejected: Option<&str>| Round {
            requests,
            errors,
            rejected: rejected.map(str::to_owned),
            ..Round::default()
        };
        assert_eq!(verdict(&round(5, 4, None)), CliExit::Done);
        assert_eq!(verdict(&round(5, 5, None)), CliExit::Failed);
        assert_eq!(verdict(&round(5, 0, Some("late"))), CliExit::Failed);
    }
}
