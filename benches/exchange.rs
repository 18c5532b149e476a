//! What master and worker pay to speak to each other: messages and their ring, the conn record of a
//! connection, the frame of a batch, and the batch itself through the kernel. What a master does
//! alone is in `pick.rs`.
//!
//! `cargo bench --bench exchange`

use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dispatchd::limits::{BATCH_MAX, MESSAGE_RING};
use dispatchd::shm::layout::{ConnRecord, MasterPage, WorkerPage};
use dispatchd::shm::map::{Mapped, ReadOnly, Writable};
use dispatchd::shm::ring::{Ring, Urgency, after_push};
use dispatchd::sys::scm::{self, Incoming, RecvWait};
use dispatchd::sys::socket::seqpacket_pair;
use dispatchd::units::{AppId, Cpu, Generation, SlotId, Ticket, WorkerId};
use dispatchd::wire::batch::{self, BatchKind, Header};
use dispatchd::wire::handshake::{Handshake, ListenerSharing};
use dispatchd::wire::message::{RingMessage, WorkerMessage};

/// Messages that a master finds in a ring when it comes round under load.
const TOKENS: u64 = 32;
/// Messages of which one half of their way is measured alone: so many that the reading of the clock
/// before and after them does not count.
const MESSAGES_ONE_WAY: u64 = 1_024;
/// Connections whose conn records are written in turn: as many as a busy master has open.
const CONN_RECORDS: u32 = 1_024;
/// Descriptors in a message: an offer to a worker that takes one at a time, and a full batch.
const BATCHES: [u32; 2] = [1, 16];

const _: () = assert!(BATCHES[1] as usize == BATCH_MAX, "the second batch is a full one");

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = message, token_ring, conn_record, frame, note, pack
}
criterion_main!(benches);

fn message(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    let done = RingMessage {
        app: AppId(0),
        message: WorkerMessage::Done { ticket: ticket(7), service_us: 20 },
    };
    group.bench_function("encode 1", |bencher| bencher.iter(|| black_box(done).encode()));
    let words = done.encode();
    group.bench_function("decode 1", |bencher| {
        bencher.iter(|| RingMessage::decode(black_box(words)));
    });
    group.finish();
}

fn token_ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let (_, master) = Mapped::<MasterPage, Writable>::create(c"master").expect("there is memory");
    let (_, own) = Mapped::<WorkerPage, Writable>::create(c"worker").expect("there is memory");
    let ring = Ring::to_master(&own, &master.workers[0]);
    let words = RingMessage { app: AppId(0), message: WorkerMessage::Closed(ticket(7)) }.encode();
    let push = |messages: u64| {
        for _ in 0..messages {
            ring.push(black_box(words)).expect("it is emptied every time");
        }
        black_box(after_push(ring, &master, Urgency::Whenever, &mut None));
    };
    let mut read = Vec::with_capacity(MESSAGE_RING);
    let mut pop = || {
        read.clear();
        ring.drain(MESSAGE_RING, &mut read).expect("nobody wrote nonsense");
        black_box(read.len())
    };
    group.throughput(Throughput::Elements(TOKENS));
    group.bench_function("push and pop 32 messages", |bencher| {
        bencher.iter(|| {
            push(TOKENS);
            pop()
        });
    });
    // The other half of the way belongs to the setup, which is not measured.
    group.throughput(Throughput::Elements(MESSAGES_ONE_WAY));
    group.bench_function("push 1024 messages", |bencher| {
        bencher.iter_batched(&mut pop, |_| push(MESSAGES_ONE_WAY), BatchSize::PerIteration);
    });
    pop();
    group.bench_function("pop 1024 messages", |bencher| {
        bencher.iter_batched(|| push(MESSAGES_ONE_WAY), |()| pop(), BatchSize::PerIteration);
    });
    group.finish();
}

