//! The small values of flags: names out of a list, numbers in a range, lists of CPUs and weights,
//! read strictly, and written back in the same words, so that `check` prints what can be given.

use std::time::Duration;

use crate::config::wrong::Wrong;
use crate::config::{BackendChoice, LogFormat, LogLevel, Pin, Spin, Weights, WorkerCount};
use crate::engine::dispatcher::giveback::Dispatch;
use crate::engine::dispatcher::overload::Overload;
use crate::limits::{BACKLOG_MAX, CPUS_MAX, HOLD_MAX, NAME_MAX, SLOTS_MAX, WEIGHT_MAX};
use crate::units::{Cpu, RouteBy, Span};

/// The words of `--backend`.
pub const BACKENDS: [(&str, BackendChoice); 3] = [
    ("auto", BackendChoice::Auto),
    ("uring", BackendChoice::Uring),
    ("epoll", BackendChoice::Epoll),
];
/// The words of `--dispatch`.
pub const DISPATCHES: [(&str, Dispatch); 3] = [
    ("auto", Dispatch::Auto),
    ("request", Dispatch::Request),
    ("connection", Dispatch::Connection),
];
/// The words of `--spin`.
pub const SPINS: [(&str, Spin); 2] = [("auto", Spin::Auto), ("off", Spin::Off)];
/// The words of `--classes`.
pub const CLASSES: [(&str, Option<RouteBy>); 3] =
    [("off", None), ("path", Some(RouteBy::Path)), ("target", Some(RouteBy::Target))];
/// The words of `--overload`.
pub const OVERLOADS: [(&str, Overload); 2] =
    [("hold", Overload::Hold), ("reject", Overload::Reject)];
/// The words of `--log-level`.
pub const LOG_LEVELS: [(&str, LogLevel); 6] = [
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
/// The words of `--log-format`.
pub const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads a word out of a list of them.
///
/// # Errors
/// The words, and the nearest one.
pub fn one_of<T: Copy>(given: &str, words: &[(&'static str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*value);
    }
    let names = words.iter().map(|(word, _)| *word);
    let allowed: Vec<&str> = names.clone().collect();
    let cure = nearest(given, names).map(|name| format!("did you mean {name}?"));
    Err(Wrong { allowed: allowed.join(", "), cure })
}

/// The word of a value, out of the same list; empty for a value that is not in it.
pub fn word_of<T: Copy + PartialEq>(value: T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, one)| *one == value).map_or("", |(word, _)| word)
}

/// Reads `--name`, which becomes a part of a socket's path.
///
/// # Errors
/// What a name is made of.
pub fn name(given: &str) -> Result<String, Wrong> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if (1..=NAME_MAX).contains(&given.len()) && given.bytes().all(plain) {
        return Ok(given.to_owned());
    }
    Err(Wrong::new(format!("1 to {NAME_MAX} of a-z, 0-9, _ and -")))
}

/// Reads `--workers`.
///
/// # Errors
/// The range.
pub fn workers(given: &str) -> Result<WorkerCount, Wrong> {
    if given == "auto" {
        return Ok(WorkerCount::Auto);
    }
    let most = u16::try_from(SLOTS_MAX).unwrap_or(u16::MAX);
    let wrong = || Wrong::new(format!("auto, or a number from 1 to {most}"));
    let count = number(given, 1, u32::from(most)).ok_or_else(wrong)?;
    u16::try_from(count).map(WorkerCount::Exactly).map_err(|_| wrong())
}

/// Reads `--weight`.
///
/// # Errors
/// The range and the length of the list.
pub fn weights(given: &str) -> Result<Weights, Wrong> {
    if given == "auto" {
        return Ok(Weights::Auto);
    }
    let list: Option<Vec<u32>> =
        given.split(',').map(|part| number(part.trim(), 1, WEIGHT_MAX)).collect();
    list.filter(|list| list.len() <= SLOTS_MAX).map(Weights::Given).ok_or_else(|| {
        Wrong::new(format!("auto, or 1 to {SLOTS_MAX} numbers from 1 to {WEIGHT_MAX} with commas"))
            .or("for example 3,1; workers beyond the list have weight 1")
    })
}

