//! Connections that the built-in worker gives back, and those that were never its own.

use super::*;

on_both_backends! {
    a_connection_goes_back_after_each_answer_and_comes_again_by_its_name
    what_is_half_read_or_still_leaving_does_not_go_back
    what_is_given_back_belongs_to_another_until_it_is_claimed_again
    a_forgotten_connection_is_closed_here_and_nowhere_else
    what_was_taken_back_is_not_touched
}

fn what_was_taken_back_is_not_touched(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    let (mut client, connection) = UnixStream::pair().unwrap();
    let kept = OwnedFd::from(connection);
    let ticket = rig.next_ticket();
    client.write_all(GET).unwrap();
    rig.master().offer(ticket, &kept);
    assert!(rig.master().recall(ticket));
    rig.settle();
    assert_eq!(rig.heard(), vec![WorkerMessage::Missed(ticket)]);
    assert_eq!(rig.master().board(), (0, 0, 0));
    // Whoever is offered it next finds it whole, and can answer.
    let mut bytes = vec![0; GET.len()];
    let mut next = UnixStream::from(kept);
    next.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, GET);
    next.write_all(b"yes").unwrap();
    client.read_exact(&mut bytes[..3]).unwrap();
    assert_eq!(bytes[..3], *b"yes");
}

fn a_connection_goes_back_after_each_answer_and_comes_again_by_its_name(
    backend: impl Backend<Fd = OwnedFd>,
) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, _kept, ticket) = lent(&mut rig);
    for round in 1..=3 {
        client.write_all(GET).unwrap();
        if 1 < round {
            rig.settle();
            assert_eq!(rig.heard(), [], "it is not ours to read");
            rig.master().offer_again(ticket);
        }
        assert_eq!(greetings(&rig.read_until(&mut client, b")\n")), 1);
        rig.settle();
        let messages = rig.heard();
        let [WorkerMessage::Claimed { .. }, WorkerMessage::Idle { ticket: idle, service_us }] =
            messages[..]
        else {
            panic!("{messages:?}");
        };
        assert_eq!((idle, 0 < service_us), (ticket, true));
        assert_eq!(rig.master().board(), (round, round, 0));
    }
    // Once the master wants to keep connections where they are, this one stays.
    rig.master().wants_back(GiveBack::WhenLeaving);
    client.write_all(GET).unwrap();
    rig.master().offer_again(ticket);
    rig.read_until(&mut client, b")\n");
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert!(matches!(rig.heard()[..], [WorkerMessage::Claimed { .. }, WorkerMessage::Done { .. }]));
}

fn what_is_half_read_or_still_leaving_does_not_go_back(backend: impl Backend<Fd = OwnedFd>) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, _kept, ticket) = lent(&mut rig);
    // The beginning of a second request came with the first: its rest belongs here.
    client.write_all(&[GET, &GET[..9]].concat()).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert!(matches!(rig.heard()[..], [WorkerMessage::Claimed { .. }, WorkerMessage::Done { .. }]));
    client.write_all(&GET[9..]).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    assert_eq!(rig.heard(), [WorkerMessage::Idle { ticket, service_us: 0 }]);

    let (mut slow, _kept, _) = lent(&mut rig);
    slow.write_all(b"GET /bytes?n=9000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    rig.settle();
    let messages = rig.heard();
    assert!(
        matches!(messages[..], [WorkerMessage::Claimed { .. }, WorkerMessage::Waiting(_)]),
        "most of it is not out"
    );
    let mut got = Vec::new();
    rig.until("the whole answer", |_| {
        read_some(&mut slow, &mut got);
        9_000_000 < got.len()
    });
    rig.settle();
    let messages = rig.heard();
    assert!(matches!(messages[..], [WorkerMessage::Idle { .. }]), "{messages:?}");
}

/// A connection that has been answered and given back, and what the master has of it.
fn given_back<B: Backend<Fd = OwnedFd>>(backend: B) -> (Rig<B>, UnixStream, OwnedFd, Ticket) {
    let mut rig = Rig::new(backend);
    rig.master().wants_back(GiveBack::Always);
    let (mut client, kept, ticket) = lent(&mut rig);
    client.write_all(GET).unwrap();
    rig.read_until(&mut client, b")\n");
    rig.settle();
    rig.heard();
    (rig, client, kept, ticket)
}

fn what_is_given_back_belongs_to_another_until_it_is_claimed_again(
    backend: impl Backend<Fd = OwnedFd>,
) {
    let (mut rig, mut client, kept, ticket) = given_back(backend);
    // An offer entry that is late is no claim.
    rig.master().offer_entry(OfferEntry::Offer(ticket));
    client.write_all(b"for another").unwrap();
    rig.settle();
    assert_eq!(rig.heard(), [WorkerMessage::Missed(ticket)]);
    let mut bytes = [0; 11];
    UnixStream::from(kept).read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *b"for another");
}

fn a_forgotten_connection_is_closed_here_and_nowhere_else(backend: impl Backend<Fd = OwnedFd>) {
    let (mut rig, mut client, kept, ticket) = given_back(backend);
    rig.master().offer_entry(OfferEntry::Forget(ticket));
    rig.settle();
    client.write_all(GET).unwrap();
    assert!(!read_some(&mut client, &mut Vec::new()), "the master has a copy");
    // The only copy is the master's now: its end is the end.
    drop(kept);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(rig.heard(), []);
}
