//! What the master says: events become log lines here, and nowhere else. The lines go to a bounded
//! buffer that is written without waiting, so that a reader who does not read costs lines (which
//! are counted), and never a connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::control::ControlError;
use super::escape;
use crate::engine::event::{Cause, Event, Shortage};
use crate::limits::{LAST_LINE_PATIENCE, LOG_BUFFER, SLOTS_MAX};
use crate::sys::errno::io_error;
use crate::sys::log_sink::LogSink;
use crate::sys::socket::Endpoint;
use crate::sys::spawn::SpawnStep;
use crate::units::{Cpu, Errno, SlotId};

/// Bytes written in one go.
const WRITE_MAX: usize = 16 * 1024;

thread_local! {
    /// The process has one thread; the subscriber, which must not borrow the master, writes here.
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

/// Where a subscriber writes: one call, one line.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        BUFFER.with_borrow_mut(|buffer| buffer.push(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far the log could be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Drained {
    /// Nothing is left.
    Wholly,
    /// Its reader is slow.
    AsFarAsItGoes,
    /// Its reader is gone, or its disk is full.
    Broken,
}

/// Writes what the sink takes now.
pub(super) fn drain_to(sink: &LogSink) -> Drained {
    let drain = || BUFFER.with_borrow_mut(|buffer| (buffer.drain_to(sink), buffer.untold));
    match drain() {
        (Drained::Wholly, count) if 0 < count => {
            BUFFER.with_borrow_mut(|buffer| buffer.untold = 0);
            tracing::error!("{count} log lines dropped, nobody read them");
            drain().0
        }
        (drained, _) => drained,
    }
}

/// The last line before the process ends, behind all that has not been written yet: in the place
/// where the log is written, which may be another one than that of a plain write to standard error.
pub fn last_line(line: &str) {
    let mut rest = Vec::from(BUFFER.with_borrow_mut(|buffer| std::mem::take(&mut buffer.bytes)));
    rest.extend(line.as_bytes());
    // Whom nobody can tell anything ends in silence.
    LogSink::stderr()
        .and_then(|sink| sink.write_all(&rest, LAST_LINE_PATIENCE))
        .unwrap_or_default();
}

/// Lines that found the buffer full so far.
pub(super) fn lines_dropped() -> u64 {
    BUFFER.with_borrow(|buffer| buffer.dropped)
}

/// One line about the start.
pub(super) fn banner(line: &str) {
    tracing::info!("{}", escape::text(line));
}

/// Another process listens at one of our addresses.
pub(super) fn shared(endpoint: &Endpoint) {
    tracing::warn!(
        "another process listens on {endpoint}, too: the kernel divides the connections between \
         the two; stop it (`ss -ltnp` shows who), or choose another --listen"
    );
}

/// One line that a worker wrote.
pub(super) fn worker_line(slot: SlotId, line: &[u8]) {
    tracing::info!(worker = slot.0, "{}", escape::bytes(line));
}

/// A worker that could not be started.
pub(super) fn not_started(slot: SlotId, reason: &str) {
    tracing::error!(worker = slot.0, "cannot start worker: {reason}");
}

/// Workers are bound to other CPUs than planned, or to none.
pub(super) fn cpu_out_of_reach(cpu: Cpu) {
    tracing::warn!(
        "CPU {cpu} is no longer in the mask of this process (cpuset): workers that were to have it \
         get another as they start"
    );
}

/// Workers serve on whatever CPU there is.
pub(super) fn unpinned(errno: Errno) {
    tracing::warn!(
        "workers cannot be bound to their CPUs: {}: they serve unbound",
        io_error(errno)
    );
}

/// dispatchd was started under a policy that no child can have.
pub(super) fn no_deadline_for_workers() {
    tracing::warn!(
        "workers cannot be scheduled as dispatchd is (SCHED_DEADLINE): they run as SCHED_OTHER"
    );
}

/// Something that workers have to do without; told once.
pub(super) fn refused(step: SpawnStep, errno: Errno) {
    let reason = io_error(errno);
    match step {
        SpawnStep::Group => tracing::warn!(
            "workers cannot have process groups of their own ({reason}): a terminal's ^C reaches \
             them, too"
        ),
        SpawnStep::Scheduling => tracing::warn!(
            "workers cannot be scheduled as dispatchd was when it started ({reason}): they run as \
             the kernel schedules its children"
        ),
        SpawnStep::OpenFiles => tracing::warn!(
            "workers cannot have the limit of open files that dispatchd was started with \
             ({reason}): they have its own"
        ),
        SpawnStep::ParentsEnd => tracing::warn!(
            "workers cannot ask for a signal at dispatchd's end ({reason}): should dispatchd be \
             killed, those that do not notice live on"
        ),
        SpawnStep::Descriptors | SpawnStep::Exec => {
            unreachable!("a worker cannot do without {step:?}")
        }
    }
}

