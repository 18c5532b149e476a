//! The handshake that a worker finds in its environment: which of its descriptors is what, and who
//! it is. The descriptors begin at 3 and stand in a fixed order.

use std::fmt;

use crate::limits::{LISTENERS_MAX, SLOTS_MAX};
use crate::units::{AppId, Cpu, Generation, SlotId, WorkerId};

/// Name of the environment variable that holds the handshake.
pub const VARIABLE: &str = "DISPATCHD_LINK";

/// Version of the whole contract: handshake, messages, pages.
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
    pub const DOORBELL: usize = 3;
    /// The first listener.
    pub const LISTENERS: usize = 4;
}

/// Who a worker is and what it was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handshake {
    /// Its app.
    pub app: AppId,
    /// Its place.
    pub slot: SlotId,
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
    pub sharing: ListenerSharing,
}

/// Whose the listeners are that a worker was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListenerSharing {
    /// It was given none: the master accepts.
    None,
    /// All workers have the same.
    Shared,
    /// Each worker has its own (`SO_REUSEPORT`).
    Own,
}

/// A handshake that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadHandshake {
    /// Another version of the contract.
    #[error(
        "{VARIABLE} speaks version {found}, this program version {VERSION}: build \
         both from one dispatchd"
    )]
    Version {
        /// The version in the handshake.
        found: String,
    },
    /// A field is missing or wrong.
    #[error("{VARIABLE} has no good `{field}`: it is set by dispatchd alone, do not set it")]
    Field {
        /// Which one.
        field: &'static str,
    },
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharing = match self.sharing {
            ListenerSharing::None => "none",
            ListenerSharing::Shared => "shared",
            ListenerSharing::Own => "own",
        };
        write!(
            f,
            "v={VERSION} pool={} seat={} berth={} epoch={} generation={} listeners={} \
             inherited={} sharing={sharing}",
            self.app.0,
            self.slot,
            self.worker.index,
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

impl Handshake {
    /// The same as words of shared memory, which cannot be forged by whoever sets a variable.
    pub fn words(&self) -> [u64; 4] {
        let Self { app, slot, worker, generation, cpu, listeners, inherited, sharing } = *self;
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let cpu = cpu.map_or(0, |cpu| u32::from(cpu.0) + 1);
        let short = |count: usize| u32::from(u16::try_from(count).unwrap_or(u16::MAX));
        let sharing = match sharing {
            ListenerSharing::None => 0,
            ListenerSharing::Shared => 1,
            ListenerSharing::Own => 2,
        };
        [
            pair(VERSION, u32::from(app.0) << 16 | u32::from(slot.0)),
            pair(worker.epoch, worker.index.into()),
            pair(generation.0, cpu),
            pair(sharing, short(inherited) << 16 | short(listeners)),
        ]
    }

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// When the version is another, or a field is missing, malformed or out of range.
    pub fn parse(text: &str) -> Result<Self, BadHandshake> {
        let fields = HandshakeFields(text);
        let version = fields.text("v")?;
        if version != VERSION.to_string() {
            return Err(BadHandshake::Version { found: version.to_owned() });
        }
        let slot: u16 = fields.number("seat")?;
        let listeners: usize = fields.number("listeners")?;
        let sharing = match fields.text("sharing")? {
            "none" => ListenerSharing::None,
            "shared" => ListenerSharing::Shared,
            "own" => ListenerSharing::Own,
            _ => return Err(BadHandshake::Field { field: "sharing" }),
        };
        if SLOTS_MAX <= usize::from(slot) {
            return Err(BadHandshake::Field { field: "seat" });
        }
        if LISTENERS_MAX < listeners {
            return Err(BadHandshake::Field { field: "listeners" });
        }
        let inherited: usize = fields.number("inherited")?;
        if listeners < inherited {
            return Err(BadHandshake::Field { field: "inherited" });
        }
        Ok(Self {
            app: AppId(fields.number("pool")?),
            slot: SlotId(slot),
            worker: WorkerId { index: fields.number("berth")?, epoch: fields.number("epoch")? },
            generation: Generation(fields.number("generation")?),
            cpu: fields.text("cpu").ok().map(|_| fields.number("cpu")).transpose()?.map(Cpu),
            listeners,
            inherited,
            sharing,
        })
    }
}

struct HandshakeFields<'a>(&'a str);

impl<'a> HandshakeFields<'a> {
    fn text(&self, field: &'static str) -> Result<&'a str, BadHandshake> {
        self.0
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value)
            .ok_or(BadHandshake::Field { field })
    }

    fn number<T: std::str::FromStr>(&self, field: &'static str) -> Result<T, BadHandshake> {
        self.text(field)?.parse().map_err(|_| BadHandshake::Field { field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: Handshake = Handshake {
        app: AppId(0),
        slot: SlotId(3),
        worker: WorkerId { index: 5, epoch: 9 },
        generation: Generation(2),
        cpu: Some(Cpu(1)),
        listeners: 2,
        inherited: 1,
        sharing: ListenerSharing::Own,
    };

    #[test]
    fn a_note_reads_back() {
        for handshake in [
            NOTE,
            Handshake {
                cpu: None,
                listeners: 0,
                inherited: 0,
                sharing: ListenerSharing::None,
                ..NOTE
            },
        ] {
            assert_eq!(Handshake::parse(&handshake.to_string()), Ok(handshake));
        }
    }

    #[test]
    fn notes_that_differ_have_other_words() {
        let mut notes = vec![
            NOTE,
            Handshake { app: AppId(1), ..NOTE },
            Handshake { slot: SlotId(4), ..NOTE },
            Handshake { worker: WorkerId { index: 6, epoch: 9 }, ..NOTE },
            Handshake { worker: WorkerId { index: 5, epoch: 10 }, ..NOTE },
            Handshake { generation: Generation(3), ..NOTE },
            Handshake { cpu: None, ..NOTE },
            Handshake { cpu: Some(Cpu(0)), ..NOTE },
            Handshake { listeners: 3, ..NOTE },
            Handshake { inherited: 2, ..NOTE },
            Handshake { sharing: ListenerSharing::Shared, ..NOTE },
        ];
        while let Some(handshake) = notes.pop() {
            assert!(notes.iter().all(|other| other.words() != handshake.words()), "{handshake}");
        }
    }

    #[test]
    fn a_wrong_note_is_named() {
        let text = NOTE.to_string();
        let cases = [
            (text.replace("v=2", "v=1"), BadHandshake::Version { found: "1".to_owned() }),
            (text.replace("seat=3", "seat=900"), BadHandshake::Field { field: "seat" }),
            (text.replace("berth=5", "berth=x"), BadHandshake::Field { field: "berth" }),
            (text.replace("cpu=1", "cpu=-1"), BadHandshake::Field { field: "cpu" }),
            (text.replace("sharing=own", ""), BadHandshake::Field { field: "sharing" }),
            (String::new(), BadHandshake::Field { field: "v" }),
        ];
        for (text, error) in cases {
            assert_eq!(Handshake::parse(&text), Err(error));
        }
    }
}
