//! `dispatchd report` as users meet it: results of every kind become a page, pictures and tables,
//! and what cannot be one is refused in a line.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::server::assert_says_nothing_twice;

#[test]
fn every_kind_of_result_is_rendered() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["load", "fairness", "simulation"] {
        let result = saved(folder.path(), kind, &result(kind));
        let (page, pictures) = (folder.path().join("report.html"), folder.path().join("a/b"));
        let ended = report(&[&result, "-o", text(&page), "--svg", text(&pictures), "--md"]);
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(stdout(&ended).contains("| 4 | jbsq |"), "{ended:?}");
        let page = fs::read_to_string(&page).unwrap();
        assert!(page.contains("hort requests wait 1.50"), "{kind}");
        assert_eq!(page.contains("In the simulation"), kind == "simulation");
        assert!(fs::read_to_string(pictures.join("headline.svg")).unwrap().contains("jbsq"));
        let figures = stdout(&report(&[&result, "--json"]));
        let figures: Value = serde_json::from_str(&figures).unwrap();
        assert_eq!(figures["rows"][0]["classes"][0]["to_bound"]["median"], 1.5);
        assert_eq!(figures["sources"][0]["kind"], kind);
    }
}

#[test]
fn text_is_what_comes_of_no_flag_and_files_alone_print_nothing() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), "results", &result("fairness"));
    let printed = report(&[text(folder.path())]);
    assert!(stdout(&printed).contains("policy      k   p50   p99"), "{printed:?}");
    assert!(stdout(&printed).lines().all(|line| line.chars().count() <= 80));
    assert_eq!(stdout(&report(&[text(folder.path()), "--text"])), stdout(&printed));
    let page = folder.path().join("report.html");
    let quiet = report(&[text(folder.path()), "-o", text(&page)]);
    assert_eq!((quiet.status.code(), stdout(&quiet).as_str()), (Some(0), ""), "{quiet:?}");
    let both = report(&[text(folder.path()), "-o", text(&page), "--text"]);
    assert_eq!(stdout(&both), stdout(&printed));
}

#[test]
fn bad_input_is_one_line_and_leaves_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let whole = result("fairness").to_string();
    let mut rejected = result("fairness");
    rejected["cells"][0]["rounds"][0]["rejected"] = json!("the generator\nwas late");
    let mut empty = result("fairness");
    empty["cells"] = json!([]);
    for (name, text, word) in [
        ("cut", whole[..whole.len() / 2].to_owned(), "is cut off"),
        ("foreign", "{\"runs\": []}".to_owned(), "is not a result"),
        ("nothing", String::new(), "is not a result"),
        ("rejected", rejected.to_string(), "the first was rejected: the generator\\nwas late"),
        ("empty", empty.to_string(), "there is none at all"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        refused(&[path.to_str().unwrap()], &[name, word], folder.path());
    }
    let missing = folder.path().join("missing");
    refused(&[text(&missing)], &["cannot read", "missing"], folder.path());
    refused(&[text(folder.path())], &["cannot read", "results.json"], folder.path());
}

#[test]
fn unwritable_outputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let result = saved(folder.path(), "results", &result("fairness"));
    let within = format!("{result}/no");
    for (arguments, parts) in [
        ([&result, "-o", &within], ["cannot write", "--output"]),
        ([&result, "--svg", &within], ["cannot make the folder", "--svg"]),
        ([&result, "-o", &result], ["would be overwritten", "--output"]),
    ] {
        let ended = report(&arguments);
        complained(&ended, &parts);
    }
    assert!(fs::read_to_string(&result).unwrap().starts_with('{'), "the result is overwritten");
}

/// A result with one cell: the policy's p99 is 1.5 times that of the bound.
fn result(kind: &str) -> Value {
    let quantiles = |p99: f64| {
        json!({"mean": 1.0, "p50": 1.0, "p90": 2.0, "p99": p99, "p999": 20.0,
            "max": 30.0})
    };
    let class = json!({
        "name": "short", "requests": 990, "latency_us": quantiles(9_000.0),
        "slowdown": quantiles(9.0), "bound": quantiles(6.0), "bound_free": quantiles(5.0),
        "curve": [[0.0, 1.0], [0.5, 1.0], [0.99, 9.0], [1.0, 30.0]],
        "bound_curve": [[0.0, 1.0], [0.5, 1.0], [0.99, 6.0], [1.0, 20.0]],
    });
    let round = json!({
        "seed": 1, "requests": 1000, "errors": 0, "seconds": 2.0,
        "rejected": null,
        "lateness_us": null, "foreign_cpu": null, "cpu_us_per_request": null, "overhead_us": 50.0,
        "classes": [class],
        "workers": [{"worker": 0, "requests": 990, "busy_s": 1.0, "p99": 9.0}],
        "idle_while_waiting": 0.01, "starvation_ms": 1.0, "jain": 1.0,
    });
    let cell = json!({
        "subject": "jbsq", "workers": 4, "mix": "bim100", "medium": "sleep", "load": 0.8,
        "connections": "close", "rounds": [round],
    });
    let environment = json!({
        "date": "2026-11-22", "version": "0.1.0", "commit": null, "uncommitted_changes": null,
        "command": "dispatchd bench", "kernel": null, "host": null, "cpu_model": null,
        "cpus_online": null, "governor": null, "clock_source": null, "load_average": null,
    });
    json!({
        "format": "dispatchd-result/1", "kind": kind, "title": "A run",
        "environment": environment, "cells": [cell],
    })
}

fn saved(folder: &Path, name: &str, result: &Value) -> String {
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, result.to_string()).unwrap();
    text(&path).to_owned()
}

fn refused(arguments: &[&str], parts: &[&str], folder: &Path) {
    let page = folder.join("refused.html");
    let arguments = [arguments, &["-o", text(&page)]].concat();
    complained(&report(&arguments), parts);
    assert!(!page.exists());
}

fn complained(ended: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_says_nothing_twice(&said);
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    assert!(ended.stdout.is_empty());
}

fn report(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatchd"));
    command.arg("report").args(arguments).output().unwrap()
}

fn stdout(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
