//! The flags of `dispatchd bench` as clap sees them; values stay text, as in `cli::args`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::value::text;

/// The flags of `bench`.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct BenchArgs {
    /// What is measured.
    #[command(subcommand)]
    pub measurement: Measurement,
}

/// What can be measured.
#[derive(Clone, Debug, Eq, PartialEq, Subcommand)]
pub enum Measurement {
    /// Send requests to a server at a fixed rate and measure latency from the intended times
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<LoadArgs>),
    /// Run policies on the same traces in a model, by the master's own engine, and compare each
    /// with the bound
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(Box<SimulateArgs>),
    /// Start dispatchd for each policy, show all of them the same traces, and compare each with the
    /// bound
    #[command(after_help = FAIRNESS_EXAMPLES)]
    Fairness(Box<FairnessArgs>),
}

const LOAD_EXAMPLES: &str = "\
Examples:
  dispatchd bench load http://127.0.0.1:8000 --rate 20000 --connections pool:64
  dispatchd bench load http://127.0.0.1:8000 --rate 800 --mix '99%:/burn?ms=1,1%:/burn?ms=100'
  dispatchd bench load http://127.0.0.1:8000 --mix bim100 --service sleep --save-trace bim100.trace
  dispatchd bench load unix:/run/app.sock:/healthz --requests 1000 --json

Exit codes: 0 measured, 1 failed or the round does not count (the generator was late, or others
used the CPU), 2 usage.";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  dispatchd bench simulate --workers 2,8,64,256 --policy rr,least,jbsq
  dispatchd bench simulate --mix bim10,ln15 --load 0.5,0.8,0.95 -o /tmp/grid
  dispatchd bench simulate --workers 4 --speeds 1,1,0.5,0.5 --policy wrr,jbsq

Everything in the table is simulated; report marks it so.";

const FAIRNESS_EXAMPLES: &str = "\
Examples:
  dispatchd bench fairness --workers 2,4 --policy rr,jbsq --requests 10000 --rounds 3
  dispatchd bench fairness --connections close,keep-alive -o bench-results/today
  dispatchd report bench-results/today -o report.html

A run that was broken off goes on where it was when it is given the same flags and folder. Each
cell takes requests / rate seconds; the grid of the defaults takes an hour on an idle machine.";

const URL_HELP: &str = "The server: http://HOST[:PORT][/PATH] or unix:FILE[:/PATH]";

const CONNECTIONS_HELP: &str = "\
How requests share connections: per-request, keep-alive:N (visits of N requests on average), \
mixed:N (half of each) or pool:N (N connections, used in turn) [default: per-request]";

/// The flags of `bench simulate`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct SimulateArgs {
    /// What is compared.
    #[command(flatten)]
    pub grid: GridArgs,
    /// From an offer to an idle worker's first move [default: 40us]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Costs")]
    pub handoff: Option<String>,
    /// From the end of a request until the master knows [default: 30us]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Costs")]
    pub notice: Option<String>,
    /// What every request takes of its worker beside its service [default: 60us]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Costs")]
    pub overhead: Option<String>,
}

/// The flags of `bench fairness`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct FairnessArgs {
    /// What is compared.
    #[command(flatten)]
    pub grid: GridArgs,
    /// How workers spend service time: sleep (any number of workers can be told apart) or spin (no
    /// more workers than CPUs) [default: sleep]
    #[arg(long, value_name = "HOW", value_parser = text(), help_heading = "Grid")]
    pub service: Option<String>,
    /// Stop workers in turn as well, 20 times 300 ms in each cell, and count who waits for them
    #[arg(long, help_heading = "Grid")]
    pub stall: bool,
}

