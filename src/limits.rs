//! Every bound in the program, in one place, with the relations that must hold between them.
//! A full queue is a decision somewhere else; how full is decided here.

use crate::units::Span;

/// Slots (wanted workers) of an app.
pub const SLOTS_MAX: usize = 256;
/// Worker processes alive at once: a slot has two while a replacement is on its way.
pub const WORKERS_MAX: usize = 2 * SLOTS_MAX;
/// Listeners of an app, inherited ones included.
pub const LISTENERS_MAX: usize = 64;
/// Connections in the ledger (watched, held, offered, open and parked together).
pub const TICKETS_MAX: u32 = 131_072;
/// Connections that wait in the master, watched or held, unless `--hold` says otherwise.
pub const HOLD_DEFAULT: u32 = 8_192;
/// Greatest `--hold`.
pub const HOLD_MAX: u32 = 65_536;
/// Connections that wait in the kernel, per listener, unless `--backlog` says otherwise; the kernel
/// cuts it to net.core.somaxconn.
pub const BACKLOG_DEFAULT: u32 = 4_096;
/// Accepts in flight per listener: the brake on taking more than can be placed.
pub const ACCEPT_BATCH: u32 = 64;
/// Descriptors in one handoff message; the cost is per message, and 16 is where it levels out.
pub const BATCH_MAX: usize = 16;
/// Greatest depth of `jbsq:n`. Three and more are worth nothing but where requests are shorter than
/// the way to a worker (scheduling.md, T4; decision 013).
pub const JBSQ_DEPTH_MAX: u32 = 64;
/// Greatest depth that `jbsq` chooses by itself: with requests of 3 us what is behind them waits no
/// longer than [`WAIT_AT_WORKER`].
pub const JBSQ_AUTO_DEPTH_MAX: u32 = 32;
/// What waits at a worker behind requests of common length waits no longer than this, or than it
/// takes to get there; as many requests are sent there, two at least.
pub const WAIT_AT_WORKER: Span = Span::from_us(100);
/// Greatest weight of `--weight`.
pub const WEIGHT_MAX: u32 = 1_000;
/// CPUs that can be named: the kernel's fixed-size mask, which pinning uses, holds no more.
pub const CPUS_MAX: u16 = 1_024;
/// Characters of `--name`.
pub const NAME_MAX: usize = 64;
/// Bytes of a unix socket's path, without the closing NUL that the kernel counts too.
pub const UNIX_PATH_MAX: usize = 107;
/// Greatest `--backlog`; the kernel cuts it to `net.core.somaxconn` anyway.
pub const BACKLOG_MAX: u32 = 65_535;
/// Tries to listen on an address that is in use, and the pause between them: who was killed has it
/// for a moment longer.
pub const LISTEN_TRIES: u32 = 10;
/// See [`LISTEN_TRIES`].
pub const LISTEN_PAUSE: Span = Span::from_ms(30);
/// Longest `--start-timeout` and `--drain-timeout`.
pub const TIMEOUT_MAX: Span = Span::from_s(86_400);
/// Greatest concurrency that a worker may announce.
pub const CONCURRENCY_MAX: u32 = 65_536;
/// Descriptors that a worker is given: its channel, two pages, its doorbell, and listeners.
pub const WORKER_DESCRIPTORS_MAX: usize = 4 + LISTENERS_MAX;
/// Descriptors that a worker keeps for itself, below its limit of open files.
pub const WORKER_SPARE_DESCRIPTORS: u32 = 32;
/// Descriptors that the master keeps for itself: ring, log, control, what starting a worker takes
/// for a moment, and [`LATE_OUTPUTS_SPARE`].
pub const MASTER_SPARE_DESCRIPTORS: u32 = 72;

/// Tokens in a worker's ring. A power of two.
pub const MESSAGE_RING: usize = 4_096;
/// How long an idle worker stays awake at most, and no longer than four times what its waking
/// takes (decision 015).
pub const SPIN_MAX: Span = Span::from_us(150);
/// Tokens in the ring towards a worker. A power of two; what finds it full waits in the master.
pub const OFFER_ENTRY_RING: usize = 1_024;
/// Unread messages at which a worker wakes even a master that has nothing to place.
pub const MESSAGE_RING_DOORBELL: usize = MESSAGE_RING / 2;
/// Tokens taken from one worker in one turn, so that a flood starves nobody.
pub const MESSAGES_PER_TURN: usize = MESSAGE_RING;