/// The file of a listener is gone.
pub(super) fn listener_swept_away(path: &Path) {
    tracing::warn!(
        "the file of the listener unix:{} was removed, and nobody finds it any more: restart \
         dispatchd to have it made anew",
        shown(path)
    );
}

/// The control socket is where it was, after somebody had removed it, or the lock beside it.
pub(super) fn name_made_anew(path: &Path) {
    tracing::warn!(
        "the control socket {} or its lock was removed, and is made anew; whoever cleans up there \
         should spare it",
        shown(path)
    );
}

fn shown(path: &Path) -> String {
    escape::bytes(path.as_os_str().as_bytes())
}

/// Nobody can ask this master anything any more.
pub(super) fn name_lost(error: &ControlError) {
    let error = escape::text(&error.to_string());
    tracing::error!("the control socket or its lock was removed, and cannot be made anew: {error}");
}

/// The end of a worker that was left behind.
pub(super) fn left_behind_ended(slot: SlotId, pid: u32, ending: &str) {
    tracing::info!(worker = slot.0, pid, "a worker that was given up has ended: {ending}");
}

/// A program that runs, and says nothing; it listens on these ports, as far as can be seen.
pub(super) fn unspoken(program: &str, pid: u32, ports: &[u16]) {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let listens = match ports.as_slice() {
        [] => String::new(),
        [port] => format!("; it listens on port {port} itself"),
        ports => format!("; it listens on ports {} itself", ports.join(", ")),
    };
    tracing::warn!("{program} (pid {pid}) has not spoken: {USE_THE_SDK}{listens}");
}

/// A program that has ended, and said nothing before.
pub(super) fn ended_unspoken(program: &str, pid: u32) {
    tracing::warn!("{program} (pid {pid}) had not spoken: {USE_THE_SDK}");
}

/// What is missing where a worker says nothing.
const USE_THE_SDK: &str =
    "a worker must use the dispatchd SDK (README.md, \"A worker of your own\")";

/// One event; `ending` says how a worker that is gone ended, or why there is none, where that is
/// known.
pub(super) fn event(event: Event, pid: Option<u32>, ending: Option<&str>) {
    match event {
        Event::Starting { slot, generation, .. } => {
            tracing::debug!(worker = slot.0, generation = generation.0, "worker starting");
        }
        Event::Ready { slot, generation, .. } => {
            tracing::info!(worker = slot.0, pid, generation = generation.0, "worker ready");
        }
        // The shell knows more of it.
        Event::Unspoken { .. } => {}
        Event::Draining { slot, .. } => tracing::info!(worker = slot.0, pid, "worker draining"),
        Event::Gone { slot, cause, recovered, lost, .. } => {
            gone(slot, pid, cause, ending.unwrap_or("unknown"), recovered, lost);
        }
        Event::Restarting { slot, after } => {
            tracing::info!(worker = slot.0, "worker restarts in {after}");
        }
        Event::Strength { have, want } if have < want => {
            tracing::warn!(have, want, "degraded: fewer workers ready than wanted");
        }
        Event::Strength { have, want } => tracing::info!(have, want, "all workers ready"),
        Event::Stalled { slot, recalled, .. } => {
            tracing::warn!(worker = slot.0, pid, recalled, "worker does not take its connections");
        }
        Event::Lied { slot, times, .. } => {
            tracing::warn!(worker = slot.0, pid, times, "worker broke the protocol");
        }
        Event::Hold { full: true } => tracing::warn!("hold queue full"),
        Event::Hold { full: false } => tracing::info!("hold queue has room again"),
        Event::AcceptPaused => {
            tracing::warn!("accepting paused: no descriptors or memory left (raise `ulimit -n`)");
        }
        Event::AcceptResumed => tracing::info!("accepting again"),
        Event::OffersPaused => {
            tracing::warn!(
                "handing over paused: this user has too many descriptors in flight \
                 (raise `ulimit -n`)"
            );
        }
        Event::WatchesFail => tracing::warn!(
            "the kernel refuses to watch descriptors (too little memory, or \
             fs.epoll.max_user_watches is too low): some are looked at late"
        ),
        Event::WatchesResumed => tracing::info!("the kernel watches all descriptors again"),
        Event::OffersResumed => tracing::info!("handing over again"),
        Event::RolloutStarted(generation) => {
            tracing::info!(generation = generation.0, "reload begins");
        }
        Event::RolloutDone(generation) => {
            tracing::info!(generation = generation.0, "reload done");
        }
        Event::RolloutAborted { generation, .. } => tracing::error!(
            generation = generation.0,
            "reload given up: new workers do not become ready, or die soon after; \
             the old ones serve in every slot"
        ),
        Event::NotGrown(shortage) => not_grown(shortage),
        Event::NoLogFiles => no_log_files(),
        Event::NoUpgrade => no_upgrade(),
        Event::ProcessesLacking => tracing::error!(
            "{}: workers are missing, and tried again (a full control group, see pids.max, or \
             `ulimit -u`?)",
            ending.unwrap_or("cannot start a process")
        ),
        Event::ProcessesSuffice => tracing::info!("every worker has a process again"),
        Event::Stopping => tracing::info!("stopping"),
    }
}

