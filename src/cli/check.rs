//! `dispatchd check`: what would run here, and why, without opening or starting anything. Values
//! are printed in the words that the flags take, so that the answer can be given back as flags.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::config::Effective;
use crate::config::listen::DISPATCH_ON;
use crate::config::{Config, Program, SocketAccess, policy, words};
use crate::master::escape;
use crate::units::Span;

/// The effective configuration and the plan, as text or as one JSON object; ends with a newline.
pub fn render(effective: &Effective, json: bool) -> String {
    match json {
        true => escape::json(&format!("{:#}\n", to_json(effective))),
        false => to_text(effective),
    }
}

fn to_text(effective: &Effective) -> String {
    let config = &effective.config;
    let mut text = String::new();
    for (key, value) in rows(config) {
        line(&mut text, key, &value);
    }
    for (index, slot) in effective.placement.slots.iter().enumerate() {
        let cpu = slot.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
        let place = format!("cpu {cpu}, weight {}", slot.weight);
        line(&mut text, &format!("worker {index}"), &place);
    }
    for reason in &effective.placement.reasoning {
        line(&mut text, "why", reason);
    }
    text
}

fn line(text: &mut String, key: &str, value: &str) {
    writeln!(text, "{key:<14} {}", escape::text(value)).expect("writing to a string cannot fail");
}

fn rows(config: &Config) -> Vec<(&'static str, String)> {
    let mut rows = vec![("name", config.name.clone())];
    let on = |when| words::word_of(when, &DISPATCH_ON);
    rows.extend(config.listeners.iter().map(|one| {
        let suffix = on(one.dispatch_on);
        ("listen", format!("{},{suffix}", one.addr))
    }));
    if config.inherited > 0 {
        let sockets = format!("{} of LISTEN_FDS,{}", config.inherited, on(config.dispatch_on));
        rows.push(("listen", sockets));
    }
    let SocketAccess { mode, user, group } = config.socket_access;
    rows.extend(mode.map(|mode| ("socket-mode", words::mode_text(mode))));
    rows.extend(user.or(group).map(|_| ("socket-owner", words::owner_text(user, group))));
    let backlog = config.backlog.map_or_else(|| "system".to_owned(), |backlog| backlog.to_string());
    rows.extend([
        ("backlog", backlog),
        ("workers", words::workers_text(config.workers)),
        ("pin", words::pin_text(&config.pin)),
        ("spin", words::word_of(config.spin, &words::SPINS).to_owned()),
        ("backend", words::word_of(config.backend, &words::BACKENDS).to_owned()),
        ("policy", policy::name(config.policy)),
        ("weight", words::weights_text(&config.weights)),
        ("dispatch", words::word_of(config.dispatch, &words::DISPATCHES).to_owned()),
        ("classes", words::word_of(config.classes, &words::CLASSES).to_owned()),
        ("hold", config.hold_max.to_string()),
        ("overload", words::word_of(config.overload, &words::OVERLOADS).to_owned()),
        ("start-timeout", time(config.start_timeout)),
        ("drain-timeout", time(config.drain_timeout)),
        ("log-level", words::word_of(config.log.level, &words::LOG_LEVELS).to_owned()),
        ("log-format", words::word_of(config.log.format, &words::LOG_FORMATS).to_owned()),
        ("program", config.program.as_ref().map_or_else(built_in, shown)),
    ]);
    rows
}

fn time(span: Span) -> String {
    humantime::format_duration(Duration::from_nanos(span.as_ns())).to_string()
}

fn built_in() -> String {
    "the built-in HTTP server".to_owned()
}

fn shown(program: &Program) -> String {
    argv(program).map(|part| part.escape_debug().to_string()).collect::<Vec<_>>().join(" ")
}

fn argv(program: &Program) -> impl Iterator<Item = String> {
    let parts = std::iter::once(&program.path).chain(&program.args);
    parts.map(|part| part.to_string_lossy().into_owned())
}

