//! How the built-in worker leaves: by its master's order, or without a master.

use super::*;

on_both_backends! {
    draining_answers_what_comes_and_ends
    an_order_that_comes_in_the_middle_of_a_turn_is_seen
    draining_takes_what_the_channel_holds
    a_dead_master_ends_the_worker_after_its_work
    without_a_master_nothing_is_given_back
    a_worker_that_leaves_gives_its_idle_connections_back
    own_listeners_are_accepted_from_until_the_drain
}

fn draining_answers_what_comes_and_ends(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut asks, _) = rig.client_that_sent(GET);
    let (mut idle, _) = rig.client_that_sent(GET);
    rig.read_until(&mut asks, b")\n");
    rig.read_until(&mut idle, b")\n");
    rig.master().drain();
    rig.settle();
    asks.write_all(GET).unwrap();
    let text = rig.read_to_end(&mut asks);
    assert!(greetings(&text) == 1 && text.contains("Connection: close"), "{text}");
    drop(asks);
    rig.settle();
    assert_eq!((rig.flow, rig.master().board().2), (TurnFlow::Continue, 1));
    rig.jump(HTTP_DRAIN_IDLE);
    assert_eq!(rig.read_to_end(&mut idle), "");
    rig.end();
    assert_eq!(rig.master().board(), (3, 3, 0));
}

fn an_order_that_comes_in_the_middle_of_a_turn_is_seen(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    // The wake-up by itself, and one that is read on the way to something else: the order may be
    // newer than the look at it with which the turn began.
    for offer_entry in [None, Some(OfferEntry::Forget(Ticket { index: 9, generation: 1 }))] {
        rig.settle();
        rig.master().look();
        match offer_entry {
            Some(offer_entry) => rig.master().offer_entry(offer_entry),
            None => rig.until("it is woken", |rig| !rig.server.completions.is_empty()),
        }
        let now = rig.now();
        rig.server.turn(now).unwrap();
        assert_eq!(rig.server.timeout(now), Some(Span::ZERO), "it would sleep: {offer_entry:?}");
    }
}

fn draining_takes_what_the_channel_holds(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    // The order is seen before the doorbell that the offers ring.
    rig.settle();
    let mut clients: Vec<_> = (0..5)
        .map(|_| {
            let (mut client, _) = rig.client();
            client.write_all(GET).unwrap();
            client
        })
        .collect();
    rig.master().drain();
    for client in &mut clients {
        assert_eq!(greetings(&rig.read_to_end(client)), 1);
    }
    drop(clients);
    rig.end();
}

fn a_dead_master_ends_the_worker_after_its_work(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let wait = b"GET /wait?ms=5000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, _) = rig.client_that_sent(wait);
    rig.master = None;
    rig.settle();
    assert_eq!(rig.flow, TurnFlow::Continue);
    rig.jump(Span::from_s(5));
    assert!(rig.read_to_end(&mut client).ends_with("}\n"));
    drop(client);
    rig.end();
}

fn without_a_master_nothing_is_given_back(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::WhenLeaving);
    let (mut idle, _copy, _) = lent(&mut rig);
    idle.write_all(GET).unwrap();
    rig.read_until(&mut idle, b")\n");
    let (mut waiting, _copy, _) = lent(&mut rig);
    waiting.write_all(b"GET /wait?ms=20 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    rig.settle();
    rig.master = None;
    let text = rig.read_to_end(&mut waiting);
    assert!(text.contains("Connection: close"), "{text}");
    rig.jump(HTTP_DRAIN_IDLE);
    assert_eq!(rig.read_to_end(&mut idle), "");
    drop((idle, waiting));
    rig.end();
}

fn a_worker_that_leaves_gives_its_idle_connections_back(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::WhenLeaving);
    let (mut idle, _kept, ticket) = lent(&mut rig);
    idle.write_all(GET).unwrap();
    rig.read_until(&mut idle, b")\n");
    let (mut waiting, _kept, other) = lent(&mut rig);
    waiting.write_all(b"GET /wait?ms=20 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    rig.settle();
    rig.heard();
    rig.master().drain();
    let text = rig.read_until(&mut waiting, b"}\n");
    assert!(!text.contains("Connection: close"), "another goes on with it: {text}");
    rig.end();
    let messages = rig.heard();
    assert!(
        matches!(messages[..], [WorkerMessage::Idle { .. }, WorkerMessage::Idle { .. }]),
        "{messages:?}"
    );
    assert!(messages.contains(&WorkerMessage::Idle { ticket, service_us: 0 }));
    assert!(
        messages.iter().any(
            |message| matches!(message, WorkerMessage::Idle { ticket, .. } if *ticket == other)
        )
    );
    let mut got = Vec::new();
    assert!(!read_some(&mut idle, &mut got), "the master has it still");
}

fn own_listeners_are_accepted_from_until_the_drain(backend: impl Backend<Fd = OwnedFd>) {
    let endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    let options = ListenOptions { backlog: 16, reuse_port: false };
    let listener = socket::listen(&endpoint, options).unwrap();
    let Ok(Endpoint::Tcp(address)) = socket::local_endpoint(&listener) else {
        panic!("it has an address");
    };
    let others = fd::duplicate(&listener).unwrap();
    let mut rig = Rig::with_listeners(backend, ListenerSharing::Own, vec![listener]);
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..3).map(|_| connect()).collect();
    for client in &mut clients {
        client.write_all(GET).unwrap();
        assert_eq!(greetings(&rig.read_until(client, b")\n")), 1);
    }
    rig.master().drain();
    rig.settle();
    let mut stranger = connect();
    stranger.write_all(GET).unwrap();
    rig.settle();
    assert!(!read_some(&mut stranger, &mut Vec::new()), "it is for another worker");
    drop((clients, others));
    TcpStream::connect(address).expect_err("this one has let its copy go");
    rig.end();
    assert_eq!((rig.master().board(), rig.heard()), ((3, 3, 0), vec![]));
}
