//! The load generator as it meets servers: the real one, which it must not get in the way of, and
//! some that answer nonsense or nothing. Only fates and numbers are looked at: how long anything
//! took says nothing on a machine that runs other tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use dispatchd::bench::load::{LoadOptions, LoadTarget, Run, replay};
use dispatchd::bench::mix::Mix;
use dispatchd::bench::outcome::Fate;
use dispatchd::bench::result::{MeasurementKind, Results};
use dispatchd::bench::trace::{Arrivals, Connections, Trace, TraceSpec};
use dispatchd::io::probe::Wanted;
use dispatchd::units::Span;

use crate::server::{Plan, assert_says_nothing_twice};
use crate::wait::nap;

// The backend is the generator's here.
on_both! {
    every_request_is_answered_however_connections_are_shared
    threads_share_the_connections
    unix_sockets_and_ipv6_are_spoken_to
    statuses_are_told_apart
    each_kind_of_failure_has_its_fate
    requests_of_a_connection_never_overlap
    a_connection_that_the_server_ends_is_opened_again
    a_server_that_never_answers_ends_the_run
}

const WAYS: [Connections; 4] = [
    Connections::PerRequest,
    Connections::KeepAlive { requests: 10.0, think_ms: 5.0 },
    Connections::Mixed { requests: 10.0, think_ms: 5.0 },
    Connections::Pool { count: 16 },
];

fn every_request_is_answered_however_connections_are_shared(backend: &str) {
    let server = Plan::on("auto").start();
    let mut arrived = server.status().totals.arrived;
    for connections in WAYS {
        let trace = draw("50%:/,50%:/whoami", connections, 2_000.0, 400);
        let run = ask(&format!("http://{}", server.address()), &trace, &options(backend));
        assert_eq!(fates(&run), [("Answered".to_owned(), trace.requests.len())].into());
        assert_eq!(workers(&run), [0, 1].into(), "{connections:?}");
        for (request, sample) in trace.requests.iter().zip(&run.outcome.samples) {
            assert!(request.at <= sample.sent && sample.sent < sample.done, "{sample:?}");
        }
        // One more: it looks whether anybody is there first.
        let opened = trace.connection_lengths().len() as u64 + 1;
        let status =
            server.wait_for_status("all have arrived", |s| arrived + opened <= s.totals.arrived);
        assert_eq!(status.totals.arrived, arrived + opened, "{connections:?}");
        arrived = status.totals.arrived;
        assert!(run.machine.server_cpu.is_some(), "whoever listens is found");
    }
}

fn threads_share_the_connections(backend: &str) {
    let server = Plan::on("auto").start();
    let trace = draw("/", Connections::Pool { count: 5 }, 2_000.0, 300);
    let options = LoadOptions { threads: 3, ..options(backend) };
    let run = ask(&format!("http://{}", server.address()), &trace, &options);
    assert_eq!(fates(&run), [("Answered".to_owned(), 300)].into());
}

fn unix_sockets_and_ipv6_are_spoken_to(backend: &str) {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("socket").display());
    // More come at once to the first one than its queue has room for.
    for flags in [format!("--listen {unix} --backlog 2"), "--listen [::1]:0".to_owned()] {
        let server = Plan::on("auto").with(&flags).start();
        let address = server.address();
        let url = if address == unix { unix.clone() } else { format!("http://{address}") };
        let trace = draw("/whoami", Connections::PerRequest, 100_000.0, 400);
        let run = ask(&url, &trace, &options(backend));
        assert_eq!(fates(&run), [("Answered".to_owned(), 400)].into(), "{url}");
    }
}

fn statuses_are_told_apart(backend: &str) {
    let server = Plan::on("auto").start();
    for connections in WAYS {
        let trace = draw("50%:/,50%:/nowhere", connections, 2_000.0, 200);
        let run = ask(&format!("http://{}", server.address()), &trace, &options(backend));
        for (request, sample) in trace.requests.iter().zip(&run.outcome.samples) {
            let path = &trace.spec.mix.classes[usize::from(request.class)].path;
            let fate = if path == "/" { Fate::Answered } else { Fate::Refused(404) };
            assert_eq!(sample.fate, fate);
        }
    }
}

