//! The parts that this very program plays in its own tests: workers that no honest author would
//! write, and a wrapper that takes rights away. A test that is told its part by the environment
//! plays it; otherwise it has nothing to do.

use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use dispatchd::limits::{STDERR_TAIL, VIOLATIONS_MAX};
use dispatchd::shm::layout::{MasterPage, WorkerPage};
use dispatchd::shm::map::{Mapped, ReadOnly, Writable};
use dispatchd::shm::ring::Ring;
use dispatchd::sys::clock::monotonic;
use dispatchd::sys::scm::RecvWait;
use dispatchd::sys::socket;
use dispatchd::units::{RingWords, SlotId, Span, Ticket};
use dispatchd::wire::handshake::{Handshake, VARIABLE};
use dispatchd::wire::message::WorkerMessage;
use dispatchd::worker::{After, Claimed, Connection, Delivery, LinkEnd, Worker};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::confine::{
    copy_of_number, forbid, forbid_io_uring, obey_limits, obey_the_limit_on_locked_memory,
};
use crate::wait::nap;
use crate::{inherited, jobs, launch, refused, shortage};

/// The variable that says which part to play.
pub(crate) const ROLE: &str = "IT_ROLE";

/// The variable that holds the path of a file, by which some parts are told to begin.
pub(crate) const WORD: &str = "IT_WORD";
/// The variable that names the file for which a hoarder waits.
pub(crate) const HOARD_UNTIL: &str = "IT_HOARD_UNTIL";

/// The command line of a worker that plays the part that [`ROLE`] names.
pub(crate) fn program() -> Vec<OsString> {
    player("role::a_worker")
}

/// The command line of a wrapper that forbids io_uring to the command behind it.
pub(crate) fn without_io_uring() -> Vec<OsString> {
    wrapper("role::a_confined_process")
}

/// The command line of a wrapper that takes the right to exceed limits from the command behind it.
pub(crate) fn within_limits() -> Vec<OsString> {
    wrapper("role::an_obedient_process")
}

/// The command line of a wrapper that prepares the command behind it for a [`shortage`].
pub(crate) fn wanting_memory() -> Vec<OsString> {
    wrapper("role::a_supervised_process")
}

/// The command line of a wrapper that makes the command behind it a terminal's job in the
/// background.
pub(crate) fn in_the_background() -> Vec<OsString> {
    wrapper("role::a_job_in_the_background")
}

/// The command line of such a job's [`neighbour`](jobs::neighbour).
pub(crate) fn neighbour() -> Vec<OsString> {
    player("role::a_neighbour")
}

/// The command line of a wrapper that has the command behind it ask before it executes anything.
pub(crate) fn asking_before_exec() -> Vec<OsString> {
    wrapper("role::a_process_that_asks_before_it_executes")
}

/// The command line of a wrapper that has the command behind it ask before it makes a directory.
pub(crate) fn asking_before_mkdir() -> Vec<OsString> {
    wrapper("role::a_process_that_asks_before_it_makes_a_directory")
}

/// The command line of a wrapper that has the command behind it ask before it starts a process.
pub(crate) fn asking_before_clone() -> Vec<OsString> {
    wrapper("role::a_process_that_asks_before_it_starts_another")
}

/// The command line of a wrapper that forbids the command behind it these calls: they fail with
/// this error.
pub(crate) fn forbidding(calls: &[libc::c_long], errno: Errno) -> Vec<OsString> {
    let numbers: Vec<String> = calls.iter().map(ToString::to_string).collect();
    let set = format!("{FORBIDDEN}={} {}", errno as i32, numbers.join(" "));
    ["env".into(), set.into()].into_iter().chain(wrapper("role::a_sandboxed_process")).collect()
}

/// The command line of a wrapper that takes the right to lock memory beyond the limit from the
/// command behind it.
pub(crate) fn within_the_limit_on_locked_memory() -> Vec<OsString> {
    wrapper("role::a_process_that_locks_little")
}

/// The variable that holds an error's number, and those of the calls that fail with it.
const FORBIDDEN: &str = "IT_FORBIDDEN";

fn wrapper(test: &str) -> Vec<OsString> {
    let mut words = player(test);
    words.push("--".into());
    words
}

fn player(test: &str) -> Vec<OsString> {
    let mut words = vec![env::current_exe().unwrap().into_os_string()];
    words.extend([test, "--exact", "--nocapture", "--test-threads=1"].map(OsString::from));
    words
}

#[test]
fn a_confined_process() {
    wrap(forbid_io_uring);
}

