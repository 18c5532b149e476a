//! What is heard and said on one connection, without socket and clock: requests out of the input,
//! answers into the output, one after the other, and what becomes of the connection afterwards.

use std::mem;

use super::buffers::Buffers;
use super::http::{
    Advance, Fault, Http, HttpRequest, HttpStep, RequestRefusal, Responder, Tail, fill,
};
use crate::limits::{HTTP_BUFFER, HTTP_CHUNK};

/// One connection's conversation.
#[derive(Debug)]
pub(super) struct Http1Connection {
    http: Http,
    /// What has come. Away while a receive is pending.
    input: Vec<u8>,
    /// Bytes of the input that are used up.
    consumed: usize,
    /// What is to be sent. Away while a send is pending.
    output: Vec<u8>,
    /// Bytes of filler that follow the output.
    filler: u64,
    /// A request that waits for the answers before it to leave.
    deferred: Option<HttpRequest>,
    appetite: Appetite,
    flow: AnswerFlow,
    ending: Http1Ending,
}

/// What happens when the output is out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Http1Ending {
    /// The next request.
    Open,
    /// The connection is closed at once: the client expects nothing more.
    Close,
    /// The connection is closed after the client: what it still sends would turn our close into a
    /// reset, and a reset makes it forget the answer, or the kernel what is left of it.
    Linger,
}

/// Whether another request can come without new bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Appetite {
    /// The input has not been looked through.
    Chewing,
    /// All that was in the input has been taken up.
    Hungry,
}

/// How answers leave here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AnswerFlow {
    /// Each at once, so that it is with the client before that can send anything to it.
    Swift,
    /// One of them was long, or did not go in one piece: some of it may be on its way for a while.
    Slow,
}

/// What comes next on a connection.
#[derive(Debug)]
pub(super) enum Next {
    /// This request is to be served.
    Request(HttpRequest),
    /// This is to be refused.
    Refuse(RequestRefusal),
    /// New bytes, or the end of the output.
    Pause,
}

impl Http1Connection {
    /// Nothing has been said.
    pub(super) fn new() -> Self {
        Self {
            http: Http::new(),
            input: Vec::new(),
            consumed: 0,
            output: Vec::new(),
            filler: 0,
            deferred: None,
            appetite: Appetite::Hungry,
            flow: AnswerFlow::Swift,
            ending: Http1Ending::Open,
        }
    }

    /// Room to receive in: the input, with what is used up taken out.
    pub(super) fn lend_input(&mut self, buffers: &mut Buffers) -> Vec<u8> {
        let mut input = mem::take(&mut self.input);
        if input.capacity() == 0 {
            input = buffers.take();
        }
        let was_full = input.len() == input.capacity();
        if self.consumed == input.len() {
            input.clear();
        } else {
            input.drain(..self.consumed);
        }
        self.consumed = 0;
        let capacity = input.capacity();
        if was_full && capacity < HTTP_CHUNK {
            input.reserve_exact((2 * capacity).min(HTTP_CHUNK) - input.len());
        }
        if input.len() == input.capacity() {
            // An incomplete head is shorter than a chunk, so that this does not go on.
            input.reserve(HTTP_BUFFER);
        }
        input
    }

    /// Takes the input back, with new bytes in it.
    pub(super) fn heard(&mut self, input: Vec<u8>) {
        self.input = input;
        self.appetite = Appetite::Chewing;
    }

    /// Takes the input back, with nothing new in it.
    pub(super) fn heard_nothing(&mut self, input: Vec<u8>) {
        self.input = input;
    }

