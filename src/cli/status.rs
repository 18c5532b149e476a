//! `dispatchd status`: asks a running master how it is, and shows it.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::Duration;

use super::args::StatusArgs;
use super::exit::Exit;
use super::runtime_dir::socket_path;
use super::{config, print_or_fail, term};
use crate::master::{ask, check_path};
use crate::wire::control::{Reply, Status, WorkerStatus};

/// Prints the status of the master under this name.
pub(super) fn status(args: &StatusArgs) -> Exit {
    let name = match config::status_name(args) {
        Ok(name) => name,
        Err(error) => {
            term::complain(&error.to_string());
            return Exit::Usage;
        }
    };
    let path = socket_path(&name);
    if let Err(error) = check_path(&path) {
        return fail(&error.to_string());
    }
    match ask(&path) {
        Ok(line) if args.json => print_or_fail(&line, Exit::Done),
        Ok(line) => match serde_json::from_str(&line) {
            Ok(Reply::Status(status)) => print_or_fail(&render(&status), Exit::Done),
            Ok(Reply::Error { message }) => fail(&message),
            Err(error) => fail(&format!("the master's answer cannot be read: {error}")),
        },
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                term::complain(&format!(
                    "no dispatchd runs under the name '{name}': nobody listens at {}; where that \
                     is depends on XDG_RUNTIME_DIR, which must be the same here as for dispatchd",
                    path.display()
                ));
                Exit::NotRunning
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                term::complain("the master did not answer in time");
                Exit::TimedOut
            }
            _ => fail(&format!("cannot ask {}: {error}", path.display())),
        },
    }
}

fn fail(text: &str) -> Exit {
    term::complain(text);
    Exit::Failed
}

/// The picture as text.
fn render(status: &Status) -> String {
    let mut text = String::new();
    let up = humantime::format_duration(Duration::from_secs(status.uptime_s));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}   gen {}  {}   policy {}   backend {} ({})   pid {}   up {up}",
        status.name,
        status.generation,
        status.phase,
        status.policy,
        status.backend,
        status.backend_reason,
        status.pid
    );
    let _ = writeln!(text, "listening on {}", status.listeners.join(", "));
    let (hold, totals) = (&status.hold, &status.totals);
    let _ = writeln!(
        text,
        "want {}  ready {}   held {}/{}  watched {}  offered {}   arrived {}  closed {}  \
         rejected {}  lost {}  recovered {}  recalled {}",
        status.want,
        status.have,
        hold.held,
        hold.limit,
        hold.watched,
        hold.offered,
        totals.arrived,
        totals.closed,
        totals.rejected,
        totals.lost,
        totals.recovered,
        totals.recalled
    );
    let _ = writeln!(text, "{}", dispatch_line(status));
    let classes = &status.classes;
    if classes.by != "off" {
        let _ = writeln!(
            text,
            "classes {}   routes {} ({} long)   long held {}   workers kept for short ones {}",
            classes.by, classes.routes, classes.long_routes, classes.held_long, classes.reserved
        );
    }
    if 0 < totals.log_lines_dropped {
        let _ =
            writeln!(text, "{} log lines dropped: nobody reads stderr", totals.log_lines_dropped);
    }
    text.push_str(&table(&status.workers));
    text
}

/// What is dispatched at the moment, and how often somebody had to be woken for that.
fn dispatch_line(status: &Status) -> String {
    let now = if status.spreads_requests { "requests" } else { "connections" };
    let requests: u64 = status.workers.iter().map(|worker| worker.requests).sum();
    let wakes: u64 = status.workers.iter().map(|worker| worker.wakes).sum();
    let rings: u64 = status.workers.iter().map(|worker| worker.rings).sum();
    // Counts far below 2^52.
    let per_request = |count: u64| count as f64 / requests.max(1) as f64;
    format!(
        "dispatch {} (now {now})   parked {}  given back {}   requests {requests}   \
         woken per request: workers {:.3}, master {:.3}",
        status.dispatch,
        status.hold.parked,
        status.totals.given_back,
        per_request(wakes),
        per_request(rings)
    )
}

const HEADINGS: [&str; 10] = [
    "WORKER",
    "GEN",
    "PID",
    "CPU",
    "STATE",
    "CONNS",
    "IN-FLIGHT",
    "ACCEPTED",
    "RESTARTS",
    "LAST EXIT",
];

fn table(workers: &[WorkerStatus]) -> String {
    let rows: Vec<[String; 10]> = workers.iter().map(row).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(HEADINGS[column].len())
    };
    let mut text = String::new();
    for row in std::iter::once(HEADINGS.map(String::from)).chain(rows.iter().cloned()) {
        let cells = (0..).zip(&row).map(|(column, cell)| format!("{cell:<0$}", width(column)));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(worker: &WorkerStatus) -> [String; 10] {
    [
        worker.worker.to_string(),
        worker.generation.to_string(),
        worker.pid.to_string(),
        worker.cpu.map_or_else(|| String::from("-"), |cpu| cpu.to_string()),
        worker.state.clone(),
        worker.connections.to_string(),
        worker.in_flight.to_string(),
        worker.accepted.to_string(),
        worker.restarts.to_string(),
        worker.last_exit.clone().unwrap_or_else(|| String::from("-")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let worker = WorkerStatus {
            worker: 0,
            pid: 4242,
            state: String::from("ready"),
            cpu: Some(1),
            generation: 3,
            connections: 12,
            in_flight: 1,
            accepted: 99_999_999,
            requests: 3,
            wakes: 1,
            rings: 1,
            restarts: 0,
            last_exit: None,
        };
        let other = WorkerStatus {
            worker: 10,
            last_exit: Some(String::from("exit code 3")),
            ..worker.clone()
        };
        let text = table(&[worker, other]);
        let columns: Vec<Option<usize>> = text.lines().map(|line| line.find("ready")).collect();
        assert_eq!(columns[1], columns[2]);
        assert!(text.lines().all(|line| line == line.trim_end()));
        assert!(text.ends_with("exit code 3\n"));
    }
}
