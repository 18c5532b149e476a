//! What a run is about: the app's setup, its clients and its operator, drawn from the seed.

use std::fmt;

use super::faults::{Faults, between, pick};
use crate::engine::Setup;
use crate::engine::capabilities::{Accepter, Capabilities, Endings, Returns};
use crate::engine::dispatcher::Rules;
use crate::engine::dispatcher::giveback::Dispatch;
use crate::engine::dispatcher::overload::Overload;
use crate::engine::dispatcher::policy::{Binder, Depth, Policy, Unsupported};
use crate::engine::input::FirstSpeaker;
use crate::engine::rng::Rng;
use crate::engine::supervisor::worker::Patience;
use crate::limits::{HOLD_MAX, OFFER_ENTRY_RING, TICKETS_MAX};
use crate::link::LinkKind;
use crate::master::host::Notice;
use crate::units::{Mono, Route, Span};

/// Everything about a run that is decided before it begins.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) setup: Setup,
    /// The kind of the workers' links.
    pub(super) link: LinkKind,
    pub(super) faults: Faults,
    /// Before then no process is at fault, so that the app gets up.
    pub(super) faults_from: Mono,
    /// From then on nothing new goes wrong.
    pub(super) calm_from: Mono,
    /// When the app must be whole again; `None`: it is stopped in the middle of the faults.
    pub(super) examined_at: Option<Mono>,
    pub(super) clients: Vec<Client>,
    pub(super) orders: Vec<(Mono, Notice)>,
    /// Who speaks first on each listener; with `slots`, one listener per slot.
    pub(super) listeners: Vec<FirstSpeaker>,
    /// What workers announce.
    pub(super) concurrency: Concurrency,
    pub(super) connections_max: u32,
    /// Messages that fit into a channel.
    pub(super) channel: usize,
    /// Offer entries that fit into a worker's ring.
    pub(super) offer_entries: usize,
    /// Longest service.
    pub(super) service: Span,
    /// Whether workers receive more than they begin with; only those of concurrency above one.
    pub(super) greedy: bool,
    /// Whether connections live on after the first answer.
    pub(super) stay: ClientStay,
    /// Whether submitted operations take effect at once, as with epoll, or in the next wait.
    pub(super) eager: bool,
}

/// What workers can do at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Concurrency {
    Same(u32),
    /// Each its own.
    Mixed,
}

/// What becomes of connections that are answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ClientStay {
    /// They end.
    Never,
    /// Most live on, and some of them are pinned.
    Mixed,
    /// All live on, and none is pinned.
    Always,
}

/// A client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) connects: Mono,
    /// `None`: it says nothing, ever.
    pub(super) sends: Option<Mono>,
    /// `None`: it waits for its answer.
    pub(super) hangs_up: Option<Mono>,
    /// How much it has to ask, if its connection is kept for so long.
    pub(super) requests: u32,
    /// How long it thinks at most before it asks again.
    pub(super) thinks: Span,
}

/// What a client asks for, again and again; some ask for nothing that could be told apart.
pub(super) fn route_of(client: usize) -> Option<Route> {
    u32::try_from(client % ROUTES).ok().filter(|route| *route != 0).map(Route)
}

/// The most that [`length_of`] says.
pub(super) const LENGTH_MAX: u64 = 8;

/// How many times as long as others its first requests take.
pub(super) const fn length_of(client: usize) -> u64 {
    if client % ROUTES == 1 { LENGTH_MAX } else { 1 }
}

/// How many things there are to ask for.
const ROUTES: usize = 4;

/// Time for an app to become whole again after the last fault: the longest back-off with its
/// jitter, a start, a rollout's failures, and the patience with stalled and draining workers.
const RECOVERY: Span = Span::from_s(40);
/// Time for the clients that come after the recovery; the longer one lets the patience with silent
/// clients end.
const AFTERWARDS: [Span; 3] = [Span::from_s(5), Span::from_s(5), Span::from_s(30)];

/// When a crowd has all its answers, and before its first connection has been idle for too long.
const CROWD_IS_THERE_AT: Mono = Mono::from_ns(65_000_000_000);
const CROWD_ENDS_AT: Mono = Mono::from_ns(72_000_000_000);

/// How long services last at most.
const SERVICES: [Span; 4] =
    [Span::from_us(50), Span::from_us(200), Span::from_ms(3), Span::from_ms(30)];

