//! What a new process tells of itself until it has become its program: records of a fixed size in
//! a pipe that the exec closes.

use std::os::fd::OwnedFd;

use crate::sys::fd;
use crate::units::Errno;

/// What a process does before it becomes its program.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SpawnStep {
    /// It puts its descriptors in order.
    Descriptors,
    /// It enters a process group of its own.
    Group,
    /// It is scheduled as it shall be.
    Scheduling,
    /// It sets its limit on open files.
    OpenFiles,
    /// It asks to be told when its parent has ended.
    ParentsEnd,
    /// It becomes its program.
    Exec,
}

/// Something that a new process could not do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// What.
    pub step: SpawnStep,
    /// Why.
    pub errno: Errno,
}

/// How far a new process has got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpawnProgress {
    /// It is not its program yet.
    Pending,
    /// It could not do something, without which it goes on if [`SpawnStep::is_wish`].
    Trouble(Trouble),
    /// It has become its program, or has ended.
    Over,
}

impl SpawnStep {
    const ALL: [Self; 6] = [
        Self::Descriptors,
        Self::Group,
        Self::Scheduling,
        Self::OpenFiles,
        Self::ParentsEnd,
        Self::Exec,
    ];

    /// Whether a process can do without it.
    pub const fn is_wish(self) -> bool {
        match self {
            Self::Group | Self::Scheduling | Self::OpenFiles | Self::ParentsEnd => true,
            Self::Descriptors | Self::Exec => false,
        }
    }
}

/// Bytes of a record. A pipe takes so few at once or not at all.
pub(super) const RECORD: usize = 8;

impl Trouble {
    pub(super) const fn encode(self) -> [u8; RECORD] {
        let step = (self.step as u32).to_ne_bytes();
        let errno = self.errno.0.to_ne_bytes();
        [step[0], step[1], step[2], step[3], errno[0], errno[1], errno[2], errno[3]]
    }

    fn decode(record: [u8; RECORD]) -> Option<Self> {
        let (step, errno) = record.split_first_chunk()?;
        let step = u32::from_ne_bytes(*step);
        let step = SpawnStep::ALL.into_iter().find(|each| *each as u32 == step)?;
        Some(Self { step, errno: Errno(i32::from_ne_bytes(errno.try_into().ok()?)) })
    }
}

/// What a new process has told since this was asked last, one thing at a time.
pub fn progress(report: &OwnedFd) -> SpawnProgress {
    let mut record = [0; RECORD];
    match fd::read(report, &mut record) {
        Ok(RECORD) => Trouble::decode(record).map_or(SpawnProgress::Over, SpawnProgress::Trouble),
        Err(Errno(libc::EAGAIN | libc::EINTR)) => SpawnProgress::Pending,
        Ok(_) | Err(_) => SpawnProgress::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_survives_its_record() {
        for step in SpawnStep::ALL {
            let trouble = Trouble { step, errno: Errno(libc::ENOENT) };
            assert_eq!(Trouble::decode(trouble.encode()), Some(trouble));
        }
        assert_eq!(Trouble::decode([0xff; RECORD]), None);
    }
}
