//! What a handoff costs: the total CPU time of a short connection (client, master and worker) with
//! dispatchd in between, against a worker that accepts for itself, in the same run.
//!
//! Everything runs on ONE core. A wake across cores costs more than the whole handoff on a virtual
//! machine, and whoever pays it depends on placement; on one core wall time equals CPU time and the
//! ratio says what the software costs. Rounds are interleaved, each is compared with its own
//! baseline, and the median counts, so that a machine that changes its mind changes it for all.
//!
//! `cargo bench --bench handoff -- --help` names the flags.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::print_stderr, reason = "a bench says how far it is and what went wrong")]

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

/// The parts lie in `benches/handoff/`; a block leads there, since a root's own folder is
/// `benches/`.
mod handoff {
    pub(crate) mod client;
    pub(crate) mod contestant;
    pub(crate) mod meter;
    pub(crate) mod place;
    pub(crate) mod report;
    pub(crate) mod roles;
    pub(crate) mod rounds;
    pub(crate) mod save;
    pub(crate) mod variant;
}

use handoff::client::{self, Load};
use handoff::place::{self, Class};
use handoff::{report, roles, rounds, save};

/// CPU time per short connection with dispatchd, against a worker that accepts for itself
#[derive(Debug, Parser)]
#[command(name = "handoff", args_conflicts_with_subcommands = true)]
struct Args {
    /// Interleaved rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Two rounds of few connections: does it run at all? The figures mean nothing
    #[arg(long, visible_alias = "test")]
    quick: bool,
    /// Write the results to bench-results/DATE-COMMIT-handoff/
    #[arg(long)]
    save: bool,
    /// The one CPU that everything runs on [default: the last one allowed]
    #[arg(long)]
    cpu: Option<u16>,
    /// Scheduling class of everything: batch (a wake-up interrupts nobody) or other
    #[arg(long, value_enum, default_value_t = Class::Batch)]
    class: Class,
    /// This program has started itself again in its class.
    #[arg(long, hide = true)]
    placed: bool,
    /// Cargo says so to every bench, when it measures and does not test.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it started itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// A worker that serves one connection at a time
    #[command(hide = true)]
    Worker,
    /// A worker that takes whole batches of connections
    #[command(hide = true)]
    BatchWorker,
    /// A server that accepts for itself
    #[command(hide = true)]
    Accept,
    /// The client alone, for perf to count something else meanwhile
    #[command(hide = true)]
    Client { to: SocketAddr, connections: u32, window: usize },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.role {
        None => compare(&args),
        Some(Role::Worker) => roles::serve_one_by_one(),
        Some(Role::BatchWorker) => roles::serve_batches(),
        Some(Role::Accept) => roles::accept(),
        Some(Role::Client { to, connections, window }) => {
            client::run(to, Load { connections, window })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handoff: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<()> {
    if !args.placed {
        place::change_class(args.class, "--placed")?;
    }
    ensure!(place::class() == Some(args.class), "the scheduling class did not change");
    // `cargo test` runs benches too, without `--bench`, and only asks whether they run.
    let is_trial = args.quick || !args.bench;
    let plan = rounds::Plan::new(args.rounds, is_trial);
    let results = rounds::run(&plan, place::pin(args.cpu)?).context("THE RUN IS INVALID")?;
    print!("{}", report::render(&results));
    if args.save {
        ensure!(!is_trial, "--quick gives no figures to keep: leave --save out");
        println!("saved in {}", save::save(&results)?.display());
    }
    Ok(())
}
