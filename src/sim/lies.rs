//! How a worker says what no honest one says, which the master must notice and survive.

use super::faults::{Lie, pick};
use super::job::Job;
use super::process::ProcessId;
use super::verb::Verb;
use super::world::{Happening, World};
use crate::units::{Span, Ticket};
use crate::wire::message::WorkerMessage;

impl World {
    pub(super) fn lies(&mut self, process: ProcessId) {
        let Some(lie) = self.processes[process].nature.lie else { return };
        if self.processes[process].ended.is_some() || self.scenario.calm_from <= self.now {
            return;
        }
        self.plan_in(Span::from_ms(7), Happening::Lies(process));
        if !self.runs(process) {
            return;
        }
        match lie {
            Lie::BadMessage => {
                let words = [self.rng.next_u64() | 0xff, self.rng.next_u64()];
                self.pushes(process, words);
            }
            Lie::DoubleHello => self.sends_message(process, WorkerMessage::Hello),
            Lie::StaleTicket => {
                let index = u32::try_from(self.rng.below(40)).unwrap_or(0);
                self.sends_message(
                    process,
                    WorkerMessage::Closed(Ticket { index, generation: u32::MAX }),
                );
            }
            Lie::OthersTicket => self.lies_of_another(process),
            Lie::DoubleClaim => {
                let jobs = &self.processes[process].jobs;
                let Some(Some(ticket)) = jobs.first().map(|job| job.ticket) else { return };
                self.sends_message(process, WorkerMessage::Claimed { ticket, transit_us: 1 });
            }
            Lie::GivesAway => {
                let jobs = &self.processes[process].jobs;
                let Some(Job { ticket: Some(ticket), connection, .. }) = jobs.first().copied()
                else {
                    return;
                };
                self.connections[connection].tainted = true;
                self.sends_message(process, WorkerMessage::Idle { ticket, service_us: 1 });
            }
            Lie::ForgesClaims => self.processes[process].claims.clear(),
            Lie::NeverClaims | Lie::ImpossibleTerms | Lie::OtherLayout | Lie::Overrun => {}
        }
        self.did(process, Verb::Lies, lie as u64);
    }

    /// Says something about a connection that is none of its business.
    fn lies_of_another(&mut self, process: ProcessId) {
        let id = self.processes[process].id;
        let strangers: Vec<Ticket> = self
            .ledger
            .tickets()
            .filter(|(_, with)| *with != Some(id))
            .map(|(ticket, _)| ticket)
            .collect();
        if strangers.is_empty() {
            return;
        }
        let ticket = pick(&mut self.rng, &strangers);
        let message = match self.rng.below(5) {
            4 => WorkerMessage::Idle { ticket, service_us: 3 },
            0 => WorkerMessage::Claimed { ticket, transit_us: 3 },
            1 => WorkerMessage::Done { ticket, service_us: 3 },
            2 => WorkerMessage::Closed(ticket),
            _ => WorkerMessage::Resumed(ticket),
        };
        // It may be offered the ticket before the word is read: then the lie is about its own.
        self.sends_message(process, message);
        self.ledger.lied_about(ticket, id);
    }
}
