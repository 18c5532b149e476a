//! What master and worker pay to speak to each other: tokens and their ring, the card of a
//! connection, the frame of a parcel, and the parcel itself through the kernel. What a master does
//! alone is in `pick.rs`.
//!
//! `cargo bench --bench exchange`

use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dispatchd::limits::{PARCEL_MAX, TOKEN_RING};
use dispatchd::shm::layout::{Card, MasterPage, WorkerPage};
use dispatchd::shm::map::{Mapped, ReadOnly, Writable};
use dispatchd::shm::ring::{Ring, Urgency, after_push};
use dispatchd::sys::scm::{self, Incoming, Patience};
use dispatchd::sys::socket::seqpacket_pair;
use dispatchd::units::{Cpu, Generation, PoolId, SeatId, Ticket, WorkerId};
use dispatchd::wire::link::{Note, Sharing};
use dispatchd::wire::parcel::{self, Header, Kind};
use dispatchd::wire::token::{Say, Token};

/// Tokens that a master finds in a ring when it comes round under load.
const TOKENS: u64 = 32;
/// Tokens of which one half of their way is measured alone: so many that the reading of the clock
/// before and after them does not count.
const TOKENS_ONE_WAY: u64 = 1_024;
/// Connections whose cards are written in turn: as many as a busy master has open.
const CARDS: u32 = 1_024;
/// Descriptors in a message: an offer to a worker that takes one at a time, and a full parcel.
const PARCELS: [u32; 2] = [1, 16];

const _: () = assert!(PARCELS[1] as usize == PARCEL_MAX, "the second parcel is a full one");

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = token, token_ring, card, frame, note, pack
}
criterion_main!(benches);

fn token(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    let done = Token { pool: PoolId(0), say: Say::Done { ticket: ticket(7), service_us: 20 } };
    group.bench_function("encode 1", |bencher| bencher.iter(|| black_box(done).encode()));
    let words = done.encode();
    group.bench_function("decode 1", |bencher| bencher.iter(|| Token::decode(black_box(words))));
    group.finish();
}

fn token_ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let (_, master) = Mapped::<MasterPage, Writable>::create(c"master").expect("there is memory");
    let (_, own) = Mapped::<WorkerPage, Writable>::create(c"worker").expect("there is memory");
    let ring = Ring::to_master(&own, &master.berths[0]);
    let words = Token { pool: PoolId(0), say: Say::Closed(ticket(7)) }.encode();
    let push = |tokens: u64| {
        for _ in 0..tokens {
            ring.push(black_box(words)).expect("it is emptied every time");
        }
        black_box(after_push(ring, &master, Urgency::Whenever, &mut None));
    };
    let mut read = Vec::with_capacity(TOKEN_RING);
    let mut pop = || {
        read.clear();
        ring.drain(TOKEN_RING, &mut read).expect("nobody wrote nonsense");
        black_box(read.len())
    };
    group.throughput(Throughput::Elements(TOKENS));
    group.bench_function("push and pop 32 tokens", |bencher| {
        bencher.iter(|| {
            push(TOKENS);
            pop()
        });
    });
    // The other half of the way belongs to the setup, which is not measured.
    group.throughput(Throughput::Elements(TOKENS_ONE_WAY));
    group.bench_function("push 1024 tokens", |bencher| {
        bencher.iter_batched(&mut pop, |_| push(TOKENS_ONE_WAY), BatchSize::PerIteration);
    });
    pop();
    group.bench_function("pop 1024 tokens", |bencher| {
        bencher.iter_batched(|| push(TOKENS_ONE_WAY), |()| pop(), BatchSize::PerIteration);
    });
    group.finish();
}

/// The card of one connection after the other, as the master notes it from accept to offer, and as
/// the worker that it is offered to looks at it, through a mapping that only reads.
fn card(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("card");
    let (memory, page) =
        Mapped::<MasterPage, Writable>::create(c"master").expect("there is memory");
    let theirs = Mapped::<MasterPage, ReadOnly>::open(&memory).expect("it is as large as a page");
    let mut turn = 0_u32;
    let mut next = || {
        turn = turn.wrapping_add(1);
        Ticket { slot: turn % CARDS, generation: turn }
    };
    group.bench_function("write 1", |bencher| {
        bencher.iter(|| {
            let ticket = next();
            write_card(&page.cards[ticket.index()], black_box(ticket));
        });
    });
    group.bench_function("read 1", |bencher| {
        bencher.iter(|| read_card(&theirs.cards[black_box(next()).index()]));
    });
    group.bench_function("write 1, read 1", |bencher| {
        bencher.iter(|| {
            let ticket = next();
            write_card(&page.cards[ticket.index()], black_box(ticket));
            read_card(&theirs.cards[ticket.index()])
        });
    });
    group.finish();
}

