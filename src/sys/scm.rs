//! Batches over a SOCK_SEQPACKET channel: a few words and the descriptors that they speak of, in
//! one message. The layout is here once, for the call and for the ring alike.
#![expect(unsafe_code, reason = "control messages are built from raw parts")]

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use crate::sys::errno::last_errno;
use crate::sys::fd::adopt;
use crate::units::Errno;

/// Descriptors in one message, at most.
pub const DESCRIPTORS_MAX: usize = 16;
/// Words in one message, at most: a header and one per descriptor.
pub const WORDS_MAX: usize = 1 + DESCRIPTORS_MAX;

/// The flags of every send: a full channel is an answer, and so is a closed one.
pub const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

const WORD: usize = size_of::<u64>();
const DESCRIPTOR: usize = size_of::<i32>();
const HEAD: usize = size_of::<libc::cmsghdr>();
/// Room for the descriptors, and for credentials, which other code of the receiving process may
/// have switched on.
const CONTROL_WORDS: usize = (HEAD + DESCRIPTORS_MAX * DESCRIPTOR) / WORD + 32;
/// Writes a process' own descriptor into a message; `libc` does not name it everywhere.
const SCM_PIDFD: i32 = 4;

const _: () = assert!(align_of::<libc::cmsghdr>() <= align_of::<u64>());
const _: () = assert!(HEAD.is_multiple_of(WORD), "the data begins right behind the head");

/// Whether to wait for a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecvWait {
    /// Until one comes or the channel ends.
    Wait,
    /// Not at all.
    Now,
}

/// What a channel had.
#[derive(Debug)]
pub enum Incoming {
    /// A message.
    Batch(Received),
    /// Nothing at the moment.
    Empty,
    /// The peer is gone, and nothing is left to read.
    EndOfStream,
}

/// One message.
#[derive(Debug)]
pub struct Received {
    /// The payload, in the machine's byte order.
    pub words: Vec<u64>,
    /// The descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Something was lost or is malformed: descriptors (the table was full: they are closed),
    /// words beyond [`WORDS_MAX`], or a payload that is not made of words.
    pub truncated: bool,
}

/// Queues one message without waiting; the descriptors stay with the caller as well.
///
/// # Errors
/// EAGAIN when the channel is full, EPIPE or ECONNRESET when the peer is gone, ETOOMANYREFS when
/// too many descriptors of this user are in flight.
///
/// # Panics
/// When there are more than [`WORDS_MAX`] words or [`DESCRIPTORS_MAX`] descriptors.
pub fn send_batch(channel: BorrowedFd<'_>, words: &[u64], fds: &[impl AsFd]) -> Result<(), Errno> {
    let mut message = MessageBuffer::new();
    message.fill(words, fds.iter().map(|fd| fd.as_fd().as_raw_fd()));
    let header = message.header_to_send();
    loop {
        // SAFETY: `header` points into `message`, which is not moved until the call is over, and
        // its lengths are those of the filled parts.
        let sent = unsafe { libc::sendmsg(channel.as_raw_fd(), header, SEND_FLAGS) };
        if 0 <= sent {
            return Ok(());
        }
        match last_errno() {
            Errno(libc::EINTR) => {}
            errno => return Err(errno),
        }
    }
}

/// Takes one message from the channel.
///
/// # Errors
/// ECONNRESET when the peer closed with our messages unread, and what else recvmsg says; an empty
/// channel is [`Incoming::Empty`].
pub fn recv_batch(channel: BorrowedFd<'_>, patience: RecvWait) -> Result<Incoming, Errno> {
    let mut message = MessageBuffer::new();
    let wait = match patience {
        RecvWait::Wait => 0,
        RecvWait::Now => libc::MSG_DONTWAIT,
    };
    loop {
        let header = message.header_to_receive();
        // SAFETY: `header` points into `message`, which is not moved until the call is over, and
        // its lengths are those of the whole arrays.
        let got =
            unsafe { libc::recvmsg(channel.as_raw_fd(), header, wait | libc::MSG_CMSG_CLOEXEC) };
        if let Ok(bytes) = usize::try_from(got) {
            return Ok(message.take(bytes).map_or(Incoming::EndOfStream, Incoming::Batch));
        }
        match last_errno() {
            Errno(libc::EINTR) => {}
            Errno(libc::EAGAIN) => return Ok(Incoming::Empty),
            errno => return Err(errno),
        }
    }
}

