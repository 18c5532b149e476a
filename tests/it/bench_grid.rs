//! `dispatchd bench simulate` and `bench fairness` as users meet them: small grids, in the model
//! and on real processes, kept, gone on with and reported.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::process;
use crate::wait::eventually;

#[test]
fn a_simulated_grid_is_printed_kept_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("grid");
    let flags = "bench simulate --workers 2,4 --policy rr,jbsq:1 --requests 2000 --rounds 2 -o";
    let ended = dispatchd(flags, &[&output]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(stdout(&ended).contains("simulated, bim100, load 0.8, close: slowdown of short"));
    assert_eq!(fs::read_to_string(output.join("summary.txt")).unwrap(), stdout(&ended));
    let results = results(&output);
    assert_eq!(results["kind"], "simulation");
    assert_eq!(results["cells"].as_array().unwrap().len(), 4);
    let report = dispatchd("report --md", &[&output]);
    assert!(stdout(&report).contains("| 4 | jbsq:1 |"), "{report:?}");
    // The same seed is the same grid.
    let again = dispatchd("bench simulate --workers 2 --policy rr --requests 2000 --json", &[]);
    let other = dispatchd("bench simulate --workers 2 --policy rr --requests 2000 --json", &[]);
    let cells =
        |ended: &Output| serde_json::from_str::<Value>(&stdout(ended)).unwrap()["cells"].clone();
    assert_eq!(cells(&again), cells(&other));
}

#[test]
fn a_fairness_run_is_kept_round_by_round_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let flags = |rounds| {
        format!(
            "bench fairness --workers 2 --policy jbsq,shared --mix bim10 --requests 300 \
             --rounds {rounds} --load 0.4 -o"
        )
    };
    // Whether rounds count depends on who else uses this machine; that they are made does not.
    dispatchd(&flags(1), &[&output]);
    let first = results(&output);
    let shared = output.join("rounds/bim10-sleep-close-0.4-k2--shared--r0.json");
    assert!(shared.exists());
    dispatchd(&flags(2), &[&output]);
    let second = results(&output);
    for (cell, policy) in [(0, "jbsq"), (1, "shared")] {
        let (before, after) = (&first["cells"][cell], &second["cells"][cell]);
        assert_eq!((&before["subject"], &after["subject"]), (&policy.into(), &policy.into()));
        let rounds = after["rounds"].as_array().unwrap();
        assert!(2 <= rounds.len());
        assert!(rounds.iter().all(|round| round["errors"] == 0), "{rounds:?}");
        assert!(rounds.iter().all(|round| round["classes"][0]["bound"].is_object()));
        let seed = before["rounds"][0]["seed"].clone();
        let kept = rounds.iter().find(|round| round["seed"] == seed).unwrap();
        assert_eq!(
            kept["classes"][0]["latency_us"],
            before["rounds"][0]["classes"][0]["latency_us"]
        );
    }
    fs::write(&shared, "[").unwrap();
    let ended = dispatchd(&flags(2), &[&output]);
    assert_eq!(ended.status.code(), Some(1));
    assert_one_line(&ended, "is not a finished round");
}

#[test]
fn a_bench_that_is_killed_leaves_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_dispatchd"))
        .args("bench fairness --workers 2 --policy rr --requests 100000 -o".split(' '))
        .arg(folder.path().join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", bench.id());
    let master: u32 = eventually("the bench starts a server", || {
        fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()
    });
    bench.kill().unwrap();
    bench.wait().unwrap();
    eventually("the server has ended", || process::started(master).is_none().then_some(()));
}

#[test]
fn wrong_grids_are_refused_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (flags, code, word) in [
        ("bench simulate --policy fifo", 2, "--policy 'fifo'"),
        ("bench simulate --mix bim7", 2, "--mix 'bim7'"),
        ("bench simulate --load 1.5", 2, "--load '1.5'"),
        ("bench simulate --handoff soon", 2, "--handoff 'soon'"),
        ("bench fairness --rounds 0", 2, "--rounds '0'"),
        ("bench fairness --service nap", 2, "--service 'nap'"),
    ] {
        let ended = dispatchd(flags, &[]);
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert_one_line(&ended, word);
    }
    for command in ["simulate", "fairness"] {
        let ended = dispatchd(&format!("bench {command} -o"), &[&file]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert_one_line(&ended, "cannot write to");
    }
}

fn dispatchd(flags: &str, paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
    command.args(flags.split_whitespace()).args(paths).output().unwrap()
}

fn stdout(ended: &Output) -> String {
    String::from_utf8(ended.stdout.clone()).unwrap()
}

fn results(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("results.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn assert_one_line(ended: &Output, word: &str) {
    let said = String::from_utf8(ended.stderr.clone()).unwrap();
    assert!(said.contains(word), "{said}");
    // On a busy machine rounds may have been tried again before.
    let lines = said.trim_end().lines().filter(|line| !line.contains("is tried again"));
    assert_eq!(lines.count(), 1, "{said}");
}
