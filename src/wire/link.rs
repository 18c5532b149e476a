//! The note that a worker finds in its environment: which of its descriptors is what, and who it
//! is. The descriptors begin at 3 and stand in a fixed order.

use std::fmt;

use crate::limits::{LISTENERS_MAX, SEATS_MAX};
use crate::units::{Cpu, Generation, PoolId, SeatId, WorkerId};

/// Name of the environment variable that holds the note.
pub const VARIABLE: &str = "DISPATCHD_LINK";

/// Version of the whole contract: note, messages, pages.
pub const VERSION: u32 = 2;

/// Position of each descriptor behind the first; listeners follow.
pub mod position {
    /// The worker's end of its channel.
    pub const CHANNEL: usize = 0;
    /// The master's memory.
    pub const MASTER: usize = 1;
    /// The worker's own memory.
    pub const OWN: usize = 2;
    /// The eventfd that wakes the master.
    pub const BELL: usize = 3;
    /// The first listener.
    pub const LISTENERS: usize = 4;
}

/// Who a worker is and what it was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Note {
    /// Its pool.
    pub pool: PoolId,
    /// Its place.
    pub seat: SeatId,
    /// Its name.
    pub worker: WorkerId,
    /// Its rollout.
    pub generation: Generation,
    /// The CPU that it binds itself to.
    pub cpu: Option<Cpu>,
    /// How many listeners it was given.
    pub listeners: usize,
    /// How many of these, the first ones, dispatchd was given itself: they are not dispatchd's to
    /// end.
    pub inherited: usize,
    /// Whether those listeners are its own.
    pub sharing: Sharing,
}

/// Whose the listeners are that a worker was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// It was given none: the master accepts.
    None,
    /// All workers have the same.
    Shared,
    /// Each worker has its own (`SO_REUSEPORT`).
    Own,
}

/// A note that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadNote {
    /// Another version of the contract.
    #[error(
        "{VARIABLE} speaks version {found}, this program version {VERSION}: build \
         both from one dispatchd"
    )]
    Version {
        /// The version in the note.
        found: String,
    },
    /// A field is missing or wrong.
    #[error("{VARIABLE} has no good `{field}`: it is set by dispatchd alone, do not set it")]
    Field {
        /// Which one.
        field: &'static str,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharing = match self.sharing {
            Sharing::None => "none",
            Sharing::Shared => "shared",
            Sharing::Own => "own",
        };
        write!(
            f,
            "v={VERSION} pool={} seat={} berth={} epoch={} generation={} listeners={} \
             inherited={} sharing={sharing}",
            self.pool.0,
            self.seat,
            self.worker.berth,
            self.worker.epoch,
            self.generation,
            self.listeners,
            self.inherited
        )?;
        match self.cpu {
            Some(cpu) => write!(f, " cpu={cpu}"),
            None => Ok(()),
        }
    }
}

impl Note {
    /// The same as words of shared memory, which cannot be forged by whoever sets a variable.
    pub fn words(&self) -> [u64; 4] {
        let Self { pool, seat, worker, generation, cpu, listeners, inherited, sharing } = *self;
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let cpu = cpu.map_or(0, |cpu| u32::from(cpu.0) + 1);
        let short = |count: usize| u32::from(u16::try_from(count).unwrap_or(u16::MAX));
        let sharing = match sharing {
            Sharing::None => 0,
            Sharing::Shared => 1,
            Sharing::Own => 2,
        };
        [
            pair(VERSION, u32::from(pool.0) << 16 | u32::from(seat.0)),
            pair(worker.epoch, worker.berth.into()),
            pair(generation.0, cpu),
            pair(sharing, short(inherited) << 16 | short(listeners)),
        ]
    }

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// When the version is another, or a field is missing, malformed or out of range.
    pub fn parse(text: &str) -> Result<Self, BadNote> {
        let fields = Fields(text);
        let version = fields.text("v")?;
        if version != VERSION.to_string() {
            return Err(BadNote::Version { found: version.to_owned() });
        }
        let seat: u16 = fields.number("seat")?;
        let listeners: usize = fields.number("listeners")?;
        let sharing = match fields.text("sharing")? {
            "none" => Sharing::None,
            "shared" => Sharing::Shared,
            "own" => Sharing::Own,
            _ => return Err(BadNote::Field { field: "sharing" }),
        };
        if SEATS_MAX <= usize::from(seat) {
            return Err(BadNote::Field { field: "seat" });
        }
        if LISTENERS_MAX < listeners {
            return Err(BadNote::Field { field: "listeners" });
        }
        let inherited: usize = fields.number("inherited")?;
        if listeners < inherited {
            return Err(BadNote::Field { field: "inherited" });
        }
        Ok(Self {
            pool: PoolId(fields.number("pool")?),
            seat: SeatId(seat),
            worker: WorkerId { berth: fields.number("berth")?, epoch: fields.number("epoch")? },
            generation: Generation(fields.number("generation")?),
            cpu: fields.text("cpu").ok().map(|_| fields.number("cpu")).transpose()?.map(Cpu),
            listeners,
            inherited,
            sharing,
        })
    }
}

struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn text(&self, field: &'static str) -> Result<&'a str, BadNote> {
        self.0
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value)
            .ok_or(BadNote::Field { field })
    }

    fn number<T: std::str::FromStr>(&self, field: &'static str) -> Result<T, BadNote> {
        self.text(field)?.parse().map_err(|_| BadNote::Field { field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: Note = Note {
        pool: PoolId(0),
        seat: SeatId(3),
        worker: WorkerId { berth: 5, epoch: 9 },
        generation: Generation(2),
        cpu: Some(Cpu(1)),
        listeners: 2,
        inherited: 1,
        sharing: Sharing::Own,
    };

    #[test]
    fn a_note_reads_back() {
        for note in
            [NOTE, Note { cpu: None, listeners: 0, inherited: 0, sharing: Sharing::None, ..NOTE }]
        {
            assert_eq!(Note::parse(&note.to_string()), Ok(note));
        }
    }

    #[test]
    fn notes_that_differ_have_other_words() {
        let mut notes = vec![
            NOTE,
            Note { pool: PoolId(1), ..NOTE },
            Note { seat: SeatId(4), ..NOTE },
            Note { worker: WorkerId { berth: 6, epoch: 9 }, ..NOTE },
            Note { worker: WorkerId { berth: 5, epoch: 10 }, ..NOTE },
            Note { generation: Generation(3), ..NOTE },
            Note { cpu: None, ..NOTE },
            Note { cpu: Some(Cpu(0)), ..NOTE },
            Note { listeners: 3, ..NOTE },
            Note { inherited: 2, ..NOTE },
            Note { sharing: Sharing::Shared, ..NOTE },
        ];
        while let Some(note) = notes.pop() {
            assert!(notes.iter().all(|other| other.words() != note.words()), "{note}");
        }
    }

    #[test]
    fn a_wrong_note_is_named() {
        let text = NOTE.to_string();
        let cases = [
            (text.replace("v=2", "v=1"), BadNote::Version { found: "1".to_owned() }),
            (text.replace("seat=3", "seat=900"), BadNote::Field { field: "seat" }),
            (text.replace("berth=5", "berth=x"), BadNote::Field { field: "berth" }),
            (text.replace("cpu=1", "cpu=-1"), BadNote::Field { field: "cpu" }),
            (text.replace("sharing=own", ""), BadNote::Field { field: "sharing" }),
            (String::new(), BadNote::Field { field: "v" }),
        ];
        for (text, error) in cases {
            assert_eq!(Note::parse(&text), Err(error));
        }
    }
}
