//! From the flags of `bench load` to what is sent, and how: everything that can be refused is
//! refused here, before the first request.

use super::Misuse;
use super::args::LoadArgs;
use super::values::{FLAGS, decimal, time, whole, word};
use crate::bench::load::{LoadOptions, LoadTarget, SendPace};
use crate::bench::mix::{Mix, Service};
use crate::bench::trace::{Arrivals, Connections, Trace, TraceSpec};
use crate::config::{BackendChoice, Pin, Wrong, words};
use crate::io::probe::Wanted;
use crate::limits::{BENCH_THREADS_MAX, BENCH_TIMEOUT, TRACE_CONNECTIONS_MAX, TRACE_REQUESTS_MAX};
use crate::units::Span;

/// What a `bench load` is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LoadPlan {
    pub(super) target: LoadTarget,
    /// What to draw; none when a trace is replayed.
    pub(super) spec: Option<TraceSpec>,
    pub(super) options: LoadOptions,
    /// Nothing before this counts; none for the default.
    pub(super) warmup: Option<Span>,
}

const RATE_DEFAULT: f64 = 1_000.0;
const RATE_MAX: f64 = 1e7;
const DURATION_DEFAULT: Span = Span::from_s(10);
const THINK_DEFAULT: Span = Span::from_ms(50);
const UNIT_DEFAULT: Span = Span::from_ms(1);
const SEED_DEFAULT: u64 = 1;
const WARMUP_DEFAULT: Span = Span::from_s(1);

const ARRIVALS: [(&str, Arrivals); 2] =
    [("poisson", Arrivals::Poisson), ("constant", Arrivals::Constant)];
const SERVICES: [(&str, Service); 2] = [("sleep", Service::Sleep), ("spin", Service::Spin)];
const PACES: [(&str, SendPace); 2] = [("sleep", SendPace::Sleep), ("spin", SendPace::Spin)];

/// What the flags mean.
///
/// # Errors
/// The first wrong value, or flags that do not go together.
pub(super) fn plan(args: &LoadArgs) -> Result<LoadPlan, Misuse> {
    let target = LoadTarget::parse(&args.url).map_err(|wrong| wrong.given_as("URL", &args.url))?;
    let spec = match &args.trace {
        Some(_) => {
            refuse_beside_a_trace(args, &target)?;
            None
        }
        None => Some(spec(args, &target)?),
    };
    let warmup = time("warmup", args.warmup.as_deref(), Span::ZERO)?;
    Ok(LoadPlan { target, spec, options: options(args)?, warmup })
}

/// What counts of a trace begins there.
///
/// # Errors
/// Nothing of it would count.
pub(super) fn warmup(plan: &LoadPlan, trace: &Trace, args: &LoadArgs) -> Result<Span, Misuse> {
    let Some(warmup) = plan.warmup else {
        let tenth = Span::from_ns(trace.length().as_ns() / 10);
        return Ok(WARMUP_DEFAULT.min(tenth));
    };
    if trace.length() < warmup {
        let value = args.warmup.clone().unwrap_or_default();
        return Err(Misuse::TooLong { name: "warmup", value });
    }
    Ok(warmup)
}

fn options(args: &LoadArgs) -> Result<LoadOptions, Misuse> {
    let pin = |text: &str| match words::pin(text) {
        Ok(Pin::List(cpus)) => Ok(cpus),
        Ok(Pin::Auto | Pin::None) | Err(_) => Err(Wrong::new("CPUs such as 0 or 0,2,4-7")),
    };
    let backend = FLAGS.read("backend", args.backend.as_deref(), BackendChoice::Auto, |word| {
        words::one_of(word, &words::BACKENDS)
    })?;
    let pid = |text: &String| {
        let wrong = || Wrong::new("the number of a process");
        let parse = |text: &str| whole(text, 1, u64::from(u32::MAX)).ok_or_else(wrong);
        let pid = FLAGS.read("server-pid", Some(text), 0, parse)?;
        Ok(u32::try_from(pid).unwrap_or(u32::MAX))
    };
    let threads = FLAGS.read("threads", args.threads.as_deref(), 1, |text| {
        let wrong = || Wrong::new(format!("a number from 1 to {BENCH_THREADS_MAX}"));
        words::number(text, 1, BENCH_THREADS_MAX).ok_or_else(wrong)
    })?;
    Ok(LoadOptions {
        timeout: time("timeout", args.timeout.as_deref(), Span::from_ms(1))?
            .unwrap_or(BENCH_TIMEOUT),
        threads,
        cpus: FLAGS.read("pin", args.pin.as_deref(), Vec::new(), pin)?,
        backend: match backend {
            BackendChoice::Auto => Wanted::Auto,
            BackendChoice::Uring => Wanted::Uring,
            BackendChoice::Epoll => Wanted::Epoll,
        },
        pace: word("pace", args.pace.as_deref(), &PACES)?.unwrap_or_default(),
        servers: args.server_pid.iter().map(pid).collect::<Result<_, Misuse>>()?,
    })
}

