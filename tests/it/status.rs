//! What `status` tells: numbers that never fall, each end of a connection under its own name, a
//! worker that is stopped, what became of a reload; and how it shows that.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::{Child, ChildStdout, Stdio};

use dispatchd::wire::control::{ControlReply, Status};
use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process;
use crate::server::{Plan, Server, example};
use crate::wait::{Lines, eventually};

on_both! {
    what_was_done_stays_counted_when_workers_go
    under_shared_it_stays_counted_too
    each_end_of_a_connection_has_its_name
    a_stopped_worker_says_so
    ps_says_who_is_who
    what_became_of_a_reload_is_told
    it_is_as_wide_as_it_may_be
    a_watch_goes_on_until_it_is_interrupted
    a_watch_ends_with_its_master
}

fn what_was_done_stays_counted_when_workers_go(backend: &str) {
    stays_counted(&Plan::on(backend).with("--policy rr").start());
}

fn under_shared_it_stays_counted_too(backend: &str) {
    stays_counted(&Plan::on(backend).with("--policy shared").start());
}

fn stays_counted(server: &Server) {
    const REQUESTS: u64 = 40;
    for _ in 0..REQUESTS {
        assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    }
    let mut least = Counted::default();
    let mut look = |what: &str, is_so: &dyn Fn(&Status) -> bool| {
        server.wait_for_status(what, |status| {
            let now = Counted::of(status);
            assert!(least.is_no_more_than(&now), "{least:?}, then {now:?}");
            least = now;
            is_so(status)
        })
    };
    let told = look("all are told", &|status| {
        (status.totals.requests, status.totals.accepted) == (REQUESTS, REQUESTS)
    });
    server.signal(Signal::SIGHUP);
    let whole = |status: &Status| status.workers.len() == 2 && status.have == 2;
    look("the new generation serves alone", &|status| status.generation == 2 && whole(status));
    process::signal(server.worker(0).pid, Signal::SIGKILL);
    look("the dead one is replaced", &|status| status.workers[0].restarts == 1 && whole(status));
    server.signal(Signal::SIGTTOU);
    let one = look("one is left", &|status| status.want == 1 && status.workers.len() == 1);
    assert_eq!(one.workers[0].accepted, told.workers[0].accepted, "those of its slot");
    assert_eq!((one.totals.requests, one.totals.accepted), (REQUESTS, REQUESTS));
}

/// What may never fall.
#[derive(Debug, Default)]
struct Counted {
    totals: [u64; 4],
    slots: BTreeMap<u16, [u64; 2]>,
}

impl Counted {
    fn of(status: &Status) -> Self {
        let totals = &status.totals;
        let totals = [totals.requests, totals.accepted, totals.wakes, totals.rings];
        let mut slots = BTreeMap::new();
        for worker in &status.workers {
            let [accepted, requests] = slots.entry(worker.worker).or_default();
            *accepted += worker.accepted;
            *requests += worker.requests;
        }
        Self { totals, slots }
    }

    /// A slot that is not wanted any more is not told of.
    fn is_no_more_than(&self, now: &Self) -> bool {
        let slots = now.slots.iter().flat_map(|(slot, now)| {
            let before = self.slots.get(slot).copied().unwrap_or_default();
            before.into_iter().zip(*now)
        });
        let mut all = self.totals.into_iter().zip(now.totals).chain(slots);
        all.all(|(before, now)| before <= now)
    }
}