/// Reads `--pin`; whether the CPUs may be used is for the plan to say.
///
/// # Errors
/// What a list of CPUs looks like.
pub fn pin(given: &str) -> Result<Pin, Wrong> {
    match given {
        "auto" => return Ok(Pin::Auto),
        "none" => return Ok(Pin::None),
        _ => {}
    }
    cpus(given).map(Pin::List).ok_or_else(|| {
        Wrong::new(format!("auto, none, or CPUs from 0 to {} such as 0,2,4-7", CPUS_MAX - 1))
            .or(format!("a range goes upwards, and the list names at most {SLOTS_MAX}"))
    })
}

/// Reads `--hold`.
///
/// # Errors
/// The range.
pub fn hold(given: &str) -> Result<u32, Wrong> {
    ranged(given, 1, HOLD_MAX)
}

/// Reads `--socket-mode`.
///
/// # Errors
/// What permission bits look like.
pub fn mode(given: &str) -> Result<u32, Wrong> {
    let octal = given.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let bits = if octal { u32::from_str_radix(given, 8).ok() } else { None };
    let wrong = || Wrong::new("permission bits in octal, up to 0777, such as 0660");
    let bits = bits.filter(|bits| *bits <= 0o777).ok_or_else(wrong)?;
    if bits & 0o200 == 0 {
        return Err(
            wrong().or("0200 has to be among them: dispatchd asks by it whether somebody listens")
        );
    }
    Ok(bits)
}

/// Permission bits as `--socket-mode` takes them.
pub fn mode_text(mode: u32) -> String {
    format!("{mode:04o}")
}

/// An owner as `--socket-owner` takes it.
pub fn owner_text(user: Option<u32>, group: Option<u32>) -> String {
    let user = user.map_or_else(String::new, |user| user.to_string());
    group.map_or_else(|| user.clone(), |group| format!("{user}:{group}"))
}

/// Reads `--backlog`.
///
/// # Errors
/// The range.
pub fn backlog(given: &str) -> Result<u32, Wrong> {
    ranged(given, 1, BACKLOG_MAX)
}

/// Reads a pause in seconds, with or without decimals.
///
/// # Errors
/// The range.
pub fn seconds(given: &str, least: Span, most: Span) -> Result<Span, Wrong> {
    let plain = given.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: Option<f64> = if plain { given.parse().ok() } else { None };
    let pause = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    let pause = pause.and_then(|pause| u64::try_from(pause.as_nanos()).ok()).map(Span::from_ns);
    pause.filter(|pause| (least..=most).contains(pause)).ok_or_else(|| {
        let in_seconds = |span: Span| span.as_ms_ceil() as f64 / 1e3;
        Wrong::new(format!("seconds from {} to {}", in_seconds(least), in_seconds(most)))
    })
}

/// The weights, as `--weight` takes them; `equal` when none were given.
pub fn weights_text(weights: &Weights) -> String {
    match weights {
        Weights::Equal => "equal".to_owned(),
        Weights::Auto => "auto".to_owned(),
        Weights::Given(list) => joined(list),
    }
}

/// The pinning, as `--pin` takes it.
pub fn pin_text(pin: &Pin) -> String {
    match pin {
        Pin::Auto => "auto".to_owned(),
        Pin::None => "none".to_owned(),
        Pin::List(cpus) => joined(cpus),
    }
}

/// The number of workers, as `--workers` takes it.
pub fn workers_text(workers: WorkerCount) -> String {
    match workers {
        WorkerCount::Auto => "auto".to_owned(),
        WorkerCount::Exactly(count) => count.to_string(),
    }
}

/// The values with commas between.
pub(crate) fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// A number of digits only, within the bounds; `+1`, ` 1` and `1e3` are none.
pub(crate) fn number(given: &str, least: u32, most: u32) -> Option<u32> {
    let digits = given.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| given.parse().ok()).flatten()?;
    (least..=most).contains(&number).then_some(number)
}

