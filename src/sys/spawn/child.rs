//! What a new process does until it becomes its program. It runs in a copy of the master's memory
//! in which nobody else runs, so that it allocates nothing, takes no lock, and cannot go back: it
//! makes system calls, and ends.
//!
//! First of all it closes what it shall not have. The exec would do so too, but may take long to
//! come, and until then every listener, connection and lock would be kept alive by a process that
//! has nothing to do with them.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno as Kernels;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::DESCRIPTOR_LAST;
use super::report::{SpawnStep, Trouble};
use super::{SpawnOrder, SpawnProgram, Strings, c_string};
use crate::sys::errno::errno_of;
use crate::sys::rlimit::{ResourceLimit, set_open_files};
use crate::sys::scheduling::Scheduling;
use crate::units::Errno;

/// Everything that a new process needs, made before there is one.
#[derive(Debug)]
pub(super) struct ChildPlan {
    image: Image,
    pub(super) args: Strings,
    pub(super) env: Strings,
    pub(super) scheduling: Option<Scheduling>,
    pub(super) open_files: Option<ResourceLimit>,
    /// What it finds under 0, 1, 2 and so on.
    sources: Vec<i32>,
    /// Where its progress is told.
    report: i32,
    /// All that it needs open, in order.
    needed: Vec<i32>,
    parent: Pid,
}

/// What it becomes.
#[derive(Debug)]
pub(super) enum Image {
    /// A file with a name. One that is no program of the kernel's is the shell's, as for execvp.
    Path { path: CString, for_shell: Strings },
    /// A file that is open, and its name where no open file can be executed.
    Open { file: i32, path: CString },
}

impl Image {
    pub(super) fn of(order: &SpawnOrder<'_>) -> Result<Self, Errno> {
        Ok(match order.program {
            SpawnProgram::Open(executable) => {
                let path = c_string(executable.path().as_bytes())?;
                Self::Open { file: executable.raw(), path }
            }
            SpawnProgram::Path(path) => {
                let words = [SHELL.to_bytes(), path.as_bytes()].into_iter();
                let rest = order.args.iter().skip(1).map(|arg| arg.as_bytes());
                let for_shell = Strings::of(words.chain(rest).map(<[u8]>::to_vec))?;
                Self::Path { path: c_string(path.as_bytes())?, for_shell }
            }
        })
    }

    fn file(&mut self) -> Option<&mut i32> {
        match self {
            Self::Open { file, .. } => Some(file),
            Self::Path { .. } => None,
        }
    }
}

const SHELL: &CStr = c"/bin/sh";

/// The exit code of one that could not become its program; what shells use for it.
const FAILED: i32 = 127;

impl ChildPlan {
    pub(super) fn new(mut image: Image, sources: Vec<i32>, report: i32) -> Self {
        let mut needed = sources.clone();
        needed.push(report);
        needed.extend(image.file().copied());
        needed.sort_unstable();
        needed.dedup();
        let (args, env) = (Strings::NONE, Strings::NONE);
        let parent = nix::unistd::getpid();
        let (scheduling, open_files) = (None, None);
        Self { image, args, env, scheduling, open_files, sources, report, needed, parent }
    }

    /// Does all of it.
    pub(super) fn carry_out(mut self) -> ! {
        // Whatever happens, this process does not go back to where the master was.
        let _end = End;
        let Err(trouble) = self.become_program();
        self.tell(trouble);
        end()
    }

