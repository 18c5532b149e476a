//! Signals of job control, which the kernel sends to all processes of a job that is in the
//! background of a terminal when one of them reads or writes there.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid, mkfifo, setsid, tcsetpgrp};

use crate::role;
use crate::server::Plan;
use crate::wait::{eventually, write_to_fifo};

on_both! {
    job_control_leaves_the_pool_as_it_is
}

/// Where the neighbour is told what to do, and the variable that says so.
const ORDERS: &str = "IT_ORDERS";
/// The job that it is a neighbour of.
const JOB: &str = "IT_JOB";

fn job_control_leaves_the_pool_as_it_is(backend: &str) {
    let plan = Plan::on(backend).through(role::in_the_background());
    let orders = plan.dir().join("orders");
    mkfifo(&orders, Mode::S_IRWXU).unwrap();
    let server = plan.env(ORDERS, orders.to_str().unwrap()).start();
    for order in ["read x < /dev/tty", "echo x > /dev/tty"] {
        write_to_fifo(&orders, order);
        eventually("the job was signalled", || done(&orders).exists().then_some(()));
        fs::remove_file(done(&orders)).unwrap();
        // The second answer comes behind whatever was there before the first.
        server.status();
        assert_eq!(server.status().want, 2, "{order}");
    }
}

fn done(orders: &Path) -> std::path::PathBuf {
    orders.with_extension("done")
}

/// Makes this process the first of a session, and its group a job in the background of a terminal.
/// Another job is in the foreground, which can start processes in this one.
#[expect(clippy::zombie_processes, reason = "it outlives whoever starts it")]
#[expect(clippy::mem_forget, reason = "the descriptor goes on through the exec")]
pub(crate) fn go_to_the_background() {
    setsid().unwrap();
    let keyboard = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    // It becomes the session's terminal by that.
    let path = ptsname_r(&keyboard).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut settings = tcgetattr(&terminal).unwrap();
    settings.local_flags.insert(LocalFlags::TOSTOP);
    tcsetattr(&terminal, SetArg::TCSANOW, &settings).unwrap();
    let words = role::neighbour();
    let mut neighbour = Command::new(&words[0]);
    neighbour.args(&words[1..]).env(JOB, getpid().to_string()).process_group(0);
    let neighbour = neighbour.spawn().unwrap();
    tcsetpgrp(&terminal, Pid::from_raw(i32::try_from(neighbour.id()).unwrap())).unwrap();
    // Without somebody at the keyboard there is no terminal.
    std::mem::forget(keyboard);
}

/// Does in the job what it is ordered to, and says when that was stopped.
#[expect(clippy::zombie_processes, reason = "it is waited for by its number")]
pub(crate) fn neighbour() {
    let Some(job) = env::var_os(JOB) else { return };
    let job: i32 = job.to_str().unwrap().parse().unwrap();
    let orders = env::var_os(ORDERS).unwrap();
    loop {
        let order = fs::read_to_string(&orders).unwrap();
        let mut command = Command::new("sh");
        let child = command.args(["-c", &order]).process_group(job).spawn().unwrap();
        let child = Pid::from_raw(i32::try_from(child.id()).unwrap());
        waitpid(child, Some(WaitPidFlag::WUNTRACED)).unwrap();
        fs::write(done(Path::new(&orders)), "").unwrap();
    }
}
