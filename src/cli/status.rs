//! `dispatchd status`: asks a running master how it is, and shows it, once or again and again.

pub(super) mod facts;
pub(super) mod help;
mod page;
mod table;
mod watch;

use std::io::{self, ErrorKind};
use std::path::Path;

use serde_json::Value;

use self::page::TextPage;
use super::args::StatusArgs;
use super::config::{self, StatusPlan};
use super::exit::CliExit;
use super::runtime_dir::socket_path;
use super::{print_or_fail, term};
use crate::master::{ask, check_path, escape};
use crate::wire::control::{ControlReply, Status};

/// Shows the status of the master under this name.
pub(super) fn status(args: &StatusArgs) -> CliExit {
    let plan = match config::status_plan(args) {
        Ok(plan) => plan,
        Err(error) => {
            term::complain(&error.to_string());
            return CliExit::Usage;
        }
    };
    match plan.watch {
        Some(every) => watch::watch(&plan, every),
        None => match shown(&plan, term::columns()) {
            Ok(text) => print_or_fail(&text, CliExit::Done),
            Err(failure) => failure.tell(),
        },
    }
}

/// The answer, fit to be shown: it holds names, paths and last words of others.
fn read(line: &str) -> serde_json::Result<ControlReply> {
    let mut answer = serde_json::from_str(line)?;
    make_plain(&mut answer);
    serde_json::from_value(answer)
}

fn make_plain(value: &mut Value) {
    match value {
        Value::String(text) => *text = escape::text(text),
        Value::Array(list) => list.iter_mut().for_each(make_plain),
        Value::Object(fields) => fields.values_mut().for_each(make_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Why there is nothing to show.
#[derive(Debug)]
pub(super) struct StatusFailure {
    exit: CliExit,
    message: String,
}

impl StatusFailure {
    fn tell(self) -> CliExit {
        term::complain(&self.message);
        self.exit
    }

    fn failed(message: String) -> Self {
        Self { exit: CliExit::Failed, message }
    }
}

/// The picture, as it was asked for: JSON on one line, or text within these columns.
fn shown(plan: &StatusPlan, columns: usize) -> Result<String, StatusFailure> {
    let path = socket_path(&plan.name);
    check_path(&path).map_err(|error| StatusFailure::failed(term::told(&error)))?;
    let line = ask_twice(&path).map_err(|error| no_answer(&error, &path, &plan.name))?;
    if plan.json {
        return Ok(escape::json(&line));
    }
    match read(&line) {
        Ok(ControlReply::Status(status)) => Ok(render(&status, columns)),
        Ok(ControlReply::Error { message }) => Err(StatusFailure::failed(message)),
        Err(error) => {
            Err(StatusFailure::failed(format!("the master's answer cannot be read: {error}")))
        }
    }
}

/// A master that ends in the middle of an answer is not there when it is asked again; one that had
/// too many others to answer is.
fn ask_twice(path: &Path) -> io::Result<String> {
    ask(path).or_else(|error| match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => ask(path),
        _ => Err(error),
    })
}

fn no_answer(error: &io::Error, path: &Path, name: &str) -> StatusFailure {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let message = format!(
                "no dispatchd runs under the name '{name}': nobody listens at {}, which depends on \
                 the user and on XDG_RUNTIME_DIR: both must be as they are for dispatchd",
                path.display()
            );
            StatusFailure { exit: CliExit::NotRunning, message }
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let message = format!(
                "dispatchd '{name}' did not answer at {} in time: it is stopped (`kill -CONT PID`) \
                 or overloaded",
                path.display()
            );
            StatusFailure { exit: CliExit::TimedOut, message }
        }
        _ => StatusFailure::failed(format!("cannot ask {}: {error}", path.display())),
    }
}

/// Columns of labels.
const LABELS: usize = 11;

