//! From what the user gave to a [`Config`] and its plan. All surroundings (variables, CPUs, control
//! group) are read here, once, and handed on as values, so that a test can make them up.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use crate::cli::args::{self, RunArgs, StatusArgs};
use crate::config::placement::{self, Allotment, Placement, RingCost};
use crate::config::{
    BackendChoice, Config, ConfigError, DispatchOn, ListenAddr, Listener, Log, LogFormat, LogLevel,
    Pin, Program, SocketAccess, Spin, Weights, WorkerCount, Wrong, listen, policy, words,
};
use crate::engine::dispatcher::giveback::Dispatch;
use crate::engine::dispatcher::overload::Overload;
use crate::engine::dispatcher::policy::{Depth, Policy};
use crate::io::probe;
use crate::limits::{
    DRAIN_TIMEOUT, HOLD_DEFAULT, LISTENERS_MAX, START_TIMEOUT, TIMEOUT_MAX, WATCH_MAX, WATCH_MIN,
};
use crate::sys::rlimit::{self, Resource, ResourceLimit};
use crate::sys::{cpus, interfaces, users};
use crate::units::Span;

/// The name of a dispatchd that was given none.
pub const NAME_DEFAULT: &str = "default";
const ADDR_DEFAULT: &str = "127.0.0.1:8000";
const COUNT_VARIABLE: &str = "LISTEN_FDS";
const NODE_VARIABLE: &str = "NODE_CLUSTER_SCHED_POLICY";

/// What counts besides the flags and their variables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CliSurroundings {
    /// What this process may use of the machine.
    pub allotment: Allotment,
    /// Sockets inherited through `LISTEN_FDS`.
    pub inherited: u16,
    /// What that says where it is meant for this process and no number of sockets.
    pub inherited_nonsense: Option<String>,
    /// `NODE_CLUSTER_SCHED_POLICY`, if set and not empty.
    pub node_policy: Option<String>,
}

/// What will be run: the configuration, and the plan that follows from it on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// What was asked for.
    pub config: Config,
    /// What comes of it here.
    pub placement: Placement,
}

/// The configuration that `given` means in these surroundings.
///
/// # Errors
/// The first wrong value, or parts that do not go together.
pub fn effective(given: &RunArgs, around: &CliSurroundings) -> Result<Effective, ConfigError> {
    let config = config(given, around)?.checked()?;
    let (workers, pin, weights) = (config.workers, &config.pin, &config.weights);
    let placement = placement::plan(&around.allotment, workers, pin, weights)?;
    let placement = placement.spinning(&around.allotment, config.spin);
    let rings = config.program.is_none() && config.backend != BackendChoice::Epoll;
    let placement = if rings { placement.counting_rings(&around.allotment) } else { placement };
    Ok(Effective { config, placement })
}

/// The shape of the log that is asked for, even where the rest is wrong.
pub fn log_format(given: &RunArgs) -> LogFormat {
    let flags = Flags { from_environment: &given.from_environment };
    log(given, flags).map_or(LogFormat::Auto, |log| log.format)
}

/// Whom `status` asks, and how it shows the answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusPlan {
    /// The name of the master.
    pub name: String,
    /// Whether programs read it.
    pub json: bool,
    /// How often it is shown, if not once.
    pub watch: Option<Span>,
}

/// What `status` is to do.
///
/// # Errors
/// The first wrong value.
pub fn status_plan(given: &StatusArgs) -> Result<StatusPlan, ConfigError> {
    let flags = Flags { from_environment: &given.from_environment };
    let name = flags.read("name", given.name.as_deref(), NAME_DEFAULT.to_owned(), words::name)?;
    let pause = |text: &str| words::seconds(text, WATCH_MIN, WATCH_MAX).map(Some);
    let watch = flags.read("watch", given.watch.as_deref(), None, pause)?;
    Ok(StatusPlan { name, json: given.json, watch })
}

impl CliSurroundings {
    /// The surroundings of this process.
    pub fn read() -> Self {
        let mask = cpus::inherited_mask();
        let text = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let inherited = inherited(text(COUNT_VARIABLE), text("LISTEN_PID"), std::process::id());
        Self {
            allotment: Allotment {
                quota_milli: cpus::cpu_quota_milli(),
                capacities: cpus::capacities(&mask),
                siblings: cpus::siblings(&mask),
                mask,
                rings: ring_cost(),
            },
            inherited: *inherited.as_ref().unwrap_or(&0),
            inherited_nonsense: inherited.err(),
            node_policy: text(NODE_VARIABLE).filter(|value| !value.is_empty()),
        }
    }
}