/// A request that has waited for so long is looked at before it is begun: its client may have given
/// up. Nobody gives up sooner, and what does not wait costs no look.
pub const LOOK_AFTER: Span = Span::from_ms(10);
/// An offer unclaimed for so long is taken back.
pub const RECALL_AFTER: Span = Span::from_ms(10);
/// The same under policies of fixed shares, and only from a worker that serves nothing: a hiccup
/// must not change the shares.
pub const RECALL_AFTER_FIXED: Span = Span::from_ms(500);
/// How often the former doubles, while workers come for their offers and find them taken back:
/// where all are slow, nobody would get anything otherwise.
pub const RECALL_DOUBLINGS_MAX: u32 = 6;
/// What waits behind a running request goes to an idle worker after the gap, and not before this.
pub const REBALANCE_AFTER_MIN: Span = Span::from_us(50);
/// Once the app stops, a client that has said nothing for so long is let go.
pub const SILENT_AFTER_STOP: Span = Span::from_ms(500);
/// A client that has sent nothing for so long is closed when others find no room.
pub const SILENT_AFTER_FULL: Span = Span::from_s(1);
/// Reads of what a client has sent that is refused; what they leave turns the end into a reset.
pub const REFUSAL_READS_MAX: usize = 4;
/// A worker that serves nothing and leaves offers unclaimed for so long is replaced.
pub const STALL_TIMEOUT: Span = Span::from_s(30);
/// A connection that was given back and asks for nothing for so long is closed by the master, and
/// one that stays with a blocking worker by that.
pub const PARKED_AFTER: Span = Span::from_s(75);
/// How often the master looks at what requests cost, in order to decide whether to spread them.
pub const SPREAD_EVERY: Span = Span::from_ms(50);
/// The same while no request ends.
pub const SPREAD_EVERY_IDLE: Span = Span::from_ms(500);
/// The time over which the workers' load is averaged for that.
pub const SPREAD_LOAD_OVER: Span = Span::from_ms(500);
/// The wait of a request at its connection's worker, on average, from which on each is worth a way
/// through the master.
pub const SPREAD_ABOVE: Span = Span::from_us(50);
/// Below this it is not; between the two it stays as it was.
pub const SPREAD_BELOW: Span = Span::from_us(25);
/// Routes whose service time is remembered.
pub const ROUTES_MAX: usize = 1_024;
/// Bytes of a request that are looked at for its route.
pub const ROUTE_PEEK: usize = 1_024;
/// A route is long from so many 256ths of octaves above what is common: 2.8 times.
pub const LONG_ABOVE: u64 = 384;
/// It is no longer below so many: 2 times.
pub const LONG_BELOW: u64 = 256;
/// A long request that has waited so many times its length goes before short ones.
pub const LONG_PATIENCE: u64 = 3;
/// It does so after this in any case: behind one that is very long the next one does not wait for
/// as long.
pub const LONG_PATIENCE_MAX: Span = Span::from_s(3);
/// How often it is looked at how many workers long requests need.
pub const LONG_LOAD_EVERY: Span = Span::from_ms(100);
/// The time over which that is averaged.
pub const LONG_LOAD_OVER: Span = Span::from_s(15);
/// One worker is kept free of long requests while these need less of the others, in hundredths.
pub const RESERVE_ABOVE: u64 = 90;
/// It is until they need so much.
pub const RESERVE_BELOW: u64 = 97;
/// False words (bad message, stale ticket) after which a worker is replaced.
pub const VIOLATIONS_MAX: u32 = 8;
/// A client that has sent nothing for so long is closed by the master.
pub const SILENT_AFTER: Span = Span::from_s(60);
/// Pause in accepting after EMFILE, ENFILE, ENOBUFS or ENOMEM.
pub const ACCEPT_PAUSE: Span = Span::from_ms(100);
/// Pause before a watch that failed is tried again, and before it is asked again how a process
/// ended that could not be reaped.
pub const WATCH_PAUSE: Span = Span::from_ms(50);
/// Failed watches that are tried again in one turn.
pub const RETRIES_PER_TURN: usize = 256;
/// A process that has ended, and that a debugger keeps from being reaped for so long, is replaced
/// without knowing how it ended.
pub const REAP_GRACE: Span = Span::from_ms(200);
/// Changes of children that are taken in in one turn: whoever makes orphans does not hold up the
/// rest.
pub const CHILDREN_PER_TURN: usize = 1_024;
/// Time for the kernel to let go of all operations at the end, before their memory is leaked.
pub const QUIESCE_MAX: Span = Span::from_s(1);
/// A want (of room, descriptors or memory) that was not felt for so long is over.
pub const WANT_OVER_AFTER: Span = Span::from_s(1);
/// Pause in offering after ETOOMANYREFS, when no worker claims anything earlier.
pub const OFFER_PAUSE: Span = Span::from_ms(10);

