//! The plan: how many workers, on which CPUs, with which weights, and why. It is computed from
//! what this process was given, never from the host's CPU count, and each decision is a line that
//! the banner and `check` print, so that nobody has to guess why there are two workers.

use crate::config::error::ConfigError;
use crate::config::words::joined;
use crate::config::{Pin, Spin, Weights, WorkerCount};
use crate::limits::{SLOTS_MAX, SPIN_MAX, WEIGHT_MAX};
use crate::units::Cpu;

/// What this process may use of the machine.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Allotment {
    /// The CPUs of the inherited mask, ascending; empty when unknown.
    pub mask: Vec<Cpu>,
    /// The control group's share, in thousandths of a CPU; none without a limit.
    pub quota_milli: Option<u32>,
    /// How strong CPUs are, on one scale; those left out are unknown.
    pub capacities: Vec<(Cpu, u32)>,
    /// The CPUs that are threads of one core, by core.
    pub siblings: Vec<Vec<Cpu>>,
    /// What io_uring costs, where it does.
    pub rings: Option<RingCost>,
}

/// What rings take of the memory that the user's processes may lock together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingCost {
    /// Bytes per ring, at least.
    pub bytes: u64,
    /// Bytes for all (RLIMIT_MEMLOCK).
    pub limit: u64,
}

/// One worker's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlotPlan {
    /// The CPU that its processes are bound to; none: any.
    pub cpu: Option<Cpu>,
    /// Its share, 1 to `WEIGHT_MAX`.
    pub weight: u32,
}

/// The plan for all workers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placement {
    /// The slots, in order; at least one.
    pub slots: Vec<SlotPlan>,
    /// Workers up to this number may wait awake for a moment: each has a CPU of its own, and one is
    /// left for the master.
    pub spinners: usize,
    /// Why it is so, one decision per line.
    pub reasoning: Vec<String>,
    order: Vec<Cpu>,
    shares: Shares,
}

impl Placement {
    /// The place of any slot, also of one that comes later (`SIGTTIN`): CPUs in the same order,
    /// over again when all are taken, weight by the same rule.
    pub fn slot(&self, index: usize) -> SlotPlan {
        let cpu = index.checked_rem(self.order.len()).and_then(|at| self.order.get(at)).copied();
        SlotPlan { cpu, weight: self.shares.of(index, cpu) }
    }

    /// The same plan, with a word on how many of the workers can have a ring, if not all.
    #[must_use]
    pub fn counting_rings(mut self, allotment: &Allotment) -> Self {
        let workers = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        if let Some(cost) = allotment.rings.filter(|cost| cost.limit < cost.wanted(workers)) {
            let room = (cost.limit / cost.bytes).saturating_sub(1);
            self.reasoning.push(format!(
                "rings: locked memory has room for those of {room} of {workers} workers, the \
                 others use epoll; all of them take {} bytes (ulimit -l, LimitMEMLOCK=)",
                cost.wanted(workers)
            ));
        }
        self
    }

    /// The CPU of a slot's next process: the planned one, unless it is no longer in the mask of
    /// this process; then another of those that were planned with.
    pub fn cpu_now(&self, index: usize, mask: &[Cpu]) -> Option<Cpu> {
        let planned = self.slot(index).cpu?;
        // A mask that cannot be read says nothing.
        if mask.is_empty() || mask.contains(&planned) {
            return Some(planned);
        }
        let left: Vec<Cpu> = self.order.iter().copied().filter(|cpu| mask.contains(cpu)).collect();
        index.checked_rem(left.len()).map(|at| left[at])
    }

    /// The same plan, with the decision whether idle workers spin.
    #[must_use]
    pub fn spinning(mut self, allotment: &Allotment, spin: Spin) -> Self {
        let mut own = self.order.clone();
        own.sort_unstable();
        own.dedup();
        let granted = allotment.quota_milli.map(|milli| milli / 1_000);
        let granted = granted.and_then(|cpus| usize::try_from(cpus).ok()).unwrap_or(usize::MAX);
        let left = allotment.mask.len().min(granted).saturating_sub(1);
        // Slots beyond the list begin again with the first CPU.
        let apart = own.len() == self.order.len();
        self.spinners = match spin {
            Spin::Auto if apart && self.slots.len() <= own.len().min(left) => own.len().min(left),
            Spin::Auto | Spin::Off => 0,
        };
        if 0 < self.spinners {
            self.reasoning.push(format!(
                "spin: idle workers stay awake for up to {SPIN_MAX}, since each has a CPU and one \
                 is left"
            ));
        }
        self
    }
}

