//! How a process comes to its program: as a rule at once, and now and then after a time that the
//! kernel spends on looking for it, or not at all.

use super::faults::{Crash, between};
use super::process::ProcessId;
use super::verb::Verb;
use super::world::{Happening, Object, World};
use crate::master::host::Launch;
use crate::units::Span;

impl World {
    /// A process has been started. Returns after what time it will be up, if it is lucky.
    pub(super) fn launches(&mut self, process: ProcessId) -> Span {
        let boot = between(&mut self.rng, Span::from_us(200), Span::from_ms(20));
        let late = self.scenario.faults_from <= self.now && self.now < self.scenario.calm_from;
        let (fails, slow) = (self.scenario.faults.exec_fails, self.scenario.faults.exec_slow);
        if late && self.ails(fails) {
            let after = between(&mut self.rng, Span::from_us(100), Span::from_ms(600));
            self.plan_in(after, Happening::FailsToExecute(process));
            return after;
        }
        if late && self.ails(slow) {
            let after = between(&mut self.rng, Span::from_ms(1), Span::from_s(20));
            self.plan_in(after, Happening::Executes(process, boot));
            return after.plus(boot);
        }
        self.processes[process].launch = Launch::Over;
        self.plan_boot(process, boot);
        boot
    }

    pub(super) fn executes(&mut self, process: ProcessId, boot: Span) {
        if self.can_execute(process) {
            self.did(process, Verb::ExecutesItsProgramLate, 0);
            self.processes[process].launch = Launch::Over;
            self.stir(Object::Launch(process));
            self.plan_boot(process, boot);
        }
    }

    pub(super) fn fails_to_execute(&mut self, process: ProcessId) {
        if self.can_execute(process) {
            self.did(process, Verb::HasNoProgram, 0);
            self.processes[process].launch = Launch::Failed;
            self.stir(Object::Launch(process));
            let soon = between(&mut self.rng, Span::ZERO, Span::from_ms(2));
            self.plan_in(soon, Happening::Dies(process, false));
        }
    }

    /// A signal that stops it waits for the kernel to be done.
    fn can_execute(&self, process: ProcessId) -> bool {
        let process = &self.processes[process];
        process.ended.is_none() && !process.dying
    }

    fn plan_boot(&mut self, process: ProcessId, boot: Span) {
        let nature = self.processes[process].nature;
        if nature.crash == Some(Crash::BeforeHello) {
            self.plan_in(boot, Happening::Dies(process, false));
        } else if !nature.mute {
            self.plan_in(boot, Happening::Boots(process));
        }
    }
}
