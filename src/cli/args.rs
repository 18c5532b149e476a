//! The command line as clap sees it. Values stay text here: clap would refuse them in its own
//! words, and `cli::config` names flag or variable, value, what is allowed and the cure.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::link::LinkKind;

use super::bench::args::BenchArgs;
use super::value::text;

const EXAMPLES: &str = "\
Examples:
  dispatchd                                       the built-in HTTP server on 127.0.0.1:8000
  dispatchd --workers 2 --policy wrr --weight 3,1
  dispatchd --listen :8080 --listen unix:/run/app.sock -- ./my-worker --verbose
  dispatchd --listen 127.0.0.1:2525,connect --pin 2-5 -- ./smtp-worker
  dispatchd check --workers auto --json           what would run, and why
  dispatchd status --json | jq .workers

Signals: TERM and INT stop gracefully (a second INT at once), QUIT stops at once, HUP replaces the
workers one by one, TTIN and TTOU add and remove a worker, USR1 makes a missing control socket anew;
USR2 does nothing yet.
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not running, 5 timed out.";

const CHECK_CODES: &str = "\
Exit codes: 0 it can start, 1 the program or the control socket's path stands in the way, 2 usage.";

const LISTEN_HELP: &str = "\
Where to listen: ADDRESS:PORT, [V6]:PORT, [V6%INTERFACE]:PORT, :PORT (every IPv4 \
address; [::]:PORT for IPv6) or \
unix:PATH, each with \",readable\" or \",connect\" to override --dispatch-on; repeatable, up to \
64; port 0 takes a free port and prints it; several in the variable are set apart by blanks \
[default: 127.0.0.1:8000, or the sockets of LISTEN_FDS]";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "dispatchd",
    bin_name = "dispatchd",
    version,
    about = "Accepts connections in one single-threaded process, and hands each to a worker \
             process when one has room",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Commands (none: run)"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    run: RunArgs,
}

/// What dispatchd is to do.
#[derive(Clone, Debug, Eq, PartialEq, Subcommand)]
pub enum CliCommand {
    /// Serve in the foreground (the default)
    Run(Box<RunArgs>),
    /// Show the workers, the queue and the backend of a running dispatchd
    #[command(after_long_help = super::status::help::text())]
    Status(StatusArgs),
    /// Validate the flags of run and print the effective configuration and the plan
    #[command(after_help = CHECK_CODES)]
    Check(Box<CheckArgs>),
    /// Look for what would slow dispatchd down or stop it on this machine
    #[command(after_help = "Exit codes: 0 nothing stands in the way, 1 something does.")]
    Doctor(DoctorArgs),
    /// Run the engine and the master in a simulated world, by seed
    Sim(SimArgs),
    /// Show what measurements found: a page, pictures, or tables
    Report(ReportArgs),
    /// Measure a server under load
    Bench(BenchArgs),
    /// The built-in worker, started by the master
    #[command(hide = true)]
    ServeWorker,
}

