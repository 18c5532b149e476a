//! Starting a worker without waiting for it. The process is cloned, and from then on it is on its
//! own: what it becomes, and whether it can, it tells through a pipe. So nobody here waits for a
//! scanner, for a file system or for somebody who has stopped it.
//!
//! A worker gets a process group of its own (the terminal's ^C is the master's to interpret),
//! signals as the kernel first had them, exactly the descriptors it shall have, and a SIGTERM in
//! store for when the master dies. The last can be had alone, for processes that are no workers.

#![expect(unsafe_code, reason = "system calls that nix has no safe form of")]

mod child;
mod report;

use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use self::child::{ChildPlan, Image};
pub use self::report::{SpawnProgress, SpawnStep, Trouble, progress};
use super::errno::{errno_of, last_errno};
use super::executable::Executable;
use super::fd::{adopt, set_nonblocking};
use super::rlimit::ResourceLimit;
use super::scheduling::Scheduling;
use crate::units::Errno;

/// The first descriptor that a worker finds beyond the standard three.
pub const FIRST_FD: i32 = 3;

/// The highest descriptor that a new process looks for to close it, where the kernel cannot close
/// ranges. The kernel gives out the lowest number that is free, so that none is above what one
/// process has open at once.
pub const DESCRIPTOR_LAST: i32 = 1 << 19;

/// What to start, and with what.
#[derive(Debug)]
pub struct SpawnOrder<'a> {
    /// What it is to become.
    pub program: SpawnProgram<'a>,
    /// Its arguments; the first is its own name.
    pub args: &'a [OsString],
    /// Variables to set.
    pub env: &'a [(&'static str, String)],
    /// Variables to take away.
    pub env_remove: &'a [&'static str],
    /// How it is to be scheduled; none: as the kernel has children of this process scheduled.
    pub scheduling: Option<Scheduling>,
    /// Its limit on open files; none: as this process.
    pub open_files: Option<ResourceLimit>,
    /// What it reads as standard input.
    pub stdin: BorrowedFd<'a>,
    /// Descriptors that the worker finds under [`FIRST_FD`] and up, in this order.
    pub fds: &'a [BorrowedFd<'a>],
}

/// What a process is to become.
#[derive(Clone, Copy, Debug)]
pub enum SpawnProgram<'a> {
    /// The file of this path.
    Path(&'a OsStr),
    /// A file that was opened before.
    Open(&'a Executable),
}

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    /// Its number, for people.
    pub pid: u32,
    /// The process itself; readable when it has ended.
    pub pidfd: OwnedFd,
    /// What it writes to standard output and standard error; non-blocking.
    pub output: OwnedFd,
    /// What it tells until it has become its program, for [`progress`]; non-blocking.
    pub report: OwnedFd,
}

/// Starts it, and does not wait for what becomes of it.
///
/// # Errors
/// What pipe and clone say: EMFILE, ENOMEM, EAGAIN at the limit of processes; EINVAL for words
/// with a zero byte.
pub fn spawn(order: &SpawnOrder<'_>) -> Result<Child, Errno> {
    let (output, input) = pipe()?;
    let (report, told) = pipe()?;
    let mut sources = vec![order.stdin.as_raw_fd(), input.as_raw_fd(), input.as_raw_fd()];
    sources.extend(order.fds.iter().map(AsRawFd::as_raw_fd));
    let mut plan = ChildPlan::new(Image::of(order)?, sources, told.as_raw_fd());
    plan.args = Strings::of(order.args.iter().map(|arg| arg.as_bytes().to_vec()))?;
    plan.env = Strings::of(environment(order))?;
    plan.scheduling = order.scheduling;
    plan.open_files = order.open_files;
    match clone()? {
        Cloned::Parent { pid, pidfd } => Ok(Child { pid, pidfd, output, report }),
        Cloned::Child => plan.carry_out(),
    }
}

/// Has the process that `command` will start told to end (SIGTERM) when this one does, however this
/// one ends.
pub fn tie(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let tie = move || {
        child::ask_for_a_signal_at_its_end()?;
        // It may have ended before the line above.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH) }
    };
    // SAFETY: between fork and exec the closure makes two system calls; it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(move || tie().map_err(io::Error::from)) };
}

/// Which side of a clone this is.
enum Cloned {
    Parent { pid: u32, pidfd: OwnedFd },
    Child,
}

/// A copy of this process, as fork makes one, that comes with its descriptor.
fn clone() -> Result<Cloned, Errno> {
    let mut pidfd: i32 = -1;
    let pid = match clone3(&mut pidfd) {
        // A filter of system calls that cannot look into clone3's argument refuses it.
        Err(Errno(libc::ENOSYS | libc::EPERM)) => clone_as_of_old(&mut pidfd)?,
        result => result?,
    };
    match u32::try_from(pid) {
        Ok(0) | Err(_) => Ok(Cloned::Child),
        Ok(pid) => Ok(Cloned::Parent { pid, pidfd: adopt(pidfd) }),
    }
}