impl Scenario {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let quiet = rng.chance(1, 16);
        let faults = if quiet { Faults::NONE } else { Faults::draw(rng) };
        let setup = draw_setup(rng);
        let mut dice = Rng::new(setup.seed);
        let faults = if quiet { faults } else { faults.and_later_ones(&mut dice) };
        let rough_start = rng.chance(1, 12);
        let faults_from = Mono::from_ns(if rough_start { 0 } else { 200_000_000 });
        let busy = between(rng, Span::from_ms(800), Span::from_ms(3_000));
        let calm_from = Mono::ZERO.after(Span::from_ms(200)).after(busy);
        let examined_at = rng.chance(4, 5).then(|| calm_from.after(RECOVERY));
        let ends_at = match examined_at {
            Some(at) => at.after(pick(rng, &AFTERWARDS)),
            None => Mono::from_ns(rng.below(calm_from.as_ns())),
        };
        // Silent clients fill a small hold queue until they are let go; that is what it is for.
        let stay = 20 < setup.rules.hold_max;
        let mut clients = draw_clients(rng, 60, stay, Mono::ZERO, calm_from);
        if let Some(at) = examined_at {
            clients.extend(draw_clients(rng, 10, stay, at, at.after(Span::from_s(1))));
        }
        let server_first = rng.chance(1, 8);
        let first_speaker = if server_first { FirstSpeaker::Server } else { FirstSpeaker::Client };
        let listeners = match setup.rules.policy {
            Policy::Reuseport => vec![FirstSpeaker::Client; setup.rules.weights.len()],
            _ if rng.chance(1, 3) => vec![FirstSpeaker::Client, first_speaker],
            _ => vec![first_speaker],
        };
        Self {
            orders: draw_orders(rng, calm_from, ends_at),
            concurrency: match rng.below(3) {
                0 => Concurrency::Same(1),
                1 => Concurrency::Same(2 + u32::try_from(rng.below(6)).unwrap_or(0)),
                _ => Concurrency::Mixed,
            },
            connections_max: pick(rng, &[1_000, 1_000, 6]),
            channel: pick(rng, &[1, 2, 8, 64]),
            offer_entries: pick(rng, &[1, 3, 64, 64]),
            service: pick(rng, &SERVICES),
            greedy: rng.chance(1, 2),
            stay: if rng.chance(1, 2) { ClientStay::Mixed } else { ClientStay::Never },
            eager: rng.chance(1, 2),
            setup,
            link: LinkKind::Native,
            faults,
            faults_from,
            calm_from,
            examined_at,
            clients,
            listeners,
        }
    }

    /// A crowd of so many clients, each of whom asks three times on a connection that stays open,
    /// and nobody and nothing at fault.
    pub(super) fn crowd(rng: &mut Rng, clients: u32) -> Self {
        let ends_at = CROWD_ENDS_AT;
        let one = |rng: &mut Rng| {
            let connects = Mono::from_ns(rng.below(Span::from_s(10).as_ns()));
            let (sends, thinks) = (Some(connects), Span::from_s(25));
            Client { connects, sends, hangs_up: None, requests: 3, thinks }
        };
        let patience = Patience { start: Span::from_s(1), drain: Span::from_s(5) };
        Self {
            setup: Setup {
                rules: Rules {
                    policy: Policy::Jbsq(Depth::Auto),
                    weights: vec![1; 4],
                    dispatch: Dispatch::Request,
                    classes: false,
                    hold_max: HOLD_MAX,
                    copies_max: TICKETS_MAX,
                    slot_cost: 0,
                    overload: Overload::Hold,
                    stall_timeout: Span::from_s(1),
                },
                capabilities: Capabilities::FULL,
                patience,
                seed: rng.next_u64(),
            },
            link: LinkKind::Native,
            faults: Faults::NONE,
            faults_from: Mono::ZERO,
            calm_from: Mono::ZERO,
            examined_at: Some(CROWD_IS_THERE_AT),
            clients: (0..clients).map(|_| one(rng)).collect(),
            orders: vec![(ends_at, Notice::Terminate)],
            listeners: vec![FirstSpeaker::Client],
            concurrency: Concurrency::Same(1),
            connections_max: TICKETS_MAX,
            channel: 64,
            offer_entries: OFFER_ENTRY_RING,
            service: Span::from_us(50),
            greedy: false,
            stay: ClientStay::Always,
            eager: false,
        }
    }

    /// The same over links of this kind, as far as those can do it.
    pub(super) fn over(mut self, link: LinkKind) -> Self {
        let (capabilities, rules) = (link.capabilities(), &mut self.setup.rules);
        if let Err(Unsupported { nearest, .. }) = rules.policy.supported_by(capabilities) {
            rules.policy = nearest.unwrap_or(Policy::RoundRobin);
            rules.classes = false;
        }
        match capabilities.returns {
            Returns::PerRequest => {}
            Returns::Never => rules.dispatch = Dispatch::Connection,
        }
        match capabilities.accepter {
            Accepter::Either => {}
            // Nobody sees them close a channel that they do not have.
            Accepter::Workers => self.faults.detach = 0,
            Accepter::Nobody => {
                self.faults.detach = 0;
                self.clients.clear();
                self.listeners.clear();
            }
        }
        (self.link, self.setup.capabilities) = (link, capabilities);
        self
    }

    /// Whether workers are sent connections, and say more than that they are ready.
    pub(super) const fn has_channels(&self) -> bool {
        self.setup.capabilities.can_be_handed()
    }

    /// Whether workers say what becomes of connections.
    pub(super) const fn tells_endings(&self) -> bool {
        matches!(self.setup.capabilities.endings, Endings::Told)
    }

    /// Whether connections can come back from workers.
    pub(super) fn lends(&self) -> bool {
        self.setup.rules.policy.spreads() && self.setup.rules.dispatch != Dispatch::Connection
    }

    /// Whether workers accept for themselves.
    pub(super) const fn is_kernel(&self) -> bool {
        matches!(self.setup.rules.policy.binder(), Binder::Kernel)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setup, faults, concurrency, channel, connections_max, .. } = self;
        writeln!(f, "{setup:?}")?;
        writeln!(f, "{faults:?}")?;
        write!(f, "{concurrency:?}, {connections_max} connections, channels of {channel}")?;
        write!(f, ", listeners {:?}, calm from {:?}", self.listeners, self.calm_from)
    }
}

