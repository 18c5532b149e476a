//! The hash of a run: of numbers that stay the same whatever things are called, so that code that
//! was only moved or renamed shows itself by the same hashes of the same seeds.

use super::verb::Verb;
use crate::engine::event::{Cause, Event, Shortage};
use crate::units::{Generation, Mono, SlotId, WorkerId};

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_FACTOR: u64 = 0x0100_0000_01b3;

/// FNV-1a over numbers of eight bytes each.
#[derive(Debug)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const fn new() -> Self {
        Self(FNV_START)
    }

    pub(super) fn take_deed(&mut self, at: Mono, who: u64, verb: Verb, number: u64) {
        self.take(&[at.as_ns(), verb as u64, who, number]);
    }

    pub(super) fn take_event(&mut self, at: Mono, event: Event) {
        self.take(&[at.as_ns()]);
        self.take(&numbers_of(event));
    }

    pub(super) const fn value(&self) -> u64 {
        self.0
    }

    fn take(&mut self, numbers: &[u64]) {
        for byte in numbers.iter().flat_map(|number| number.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(FNV_FACTOR);
        }
    }
}

pub(super) fn number_of(worker: WorkerId) -> u64 {
    u64::from(worker.epoch) << 32 | u64::from(worker.index)
}

/// The number of the kind of an event, for ever, and its contents. The numbers of deeds are below.
fn numbers_of(event: Event) -> [u64; 6] {
    let seated = |kind, worker, SlotId(slot)| [kind, number_of(worker), slot.into(), 0, 0, 0];
    let plain = |kind| [kind, 0, 0, 0, 0, 0];
    let rollout = |kind, Generation(generation)| [kind, u64::from(generation), 0, 0, 0, 0];
    match event {
        Event::Starting { worker, slot, generation: Generation(generation) } => {
            [256, number_of(worker), slot.0.into(), generation.into(), 0, 0]
        }
        Event::Ready { worker, slot, generation: Generation(generation) } => {
            [257, number_of(worker), slot.0.into(), generation.into(), 0, 0]
        }
        Event::Unspoken { worker, slot } => seated(258, worker, slot),
        Event::Draining { worker, slot } => seated(259, worker, slot),
        Event::Gone { worker, slot, cause, recovered, lost } => {
            let cause = number_of_cause(cause);
            [260, number_of(worker), slot.0.into(), cause, recovered.into(), lost.into()]
        }
        Event::Restarting { slot, after } => [261, slot.0.into(), after.as_ns(), 0, 0, 0],
        Event::Strength { have, want } => [262, have.into(), want.into(), 0, 0, 0],
        Event::Stalled { worker, slot, recalled } => {
            [263, number_of(worker), slot.0.into(), recalled.into(), 0, 0]
        }
        Event::Lied { worker, slot, times } => {
            [264, number_of(worker), slot.0.into(), times.into(), 0, 0]
        }
        Event::Hold { full } => [265, full.into(), 0, 0, 0, 0],
        Event::AcceptPaused => plain(266),
        Event::AcceptResumed => plain(267),
        Event::WatchesFail => plain(268),
        Event::WatchesResumed => plain(269),
        Event::OffersPaused => plain(270),
        Event::OffersResumed => plain(271),
        Event::RolloutStarted(generation) => rollout(272, generation),
        Event::RolloutDone(generation) => rollout(273, generation),
        Event::RolloutAborted { generation: Generation(generation), worker, slot } => {
            [274, number_of(worker), slot.0.into(), generation.into(), 0, 0]
        }
        Event::NotGrown(Shortage::Slots) => plain(275),
        Event::NotGrown(Shortage::OpenFiles) => plain(276),
        Event::NoLogFiles => plain(277),
        Event::NoUpgrade => plain(278),
        Event::ProcessesLacking => plain(279),
        Event::ProcessesSuffice => plain(280),
        Event::Stopping => plain(281),
    }
}

const fn number_of_cause(cause: Cause) -> u64 {
    match cause {
        Cause::Told => 1,
        Cause::Left => 2,
        Cause::Died => 3,
        Cause::ExecTimedOut => 4,
        Cause::NotReady => 5,
        Cause::DrainTimeout => 6,
        Cause::Stalled => 7,
        Cause::Detached => 8,
        Cause::Unkillable => 9,
        Cause::Lied => 10,
        Cause::ExecFailed => 11,
        Cause::NoProcess => 12,
    }
}
