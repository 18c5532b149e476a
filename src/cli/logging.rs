//! The shape of the log: text for people, JSON for machines, both into the master's own buffer,
//! which never waits for a reader.

use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::term;
use crate::config::{Log, LogFormat, LogLevel};
use crate::master::escape;
use crate::master::telemetry::{self, LogWriter};

/// Sets the process up to log. To be called once.
pub(super) fn start(log: Log) {
    let level = match log.level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let terminal = term::stderr_is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| LogWriter)
        .with_target(false);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Auto => builder.with_ansi(terminal).init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
}

/// Says why it ends, whatever the level is.
pub(super) fn last_word(format: LogFormat, text: &str) {
    telemetry::last_line(&match format {
        LogFormat::Json => json_line(text),
        LogFormat::Auto | LogFormat::Text => term::complaint(text),
    });
}

/// A line as the subscriber writes them.
fn json_line(text: &str) -> String {
    let mut timestamp = String::new();
    SystemTime.format_time(&mut Writer::new(&mut timestamp)).unwrap_or_default();
    let message = escape::text(text);
    format!("{}\n", json!({ "timestamp": timestamp, "level": "ERROR", "message": message }))
}