/// The flags that make a grid.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct GridArgs {
    /// Policies, with commas between [default: rr,least,jbsq,shared,reuseport]
    #[arg(long, value_name = "LIST", value_parser = text(), help_heading = "Grid")]
    pub policy: Option<String>,
    /// Numbers of workers, with commas between [default: 2,4,8]
    #[arg(long, value_name = "LIST", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub workers: Option<String>,
    /// Mixes, with commas between: bim10, bim100, bim1000, ln15, exp, uniform, det
    /// [default: bim100]
    #[arg(long, value_name = "LIST", value_parser = text(), help_heading = "Grid")]
    pub mix: Option<String>,
    /// Shares of the workers' whole capacity that are asked for [default: 0.8]
    #[arg(long, value_name = "LIST", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub load: Option<String>,
    /// How requests share connections: close (none), keep-alive (visits of 50), or both
    /// [default: close]
    #[arg(long, value_name = "LIST", value_parser = text(), help_heading = "Grid")]
    pub connections: Option<String>,
    /// The short class's service time, or the mean [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub unit: Option<String>,
    /// Speeds of the workers, repeated as often as needed [default: all alike]
    #[arg(long, value_name = "LIST", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub speeds: Option<String>,
    /// Requests of a trace [default: 60000]
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub requests: Option<String>,
    /// Rounds, each with another trace [default: 5]
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub rounds: Option<String>,
    /// Seed of the first round's traces [default: 1]
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Grid")]
    pub seed: Option<String>,
    /// Save results.json and summary.txt in this folder
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The flags of `bench load`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct LoadArgs {
    /// The server, with the help as a constant: its brackets would be links here.
    #[arg(value_name = "URL", value_parser = text(), help = URL_HELP)]
    pub url: String,
    /// Requests per second [default: 1000]
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub rate: Option<String>,
    /// How long requests are sent, such as 500ms, 30s or 2m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub duration: Option<String>,
    /// How many requests are sent, instead of a duration
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub requests: Option<String>,
    /// What is asked: SHARE%:/PATH with commas between, a path, or one of bim10, bim100, bim1000,
    /// ln15, exp, uniform and det [default: the path of URL]
    #[arg(long, value_name = "MIX", value_parser = text(), help_heading = "Load")]
    pub mix: Option<String>,
    /// How a worker spends the service time of a named mix: sleep or spin [default: sleep]
    #[arg(long, value_name = "HOW", value_parser = text(), help_heading = "Load")]
    pub service: Option<String>,
    /// The service time of a named mix's short class, or its mean [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub unit: Option<String>,
    /// How the intended times lie: poisson (at random) or constant [default: poisson]
    #[arg(long, value_name = "HOW", value_parser = text(), help_heading = "Load")]
    pub arrivals: Option<String>,
    /// With the help as a constant, since it is long.
    #[arg(long, value_name = "HOW", value_parser = text(), help_heading = "Load")]
    #[arg(help = CONNECTIONS_HELP)]
    pub connections: Option<String>,
    /// Mean pause between two requests of a visit [default: 50ms]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub think: Option<String>,
    /// For so long the rate grows from nothing [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub ramp: Option<String>,
    /// For so long from the start nothing counts [default: 1s, at most a tenth of the run]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub warmup: Option<String>,
    /// The same seed and flags always make the same requests at the same times [default: 1]
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Load")]
    pub seed: Option<String>,
    /// Replay the requests of a file instead of drawing them
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub trace: Option<PathBuf>,
    /// Threads that send [default: 1]
    #[arg(long, value_name = "N", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Generator")]
    pub threads: Option<String>,
    /// CPUs that the threads are bound to, such as 0 or 2-3 [default: none]
    #[arg(long, value_name = "CPUS", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Generator")]
    pub pin: Option<String>,
    /// Time for an answer [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Generator")]
    pub timeout: Option<String>,
    /// How the threads talk to the kernel: auto, uring or epoll [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = text(), help_heading = "Generator")]
    pub backend: Option<String>,
    /// How they wait for the next intended time: sleep, or spin where there are CPUs to spare
    /// [default: sleep]
    #[arg(long, value_name = "HOW", value_parser = text(), help_heading = "Generator")]
    pub pace: Option<String>,
    /// A process of the server, whose CPU time (its children's included) is not foreign;
    /// repeatable [default: whoever listens there, on this machine]
    #[arg(long, value_name = "PID", value_parser = text(), allow_hyphen_values = true)]
    #[arg(help_heading = "Generator")]
    pub server_pid: Vec<String>,
    /// Save the requests for a later --trace
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub save_trace: Option<PathBuf>,
    /// Save results.json and a CLASS.hgrm for each class in this folder
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