/// Time to become ready, unless `--start-timeout` says otherwise.
pub const START_TIMEOUT: Span = Span::from_s(30);
/// Time for a program, once it runs, before the log says that it has not said hello.
pub const HELLO_EXPECTED: Span = Span::from_s(3);
/// Time after which a program that says nothing counts as ready, if it runs still.
pub const BARE_READY_AFTER: Span = Span::from_s(1);
/// Time to finish what is running, unless `--drain-timeout` says otherwise.
pub const DRAIN_TIMEOUT: Span = Span::from_s(30);
/// From SIGTERM to SIGKILL.
pub const TERM_TIMEOUT: Span = Span::from_s(2);
/// From SIGKILL until a process that cannot die (in a frozen control group, or waiting for a disk)
/// is left behind.
pub const KILL_TIMEOUT: Span = Span::from_s(5);
/// A worker that has closed its channel, and has not ended after so long, is replaced.
pub const DETACH_GRACE: Span = Span::from_ms(100);
/// Deaths before the first worker was ever ready, after which the master gives up. Processes that
/// could not be had are none.
pub const START_DEATHS_MAX: u32 = 3;
/// First delay before a restart; doubles with each death until [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Span = Span::from_ms(50);
/// Longest delay before a restart.
pub const BACKOFF_MAX: Span = Span::from_s(10);
/// At most so many deaths in a row count for a worker that died over a request: a delay of 400 ms.
pub const DEATHS_OVER_REQUESTS_MAX: u32 = 4;
/// Longest delay before it is tried again to start a process where the kernel gave none.
pub const NO_PROCESS_PAUSE_MAX: Span = Span::from_s(1);
/// A worker that stayed ready for so long has its delays forgotten.
pub const BACKOFF_FORGET: Span = Span::from_s(10);
/// How long the first worker of a rollout has to stay up before other slots are touched, and every
/// other before its death is not the rollout's any more, unless it has answered nothing: then it is
/// for [`BACKOFF_FORGET`].
pub const ROLLOUT_TRIAL: Span = Span::from_s(1);
/// Workers of a rollout that did not become ready, or died early, after which it is given up and
/// the old generation kept.
pub const ROLLOUT_FAILURES_MAX: u32 = 3;