/// What rings cost here, where they cost anything that is limited.
fn ring_cost() -> Option<RingCost> {
    let limit = rlimit::read(Resource::LockedMemory).ok()?.soft;
    (limit != ResourceLimit::UNLIMITED)
        .then(probe::ring_charge)?
        .map(|bytes| RingCost { bytes, limit })
}

/// How many sockets were passed to this process. Those for another process (`LISTEN_PID`) are not
/// ours; systemfd and its like, which exec, leave that variable out.
fn inherited(count: Option<String>, pid: Option<String>, own: u32) -> Result<u16, String> {
    let ours = pid.is_none_or(|pid| pid.is_empty() || pid.parse() == Ok(own));
    let Some(count) = count.filter(|count| ours && !count.is_empty()) else { return Ok(0) };
    match count.parse() {
        Ok(number) if !count.starts_with('+') => Ok(number),
        Ok(_) | Err(_) => Err(count),
    }
}

fn config(given: &RunArgs, around: &CliSurroundings) -> Result<Config, ConfigError> {
    let flags = Flags { from_environment: &given.from_environment };
    if let Some(text) = &around.inherited_nonsense {
        let wrong = Wrong::new(format!("a number of sockets, from 0 to {LISTENERS_MAX}"));
        return Err(wrong.given_as(COUNT_VARIABLE, text));
    }
    let word = given.dispatch_on.as_deref();
    let dispatch_on = flags.read("dispatch-on", word, DispatchOn::Readable, listen::dispatch_on)?;
    Ok(Config {
        name: flags.read("name", given.name.as_deref(), NAME_DEFAULT.to_owned(), words::name)?,
        listeners: listeners(given, around, flags, dispatch_on)?,
        inherited: around.inherited,
        dispatch_on,
        workers: flags.read(
            "workers",
            given.workers.as_deref(),
            WorkerCount::Auto,
            words::workers,
        )?,
        policy: policy(given, around, flags)?,
        weights: flags.read("weight", given.weight.as_deref(), Weights::Equal, words::weights)?,
        dispatch: flags.read("dispatch", given.dispatch.as_deref(), Dispatch::Auto, |word| {
            words::one_of(word, &words::DISPATCHES)
        })?,
        classes: flags.read("classes", given.classes.as_deref(), None, |word| {
            words::one_of(word, &words::CLASSES)
        })?,
        backend: flags.read("backend", given.backend.as_deref(), BackendChoice::Auto, |word| {
            words::one_of(word, &words::BACKENDS)
        })?,
        spin: flags.read("spin", given.spin.as_deref(), Spin::Auto, |word| {
            words::one_of(word, &words::SPINS)
        })?,
        pin: flags.read("pin", given.pin.as_deref(), Pin::Auto, words::pin)?,
        overload: flags.read("overload", given.overload.as_deref(), Overload::Hold, |word| {
            words::one_of(word, &words::OVERLOADS)
        })?,
        hold_max: flags.read("hold", given.hold.as_deref(), HOLD_DEFAULT, words::hold)?,
        start_timeout: flags.read(
            "start-timeout",
            given.start_timeout.as_deref(),
            START_TIMEOUT,
            |text| span(text, Span::from_ms(1)),
        )?,
        drain_timeout: flags.read(
            "drain-timeout",
            given.drain_timeout.as_deref(),
            DRAIN_TIMEOUT,
            |text| span(text, Span::ZERO),
        )?,
        backlog: flags.read("backlog", given.backlog.as_deref(), None, |text| {
            words::backlog(text).map(Some)
        })?,
        socket_access: socket_access(given, flags)?,
        program: program(&given.program)?,
        log: log(given, flags)?,
    })
}

/// Reads values, and names in errors how they were given.
#[derive(Clone, Copy)]
pub(super) struct Flags<'a> {
    /// Those whose values came from their variables.
    pub(super) from_environment: &'a [String],
}

impl Flags<'_> {
    /// The value of a flag, or its default.
    pub(super) fn read<T>(
        self,
        flag: &str,
        given: Option<&str>,
        default: T,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Result<T, ConfigError> {
        let Some(text) = given else { return Ok(default) };
        let named =
            |wrong: Wrong| wrong.given_as(args::given_as(flag, self.from_environment), text);
        parse(text).map_err(named)
    }
}

