//! The only reader of the kernel's clocks: everything else is told the time, so that the simulator
//! can make it up.
#![expect(unsafe_code, reason = "clocks and timer slack are read and set through libc")]

use crate::sys::errno::last_errno;
use crate::units::{Errno, Mono, Span};

/// Now, on the clock that never jumps and that all processes of the machine share.
pub fn monotonic() -> Mono {
    Mono::from_ns(read(libc::CLOCK_MONOTONIC))
}

/// Seconds since 1970, for what people read; never for deadlines.
pub fn unix_seconds() -> u64 {
    read(libc::CLOCK_REALTIME) / 1_000_000_000
}

/// CPU time that the calling thread has used.
pub fn thread_cpu() -> Span {
    Span::from_ns(read(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// CPU time that all threads of a process have used, those that have ended included.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn process_cpu(pid: u32) -> Result<Span, Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for the call to write to, and outlives it.
    let code = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if code != 0 {
        return Err(Errno(code));
    }
    try_read(clock).map(Span::from_ns)
}

/// Blocks the calling thread for `span`, signals notwithstanding.
pub fn sleep(span: Span) {
    let end = timespec(Span::from_ns(monotonic().after(span).as_ns()));
    loop {
        // SAFETY: `end` is a valid timespec that outlives the call; with TIMER_ABSTIME the kernel
        // writes no remainder, so that the last pointer may be null.
        let code = unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const end,
                std::ptr::null_mut(),
            )
        };
        if code != libc::EINTR {
            return;
        }
    }
}

/// Sets how late the kernel may wake the calling thread; 1 is the most exact, 0 the default.
///
/// # Errors
/// None is known; the kernel's word is passed on.
pub fn set_timer_slack_ns(ns: u64) -> Result<(), Errno> {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    let code = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns, 0, 0, 0) };
    if code < 0 { Err(last_errno()) } else { Ok(()) }
}

/// A length of time as the kernel takes it; the longest that it takes when it is longer.
pub fn timespec(span: Span) -> libc::timespec {
    let seconds = span.as_ns() / 1_000_000_000;
    let rest = span.as_ns() % 1_000_000_000;
    libc::timespec {
        tv_sec: libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::try_from(rest).expect("a part of a second is below 10^9"),
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    try_read(clock).expect("the clocks named in this file exist on every Linux")
}

fn try_read(clock: libc::clockid_t) -> Result<u64, Errno> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to write to; a clock that is none is EINVAL.
    let code = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if code < 0 {
        return Err(last_errno());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_never_shorter_than_asked() {
        let start = monotonic();
        sleep(Span::from_us(300));
        assert!(Span::from_us(300) <= monotonic().since(start));
    }

    #[test]
    fn thread_time_grows_only_with_work() {
        let start = thread_cpu();
        sleep(Span::from_ms(20));
        assert!(thread_cpu().as_ns() - start.as_ns() < Span::from_ms(20).as_ns());
        let mut sum = 0_u64;
        while thread_cpu().as_ns() - start.as_ns() < Span::from_ms(1).as_ns() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_ne!(sum, 0);
    }

    #[test]
    fn the_time_of_a_process_covers_its_threads_and_only_those() {
        let own = std::process::id();
        let start = process_cpu(own).unwrap();
        let spent = std::thread::scope(|scope| {
            let spin = || {
                while thread_cpu().as_ns() < Span::from_ms(5).as_ns() {}
                thread_cpu()
            };
            scope.spawn(spin).join().unwrap()
        });
        let used = process_cpu(own).unwrap().as_ns() - start.as_ns();
        assert!(spent.as_ns() <= used, "{used} ns");
        assert_eq!(process_cpu(u32::MAX), Err(Errno(libc::ESRCH)));
    }

    #[test]
    fn the_calendar_is_past_2020() {
        assert!(1_577_836_800 < unix_seconds());
    }

    #[test]
    fn a_span_is_split_into_seconds_and_rest() {
        let time = timespec(Span::from_ns(3_000_000_007));
        assert_eq!((time.tv_sec, time.tv_nsec), (3, 7));
    }

    #[test]
    fn timer_slack_can_be_set() {
        set_timer_slack_ns(1).unwrap();
        set_timer_slack_ns(0).unwrap();
    }
}