fn draw_setup(rng: &mut Rng) -> Setup {
    let policy = pick(
        rng,
        &[
            Policy::RoundRobin,
            Policy::Weighted,
            Policy::Least,
            Policy::Jbsq(Depth::Auto),
            Policy::Jbsq(Depth::Fixed(1)),
            Policy::Jbsq(Depth::Fixed(3)),
            Policy::Shared,
            Policy::Reuseport,
        ],
    );
    let slots = 1 + rng.below(4);
    let dispatch =
        pick(rng, &[Dispatch::Auto, Dispatch::Request, Dispatch::Request, Dispatch::Connection]);
    let (holds, seed) = (matches!(policy, Policy::Jbsq(_)), rng.next_u64());
    let copies_max = pick(rng, &[1_000, 1_000, 1_000, 30]);
    let weights = (0..slots).map(|_| pick(rng, &[1, 1, 2, 5])).collect();
    let hold_max = pick(rng, &[1, 2, 5, 20, 1_000]);
    let overload = pick(rng, &[Overload::Hold, Overload::Hold, Overload::Reject]);
    let patience = Patience {
        start: between(rng, Span::from_ms(150), Span::from_ms(1_500)),
        drain: between(rng, Span::from_ms(100), Span::from_ms(2_000)),
    };
    let stall_timeout = between(rng, Span::from_ms(50), Span::from_ms(1_000));
    let classes = holds && seed & 1 == 1;
    let slot_cost = 0;
    let rules = Rules {
        policy,
        weights,
        dispatch,
        classes,
        hold_max,
        copies_max,
        slot_cost,
        overload,
        stall_timeout,
    };
    Setup { rules, capabilities: Capabilities::FULL, patience, seed }
}

/// `stay`: whether those who say nothing may stay on the line.
fn draw_clients(rng: &mut Rng, least: u64, stay: bool, from: Mono, to: Mono) -> Vec<Client> {
    let count = least + rng.below(least * 4);
    let (silent, leaving) = (rng.below(150), rng.below(200));
    let one = |_| {
        let connects = from.after(Span::from_ns(rng.below(to.since(from).as_ns() + 1)));
        let soon = Span::from_us(if rng.chance(1, 2) { 0 } else { rng.below(20_000) });
        let sends = (!rng.chance(silent, 1_000)).then(|| connects.after(soon));
        let leaves = rng.chance(leaving, 1_000) || sends.is_none() && !stay;
        let after = Span::from_us(rng.below(60_000));
        let requests =
            if rng.chance(1, 2) { 1 } else { 1 + u32::try_from(rng.below(9)).unwrap_or(0) };
        let thinks = pick(rng, &[Span::ZERO, Span::from_ms(1), Span::from_ms(40)]);
        let hangs_up = leaves.then(|| connects.after(after));
        Client { connects, sends, hangs_up, requests, thinks }
    };
    (0..count).map(one).collect()
}

fn draw_orders(rng: &mut Rng, calm_from: Mono, ends_at: Mono) -> Vec<(Mono, Notice)> {
    let mut orders = Vec::new();
    let changes = [Notice::Reload, Notice::Reload, Notice::OneMore, Notice::OneLess];
    for _ in 0..rng.below(6) {
        let at = Mono::from_ns(rng.below(calm_from.as_ns()));
        orders.push((at, pick(rng, &changes)));
    }
    match rng.below(4) {
        0 => orders.push((ends_at, Notice::Quit)),
        1 => {
            orders.push((ends_at, Notice::Interrupt));
            let again = Span::from_us(rng.below(500_000));
            orders.push((ends_at.after(again), Notice::Interrupt));
        }
        _ => orders.push((ends_at, Notice::Terminate)),
    }
    orders
}
