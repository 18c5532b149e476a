//! The shape of the log: text for people, JSON for machines, both into the master's own buffer,
//! which never waits for a reader.

use tracing_subscriber::filter::LevelFilter;

use super::term;
use crate::config::{Log, LogFormat, LogLevel};
use crate::master::telemetry::LogWriter;

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