fn spec(args: &LoadArgs, target: &LoadTarget) -> Result<TraceSpec, Misuse> {
    let rate = FLAGS.read("rate", args.rate.as_deref(), RATE_DEFAULT, |text| {
        let allowed = "requests per second, a number above 0 and up to 10000000";
        let rate = decimal(text).filter(|rate| 0.0 < *rate && *rate <= RATE_MAX);
        rate.ok_or_else(|| Wrong::new(allowed))
    })?;
    let ramp = time("ramp", args.ramp.as_deref(), Span::ZERO)?.unwrap_or(Span::ZERO);
    let spec = TraceSpec {
        seed: FLAGS.read("seed", args.seed.as_deref(), SEED_DEFAULT, |text| {
            let wrong = || Wrong::new(format!("a number from 0 to {}", u64::MAX));
            whole(text, 0, u64::MAX).ok_or_else(wrong)
        })?,
        mix: mix(args, target)?,
        arrivals: word("arrivals", args.arrivals.as_deref(), &ARRIVALS)?
            .unwrap_or(Arrivals::Poisson),
        connections: connections(args)?,
        rate,
        requests: requests(args, rate, ramp)?,
        ramp_s: seconds(ramp),
    };
    Ok(spec)
}

fn mix(args: &LoadArgs, target: &LoadTarget) -> Result<Mix, Misuse> {
    let Some(text) = &args.mix else {
        refuse_unused("service", args.service.as_deref(), "no named --mix")?;
        refuse_unused("unit", args.unit.as_deref(), "no named --mix")?;
        let name = "URL";
        return Mix::parse(target.path()).map_err(|source| Misuse::Mix {
            name,
            value: args.url.clone(),
            source,
        });
    };
    if target.path() != "/" {
        let name = format!("the path '{}' of URL", target.path());
        return Err(Misuse::Unused { name, other: "--mix".to_owned() });
    }
    let wrong = |source| Misuse::Mix { name: "--mix", value: text.clone(), source };
    let service = word("service", args.service.as_deref(), &SERVICES)?;
    let unit = time("unit", args.unit.as_deref(), Span::from_us(1))?;
    let is_written = text.is_empty() || text.contains(['/', '%', ':']);
    if is_written {
        refuse_unused("service", args.service.as_deref(), "a written --mix")?;
        refuse_unused("unit", args.unit.as_deref(), "a written --mix")?;
        return Mix::parse(text).map_err(wrong);
    }
    let service = service.unwrap_or(Service::Sleep);
    Mix::named(text, service, seconds(unit.unwrap_or(UNIT_DEFAULT)) * 1e3).map_err(wrong)
}

fn connections(args: &LoadArgs) -> Result<Connections, Misuse> {
    let think = time("think", args.think.as_deref(), Span::ZERO)?;
    let think_ms = seconds(think.unwrap_or(THINK_DEFAULT)) * 1e3;
    let default = Connections::PerRequest;
    let connections = FLAGS.read("connections", args.connections.as_deref(), default, |text| {
        parse_connections(text, think_ms)
    })?;
    match connections {
        Connections::KeepAlive { .. } | Connections::Mixed { .. } => {}
        Connections::PerRequest | Connections::Pool { .. } => {
            let text = args.connections.as_deref().unwrap_or("per-request");
            refuse_unused("think", args.think.as_deref(), &format!("--connections {text}"))?;
        }
    }
    Ok(connections)
}

fn parse_connections(text: &str, think_ms: f64) -> Result<Connections, Wrong> {
    let wrong = || {
        Wrong::new(format!(
            "per-request, keep-alive:N or mixed:N (N requests of a visit on average, 1 to 1000000) \
             or pool:N (1 to {TRACE_CONNECTIONS_MAX} connections)"
        ))
    };
    let (kind, number) = text.split_once(':').unwrap_or((text, ""));
    let visit = || decimal(number).filter(|n| (1.0..=1e6).contains(n)).ok_or_else(wrong);
    match (kind, number) {
        ("per-request", "") if !text.contains(':') => Ok(Connections::PerRequest),
        ("keep-alive", _) => Ok(Connections::KeepAlive { requests: visit()?, think_ms }),
        ("mixed", _) => Ok(Connections::Mixed { requests: visit()?, think_ms }),
        ("pool", number) => {
            let count = words::number(number, 1, TRACE_CONNECTIONS_MAX).ok_or_else(wrong)?;
            Ok(Connections::Pool { count })
        }
        _ => Err(wrong()),
    }
}

