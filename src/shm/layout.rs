//! What lies where in the shared pages. Everything is an atomic number, valid whatever it holds,
//! so that a lying peer can write nonsense but never undefined behaviour.

use std::sync::atomic::{AtomicU32, AtomicU64};

use crossbeam_utils::CachePadded;

use crate::limits::{
    MESSAGE_RING, OFFER_ENTRY_RING, TICKETS_MAX, WORKER_DESCRIPTORS_MAX, WORKERS_MAX,
};

/// First word of every page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"dispatch");

/// Words that a worker's handshake is put into.
pub const HANDSHAKE_WORDS: usize = 4;

/// The sizes, and the positions that have changed from one version to another, hashed: two builds
/// that disagree on any of these do not talk.
pub const LAYOUT: u64 = layout_hash();

/// What the master writes.
#[repr(C)]
#[derive(Debug)]
pub struct MasterPage {
    /// Written once.
    pub head: CachePadded<PageHead>,
    /// How long a worker may go on without a master, to finish what it has begun, in nanoseconds.
    /// Written once.
    pub drain_ns: CachePadded<AtomicU64>,
    /// Whether workers must ring, a [`SleepState`], in the two lowest bits; above them which of the
    /// master's sleeps it is: one ring per sleep is enough.
    pub sleep_state: CachePadded<AtomicU32>,
    /// A [`crate::units::GiveBack`].
    pub give_back: CachePadded<AtomicU32>,
    /// How long an idle worker may stay awake, in nanoseconds.
    pub spin_ns: CachePadded<AtomicU32>,
    /// One line per process.
    pub workers: [CachePadded<WorkerLine>; WORKERS_MAX],
    /// What each process is told, by number modulo the ring's size. What is never used takes no
    /// memory.
    pub offer_entries: [[[AtomicU64; 2]; OFFER_ENTRY_RING]; WORKERS_MAX],
    /// One conn record per connection.
    pub conn_records: [ConnRecord; TICKETS_MAX as usize],
}

/// What a worker writes, and, to settle claims, the master.
#[repr(C)]
#[derive(Debug)]
pub struct WorkerPage {
    /// Written once, before the worker's hello.
    pub head: CachePadded<WorkerHead>,
    /// Written by the master, before there is a worker.
    pub handshake: CachePadded<HandshakeLine>,
    /// What it does.
    pub board: CachePadded<Scoreboard>,
    /// How far it has listened.
    pub offer_reader: CachePadded<OfferReader>,
    /// How far it has spoken.
    pub message_writer: CachePadded<MessageWriter>,
    /// The messages, by number modulo the ring's size.
    pub messages: [[AtomicU64; 2]; MESSAGE_RING],
    /// Whose each offered connection is, by the index of its ticket: the one part that both sides
    /// write. What no offer ever touched takes no memory.
    pub claims: [AtomicU64; TICKETS_MAX as usize],
}

/// How a page begins.
#[repr(C)]
#[derive(Debug)]
pub struct PageHead {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`LAYOUT`].
    pub layout: AtomicU64,
}

/// How a worker's page begins.
#[repr(C)]
#[derive(Debug)]
pub struct WorkerHead {
    /// [`MAGIC`], from when the program takes up its link.
    pub magic: AtomicU64,
    /// [`LAYOUT`].
    pub layout: AtomicU64,
    /// Requests that it can have begun at once.
    pub concurrency: AtomicU32,
    /// Connections that it can hold.
    pub connections_max: AtomicU32,
    /// Why it could not be bound to its CPU, as an error number; 0 if it could, or was given none.
    pub pin_errno: AtomicU32,
}

/// What the master gives a worker: see [`super::handshake`].
#[repr(C)]
#[derive(Debug)]
pub struct HandshakeLine {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`LAYOUT`].
    pub layout: AtomicU64,
    /// What the worker's handshake says.
    pub handshake: [AtomicU64; HANDSHAKE_WORDS],
    /// What tells each of its descriptors from all others; 0 where nothing does.
    pub marks: [AtomicU64; WORKER_DESCRIPTORS_MAX],
    /// The process that has taken it; 0 as long as none has.
    pub taken_by: AtomicU32,
}

/// What the master tells one worker.
#[repr(C)]
#[derive(Debug)]
pub struct WorkerLine {
    /// Messages of its ring that have been read.
    pub consumed: AtomicU64,
    /// An [`Order`].
    pub order: AtomicU32,
    /// Offer entries ever written for it.
    pub produced: AtomicU64,
    /// How often the master woke it.
    pub wakes: AtomicU64,
}

/// What a worker shows of its listening to the master.
#[repr(C)]
#[derive(Debug)]
pub struct OfferReader {
    /// Offer entries that have been read.
    pub consumed: AtomicU64,
    /// How often it has gone to sleep and woken up, together: odd while it sleeps.
    pub sleeps: AtomicU64,
}