#[test]
fn a_sandboxed_process() {
    wrap(|| {
        let numbers = env::var_os(FORBIDDEN).unwrap().into_string().unwrap();
        let mut numbers = numbers.split(' ').map(|number| number.parse::<i32>().unwrap());
        let errno = Errno::from_raw(numbers.next().unwrap());
        let calls: Vec<libc::c_long> = numbers.map(Into::into).collect();
        forbid(&calls, errno);
    });
}

#[test]
fn a_process_that_locks_little() {
    wrap(obey_the_limit_on_locked_memory);
}

#[test]
fn an_obedient_process() {
    wrap(obey_limits);
}

#[test]
fn a_supervised_process() {
    wrap(shortage::tell_of_what_can_fail);
}

#[test]
fn a_process_that_asks_before_it_executes() {
    wrap(launch::tell_of_execs);
}

#[test]
fn a_process_that_asks_before_it_makes_a_directory() {
    wrap(inherited::tell_of_mkdir);
}

#[test]
fn a_process_that_asks_before_it_starts_another() {
    wrap(refused::tell_of_clones);
}

#[test]
fn a_job_in_the_background() {
    wrap(jobs::go_to_the_background);
}

#[test]
fn a_neighbour() {
    jobs::neighbour();
}

/// Becomes the command behind it, if there is one, once the rest of its life is confined.
fn wrap(confine: impl FnOnce()) {
    let words: Vec<OsString> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    if let [program, arguments @ ..] = words.as_slice() {
        confine();
        panic!("{}", Command::new(program).args(arguments).exec());
    }
}

#[test]
fn a_worker() {
    let Some(role) = env::var_os(ROLE) else { return };
    match role.to_str().unwrap() {
        "stubborn" => stubborn(),
        "chatty" => chatty(),
        "greeter" => greeter(),
        "detached" => detached(),
        "noisy" => noisy(),
        "keeper" => keeper(),
        "hoarder" => hoarder(),
        "once" => once(),
        "taker" => drop(LinkEnd::from_env().unwrap()),
        "imposter" => imposter(),
        "bystander" => bystander(),
        "outsider" => outsider(),
        "slow" => slow(),
        "recycled" => recycled(),
        "retiring" => retiring(),
        "fragile" => fragile(),
        "brief" => brief(),
        "parent" => parent(),
        lie => liar(lie),
    }
}

/// Says that it is ready, and never anything again.
fn stubborn() {
    let mut link = LinkEnd::from_env().unwrap();
    link.hello(1).unwrap();
    wait_for_the_end();
}

/// Serves with the limit of open files that dispatchd was started with.
fn keeper() {
    let mut worker = Worker::builder().keep_nofile().from_env().unwrap();
    while let Some(mut connection) = worker.next_connection().unwrap() {
        drop(connection.write_all(b"hello"));
    }
}

/// Dies a moment after it has become ready, if its word says so: a release that looks good.
fn brief() {
    let mut worker = Worker::from_env().unwrap();
    std::thread::scope(|scope| {
        if Path::new(&env::var_os(WORD).unwrap()).exists() {
            scope.spawn(|| {
                nap(Span::from_ms(30));
                end(3);
            });
        }
        while let Some(mut connection) = worker.next_connection().unwrap() {
            greet(&mut connection);
        }
    });
}

/// Dies over one kind of request, as programs do that have a bug.
fn fragile() {
    let mut worker = Worker::from_env().unwrap();
    while let Some(mut connection) = worker.next_connection().unwrap() {
        let mut head = [0; 1024];
        let count = connection.read(&mut head).unwrap_or(0);
        if head[..count].starts_with(b"GET /poison ") {
            end(1);
        }
        answer_empty(&mut connection);
    }
}

/// Ends after its twentieth answer, as programs do that leak.
fn recycled() {
    let mut worker = Worker::from_env().unwrap();
    for _ in 0..20 {
        let Some(mut connection) = worker.next_connection().unwrap() else { return };
        greet(&mut connection);
    }
    end(0);
}

/// Asks for leave after its twentieth answer.
fn retiring() {
    let mut worker = Worker::from_env().unwrap();
    let mut answers = 0;
    let serve = |connection: &mut Connection<'_>| {
        greet(connection);
        answers += 1;
        if answers == 20 {
            connection.ask_to_leave();
        }
        Ok(After::Close)
    };
    worker.serve(serve).unwrap();
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "as sudden as that of a real program")]
fn end(code: i32) {
    std::process::exit(code);
}