impl RingCost {
    /// How much there must be for so many workers, and their master.
    pub const fn wanted(self, workers: u64) -> u64 {
        self.bytes.saturating_mul(workers.saturating_add(1))
    }
}

/// Makes the plan.
///
/// # Errors
/// More weights than workers; a CPU to pin to that this process may not use.
pub fn plan(
    allotment: &Allotment,
    workers: WorkerCount,
    pin: &Pin,
    weights: &Weights,
) -> Result<Placement, ConfigError> {
    let mut reasoning = Vec::new();
    let count = count(allotment, workers, &mut reasoning);
    let order = order(allotment, pin, count, &mut reasoning)?;
    let shares = shares(allotment, weights, &order, count, &mut reasoning)?;
    let mut placement = Placement { slots: Vec::new(), spinners: 0, reasoning, order, shares };
    placement.slots = (0..count).map(|index| placement.slot(index)).collect();
    Ok(placement)
}

/// Where weights come from.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Shares {
    /// One each, unless the list says more.
    List(Vec<u32>),
    /// By CPU.
    Cpus(Vec<(Cpu, u32)>),
}

impl Shares {
    fn of(&self, index: usize, cpu: Option<Cpu>) -> u32 {
        match self {
            Self::List(list) => list.get(index).copied().unwrap_or(1),
            Self::Cpus(weights) => {
                let found = weights.iter().find(|(one, _)| Some(*one) == cpu);
                found.map_or(1, |(_, weight)| *weight)
            }
        }
    }
}

/// How many workers. A quota is rounded **down**: workers that together may use more than the
/// group's share are stopped together, all of them, for the rest of the kernel's period (up to
/// 100 ms), which costs more than the fraction of a CPU is worth; the master runs on that fraction.
fn count(allotment: &Allotment, workers: WorkerCount, reasoning: &mut Vec<String>) -> usize {
    let cpus = allotment.mask.len();
    match workers {
        WorkerCount::Exactly(count) => {
            reasoning.push(format!("workers: {count}, as told"));
            usize::from(count)
        }
        WorkerCount::Auto if cpus == 0 => {
            reasoning.push("workers: 1, since the CPU mask cannot be read".to_owned());
            1
        }
        WorkerCount::Auto => {
            let whole = allotment.quota_milli.map(|milli| (milli / 1_000).max(1));
            let whole = whole.and_then(|whole| usize::try_from(whole).ok()).unwrap_or(usize::MAX);
            let count = cpus.min(whole).min(SLOTS_MAX);
            reasoning.push(count_reason(allotment, count));
            count
        }
    }
}

fn count_reason(allotment: &Allotment, count: usize) -> String {
    let cpus = allotment.mask.len();
    let have = format!("{} in the inherited mask ({})", plural(cpus, "CPU"), mask_text(allotment));
    let share = allotment.quota_milli.map_or_else(
        || "no cgroup quota".to_owned(),
        |milli| format!("cgroup quota {} CPUs, rounded down, at least 1", thousandths(milli)),
    );
    let cut = if count == SLOTS_MAX && cpus > SLOTS_MAX { "; the greatest number" } else { "" };
    format!("workers: {count}, the lesser of {have} and the share ({share}){cut}")
}

/// The CPUs in the order in which slots take them; empty for no pinning.
fn order(
    allotment: &Allotment,
    pin: &Pin,
    count: usize,
    reasoning: &mut Vec<String>,
) -> Result<Vec<Cpu>, ConfigError> {
    let order = match pin {
        Pin::None => {
            reasoning.push("pins: none, as told".to_owned());
            return Ok(Vec::new());
        }
        Pin::Auto if allotment.mask.is_empty() => {
            reasoning.push("pins: none, since the CPU mask cannot be read".to_owned());
            return Ok(Vec::new());
        }
        Pin::Auto => {
            let (order, second) = cores_first(allotment);
            let why = if second { ", one thread of each core first" } else { "" };
            reasoning.push(format!("pins: CPUs of the inherited mask in order{why}"));
            order
        }
        Pin::List(cpus) => {
            let outside = |cpu: &&Cpu| !allotment.mask.is_empty() && !allotment.mask.contains(cpu);
            if let Some(cpu) = cpus.iter().find(outside) {
                return Err(ConfigError::PinOutside { cpu: *cpu, mask: mask_text(allotment) });
            }
            reasoning.push(format!("pins: CPUs {}, as told", joined(cpus)));
            cpus.clone()
        }
    };
    note_crowding(allotment, &order, count, reasoning);
    Ok(order)
}

