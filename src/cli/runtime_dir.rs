//! Where this user's control sockets are.

use std::env;
use std::path::PathBuf;

use crate::master;

/// `$XDG_RUNTIME_DIR`.
pub(super) fn given() -> Option<PathBuf> {
    env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
}

/// The control socket of the dispatchd of this name.
pub(super) fn socket_path(name: &str) -> PathBuf {
    master::socket_path(given().as_deref(), name)
}