fn greet(connection: &mut Connection<'_>) {
    drop(connection.read(&mut [0; 1024]));
    answer_empty(connection);
}

fn answer_empty(connection: &mut Connection<'_>) {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    drop(connection.write_all(answer));
}

/// Has a child that it started once it was ready.
#[expect(clippy::zombie_processes, reason = "it outlives its parent")]
fn parent() {
    let mut worker = Worker::from_env().unwrap();
    let _child = Command::new("sleep").arg("60").spawn().unwrap();
    while worker.next_connection().unwrap().is_some() {}
}

/// Writes more than it is asked to.
#[expect(clippy::print_stderr, reason = "what a worker writes there is what is tested")]
fn chatty() {
    let mut worker = Worker::from_env().unwrap();
    while let Some(mut connection) = worker.next_connection().unwrap() {
        for _ in 0..20 {
            eprintln!("{}", "x".repeat(500));
        }
        greet(&mut connection);
    }
}

/// Speaks first.
fn greeter() {
    let mut worker = Worker::from_env().unwrap();
    while let Some(mut connection) = worker.next_connection().unwrap() {
        drop(connection.write_all(b"220 at your service\r\n"));
        drop(connection.read(&mut [0; 1024]));
    }
}

/// Fills what is kept of its output with what is long to write, and is a worker as others.
#[expect(clippy::print_stderr, reason = "what a worker writes there is what is tested")]
fn noisy() {
    eprint!("{}", "\u{1b}".repeat(STDERR_TAIL));
    let error = Command::new(env!("CARGO_BIN_EXE_dispatchd")).arg("serve-worker").exec();
    panic!("{error}");
}

/// Keeps all descriptors that it can have, until there is a file that tells it to let go of them.
fn hoarder() {
    let mut worker = Worker::from_env().unwrap();
    let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let told = env::var_os(HOARD_UNTIL).unwrap();
            while !Path::new(&told).exists() {
                nap(Span::from_ms(2));
            }
            drop(hoard);
        });
        while let Some(mut connection) = worker.next_connection().unwrap() {
            drop(connection.read(&mut [0; 1024]));
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(connection.write_all(answer));
        }
    });
}

/// Claims a connection, lets go of everything but that, and hangs.
fn detached() {
    let mut link = LinkEnd::from_env().unwrap();
    link.hello(1).unwrap();
    let ticket = next_offer(&mut link);
    let _claimed = link.claim(ticket, monotonic()).expect("nobody recalls it");
    drop(link);
    wait_for_the_end();
}

/// Takes up its link, tries to do it again, has a program of its own try it, and answers with what
/// came of that.
fn once() {
    let mut worker = Worker::from_env().unwrap();
    let again = LinkEnd::from_env().map(drop).unwrap_err();
    let words = program();
    let other = Command::new(&words[0]).args(&words[1..]).env(ROLE, "imposter").output().unwrap();
    let other = String::from_utf8(other.stderr).unwrap();
    let body = format!("again: {again}\nanother: {other}");
    while let Some(mut connection) = worker.next_connection().unwrap() {
        drop(connection.read(&mut [0; 1024]));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
        let answer = format!("{head}Connection: close\r\n\r\n{body}");
        drop(connection.write_all(answer.as_bytes()));
    }
}

/// Says why it has no link.
#[expect(clippy::print_stderr, reason = "what a worker writes there is what is tested")]
fn imposter() {
    match LinkEnd::from_env() {
        Ok(_) => eprintln!("the link is mine"),
        Err(error) => eprintln!("{error}"),
    }
}

/// Has files of its own open, which a note that somebody made up speaks of.
fn bystander() {
    let path = env::current_exe().unwrap();
    let files: Vec<File> = (0..8).map(|_| File::open(&path).unwrap()).collect();
    for _ in 0..2 {
        LinkEnd::from_env().map(drop).unwrap_err();
        for mut file in &files {
            file.read_exact(&mut [0; 4]).unwrap();
        }
    }
    imposter();
}

/// Knows nothing of dispatchd: a server as any other.
#[expect(clippy::print_stderr, reason = "the test reads it in the log")]
fn outsider() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    eprintln!("port {}", listener.local_addr().unwrap().port());
    wait_for_the_end();
}

/// Takes up its link, and is not ready for longer than anybody waits.
fn slow() {
    let _link = LinkEnd::from_env().unwrap();
    wait_for_the_end();
}