/// The conn record of one connection after the other, as the master notes it from accept to offer,
/// and as the worker that it is offered to looks at it, through a mapping that only reads.
fn conn_record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conn_record");
    let (memory, page) =
        Mapped::<MasterPage, Writable>::create(c"master").expect("there is memory");
    let theirs = Mapped::<MasterPage, ReadOnly>::open(&memory).expect("it is as large as a page");
    let mut turn = 0_u32;
    let mut next = || {
        turn = turn.wrapping_add(1);
        Ticket { index: turn % CONN_RECORDS, generation: turn }
    };
    group.bench_function("write 1", |bencher| {
        bencher.iter(|| {
            let ticket = next();
            write_conn_record(&page.conn_records[ticket.index()], black_box(ticket));
        });
    });
    group.bench_function("read 1", |bencher| {
        bencher.iter(|| read_conn_record(&theirs.conn_records[black_box(next()).index()]));
    });
    group.bench_function("write 1, read 1", |bencher| {
        bencher.iter(|| {
            let ticket = next();
            write_conn_record(&page.conn_records[ticket.index()], black_box(ticket));
            read_conn_record(&theirs.conn_records[ticket.index()])
        });
    });
    group.finish();
}

/// Accepted, readable, offered.
fn write_conn_record(conn_record: &ConnRecord, ticket: Ticket) {
    let now_ns = u64::from(ticket.generation) * 1_000;
    conn_record.generation.store(ticket.generation, Relaxed);
    conn_record.listener.store(1, Relaxed);
    conn_record.offers.store(0, Relaxed);
    conn_record.accepted_at_ns.store(now_ns, Relaxed);
    conn_record.readable_at_ns.store(now_ns + 100, Relaxed);
    conn_record.owner.store(ticket.index % 8, Relaxed);
    conn_record.offers.store(conn_record.offers.load(Relaxed).wrapping_add(1), Relaxed);
    conn_record.offered_at_ns.store(now_ns + 200, Relaxed);
}

/// Where it came in, when it is received, and when it was offered, when it is claimed.
fn read_conn_record(conn_record: &ConnRecord) -> (u32, u64) {
    (conn_record.listener.load(Relaxed), conn_record.offered_at_ns.load(Relaxed))
}

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for tickets in BATCHES {
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
    words.push(Header { app: AppId(0), kind: BatchKind::Offer }.encode());
    words.extend(tickets.iter().map(|ticket| ticket.to_word()));
}

/// The sum stands for the use of every ticket.
fn decode(words: &[u64]) -> u32 {
    let (_, tickets) = Header::decode(words, words.len() - 1).expect("we encoded it");
    batch::tickets(tickets).fold(0, |sum, ticket| sum.wrapping_add(ticket.index))
}

/// What a worker reads once, when it starts.
fn note(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("note");
    let note = Handshake {
        app: AppId(0),
        slot: SlotId(3),
        worker: WorkerId { index: 5, epoch: 9 },
        generation: Generation(2),
        cpu: Some(Cpu(1)),
        listeners: 2,
        inherited: 0,
        sharing: ListenerSharing::Own,
    };
    group.bench_function("write 1", |bencher| bencher.iter(|| black_box(note).to_string()));
    let text = note.to_string();
    group.bench_function("read 1", |bencher| bencher.iter(|| Handshake::parse(black_box(&text))));
    group.finish();
}

/// A batch through the kernel: packed and sent, then received, and its descriptors closed as a
/// worker closes its connections. Both ends are in one process, so that nobody is woken.
fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scm");
    let (master, worker) = seqpacket_pair().expect("there are descriptors");
    let connection = OwnedFd::from(File::open("/dev/null").expect("every Linux has it"));
    for count in BATCHES {
        let all: Vec<Ticket> = (0..count).map(ticket).collect();
        let fds: Vec<_> = all.iter().map(|_| connection.as_fd()).collect();
        let mut words = Vec::with_capacity(scm::WORDS_MAX);
        encode(&all, &mut words);
        let send = || {
            scm::send_batch(master.as_fd(), black_box(&words), &fds).expect("there is room");
        };
        let receive = || match scm::recv_batch(worker.as_fd(), RecvWait::Now) {
            Ok(Incoming::Batch(received)) => received,
            other => panic!("no batch but {other:?}"),
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

const fn ticket(index: u32) -> Ticket {
    Ticket { index, generation: 3 }
}