    fn become_program(&mut self) -> Result<Infallible, Trouble> {
        self.close_others();
        let failed = |errno| Trouble { step: SpawnStep::Descriptors, errno: errno_of(errno) };
        self.place().map_err(failed)?;
        let group = nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0));
        self.wish(SpawnStep::Group, group.map_err(errno_of));
        if let Some(scheduling) = self.scheduling {
            self.wish(SpawnStep::Scheduling, scheduling.enter());
        }
        if let Some(limit) = self.open_files {
            self.wish(SpawnStep::OpenFiles, set_open_files(limit));
        }
        self.wish(SpawnStep::ParentsEnd, ask_for_a_signal_at_its_end().map_err(errno_of));
        if nix::unistd::getppid() != self.parent {
            // It has ended before it could be asked.
            end();
        }
        forget_signals();
        let errno = errno_of(self.exec());
        Err(Trouble { step: SpawnStep::Exec, errno })
    }

    fn wish(&self, step: SpawnStep, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.tell(Trouble { step, errno });
        }
    }

    fn tell(&self, trouble: Trouble) {
        let record = trouble.encode();
        // SAFETY: the record is alive and as long as is said. Nobody can be told that it failed.
        unsafe { libc::write(self.report, record.as_ptr().cast(), record.len()) };
    }

    /// Closes all that is not needed.
    fn close_others(&self) {
        let mut first = 0;
        for needed in &self.needed {
            close_from_to(first, needed - 1);
            first = needed + 1;
        }
        close_from_to(first, i32::MAX);
    }

    /// Puts each descriptor under its number. Those that stand where another is to go are first
    /// moved out of the way; what is left of them beyond is closed by the exec.
    fn place(&mut self) -> nix::Result<()> {
        let end = i32::try_from(self.sources.len()).map_err(|_| Kernels::EMFILE)?;
        let moved = self.sources.iter_mut().chain([&mut self.report]).chain(self.image.file());
        for fd in moved.filter(|fd| **fd < end) {
            // SAFETY: F_DUPFD_CLOEXEC takes numbers only.
            *fd = Kernels::result(unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, end) })?;
        }
        for (source, target) in self.sources.iter().zip(0..) {
            // SAFETY: dup2 takes numbers only; whatever owned the target is a copy in which
            // nobody runs any more.
            Kernels::result(unsafe { libc::dup2(*source, target) })?;
        }
        Ok(())
    }

    /// Returns only why it failed.
    fn exec(&self) -> Kernels {
        match &self.image {
            Image::Path { path, for_shell } => match exec(path, &self.args, &self.env) {
                Kernels::ENOEXEC => exec(SHELL, for_shell, &self.env),
                errno => errno,
            },
            Image::Open { file, path } => match exec_open(*file, &self.args, &self.env) {
                Kernels::ENOSYS | Kernels::EPERM => exec(path, &self.args, &self.env),
                errno => errno,
            },
        }
    }
}

/// Has the kernel send SIGTERM to this process when its parent ends.
pub(super) fn ask_for_a_signal_at_its_end() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)
}

fn exec(path: &CStr, args: &Strings, env: &Strings) -> Kernels {
    // SAFETY: the path ends with a zero byte, and both lists are of such words and end with a
    // null pointer.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Kernels::last()
}

fn exec_open(file: i32, args: &Strings, env: &Strings) -> Kernels {
    let (call, itself) = (libc::SYS_execveat, c"".as_ptr());
    let (args, env) = (args.as_ptr(), env.as_ptr());
    // SAFETY: as above; an empty path means the file itself.
    unsafe { libc::syscall(call, file, itself, args, env, libc::AT_EMPTY_PATH) };
    Kernels::last()
}

/// Closes all descriptors of this range.
fn close_from_to(first: i32, last: i32) {
    if last < first {
        return;
    }
    // SAFETY: close_range takes numbers only; whatever owned the descriptors is a copy in which
    // nobody runs any more.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // A kernel or a sandbox that does not know it.
    for fd in first..=last.min(DESCRIPTOR_LAST) {
        // SAFETY: close takes a number only; the rest is as above.
        unsafe { libc::close(fd) };
    }
}

/// Every signal does what the kernel would have it do, and none is held back.
fn forget_signals() {
    /// The highest that the kernel knows.
    const LAST: i32 = 64;
    /// Bytes of the kernel's set of signals.
    const SET: usize = 8;
    // More than the kernel's sigaction has; all zeros are the default disposition.
    let default = [0_usize; 8];
    for signal in 1..=LAST {
        let (new, old) = (default.as_ptr(), std::ptr::null::<usize>());
        // SAFETY: the kernel reads no more than there is, and nothing is asked back. Not the C
        // library's function, which leaves two signals out. SIGKILL and SIGSTOP are as they are.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, SET) };
    }
    SigSet::empty().thread_set_mask().unwrap_or_default();
}

/// Ends this process however it is left.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        end();
    }
}

fn end() -> ! {
    // SAFETY: it takes a number, and nothing that belongs to the master runs.
    unsafe { libc::_exit(FAILED) }
}
