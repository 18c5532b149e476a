//! What the operator is told of workers that come and go, and what is remembered of them.

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Relaxed;

use super::super::reload::LastReload;
use super::super::spec::SpecProgram;
use super::super::{escape, telemetry};
use super::LinuxHost;
use crate::engine::event::{Cause, Event};
use crate::sys::errno::io_error;
use crate::sys::listening;
use crate::sys::spawn::{SpawnStep, Trouble};
use crate::units::{Errno, Mono, SlotId, WorkerId};
use crate::wire::words::ReloadOutcome;

impl LinuxHost {
    /// Takes note of what happens, and says why where there is something to say: how a worker that
    /// is gone ended, or why no process could be started.
    pub(super) fn take_note(&mut self, now: Mono, event: Event) -> Option<String> {
        match event {
            Event::Ready { worker, .. } => self.tell_of_pin(worker),
            Event::Unspoken { worker, .. } => self.tell_unspoken(worker, Manner::Runs),
            Event::Gone { worker, slot, cause, .. } => return self.lost(worker, slot, cause),
            Event::RolloutStarted(generation) => {
                self.last_reload = Some(LastReload::begun(generation, now));
            }
            Event::RolloutDone(_) => self.reload_ended(ReloadOutcome::Done, now),
            Event::RolloutAborted { worker, slot, .. } => {
                if let Some(reload) = &mut self.last_reload {
                    reload.given_up(worker, slot, now);
                }
            }
            Event::Stopping => self.reload_ended(ReloadOutcome::CutShort, now),
            Event::ProcessesLacking => return Some(self.no_process.clone()),
            Event::Starting { .. }
            | Event::Draining { .. }
            | Event::Restarting { .. }
            | Event::Strength { .. }
            | Event::Stalled { .. }
            | Event::Lied { .. }
            | Event::Hold { .. }
            | Event::AcceptPaused
            | Event::AcceptResumed
            | Event::OffersPaused
            | Event::OffersResumed
            | Event::WatchesFail
            | Event::WatchesResumed
            | Event::NotGrown(_)
            | Event::NoLogFiles
            | Event::NoUpgrade
            | Event::ProcessesSuffice => {}
        }
        None
    }

    fn lost(&mut self, worker: WorkerId, slot: SlotId, cause: Cause) -> Option<String> {
        if let Some(text) = self.process(worker).map(|process| process.exit_summary(cause)) {
            self.set_last_exit(slot, text);
        }
        // It may never have had a process.
        let ending = self.last_exit(slot).map(str::to_owned);
        if let (Some(reload), Some(ending)) = (&mut self.last_reload, &ending) {
            reload.lost(worker, slot, cause, ending);
        }
        if matches!(cause, Cause::Died | Cause::NotReady | Cause::Detached) {
            self.tell_unspoken(worker, Manner::Ended);
        }
        ending
    }

    fn reload_ended(&mut self, outcome: ReloadOutcome, now: Mono) {
        if let Some(reload) = &mut self.last_reload {
            reload.ended(outcome, now);
        }
    }

    /// What the operator calls the workers' program.
    fn program_name(&self) -> Cow<'_, str> {
        match &self.spec.program {
            SpecProgram::BuiltIn(_) => Cow::Borrowed("the built-in worker"),
            SpecProgram::Foreign { name, .. } => Cow::Owned(escape::bytes(name.as_bytes())),
        }
    }

    /// A worker could not be bound to its CPU, and serves all the same.
    fn tell_of_pin(&mut self, worker: WorkerId) {
        let errno = self.pages.of(worker).map_or(0, |page| page.head.pin_errno.load(Relaxed));
        if errno != 0 && !std::mem::replace(&mut self.unpinned, true) {
            telemetry::unpinned(Errno(i32::try_from(errno).unwrap_or(0)));
        }
    }

    /// A worker is about to end without having become its program.
    pub(super) fn cannot_execute(&mut self, worker: WorkerId, Trouble { step, errno }: Trouble) {
        let reason = io_error(errno);
        let text = match step {
            SpawnStep::Exec => format!("{}: {reason}", self.program_name()),
            SpawnStep::Descriptors
            | SpawnStep::Group
            | SpawnStep::Scheduling
            | SpawnStep::OpenFiles
            | SpawnStep::ParentsEnd => {
                format!("it cannot put its descriptors in order: {reason}")
            }
        };
        if let Some(process) = self.process_mut(worker) {
            telemetry::not_started(process.slot, &text);
            process.not_executed = Some(text);
        }
    }

    /// What can be seen of a program that is not made for dispatchd is told, once per generation.
    fn tell_unspoken(&mut self, worker: WorkerId, now: Manner) {
        match self.spec.program {
            SpecProgram::BuiltIn(_) => return,
            SpecProgram::Foreign { .. } => {}
        }
        let Some(process) = self.process(worker) else { return };
        let told = self.unspoken.is_some_and(|newest| process.generation <= newest);
        if told || self.knows_dispatchd(worker) || process.not_executed.is_some() {
            return;
        }
        let (pid, generation) = (process.pid, process.generation);
        match now {
            Manner::Runs => {
                telemetry::unspoken(&self.program_name(), pid, &listening::ports(pid));
            }
            Manner::Ended => telemetry::ended_unspoken(&self.program_name(), pid),
        }
        self.unspoken = Some(generation);
    }

    pub(super) fn set_last_exit(&mut self, slot: SlotId, text: String) {
        if self.last_exits.len() <= slot.index() {
            self.last_exits.resize(slot.index() + 1, None);
        }
        self.last_exits[slot.index()] = Some(text);
    }
}

/// When it is told that a program says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    /// While it runs.
    Runs,
    /// When it has ended.
    Ended,
}
