//! One dispatchd with its workers, started for one test and gone with it: the master is killed at
//! the end, and no worker may outlive it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dispatchd::sys::clock::monotonic;
use dispatchd::sys::socket::set_timeouts;
use dispatchd::units::Span;
use dispatchd::wire::control::{ControlReply, ControlRequest, Status, WorkerStatus};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process;
use crate::wait::{PATIENCE, eventually, nap};

/// How a dispatchd is to be started.
#[derive(Debug)]
pub(crate) struct Plan {
    name: String,
    dir: TempDir,
    /// Where control sockets are; none: in the directory of its own.
    runtime: Option<PathBuf>,
    wrapper: Vec<OsString>,
    flags: Vec<String>,
    program: Vec<OsString>,
    env: Vec<(&'static str, String)>,
    stdin: Stdio,
    stderr: Option<Stdio>,
    numbers: Numbers,
}

/// What the numbers of processes in a status mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Numbers {
    /// What they mean here.
    Ours,
    /// Something else: dispatchd is in a container, which ends with it.
    Container,
}

/// A running dispatchd.
#[derive(Debug)]
pub(crate) struct Server {
    master: Child,
    name: String,
    dir: TempDir,
    runtime: PathBuf,
    numbers: Numbers,
    /// Every process seen so far, with its start.
    seen: RefCell<BTreeMap<u32, u64>>,
    /// Where it listens, in the order of the flags.
    pub(crate) addresses: Vec<String>,
}

/// A dispatchd that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Its standard error.
    pub(crate) log: String,
    pub(crate) after: Span,
}

impl Plan {
    /// Two workers on a free port of 127.0.0.1, unless the flags say otherwise.
    pub(crate) fn on(backend: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let flags = ["--backend", backend, "--drain-timeout", "20s"].map(str::to_owned).to_vec();
        Self {
            name: format!("it-{}-{count}", std::process::id()),
            dir: tempfile::tempdir().unwrap(),
            runtime: None,
            wrapper: Vec::new(),
            flags,
            program: Vec::new(),
            env: Vec::new(),
            stdin: Stdio::null(),
            stderr: None,
            numbers: Numbers::Ours,
        }
    }

    /// Flags, separated by blanks; a later one replaces an earlier one of its name, but for
    /// `--listen`.
    pub(crate) fn with(mut self, flags: &str) -> Self {
        let words: Vec<&str> = flags.split_whitespace().collect();
        for pair in words.chunks(2) {
            let [flag, value] = pair else { panic!("{flags}: a flag has a value") };
            let earlier = self.flags.iter().position(|word| word == flag);
            if let Some(at) = earlier.filter(|_| *flag != "--listen") {
                self.flags.drain(at..at + 2);
            }
            self.flags.extend([flag, value].map(|word| (*word).to_owned()));
        }
        self
    }

