//! What the kernel knows about this process as a whole.

/// The user whose rights this process has.
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}
