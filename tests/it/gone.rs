//! Clients that give up while their requests wait: nobody works for whoever has reset its
//! connection, and everybody else is served, be it half closed.

use dispatchd::limits::LOOK_AFTER;
use dispatchd::sys::clock::monotonic;

use crate::client::Client;
use crate::server::{Plan, Server, example};
use crate::wait::eventually;

on_both! {
    requests_of_clients_that_have_reset_cost_nobody_anything
    nor_do_they_cost_a_worker_of_the_sdk_anything
    who_has_closed_its_side_gets_its_answer
}

/// What nobody may begin with, or the test takes a minute.
const ENDLESS: &str = "/sleep?ms=60000";

fn plan(backend: &str, policy: &str) -> Plan {
    Plan::on(backend).with(&format!("--workers 1 --policy {policy}"))
}

/// Has so many clients ask for something while the only worker is busy, and give up.
fn give_up(server: &Server, clients: u64, path: &str) {
    let before = server.status().totals.arrived;
    let ask = || Client::asking(server.address(), path).unwrap();
    let waiting: Vec<Client> = (0..clients).map(|_| ask()).collect();
    server.wait_for_status("they have asked", |status| {
        status.totals.arrived == before + clients && status.hold.watched == 0
    });
    waiting.into_iter().for_each(Client::reset);
    // Who gives up sooner than that is served.
    let asked_at = monotonic();
    eventually("they have waited", || (LOOK_AFTER <= monotonic().since(asked_at)).then_some(()));
}

fn requests_of_clients_that_have_reset_cost_nobody_anything(backend: &str) {
    for policy in ["jbsq:2", "least", "rr"] {
        let server = plan(backend, policy).start();
        let mut busy = Client::asking(server.address(), "/sleep?ms=2000").unwrap();
        server.busy_worker();
        give_up(&server, 20, ENDLESS);
        let mut next = Client::asking(server.address(), "/").unwrap();
        assert_eq!(busy.reply().unwrap().status, 200);
        assert_eq!(next.reply().unwrap().status, 200, "{policy}");
        let totals = server
            .wait_for_status("all are counted", |status| {
                status.totals.hung_up + status.totals.closed == 22
            })
            .totals;
        // What had not been sent to the worker was none of its business.
        assert!(policy != "jbsq:2" || 18 <= totals.hung_up, "{totals:?}");
        assert_eq!(totals.requests, 2, "{policy}: {totals:?}");
    }
}

fn nor_do_they_cost_a_worker_of_the_sdk_anything(backend: &str) {
    let server = plan(backend, "rr").program([example("http_worker")]).start();
    // It waits for the end of this one's head.
    let mut busy = Client::connect(server.address()).unwrap();
    busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    server.busy_worker();
    give_up(&server, 20, "/");
    busy.send(b"Connection: close\r\n\r\n").unwrap();
    assert_eq!(busy.reply().unwrap().status, 200);
    assert_eq!(Client::get_once(server.address(), "/").unwrap().status, 200);
    assert_eq!(server.status().totals.requests, 2);
}

fn who_has_closed_its_side_gets_its_answer(backend: &str) {
    for policy in ["jbsq", "rr"] {
        let server = plan(backend, policy).start();
        let mut busy = Client::asking(server.address(), "/sleep?ms=300").unwrap();
        server.busy_worker();
        let mut waits: Vec<Client> =
            (0..5).map(|_| Client::asking(server.address(), "/").unwrap()).collect();
        for client in &waits {
            client.finish().unwrap();
        }
        assert_eq!(busy.reply().unwrap().status, 200);
        for client in &mut waits {
            assert_eq!(client.reply().unwrap().status, 200, "{policy}");
        }
    }
}