/// The flags of `run`, as given.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct RunArgs {
    /// Where to listen, with the help as a constant: its brackets would be links here.
    #[arg(long, value_name = "ADDR", env = "DISPATCHD_LISTEN", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Listening", help = LISTEN_HELP)]
    pub listen: Vec<String>,
    /// When a connection is handed over: readable (its client has sent something) or connect (at
    /// once, for protocols in which the server speaks first) [default: readable]
    #[arg(long, value_name = "WHEN", env = "DISPATCHD_DISPATCH_ON", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Listening")]
    pub dispatch_on: Option<String>,
    /// Connections that wait in the kernel, per listener: 1 to 65535; the kernel cuts it to
    /// net.core.somaxconn [default: the lesser of net.core.somaxconn and 4096]
    #[arg(long, value_name = "N", env = "DISPATCHD_BACKLOG", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Listening", allow_negative_numbers = true)]
    pub backlog: Option<String>,
    /// Permission bits of the unix sockets, in octal, such as 0660 [default: as the umask says]
    #[arg(long, value_name = "MODE", env = "DISPATCHD_SOCKET_MODE", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Listening")]
    pub socket_mode: Option<String>,
    /// Owner of the unix sockets: USER, USER:GROUP or :GROUP, by name or number [default: as for
    /// any new file]
    #[arg(long, value_name = "OWNER", env = "DISPATCHD_SOCKET_OWNER", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Listening")]
    pub socket_owner: Option<String>,
    /// Worker processes: 1 to 256, or auto (the CPUs of the inherited mask or the cgroup's quota,
    /// whichever is less) [default: auto]
    #[arg(long, value_name = "N|auto", env = "DISPATCHD_WORKERS", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Workers", allow_negative_numbers = true)]
    pub workers: Option<String>,
    /// CPUs that the workers are bound to: auto (one each), none, or a list such as 0,2,4-7
    /// [default: auto]
    #[arg(long, value_name = "auto|none|LIST", env = "DISPATCHD_PIN", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Workers", allow_negative_numbers = true)]
    pub pin: Option<String>,
    /// Whether an idle worker stays awake for a moment before it sleeps: auto (for up to 150us,
    /// where that is likely to save a wake-up and each worker has a CPU of its own), or off
    /// [default: auto]
    #[arg(long, value_name = "auto|off", env = "DISPATCHD_SPIN", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Workers")]
    pub spin: Option<String>,
    /// How the master talks to the kernel: auto (io_uring if it works here), uring or epoll
    /// [default: auto]
    #[arg(long, value_name = "BACKEND", env = "DISPATCHD_BACKEND", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Workers")]
    pub backend: Option<String>,
    /// Who gets a connection: rr (in turn), wrr (in turn, weighted), least (fewest requests), jbsq
    /// or jbsq:N (who has room; N from 1 to 64), shared (workers accept from one socket),
    /// reuseport (one socket each); NODE_CLUSTER_SCHED_POLICY=rr|none is honoured too
    /// [default: jbsq]
    #[arg(long, value_name = "POLICY", env = "DISPATCHD_POLICY", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Scheduling")]
    pub policy: Option<String>,
    /// Shares of the workers under wrr and least: numbers from 1 to 1000 such as 3,1 (missing ones
    /// are 1), or auto (as strong as their CPUs) [default: all equal]
    #[arg(long, value_name = "LIST|auto", env = "DISPATCHD_WEIGHT", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Scheduling", allow_negative_numbers = true)]
    pub weight: Option<String>,
    /// What is dispatched: request (each request of a keep-alive connection), connection (each
    /// connection once), or auto (requests while they would wait otherwise); under
    /// jbsq and least [default: auto]
    #[arg(long, value_name = "WHAT", env = "DISPATCHD_DISPATCH", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Scheduling")]
    pub dispatch: Option<String>,
    /// Short requests first: path (requests of one path are alike, numbers and identifiers in it
    /// aside), target (those of one path and query), or off; how long each takes is learnt;
    /// HTTP/1.1 under jbsq [default: off]
    #[arg(long, value_name = "WHAT", env = "DISPATCHD_CLASSES", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Scheduling")]
    pub classes: Option<String>,
    /// Connections that may wait in the master: 1 to 65536 [default: 8192]
    #[arg(long, value_name = "N", env = "DISPATCHD_HOLD", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Scheduling", allow_negative_numbers = true)]
    pub hold: Option<String>,
    /// When no more may wait: hold (leave them in the kernel's queue) or reject (refuse those that
    /// ask for something: 503 for HTTP/1, else the end) [default: hold]
    #[arg(long, value_name = "WHAT", env = "DISPATCHD_OVERLOAD", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Scheduling")]
    pub overload: Option<String>,
    /// Tells several dispatchds apart: 1 to 64 of a-z, 0-9, _ and - [default: default]
    #[arg(long, value_name = "NAME", env = "DISPATCHD_NAME", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Lifecycle")]
    pub name: Option<String>,
    /// Time for a worker to become ready, such as 500ms, 30s or 2m; up to 1day [default: 30s]
    #[arg(long, value_name = "TIME", env = "DISPATCHD_START_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = text(), allow_hyphen_values = true, help_heading = "Lifecycle")]
    pub start_timeout: Option<String>,
    /// Time for a worker to finish what is running when it stops; 0s cuts it off; up to 1day
    /// [default: 30s]
    #[arg(long, value_name = "TIME", env = "DISPATCHD_DRAIN_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = text(), allow_hyphen_values = true, help_heading = "Lifecycle")]
    pub drain_timeout: Option<String>,
    /// What is logged: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", env = "DISPATCHD_LOG_LEVEL", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Logging")]
    pub log_level: Option<String>,
    /// Shape of the log: auto (text, coloured on a terminal), text or json [default: auto]
    #[arg(long, value_name = "FORMAT", env = "DISPATCHD_LOG_FORMAT", hide_env_values = true)]
    #[arg(value_parser = text(), help_heading = "Logging")]
    pub log_format: Option<String>,
    /// What each worker runs, with its arguments [default: the built-in HTTP server]
    #[arg(last = true, value_name = "COMMAND")]
    pub program: Vec<OsString>,
    /// The flags, without dashes, whose values came from the environment.
    #[arg(skip)]
    pub from_environment: Vec<String>,
}

