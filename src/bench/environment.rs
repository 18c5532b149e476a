//! On what a measurement ran: a figure without its machine, kernel and command is a rumour.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::result::Environment;
use crate::sys::clock;

impl Environment {
    /// The surroundings of this process, at the end of a run that `command` began.
    pub fn of_this_machine(command: String) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let commit = git(root, &["rev-parse", "--short", "HEAD"]);
        let changed = git(root, &["status", "--porcelain", "--", "src", "benches", "Cargo.lock"]);
        Self {
            date: date_of(clock::unix_seconds()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit,
            uncommitted_changes: changed.map(|changed| !changed.is_empty()),
            command,
            kernel: word("/proc/sys/kernel/osrelease"),
            host: word("/proc/sys/kernel/hostname"),
            cpu_model: cpu_model(),
            cpus_online: word("/sys/devices/system/cpu/online"),
            governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            load_average: word("/proc/loadavg"),
        }
    }
}

/// The command line of this process.
pub fn command_line() -> String {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// The day in UTC, `2026-11-22`.
fn date_of(unix_seconds: u64) -> String {
    // Days are counted from 1 March of year 0, so that a leap day is the last of its year; an era
    // is the 400 years after which the calendar repeats itself.
    const ERA: u64 = 146_097;
    let days = unix_seconds / 86_400 + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!("{:04}-{month:02}-{date:02}", year + era * 400)
}

/// What a file of the kernel says, on one line; none where there is no such file.
fn word(path: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_as_in_the_calendar() {
        for (days, date) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (10_956, "1999-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_779, "2026-11-22"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date_of(days * 86_400 + 86_399), date);
        }
    }

    #[test]
    fn the_machine_says_what_it_is() {
        let environment = Environment::of_this_machine("dispatchd bench".to_owned());
        assert_eq!(environment.command, "dispatchd bench");
        assert!(environment.kernel.is_some() && environment.load_average.is_some());
        assert!("2026" <= environment.date.as_str());
    }
}