fn each_end_of_a_connection_has_its_name(backend: &str) {
    let flags = "--workers 1 --policy jbsq:1 --hold 2 --overload reject";
    let server = Plan::on(backend).with(flags).start();
    for checks in 1..=5 {
        drop(Client::connect(server.address()).unwrap());
        server.wait_for_status("a health check is told", |status| status.totals.hung_up == checks);
    }
    let ask = |path| Client::asking(server.address(), path).unwrap();
    // It takes nothing until it goes on.
    let worker = server.worker(0).pid;
    process::freeze(worker);
    let stopped = |status: &Status| status.workers[0].state == "stopped";
    server.wait_for_status("it is stopped", stopped);
    let mut asking = [ask("/"), ask("/")];
    server.wait_for_status("no more may wait", |status| status.hold.held == 2);
    assert_eq!(ask("/").reply().unwrap().status, 503);
    let mut silent = Client::connect(server.address()).unwrap();
    assert_eq!(silent.read_to_end().unwrap(), b"", "where no more may wait it is let go");
    process::signal(worker, Signal::SIGCONT);
    for client in &mut asking {
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let all = |status: &Status| status.totals.closed == 2;
    let totals = server.wait_for_status("all have ended", all).totals;
    assert_eq!((totals.arrived, totals.hung_up, totals.rejected, totals.expired), (9, 5, 1, 1));
    let text = said(&server, &[]);
    for (name, count) in [("hung up", 5), ("rejected", 1), ("expired", 1)] {
        assert!(text.contains(&format!("{name} {count}")), "{text}");
    }
}

fn a_stopped_worker_says_so(backend: &str) {
    let server = Plan::on(backend).start();
    let worker = server.worker(1);
    process::freeze(worker.pid);
    let stopped = |status: &Status| status.workers[1].state == "stopped";
    server.wait_for_status("it is stopped", stopped);
    let text = said(&server, &[]);
    let line = text.lines().find(|line| line.contains(&worker.pid.to_string())).unwrap();
    assert!(line.contains("stopped"), "{text}");
    process::signal(worker.pid, Signal::SIGCONT);
    server.wait_for_status("it goes on", |status| status.workers[1].state == "ready");
}

fn ps_says_who_is_who(backend: &str) {
    let server = Plan::on(backend).env("SEEN", "still").start();
    let name = server.name();
    assert_eq!(process::name(server.pid()).unwrap(), "dispatchd");
    assert_eq!(process::arguments(server.pid()), [format!("dispatchd: master ({name})")]);
    let variables = fs::read_to_string(format!("/proc/{}/environ", server.pid())).unwrap();
    assert!(variables.contains("SEEN=still\0"), "{variables}");
    for slot in 0..2 {
        let worker = server.worker(slot).pid;
        assert_eq!(process::name(worker).unwrap(), format!("dispatchd-w{slot}"));
        let title = format!("dispatchd: worker {slot} ({name})");
        assert_eq!(process::arguments(worker)[0], title);
    }
    let program = example("http_worker");
    let server = Plan::on(backend).program([&program]).start();
    let worker = server.worker(0).pid;
    assert_eq!(process::name(worker).unwrap(), "http_worker", "others keep their own");
    assert_eq!(process::arguments(worker), [program.to_str().unwrap()]);
}

fn what_became_of_a_reload_is_told(backend: &str) {
    let plan = Plan::on(backend);
    let broken = plan.dir().join("broken");
    let script = "if [ -e \"$0\" ]; then echo no disk >&2; exit 9; fi; exec \"$1\" serve-worker";
    let dispatchd = env!("CARGO_BIN_EXE_dispatchd");
    let server = plan.program(["sh", "-c", script, broken.to_str().unwrap(), dispatchd]).start();
    assert_eq!(server.status().reload, None);
    assert!(!said(&server, &[]).contains("reload "));
    server.signal(Signal::SIGHUP);
    let outcome = |wanted: &'static str| {
        move |status: &Status| status.reload.as_ref().is_some_and(|reload| reload.outcome == wanted)
    };
    let done = server.wait_for_status("the reload is done", outcome("done")).reload.unwrap();
    assert_eq!((done.generation, done.why), (2, None));
    fs::write(&broken, "").unwrap();
    server.signal(Signal::SIGHUP);
    let status = server.wait_for_status("the reload is given up", outcome("given up"));
    let given_up = status.reload.unwrap();
    assert_eq!((given_up.generation, status.generation), (3, 2));
    let why = "worker 0: exit code 9; last output: no disk";
    assert_eq!(given_up.why.as_deref(), Some(why));
    let text = said(&server, &[]);
    let line = text.lines().find(|line| line.starts_with("reload ")).unwrap();
    assert!(line.starts_with("reload     to generation 3: given up "), "{text}");
    assert!(text.contains(&why[..20]), "{text}");
}

fn it_is_as_wide_as_it_may_be(backend: &str) {
    let listen = "--listen 127.0.0.1:0 --listen 127.0.0.1:0 --listen 127.0.0.1:0 ".repeat(3);
    let server = Plan::on(backend).with(&listen).start();
    let widest = |text: &str| text.lines().map(str::len).max().unwrap();
    let narrow = said(&server, &[]);
    assert!(widest(&narrow) <= 80, "{narrow}");
    assert!(!narrow.contains("per request"), "there was none: {narrow}");
    let wide = said(&server, &[("COLUMNS", "150")]);
    assert!((100..=150).contains(&widest(&wide)), "{wide}");
    assert!(widest(&said(&server, &[("COLUMNS", "40")])) <= 80);
}

fn said(server: &Server, variables: &[(&str, &str)]) -> String {
    let ended = server.asking(&["status"]).envs(variables.iter().copied()).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

fn a_watch_goes_on_until_it_is_interrupted(backend: &str) {
    let server = Plan::on(backend).start();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut watch = Watch::of(&server, &["status", "--watch", "0.1"]);
        for _ in 0..3 {
            watch.wait_for("dispatchd");
        }
        process::signal(watch.process.id(), signal);
        assert_eq!(watch.exit_code(), Some(0), "{signal}");
    }
    let mut watch = Watch::of(&server, &["status", "--watch", "0.1", "--json"]);
    for _ in 0..3 {
        let line = watch.wait_for("");
        let Ok(ControlReply::Status(status)) = serde_json::from_str(&line) else {
            panic!("{line}")
        };
        assert_eq!(status.have, 2);
    }
    watch.pictures = None;
    assert_eq!(watch.exit_code(), Some(0), "nobody reads any more");
}

fn a_watch_ends_with_its_master(backend: &str) {
    let mut server = Plan::on(backend).start();
    let mut watch = Watch::of(&server, &["status", "--watch", "0.1"]);
    watch.wait_for("dispatchd");
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(watch.exit_code(), Some(3));
    let mut words = String::new();
    watch.process.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(words.contains("no dispatchd runs under the name"), "{words}");
}

/// A command that shows a status again and again.
struct Watch {
    process: Child,
    /// None when nobody reads them any more.
    pictures: Option<Lines<ChildStdout>>,
}

impl Watch {
    fn of(server: &Server, words: &[&str]) -> Self {
        let mut command = server.asking(words);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pictures = process.stdout.take().map(Lines::of);
        Self { process, pictures }
    }

    /// The next line that begins so.
    fn wait_for(&mut self, beginning: &str) -> String {
        self.pictures.as_mut().unwrap().find(beginning, |line| line.starts_with(beginning))
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually("the watch ends", || self.process.try_wait().unwrap()).code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
