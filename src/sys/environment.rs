//! Variables of this process's environment that are good for one reading.
#![expect(unsafe_code, reason = "the environment has no lock that C programs know of")]

/// Takes a variable away, so that no program which this process starts finds it. False when there
/// are other threads, or when that cannot be told (without /proc): one of them may be reading the
/// environment at this moment, and the variable stays.
///
/// ```standalone_crate
/// // A program of its own has one thread.
/// assert!(std::env::var_os("PATH").is_some());
/// assert!(dispatchd::sys::environment::forget("PATH"));
/// assert!(std::env::var_os("PATH").is_none());
/// ```
pub fn forget(name: &str) -> bool {
    if !is_alone() {
        return false;
    }
    // SAFETY: this thread is the only one, and nobody else can start another: nothing reads or
    // writes the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    true
}

/// Whether this process has one thread, as far as can be told.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn among_threads_it_stays() {
        // The harness is one, the test another.
        assert!(!forget("PATH"));
        assert!(std::env::var_os("PATH").is_some());
    }
}
