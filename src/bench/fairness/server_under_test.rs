//! The dispatchd under measurement: started for one cell, asked for its processes through its own
//! control socket, and gone with the value that stands for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use thiserror::Error;

use crate::bench::grid::GridGroup;
use crate::limits::{BENCH_START_TIMEOUT, BENCH_STOP_TIMEOUT};
use crate::master;
use crate::serve::SPEEDS_VARIABLE;
use crate::sys::clock::{monotonic, sleep};
use crate::sys::pidfd::{self, Signal};
use crate::sys::spawn;
use crate::units::Span;
use crate::wire::control::{ControlReply, Status};

/// A running dispatchd.
#[derive(Debug)]
pub struct ServerUnderTest {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub address: String,
    /// Its workers' processes, by their numbers.
    pub workers: Vec<u32>,
}

/// How it is started.
#[derive(Clone, Debug)]
pub struct ServerPlan<'a> {
    /// The program.
    pub program: &'a Path,
    /// Where its log and its socket go; made anew.
    pub folder: &'a Path,
    /// `--policy`.
    pub policy: &'a str,
    /// `--workers`.
    pub workers: u32,
    /// Further flags.
    pub flags: &'a [String],
    /// Speeds of the workers where they differ, else empty.
    pub speeds: &'a [f64],
}

/// Why it does not run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Its folder cannot be made.
    #[error("cannot make the folder {folder}", folder = folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be started.
    #[error("cannot start {program}", program = program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended, or its workers were not ready in time.
    #[error("{program} did not serve: {last_words}", program = program.display())]
    Unready {
        /// Which.
        program: PathBuf,
        /// The last line of its log.
        last_words: String,
    },
}

impl ServerUnderTest {
    /// Starts it and waits until all its workers are ready.
    ///
    /// # Errors
    /// It does not come up; its log stays in its folder.
    pub fn start(plan: &ServerPlan<'_>) -> Result<Self, ServerError> {
        let folder = plan.folder.to_owned();
        let failed = |source| ServerError::Folder { folder: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let log = fs::File::create(folder.join("log")).map_err(failed)?;
        let mut command = Command::new(plan.program);
        let (policy, dispatch, classes) = GridGroup::flags_of(plan.policy);
        command.args(["run", "--listen", "127.0.0.1:0", "--name", NAME, "--policy", policy]);
        if let Some(dispatch) = dispatch {
            command.args(["--dispatch", dispatch]);
        }
        if let Some(classes) = classes {
            command.args(["--classes", classes]);
        }
        command.arg("--workers").arg(plan.workers.to_string()).args(plan.flags);
        command.env("XDG_RUNTIME_DIR", &folder).stdin(Stdio::null()).stdout(Stdio::null());
        if !plan.speeds.is_empty() {
            let speeds: Vec<String> = plan.speeds.iter().map(f64::to_string).collect();
            command.env(SPEEDS_VARIABLE, speeds.join(","));
        }
        // Broken off, a bench leaves no server behind.
        spawn::tie(&mut command);
        let child = command
            .stderr(log)
            .spawn()
            .map_err(|source| ServerError::Start { program: plan.program.to_owned(), source })?;
        let mut server = Self { child, folder, address: String::new(), workers: Vec::new() };
        match server.wait_until_ready() {
            Some(status) => {
                server.address = status.listeners.first().cloned().unwrap_or_default();
                let mut workers = status.workers;
                workers.sort_by_key(|worker| worker.worker);
                server.workers = workers.iter().map(|worker| worker.pid).collect();
                Ok(server)
            }
            None => Err(ServerError::Unready {
                program: plan.program.to_owned(),
                last_words: server.last_words(),
            }),
        }
    }

    /// The master's process.
    pub fn master(&self) -> u32 {
        self.child.id()
    }

    /// Asks it how it is; none while it cannot say.
    pub fn status(&self) -> Option<Status> {
        let line = master::ask(&master::socket_path(Some(&self.folder), NAME)).ok()?;
        match serde_json::from_str(&line) {
            Ok(ControlReply::Status(status)) => Some(*status),
            Ok(ControlReply::Error { .. }) | Err(_) => None,
        }
    }

    fn wait_until_ready(&mut self) -> Option<Status> {
        let until = monotonic().after(BENCH_START_TIMEOUT);
        while monotonic() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return None;
            }
            match self.status() {
                Some(status) if status.have == status.want => return Some(status),
                Some(_) | None => sleep(Span::from_ms(10)),
            }
        }
        None
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let line = log.lines().rev().find(|line| !line.trim().is_empty());
        line.unwrap_or("it left no word").trim().to_owned()
    }
}

impl Drop for ServerUnderTest {
    fn drop(&mut self) {
        if let Ok(master) = pidfd::open(self.child.id()) {
            let until = monotonic().after(BENCH_STOP_TIMEOUT);
            // One that is gone already has nothing to be told.
            let _ = pidfd::send(&master, self.child.id(), Signal::Terminate);
            while monotonic() < until && matches!(self.child.try_wait(), Ok(None)) {
                sleep(Span::from_ms(2));
            }
        }
        // Workers end with their master, however it ends.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Its name on the control socket; its runtime folder is its own.
const NAME: &str = "bench";