fn to_json(effective: &Effective) -> Value {
    let config = &effective.config;
    let on = |when| words::word_of(when, &DISPATCH_ON);
    let listeners: Vec<Value> = config
        .listeners
        .iter()
        .map(|one| json!({ "addr": one.addr.to_string(), "dispatch_on": on(one.dispatch_on) }))
        .collect();
    let slots: Vec<Value> = effective
        .placement
        .slots
        .iter()
        .enumerate()
        .map(|(worker, slot)| {
            json!({ "worker": worker, "cpu": slot.cpu.map(|cpu| cpu.0), "weight": slot.weight })
        })
        .collect();
    json!({
        "name": config.name,
        "listen": listeners,
        "inherited": config.inherited,
        "dispatch_on": on(config.dispatch_on),
        "backlog": config.backlog,
        "socket_mode": config.socket_access.mode.map(words::mode_text),
        "socket_user": config.socket_access.user,
        "socket_group": config.socket_access.group,
        "workers": words::workers_text(config.workers),
        "pin": words::pin_text(&config.pin),
        "spin": words::word_of(config.spin, &words::SPINS),
        "backend": words::word_of(config.backend, &words::BACKENDS),
        "policy": policy::name(config.policy),
        "weight": words::weights_text(&config.weights),
        "dispatch": words::word_of(config.dispatch, &words::DISPATCHES),
        "classes": words::word_of(config.classes, &words::CLASSES),
        "hold": config.hold_max,
        "overload": words::word_of(config.overload, &words::OVERLOADS),
        "start_timeout_ms": config.start_timeout.as_ms_ceil(),
        "drain_timeout_ms": config.drain_timeout.as_ms_ceil(),
        "log_level": words::word_of(config.log.level, &words::LOG_LEVELS),
        "log_format": words::word_of(config.log.format, &words::LOG_FORMATS),
        "program": config.program.as_ref().map(|program| argv(program).collect::<Vec<_>>()),
        "plan": { "workers": slots, "why": effective.placement.reasoning },
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::args::{self, CliCommand};
    use crate::cli::config::{CliSurroundings, effective};

    fn of(line: &str) -> Effective {
        let words = line.split(' ').map(OsString::from);
        let Ok(CliCommand::Run(run)) = args::parse(words) else { panic!("{line}") };
        effective(&run, &CliSurroundings { inherited: 1, ..CliSurroundings::default() }).unwrap()
    }

    #[test]
    fn text_shows_every_decision_in_the_words_of_the_flags() {
        let given = of("dispatchd --listen :1 --workers 2 --policy wrr --weight 3,1 -- p x\n");
        assert_eq!(
            render(&given, false),
            "\
name           default
listen         0.0.0.0:1,readable
listen         1 of LISTEN_FDS,readable
backlog        system
workers        2
pin            auto
spin           auto
backend        auto
policy         wrr
weight         3,1
dispatch       auto
classes        off
hold           8192
overload       hold
start-timeout  30s
drain-timeout  30s
log-level      info
log-format     auto
program        p x\\n
worker 0       cpu any, weight 3
worker 1       cpu any, weight 1
why            workers: 2, as told
why            pins: none, since the CPU mask cannot be read
why            weights: 3,1, as told
"
        );
    }

    #[test]
    fn json_says_the_same() {
        let given = of("dispatchd --workers 2 --listen unix:/a,connect --socket-mode 660 \
                        --socket-owner :0");
        let value: Value = serde_json::from_str(&render(&given, true)).unwrap();
        assert_eq!((&value["socket_mode"], &value["socket_group"]), (&json!("0660"), &json!(0)));
        let text = render(&given, false);
        assert!(text.contains("socket-mode    0660\nsocket-owner   :0\n"), "{text}");
        assert_eq!(value["listen"], json!([{ "addr": "unix:/a", "dispatch_on": "connect" }]));
        assert_eq!(value["plan"]["workers"][1], json!({ "worker": 1, "cpu": null, "weight": 1 }));
        assert_eq!(value["policy"], "jbsq");
        assert_eq!(value["program"], Value::Null);
    }
}