fn each_kind_of_failure_has_its_fate(backend: &str) {
    const CUT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    for (said, hangs, fate) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], false, Fate::Nonsense),
        (b"", false, Fate::Broken),
        (CUT, false, Fate::Broken),
        (CUT, true, Fate::TimedOut),
        (b"", true, Fate::TimedOut),
        (b"HTTP/1.1 503 Busy\r\n\r\nsorry", false, Fate::Refused(503)),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", false, Fate::Answered),
    ] {
        let handle = |mut stream: TcpStream| {
            if hear(&mut stream) == 0 {
                return;
            }
            stream.write_all(said).unwrap();
            // Whoever hangs waits for the client to give up.
            while hangs && stream.read(&mut [0; 64]).is_ok_and(|count| 0 < count) {}
        };
        for connections in [Connections::PerRequest, Connections::Pool { count: 2 }] {
            let trace = draw("/", connections, 1_000.0, 6);
            let short = LoadOptions { timeout: Span::from_ms(100), ..options(backend) };
            let options = if hangs { short } else { options(backend) };
            let run = serve(handle, |url| ask(url, &trace, &options));
            let first = run.outcome.samples[0].fate;
            assert_eq!(first, fate, "{} {hangs}", said.escape_ascii());
            if !hangs {
                let all = run.outcome.samples.iter().all(|sample| sample.fate == fate);
                assert!(all, "{:?}", run.outcome);
            }
        }
    }
    // To close without having read is a reset.
    let resets = |stream: TcpStream| drop(stream.peek(&mut [0; 8]));
    let trace = draw("/", Connections::PerRequest, 1_000.0, 6);
    let run = serve(resets, |url| ask(url, &trace, &options(backend)));
    assert_eq!(fates(&run), [("Broken".to_owned(), 6)].into());
    // Somebody is there when it looks, and nobody later.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let trace = draw("/", Connections::PerRequest, 100.0, 20);
    let run = std::thread::scope(|scope| {
        scope.spawn(move || drop(listener.accept().map(|_| listener)));
        ask(&url, &trace, &options(backend))
    });
    let last = run.outcome.samples.last().unwrap().fate;
    assert_eq!(last, Fate::Unconnected, "{:?}", fates(&run));
}

fn requests_of_a_connection_never_overlap(backend: &str) {
    let handle = |mut stream: TcpStream| {
        while 0 < hear(&mut stream) {
            nap(Span::from_ms(5));
            stream.set_nonblocking(true).unwrap();
            assert!(stream.peek(&mut [0; 8]).is_err(), "the next request did not wait");
            stream.set_nonblocking(false).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).unwrap();
        }
    };
    let trace = draw("/", Connections::Pool { count: 2 }, 1_000.0, 40);
    let run = serve(handle, |url| ask(url, &trace, &options(backend)));
    assert_eq!(fates(&run), [("Answered".to_owned(), 40)].into());
    let mut free_at = [Span::ZERO; 2];
    for (request, sample) in trace.requests.iter().zip(&run.outcome.samples) {
        let free = &mut free_at[request.connection as usize];
        assert!(*free <= sample.sent, "{request:?}: {sample:?}");
        *free = sample.done;
    }
}

fn a_connection_that_the_server_ends_is_opened_again(backend: &str) {
    for field in ["Connection: close\r\n", ""] {
        let handle = |mut stream: TcpStream| {
            if 0 < hear(&mut stream) {
                let answer = format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\nok");
                stream.write_all(answer.as_bytes()).unwrap();
                if !field.is_empty() {
                    // Told so, the client ends it itself.
                    assert_eq!(hear(&mut stream), 0, "another request came");
                }
            }
        };
        // Without a word of it, the end is seen before the next request only if that comes later.
        let trace = draw("/", Connections::Pool { count: 1 }, 4.0, 3);
        let run = serve(handle, |url| ask(url, &trace, &options(backend)));
        assert_eq!(fates(&run), [("Answered".to_owned(), 3)].into());
    }
}