/// How many requests there are; those of a ramp come at half the rate.
fn requests(args: &LoadArgs, rate: f64, ramp: Span) -> Result<u64, Misuse> {
    if let Some(text) = &args.requests {
        refuse_unused("duration", args.duration.as_deref(), "--requests")?;
        let wrong = || Wrong::new(format!("a number from 1 to {TRACE_REQUESTS_MAX}"));
        let parse = |text: &str| whole(text, 1, TRACE_REQUESTS_MAX).ok_or_else(wrong);
        return Ok(FLAGS.read("requests", Some(text), 0, parse)?);
    }
    let duration = time("duration", args.duration.as_deref(), Span::from_ms(1))?;
    let duration = duration.unwrap_or(DURATION_DEFAULT);
    if duration <= ramp {
        let value = args.ramp.clone().unwrap_or_default();
        return Err(Misuse::TooLong { name: "ramp", value });
    }
    let count = rate * (seconds(duration) - seconds(ramp) / 2.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is beyond all bounds saturates, and is refused with the spec"
    )]
    Ok((count.round() as u64).max(1))
}

/// A trace says what is sent and when; flags that say it too are mistakes.
fn refuse_beside_a_trace(args: &LoadArgs, target: &LoadTarget) -> Result<(), Misuse> {
    for (name, given) in [
        ("rate", &args.rate),
        ("duration", &args.duration),
        ("requests", &args.requests),
        ("mix", &args.mix),
        ("service", &args.service),
        ("unit", &args.unit),
        ("arrivals", &args.arrivals),
        ("connections", &args.connections),
        ("think", &args.think),
        ("ramp", &args.ramp),
        ("seed", &args.seed),
    ] {
        refuse_unused(name, given.as_deref(), "--trace")?;
    }
    if target.path() == "/" {
        return Ok(());
    }
    let name = format!("the path '{}' of URL", target.path());
    Err(Misuse::Unused { name, other: "--trace".to_owned() })
}

fn refuse_unused(name: &str, given: Option<&str>, other: &str) -> Result<(), Misuse> {
    match given {
        None => Ok(()),
        Some(value) => {
            let name = format!("--{name} '{value}'");
            Err(Misuse::Unused { name, other: other.to_owned() })
        }
    }
}

