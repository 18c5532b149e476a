//! A run as data, for `bench-results/`: what was found, and on what. Nothing there is ever
//! overwritten.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use dispatchd::bench::result::Environment;
use serde_json::{Value, json};

use super::place::{self, Class};
use super::report::{self, Spread};
use super::rounds::{Results, Row};

/// Writes the run to a new folder and says to which.
pub(crate) fn save(results: &Results) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let command: Vec<String> = std::env::args().collect();
    let machine = Environment::of_this_machine(command.join(" "));
    let commit = machine.commit.as_deref().unwrap_or("nocommit");
    let folder = root.join(format!("bench-results/{}-{commit}-handoff", machine.date));
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write(&folder.join("env.json"), &environment(machine, results)?)?;
    write(&folder.join("results.json"), &figures(results))?;
    fs::write(folder.join("summary.txt"), report::render(results))?;
    Ok(folder)
}

fn figures(results: &Results) -> Value {
    let residents: Vec<Value> = results
        .residents
        .iter()
        .map(|resident| {
            let name = resident.variant.name();
            json!({ "variant": name, "fresh": resident.fresh, "used": resident.used })
        })
        .collect();
    json!({
        "bench": "handoff",
        "rounds": results.rounds,
        "errors": 0,
        "rows": results.rows.iter().map(row).collect::<Vec<_>>(),
        "master_memory": residents,
        "left_out": results.left_out,
    })
}

fn row(row: &Row) -> Value {
    json!({
        "variant": row.name(),
        "mode": row.mode.name,
        "window": row.mode.load.window,
        "connections_per_round": row.mode.load.connections,
        "ratio": Spread::of(&row.samples, |sample| sample.ratio),
        "ratio_goal": row.variant.map(|variant| variant.ratio_goal(row.mode)),
        "master_syscalls_per_connection": row.syscalls,
        "syscall_goal": row.variant.and_then(|variant| variant.syscall_goal(row.mode)),
        "samples": row.samples,
    })
}

/// The machine, and how it was used.
fn environment(environment: Environment, results: &Results) -> Result<Value> {
    let mut value = serde_json::to_value(environment)?;
    value["cpu"] = json!(results.cpu.0);
    value["scheduling_class"] = json!(place::class().map(Class::name));
    value["foreign_cpu_percent"] = json!(results.foreign * 100.0);
    Ok(value)
}

fn write(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}
