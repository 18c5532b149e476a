//! A trace as a file: one line of JSON that says what it is and how long, then a line per request,
//! so that it can be read, cut and made by anything that knows text.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Trace, TraceRequest, TraceSpec};
use crate::limits::TRACE_REQUESTS_MAX;
use crate::units::Span;

/// The first line.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TraceHead {
    format: String,
    spec: TraceSpec,
    requests: u64,
}

const FORMAT: &str = "dispatchd-trace/1";

/// Why a file is no trace, or could not be made one.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the trace {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the trace {path}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first line does not say that it is one.
    #[error("{path} is not a trace: its first line is not that of a {FORMAT} file",
        path = path.display())]
    Head {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It is one of another version.
    #[error("{path} is a trace of the format '{format}'; this version reads {FORMAT}",
        path = path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// Its own word.
        format: String,
    },
    /// A line is no request.
    #[error("{path}, line {line}: a request is AT_NS,CLASS,SERVICE_NS,CONNECTION in ascending \
        order, classes and connections counted from 0", path = path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// There are fewer or more lines than the first one promises.
    #[error("{path} is cut off: it has {found} of {promised} requests", path = path.display())]
    Cut {
        /// Which.
        path: PathBuf,
        /// How many there are.
        found: u64,
        /// How many there should be.
        promised: u64,
    },
}

impl Trace {
    /// Writes the trace.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let requests = self.requests.len() as u64;
        let head = TraceHead { format: FORMAT.to_owned(), spec: self.spec.clone(), requests };
        let mut text = serde_json::to_string(&head).expect("plain data becomes JSON");
        for request in &self.requests {
            let TraceRequest { at, service, connection, class } = request;
            let (at, service) = (at.as_ns(), service.as_ns());
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{at},{class},{service},{connection}");
        }
        text.push('\n');
        let failed = |source| FileError::Write { path: path.to_owned(), source };
        fs::write(path, text).map_err(failed)
    }

    /// Reads a trace.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read { path: path.to_owned(), source };
        Self::parse(path, &fs::read_to_string(path).map_err(failed)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let path = || path.to_owned();
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let head: TraceHead = serde_json::from_str(first)
            .map_err(|source| FileError::Head { path: path(), source })?;
        if head.format != FORMAT {
            return Err(FileError::Format { path: path(), format: head.format });
        }
        let mut requests = Vec::new();
        let mut connections = 0;
        for (line, text) in (2..).zip(rest.lines()) {
            let request = parse_request(text)
                .filter(|request| usize::from(request.class) < head.spec.mix.classes.len())
                .filter(|request| request.connection <= connections)
                .filter(|request| {
                    requests.last().is_none_or(|last: &TraceRequest| last.at <= request.at)
                })
                .ok_or_else(|| FileError::Line { path: path(), line })?;
            connections = connections.max(request.connection + 1);
            requests.push(request);
        }
        let (found, promised) = (requests.len() as u64, head.requests);
        if found != promised || found == 0 || TRACE_REQUESTS_MAX < found {
            return Err(FileError::Cut { path: path(), found, promised });
        }
        Ok(Self { spec: head.spec, requests })
    }
}

fn parse_request(line: &str) -> Option<TraceRequest> {
    let mut words = line.split(',');
    let mut number = || words.next()?.parse::<u64>().ok();
    let at = Span::from_ns(number()?);
    let class = u16::try_from(number()?).ok()?;
    let service = Span::from_ns(number()?);
    let connection = u32::try_from(number()?).ok()?;
    words.next().is_none().then_some(TraceRequest { at, service, connection, class })
}

#[cfg(test)]
mod tests {
    use super::super::super::mix::{Mix, Service};
    use super::super::{Arrivals, Connections};
    use super::*;

    fn trace() -> Trace {
        let spec = TraceSpec {
            seed: 3,
            mix: Mix::named("ln15", Service::Spin, 1.0).unwrap(),
            arrivals: Arrivals::Poisson,
            connections: Connections::KeepAlive { requests: 5.0, think_ms: 3.0 },
            rate: 500.0,
            requests: 300,
            ramp_s: 0.0,
        };
        Trace::draw(spec).unwrap()
    }

    #[test]
    fn a_saved_trace_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let trace = trace();
        trace.save(&path).unwrap();
        assert_eq!(Trace::load(&path).unwrap(), trace);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        trace().save(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let cut = lines[..50].join("\n");
        let half = &text[..text.len() - 5];
        let swapped = text.replace(lines[7], lines[200]);
        let other = text.replacen("trace/1", "trace/9", 1);
        for (text, word) in [
            ("", "is not a trace"),
            ("{}", "is not a trace"),
            (&other, "format 'dispatchd-trace/9'"),
            (&cut, "it has 49 of"),
            (half, "line "),
            (&swapped, "line "),
        ] {
            let error = Trace::parse(&path, text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        let missing = Trace::load(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the trace"), "{missing}");
        let nowhere = trace().save(&folder.path().join("no/where")).unwrap_err().to_string();
        assert!(nowhere.starts_with("cannot write the trace"), "{nowhere}");
    }
}
