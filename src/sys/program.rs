//! Which file a program's name means: the search that a shell makes (execvp), made once and before
//! anything is started, so that what is missing is refused at once and by its name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::errno::{errno_from_io, errno_of, io_error};
use crate::units::Errno;

/// Where programs are looked for when there is no `PATH`.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// Why there is no such program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No directory of PATH has it.
    #[error("cannot run {}: no such program in PATH: name its path, or check PATH", name.display())]
    NotInPath {
        /// What was looked for.
        name: PathBuf,
    },
    /// There is no file of that name.
    #[error("cannot run {}: no such program: check its path", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a socket or the like.
    #[error("cannot run {}: it is not a regular file: name a program", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The kernel would not execute it.
    #[error("cannot run {}: {}: {}", path.display(), io_error(*.errno), cure(*.errno))]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it would say.
        errno: Errno,
    },
}

/// The file that `name` means.
///
/// # Errors
/// There is none that can be executed. Of those that cannot the first is named.
pub fn find(name: &OsStr) -> Result<OsString, ProgramError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    find_in(name, &path)
}

fn find_in(name: &OsStr, path: &OsStr) -> Result<OsString, ProgramError> {
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name));
    }
    let mut refused = None;
    // An empty directory is the one that this process is in.
    for directory in std::env::split_paths(path) {
        match executable(&directory.join(name)) {
            Err(ProgramError::Missing { .. }) => {}
            // Another directory may have one that can be executed.
            Err(error @ (ProgramError::NoFile { .. } | ProgramError::Refused { .. })) => {
                refused = refused.or(Some(error));
            }
            found => return found,
        }
    }
    Err(refused.unwrap_or_else(|| ProgramError::NotInPath { name: name.into() }))
}

fn executable(path: &Path) -> Result<OsString, ProgramError> {
    let refused = |errno| match errno {
        Errno(libc::ENOENT | libc::ENOTDIR) => ProgramError::Missing { path: path.into() },
        errno => ProgramError::Refused { path: path.into(), errno },
    };
    let found = fs::metadata(path).map_err(|error| refused(errno_from_io(&error)))?;
    if !found.is_file() {
        return Err(ProgramError::NoFile { path: path.into() });
    }
    // It goes by the real user; the call that goes by the effective one is too new for the filters
    // of some containers, and who runs this as another user is none that is foreseen.
    access(path, AccessFlags::X_OK).map_err(|errno| refused(errno_of(errno)))?;
    Ok(path.into())
}

fn cure(errno: Errno) -> &'static str {
    match errno.0 {
        libc::EACCES => "make it executable (chmod +x), on a file system that is not noexec",
        _ => "check its path",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Directories, of which some have a `tool` with these permission bits.
    fn folder_of(tools: &[(&str, u32)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in tools {
            let directory = dir.path().join(name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("tool"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(directory.join("tool"), Permissions::from_mode(*mode)).unwrap();
        }
        fs::create_dir_all(dir.path().join("folder/tool")).unwrap();
        dir
    }

    /// Looks for `tool` in these directories.
    fn look(dir: &Path, directories: &[&str]) -> Result<OsString, String> {
        let path = std::env::join_paths(directories.iter().map(|name| dir.join(name))).unwrap();
        find_in("tool".as_ref(), &path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_executed_is_passed_over() {
        let dir = folder_of(&[("plain", 0o644), ("first", 0o755), ("second", 0o755)]);
        let tool = |name: &str| Ok(dir.path().join(name).join("tool").into_os_string());
        for (directories, found) in [
            (&["first", "second"][..], "first"),
            (&["nowhere", "plain", "folder", "second", "first"], "second"),
        ] {
            assert_eq!(look(dir.path(), directories), tool(found), "{directories:?}");
        }
    }

    #[test]
    fn what_could_not_be_executed_is_named_only_if_nothing_else_is_there() {
        let dir = folder_of(&[("plain", 0o644)]);
        let tool = |name: &str| dir.path().join(name).join("tool").display().to_string();
        for (directories, said) in [
            (&["nowhere", "plain", "folder"][..], tool("plain") + ": Permission denied"),
            (&["folder", "plain"], tool("folder") + ": it is not a regular file"),
            (&["nowhere"], "tool: no such program in PATH".to_owned()),
        ] {
            let error = look(dir.path(), directories).unwrap_err();
            assert!(error.starts_with(&format!("cannot run {said}")), "{error}");
        }
    }

    #[test]
    fn an_empty_directory_is_that_of_the_process() {
        let found = |path: &str| find_in("Cargo.toml".as_ref(), path.as_ref()).unwrap_err();
        for path in ["", ":/nowhere", "/nowhere:", "/nowhere::/nowhere"] {
            let error = found(path).to_string();
            assert!(error.starts_with("cannot run Cargo.toml: Permission denied"), "{error}");
        }
        assert!(matches!(found("/nowhere"), ProgramError::NotInPath { .. }));
    }

    #[test]
    fn a_name_with_a_slash_is_a_path() {
        assert_eq!(find("/bin/sh".as_ref()).unwrap(), "/bin/sh");
        for (name, said) in [
            ("./no-such-program", "no such program"),
            ("/bin/sh/x", "no such program"),
            ("/", "it is not a regular file"),
            ("/dev/null", "it is not a regular file"),
        ] {
            let error = find(name.as_ref()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot run {name}: {said}")), "{error}");
        }
    }
}