/// Says when workers get in each other's way, which figures would otherwise show unexplained.
fn note_crowding(allotment: &Allotment, order: &[Cpu], count: usize, reasoning: &mut Vec<String>) {
    if count > order.len() {
        let cpus = plural(order.len(), "CPU");
        reasoning.push(format!("pins: {count} workers share {cpus}, over again from the first"));
    }
    let used = u64::try_from(count.min(order.len())).unwrap_or(u64::MAX);
    if let Some(milli) = allotment.quota_milli.filter(|milli| u64::from(*milli) < used * 1_000) {
        reasoning.push(format!(
            "pins: {used} CPUs are used and the cgroup grants {}: at full load all workers are \
             paused together",
            thousandths(milli)
        ));
    }
}

/// The mask with the first thread of each core before the second ones, and whether that changed
/// anything to speak of: two workers on one core get in each other's way.
fn cores_first(allotment: &Allotment) -> (Vec<Cpu>, bool) {
    let rank = |cpu: &Cpu| {
        let group = allotment.siblings.iter().find(|group| group.contains(cpu));
        let before = |one: &&Cpu| *one < cpu && allotment.mask.contains(one);
        group.map_or(0, |group| group.iter().filter(before).count())
    };
    let mut order = allotment.mask.clone();
    order.sort_by_key(rank);
    let second = order.iter().any(|cpu| rank(cpu) > 0);
    (order, second)
}

fn shares(
    allotment: &Allotment,
    weights: &Weights,
    order: &[Cpu],
    count: usize,
    reasoning: &mut Vec<String>,
) -> Result<Shares, ConfigError> {
    match weights {
        Weights::Equal => Ok(Shares::List(Vec::new())),
        Weights::Given(list) if list.len() > count => {
            Err(ConfigError::MoreWeights { weights: list.len(), workers: count })
        }
        Weights::Given(list) => {
            let rest = if list.len() < count { "; 1 for the others" } else { "" };
            reasoning.push(format!("weights: {}, as told{rest}", joined(list)));
            Ok(Shares::List(list.clone()))
        }
        Weights::Auto => {
            let (shares, why) = by_capacity(allotment, order);
            reasoning.push(format!("weights: {why}"));
            Ok(shares)
        }
    }
}

/// Weights in proportion to the strength of the CPUs used, as small as they can be written.
fn by_capacity(allotment: &Allotment, order: &[Cpu]) -> (Shares, &'static str) {
    if order.is_empty() {
        return (Shares::List(Vec::new()), "equal, since unpinned workers have no CPU to weigh");
    }
    let capacity = |cpu: &Cpu| {
        let found = allotment.capacities.iter().find(|(one, _)| one == cpu);
        found.map(|(_, capacity)| (*capacity).max(1))
    };
    let Some(capacities) = order.iter().map(capacity).collect::<Option<Vec<u32>>>() else {
        return (
            Shares::List(Vec::new()),
            "equal, since the kernel does not say how strong CPUs are",
        );
    };
    let divisor = capacities.iter().copied().fold(0, gcd).max(1);
    let most = capacities.iter().copied().max().unwrap_or(1) / divisor;
    let scale = |capacity: u32| {
        let weight = capacity / divisor;
        if most <= WEIGHT_MAX { weight } else { scaled(weight, most) }
    };
    let weights = order.iter().copied().zip(capacities.into_iter().map(scale)).collect();
    (Shares::Cpus(weights), "by the strength of the CPUs, as the kernel gives it")
}