/// One message with all its parts in one place. The header points at its neighbours, so that an
/// message must stay where it is from `header_to_*` until the kernel is done with it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct MessageBuffer {
    header: libc::msghdr,
    payload: libc::iovec,
    words: [u64; WORDS_MAX],
    control: [u64; CONTROL_WORDS],
}

impl MessageBuffer {
    /// An empty message.
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: all fields are numbers and raw pointers, for which zero is a value.
            header: unsafe { mem::zeroed() },
            payload: libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            words: [0; WORDS_MAX],
            control: [0; CONTROL_WORDS],
        }
    }

    /// Writes a message. The descriptors are named, not taken.
    pub(crate) fn fill(&mut self, words: &[u64], fds: impl ExactSizeIterator<Item = i32>) {
        let count = fds.len();
        assert!(count <= DESCRIPTORS_MAX, "a message holds {DESCRIPTORS_MAX} descriptors");
        self.words[..words.len()].copy_from_slice(words);
        self.payload.iov_len = words.len() * WORD;
        if count == 0 {
            self.header.msg_controllen = 0;
            return;
        }
        let length = HEAD + count * DESCRIPTOR;
        // SAFETY: all fields are numbers (some C libraries pad), for which zero is a value.
        let mut head: libc::cmsghdr = unsafe { mem::zeroed() };
        head.cmsg_len = length;
        head.cmsg_level = libc::SOL_SOCKET;
        head.cmsg_type = libc::SCM_RIGHTS;
        let control = self.control.as_mut_ptr();
        // SAFETY: `control` is aligned for a cmsghdr and larger than one (asserted above).
        unsafe { control.cast::<libc::cmsghdr>().write(head) };
        let mut place = control.cast::<u8>().wrapping_add(HEAD).cast::<i32>();
        for fd in fds.take(count) {
            // SAFETY: at most DESCRIPTORS_MAX numbers are written behind the head, for which the
            // array has room, and the head is a whole number of words, so that they are aligned.
            unsafe { place.write(fd) };
            place = place.wrapping_add(1);
        }
        self.header.msg_controllen = length.next_multiple_of(WORD);
    }

    /// The header of the message that was filled in; valid until the message moves or changes.
    pub(crate) fn header_to_send(&mut self) -> *const libc::msghdr {
        self.connect();
        &raw const self.header
    }

    /// A header with all the room there is; valid until the message moves or changes.
    fn header_to_receive(&mut self) -> *mut libc::msghdr {
        self.payload.iov_len = WORDS_MAX * WORD;
        self.header.msg_controllen = CONTROL_WORDS * WORD;
        self.header.msg_flags = 0;
        self.connect();
        &raw mut self.header
    }

    /// What a receive of `bytes` bytes put here, or `None` at the end of the stream. To be called
    /// once per receive: it takes ownership of the descriptors.
    fn take(&mut self, bytes: usize) -> Option<Received> {
        let lost = self.header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
        let fds = self.take_descriptors();
        if bytes == 0 && fds.is_empty() && !lost {
            return None;
        }
        let count = (bytes / WORD).min(WORDS_MAX);
        let truncated = lost || !bytes.is_multiple_of(WORD);
        Some(Received { words: self.words[..count].to_vec(), fds, truncated })
    }

    /// Points the header at its neighbours, wherever they are now.
    fn connect(&mut self) {
        self.payload.iov_base = self.words.as_mut_ptr().cast();
        self.header.msg_iov = &raw mut self.payload;
        self.header.msg_iovlen = 1;
        self.header.msg_control = match self.header.msg_controllen {
            0 => ptr::null_mut(),
            _ => self.control.as_mut_ptr().cast(),
        };
    }

    /// Owns every descriptor that the kernel wrote, the unasked-for ones in order to close them.
    fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        let mut fds = Vec::new();
        let end = self.header.msg_controllen.min(CONTROL_WORDS * WORD);
        let mut at = 0;
        while at + HEAD <= end {
            let head = self.control_head(at / WORD);
            let length = head.cmsg_len;
            if length < HEAD || end < at + length {
                break;
            }
            let numbers = self.control_numbers(at + HEAD, (length - HEAD) / DESCRIPTOR);
            match (head.cmsg_level, head.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => fds.extend(numbers.map(adopt)),
                (libc::SOL_SOCKET, SCM_PIDFD) => {
                    numbers.filter(|&number| 0 <= number).map(adopt).for_each(drop);
                }
                _ => {}
            }
            at += length.next_multiple_of(WORD);
        }
        // The numbers have owners now; a second look must not find them.
        self.header.msg_controllen = 0;
        fds
    }

    fn control_head(&self, word: usize) -> libc::cmsghdr {
        let place = self.control[word..word + HEAD / WORD].as_ptr();
        // SAFETY: the slice is as long as a head, aligned for one, and any bits are one.
        unsafe { place.cast::<libc::cmsghdr>().read() }
    }

    fn control_numbers(&self, byte: usize, count: usize) -> impl Iterator<Item = i32> + '_ {
        (0..count).map(move |index| {
            let at = byte + index * DESCRIPTOR;
            let word = self.control[at / WORD].to_ne_bytes();
            let half = at % WORD;
            i32::from_ne_bytes([word[half], word[half + 1], word[half + 2], word[half + 3]])
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;
    use crate::sys::socket::seqpacket_pair;

    const NONE: &[OwnedFd] = &[];

    fn received(incoming: Incoming) -> Received {
        match incoming {
            Incoming::Batch(received) => received,
            other @ (Incoming::Empty | Incoming::EndOfStream) => panic!("no batch but {other:?}"),
        }
    }

    /// A pipe whose read end stands for a connection: what is written says which one it is.
    fn marked(mark: u8) -> OwnedFd {
        let (read, write) = std::io::pipe().unwrap();
        let mut write = File::from(OwnedFd::from(write));
        write.write_all(&[mark]).unwrap();
        OwnedFd::from(read)
    }

    fn mark_of(fd: OwnedFd) -> u8 {
        let mut mark = [0];
        File::from(fd).read_exact(&mut mark).unwrap();
        mark[0]
    }

    #[test]
    fn every_size_of_batch_arrives_as_it_was_sent() {
        let (a, b) = seqpacket_pair().unwrap();
        for count in 0..=DESCRIPTORS_MAX {
            let fds: Vec<_> = (0..count).map(|n| marked(u8::try_from(n).unwrap())).collect();
            let words: Vec<_> = (0..=count as u64).map(|n| n | 7 << 40).collect();
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            send_batch(a.as_fd(), &words, &borrowed).unwrap();
            drop(fds);
            let batch = received(recv_batch(b.as_fd(), RecvWait::Wait).unwrap());
            assert_eq!(batch.words, words);
            assert!(!batch.truncated);
            let marks: Vec<_> = batch.fds.into_iter().map(mark_of).collect();
            assert_eq!(marks, (0..u8::try_from(count).unwrap()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn empty_full_and_ended_are_told_apart() {
        let (a, b) = seqpacket_pair().unwrap();
        assert!(matches!(recv_batch(b.as_fd(), RecvWait::Now).unwrap(), Incoming::Empty));
        let mut sent = 0;
        let full = loop {
            match send_batch(a.as_fd(), &[sent], NONE) {
                Ok(()) => sent += 1,
                Err(errno) => break errno,
            }
        };
        assert_eq!(full, Errno(libc::EAGAIN));
        drop(a);
        for expected in 0..sent {
            let batch = received(recv_batch(b.as_fd(), RecvWait::Wait).unwrap());
            assert_eq!(batch.words, [expected]);
        }
        assert!(matches!(recv_batch(b.as_fd(), RecvWait::Wait).unwrap(), Incoming::EndOfStream));
        assert_eq!(send_batch(b.as_fd(), &[1], NONE), Err(Errno(libc::EPIPE)));
    }

    #[test]
    fn a_message_that_is_not_made_of_words_is_reported() {
        let (a, b) = seqpacket_pair().unwrap();
        for (bytes, words) in [(3, 0), (17, 2), (WORDS_MAX * WORD + 8, WORDS_MAX)] {
            nix::sys::socket::send(
                a.as_raw_fd(),
                &vec![0; bytes],
                nix::sys::socket::MsgFlags::empty(),
            )
            .unwrap();
            let batch = received(recv_batch(b.as_fd(), RecvWait::Now).unwrap());
            assert_eq!((batch.words.len(), batch.truncated), (words, true));
        }
    }

    #[test]
    fn credentials_beside_the_descriptors_hide_nothing() {
        let (a, b) = seqpacket_pair().unwrap();
        nix::sys::socket::setsockopt(&b, nix::sys::socket::sockopt::PassCred, &true).unwrap();
        let fds: Vec<_> = (0..16).map(marked).collect();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        send_batch(a.as_fd(), &[1], &borrowed).unwrap();
        let batch = received(recv_batch(b.as_fd(), RecvWait::Now).unwrap());
        assert_eq!((batch.fds.len(), batch.truncated), (16, false));
    }
}
