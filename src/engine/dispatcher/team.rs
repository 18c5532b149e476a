//! The members: who there is, what the supervisor changes in that, and what each can take now.

use super::super::action::{Action, Actions};
use super::super::capabilities::Capabilities;
use super::super::input::{Load, Terms};
use super::super::members::{MemberChange, MemberReport, Record};
use super::ledger::Reason;
use super::member::{Attention, Duty, Member};
use super::policy::Binder;
use super::{Dispatcher, Gate};
use crate::units::{Mono, SlotId, WorkerId};

impl Dispatcher {
    /// Takes in what the supervisor has decided.
    pub(in super::super) fn change(&mut self, now: Mono, change: MemberChange, out: &mut Actions) {
        match change {
            MemberChange::Joined { worker, slot } => {
                self.members.insert(worker, Member::new(slot));
            }
            MemberChange::Employed { worker, terms, capabilities } => {
                self.employ(worker, terms, capabilities);
            }
            MemberChange::Retired(id) => self.retire(id),
            MemberChange::Suspended(id) => self.suspend(now, id, out),
            MemberChange::Resumed(id) => self.resume(id),
            MemberChange::Unreachable(id) => {
                self.ask_back(now, id, Reason::Stuck, out);
            }
            MemberChange::Dead(id) => self.bury(now, id, out),
            MemberChange::Slots(count) => {
                self.employed.resize(count, None);
                self.candidates.resize(count);
            }
            MemberChange::Closed => self.gate = Gate::Closed,
            MemberChange::Abandoned => self.abandon(out),
        }
    }

    /// What a worker's own account showed just now.
    pub(in super::super) fn load(&mut self, now: Mono, id: WorkerId, load: Load) {
        let Some(member) = self.member_mut(id) else { return };
        let load = load.no_less_than(member.load);
        let before = core::mem::replace(&mut member.load, load);
        let work = load.work_since(before);
        let moved = (before.in_flight, before.connections) != (load.in_flight, load.connections);
        if let Attention::Overdue { since } = &mut member.attention
            && (moved || 0 < work.requests)
        {
            // It is busy with others, and will come upon what was taken back.
            *since = now;
        }
        if 0 < load.finished {
            self.advanced(id, Record::Served);
        } else if 0 < load.connections {
            self.advanced(id, Record::Begun);
        }
        self.gauge.worked(work);
        self.spread.worked(work);
        if 0 < work.requests {
            self.measure_depth();
        }
        if moved {
            self.refresh(id);
        }
    }

    /// A member has done at least this.
    pub(super) fn advanced(&mut self, worker: WorkerId, record: Record) {
        if let Some(member) = self.member_mut(worker)
            && member.record < record
        {
            member.record = record;
            self.reports.push(MemberReport::Advanced { worker, record });
        }
    }

    /// A member has said something, or may: it is tried again.
    pub(super) fn sign_of_life(&mut self, id: WorkerId) {
        let Some(member) = self.member_mut(id) else { return };
        member.attention = Attention::Prompt;
        self.offers_paused_until = None;
    }

    /// Tries those again whose channels were full.
    pub(super) fn retry_full(&mut self, now: Mono) {
        for index in 0..self.members.indices() {
            let Some(id) = self.members.name_at(index) else { continue };
            let Some(member) = self.members.get_mut(id) else { continue };
            if member.attention.deadline().is_some_and(|until| until <= now) {
                member.attention = Attention::Prompt;
                self.refresh(id);
            }
        }
    }

    /// Once it is known of each of a dead member's offers whether it had claimed it: what it had is
    /// lost with it, and its index is free.
    pub(super) fn settle_if_dead(&mut self, worker: WorkerId, out: &mut Actions) {
        let Some(member) = self.member(worker).filter(|member| member.offered == 0) else { return };
        let Duty::Dead { recovered } = member.duty else { return };
        let lost = self.lose_all(worker, out);
        self.members.remove(worker);
        self.reports.push(MemberReport::Settled { worker, recovered, lost });
    }

    /// Brings the candidates up to date with one member.
    pub(super) fn refresh(&mut self, id: WorkerId) {
        let Some(member) = self.member(id) else { return };
        if member.duty != Duty::Employed {
            return;
        }
        let slot = member.slot;
        if self.has_room(id, member) {
            let in_flight = match member.in_flight() {
                0 => self.cost_of_waking,
                in_flight => in_flight,
            };
            let connections = self.ledger.delivered_to(id).max(member.load.connections);
            let connections = member.offered + connections;
            self.candidates.admit(slot, in_flight, connections);
        } else {
            self.candidates.bar(slot);
        }
    }

