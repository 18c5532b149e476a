//! A server under test, as the real processes that a user would run.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use dispatchd::sys::{clock, pidfd};
use dispatchd::units::{Cpu, Mono, Span};
use dispatchd::wire::control::{ControlReply, Status};
use tempfile::TempDir;

use super::variant::{Program, Variant};

/// Time to become ready, and to end.
const PATIENCE: Span = Span::from_s(10);
/// Between two looks.
const LOOK_EVERY: Span = Span::from_ms(10);

/// A running server. Dropping it ends its processes.
#[derive(Debug)]
pub(crate) struct Contestant {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The process in between, if there is one.
    pub(crate) master: Option<u32>,
    /// The process that answers.
    pub(crate) worker: u32,
    child: Child,
    _home: Option<TempDir>,
}

impl Contestant {
    /// A worker that accepts for itself.
    pub(crate) fn self_accepting() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("accept")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its output is a pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().context("it does not say where it listens")?;
        Ok(Self { address, master: None, worker: child.id(), child, _home: None })
    }

    /// dispatchd with one worker, ready.
    pub(crate) fn dispatchd(variant: Variant, cpu: Cpu) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let child = start(variant, cpu, home.path())?;
        let mut starting = Starting(Some(child));
        let status = starting.wait_until_ready(home.path())?;
        let address = status.listeners.first().context("it listens nowhere")?;
        let address = address.parse().with_context(|| format!("{address} is no address"))?;
        let worker = status.workers.first().context("it has no worker")?.pid;
        let child = starting.0.take().context("it is started once")?;
        Ok(Self { address, master: Some(status.pid), worker, child, _home: Some(home) })
    }

    /// The processes that serve.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        [self.worker].into_iter().chain(self.master)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is ended if it does not become ready.
struct Starting(Option<Child>);

impl Starting {
    fn wait_until_ready(&mut self, home: &Path) -> Result<Status> {
        let deadline = clock::monotonic().after(PATIENCE);
        while clock::monotonic() < deadline {
            if let Some(child) = &mut self.0
                && let Some(ended) = child.try_wait()?
            {
                bail!("it ended with {ended}: {}", complaints(home));
            }
            if let Some(status) = ask(home)?
                && status.have == 1
            {
                return Ok(status);
            }
            clock::sleep(LOOK_EVERY);
        }
        bail!("it was not ready in time: {}", complaints(home))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn start(variant: Variant, cpu: Cpu, home: &Path) -> Result<Child> {
    let role = match variant.worker {
        Program::OneByOne => "worker",
        Program::Batches => "batch-worker",
    };
    let mut command = dispatchd(home);
    command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--log-level", "warn"]);
    command.args(["--pin", &cpu.0.to_string(), "--backend", variant.backend]);
    command.args(["--policy", variant.policy, "--dispatch-on", variant.dispatch_on]);
    command.arg("--").arg(std::env::current_exe()?).arg(role);
    command.stderr(File::create(home.join("stderr"))?).stdout(Stdio::null());
    command.spawn().context("cannot start dispatchd")
}

/// What its master says of itself; nothing before it listens for the question.
fn ask(home: &Path) -> Result<Option<Status>> {
    let answer = dispatchd(home).args(["status", "--json"]).output()?;
    if !answer.status.success() {
        return Ok(None);
    }
    match serde_json::from_slice(&answer.stdout).context("its status cannot be read")? {
        ControlReply::Status(status) => Ok(Some(*status)),
        ControlReply::Error { message } => bail!("it refuses to say how it is: {message}"),
    }
}

/// dispatchd with a runtime folder of its own and none of the user's settings.
fn dispatchd(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
    command.env_clear().env("XDG_RUNTIME_DIR", home).stdin(Stdio::null());
    command
}

fn complaints(home: &Path) -> String {
    fs::read_to_string(home.join("stderr")).unwrap_or_default().trim().replace('\n', "; ")
}

/// Ends a process that we started: gently, then not.
fn end(child: &mut Child) {
    let deadline = clock::monotonic().after(PATIENCE);
    if terminate(child, deadline).is_err() {
        // There is nothing left to try when this fails too, and nobody to tell in a drop.
        match child.kill().and_then(|()| child.wait()) {
            Ok(_) | Err(_) => {}
        }
    }
}

fn terminate(child: &mut Child, deadline: Mono) -> Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    let process = pidfd::open(child.id()).ok().context("it has no descriptor")?;
    pidfd::send(&process, child.id(), pidfd::Signal::Terminate)
        .ok()
        .context("it takes no signal")?;
    while child.try_wait()?.is_none() {
        ensure!(clock::monotonic() < deadline, "it does not end");
        clock::sleep(LOOK_EVERY);
    }
    Ok(())
}
