//! Load: clients that ask at once, in both manners, and count what goes wrong.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::{Client, Reply};

/// What the clients met with.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) errors: Vec<String>,
    /// Answers by worker, where they tell.
    pub(crate) by_worker: BTreeMap<u16, u64>,
}

/// How clients use connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    /// One request each.
    Close,
    /// So many requests each, unless the server ends it before.
    KeepAlive(usize),
    /// First the one, then the other.
    Mixed,
}

/// Has `clients` ask for the paths in turn while `meanwhile` runs.
pub(crate) fn load<T>(
    address: &str,
    clients: usize,
    manner: Manner,
    paths: &[&str],
    meanwhile: impl FnOnce() -> T,
) -> (Tally, T) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = || until(&over, address, manner, paths);
        let crowd: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        let ender = Ender(&over);
        let result = meanwhile();
        drop(ender);
        let mut tally = Tally::default();
        for one in crowd {
            tally.add(one.join().unwrap());
        }
        (tally, result)
    })
}

/// Has `clients` make so many rounds each: a round of ten requests on one connection, then ten of
/// one request each.
pub(crate) fn rounds(address: &str, clients: usize, rounds: usize, path: &str) -> Tally {
    thread::scope(|scope| {
        let ask = || {
            let mut tally = Tally::default();
            for _ in 0..rounds {
                tally.run(address, Manner::Mixed, path);
            }
            tally
        };
        let crowd: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        let mut all = Tally::default();
        for one in crowd {
            all.add(one.join().unwrap());
        }
        all
    })
}

fn until(over: &AtomicBool, address: &str, manner: Manner, paths: &[&str]) -> Tally {
    let mut tally = Tally::default();
    for path in paths.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        tally.run(address, manner, path);
    }
    tally
}

/// Ends the load even when what runs meanwhile fails.
struct Ender<'a>(&'a AtomicBool);

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    fn run(&mut self, address: &str, manner: Manner, path: &str) {
        match manner {
            Manner::Close => self.note(Client::get_once(address, path)),
            Manner::KeepAlive(requests) => self.keep_alive(address, path, requests),
            Manner::Mixed => {
                self.keep_alive(address, path, 10);
                for _ in 0..10 {
                    self.note(Client::get_once(address, path));
                }
            }
        }
    }

    fn keep_alive(&mut self, address: &str, path: &str, requests: usize) {
        let mut client = match Client::connect(address) {
            Ok(client) => client,
            Err(error) => return self.errors.push(format!("connect: {error}")),
        };
        for _ in 0..requests {
            let reply = client.get(path);
            let ends = reply.as_ref().map_or(true, Reply::closes);
            self.note(match reply {
                // A reset instead of the end would be an error to whoever reads on.
                Ok(reply) if ends => client.end().map(|()| reply),
                reply => reply,
            });
            if ends {
                break;
            }
        }
    }

    fn note(&mut self, reply: io::Result<Reply>) {
        match reply {
            Ok(reply) if reply.status == 200 => {
                self.answered += 1;
                if reply.field("content-type") == Some("application/json") {
                    *self.by_worker.entry(reply.worker()).or_default() += 1;
                }
            }
            Ok(reply) => self.errors.push(format!("status {}: {}", reply.status, reply.text())),
            Err(error) => self.errors.push(error.to_string()),
        }
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.errors.extend(other.errors);
        for (worker, count) in other.by_worker {
            *self.by_worker.entry(worker).or_default() += count;
        }
    }
}