/// `weight` of `most`, as a part of `WEIGHT_MAX`, rounded to the nearest and never nothing.
fn scaled(weight: u32, most: u32) -> u32 {
    let (weight, most) = (u64::from(weight), u64::from(most.max(1)));
    let part = (weight * u64::from(WEIGHT_MAX) + most / 2) / most;
    u32::try_from(part).unwrap_or(WEIGHT_MAX).clamp(1, WEIGHT_MAX)
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The mask as the kernel writes lists: `0-3,8`.
fn mask_text(allotment: &Allotment) -> String {
    let mut ranges: Vec<(Cpu, Cpu)> = Vec::new();
    for cpu in &allotment.mask {
        match ranges.last_mut() {
            Some((_, last)) if last.0.checked_add(1) == Some(cpu.0) => *last = *cpu,
            Some(_) | None => ranges.push((*cpu, *cpu)),
        }
    }
    let text = |(first, last): &(Cpu, Cpu)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// A share of CPUs with as many decimals as it needs: `1.5`.
pub(crate) fn thousandths(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cpus: &[u16], quota_milli: Option<u32>) -> Allotment {
        let mask = cpus.iter().copied().map(Cpu).collect();
        Allotment { mask, quota_milli, ..Allotment::default() }
    }

    fn cpus(placement: &Placement) -> Vec<Option<u16>> {
        placement.slots.iter().map(|slot| slot.cpu.map(|cpu| cpu.0)).collect()
    }

    fn weights(placement: &Placement) -> Vec<u32> {
        placement.slots.iter().map(|slot| slot.weight).collect()
    }

    fn auto(allotment: &Allotment, workers: WorkerCount) -> Placement {
        plan(allotment, workers, &Pin::Auto, &Weights::Equal).unwrap()
    }

    #[test]
    fn auto_takes_the_lesser_of_mask_and_quota() {
        let every: Vec<u16> = (0..300).collect();
        for (mask, quota, count) in [
            (&[0, 1, 2, 3][..], None, 4),
            (&[0, 1, 2, 3], Some(2_000), 2),
            (&[0, 1, 2, 3], Some(2_999), 2),
            (&[0, 1, 2, 3], Some(100), 1),
            (&[2, 5], Some(64_000), 2),
            (&[], Some(3_000), 1),
            (&every, None, SLOTS_MAX),
        ] {
            let placement = auto(&machine(mask, quota), WorkerCount::Auto);
            assert_eq!(placement.slots.len(), count, "{mask:?} {quota:?}");
        }
        let placement = auto(&machine(&[0, 1, 2, 8], Some(1_500)), WorkerCount::Auto);
        assert_eq!(cpus(&placement), [Some(0)], "a quota below the mask pins all the same");
        assert_eq!(
            placement.reasoning,
            [
                "workers: 1, the lesser of 4 CPUs in the inherited mask (0-2,8) and the share \
                 (cgroup quota 1.5 CPUs, rounded down, at least 1)",
                "pins: CPUs of the inherited mask in order",
            ]
        );
    }

    #[test]
    fn slots_take_the_masks_cpus_in_order_and_over_again() {
        let placement = auto(&machine(&[3, 5, 9], None), WorkerCount::Exactly(5));
        assert_eq!(cpus(&placement), [3, 5, 9, 3, 5].map(Some));
        assert_eq!(
            placement.reasoning,
            [
                "workers: 5, as told",
                "pins: CPUs of the inherited mask in order",
                "pins: 5 workers share 3 CPUs, over again from the first",
            ]
        );
        assert_eq!(placement.slot(5).cpu, Some(Cpu(9)), "a slot that comes later");
    }

    #[test]
    fn more_cpus_than_the_quota_grants_are_warned_of() {
        let placement = auto(&machine(&[0, 1], Some(1_500)), WorkerCount::Exactly(2));
        assert_eq!(
            placement.reasoning.last().map(String::as_str),
            Some(
                "pins: 2 CPUs are used and the cgroup grants 1.5: at full load all workers are \
                 paused together"
            )
        );
    }

    #[test]
    fn each_core_gets_a_worker_before_any_gets_two() {
        let pairs = |pairs: &[[u16; 2]]| pairs.iter().map(|p| p.map(Cpu).to_vec()).collect();
        let mut allotment = machine(&[0, 1, 2, 3], None);
        allotment.siblings = pairs(&[[0, 1], [2, 3]]);
        assert_eq!(cpus(&auto(&allotment, WorkerCount::Auto)), [0, 2, 1, 3].map(Some));
        allotment.siblings = pairs(&[[0, 2], [1, 3]]);
        assert_eq!(cpus(&auto(&allotment, WorkerCount::Auto)), [0, 1, 2, 3].map(Some));
        allotment.mask = vec![Cpu(1), Cpu(2), Cpu(3)];
        let placement = auto(&allotment, WorkerCount::Auto);
        assert_eq!(cpus(&placement), [1, 2, 3].map(Some), "2 is alone in the mask");
        assert!(placement.reasoning[1].ends_with("one thread of each core first"));
    }

    #[test]
    fn pins_are_taken_as_given_from_the_mask_only() {
        let allotment = machine(&[0, 1, 4], None);
        let list = |numbers: &[u16]| Pin::List(numbers.iter().copied().map(Cpu).collect());
        let of = |pin: &Pin| plan(&allotment, WorkerCount::Exactly(3), pin, &Weights::Equal);
        assert_eq!(cpus(&of(&list(&[4, 0])).unwrap()), [4, 0, 4].map(Some));
        assert_eq!(cpus(&of(&Pin::None).unwrap()), [None; 3]);
        assert_eq!(
            of(&list(&[0, 2])).unwrap_err().to_string(),
            "--pin names CPU 2, which this process may not use; allowed: 0-1,4 (see taskset -p, \
             or the cpuset of the container)"
        );
        let blind = machine(&[], None);
        let unseen = plan(&blind, WorkerCount::Auto, &Pin::Auto, &Weights::Equal).unwrap();
        assert_eq!(cpus(&unseen), [None]);
    }

    #[test]
    fn rings_that_there_is_no_memory_for_are_told() {
        let told = |limit| {
            let rings = Some(RingCost { bytes: 100, limit });
            let allotment = Allotment { rings, ..machine(&[0, 1], None) };
            let placement = auto(&allotment, WorkerCount::Exactly(3)).counting_rings(&allotment);
            placement.reasoning.into_iter().find(|line| line.starts_with("rings: "))
        };
        assert_eq!(told(400), None);
        assert!(told(399).unwrap().contains("2 of 3 workers"), "{:?}", told(399));
        assert!(told(99).unwrap().contains("0 of 3 workers"));
    }

    #[test]
    fn a_slot_whose_cpu_is_gone_gets_another_and_keeps_it_where_it_is_not() {
        let placement = auto(&machine(&[0, 1, 2, 3], None), WorkerCount::Exactly(6));
        let now = |mask: &[u16]| -> Vec<Option<u16>> {
            let mask: Vec<Cpu> = mask.iter().copied().map(Cpu).collect();
            (0..6).map(|slot| placement.cpu_now(slot, &mask).map(|cpu| cpu.0)).collect()
        };
        assert_eq!(now(&[0, 1, 2, 3]), [0, 1, 2, 3, 0, 1].map(Some));
        assert_eq!(now(&[]), [0, 1, 2, 3, 0, 1].map(Some));
        assert_eq!(now(&[0, 2, 3, 4]), [0, 2, 2, 3, 0, 3].map(Some));
        assert_eq!(now(&[7]), [None; 6]);
        let unpinned =
            plan(&machine(&[0], None), WorkerCount::Exactly(1), &Pin::None, &Weights::Equal);
        assert_eq!(unpinned.unwrap().cpu_now(0, &[Cpu(0)]), None);
    }

    #[test]
    fn workers_spin_only_where_nobody_else_needs_the_cpu() {
        let spinners = |mask: &[u16], quota, workers, pin: &Pin, spin| {
            let allotment = machine(mask, quota);
            let count = WorkerCount::Exactly(workers);
            let placement = plan(&allotment, count, pin, &Weights::Equal).unwrap();
            let placement = placement.spinning(&allotment, spin);
            let told = placement.reasoning.iter().any(|line| line.starts_with("spin: "));
            assert_eq!(told, 0 < placement.spinners);
            placement.spinners
        };
        let twice = Pin::List(vec![Cpu(0), Cpu(1), Cpu(1)]);
        for (mask, quota, workers, pin, spin, expected) in [
            (&[0, 1, 2, 3][..], None, 3, Pin::Auto, Spin::Auto, 3),
            (&[0, 1, 2, 3], None, 2, Pin::Auto, Spin::Auto, 3),
            (&[0, 1, 2, 3], None, 4, Pin::Auto, Spin::Auto, 0),
            (&[0, 1, 2, 3], None, 5, Pin::Auto, Spin::Auto, 0),
            (&[0, 1, 2, 3], Some(3_900), 2, Pin::Auto, Spin::Auto, 2),
            (&[0, 1, 2, 3], Some(3_900), 3, Pin::Auto, Spin::Auto, 0),
            (&[0, 1, 2, 3], None, 2, Pin::None, Spin::Auto, 0),
            (&[0, 1, 2, 3], None, 2, twice, Spin::Auto, 0),
            (&[0, 1, 2, 3], None, 3, Pin::Auto, Spin::Off, 0),
            (&[], None, 1, Pin::Auto, Spin::Auto, 0),
        ] {
            let found = spinners(mask, quota, workers, &pin, spin);
            assert_eq!(found, expected, "{mask:?} {quota:?} {workers} {pin:?}");
        }
    }

    #[test]
    fn weights_are_completed_and_never_too_many() {
        let allotment = machine(&[0, 1], None);
        let of = |workers, list: &[u32]| {
            plan(&allotment, workers, &Pin::Auto, &Weights::Given(list.to_vec()))
        };
        let placement = of(WorkerCount::Exactly(3), &[3, 2]).unwrap();
        assert_eq!(weights(&placement), [3, 2, 1]);
        assert_eq!(placement.slot(3).weight, 1);
        assert_eq!(
            of(WorkerCount::Auto, &[3, 2, 1]).unwrap_err().to_string(),
            "--weight names 3 workers, and there are 2 (--workers); give at most 2 weights or more \
             workers"
        );
    }

    #[test]
    fn automatic_weights_follow_the_cpus() {
        let weigh = |capacities: &[u32], pin: &Pin| {
            let numbers = 0..u16::try_from(capacities.len()).unwrap();
            let mut allotment = machine(&numbers.clone().collect::<Vec<_>>(), None);
            allotment.capacities = numbers.map(Cpu).zip(capacities.iter().copied()).collect();
            weights(&plan(&allotment, WorkerCount::Auto, pin, &Weights::Auto).unwrap())
        };
        for (capacities, expected) in [
            (&[1_024, 1_024, 512, 512][..], &[2, 2, 1, 1][..]),
            (&[3_800_000, 3_800_000], &[1, 1]),
            (&[5_100_000, 3_900_000], &[17, 13]),
            (&[4_000_001, 2_000_000], &[1_000, 500]),
            (&[4_000_000_000, 1], &[1_000, 1]),
            (&[0, 2], &[1, 2]),
        ] {
            assert_eq!(weigh(capacities, &Pin::Auto), expected, "{capacities:?}");
        }
        assert_eq!(weigh(&[4, 2], &Pin::None), [1, 1]);
        assert_eq!(weigh(&[2, 4], &Pin::List(vec![Cpu(1), Cpu(0)])), [2, 1]);
        let unknown = machine(&[0, 1], None);
        let plan = plan(&unknown, WorkerCount::Auto, &Pin::Auto, &Weights::Auto).unwrap();
        assert_eq!(weights(&plan), [1, 1]);
        assert!(plan.reasoning[2].starts_with("weights: equal, since"), "{:?}", plan.reasoning);
    }

    proptest::proptest! {
        #[test]
        fn every_plan_has_valid_slots(
            mask in proptest::collection::btree_set(0_u16..64, 0..8),
            quota in proptest::option::of(1_u32..9_000),
            workers in 0_u16..20,
            capacities in proptest::collection::vec(0_u32.., 8),
        ) {
            let mask: Vec<u16> = mask.into_iter().collect();
            let mut allotment = machine(&mask, quota);
            allotment.capacities = mask.iter().copied().map(Cpu).zip(capacities).collect();
            let auto = workers == 0;
            let workers = if auto { WorkerCount::Auto } else { WorkerCount::Exactly(workers) };
            let placement = plan(&allotment, workers, &Pin::Auto, &Weights::Auto).unwrap();
            proptest::prop_assert!(!placement.slots.is_empty());
            for slot in &placement.slots {
                proptest::prop_assert!((1..=WEIGHT_MAX).contains(&slot.weight));
                proptest::prop_assert_eq!(slot.cpu.is_none(), mask.is_empty());
                proptest::prop_assert!(slot.cpu.is_none_or(|cpu| mask.contains(&cpu.0)));
            }
        }
    }
}