fn seconds(span: Span) -> f64 {
    span.as_ns() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::args::{self, CliCommand};
    use crate::cli::bench::args::Measurement;
    use crate::cli::term;
    use crate::units::Cpu;

    fn args_of(line: &str) -> LoadArgs {
        let words = format!("dispatchd bench load {line}");
        match args::parse(words.split_whitespace().map(OsString::from)).unwrap() {
            CliCommand::Bench(bench) => {
                let Measurement::Load(args) = bench.measurement else { panic!("not load") };
                *args
            }
            other => panic!("{other:?}"),
        }
    }

    fn plan_of(line: &str) -> Result<LoadPlan, Misuse> {
        plan(&args_of(line))
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        let plan = plan_of("http://a").unwrap();
        let spec = plan.spec.unwrap();
        assert_eq!((spec.rate, spec.requests, spec.seed), (1_000.0, 10_000, 1));
        assert_eq!(spec.connections, Connections::PerRequest);
        assert_eq!(spec.mix, Mix::parse("/").unwrap());
        assert_eq!((plan.options, plan.warmup), (LoadOptions::default(), None));
    }

    #[test]
    fn every_flag_is_taken_over() {
        let plan = plan_of(
            "http://a --rate 2.5 --duration 20s --mix bim100 --service spin --unit 2ms \
             --arrivals constant --connections mixed:50 --think 10ms --ramp 4s --warmup 2s \
             --seed 7 --threads 2 --pin 1,0 --timeout 3s --backend epoll --pace spin \
             --server-pid 12 --server-pid 13",
        )
        .unwrap();
        let spec = TraceSpec {
            seed: 7,
            mix: Mix::named("bim100", Service::Spin, 2.0).unwrap(),
            arrivals: Arrivals::Constant,
            connections: Connections::Mixed { requests: 50.0, think_ms: 10.0 },
            rate: 2.5,
            requests: 45,
            ramp_s: 4.0,
        };
        assert_eq!(plan.spec, Some(spec));
        let options = LoadOptions {
            timeout: Span::from_s(3),
            threads: 2,
            cpus: vec![Cpu(1), Cpu(0)],
            backend: Wanted::Epoll,
            pace: SendPace::Spin,
            servers: vec![12, 13],
        };
        assert_eq!((plan.options, plan.warmup), (options, Some(Span::from_s(2))));
        let requests = |line: &str| plan_of(line).unwrap().spec.unwrap().requests;
        assert_eq!(requests("http://a --requests 77 --rate 5"), 77);
        assert_eq!(requests("http://a --rate 0.01"), 1);
    }

    #[test]
    fn the_path_is_the_mix_and_a_trace_leaves_nothing_to_draw() {
        let spec = plan_of("http://a/burn?ms=exp:2").unwrap().spec.unwrap();
        assert_eq!(spec.mix.mean_ms(), Some(2.0));
        assert_eq!(plan_of("http://a --trace f").unwrap().spec, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (line, parts) in [
            ("a:80", &["URL 'a:80' is not valid", "write http://a:80"][..]),
            ("http://a --rate 0", &["--rate '0'", "above 0"]),
            ("http://a --rate -1", &["--rate '-1'", "above 0"]),
            ("http://a --rate inf", &["--rate 'inf'", "above 0"]),
            ("http://a --rate 1e3", &["--rate '1e3'", "above 0"]),
            ("http://a --duration 5", &["--duration '5'", "the unit is missing"]),
            ("http://a --requests 0", &["--requests '0'", "from 1 to"]),
            ("http://a --mix 99%:/a", &["--mix '99%:/a'", "99 %"]),
            ("http://a --mix bim7", &["--mix 'bim7'", "bim10"]),
            ("http://a/burn?ms=x", &["URL 'http://a/burn?ms=x'", "not a service time"]),
            ("http://a --mix bim10 --service state", &["--service 'state'", "sleep, spin"]),
            ("http://a --mix bim10 --unit 1", &["--unit '1'", "the unit is missing"]),
            ("http://a --arrivals bursty", &["--arrivals 'bursty'", "poisson, constant"]),
            ("http://a --connections pool", &["--connections 'pool'", "pool:N"]),
            ("http://a --connections pool:0", &["--connections 'pool:0'", "pool:N"]),
            ("http://a --connections keep-alive:0.5", &["--connections", "keep-alive:N"]),
            ("http://a --connections per-request:", &["--connections", "per-request"]),
            ("http://a --threads 0", &["--threads '0'", "1 to 64"]),
            ("http://a --pin auto", &["--pin 'auto'", "CPUs such as"]),
            ("http://a --timeout 0s", &["--timeout '0s'", "1ms to 1day"]),
            ("http://a --backend kqueue", &["--backend 'kqueue'", "auto, uring, epoll"]),
            ("http://a --pace run", &["--pace 'run'", "sleep, spin"]),
            ("http://a --seed x", &["--seed 'x'", "a number from 0"]),
            ("http://a --server-pid 0", &["--server-pid '0'", "number of a process"]),
            ("http://a --warmup soon", &["--warmup 'soon'", "0s to 1day"]),
            ("http://a --ramp 10s", &["--ramp '10s' leaves nothing"]),
            ("http://a --think 5ms", &["--think '5ms' has no effect with --connections"]),
            ("http://a --unit 5ms", &["--unit '5ms' has no effect with no named --mix"]),
            ("http://a --mix 100%:/ --unit 5ms", &["--unit '5ms' has no effect"]),
            ("http://a/b --mix bim10", &["the path '/b' of URL has no effect with --mix"]),
            ("http://a/b --trace f", &["the path '/b' of URL has no effect with --trace"]),
            ("http://a --trace f --rate 1", &["--rate '1' has no effect with --trace"]),
            ("http://a --requests 5 --duration 5s", &["--duration '5s' has no effect"]),
        ] {
            let text = term::told(&plan_of(line).unwrap_err());
            assert!(!text.contains('\n'), "{text}");
            for part in parts {
                assert!(text.contains(part), "{line}: {text}");
            }
        }
    }

    #[test]
    fn a_warm_up_leaves_something_to_measure() {
        let warmup_of = |line: &str| {
            let args = args_of(line);
            let plan = plan(&args).unwrap();
            let trace = Trace::draw(plan.spec.clone().unwrap()).unwrap();
            warmup(&plan, &trace, &args)
        };
        let constant = "http://a --arrivals constant --rate 100";
        let of = |more: &str| warmup_of(&format!("{constant} {more}")).ok();
        assert_eq!(of("--requests 5000"), Some(Span::from_s(1)));
        assert_eq!(of("--requests 100"), Some(Span::from_ms(100)));
        assert_eq!(of("--requests 100 --warmup 1s"), Some(Span::from_s(1)));
        let error = warmup_of(&format!("{constant} --requests 100 --warmup 2s")).unwrap_err();
        assert!(error.to_string().starts_with("--warmup '2s' leaves nothing"));
    }
}
