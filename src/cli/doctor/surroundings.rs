//! What surrounds the process: file systems, the sandbox, the umask.

use super::{Facts, Finding, Verdict};
use crate::sys::errno::io_error;
use crate::sys::socket::NAME_TOO_LONG;

pub(super) fn proc(facts: &Facts) -> Finding {
    let subject = "/proc";
    if facts.has_proc {
        return Finding::fine(subject, "mounted".to_owned());
    }
    Finding::fine(subject, "not mounted".to_owned()).but(
        Verdict::Note,
        "everything works, but limits of the system are not seen, and what a worker listens on is \
         not told: mount /proc",
    )
}

pub(super) fn runtime_dir(facts: &Facts) -> Finding {
    let subject = "runtime directory";
    let (path, usable) = &facts.runtime_dir;
    match usable {
        Ok(()) => Finding::fine(subject, path.display().to_string()),
        Err(errno) => {
            let value = format!("{}: {}", path.display(), io_error(*errno));
            let advice = match *errno {
                NAME_TOO_LONG => {
                    "the control socket's path would be longer than the kernel takes: set \
                     XDG_RUNTIME_DIR to a shorter directory"
                }
                _ => {
                    "the control socket has no place: set XDG_RUNTIME_DIR to a directory of yours \
                     that can be written"
                }
            };
            Finding::fine(subject, value).but(Verdict::Problem, advice)
        }
    }
}

pub(super) fn system_calls(facts: &Facts) -> Finding {
    let subject = "system calls";
    if facts.refused.is_empty() {
        return Finding::fine(subject, "none is refused".to_owned());
    }
    let names: Vec<&str> = facts.refused.iter().map(|call| call.name).collect();
    let worse: Vec<String> =
        facts.refused.iter().map(|call| format!("{}: {}", call.name, call.without)).collect();
    Finding::fine(subject, format!("refused by a sandbox: {}", names.join(", ")))
        .but(Verdict::Note, format!("all can be done without ({})", worse.join("; ")))
}

pub(super) fn shared_memory(facts: &Facts) -> Finding {
    let subject = "shared memory";
    match facts.shared_memory {
        Ok(()) => Finding::fine(subject, "memfd_create and its seals work".to_owned()),
        Err(errno) => Finding::fine(subject, io_error(errno).to_string()).but(
            Verdict::Problem,
            "allow memfd_create and fcntl's F_ADD_SEALS in the sandbox, and files of 32 MiB \
             (ulimit -f, LimitFSIZE=)",
        ),
    }
}
