//! A run as data, for `bench-results/`: what was found, and on what. Nothing there is ever
//! overwritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use dispatchd::sys::clock;
use serde_json::{Value, json};

use super::place::{self, Class};
use super::report::{self, Spread};
use super::rounds::{Results, Row};

/// Writes the run to a new folder and says to which.
pub(crate) fn save(results: &Results) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commit = git(root, &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "nocommit".into());
    let folder = root.join(format!("bench-results/{}-{commit}-handoff", today()));
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let changed = git(root, &["status", "--porcelain", "--", "src", "benches", "Cargo.lock"]);
    let dirty = changed.is_none_or(|changed| !changed.is_empty());
    write(&folder.join("env.json"), &environment(results, &commit, dirty))?;
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

fn environment(results: &Results, commit: &str, dirty: bool) -> Value {
    let command: Vec<String> = std::env::args().collect();
    json!({
        "date": today(),
        "commit": commit,
        "uncommitted_changes": dirty,
        "command": command.join(" "),
        "kernel": machine_word("/proc/sys/kernel/osrelease"),
        "host": machine_word("/proc/sys/kernel/hostname"),
        "cpu_model": cpu_model(),
        "cpus_online": machine_word("/sys/devices/system/cpu/online"),
        "governor": machine_word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_source":
            machine_word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "load_average": machine_word("/proc/loadavg"),
        "cpu": results.cpu.0,
        "scheduling_class": place::class().map(Class::name),
        "foreign_cpu_percent": results.foreign * 100.0,
    })
}

fn today() -> String {
    let now = UNIX_EPOCH + Duration::from_secs(clock::unix_seconds());
    humantime::format_rfc3339_seconds(now).to_string().chars().take(10).collect()
}

/// What a file of the kernel says; `null` where it has none.
fn machine_word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim().to_owned())
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(text.trim().to_owned())
}

fn write(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}
