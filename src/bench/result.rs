//! Results as data: what was run, on what, and what came of it. Tables, pictures and the report
//! are made of this and of nothing else, so that a result can be read again years later.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::tally::{PercentilePoint, Quantiles};

/// What one run of a measurement found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`FORMAT`].
    pub format: String,
    /// What kind of measurement it was.
    pub kind: MeasurementKind,
    /// One line for people.
    pub title: String,
    /// On what it ran, and how.
    pub environment: Environment,
    /// Its cells, in the order in which tables show them.
    pub cells: Vec<Cell>,
}

/// The format that this version writes and reads.
pub const FORMAT: &str = "dispatchd-result/1";

/// Kinds of measurements.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasurementKind {
    /// One server under one load.
    Load,
    /// Policies on the same traces, on real processes.
    Fairness,
    /// Policies on the same traces, in the model.
    Simulation,
}

/// The machine, the program and the command.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// `2026-11-22`.
    pub date: String,
    /// The version of dispatchd.
    pub version: String,
    /// The commit, where it is known.
    pub commit: Option<String>,
    /// Whether the sources differed from that commit.
    pub uncommitted_changes: Option<bool>,
    /// The command line.
    pub command: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The machine's name.
    pub host: Option<String>,
    /// What the processor calls itself.
    pub cpu_model: Option<String>,
    /// The CPUs online, such as `0-1`.
    pub cpus_online: Option<String>,
    /// The frequency governor of the first CPU.
    pub governor: Option<String>,
    /// What the kernel reads the time from.
    pub clock_source: Option<String>,
    /// `/proc/loadavg` at the end.
    pub load_average: Option<String>,
}

/// One combination of subject and load.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The policy, or the server.
    pub subject: String,
    /// Workers; 0 where that is not known.
    pub workers: u32,
    /// Relative speeds of the workers, where they differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speeds: Vec<f64>,
    /// What was asked.
    pub mix: String,
    /// How service time was spent.
    pub medium: Medium,
    /// Share of the workers' whole capacity that was asked for; none where that is not known.
    pub load: Option<f64>,
    /// How requests shared connections: `close`, `keep-alive 50`, `pool 64`.
    pub connections: String,
    /// What became of requests while workers were stopped, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
    /// The rounds, in their order, those that do not count among them.
    pub rounds: Vec<Round>,
}

/// What became of requests while workers were stopped in turn, 300 ms each.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// How often one was stopped.
    pub stops: u64,
    /// Requests sent meanwhile, one every 4 ms.
    pub requests: u64,
    /// Those that waited for more than 30 ms though no worker had begun with them, or had no
    /// answer.
    pub delayed: u64,
    /// Those that the stopped worker had begun with.
    pub excused: u64,
    /// The longest wait of those that were delayed, in milliseconds.
    pub worst_ms: f64,
}

/// How service time was spent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// Workers blocked.
    Sleep,
    /// Workers used CPU time.
    Spin,
    /// Nobody worked: a model.
    Simulated,
    /// Whatever the server did.
    Server,
}

/// One round of a cell.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// The trace's seed; the same in all cells of a round.
    pub seed: u64,
    /// Requests that count (warm-up excluded).
    pub requests: u64,
    /// Requests that got no answer, or not a good one.
    pub errors: u64,
    /// How those ended, in words, with how many of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// How long it took.
    pub seconds: f64,
    /// Why this round does not count, if it does not.
    pub rejected: Option<String>,
    /// How late the generator itself sent, in microseconds.
    pub lateness_us: Option<Quantiles>,
    /// Share of the CPUs' time that went to strangers.
    pub foreign_cpu: Option<f64>,
    /// CPU time of the server's processes per request.
    pub cpu_us_per_request: Option<f64>,
    /// What every request costs beside its service, as it was measured at a load near nothing and
    /// added to the bound.
    pub overhead_us: Option<f64>,
    /// Each class; the order of the mix.
    pub classes: Vec<ClassFigures>,
    /// Each worker that answered.
    pub workers: Vec<WorkerFigures>,
    /// Share of the time in which a worker was idle while a request waited.
    pub idle_while_waiting: Option<f64>,
    /// The longest that a request waited while a worker was idle, in milliseconds.
    pub starvation_ms: Option<f64>,
    /// Jain's index of the workers' busy times: 1 when all are alike. A diagnostic of load, not of
    /// fairness.
    pub jain: Option<f64>,
}