    /// The next request, while there is room for its answer. The output takes what the client
    /// waits for before it sends a body.
    pub(super) fn next(&mut self) -> Next {
        if self.ending != Http1Ending::Open || 0 < self.filler || HTTP_CHUNK <= self.output.len() {
            return Next::Pause;
        }
        if let Some(request) = self.deferred.take() {
            return Next::Request(request);
        }
        let rest = self.input.get(self.consumed..).unwrap_or_default();
        if rest.is_empty() {
            self.appetite = Appetite::Hungry;
            return Next::Pause;
        }
        let Advance { consumed, step } = self.http.advance(rest, &mut self.output);
        self.consumed += consumed;
        match step {
            HttpStep::Request(request) => {
                if self.consumed == self.input.len() {
                    self.appetite = Appetite::Hungry;
                }
                Next::Request(request)
            }
            HttpStep::Refuse(refusal) => Next::Refuse(refusal),
            HttpStep::NeedBytes => {
                self.appetite = Appetite::Hungry;
                Next::Pause
            }
        }
    }

    /// Puts a request aside until the output is out; [`Http1Connection::next`] returns it again.
    pub(super) fn defer(&mut self, request: HttpRequest) {
        self.deferred = Some(request);
        self.appetite = Appetite::Chewing;
    }

    /// Answers a served request; `keep_alive` is whether the worker wants another one.
    pub(super) fn answer(
        &mut self,
        request: &HttpRequest,
        keep_alive: bool,
        responder: &Responder,
        buffers: &mut Buffers,
    ) {
        self.ready_output(buffers);
        let stays = request.keep_alive && keep_alive;
        if let Tail::Fill { left } = responder.respond(request, stays, &mut self.output) {
            self.filler = left;
            self.top_up();
        }
        if 0 < self.filler || HTTP_CHUNK < self.output.len() {
            self.flow = AnswerFlow::Slow;
        }
        if !stays {
            // A client that asked for the end sends nothing more, as a rule; any other may be about
            // to.
            let expected = !request.keep_alive && self.is_all_read();
            let swift = self.flow == AnswerFlow::Swift;
            self.ending = if expected && swift { Http1Ending::Close } else { Http1Ending::Linger };
        }
    }

    /// Refuses a request, which is the last answer.
    pub(super) fn refuse(
        &mut self,
        refusal: &RequestRefusal,
        responder: &Responder,
        buffers: &mut Buffers,
    ) {
        self.ready_output(buffers);
        responder.refuse(refusal, &mut self.output);
        self.ending = Http1Ending::Linger;
    }

    /// Tells the client that its request took too long, which is the last answer.
    pub(super) fn time_out(&mut self, responder: &Responder, buffers: &mut Buffers) {
        let rest = self.input.get(self.consumed..).unwrap_or_default();
        let refusal =
            RequestRefusal { fault: Fault::TimedOut, answer: self.http.answer_so_far(rest) };
        self.refuse(&refusal, responder, buffers);
    }

    /// What is said does not leave in one piece.
    pub(super) fn falters(&mut self) {
        self.flow = AnswerFlow::Slow;
        match self.ending {
            Http1Ending::Close => self.ending = Http1Ending::Linger,
            Http1Ending::Open | Http1Ending::Linger => {}
        }
    }

    /// Whether there is something to send.
    pub(super) const fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Bytes to send until the end of the last answer.
    pub(super) const fn unsent(&self) -> u64 {
        self.output.len() as u64 + self.filler
    }

    /// What is to be sent.
    pub(super) fn lend_output(&mut self) -> Vec<u8> {
        mem::take(&mut self.output)
    }

    /// Takes the output back when it is out. Tells whether there is more of the same answer.
    pub(super) fn said(&mut self, mut output: Vec<u8>, buffers: &mut Buffers) -> bool {
        output.clear();
        if self.filler == 0 {
            buffers.give(output);
            return false;
        }
        self.output = output;
        self.top_up();
        true
    }

    /// Whether the next thing to do is to receive.
    pub(super) fn wants_input(&self) -> bool {
        self.appetite == Appetite::Hungry && self.ending == Http1Ending::Open && self.filler == 0
    }

