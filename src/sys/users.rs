//! Users and groups by their names, as the system's databases have them. It may take a while where
//! they are on another machine: only to be asked at the start.

use nix::unistd::{Group, User};

/// The number of a user; none when there is no such user, or nobody can say.
pub fn user(name: &str) -> Option<u32> {
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// The number of a group; none when there is no such group, or nobody can say.
pub fn group(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}