fn no_log_files() {
    tracing::info!("SIGUSR1: there is no log file to reopen, the log goes to standard error");
}

fn no_upgrade() {
    tracing::warn!(
        "SIGUSR2: dispatchd cannot be replaced by a newer program while it runs; SIGHUP replaces \
         the workers"
    );
}

fn not_grown(shortage: Shortage) {
    match shortage {
        Shortage::Slots => {
            tracing::warn!("no worker is added: there are {SLOTS_MAX}, and more there cannot be");
        }
        Shortage::OpenFiles => tracing::warn!(
            "no worker is added: it would leave too few open files for connections; raise \
             `ulimit -n` (LimitNOFILE=)"
        ),
    }
}

fn gone(slot: SlotId, pid: Option<u32>, cause: Cause, ending: &str, recovered: u32, lost: u32) {
    let slot = slot.0;
    match cause {
        Cause::Told => tracing::info!(worker = slot, pid, lost, "worker left: {ending}"),
        Cause::Left => {
            tracing::info!(worker = slot, pid, lost, "worker left by itself: {ending}");
        }
        Cause::Died => {
            tracing::error!(worker = slot, pid, recovered, lost, "worker died: {ending}");
        }
        Cause::ExecTimedOut => tracing::error!(
            worker = slot,
            pid,
            "worker's program was not executed in time (a virus scanner, or a file system that \
             does not answer?): {ending}"
        ),
        Cause::NotReady => {
            tracing::error!(worker = slot, pid, "worker was not ready in time: {ending}");
        }
        Cause::DrainTimeout => {
            tracing::warn!(worker = slot, pid, lost, "worker did not finish in time: {ending}");
        }
        Cause::Stalled => tracing::error!(
            worker = slot,
            pid,
            recovered,
            lost,
            "worker replaced, it took no connections: {ending}"
        ),
        Cause::Detached => tracing::error!(
            worker = slot,
            pid,
            recovered,
            lost,
            "worker replaced, it closed its channel to dispatchd: {ending}"
        ),
        Cause::Unkillable => tracing::error!(
            worker = slot,
            pid,
            recovered,
            lost,
            "worker replaced, its process cannot be killed and is left behind (in a frozen control \
             group, or waiting for a disk?)"
        ),
        Cause::Lied => tracing::error!(
            worker = slot,
            pid,
            recovered,
            lost,
            "worker replaced, it broke the protocol: {ending}"
        ),
        // These were told when they happened.
        Cause::ExecFailed | Cause::NoProcess => {}
    }
}

#[derive(Debug)]
struct Buffer {
    bytes: VecDeque<u8>,
    dropped: u64,
    /// Dropped lines that have not been told of yet.
    untold: u64,
}

impl Buffer {
    const fn new() -> Self {
        Self { bytes: VecDeque::new(), dropped: 0, untold: 0 }
    }

    fn push(&mut self, line: &[u8]) {
        if LOG_BUFFER < self.bytes.len() + line.len() {
            self.dropped += 1;
            self.untold += 1;
        } else {
            self.bytes.extend(line);
        }
    }

    fn drain_to(&mut self, sink: &LogSink) -> Drained {
        while !self.bytes.is_empty() {
            let (front, _) = self.bytes.as_slices();
            match sink.write(&front[..front.len().min(WRITE_MAX)]) {
                Ok(written) => drop(self.bytes.drain(..written)),
                Err(Errno(libc::EAGAIN | libc::EINTR)) => return Drained::AsFarAsItGoes,
                Err(_) => return Drained::Broken,
            }
        }
        Drained::Wholly
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_drops_whole_lines_and_counts_them() {
        let mut buffer = Buffer::new();
        let line = [b'x'; 1000];
        for _ in 0..(LOG_BUFFER / 1000 + 5) {
            buffer.push(&line);
        }
        assert_eq!(buffer.bytes.len(), LOG_BUFFER / 1000 * 1000);
        assert_eq!(buffer.dropped, 5);
    }
}