fn listeners(
    given: &RunArgs,
    around: &CliSurroundings,
    flags: Flags<'_>,
    dispatch_on: DispatchOn,
) -> Result<Vec<Listener>, ConfigError> {
    if given.listen.is_empty() && around.inherited > 0 {
        return Ok(Vec::new());
    }
    let parse = |text: &str| listen::parse(text, dispatch_on, interfaces::number);
    let read = |text: &str| {
        let default = Listener { addr: ListenAddr::Unix("".into()), dispatch_on };
        flags.read("listen", Some(text), default, parse)
    };
    let several = flags.from_environment.iter().any(|flag| flag == "listen");
    let one_variable = |text: &'_ String| -> Vec<String> {
        // A variable holds one text, a flag can be repeated: blanks do for the variable.
        let split = several && !text.trim().is_empty();
        if split {
            text.split_whitespace().map(str::to_owned).collect()
        } else {
            vec![text.clone()]
        }
    };
    match given.listen.as_slice() {
        [] => Ok(vec![read(ADDR_DEFAULT)?]),
        texts => texts.iter().flat_map(one_variable).map(|text| read(&text)).collect(),
    }
}

/// The flag or its variable win over Node's variable.
fn policy(
    given: &RunArgs,
    around: &CliSurroundings,
    flags: Flags<'_>,
) -> Result<Policy, ConfigError> {
    let default = Policy::Jbsq(Depth::Auto);
    match (given.policy.as_deref(), around.node_policy.as_deref()) {
        (None, Some(node)) => {
            policy::parse_node(node).map_err(|wrong| wrong.given_as(NODE_VARIABLE, node))
        }
        (text, _) => flags.read("policy", text, default, policy::parse),
    }
}

fn socket_access(given: &RunArgs, flags: Flags<'_>) -> Result<SocketAccess, ConfigError> {
    let mode = flags.read("socket-mode", given.socket_mode.as_deref(), None, |text| {
        words::mode(text).map(Some)
    })?;
    let (user, group) =
        flags.read("socket-owner", given.socket_owner.as_deref(), (None, None), owner)?;
    Ok(SocketAccess { mode, user, group })
}

/// The numbers of `USER`, `USER:GROUP` or `:GROUP`.
fn owner(text: &str) -> Result<(Option<u32>, Option<u32>), Wrong> {
    let wrong = || Wrong::new("USER, USER:GROUP or :GROUP, by name or number");
    let number = |name: &str| name.parse().ok().filter(|_| !name.starts_with('+'));
    // To chown it means that the owner stays as it is.
    let somebody = |name: &str, number: u32| {
        let nobody = || wrong().or(format!("{name} is nobody's number"));
        Some(number).filter(|number| *number != u32::MAX).ok_or_else(nobody)
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let known = |name: &str, kind: &str, by_name: fn(&str) -> Option<u32>| {
        number(name)
            .or_else(|| by_name(name))
            .ok_or_else(|| wrong().or(format!("there is no {kind} '{name}' here")))
            .and_then(|number| somebody(name, number))
    };
    match (user, group) {
        (_, Some("")) | ("", None) => Err(wrong()),
        ("", Some(group)) => Ok((None, Some(known(group, "group", users::group)?))),
        (user, None) => Ok((Some(known(user, "user", users::user)?), None)),
        (user, Some(group)) => Ok((
            Some(known(user, "user", users::user)?),
            Some(known(group, "group", users::group)?),
        )),
    }
}

fn log(given: &RunArgs, flags: Flags<'_>) -> Result<Log, ConfigError> {
    let level = flags.read("log-level", given.log_level.as_deref(), LogLevel::Info, |word| {
        words::one_of(word, &words::LOG_LEVELS)
    })?;
    let format =
        flags.read("log-format", given.log_format.as_deref(), LogFormat::Auto, |word| {
            words::one_of(word, &words::LOG_FORMATS)
        })?;
    Ok(Log { level, format })
}

fn program(given: &[OsString]) -> Result<Option<Program>, ConfigError> {
    match given.split_first() {
        None => Ok(None),
        Some((path, _)) if path.is_empty() => {
            Err(Wrong::new("a program and its arguments").given_as("--", ""))
        }
        Some((path, args)) => Ok(Some(Program { path: path.clone(), args: args.to_vec() })),
    }
}

/// A length of time with its unit, up to a day.
pub(super) fn span(text: &str, least: Span) -> Result<Span, Wrong> {
    let wrong =
        || Wrong::new(format!("a time from {} to 1day, such as 500ms, 30s or 2m", ms(least)));
    let duration: Duration = humantime::parse_duration(text).map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits {
            wrong().or(format!("the unit is missing: {text}s or {text}ms"))
        } else {
            wrong()
        }
    })?;
    let span = u64::try_from(duration.as_nanos()).map(Span::from_ns).map_err(|_| wrong())?;
    if span < least || span > TIMEOUT_MAX { Err(wrong()) } else { Ok(span) }
}

