//! A worker pins itself, so that the CPU which the plan gave its seat is the one that it runs on;
//! and it looks again afterwards, since a pin that silently failed would make every figure a lie.

use core_affinity::CoreId;
use nix::sched::CpuSet;
use thiserror::Error;

use crate::sys::cpus;
use crate::units::Cpu;

/// Why this process does not run where it should.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PinError {
    /// The number does not fit the kernel's fixed-size mask.
    #[error("pin to CPU {cpu}: numbers go up to {}", CpuSet::count() - 1)]
    NoSuchNumber {
        /// The CPU wanted.
        cpu: Cpu,
    },
    /// The kernel refused: the CPU is offline or outside the cpuset.
    #[error("pin to CPU {cpu}: refused by the kernel; is it online and in the cpuset?")]
    Refused {
        /// The CPU wanted.
        cpu: Cpu,
    },
    /// The kernel agreed, and the mask says otherwise.
    #[error("pin to CPU {cpu}: the mask is {mask:?} afterwards")]
    NotThere {
        /// The CPU wanted.
        cpu: Cpu,
        /// The CPUs found, none if they could not be read.
        mask: Vec<Cpu>,
    },
}

/// Pins the calling thread to one CPU and reads the mask again to be sure.
///
/// # Errors
/// The CPU cannot be had, or the kernel's mask does not show it alone afterwards.
pub fn pin_current(cpu: Cpu) -> Result<(), PinError> {
    let core = CoreId { id: usize::from(cpu.0) };
    if core.id >= CpuSet::count() {
        return Err(PinError::NoSuchNumber { cpu });
    }
    if !core_affinity::set_for_current(core) {
        return Err(PinError::Refused { cpu });
    }
    let mask = cpus::inherited_mask();
    if mask == [cpu] { Ok(()) } else { Err(PinError::NotThere { cpu, mask }) }
}

/// The CPU that the calling thread runs on at this moment; none where the kernel does not say.
pub fn current_cpu() -> Option<Cpu> {
    let number = nix::sched::sched_getcpu().ok()?;
    u16::try_from(number).ok().map(Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_runs_where_it_was_told_to() {
        for cpu in cpus::inherited_mask() {
            let seen = std::thread::scope(|scope| {
                scope.spawn(|| pin_current(cpu).map(|()| current_cpu())).join().unwrap()
            });
            assert_eq!(seen, Ok(Some(cpu)));
        }
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error_and_no_panic() {
        let beyond = Cpu(1_024);
        assert_eq!(pin_current(beyond), Err(PinError::NoSuchNumber { cpu: beyond }));
        let absent = Cpu(1_023);
        assert!(!cpus::inherited_mask().contains(&absent), "this machine has 1024 CPUs");
        assert_eq!(pin_current(absent), Err(PinError::Refused { cpu: absent }));
    }
}
