//! The workers as a table, one line for each, and how those ended that were there before.

use super::page::{TextPage, width};
use crate::wire::control::WorkerStatus;

/// A column of the table.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) meaning: &'static str,
    cell: fn(&WorkerStatus) -> String,
}

/// What the columns are called.
pub(super) const HEADINGS: [&str; COUNT] =
    ["WORKER", "GEN", "PID", "CPU", "STATE", "CONNS", "IN-FLIGHT", "ACCEPTED", "RESTARTS"];
const COUNT: usize = 9;

/// The columns, in the order of their headings.
pub(super) const COLUMNS: [Column; COUNT] = [
    Column {
        meaning: "the number of its slot; while one replaces another, both have it",
        cell: |each| each.worker.to_string(),
    },
    Column { meaning: "its generation", cell: |each| each.generation.to_string() },
    Column { meaning: "its process; 0 where there is none", cell: |each| each.pid.to_string() },
    Column { meaning: "the CPU that it is bound to", cell: cpu },
    Column { meaning: "where it is in its life, see below", cell: |each| each.state.clone() },
    Column { meaning: "connections open", cell: |each| each.connections.to_string() },
    Column {
        meaning: "requests begun and not answered, and offers on their way",
        cell: |each| each.in_flight.to_string(),
    },
    Column {
        meaning: "connections taken in its slot so far, by it and those before it; one that comes \
                  back for its next request counts again",
        cell: |each| each.accepted.to_string(),
    },
    Column {
        meaning: "how often its slot was filled again after a death",
        cell: |each| each.restarts.to_string(),
    },
];

/// The label of what is told below the table.
pub(super) const LAST_EXIT: &str = "last exit";
pub(super) const LAST_EXIT_MEANING: &str =
    "how the last process of a slot ended; status --json has the whole text";

/// Characters that are shown of how a worker ended.
const EXIT_SHOWN: usize = 240;

/// Writes the table, and what follows it.
pub(super) fn write(workers: &[WorkerStatus], page: &mut TextPage) {
    let mut rows = vec![HEADINGS.map(String::from)];
    rows.extend(workers.iter().map(|worker| COLUMNS.map(|column| (column.cell)(worker))));
    let widths = widths(&rows);
    let needed = widths.iter().sum::<usize>() + 2 * (COUNT - 1);
    let gap = if needed <= page.columns() { "  " } else { " " };
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        page.line(&cells.collect::<Vec<_>>().join(gap));
    }
    let mut label = LAST_EXIT;
    let mut told = None;
    for worker in workers {
        let Some(text) = &worker.last_exit else { continue };
        if told.replace(worker.worker) == Some(worker.worker) {
            continue;
        }
        let shown: String = text.chars().take(EXIT_SHOWN).collect();
        let more = if shown.len() < text.len() { " ..." } else { "" };
        page.entry(label, &[format!("worker {}: {shown}{more}", worker.worker)], 1);
        label = "";
    }
}

fn widths(rows: &[[String; COUNT]]) -> [usize; COUNT] {
    let mut widths = [0; COUNT];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    widths
}

fn cpu(worker: &WorkerStatus) -> String {
    worker.cpu.map_or_else(|| String::from("-"), |cpu| cpu.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_an_end_is_told_once() {
        let worker = WorkerStatus {
            worker: 0,
            pid: 4242,
            state: String::from("ready"),
            cpu: Some(1),
            accepted: 99_999_999,
            ..WorkerStatus::default()
        };
        let last_exit = Some(String::from("exit code 3"));
        let other = WorkerStatus { worker: 10, last_exit, ..worker.clone() };
        let mut page = TextPage::new(80, 11);
        write(&[worker, other.clone(), other], &mut page);
        let text = page.into_text();
        let columns: Vec<Option<usize>> = text.lines().map(|line| line.find("ready")).collect();
        assert_eq!(columns[1], columns[2]);
        assert!(text.ends_with("last exit  worker 10: exit code 3\n"), "{text}");
        assert_eq!(text.matches("exit code 3").count(), 1);
    }
}