/// In slot 0 it tells the master what is not so; elsewhere it is the built-in worker.
fn liar(lie: &str) {
    let note = Handshake::parse(env::var_os(VARIABLE).unwrap().to_str().unwrap()).unwrap();
    if note.slot != SlotId(0) {
        let error = Command::new(env!("CARGO_BIN_EXE_dispatchd")).arg("serve-worker").exec();
        panic!("{error}");
    }
    let pages = Pages::open(note);
    let mut link = LinkEnd::from_env().unwrap();
    link.hello(1).unwrap();
    if lie != "deaf" {
        wait_for_an_offer(&link);
    }
    match lie {
        "nonsense" => repeat(|| pages.push([u64::MAX, 7])),
        "overrun" => pages.own.message_writer.produced.store(u64::MAX / 2, Relaxed),
        "stranger" => {
            let ticket = Ticket { index: 60_000, generation: 1 };
            repeat(|| link.send(WorkerMessage::Done { ticket, service_us: 1 }));
        }
        "stale" => {
            let Ticket { index, generation } = next_offer(&mut link);
            let ticket = Ticket { index, generation: generation.wrapping_add(1) };
            repeat(|| link.send(WorkerMessage::Claimed { ticket, transit_us: 1 }));
            wait_for_the_end();
        }
        "twice" => {
            let ticket = next_offer(&mut link);
            let claimed = link.claim(ticket, monotonic()).expect("nobody recalls it");
            answer(&claimed);
            link.send(WorkerMessage::Done { ticket, service_us: 1 });
            repeat(|| link.send(WorkerMessage::Done { ticket, service_us: 1 }));
            wait_for_the_end();
        }
        "filler" | "thief" => {
            let ticket = next_offer(&mut link);
            let _kept = link.claim(ticket, monotonic()).expect("nobody recalls it");
            if lie == "thief" {
                pages.empty_doorbell();
            }
            pages.fill_doorbell();
            wait_for_the_end();
        }
        "deaf" => {}
        _ => panic!("no part is called {lie}"),
    }
    wait_for_the_end();
}

/// As often as makes the master act.
fn repeat(mut lie: impl FnMut()) {
    for _ in 0..VIOLATIONS_MAX {
        lie();
    }
}

/// What a worker has, in the hands of one that is bent on mischief.
struct Pages {
    handshake: Handshake,
    doorbell: OwnedFd,
    master: Mapped<MasterPage, ReadOnly>,
    own: Mapped<WorkerPage, Writable>,
}

impl Pages {
    fn open(handshake: Handshake) -> Self {
        let open = |number: u32, writable: bool| {
            let path = format!("/proc/self/fd/{number}");
            OpenOptions::new().read(true).write(writable).open(path).unwrap()
        };
        let master = Mapped::<MasterPage, ReadOnly>::open(open(4, false)).unwrap();
        let own = Mapped::<WorkerPage, Writable>::open(open(5, true)).unwrap();
        let doorbell = copy_of_number(6);
        Self { handshake, doorbell, master, own }
    }

    /// Rings so often that nobody can ring any more.
    fn fill_doorbell(&self) {
        let mut step = u64::MAX - 1;
        while 0 < step {
            match nix::unistd::write(&self.doorbell, &step.to_ne_bytes()) {
                Ok(_) => {}
                Err(_) => step /= 2,
            }
        }
    }

    /// Reads every ring before anybody else sees it.
    fn empty_doorbell(&self) -> ! {
        loop {
            let _silent = nix::unistd::read(&self.doorbell, &mut [0; 8]);
        }
    }

    fn push(&self, words: RingWords) {
        let index = &self.master.workers[self.handshake.worker.index()];
        Ring::to_master(&self.own, index).push(words).unwrap();
    }
}

/// Waits until there is one, and leaves it where it is. There is none before the master has read
/// that this worker is ready.
fn wait_for_an_offer(link: &LinkEnd) {
    poll(&mut [PollFd::new(link.channel(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
}

fn next_offer(link: &mut LinkEnd) -> Ticket {
    loop {
        match link.receive(RecvWait::Wait).unwrap() {
            Delivery::Offer(ticket) => return ticket,
            Delivery::Look | Delivery::Nothing => {}
            Delivery::Gone => wait_for_the_end(),
        }
    }
}

fn answer(claimed: &Claimed) {
    let mut stream = File::from(claimed.socket.try_clone().unwrap());
    drop(stream.read(&mut [0; 1024]));
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(answer).unwrap();
    // The master may have a copy, without whose end a close alone would tell the client nothing.
    socket::shutdown(stream.as_fd()).unwrap();
}

/// A signal ends this process, and nothing else does.
fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}