fn a_server_that_never_answers_ends_the_run(backend: &str) {
    let handle = |mut stream: TcpStream| while 0 < hear(&mut stream) {};
    let trace = draw("/", Connections::Pool { count: 1 }, 1_000.0, 5);
    let options = LoadOptions { timeout: Span::from_ms(200), ..options(backend) };
    let run = serve(handle, |url| ask(url, &trace, &options));
    let samples = &run.outcome.samples;
    assert_eq!(samples[0].fate, Fate::TimedOut);
    assert_eq!(samples[4].fate, Fate::Unsent);
    assert!(samples.iter().all(|sample| Span::from_ms(200) <= sample.done));
}

#[test]
fn the_command_measures_saves_and_replays() {
    let server = Plan::on("auto").start();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}", server.address());
    let (output, saved) = (folder.path().join("deep/out"), folder.path().join("trace"));
    let line = format!(
        "{url} --rate 500 --requests 200 --mix 90%:/burn?ms=0.1,10%:/burn?ms=1 --connections \
         pool:4 --warmup 0s --json -o {} --save-trace {}",
        output.display(),
        saved.display()
    );
    let results = measured(&bench_load(&line));
    assert_eq!(results.kind, MeasurementKind::Load);
    let (cell, round) = (&results.cells[0], &results.cells[0].rounds[0]);
    assert_eq!((cell.subject.as_str(), cell.connections.as_str()), (url.as_str(), "pool 4"));
    assert_eq!((round.requests, round.errors), (200, 0));
    assert_eq!(round.classes.iter().map(|class| class.requests).sum::<u64>(), 200);
    assert_eq!(round.workers.iter().map(|worker| worker.requests).sum::<u64>(), 200);
    assert_eq!(Results::load(&output).unwrap(), results);
    for class in ["short", "long"] {
        let text = fs::read_to_string(output.join(format!("{class}.hgrm"))).unwrap();
        assert!(text.contains("Total count"), "{text}");
    }
    let again =
        measured(&bench_load(&format!("{url} --trace {} --warmup 0s --json", saved.display())));
    let requests = |results: &Results| -> Vec<u64> {
        results.cells[0].rounds[0].classes.iter().map(|class| class.requests).collect()
    };
    assert_eq!(requests(&again), requests(&results));
    let table = bench_load(&format!("{url}/whoami --requests 20 --rate 100"));
    let said = String::from_utf8(table.stdout).unwrap();
    for part in ["requests/s", "none of", "sent late by", "foreign CPU", "workers"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn wrong_lines_are_refused_in_one() {
    let server = Plan::on("auto").start();
    let url = format!("http://{}", server.address());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    draw("/", Connections::PerRequest, 100.0, 50).save(&file).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let cut = folder.path().join("cut");
    fs::write(&cut, text.lines().take(20).collect::<Vec<_>>().join("\n")).unwrap();
    let at = |path: &Path| path.display().to_string();
    let nobody = nobody();
    for (line, code, parts) in [
        (nobody.clone(), 1, [nobody.as_str(), "cannot connect", "is the server up?"]),
        ("http://name.invalid".into(), 1, ["cannot find the host", "name.invalid", ""]),
        (format!("{url} --rate 0"), 2, ["--rate '0'", "above 0", ""]),
        (format!("{url} --mix 99%:/a,2%:/b"), 2, ["--mix", "101 %", ""]),
        (format!("{url} --mix 99:/a"), 2, ["--mix", "not a share", ""]),
        (
            format!("{url} --output {}", at(&file)),
            1,
            ["cannot write to the folder", &at(&file), ""],
        ),
        (
            format!("{url} --save-trace {}", at(&file.join("x"))),
            1,
            ["cannot write the trace", &at(&file), "Not a directory"],
        ),
        (format!("{url} --trace {}", at(&cut)), 1, [&at(&cut), "is cut off: it has 19 of 50", ""]),
        (format!("{url} --trace {}", at(folder.path())), 1, ["cannot read the trace", "", ""]),
        (format!("{url} --requests 5 --pin 1023"), 1, ["pin to CPU 1023", "cpuset", ""]),
        (format!("{url} --warmup 1m"), 2, ["--warmup '1m'", "leaves nothing", ""]),
        ("127.0.0.1:1".into(), 2, ["URL '127.0.0.1:1'", "write http://127.0.0.1:1", ""]),
    ] {
        let ended = bench_load(&line);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{line}: {said}");
        assert!(said.starts_with("dispatchd: ") && said.lines().count() == 1, "{line}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{line}: {said}");
        assert_says_nothing_twice(&said);
        assert!(ended.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_server_that_answers_nothing_well_is_a_failure() {
    let server = Plan::on("auto").start();
    let ended =
        bench_load(&format!("http://{}/nowhere --requests 20 --rate 100", server.address()));
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.contains("status 404"), "{said}");
}

fn draw(mix: &str, connections: Connections, rate: f64, requests: u64) -> Trace {
    let mix = Mix::parse(mix).unwrap();
    let arrivals = Arrivals::Constant;
    Trace::draw(TraceSpec { seed: 5, mix, arrivals, connections, rate, requests, ramp_s: 0.0 })
        .unwrap()
}

fn options(backend: &str) -> LoadOptions {
    let backend = if backend == "uring" { Wanted::Uring } else { Wanted::Epoll };
    LoadOptions { backend, ..LoadOptions::default() }
}

fn ask(url: &str, trace: &Trace, options: &LoadOptions) -> Run {
    let target = LoadTarget::parse(url).unwrap();
    let mut last = None;
    let run = replay(trace, &target, options, &mut |progress| last = Some(progress)).unwrap();
    assert_eq!(run.outcome.samples.len(), trace.requests.len());
    let last = last.expect("there is word of the end");
    assert_eq!(last.done, trace.requests.len() as u64);
    run
}

fn fates(run: &Run) -> BTreeMap<String, usize> {
    let mut fates = BTreeMap::new();
    for sample in &run.outcome.samples {
        *fates.entry(format!("{:?}", sample.fate)).or_default() += 1;
    }
    fates
}

fn workers(run: &Run) -> BTreeSet<u16> {
    run.outcome.samples.iter().filter_map(|sample| sample.worker).collect()
}

/// Handles each connection in a thread of its own while `ask` runs.
fn serve<R>(handle: impl Fn(TcpStream) + Sync, ask: impl FnOnce(&str) -> R) -> R {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, handle) = (&over, &handle);
        scope.spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let stream = stream.unwrap();
                scope.spawn(move || handle(stream));
            }
        });
        let result = ask(&format!("http://{address}"));
        over.store(true, Ordering::Release);
        drop(TcpStream::connect(address));
        result
    })
}

/// Bytes of a request that came; none when the client is gone.
fn hear(stream: &mut TcpStream) -> usize {
    stream.read(&mut [0; 4_096]).unwrap_or(0)
}

/// The URL of a server that is not up.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn bench_load(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
    command.args(["bench", "load"]).args(line.split_whitespace()).output().unwrap()
}

/// The results of a run, whose exit code says whether it counts.
#[track_caller]
fn measured(ended: &Output) -> Results {
    let said = String::from_utf8_lossy(&ended.stderr);
    let results: Results =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let rejected = results.cells[0].rounds[0].rejected.is_some();
    assert_eq!(ended.status.code(), Some(i32::from(rejected)), "{said}");
    assert_eq!(said.contains("does not count"), rejected, "{said}");
    results
}