    /// What workers run.
    pub(crate) fn program(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.program = words.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// What starts dispatchd, whose command line is appended.
    pub(crate) fn through(
        mut self,
        wrapper: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// Starts dispatchd as the first process of a container, which ends with whoever made it.
    pub(crate) fn in_container(mut self) -> Self {
        self.numbers = Numbers::Container;
        self.through(["unshare", "--pid", "--fork", "--kill-child"])
    }

    pub(crate) fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    pub(crate) fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    pub(crate) fn named(mut self, other: &Server) -> Self {
        self.name.clone_from(&other.name);
        self.runtime = Some(other.runtime.clone());
        self
    }

    /// A directory that is gone with the server.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until all its workers are ready.
    pub(crate) fn start(self) -> Server {
        let mut server = self.launch();
        let status = eventually("all workers are ready", || {
            if let Some(exit) = server.master.try_wait().unwrap() {
                panic!("dispatchd has ended ({exit}):\n{}", server.log());
            }
            server.try_status().filter(|status| status.have == status.want)
        });
        server.addresses = status.listeners;
        server
    }

    /// Starts it and waits until it ends.
    pub(crate) fn run(self) -> Ended {
        let began_at = monotonic();
        let mut server = self.launch();
        let code = server.exit_code();
        Ended { code, log: server.log(), after: monotonic().since(began_at) }
    }

    /// Starts it, and does not wait.
    pub(crate) fn launch(self) -> Server {
        let mut words = self.wrapper;
        words.push(env!("CARGO_BIN_EXE_dispatchd").into());
        words.extend(["--name".into(), self.name.clone().into()]);
        words.extend(self.flags.iter().map(OsString::from));
        let given = |flag: &str| self.flags.iter().any(|word| word == flag);
        if !given("--listen") && self.env.iter().all(|(name, _)| *name != "LISTEN_FDS") {
            words.extend(["--listen".into(), "127.0.0.1:0".into()]);
        }
        if !given("--workers") {
            words.extend(["--workers".into(), "2".into()]);
        }
        if !self.program.is_empty() {
            words.push("--".into());
            words.extend(self.program);
        }
        let stderr =
            self.stderr.unwrap_or_else(|| File::create(log_path(&self.dir)).unwrap().into());
        let runtime = self.runtime.unwrap_or_else(|| self.dir.path().to_owned());
        let master = Command::new(&words[0])
            .args(&words[1..])
            .env("XDG_RUNTIME_DIR", &runtime)
            .envs(self.env)
            .stdin(self.stdin)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let (seen, addresses) = (RefCell::default(), Vec::new());
        let numbers = self.numbers;
        Server { master, name: self.name, dir: self.dir, runtime, numbers, seen, addresses }
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.master.id()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The control socket.
    pub(crate) fn control_path(&self) -> PathBuf {
        dispatchd::master::socket_path(Some(&self.runtime), &self.name)
    }

    /// The first address.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// What it has written to its standard error.
    pub(crate) fn log(&self) -> String {
        fs::read(log_path(&self.dir))
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How often a text stands in the log.
    pub(crate) fn times_logged(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || self.log().contains(text).then_some(()));
    }

    pub(crate) fn status(&self) -> Status {
        eventually("the master tells its status", || self.try_status())
    }

    pub(crate) fn wait_for_status(
        &self,
        what: &str,
        mut is_so: impl FnMut(&Status) -> bool,
    ) -> Status {
        eventually(what, || self.try_status().filter(&mut is_so))
    }

    /// As many workers as wanted, and none on its way out.
    pub(crate) fn wait_until_whole(&self) -> Status {
        self.wait_for_status("the app is whole", |status| {
            status.have == status.want && status.workers.len() == usize::from(status.want)
        })
    }

    /// The worker that serves in a slot.
    pub(crate) fn worker(&self, slot: u16) -> WorkerStatus {
        let is_it = |worker: &&WorkerStatus| worker.worker == slot && worker.state == "ready";
        eventually("the slot has a worker", || self.status().workers.iter().find(is_it).cloned())
    }

    /// The worker that serves a request right now.
    pub(crate) fn busy_worker(&self) -> WorkerStatus {
        // What is only on its way to a worker counts as in flight, too, and is no open connection.
        let is_it = |worker: &&WorkerStatus| 0 < worker.in_flight && 0 < worker.connections;
        eventually("a worker is busy", || self.status().workers.iter().find(is_it).cloned())
    }

    /// Runs a command that is about this dispatchd.
    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        self.asking(words).output().unwrap()
    }

    /// A command that is about this dispatchd.
    pub(crate) fn asking(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
        command.args(words).args(["--name", &self.name]);
        command.env("XDG_RUNTIME_DIR", &self.runtime).env_remove("COLUMNS");
        command
    }

    /// Whether the master has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.master.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Waits until the master ends; none if a signal ended it.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        eventually("dispatchd ends", || self.master.try_wait().unwrap()).code()
    }

    pub(crate) fn try_status(&self) -> Option<Status> {
        let mut stream = UnixStream::connect(self.control_path()).ok()?;
        // A master that never answers fails the test, and does not keep it waiting for ever.
        set_timeouts(&stream, PATIENCE).unwrap();
        let mut line = serde_json::to_string(&ControlRequest::Status).unwrap();
        line.push('\n');
        stream.write_all(line.as_bytes()).ok()?;
        line.clear();
        BufReader::new(stream).read_line(&mut line).ok()?;
        let Ok(ControlReply::Status(status)) = serde_json::from_str(&line) else { return None };
        for worker in status.workers.iter().filter(|_| self.numbers == Numbers::Ours) {
            if let Some(start) = process::started(worker.pid) {
                self.seen.borrow_mut().insert(worker.pid, start);
            }
        }
        Some(*status)
    }

    /// The processes seen so far that are still there.
    pub(crate) fn survivors(&self) -> Vec<u32> {
        let seen = self.seen.borrow();
        let alive = |(pid, start): &(&u32, &u64)| process::started(**pid) == Some(**start);
        seen.iter().filter(alive).map(|(pid, _)| *pid).collect()
    }

    fn end(&mut self) -> bool {
        if let Ok(None) = self.master.try_wait() {
            drop(self.try_status());
            drop(self.master.kill());
        }
        drop(self.master.wait());
        for pid in self.survivors() {
            process::signal(pid, Signal::SIGCONT);
        }
        let deadline = monotonic().after(PATIENCE);
        while monotonic() < deadline {
            if self.survivors().is_empty() {
                return true;
            }
            nap(Span::from_ms(2));
        }
        for pid in self.survivors() {
            process::signal(pid, Signal::SIGKILL);
        }
        false
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what it failed with")]
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{:#?}\nthe log:\n{}", self.try_status(), self.log());
        }
        assert!(self.end() || failed, "workers have outlived their master");
    }
}

impl Ended {
    /// The line that says why, without time and level.
    ///
    /// # Panics
    /// When it ended with another code, or did not say why in one line.
    #[track_caller]
    pub(crate) fn complaint(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}", self.log);
        let mut lines = self.log.lines().filter_map(|line| line.strip_prefix("dispatchd: "));
        let (line, more) = (lines.next(), lines.next());
        assert!(more.is_none(), "{}", self.log);
        let line = line.unwrap_or_else(|| panic!("no reason: {}", self.log));
        assert_says_nothing_twice(line);
        assert!(self.log.ends_with(&format!("{line}\n")), "something is behind it: {}", self.log);
        line
    }
}

/// What an error says the one behind it does not say again.
#[track_caller]
pub(crate) fn assert_says_nothing_twice(complaint: &str) {
    let mut parts: Vec<&str> = complaint.trim_end().split(": ").collect();
    let count = parts.len();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), count, "{complaint}");
}

/// The path of an example, which cargo builds with the tests, unless it is told to test one target.
pub(crate) fn example(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_dispatchd"));
    let path = program.with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}

fn log_path(dir: &TempDir) -> PathBuf {
    dir.path().join("stderr")
}