/// What one class got.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFigures {
    /// The class.
    pub name: String,
    /// Its requests.
    pub requests: u64,
    /// From the intended time to the last byte, in microseconds.
    pub latency_us: Quantiles,
    /// The same over the request's own service time, where that is known.
    pub slowdown: Option<Quantiles>,
    /// The slowdown that a central queue would have given on the same trace, each request costing
    /// its service and the overhead.
    pub bound: Option<Quantiles>,
    /// The same without the overhead.
    pub bound_free: Option<Quantiles>,
    /// The percentile plot of the slowdown, or of the latency where that is all there is.
    pub curve: Vec<PercentilePoint>,
    /// The percentile plot of `bound`.
    pub bound_curve: Vec<PercentilePoint>,
}

/// What one worker did.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerFigures {
    /// Its number.
    pub worker: u32,
    /// Requests that it answered.
    pub requests: u64,
    /// Service time of those, in seconds.
    pub busy_s: f64,
    /// The 99th percentile of the first class's slowdown, or latency in microseconds.
    pub p99: f64,
}

/// Why there are no results.
#[derive(Debug, Error)]
pub enum ResultError {
    /// The file cannot be read.
    #[error("cannot read the result {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the result {path}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else, or is cut off.
    #[error("{path} is not a result, or is cut off", path = path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It is one of another version.
    #[error("{path} is a result of the format '{format}'; this version reads {FORMAT}",
        path = path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its own word.
        format: String,
    },
}

impl Results {
    /// Reads a result; of a folder, its `results.json`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, ResultError> {
        let file = if path.is_dir() { path.join("results.json") } else { path.to_owned() };
        let text = fs::read_to_string(&file)
            .map_err(|source| ResultError::Read { path: file.clone(), source })?;
        let results: Self = serde_json::from_str(&text)
            .map_err(|source| ResultError::Parse { path: file.clone(), source })?;
        if results.format != FORMAT {
            return Err(ResultError::Format { path: file, format: results.format });
        }
        Ok(results)
    }

    /// Writes the result to a file, all of it or nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ResultError> {
        let text = serde_json::to_string_pretty(self).expect("plain data becomes JSON");
        let failed = |source| ResultError::Write { path: path.to_owned(), source };
        let draft = path.with_extension("json.part");
        fs::write(&draft, text + "\n").map_err(failed)?;
        fs::rename(&draft, path).map_err(failed)
    }
}

impl Cell {
    /// The rounds that count.
    pub fn good_rounds(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| round.rejected.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let class = ClassFigures {
            name: "short".into(),
            requests: 9,
            latency_us: Quantiles { mean: 1.5, ..Quantiles::default() },
            slowdown: Some(Quantiles::default()),
            bound: None,
            bound_free: None,
            curve: vec![(0.0, 1.0), (1.0, 2.5)],
            bound_curve: Vec::new(),
        };
        let worker = WorkerFigures { worker: 1, requests: 9, busy_s: 0.5, p99: 3.0 };
        let round = Round {
            seed: 1,
            rejected: Some("the generator was late".into()),
            classes: vec![class],
            workers: vec![worker],
            ..Round::default()
        };
        let cell = Cell {
            subject: "jbsq".into(),
            workers: 2,
            speeds: Vec::new(),
            mix: "bim100".into(),
            medium: Medium::Sleep,
            load: Some(0.8),
            connections: "close".into(),
            stall: None,
            rounds: vec![round],
        };
        Results {
            format: FORMAT.into(),
            kind: MeasurementKind::Fairness,
            title: "a run".into(),
            environment: Environment::default(),
            cells: vec![cell],
        }
    }

    #[test]
    fn a_saved_result_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        results().save(&file).unwrap();
        assert_eq!(Results::load(&file).unwrap(), results());
        assert_eq!(Results::load(folder.path()).unwrap(), results());
        assert_eq!(results().cells[0].good_rounds().count(), 0);
    }

    #[test]
    fn what_is_no_result_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        results().save(&file).unwrap();
        let whole = fs::read_to_string(&file).unwrap();
        let other = whole.replacen("result/1", "result/9", 1);
        for (text, word) in
            [(&whole[..whole.len() / 2], "cut off"), ("[]", "not a result"), (&other, "result/9")]
        {
            fs::write(&file, text).unwrap();
            let error = Results::load(&file).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        let missing = Results::load(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the result"), "{missing}");
        let nowhere = results().save(&folder.path().join("no/where")).unwrap_err().to_string();
        assert!(nowhere.starts_with("cannot write the result"), "{nowhere}");
    }
}