/// The flags of `status`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct StatusArgs {
    /// Which dispatchd [default: default]
    #[arg(long, value_name = "NAME", env = "DISPATCHD_NAME", hide_env_values = true)]
    #[arg(value_parser = text())]
    pub name: Option<String>,
    /// Print JSON, on one line
    #[arg(long)]
    pub json: bool,
    /// Show it again every SECONDS (0.1 to 3600; 1 if none are given), until ^C or until dispatchd
    /// has ended
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = text(), allow_negative_numbers = true)]
    pub watch: Option<String>,
    /// The flags, without dashes, whose values came from the environment.
    #[arg(skip)]
    pub from_environment: Vec<String>,
}

/// The flags of `check`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What would be run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The flags of `doctor`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `sim`.
#[derive(Args, Clone, Debug, Eq, PartialEq)]
pub struct SimArgs {
    /// The first seed; the same seed always gives the same run
    #[arg(long, value_name = "N")]
    pub seed: u64,
    /// How many seeds, counting up from the first
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// What the workers' links can do: native (everything), bare (nothing: such programs serve no
    /// connections), acknowledged (a connection is the
    /// worker's once it says so, and never heard of again) or notified (workers accept for
    /// themselves, and say once that they are ready)
    #[arg(long, value_name = "KIND", default_value = "native", value_parser = link_kind)]
    pub link: LinkKind,
    /// Instead of a world full of faults, a calm one with so many clients, whose connections are
    /// all parked at once
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: Option<u32>,
    /// Print every step
    #[arg(long)]
    pub trace: bool,
}

fn link_kind(given: &str) -> Result<LinkKind, String> {
    match given {
        "native" => Ok(LinkKind::Native),
        "bare" => Ok(LinkKind::Bare),
        "acknowledged" => Ok(LinkKind::Acknowledged),
        "notified" => Ok(LinkKind::Notified),
        _ => Err(String::from("it is native, bare, acknowledged or notified")),
    }
}

/// The flags of `report`.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
pub struct ReportArgs {
    /// Results: files, or folders with a results.json
    #[arg(required = true, value_name = "RESULT")]
    pub results: Vec<PathBuf>,
    /// Write one self-contained page
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write every picture as a file of its own, the main one as headline.svg
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
    /// Print the tables as Markdown
    #[arg(long, conflicts_with_all = ["json", "text"])]
    pub md: bool,
    /// Print the derived figures as JSON
    #[arg(long, conflicts_with = "text")]
    pub json: bool,
    /// Print tables and histograms (the default when nothing else is asked for)
    #[arg(long)]
    pub text: bool,
}

/// Reads the command line, its own name first, and the `DISPATCHD_*` variables.
///
/// # Errors
/// Unknown flags and missing values; and help and version, which clap calls errors too:
/// `cli::term::refuse` prints them all and knows the exit code.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CliCommand, clap::Error> {
    let definition = Cli::command();
    let matches = definition.clone().try_get_matches_from(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let named = matches
        .subcommand()
        .and_then(|(name, inner)| Some((inner, definition.find_subcommand(name)?)));
    let (inner, inner_definition) = named.unwrap_or((&matches, &definition));
    let from_environment = from_environment(inner, inner_definition);
    let Some(mut command) = cli.command else {
        return Ok(CliCommand::Run(Box::new(RunArgs { from_environment, ..cli.run })));
    };
    match &mut command {
        CliCommand::Run(run) => run.from_environment = from_environment,
        CliCommand::Check(check) => check.run.from_environment = from_environment,
        CliCommand::Status(status) => status.from_environment = from_environment,
        CliCommand::Doctor(_)
        | CliCommand::Sim(_)
        | CliCommand::Bench(_)
        | CliCommand::Report(_)
        | CliCommand::ServeWorker => {}
    }
    Ok(command)
}

/// How a flag's value was given: `--start-timeout`, or `DISPATCHD_START_TIMEOUT` when the flag is
/// among those from the environment.
pub fn given_as(flag: &str, from_environment: &[String]) -> String {
    if from_environment.iter().any(|one| one == flag) {
        return format!("DISPATCHD_{}", flag.to_ascii_uppercase().replace('-', "_"));
    }
    format!("--{flag}")
}

