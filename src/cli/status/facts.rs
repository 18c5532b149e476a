//! What a status shows above its table: every line and every word of it, each with what it means,
//! so that nothing is shown that the help does not explain.

use std::time::Duration;

use super::page::TextPage;
use crate::wire::control::Status;
use crate::wire::words::ReloadOutcome;

/// A line: its label, what it is about, and what stands in it.
#[derive(Debug)]
pub(in crate::cli) struct FactLine {
    pub(super) label: &'static str,
    pub(super) meaning: &'static str,
    pub(super) facts: &'static [Fact],
}

/// A word, what it means, and its value; none where there is nothing to say.
#[derive(Debug)]
pub(in crate::cli) struct Fact {
    pub(super) word: &'static str,
    pub(super) meaning: &'static str,
    value: fn(&Status) -> Option<String>,
}

/// Blanks between two facts.
const BLANKS: usize = 3;

impl FactLine {
    /// Writes the line, if there is anything in it.
    pub(super) fn write(&self, status: &Status, page: &mut TextPage) {
        let facts = self.facts.iter().filter_map(|fact| {
            let value = (fact.value)(status)?;
            Some(format!("{} {value}", fact.word).trim().to_owned())
        });
        let pieces: Vec<String> = facts.collect();
        if !pieces.is_empty() {
            page.entry(self.label, &pieces, BLANKS);
        }
    }
}

/// A fact that is always told.
macro_rules! fact {
    ($word:literal, $meaning:literal, $status:ident => $value:expr) => {
        Fact { word: $word, meaning: $meaning, value: |$status| Some($value.to_string()) }
    };
}

/// All lines, in their order.
pub(in crate::cli) const LINES: &[FactLine] = &[
    FactLine {
        label: "dispatchd",
        meaning: "its name and where it is in its life",
        facts: &[
            fact!("", "", status => status.name),
            fact!("", "", status => status.phase),
            fact!("generation", "of the workers: each reload starts a new one",
                status => status.generation),
            fact!("pid", "the master's process", status => status.pid),
            fact!("up", "how long it has been running", status => ago(status.uptime_s)),
        ],
    },
    FactLine {
        label: "policy",
        meaning: "who gets a connection, as --policy takes it",
        facts: &[
            fact!("", "", status => status.policy),
            Fact {
                word: "dispatch",
                meaning: "what is dispatched, as --dispatch takes it: each request, each \
                          connection, or auto; now is what that amounts to at the moment",
                value: |status| Some(dispatch(status)),
            },
        ],
    },
    FactLine {
        label: "backend",
        meaning: "io_uring or epoll, and why",
        facts: &[
            fact!("", "", status => format!("{} ({})", status.backend, status.backend_reason)),
        ],
    },
    FactLine {
        label: "listening",
        meaning: "what clients connect to",
        facts: &[fact!("on", "TCP addresses, and unix sockets by path",
                status => status.listeners.join(", "))],
    },
    FactLine {
        label: "workers",
        meaning: "how many there are",
        facts: &[
            fact!("want", "processes that there should be", status => status.want),
            fact!("ready", "those that take connections", status => status.have),
            Fact {
                word: "left behind",
                meaning: "processes that SIGKILL has not ended",
                value: |status| some(status.totals.left_behind),
            },
        ],
    },
    FactLine {
        label: "now",
        meaning: "connections that the master has at the moment",
        facts: &[
            fact!("held", "connections with a request that waits for a worker, and --hold; under \
                          --overload hold, watched connections count towards it, too",
                status => format!("{} of {}", status.hold.held, status.hold.limit)),
            fact!("watched", "connections whose clients have said nothing yet",
                status => status.hold.watched),
            fact!("offered", "connections on their way to a worker", status => status.hold.offered),
            fact!("parked", "connections between two requests", status => status.hold.parked),
        ],
    },
    FactLine {
        label: "so far",
        meaning: "counted since the master started; none of these ever falls",
        facts: &[
            fact!("requests", "answered, whatever the answer", status => status.totals.requests),
            fact!("arrived", "connections accepted by the master", status => status.totals.arrived),
            fact!("closed", "ended after a worker had begun with them, or between two requests",
                status => status.totals.closed),
            fact!("hung up", "clients that left without a word (health checks), or gave up waiting",
                status => status.totals.hung_up),
            fact!("rejected", "turned away, since no more might wait (--overload reject)",
                status => status.totals.rejected),
            fact!("expired", "closed by the master: silent for too long, or waiting at its end",
                status => status.totals.expired),
            fact!("lost", "those of the closed ones that died with their worker",
                status => status.totals.lost),
            fact!("recovered", "saved from a dead worker", status => status.totals.recovered),
            fact!("recalled", "taken back from a worker that left them lying",
                status => status.totals.recalled),
            fact!("given back", "by a worker, between two requests",
                status => status.totals.given_back),
        ],
    },
    FactLine {
        label: "woken",
        meaning: "how often somebody had to be woken, per request",
        facts: &[
            Fact {
                word: "workers",
                meaning: "by the master, for what it had written",
                value: |status| per_request(status, status.totals.wakes),
            },
            Fact {
                word: "master",
                meaning: "by workers",
                value: |status| per_request(status, status.totals.rings),
            },
        ],
    },
    FactLine {
        label: "classes",
        meaning: "short requests before long ones, as --classes takes it",
        facts: &[
            Fact {
                word: "",
                meaning: "",
                value: |status| classes(status, status.classes.by.clone()),
            },
            Fact {
                word: "routes",
                meaning: "those whose time is known, and how many of them are long",
                value: |status| {
                    let long = status.classes.long_routes;
                    classes(status, format!("{} ({long} long)", status.classes.routes))
                },
            },
            Fact {
                word: "long held",
                meaning: "long requests that wait for a worker",
                value: |status| classes(status, status.classes.held_long),
            },
            Fact {
                word: "kept",
                meaning: "workers that long requests are kept away from",
                value: |status| classes(status, status.classes.reserved),
            },
        ],
    },
    FactLine {
        label: "reload",
        meaning: "what became of the last one, and how long ago",
        facts: &[Fact { word: "to generation", meaning: "", value: reload }],
    },
    FactLine {
        label: "log",
        meaning: "lines dropped because nobody read standard error",
        facts: &[Fact {
            word: "lines dropped",
            meaning: "",
            value: |status| some(status.totals.log_lines_dropped),
        }],
    },
];

fn dispatch(status: &Status) -> String {
    let now = if status.spreads_requests { "requests" } else { "connections" };
    match status.dispatch.as_str() {
        "auto" => format!("auto (now {now})"),
        fixed => fixed.to_owned(),
    }
}

fn per_request(status: &Status, count: u64) -> Option<String> {
    // Counts far below 2^52.
    let requests = status.totals.requests;
    (0 < requests).then(|| format!("{:.3} per request", count as f64 / requests as f64))
}

fn classes(status: &Status, value: impl ToString) -> Option<String> {
    let wanted = !["", "off"].contains(&status.classes.by.as_str());
    wanted.then(|| value.to_string())
}

fn reload(status: &Status) -> Option<String> {
    let reload = status.reload.as_ref()?;
    let why = reload.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let (generation, outcome, ago) = (reload.generation, &reload.outcome, ago(reload.ago_s));
    let runs = outcome == ReloadOutcome::Running.word();
    let since = if runs { format!("for {ago}") } else { format!("{ago} ago") };
    Some(format!("{generation}: {outcome} {since}{why}"))
}

fn some(count: u64) -> Option<String> {
    (0 < count).then(|| count.to_string())
}

fn ago(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}