/// Bytes of log that wait for a slow reader; what comes on top is dropped and counted.
pub const LOG_BUFFER: usize = 256 * 1024;
/// Time for a slow reader to take the rest of the log at the end of a master that failed.
pub const LAST_LINE_PATIENCE: Span = Span::from_s(1);
/// Pause before a log that could not be written is tried again.
pub const LOG_RETRY: Span = Span::from_ms(100);
/// The same where its reader is gone, or its disk is full, which takes somebody to change it.
pub const LOG_PAUSE: Span = Span::from_s(10);
/// Lines of a dead worker's output that are told.
pub const LAST_LINES_MAX: usize = 3;
/// Last bytes of a worker's stderr, kept to say why it died.
pub const STDERR_TAIL: usize = 2 * 1024;
/// Bytes of workers' output that are read in one turn, after all that has come in it.
pub const OUTPUT_PER_TURN: usize = 4 * 1024;
/// Bytes of its output that are read when a worker has died: as many as a pipe holds.
pub const OUTPUT_AT_DEATH: usize = 64 * 1024;
/// Outputs of workers that are gone, and that somebody may still write to, are read to their end:
/// one for each slot, and so many more. The oldest is closed for one that comes on top.
pub const LATE_OUTPUTS_SPARE: usize = 4;
/// Such an output is closed after this.
pub const LATE_OUTPUT_MAX: Span = Span::from_s(3_600);
/// Processes whose listeners are looked for: a worker's, and those that it has started.
pub const LISTENING_PROCESSES_MAX: usize = 16;
/// Descriptors that are looked at of each.
pub const LISTENING_DESCRIPTORS_MAX: usize = 256;
/// Bytes that are read of each table of sockets. Those that listen stand at its beginning.
pub const LISTENING_TABLE_MAX: u64 = 64 * 1024;
/// Bytes that are asked for at once: the kernel looks no further than these need.
pub const LISTENING_READ: usize = 4 * 1024;
/// Bytes of one request on the control socket.
pub const CONTROL_REQUEST_MAX: usize = 4 * 1024;
/// Bytes of an answer on the control socket: far more than of the largest app.
pub const CONTROL_ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Control connections open at once.
pub const CONTROL_CLIENTS_MAX: usize = 16;
/// How often the master looks whether its files in the file system are still there.
pub const NAMES_EVERY: Span = Span::from_s(10);
/// Time for others to be done with their sockets in the same directory.
pub const SOCKET_LOCK_PATIENCE: Span = Span::from_s(2);
/// Pause before it is tried again.
pub const SOCKET_LOCK_PAUSE: Span = Span::from_ms(5);
/// Time for a socket to go whose process was killed: the kernel closes the ring of one some time
/// after the process, and with it its sockets.
pub const SOCKET_CLOSE_PATIENCE: Span = Span::from_ms(300);
/// Pause before it is looked again whether it has gone.
pub const SOCKET_CLOSE_PAUSE: Span = Span::from_ms(10);
/// Connections of control clients that may wait for one of those places.
pub const CONTROL_BACKLOG: u32 = 128;
/// Pause before a client tries again to connect to a control socket whose queue is full: its master
/// is stopped, or has too much to do.
pub const CONTROL_RETRY: Span = Span::from_ms(20);
/// Time for a control client to say what it wants, and to take anything of its answer.
pub const CONTROL_TIMEOUT: Span = Span::from_s(5);
/// Time for it to say what it wants while all places are taken. Well within what others wait for an
/// answer.
pub const CONTROL_SILENT_AFTER_FULL: Span = Span::from_s(1);

/// Shortest pause between two pictures of `status --watch`.
pub const WATCH_MIN: Span = Span::from_ms(100);
/// Longest one.
pub const WATCH_MAX: Span = Span::from_s(3_600);