fn from_environment(matches: &ArgMatches, command: &clap::Command) -> Vec<String> {
    let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
    ids.filter(|id| matches.value_source(id) == Some(ValueSource::EnvVariable))
        .map(|id| id.replace('_', "-"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<CliCommand, clap::Error> {
        parse(format!("dispatchd {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable_and_its_group() {
        let command = Cli::command();
        let flags = command.get_arguments().filter(|arg| arg.get_long().is_some());
        let mut seen = Vec::new();
        for arg in flags {
            let flag = arg.get_long().unwrap();
            let variable = given_as(flag, &[flag.to_owned()]);
            assert_eq!(arg.get_env(), Some(variable.as_ref()), "--{flag}");
            assert!(arg.get_help_heading().is_some(), "--{flag}");
            assert_eq!(arg.get_id().as_str().replace('_', "-"), flag);
            seen.push(flag);
        }
        let expected = "listen dispatch-on backlog socket-mode socket-owner workers pin spin \
                        backend policy weight dispatch classes hold overload name \
                        start-timeout drain-timeout log-level log-format";
        assert_eq!(seen.join(" "), expected);
    }

    #[test]
    fn no_command_means_run() {
        let CliCommand::Run(bare) =
            parsed("--workers 2 --listen :1 --listen :2 -- prog -x").unwrap()
        else {
            panic!("not run")
        };
        assert_eq!(bare.workers.as_deref(), Some("2"));
        assert_eq!(bare.listen, [":1", ":2"]);
        assert_eq!(bare.program, ["prog", "-x"]);
        let named = parsed("run --workers 2 --listen :1 --listen :2 -- prog -x").unwrap();
        assert_eq!(named, CliCommand::Run(bare));
        let CliCommand::Run(program) = parsed("-- status").unwrap() else { panic!("not run") };
        assert_eq!(program.program, ["status"]);
    }

    #[test]
    fn commands_are_told_apart() {
        assert!(matches!(parsed("status --name a --json"), Ok(CliCommand::Status(s))
            if s.json && s.name.as_deref() == Some("a") && s.watch.is_none()));
        for (line, seconds) in [("--watch", "1"), ("--watch --json", "1"), ("--watch 2.5", "2.5")] {
            assert!(
                matches!(parsed(&format!("status {line}")), Ok(CliCommand::Status(s))
                if s.watch.as_deref() == Some(seconds)),
                "{line}"
            );
        }
        assert!(matches!(parsed("check --workers 3 --json -- p"), Ok(CliCommand::Check(c))
            if c.json && c.run.workers.as_deref() == Some("3") && c.run.program == ["p"]));
        assert!(matches!(parsed("doctor"), Ok(CliCommand::Doctor(DoctorArgs { json: false }))));
        let sim = SimArgs { seed: 7, count: 1, link: LinkKind::Native, clients: None, trace: true };
        assert_eq!(parsed("sim --seed 7 --trace").unwrap(), CliCommand::Sim(sim));
        assert!(matches!(parsed("report a b -o c.html --svg d --md"), Ok(CliCommand::Report(r))
            if r.results.len() == 2 && r.output.is_some() && r.svg.is_some() && r.md));
        assert_eq!(parsed("serve-worker").unwrap(), CliCommand::ServeWorker);
    }

    #[test]
    fn wrong_lines_are_refused_with_the_code_for_usage() {
        for line in [
            "--wrokers 2",
            "prog",
            "--workers",
            "--listen --name x",
            "sim",
            "sim --seed x",
            "sim --seed 1 --count 0",
            "report",
            "report a --md --json",
            "report a --text --md",
            "report a --svg",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
        for line in ["--help", "--version", "status --help"] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_left_to_the_flags_own_parser() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"unix:/\xff".to_vec());
        let CliCommand::Run(run) = parse(["dispatchd".into(), "--listen".into(), odd]).unwrap()
        else {
            panic!("not run")
        };
        assert_eq!(run.listen, ["unix:/\u{fffd}"]);
    }

    #[test]
    fn negative_numbers_are_values_and_judged_by_us() {
        let CliCommand::Run(run) = parsed("--workers -1").unwrap() else { panic!("not run") };
        assert_eq!(run.workers.as_deref(), Some("-1"));
    }
}
