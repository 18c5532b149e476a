//! How the kernel schedules a process: its policy, and what belongs to that (nice, priority,
//! whether children begin anew). All of it is read and restored as one, since a policy without its
//! parameters is refused, or is another one.

#![expect(unsafe_code, reason = "nix has no scheduling policies")]

use super::errno::last_errno;
use crate::units::Errno;

/// How a process is scheduled.
#[derive(Clone, Copy, Debug)]
pub struct Scheduling(libc::sched_attr);

/// Of the kernel's policies, those that mean something here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SchedPolicy {
    /// SCHED_OTHER: what everybody has.
    Other,
    /// SCHED_DEADLINE, which no child inherits, and which forbids to have any.
    Deadline,
    /// Any other.
    Special,
}

impl Scheduling {
    /// That of this process.
    ///
    /// # Errors
    /// EPERM or ENOSYS in a sandbox.
    pub fn current() -> Result<Self, Errno> {
        let mut attributes = empty();
        let (call, place, size) = (libc::SYS_sched_getattr, &raw mut attributes, attributes.size);
        // SAFETY: the place is ours alone and as large as is said; 0 is this process.
        let result = unsafe { libc::syscall(call, 0, place, size, 0) };
        if result < 0 {
            return Err(last_errno());
        }
        // The kernel says how much of it it knows, and wants to hear the size that was meant.
        attributes.size = size;
        Ok(Self(attributes))
    }

    /// Puts this process under it. Allocates nothing: it may be called between fork and exec.
    ///
    /// # Errors
    /// EPERM for more than this process may have, and in a sandbox.
    pub fn enter(self) -> Result<(), Errno> {
        let (call, attributes) = (libc::SYS_sched_setattr, &raw const self.0);
        // SAFETY: the attributes are alive and as long as their size says; 0 is this process.
        let result = unsafe { libc::syscall(call, 0, attributes, 0) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    }

    /// Its policy.
    pub const fn policy(self) -> SchedPolicy {
        match self.0.sched_policy.cast_signed() {
            libc::SCHED_OTHER => SchedPolicy::Other,
            libc::SCHED_DEADLINE => SchedPolicy::Deadline,
            _ => SchedPolicy::Special,
        }
    }

    /// The same under SCHED_BATCH: runs when a CPU is free or its share is due, and takes none away
    /// from whoever works.
    #[must_use]
    pub const fn as_batch(mut self) -> Self {
        self.0.sched_policy = libc::SCHED_BATCH.cast_unsigned();
        self
    }

    /// SCHED_OTHER, with nothing else to it.
    pub fn plain() -> Self {
        Self(empty())
    }

    /// The same for this process, while its children begin with SCHED_OTHER.
    #[must_use]
    pub const fn for_itself_alone(mut self) -> Self {
        self.0.sched_flags |= RESET_ON_FORK;
        self
    }

    /// Whether children begin with SCHED_OTHER.
    pub const fn is_for_itself_alone(self) -> bool {
        self.0.sched_flags & RESET_ON_FORK != 0
    }
}

const RESET_ON_FORK: u64 = libc::SCHED_FLAG_RESET_ON_FORK as u64;

fn empty() -> libc::sched_attr {
    // SAFETY: all fields are numbers, and zero asks for SCHED_OTHER.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0);
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: to leave SCHED_BATCH takes no right, to leave others may.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn what_is_entered_is_what_is_read() {
        apart(|| {
            let before = Scheduling::current().unwrap();
            before.as_batch().for_itself_alone().enter().unwrap();
            let batch = Scheduling::current().unwrap();
            assert_eq!(batch.0.sched_policy, libc::SCHED_BATCH.cast_unsigned());
            assert_eq!(batch.0.sched_nice, before.0.sched_nice);
            assert!(batch.is_for_itself_alone());
            assert_eq!(batch.policy(), SchedPolicy::Special);
        });
    }

    #[test]
    fn plain_is_other() {
        apart(|| {
            Scheduling::plain().enter().unwrap();
            let now = Scheduling::current().unwrap();
            assert_eq!((now.policy(), now.0.sched_nice), (SchedPolicy::Other, 0));
        });
    }
}
