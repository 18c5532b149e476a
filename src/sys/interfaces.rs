//! Network interfaces by their names.

use nix::net::if_::if_nametoindex;

/// The number of an interface; none when there is no such interface here.
pub fn number(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_loopback_and_no_nonsense() {
        assert!(number("lo").is_some_and(|number| 0 < number));
        assert_eq!(number("no such interface"), None);
        assert_eq!(number("l\0o"), None);
    }
}