fn clone3(pidfd: &mut i32) -> Result<libc::c_long, Errno> {
    let (flags, signal) = (libc::CLONE_PIDFD, libc::SIGCHLD);
    // SAFETY: all fields are numbers, and zero asks for nothing.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags.unsigned_abs().into();
    arguments.pidfd = (&raw mut *pidfd).addr() as u64;
    arguments.exit_signal = signal.unsigned_abs().into();
    let size = size_of_val(&arguments);
    // SAFETY: the arguments are valid and as long as `size` says, and the descriptor's place is
    // ours alone. No memory is shared with the new process; it runs on in a copy of this one's,
    // as after fork, and does nothing there that needs another thread (see `child`).
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    if pid < 0 { Err(last_errno()) } else { Ok(pid) }
}

fn clone_as_of_old(pidfd: &mut i32) -> Result<libc::c_long, Errno> {
    let flags = i64::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    let (place, none) = (&raw mut *pidfd, 0_usize);
    // SAFETY: as above. The flags share nothing, no stack means this one's copy, and the
    // descriptor goes where the parent's thread number would.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, place, none, none) };
    if pid < 0 { Err(last_errno()) } else { Ok(pid) }
}

/// A pipe whose end to read does not wait; close-on-exec.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(errno_of)?;
    set_nonblocking(&read)?;
    Ok((read, write))
}

/// The environment of this process with what the order changes in it.
fn environment(order: &SpawnOrder<'_>) -> impl Iterator<Item = Vec<u8>> {
    let is_kept = |name: &OsStr| {
        let replaced = order.env.iter().any(|(other, _)| *other == name);
        !replaced && order.env_remove.iter().all(|other| *other != name)
    };
    let kept = std::env::vars_os()
        .filter(move |(name, _)| is_kept(name))
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    kept.chain(order.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()))
}

/// Words in the form that exec wants.
#[derive(Debug)]
struct Strings {
    /// What the pointers point to: the bytes are on the heap, and stay where they are.
    _words: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    const NONE: Self = Self { _words: Vec::new(), pointers: Vec::new() };

    fn of(words: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, Errno> {
        let words: Vec<CString> = words.into_iter().map(c_string).collect::<Result<_, _>>()?;
        let pointers = words.iter().map(|word| word.as_ptr());
        let pointers = pointers.chain([std::ptr::null()]).collect();
        Ok(Self { _words: words, pointers })
    }

    const fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

fn c_string(bytes: impl Into<Vec<u8>>) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::sys::{fd, rlimit};

    fn order<'a>(stdin: &'a OwnedFd, args: &'a [OsString]) -> SpawnOrder<'a> {
        SpawnOrder {
            program: SpawnProgram::Path(OsStr::new("/bin/sh")),
            args,
            env: &[],
            env_remove: &[],
            scheduling: None,
            open_files: None,
            stdin: stdin.as_fd(),
            fds: &[],
        }
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    /// What it says until it ends, and what it has told before.
    fn hear(child: Child) -> (String, Vec<Trouble>) {
        let mut troubles = Vec::new();
        loop {
            match progress(&child.report) {
                SpawnProgress::Trouble(trouble) => troubles.push(trouble),
                SpawnProgress::Over => break,
                SpawnProgress::Pending => wait(&child.report),
            }
        }
        fd::set_blocking(&child.output).unwrap();
        let mut text = String::new();
        File::from(child.output).read_to_string(&mut text).unwrap();
        wait(&child.pidfd);
        (text, troubles)
    }

    fn wait(fd: &OwnedFd) {
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(20_000_u16)), Ok(1), "it takes too long");
    }

    fn run(order: &SpawnOrder<'_>) -> String {
        let (text, troubles) = hear(spawn(order).unwrap());
        assert_eq!(troubles, []);
        text
    }