/// Accepted, readable, offered.
fn write_card(card: &Card, ticket: Ticket) {
    let now_ns = u64::from(ticket.generation) * 1_000;
    card.generation.store(ticket.generation, Relaxed);
    card.listener.store(1, Relaxed);
    card.offers.store(0, Relaxed);
    card.accepted_at_ns.store(now_ns, Relaxed);
    card.readable_at_ns.store(now_ns + 100, Relaxed);
    card.owner.store(ticket.slot % 8, Relaxed);
    card.offers.store(card.offers.load(Relaxed).wrapping_add(1), Relaxed);
    card.offered_at_ns.store(now_ns + 200, Relaxed);
}

/// Where it came in, when it is received, and when it was offered, when it is claimed.
fn read_card(card: &Card) -> (u32, u64) {
    (card.listener.load(Relaxed), card.offered_at_ns.load(Relaxed))
}

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for tickets in PARCELS {
        let all: Vec<Ticket> = (0..tickets).map(ticket).collect();
        let mut words = Vec::with_capacity(scm::WORDS_MAX);
        group.throughput(Throughput::Elements(u64::from(tickets)));
        group.bench_function(BenchmarkId::new("encode tickets", tickets), |bencher| {
            bencher.iter(|| encode(black_box(&all), &mut words));
        });
        group.bench_function(BenchmarkId::new("decode tickets", tickets), |bencher| {
            bencher.iter(|| decode(black_box(&words)));
        });
    }
    group.finish();
}

fn encode(tickets: &[Ticket], words: &mut Vec<u64>) {
    words.clear();
    words.push(Header { pool: PoolId(0), kind: Kind::Offer }.encode());
    words.extend(tickets.iter().map(|ticket| ticket.to_word()));
}

/// The sum stands for the use of every ticket.
fn decode(words: &[u64]) -> u32 {
    let (_, tickets) = Header::decode(words, words.len() - 1).expect("we encoded it");
    parcel::tickets(tickets).fold(0, |sum, ticket| sum.wrapping_add(ticket.slot))
}

/// What a worker reads once, when it starts.
fn note(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("note");
    let note = Note {
        pool: PoolId(0),
        seat: SeatId(3),
        worker: WorkerId { berth: 5, epoch: 9 },
        generation: Generation(2),
        cpu: Some(Cpu(1)),
        listeners: 2,
        inherited: 0,
        sharing: Sharing::Own,
    };
    group.bench_function("write 1", |bencher| bencher.iter(|| black_box(note).to_string()));
    let text = note.to_string();
    group.bench_function("read 1", |bencher| bencher.iter(|| Note::parse(black_box(&text))));
    group.finish();
}

/// A parcel through the kernel: packed and sent, then received, and its descriptors closed as a
/// worker closes its connections. Both ends are in one process, so that nobody is woken.
fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scm");
    let (master, worker) = seqpacket_pair().expect("there are descriptors");
    let connection = OwnedFd::from(File::open("/dev/null").expect("every Linux has it"));
    for count in PARCELS {
        let all: Vec<Ticket> = (0..count).map(ticket).collect();
        let fds: Vec<_> = all.iter().map(|_| connection.as_fd()).collect();
        let mut words = Vec::with_capacity(scm::WORDS_MAX);
        encode(&all, &mut words);
        let send = || {
            scm::send_parcel(master.as_fd(), black_box(&words), &fds).expect("there is room");
        };
        let receive = || match scm::recv_parcel(worker.as_fd(), Patience::Now) {
            Ok(Incoming::Parcel(received)) => received,
            other => panic!("no parcel but {other:?}"),
        };
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("pack and send descriptors", count), |bencher| {
            // What was sent before is taken out by the setup, which is not measured.
            send();
            bencher.iter_batched(|| drop(receive()), |()| send(), BatchSize::PerIteration);
            drop(receive());
        });
        group.bench_function(
            BenchmarkId::new("send, receive and close descriptors", count),
            |bencher| {
                bencher.iter(|| {
                    send();
                    let received = receive();
                    decode(&received.words)
                });
            },
        );
    }
    group.finish();
}

const fn ticket(slot: u32) -> Ticket {
    Ticket { slot, generation: 3 }
}