fn ms(span: Span) -> String {
    if span == Span::ZERO { "0s".to_owned() } else { format!("{}ms", span.as_ms_ceil()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Cpu, RouteBy};

    fn around() -> CliSurroundings {
        let allotment = Allotment { mask: vec![Cpu(0), Cpu(1)], ..Allotment::default() };
        CliSurroundings { allotment, ..CliSurroundings::default() }
    }

    fn given(line: &str) -> RunArgs {
        let words = format!("dispatchd {line}");
        match args::parse(words.split(' ').filter(|w| !w.is_empty()).map(OsString::from)) {
            Ok(args::CliCommand::Run(run)) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn read(line: &str) -> Result<Effective, ConfigError> {
        effective(&given(line), &around())
    }

    fn refusal(line: &str) -> String {
        read(line).unwrap_err().to_string()
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        let effective = read("").unwrap();
        let config = &effective.config;
        assert_eq!(config.name, "default");
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].addr.to_string(), "127.0.0.1:8000");
        assert_eq!(config.policy, Policy::Jbsq(Depth::Auto));
        assert_eq!((config.start_timeout, config.drain_timeout), (START_TIMEOUT, DRAIN_TIMEOUT));
        assert_eq!((config.hold_max, config.backlog), (HOLD_DEFAULT, None));
        assert_eq!(config.program, None);
        assert_eq!(effective.placement.slots.len(), 2);
    }

    #[test]
    fn every_flag_is_taken_over() {
        let line = "--name n --listen :1 --listen unix:/s,readable --dispatch-on connect \
                    --workers 3 --policy least --weight 3,1 --backend epoll --pin 1,0 \
                    --spin off --dispatch request --overload reject --hold 7 --start-timeout 1m30s \
                    --drain-timeout 0s --backlog 9 --socket-mode 0660 \
                    --socket-owner 3:4 --log-level debug --log-format json -- prog a";
        let Effective { config, placement } = read(line).unwrap();
        let expected = Config {
            name: "n".to_owned(),
            listeners: vec![
                Listener {
                    addr: ListenAddr::Tcp("0.0.0.0:1".parse().unwrap()),
                    dispatch_on: DispatchOn::Connect,
                },
                Listener { addr: ListenAddr::Unix("/s".into()), dispatch_on: DispatchOn::Readable },
            ],
            inherited: 0,
            dispatch_on: DispatchOn::Connect,
            workers: WorkerCount::Exactly(3),
            policy: Policy::Least,
            weights: Weights::Given(vec![3, 1]),
            dispatch: Dispatch::Request,
            classes: None,
            backend: BackendChoice::Epoll,
            pin: Pin::List(vec![Cpu(1), Cpu(0)]),
            spin: Spin::Off,
            overload: Overload::Reject,
            hold_max: 7,
            start_timeout: Span::from_s(90),
            drain_timeout: Span::ZERO,
            backlog: Some(9),
            socket_access: SocketAccess { mode: Some(0o660), user: Some(3), group: Some(4) },
            program: Some(Program { path: "prog".into(), args: vec!["a".into()] }),
            log: Log { level: LogLevel::Debug, format: LogFormat::Json },
        };
        assert_eq!(config, expected);
        let slots: Vec<_> = placement.slots.iter().map(|s| (s.cpu.unwrap().0, s.weight)).collect();
        assert_eq!(slots, [(1, 3), (0, 1), (1, 1)]);
    }

    /// Flag, value, what follows "--flag 'value' is not valid; allowed: ".
    const WRONG: [(&str, &str, &str); 26] = [
        (
            "listen",
            "8000",
            "ADDRESS:PORT, [ADDRESS]:PORT, [ADDRESS%INTERFACE]:PORT, :PORT (every IPv4 address) or \
             unix:PATH, each with ,readable or ,connect after it; write 127.0.0.1:8000, or :8000 \
             for every IPv4 address",
        ),
        ("socket-mode", "888", "permission bits in octal, up to 0777, such as 0660"),
        (
            "socket-mode",
            "0460",
            "permission bits in octal, up to 0777, such as 0660; 0200 has to be among them: \
             dispatchd asks by it whether somebody listens",
        ),
        ("socket-mode", "1777", "permission bits in octal, up to 0777, such as 0660"),
        ("workers", "0", "auto, or a number from 1 to 256"),
        ("workers", "-1", "auto, or a number from 1 to 256"),
        (
            "policy",
            "roundrobin",
            "rr, wrr, least, jbsq, jbsq:N (N from 1 to 64), shared, reuseport; did you mean rr?",
        ),
        (
            "weight",
            "3,0",
            "auto, or 1 to 256 numbers from 1 to 1000 with commas; for example 3,1; workers beyond \
             the list have weight 1",
        ),
        ("backend", "iouring", "auto, uring, epoll"),
        ("backend", "urign", "auto, uring, epoll; did you mean uring?"),
        (
            "pin",
            "3-1",
            "auto, none, or CPUs from 0 to 1023 such as 0,2,4-7; a range goes upwards, and the \
             list names at most 256",
        ),
        ("spin", "on", "auto, off"),
        ("dispatch-on", "accept", "readable, connect"),
        ("dispatch-on", "conect", "readable, connect; did you mean connect?"),
        ("name", "a/b", "1 to 64 of a-z, 0-9, _ and -"),
        ("dispatch", "requests", "auto, request, connection; did you mean request?"),
        ("classes", "paths", "off, path, target; did you mean path?"),
        ("overload", "drop", "hold, reject"),
        ("hold", "0", "a number from 1 to 65536"),
        ("start-timeout", "0s", "a time from 1ms to 1day, such as 500ms, 30s or 2m"),
        (
            "start-timeout",
            "30",
            "a time from 1ms to 1day, such as 500ms, 30s or 2m; the unit is missing: 30s or 30ms",
        ),
        ("drain-timeout", "2days", "a time from 0s to 1day, such as 500ms, 30s or 2m"),
        ("drain-timeout", "soon", "a time from 0s to 1day, such as 500ms, 30s or 2m"),
        ("backlog", "65536", "a number from 1 to 65535"),
        ("log-level", "verbose", "off, error, warn, info, debug, trace"),
        ("log-format", "JSON", "auto, text, json; did you mean json?"),
    ];

    #[test]
    fn a_wrong_value_is_named_with_its_flag_and_what_is_allowed() {
        for (flag, value, rest) in WRONG {
            let expected = format!("--{flag} '{value}' is not valid; allowed: {rest}");
            assert_eq!(refusal(&format!("--{flag} {value}")), expected);
        }
    }

    #[test]
    fn a_wrong_value_from_the_environment_is_named_with_its_variable() {
        for (flag, value, rest) in WRONG {
            let mut run = given(&format!("--{flag} {value}"));
            run.from_environment = vec![flag.to_owned()];
            let variable = format!("DISPATCHD_{}", flag.to_uppercase().replace('-', "_"));
            let expected = format!("{variable} '{value}' is not valid; allowed: {rest}");
            assert_eq!(effective(&run, &around()).unwrap_err().to_string(), expected);
        }
        let empty = RunArgs {
            listen: vec![String::new()],
            from_environment: vec!["listen".to_owned()],
            ..RunArgs::default()
        };
        let text = effective(&empty, &around()).unwrap_err().to_string();
        assert!(text.starts_with("DISPATCHD_LISTEN '' is not valid"), "{text}");
    }

    #[test]
    fn parts_that_do_not_go_together_are_refused() {
        for (line, start) in [
            ("--weight 3,1", "--weight '3,1' has no effect under --policy 'jbsq'"),
            ("--policy least --classes path", "--classes has no use under --policy 'least'"),
            ("--policy wrr --weight 3,2,1", "--weight names 3 workers, and there are 2"),
            ("--policy reuseport --listen unix:/a", "--policy 'reuseport' cannot serve --listen"),
            ("--pin 0,7", "--pin names CPU 7, which this process may not use; allowed: 0-1"),
            ("--listen :1 --listen :1", "--listen '0.0.0.0:1' is given twice"),
        ] {
            let text = refusal(line);
            assert!(text.starts_with(start), "{text}");
        }
        let text = program(&[OsString::new()]).unwrap_err().to_string();
        assert_eq!(text, "-- '' is not valid; allowed: a program and its arguments");
    }

    #[test]
    fn access_to_sockets_is_by_name_or_number() {
        for (owner, user, group) in
            [("root", Some(0), None), ("7:root", Some(7), Some(0)), (":12", None, Some(12))]
        {
            let line = format!("--listen unix:/s --socket-owner {owner} --socket-mode 607");
            let access = read(&line).unwrap().config.socket_access;
            assert_eq!(access, SocketAccess { mode: Some(0o607), user, group }, "{owner}");
        }
        let allowed = "allowed: USER, USER:GROUP or :GROUP, by name or number";
        for (owner, advice) in [
            ("no-such-user", "; there is no user 'no-such-user' here"),
            ("0:no-such-group", "; there is no group 'no-such-group' here"),
            (":", ""),
            ("root:", ""),
            ("+1", "; there is no user '+1' here"),
            ("4294967295", "; 4294967295 is nobody's number"),
            ("1:4294967295", "; 4294967295 is nobody's number"),
        ] {
            let said = refusal(&format!("--listen unix:/s --socket-owner {owner}"));
            let expected = format!("--socket-owner '{owner}' is not valid; {allowed}{advice}");
            assert_eq!(said, expected);
        }
        let said = refusal("--socket-mode 0600");
        assert!(said.starts_with("--socket-mode has no effect"), "{said}");
        let said = refusal("--socket-owner 1");
        assert!(said.starts_with("--socket-owner has no effect"), "{said}");
    }

    #[test]
    fn classes_are_told_apart_under_jbsq() {
        for (line, classes) in [
            ("", None),
            ("--classes off --policy rr", None),
            ("--classes path", Some(RouteBy::Path)),
            ("--classes target --policy jbsq:1", Some(RouteBy::Target)),
        ] {
            assert_eq!(read(line).unwrap().config.classes, classes, "{line}");
        }
    }

    #[test]
    fn a_variable_may_hold_several_addresses() {
        let run = RunArgs {
            listen: vec![":1,connect  unix:/a".to_owned()],
            from_environment: vec!["listen".to_owned()],
            ..RunArgs::default()
        };
        let config = effective(&run, &around()).unwrap().config;
        let addrs: Vec<_> = config.listeners.iter().map(|one| one.addr.to_string()).collect();
        assert_eq!(addrs, ["0.0.0.0:1", "unix:/a"]);
    }

    #[test]
    fn nodes_policy_counts_when_ours_is_not_given() {
        let node = CliSurroundings { node_policy: Some("rr".to_owned()), ..around() };
        let policy = |line: &str| effective(&given(line), &node).unwrap().config.policy;
        assert_eq!(policy(""), Policy::RoundRobin);
        assert_eq!(policy("--policy least"), Policy::Least);
        let wrong = CliSurroundings { node_policy: Some("x".to_owned()), ..around() };
        assert_eq!(
            effective(&given(""), &wrong).unwrap_err().to_string(),
            "NODE_CLUSTER_SCHED_POLICY 'x' is not valid; allowed: rr or none; unset it and use \
             --policy or DISPATCHD_POLICY"
        );
        effective(&given("--policy rr"), &wrong).unwrap();
    }

    #[test]
    fn inherited_sockets_replace_the_default_address_only() {
        let some = CliSurroundings { inherited: 2, ..around() };
        let listeners = |line: &str| effective(&given(line), &some).unwrap().config.listeners.len();
        assert_eq!(listeners(""), 0);
        assert_eq!(listeners("--listen :1"), 1);
        let text = |value: &str| Some(value.to_owned());
        for (count, pid, expected) in [
            (None, None, Ok(0)),
            (text(""), None, Ok(0)),
            (text("2"), None, Ok(2)),
            (text("2"), text(""), Ok(2)),
            (text("2"), text("42"), Ok(2)),
            (text("2"), text("43"), Ok(0)),
            (text("1x"), text("43"), Ok(0)),
            (text("1x"), text("42"), Err("1x".to_owned())),
            (text("-1"), None, Err("-1".to_owned())),
            (text("+1"), None, Err("+1".to_owned())),
            (text("99999999999"), None, Err("99999999999".to_owned())),
        ] {
            assert_eq!(inherited(count, pid, 42), expected);
        }
    }
}
