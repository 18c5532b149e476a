//! What this process is called by `ps` and its like.

#![expect(unsafe_code, reason = "nix has neither sbrk nor PR_SET_MM_MAP")]

use std::ffi::CString;
use std::fs;

use super::errno::{errno_of, last_errno};
use crate::units::Errno;

/// Sets the short name: `comm`, which `top` shows, cut after 15 bytes.
///
/// # Errors
/// EINVAL for a name with a zero byte in it.
pub fn set_name(name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno(libc::EINVAL))?;
    nix::sys::prctl::set_name(&name).map_err(errno_of)
}

/// Sets what stands for the command line, which `ps` shows. The kernel is told that the arguments
/// lie elsewhere: they themselves stay as they are, for whoever reads them here, and the title can
/// be longer. To be called while this process has one thread, and rarely: it costs the memory of a
/// title each time.
///
/// # Errors
/// ENOENT without /proc; EINVAL from a kernel that cannot (it is built without
/// CONFIG_CHECKPOINT_RESTORE), EPERM in a sandbox.
pub fn set_title(title: &str) -> Result<(), Errno> {
    let stat = fs::read("/proc/self/stat").map_err(|_| Errno(libc::ENOENT))?;
    let mut map = Map::of(&stat).ok_or(Errno(libc::EINVAL))?;
    let title = CString::new(title).map_err(|_| Errno(libc::EINVAL))?.into_bytes_with_nul();
    // For as long as the process lives: it is read whenever somebody looks.
    let title: &'static [u8] = Vec::leak(title);
    let place = title.as_ptr_range();
    (map.arg_start, map.arg_end) = (place.start.addr() as u64, place.end.addr() as u64);
    map.tell()
}

/// `struct prctl_mm_map`: where the parts of a process lie in its memory.
#[derive(Debug)]
#[repr(C)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    /// None: it stays as it is.
    auxv: u64,
    auxv_size: u32,
    /// Minus one: it stays as it is.
    exe_fd: u32,
}

impl Map {
    /// What the kernel says of it in `/proc/self/stat`, but for `brk`.
    fn of(stat: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(stat);
        // The second field is the name, and may hold anything; what follows it is the third.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            start_code: field(26)?,
            end_code: field(27)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            brk: 0,
            start_stack: field(28)?,
            arg_start: field(48)?,
            arg_end: field(49)?,
            env_start: field(50)?,
            env_end: field(51)?,
            auxv: 0,
            auxv_size: 0,
            exe_fd: u32::MAX,
        })
    }

    /// Tells the kernel that it is so. Nothing is allocated in between, so that the heap's end is
    /// what it was when it was asked for.
    fn tell(&mut self) -> Result<(), Errno> {
        // SAFETY: zero moves nothing.
        let end_of_heap = unsafe { libc::sbrk(0) };
        self.brk = end_of_heap.addr() as u64;
        let (map, size) = (&raw const *self, size_of::<Self>());
        // SAFETY: the map is as long as `size` says and outlives the call. What it says is what is
        // so, but for the arguments, which the kernel only ever reads for others and which lie in
        // memory that is never freed.
        let result = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, map, size, 0) };
        if result < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = fs::read("/proc/self/stat").unwrap();
        let map = Map::of(&stat).unwrap();
        assert!(map.start_code < map.end_code && map.arg_start < map.arg_end, "{map:?}");
        assert!(map.arg_end <= map.env_start && map.env_start < map.env_end, "{map:?}");
        let (_, rest) = std::str::from_utf8(&stat).unwrap().split_once(')').unwrap();
        let odd = Map::of(format!("1 (a) 2 (b){rest}").as_bytes()).unwrap();
        assert_eq!((odd.start_code, odd.env_end), (map.start_code, map.env_end));
        assert!(Map::of(b"1 (a) S 1").is_none());
    }

    #[test]
    fn a_name_is_cut_and_a_zero_refused() {
        // Of this test's own thread.
        set_name("dispatchd-w255-and-more").unwrap();
        let name = fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(name, "dispatchd-w255-\n");
        assert_eq!(set_name("a\0b"), Err(Errno(libc::EINVAL)));
    }
}