    /// A shell that runs a script, with these descriptors.
    fn script(text: &str, fds: &[BorrowedFd<'_>]) -> String {
        let (stdin, args) = (fd::no_input().unwrap(), words(&["sh", "-c", text]));
        run(&SpawnOrder { fds, ..order(&stdin, &args) })
    }

    #[test]
    fn a_program_gets_its_descriptors_in_their_order_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            File::open(path).unwrap()
        };
        let (second, first, stays) = (file("second"), file("first"), file("not for it"));
        fd::clear_cloexec(&stays).unwrap();
        let fds = [first.as_fd(), second.as_fd(), first.as_fd()];
        let text = script("readlink /proc/$$/fd/*; cat <&3; cat <&4", &fds);
        let mut lines = text.lines();
        let base = |line: &str| Path::new(line).file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(lines.next(), Some("/dev/null"));
        let outputs = [lines.next().unwrap(), lines.next().unwrap()];
        assert!(outputs[0] == outputs[1] && outputs[0].starts_with("pipe:"), "{text}");
        let rest: Vec<String> = lines.map(base).collect();
        assert_eq!(rest, ["first", "second", "first", "firstsecond"], "{text}");
    }

    #[test]
    fn descriptors_that_stand_in_each_others_way_are_moved() {
        let dir = tempfile::tempdir().unwrap();
        let text = std::thread::scope(|scope| {
            // A thread with a table of its own, in which the numbers can be chosen.
            let work = || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
                let path = dir.path().join("a");
                fs::write(&path, "a").unwrap();
                let a = File::open(&path).unwrap();
                let b = fd::no_input().unwrap();
                // In the reverse of the order that they have here.
                script("readlink /proc/$$/fd/3 /proc/$$/fd/4", &[b.as_fd(), a.as_fd()])
            };
            scope.spawn(work).join().unwrap()
        });
        assert!(text.starts_with("/dev/null\n") && text.ends_with("/a\n"), "{text}");
    }

    #[test]
    fn no_signal_is_ignored_or_held_back() {
        let state = std::thread::scope(|scope| {
            let work = || {
                nix::sys::signal::SigSet::all().thread_block().unwrap();
                script("grep -E '^Sig(Blk|Ign)' /proc/self/status", &[])
            };
            scope.spawn(work).join().unwrap()
        });
        // SIGPIPE is ignored in every Rust program.
        assert_eq!(state, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    }

    #[test]
    fn it_leads_a_process_group_and_reads_nothing() {
        assert_eq!(
            script("cat; set -- $(cat /proc/$$/stat); [ $5 = $$ ] && echo leads", &[]),
            "leads\n"
        );
    }

    #[test]
    fn it_has_its_name_and_an_environment_of_its_own() {
        let (stdin, args) = (fd::no_input().unwrap(), words(&["-name", "-c", "echo $0 $HOME $A"]));
        let env = [("A", String::from("b"))];
        let order = SpawnOrder { env: &env, env_remove: &["HOME"], ..order(&stdin, &args) };
        assert_eq!(run(&order), "-name b\n");
    }

    #[test]
    fn what_cannot_be_executed_says_why() {
        let (stdin, args) = (fd::no_input().unwrap(), words(&["name"]));
        for (path, errno) in [("/nowhere", libc::ENOENT), ("/", libc::EACCES)] {
            let program = SpawnProgram::Path(OsStr::new(path));
            let (_, troubles) =
                hear(spawn(&SpawnOrder { program, ..order(&stdin, &args) }).unwrap());
            assert_eq!(troubles, [Trouble { step: SpawnStep::Exec, errno: Errno(errno) }]);
        }
        let zero = words(&["a\0b"]);
        assert_eq!(spawn(&order(&stdin, &zero)).unwrap_err(), Errno(libc::EINVAL));
    }

    #[test]
    fn a_script_without_a_first_line_is_the_shells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"echo $1 from the shell\n").unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
        drop(file);
        let (stdin, args) = (fd::no_input().unwrap(), words(&["name", "hello"]));
        let program = SpawnProgram::Path(path.as_os_str());
        assert_eq!(run(&SpawnOrder { program, ..order(&stdin, &args) }), "hello from the shell\n");
    }

    #[test]
    fn an_open_file_is_executed_though_its_name_is_gone() {
        let own = Executable::own().unwrap();
        let (stdin, args) = (fd::no_input().unwrap(), words(&["name", "--list", "--exact", "no"]));
        let program = SpawnProgram::Open(&own);
        assert_eq!(run(&SpawnOrder { program, ..order(&stdin, &args) }), "0 tests, 0 benchmarks\n");
    }

    #[test]
    fn its_scheduling_and_its_limit_are_set() {
        let (stdin, args) = (fd::no_input().unwrap(), words(&["sh", "-c", "cat /proc/$$/stat"]));
        let scheduling = Some(Scheduling::current().unwrap().as_batch());
        let stat = run(&SpawnOrder { scheduling, ..order(&stdin, &args) });
        let (_, fields) = stat.rsplit_once(')').unwrap();
        assert_eq!(fields.split_whitespace().nth(38), Some("3"), "{stat}");

        let (stdin, args) =
            (fd::no_input().unwrap(), words(&["sh", "-c", "ulimit -Sn; ulimit -Hn"]));
        let hard = rlimit::read(rlimit::Resource::OpenFiles).unwrap().hard;
        let open_files = Some(ResourceLimit { soft: 77, hard });
        let limits = run(&SpawnOrder { open_files, ..order(&stdin, &args) });
        assert_eq!(limits, format!("77\n{hard}\n"));
    }
}
