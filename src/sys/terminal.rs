//! How large a terminal is.
#![expect(unsafe_code, reason = "nix has no call for it")]

use std::os::fd::{AsFd, AsRawFd};

/// Rows and columns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// Lines from top to bottom.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of the terminal behind a descriptor; none where there is no terminal, or where it does
/// not know.
pub fn size(terminal: impl AsFd) -> Option<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let raw = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCGWINSZ writes a `winsize`, for which there is room that is ours alone; the
    // descriptor is open for as long as it is borrowed.
    let result = unsafe { libc::ioctl(raw, libc::TIOCGWINSZ, &raw mut size) };
    let libc::winsize { ws_row: rows, ws_col: columns, .. } = size;
    (result == 0 && 0 < rows && 0 < columns).then_some(Size { rows, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_size_in_rows() {
        assert_eq!(size(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