    /// Brings the candidates up to date with everybody.
    pub(super) fn refresh_all(&mut self) {
        for index in 0..self.employed.len() {
            match self.employed[index] {
                Some(id) => self.refresh(id),
                None => self.candidates.bar(slot_id(index)),
            }
        }
    }

    /// Whether a member can take one more.
    pub(super) fn may_be_offered(&self, id: WorkerId, member: &Member) -> bool {
        member.duty == Duty::Employed && self.has_room(id, member)
    }

    /// What decides the depth has changed; if the depth has, so has everybody's credit.
    pub(super) fn measure_depth(&mut self) {
        let (depth, waking) = match self.rules.policy.binder() {
            Binder::AtOnce | Binder::Kernel => (u32::MAX, 0),
            Binder::OnCredit(depth) => {
                let depth = self.gauge.depth(depth);
                (depth, self.gauge.served_while_waking().min(depth))
            }
        };
        if (self.depth, self.cost_of_waking) != (depth, waking) {
            (self.depth, self.cost_of_waking) = (depth, waking);
            self.refresh_all();
        }
    }

    /// How many members new requests may go to.
    pub(super) fn strength(&self) -> u32 {
        self.employed().map(|_| 1).sum()
    }

    /// The members that new requests may go to.
    pub(super) fn employed(&self) -> impl Iterator<Item = &Member> {
        self.employed.iter().filter_map(|employed| self.member((*employed)?))
    }

    /// The member under this name; `None` when it is another by now, or none.
    pub fn member(&self, id: WorkerId) -> Option<&Member> {
        self.members.get(id)
    }

    /// Every member there is, with its name.
    pub fn members(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.members.iter()
    }

    pub(super) fn member_mut(&mut self, id: WorkerId) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    fn employ(&mut self, id: WorkerId, terms: Terms, capabilities: Capabilities) {
        let Some(member) = self.member_mut(id) else { return };
        (member.terms, member.capabilities) = (terms, capabilities);
        member.duty = Duty::Employed;
        let slot = member.slot;
        let before = self.employed[slot.index()].replace(id);
        debug_assert_eq!(before, None, "somebody has {slot} already");
        self.refresh(id);
    }

    fn retire(&mut self, id: WorkerId) {
        let Some(member) = self.member_mut(id) else { return };
        if member.duty == Duty::Employed {
            let slot = member.slot;
            member.duty = Duty::Retired;
            self.employed[slot.index()] = None;
            self.candidates.bar(slot);
        }
    }

    fn suspend(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        let Some(member) = self.member_mut(id) else { return };
        member.suspended = true;
        self.recall_all(now, id, Reason::Stuck, out);
    }

    fn resume(&mut self, id: WorkerId) {
        let Some(member) = self.member_mut(id) else { return };
        member.suspended = false;
        self.sign_of_life(id);
        self.refresh(id);
    }

    fn bury(&mut self, now: Mono, id: WorkerId, out: &mut Actions) {
        self.retire(id);
        if let Some(member) = self.member_mut(id) {
            member.duty = Duty::Dead { recovered: 0 };
        }
        self.ask_back(now, id, Reason::Stuck, out);
        self.settle_if_dead(id, out);
    }

    /// All that a dead member had claimed ends with it; never replayed, since it may have had
    /// effects. Returns how many connections.
    fn lose_all(&mut self, id: WorkerId, out: &mut Actions) -> u32 {
        let mut lost = 0;
        for ticket in self.ledger.deliveries_of(id) {
            let strays = self.ledger.strike(ticket);
            self.counters.closed += 1;
            out.push(Action::Retire { ticket, strays });
            lost += 1;
        }
        self.counters.lost += u64::from(lost);
        lost
    }

    fn has_room(&self, id: WorkerId, member: &Member) -> bool {
        member.attention == Attention::Prompt
            && member.capabilities.can_be_handed()
            && member.offered < member.offers_max()
            && member.offered + self.ledger.delivered_to(id) < member.terms.connections_max
            && !member.is_held_up()
            && member.offered + member.running < self.credit_limit(member)
    }

    /// Requests that a member may have offered or running.
    fn credit_limit(&self, member: &Member) -> u32 {
        self.depth.saturating_add(member.terms.concurrency - 1)
    }
}

fn slot_id(index: usize) -> SlotId {
    SlotId(u16::try_from(index).expect("slots are limited"))
}
