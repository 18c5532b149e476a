//! A worker pins itself, so that the CPU which the plan gave its slot is the one that it runs on;
//! and it looks again afterwards, since a pin that silently failed would make every figure a lie.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use thiserror::Error;

use crate::sys::cpus;
use crate::sys::errno::{errno_of, io_error};
use crate::units::{Cpu, Errno};

/// Why this process does not run where it should.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("pin to CPU {cpu}: {}; is it online and in the cpuset?", io_error(*.errno))]
pub struct PinError {
    /// The CPU wanted.
    pub cpu: Cpu,
    /// EINVAL where it is offline, outside the cpuset or beyond the kernel's numbers; EPERM in a
    /// sandbox; EAGAIN where the kernel agreed, and the mask says otherwise.
    pub errno: Errno,
}

/// Pins the calling thread to one CPU and reads the mask again to be sure.
///
/// # Errors
/// The CPU cannot be had, or the kernel's mask does not show it alone afterwards.
pub fn pin_current(cpu: Cpu) -> Result<(), PinError> {
    let refused = |errno| PinError { cpu, errno };
    let mut alone = CpuSet::new();
    alone.set(usize::from(cpu.0)).map_err(|errno| refused(errno_of(errno)))?;
    let pinned = sched_setaffinity(Pid::from_raw(0), &alone);
    pinned.map_err(|errno| refused(errno_of(errno)))?;
    let mask = cpus::inherited_mask();
    // One that cannot be read says nothing.
    let is_there = mask.is_empty() || mask == [cpu];
    if is_there { Ok(()) } else { Err(refused(Errno(libc::EAGAIN))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current_cpu() -> Option<Cpu> {
        let number = nix::sched::sched_getcpu().ok()?;
        u16::try_from(number).ok().map(Cpu)
    }

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
        let refused = |cpu| Err(PinError { cpu, errno: Errno(libc::EINVAL) });
        assert_eq!(pin_current(Cpu(1_024)), refused(Cpu(1_024)));
        let absent = Cpu(1_023);
        assert!(!cpus::inherited_mask().contains(&absent), "this machine has 1024 CPUs");
        assert_eq!(pin_current(absent), refused(absent));
    }
}
