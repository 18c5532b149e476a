//! A process in which io_uring is forbidden, as in a container: the one thing that a test needs of
//! the kernel and no safe interface offers.

#![expect(unsafe_code, reason = "a seccomp filter is installed by a call that takes a pointer")]

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
};

/// Has `io_uring_setup` fail with EPERM, in this thread and in whatever it executes.
pub(crate) fn forbid_io_uring() {
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let refusal = SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap();
    // The number of the call stands first in what a filter sees.
    let mut filter = [
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, setup),
        instruction(BPF_RET | BPF_K, 0, SECCOMP_RET_ALLOW),
        instruction(BPF_RET | BPF_K, 0, refusal),
    ];
    let length = u16::try_from(filter.len()).unwrap();
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs().unwrap();
    // SAFETY: the program and its instructions are alive and as long as `len` says; the kernel
    // copies them, and checks them, before the call returns.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    nix::errno::Errno::result(result).unwrap();
}

/// One instruction, which skips `jump` others if what it compares is equal.
fn instruction(code: u32, jump: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap(), jt: jump, jf: 0, k }
}