/// What a worker shows of its speaking to the master, who reads this line in every turn.
#[repr(C)]
#[derive(Debug)]
pub struct MessageWriter {
    /// Messages ever written.
    pub produced: AtomicU64,
    /// Not 0 once it asks to be told to drain: it was sent SIGTERM, or wants to be started anew.
    pub asks_to_leave: AtomicU32,
}

/// One connection. The master alone writes it; the worker that was offered it reads it.
#[repr(C)]
#[derive(Debug)]
pub struct ConnRecord {
    /// Which use of the index.
    pub generation: AtomicU32,
    /// Where it came in.
    pub listener: AtomicU32,
    /// The index of the worker that it was last offered to.
    pub owner: AtomicU32,
    /// Offers made of it.
    pub offers: AtomicU32,
    /// When it was accepted, in nanoseconds of the monotonic clock.
    pub accepted_at_ns: AtomicU64,
    /// When it became readable.
    pub readable_at_ns: AtomicU64,
    /// When it was last offered.
    pub offered_at_ns: AtomicU64,
    reserved: [AtomicU64; 3],
}

/// What a worker says of itself, for whoever looks.
#[repr(C)]
#[derive(Debug)]
pub struct Scoreboard {
    /// Requests begun.
    pub started: AtomicU64,
    /// Requests answered.
    pub finished: AtomicU64,
    /// Connections taken, from the master or from a listener; one that comes back counts again.
    pub accepted: AtomicU64,
    /// Connections open.
    pub connections: AtomicU32,
    /// The CPU that it bound itself to, plus one; 0 for none.
    pub cpu: AtomicU32,
    /// How often it woke the master.
    pub rings: AtomicU64,
    /// Since when a request runs, in nanoseconds of the monotonic clock; 0 when none does.
    pub busy_since_ns: AtomicU64,
    /// Time spent on requests that are answered, in nanoseconds.
    pub busy_ns: AtomicU64,
    /// The squares of these times, in square microseconds.
    pub squares_us2: AtomicU64,
}

/// Whether a worker's message must be followed by a ring of the doorbell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum SleepState {
    /// No: the master looks anyway before it sleeps.
    Awake = 0,
    /// Only when the ring fills up: it has nothing to do that a message could help.
    Content = 1,
    /// Yes: something waits for a message.
    Waiting = 2,
}

impl SleepState {
    /// The state that a page shows; what is unknown wakes.
    pub const fn from_word(word: u32) -> Self {
        match word & 3 {
            0 => Self::Awake,
            1 => Self::Content,
            _ => Self::Waiting,
        }
    }
}

/// What a worker shall do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Order {
    /// Serve.
    Serve = 0,
    /// Take no more, finish, leave.
    Drain = 1,
    /// End at once: SIGTERM comes.
    Terminate = 2,
}

impl Order {
    /// The order that a page shows.
    pub const fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Serve,
            2 => Self::Terminate,
            _ => Self::Drain,
        }
    }
}

const _: () = assert!(size_of::<ConnRecord>() == 64, "a conn record is one cache line");

const fn layout_hash() -> u64 {
    let facts = [
        size_of::<MasterPage>(),
        size_of::<WorkerPage>(),
        std::mem::offset_of!(MasterPage, sleep_state),
        std::mem::offset_of!(MasterPage, workers),
        std::mem::offset_of!(MasterPage, drain_ns),
        std::mem::offset_of!(MasterPage, give_back),
        std::mem::offset_of!(MasterPage, spin_ns),
        std::mem::offset_of!(MasterPage, offer_entries),
        std::mem::offset_of!(MasterPage, conn_records),
        std::mem::offset_of!(WorkerHead, pin_errno),
        std::mem::offset_of!(WorkerPage, handshake),
        std::mem::offset_of!(HandshakeLine, taken_by),
        std::mem::offset_of!(WorkerPage, board),
        std::mem::offset_of!(WorkerPage, message_writer),
        std::mem::offset_of!(MessageWriter, asks_to_leave),
        std::mem::offset_of!(WorkerPage, messages),
        std::mem::offset_of!(WorkerPage, claims),
        std::mem::offset_of!(ConnRecord, offered_at_ns),
        std::mem::offset_of!(WorkerPage, offer_reader),
        std::mem::offset_of!(Scoreboard, busy_since_ns),
        std::mem::offset_of!(Scoreboard, rings),
        std::mem::offset_of!(Scoreboard, busy_ns),
        std::mem::offset_of!(Scoreboard, squares_us2),
        MESSAGE_RING,
        OFFER_ENTRY_RING,
    ];
    // FNV-1a over the facts.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < facts.len() {
        hash = (hash ^ facts[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}