/// The candidate that takes the fewest changes, if those are few for its length.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    candidates
        .map(|name| (changes(&given, name), name))
        .filter(|(changes, name)| *changes <= name.len() / 3 || *changes == 0)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

fn ranged(given: &str, least: u32, most: u32) -> Result<u32, Wrong> {
    let wrong = || Wrong::new(format!("a number from {least} to {most}"));
    number(given, least, most).ok_or_else(wrong)
}

fn cpus(given: &str) -> Option<Vec<Cpu>> {
    let mut cpus = Vec::new();
    let parse = |text: &str| {
        let number = number(text.trim(), 0, u32::from(CPUS_MAX) - 1)?;
        u16::try_from(number).ok()
    };
    for part in given.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (parse(first)?, parse(last)?);
        cpus.extend((first..=last).map(Cpu));
        if first > last || cpus.len() > SLOTS_MAX {
            return None;
        }
    }
    Some(cpus)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to another.
fn changes(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    if from.len() > 2 * to.len() + 2 {
        return from.len() - to.len();
    }
    let mut above: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let kept = row[j] + usize::from(a != b);
            let mut best = kept.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(above[j - 1] + 1);
            }
            next.push(best);
        }
        above = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted() {
        for (from, to, count) in [
            ("", "", 0),
            ("rr", "rr", 0),
            ("", "rr", 2),
            ("eopll", "epoll", 1),
            ("uing", "uring", 1),
            ("abc", "xyz", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(changes(from, to), count, "{from} {to}");
        }
    }

    #[test]
    fn words_are_read_and_written() {
        for (word, value) in LOG_LEVELS {
            assert_eq!(one_of(word, &LOG_LEVELS), Ok(value));
            assert_eq!(word_of(value, &LOG_LEVELS), word);
        }
        let wrong = one_of("EPOL", &BACKENDS).unwrap_err();
        assert_eq!(wrong, Wrong::new("auto, uring, epoll").or("did you mean epoll?"));
        assert_eq!(one_of("kqueue", &BACKENDS), Err(Wrong::new("auto, uring, epoll")));
    }

    #[test]
    fn lists_of_cpus_are_read_and_written() {
        for (given, text) in [("0", "0"), ("0,2,4-7", "0,2,4,5,6,7"), ("3, 1 - 2", "3,1,2")] {
            assert_eq!(pin_text(&pin(given).unwrap()), text);
        }
        for given in ["", ",", "1,", "2-1", "1024", "-1", "1-", "0-256", "a", "0x1", "auto,1"] {
            assert_eq!(cpus(given), None, "{given}");
        }
    }

    #[test]
    fn numbers_are_digits_in_their_range() {
        assert_eq!(workers("auto"), Ok(WorkerCount::Auto));
        assert_eq!(workers("256"), Ok(WorkerCount::Exactly(256)));
        assert_eq!(weights("3, 1"), Ok(Weights::Given(vec![3, 1])));
        assert_eq!(hold("65536"), Ok(65_536));
        for given in ["", "0", "+1", "-1", "1.5", "257", "4294967297", "two", " 1"] {
            assert_eq!(workers(given).unwrap_err().allowed, "auto, or a number from 1 to 256");
        }
        for given in ["", "0", "65537", "1k"] {
            assert_eq!(hold(given).unwrap_err().allowed, "a number from 1 to 65536");
        }
        for given in ["", "0", "1,,2", "1001", "3:1", "1,-1"] {
            weights(given).unwrap_err();
        }
        weights(&vec!["1"; SLOTS_MAX + 1].join(",")).unwrap_err();
    }

    #[test]
    fn names_fit_into_a_path() {
        for given in ["a", "default", "api-2_b", &"a".repeat(64)] {
            assert_eq!(name(given).as_deref(), Ok(given));
        }
        for given in ["", "A", "a/b", "..", "a b", "\u{e9}", &"a".repeat(65)] {
            name(given).unwrap_err();
        }
    }
}