/// Bytes of a request's head: request line and fields.
pub const HTTP_HEAD_MAX: usize = 16 * 1024;
/// Bytes of a method; the longest that is registered has 17. What has no blank by then is no HTTP.
pub const HTTP_METHOD_MAX: usize = 32;
/// Fields of a request's head.
pub const HTTP_FIELDS_MAX: usize = 64;
/// Empty lines before a request, which old clients send after a body.
pub const HTTP_BLANK_LINES_MAX: u8 = 4;
/// Bytes of chunk extensions in one request's body, all chunks together.
pub const HTTP_CHUNK_EXTENSIONS_MAX: usize = 1024;
/// Bytes of the trailer after a chunked body.
pub const HTTP_TRAILER_MAX: usize = 4 * 1024;
/// Bytes of a request's body.
pub const HTTP_BODY_MAX: usize = 1024 * 1024;
/// Greatest `n` of `/bytes?n=`.
pub const HTTP_BYTES_MAX: u64 = 1 << 30;
/// Classes of requests in one measurement.
pub const BENCH_CLASSES_MAX: usize = 16;
/// Requests of one measurement: a trace is kept in memory, 32 bytes each.
pub const TRACE_REQUESTS_MAX: u64 = 50_000_000;
/// Connections that a measurement keeps open for its whole length.
pub const TRACE_CONNECTIONS_MAX: u32 = 60_000;
/// Tries of a measured round before one that does not count is kept.
pub const BENCH_TRIES: usize = 3;
/// Time for a dispatchd under measurement to become ready.
pub const BENCH_START_TIMEOUT: Span = Span::from_s(20);
/// Time for it to end before it is killed.
pub const BENCH_STOP_TIMEOUT: Span = Span::from_s(5);
/// Threads of the load generator.
pub const BENCH_THREADS_MAX: u32 = 64;
/// What the generator may send later than intended before the request counts as late.
pub const BENCH_LATE: Span = Span::from_ms(1);
/// Share of late requests from which on a round says more of the generator than of the server.
pub const BENCH_LATE_SHARE_MAX: f64 = 0.01;
/// Share of the CPUs' time that may go to others before a round does not count.
pub const BENCH_FOREIGN_CPU_MAX: f64 = 0.03;
/// A run that is shorter tells nothing of others: the kernel counts idle time in hundredths.
pub const BENCH_FOREIGN_RUN_MIN: Span = Span::from_s(1);
/// Time for an answer, unless `--timeout` says otherwise.
pub const BENCH_TIMEOUT: Span = Span::from_s(10);
/// Interim answers (1xx) before the one that counts.
pub const BENCH_INTERIM_MAX: u8 = 16;
/// First bytes of an answer's body, in which the worker's number is looked for.
pub const BENCH_BODY_KEPT: usize = 256;
/// Requests sent in one go before the generator looks at what has come back.
pub const BENCH_BURST: usize = 32;
/// Pause before a unix listener whose queue is full is tried again.
pub const BENCH_CONNECT_PAUSE: Span = Span::from_us(500);
/// Greatest `ms` of `/burn`, `/sleep` and `/wait`.
pub const HTTP_MS_MAX: u64 = 60_000;
/// Bytes that a connection reads, and writes, in one step.
pub const HTTP_CHUNK: usize = 16 * 1024;
/// Bytes that a connection's buffer begins with; it grows to [`HTTP_CHUNK`] when they fill up.
pub const HTTP_BUFFER: usize = 4 * 1024;
/// Empty buffers that are kept for the next connection.
pub const HTTP_BUFFERS_KEPT: usize = 256;
/// Bytes that are read off and thrown away after the last answer.
pub const HTTP_LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Time for a client to complete the head or the body of a request that it began.
pub const HTTP_REQUEST_TIMEOUT: Span = Span::from_s(10);
/// Time that a connection may be idle between requests.
pub const HTTP_IDLE_TIMEOUT: Span = Span::from_s(75);
/// Time for a client to take any byte of its answer.
pub const HTTP_WRITE_TIMEOUT: Span = Span::from_s(30);
/// Time to read off what a client still sends after the last answer, lest a reset eats the answer.
/// As long as the answer has not arrived, it goes on, and ends when the client takes none of it for
/// [`HTTP_WRITE_TIMEOUT`].
pub const HTTP_LINGER: Span = Span::from_s(1);
/// Time for the next request of an idle connection while its worker drains.
pub const HTTP_DRAIN_IDLE: Span = Span::from_s(5);
/// Accepts between two rotations of the wake-up order.
pub const ROTATE_EVERY: u32 = 16;
/// Offers that a worker takes up at once while its requests are quick.
pub const CLAIMS_PER_TURN: usize = 16;
/// Quick requests in a row after which they count as such: of those that were taken up together
/// with a slow one, and wait behind it, there are then fewer than one in 200.
pub const QUICK_STREAK: u32 = 4_096;
/// Requests that a worker serves on open connections before it looks for a new one.
pub const REQUESTS_PER_TURN: usize = 64;
/// Time that a worker serves open connections before it looks for a new one.
pub const TURN_MAX: Span = Span::from_ms(10);
/// Pause before a worker tries again to say what found its ring full.
pub const UNSENT_PAUSE: Span = Span::from_ms(1);

const _: () = assert!(MESSAGE_RING.is_power_of_two());
const _: () = assert!(OFFER_ENTRY_RING.is_power_of_two());
const _: () = assert!(MESSAGE_RING_DOORBELL < MESSAGE_RING);
const _: () = assert!(HTTP_METHOD_MAX < HTTP_HEAD_MAX, "a method ends within its head");
const _: () = assert!(BATCH_MAX <= 253, "SCM_MAX_FD");
const _: () = assert!(HOLD_DEFAULT <= HOLD_MAX && HOLD_MAX <= TICKETS_MAX);
const _: () = assert!(WORKERS_MAX <= u16::MAX as usize);
const _: () = assert!(SPREAD_BELOW.as_ns() < SPREAD_ABOVE.as_ns());
const _: () = assert!(BACKOFF_MIN.as_ns() < BACKOFF_MAX.as_ns());
const _: () = assert!(CONTROL_SILENT_AFTER_FULL.as_ns() < CONTROL_TIMEOUT.as_ns());