/// The picture as text.
fn render(status: &Status, columns: usize) -> String {
    let mut page = TextPage::new(columns, LABELS);
    for line in facts::LINES {
        line.write(status, &mut page);
    }
    table::write(&status.workers, &mut page);
    page.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::WorkerStatus;
    use crate::wire::words::{Phase, ReloadOutcome, Standing};

    /// A status in which everything is told that ever is. What comes from outside is in capitals.
    pub(super) fn eventful() -> Status {
        let mut status: Status = serde_json::from_str(EVENTFUL).unwrap();
        let worker = |(slot, standing): (u16, &Standing)| WorkerStatus {
            worker: slot,
            pid: 4_194_304,
            state: standing.word().to_owned(),
            accepted: 123_456_789,
            last_exit: Some("A LONG STORY ".repeat(40)),
            ..WorkerStatus::default()
        };
        status.workers = (0..).zip(Standing::ALL).map(worker).collect();
        status
    }

    const EVENTFUL: &str = r#"{
        "name": "NAME", "pid": 4194304, "uptime_s": 86399, "backend": "BACKEND",
        "backend_reason": "REASON", "policy": "POLICY", "dispatch": "auto",
        "classes": {"by": "PATH", "routes": 3, "long_routes": 1, "held_long": 1, "reserved": 1},
        "listeners": ["127.0.0.1:8000", "[::1]:8000", "unix:/RUN/A/VERY/LONG/PATH.SOCK"],
        "generation": 12, "phase": "serving", "have": 9, "want": 9,
        "reload": {"generation": 13, "outcome": "given up", "ago_s": 3600, "why": "WORKER: REASON"},
        "hold": {"held": 8192, "watched": 8192, "offered": 123, "parked": 65536, "limit": 8192},
        "totals": {"arrived": 123456789, "closed": 123456789, "requests": 1234567890,
            "left_behind": 1, "log_lines_dropped": 7, "wakes": 5}
    }"#;

    #[test]
    fn it_fits_into_80_columns_and_uses_more_where_there_are_more() {
        let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
        let text = render(&eventful(), 80);
        assert!(widest(&text) <= 80, "{text}");
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
        let wide = render(&eventful(), 132);
        assert!((100..=132).contains(&widest(&wide)), "{wide}");
        assert!(wide.lines().count() < text.lines().count());
    }

    #[test]
    fn numbers_beyond_all_reason_fit_too() {
        let mut status = eventful();
        for worker in &mut status.workers {
            (worker.accepted, worker.restarts) = (u64::MAX, u32::MAX);
            (worker.generation, worker.connections) = (u32::MAX, u32::MAX);
        }
        let text = render(&status, 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn every_field_of_the_json_is_documented() {
        fn names(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    out.extend(fields.keys().cloned());
                    fields.values().for_each(|value| names(value, out));
                }
                Value::Array(list) => list.iter().for_each(|value| names(value, out)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let documented = include_str!("../../docs/status.md");
        let mut all = Vec::new();
        names(&serde_json::to_value(eventful()).unwrap(), &mut all);
        for name in all {
            let is_there = [format!("`{name}`"), format!(".{name}`"), format!("`{name}.")];
            assert!(is_there.iter().any(|name| documented.contains(name)), "{name}");
        }
    }

    /// Whatever stands in a picture is a value, comes from outside, or is explained.
    #[test]
    fn every_word_of_it_is_in_the_help() {
        let help = help::text();
        let explained: Vec<&str> = help.split(|each: char| !is_of_a_word(each)).collect();
        for status in pictures() {
            let text = render(&status, 80);
            for word in text.split(|each: char| !is_of_a_word(each)) {
                let value = word.starts_with(|each: char| each.is_ascii_digit());
                let foreign = word.chars().all(|each| !each.is_ascii_lowercase());
                let heading = table::HEADINGS.contains(&word);
                let known = explained.contains(&word) || value || (foreign && !heading);
                assert!(known, "{word:?} is in\n{text}\nand not in\n{help}");
            }
        }
    }

    /// One of each phase, each outcome of a reload, and whatever is dispatched.
    fn pictures() -> Vec<Status> {
        let mut pictures = vec![Status::default()];
        for phase in Phase::ALL {
            pictures.push(Status { phase: phase.word().to_owned(), ..eventful() });
        }
        for outcome in ReloadOutcome::ALL {
            let mut picture = Status { spreads_requests: true, ..eventful() };
            picture.reload.as_mut().unwrap().outcome = outcome.word().to_owned();
            pictures.push(picture);
        }
        pictures
    }

    fn is_of_a_word(each: char) -> bool {
        each.is_alphanumeric()
    }

    #[test]
    fn nothing_is_said_per_request_where_there_was_none_nor_of_what_cannot_be() {
        let mut status = eventful();
        status.totals.requests = 0;
        let text = render(&status, 80);
        assert!(!text.contains("per request"), "{text}");
        assert!(text.contains("(now connections)"), "{text}");
        "connection".clone_into(&mut status.dispatch);
        assert!(!render(&status, 80).contains("(now"), "nothing else can be dispatched");
    }
}