    /// Whether the client has begun nothing that is not complete.
    pub(super) fn is_idle(&self) -> bool {
        self.http.is_idle()
    }

    /// Whether another worker could go on as if it were this one.
    pub(super) fn is_blank(&self) -> bool {
        self.http.is_blank()
    }

    /// What happens when the output is out.
    pub(super) const fn ending(&self) -> Http1Ending {
        self.ending
    }

    /// The client will send nothing more, so that there is nothing to wait for after the output.
    pub(super) fn hang_up(&mut self) {
        self.ending = Http1Ending::Close;
    }

    /// Throws away what has come.
    pub(super) fn discard_input(&mut self) {
        self.consumed = self.input.len();
    }

    /// Gives the buffers back.
    pub(super) fn dissolve(self, buffers: &mut Buffers) {
        buffers.give(self.input);
        buffers.give(self.output);
    }

    /// Whether nothing lies unread, as far as can be told without asking: where the last receive
    /// filled its room, there may be more.
    fn is_all_read(&self) -> bool {
        self.consumed == self.input.len() && self.input.len() < self.input.capacity()
    }

    fn ready_output(&mut self, buffers: &mut Buffers) {
        if self.output.capacity() == 0 {
            self.output = buffers.take();
        }
    }

    /// Takes filler into the output, up to a chunk.
    fn top_up(&mut self) {
        let room = HTTP_CHUNK.saturating_sub(self.output.len());
        let count = usize::try_from(self.filler).unwrap_or(usize::MAX).min(room);
        fill(&mut self.output, count);
        self.filler -= count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::ServerIdentity;
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    struct Talk {
        http1: Http1Connection,
        responder: Responder,
        buffers: Buffers,
    }

    impl Talk {
        fn new() -> Self {
            let identity = ServerIdentity { worker: 0, pid: 1, cpu: None, generation: 1 };
            let responder = Responder::new(identity);
            Self { http1: Http1Connection::new(), responder, buffers: Buffers::default() }
        }

        fn hear(&mut self, bytes: &[u8]) {
            let mut input = self.http1.lend_input(&mut self.buffers);
            let room = input.capacity() - input.len();
            assert!(bytes.len() <= room, "{} bytes in a room of {room}", bytes.len());
            input.extend_from_slice(bytes);
            self.http1.heard(input);
        }

        /// Answers what has come. Returns the number of requests.
        fn serve(&mut self, keep_alive: bool) -> usize {
            for count in 0.. {
                match self.http1.next() {
                    Next::Request(request) => {
                        let (responder, buffers) = (&self.responder, &mut self.buffers);
                        self.http1.answer(&request, keep_alive, responder, buffers);
                    }
                    Next::Refuse(refusal) => {
                        self.http1.refuse(&refusal, &self.responder, &mut self.buffers);
                    }
                    Next::Pause => return count,
                }
            }
            unreachable!()
        }

        fn said(&mut self) -> Vec<u8> {
            let mut said = Vec::new();
            while self.http1.has_output() {
                let output = self.http1.lend_output();
                said.extend_from_slice(&output);
                self.http1.said(output, &mut self.buffers);
            }
            said
        }
    }

    #[test]
    fn pipelined_requests_share_an_output_of_bounded_size() {
        let mut talk = Talk::new();
        talk.hear(&GET.repeat(100));
        let first = talk.serve(true);
        assert!(talk.http1.unsent() < 2 * HTTP_CHUNK as u64);
        assert!(!talk.http1.wants_input(), "there are requests in the input");
        let mut said = talk.said();
        let second = talk.serve(true);
        said.extend(talk.said());
        assert_eq!(first + second, 100);
        assert_eq!(said.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count(), 100);
        assert!(talk.http1.wants_input() && talk.http1.is_idle());
    }

    #[test]
    fn the_end_is_at_once_only_when_the_client_asked_for_it_and_sent_no_more() {
        let close = &b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..];
        let long = |n: usize| {
            format!("GET /bytes?n={n} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .into_bytes()
        };
        for (bytes, keep_alive, ending) in [
            (long(HTTP_CHUNK / 2), true, Http1Ending::Close),
            (long(HTTP_CHUNK), true, Http1Ending::Linger),
            (
                [&b"GET /bytes?n=17000 HTTP/1.1\r\nHost: a\r\n\r\n"[..], close].concat(),
                true,
                Http1Ending::Linger,
            ),
            (GET.to_vec(), true, Http1Ending::Open),
            (close.to_vec(), true, Http1Ending::Close),
            ([close, b"G"].concat(), true, Http1Ending::Linger),
            (GET.to_vec(), false, Http1Ending::Linger),
            (b"BAD\r\n\r\n".to_vec(), true, Http1Ending::Linger),
        ] {
            let mut talk = Talk::new();
            talk.hear(&bytes);
            talk.serve(keep_alive);
            talk.said();
            talk.serve(keep_alive);
            assert_eq!(talk.http1.ending(), ending, "{}", bytes.escape_ascii());
            assert_eq!(talk.http1.wants_input(), ending == Http1Ending::Open);
            let later = if ending == Http1Ending::Close { Http1Ending::Linger } else { ending };
            talk.http1.falters();
            assert_eq!(talk.http1.ending(), later);
        }
        // Behind a receive that filled its room more may lie.
        let mut talk = Talk::new();
        let room = talk.http1.lend_input(&mut talk.buffers).capacity();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ";
        let body = "x".repeat(room - head.len() - 8);
        talk.hear(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes());
        assert_eq!(talk.serve(true), 1);
        assert_eq!(talk.http1.ending(), Http1Ending::Linger);
    }

    #[test]
    fn a_long_answer_is_made_in_chunks_and_holds_up_the_next_request() {
        let mut talk = Talk::new();
        let get = b"GET /bytes?n=100000 HTTP/1.1\r\nHost: a\r\n\r\n";
        talk.hear(&[get, GET].concat());
        assert_eq!(talk.serve(true), 1);
        assert!(100_000 < talk.http1.unsent());
        let mut rounds = 0;
        loop {
            let output = talk.http1.lend_output();
            assert!(output.len() <= HTTP_CHUNK);
            rounds += 1;
            if !talk.http1.said(output, &mut talk.buffers) {
                break;
            }
        }
        assert_eq!(rounds, 100_000_usize.div_ceil(HTTP_CHUNK));
        assert_eq!(talk.serve(true), 1);
    }

    #[test]
    fn a_deferred_request_comes_again() {
        let mut talk = Talk::new();
        talk.hear(GET);
        let Next::Request(request) = talk.http1.next() else { panic!("a request is there") };
        talk.http1.defer(request);
        assert!(!talk.http1.wants_input());
        assert_eq!(talk.serve(true), 1);
    }

    #[test]
    fn the_input_grows_to_a_chunk_when_it_is_filled_and_always_has_room() {
        let mut talk = Talk::new();
        let head = b"POST /burn?ms=0 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        talk.hear(head);
        for _ in 0..9 {
            talk.serve(true);
            let mut input = talk.http1.lend_input(&mut talk.buffers);
            input.resize(input.capacity(), b'x');
            talk.http1.heard(input);
        }
        talk.serve(true);
        assert_eq!(talk.http1.lend_input(&mut talk.buffers).capacity(), HTTP_CHUNK);

        let mut talk = Talk::new();
        talk.hear(b"GET /");
        for _ in 5..HTTP_CHUNK - 1 {
            talk.hear(b"a");
            talk.serve(true);
        }
        assert_eq!(talk.http1.ending(), Http1Ending::Open);
        talk.hear(b"a");
        talk.serve(true);
        assert_eq!(talk.http1.ending(), Http1Ending::Linger);
        assert!(talk.said().starts_with(b"HTTP/1.1 431 "));
    }
}
