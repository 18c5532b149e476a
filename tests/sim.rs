//! The production master over 256 made-up worlds, each with its own mix of faults: nothing is
//! lost, nothing has two owners, every deadline is kept, and once the faults stop, the app is
//! whole again and everybody is served. A failure prints its seed; `dispatchd sim --seed N
//! --trace` shows the whole of it, again and again.

use std::collections::BTreeMap;
use std::ops::Range;

use dispatchd::link::LinkKind;
use dispatchd::sim::{PARKED, Sabotage, SimOptions, SimReport, run, run_crowd};

/// As the command runs it.
const PLAIN: SimOptions =
    SimOptions { trace: false, link: LinkKind::Native, sabotage: None, restores: true };

/// What a sweep of worlds must have met, or it proves less than it says.
const MET: [&str; 32] = [
    "calms down",
    "closes its channel",
    "cannot be started at slot",
    "dies with its worker",
    "dies",
    "fails to accept",
    "fails to watch",
    "fills its doorbell",
    "gets signal",
    "hangs up",
    "has had its service",
    "holds a long request",
    "is closed at the end",
    "is continued",
    "is held by a tracer for us",
    "is let go of by its tracer",
    "is let go: it said nothing",
    "is rejected: too many wait",
    "is stopped",
    "is woken",
    "leaps ahead by us",
    "leaves",
    "lets go of",
    "lies",
    "gives back",
    "misses index",
    "orders",
    "refuses a batch",
    "says hello",
    "starts at slot",
    "sweeps up",
    "writes",
];

/// Every failure that a seed found is kept, with what it showed.
const FOUND: [(u64, &str); 26] = [
    (2, "an idle listener holding all accepts that there is room for, while another starves"),
    (14, "a copy of a lent connection staying in the master when the claim beats the answer"),
    (19, "a continued worker missing from the app's strength"),
    (31, "one idle worker drawing an offer from every busy one: the master span"),
    (61, "a worker called a liar for the hello that crossed its SIGTERM"),
    (70, "a copy staying in the master when a liar claimed what had not been sent"),
    (102, "workers that all come too late for their offers: nobody is ever served"),
    (145, "an idle worker that may not be offered more drawing offers all the same"),
    (241, "a worker that receives and never claims being kept for ever"),
    (254, "a slot's back-off left standing after a successor took it: the master span"),
    (278, "a connection refused after its recall had ended: it died with a worker without it"),
    (309, "copies of what no worker could be sent staying in the master, and not being counted"),
    (476, "a reload called done while the predecessor of one that left on its trial serves on"),
    (899, "the client of a dead worker waiting for an end that a copy taken back holds up"),
    (1_303, "an honest worker called a liar when a refusal and its death come together"),
    (1_555, "the checker not knowing that a full hold queue shortens the patience with the silent"),
    (1_730, "a reload going on for ever after one that was killed on its trial died late"),
    (2_187, "the checker taking what wrr lends for handed over, and missing what came back"),
    (3_115, "a liar's give-back of what it had not claimed hiding its offer from a recall"),
    (
        4_728,
        "a worker being replaced for its silence a moment after it was done with somebody else",
    ),
    (7_246, "the fake kernel keeping what a dead worker's ring had no room for"),
    (11_446, "the judge of restarts not counting the work of one that had started before the last"),
    (18_315, "a worker without a slot, where those of two releases had followed it"),
    (20_291, "a slot's back-off forgotten for one that had done nothing in a release given up"),
    (40_673, "the checker judging the refusal of what a liar had answered and not claimed"),
    (603_479, "the checker not counting what a liar has answered among those that wait"),
];

/// The hashes of the four quarters. They stay where code is only moved or renamed; who means to
/// change what happens changes them with it.
const HASHES: [u64; 4] =
    [0x2796_85d3_1710_8e96, 0x97ba_b41c_be7d_5f15, 0x4a2b_ae51_ee51_192b, 0x0de6_5eed_a43e_0787];

#[test]
fn the_first_quarter_of_the_worlds_holds() {
    sweep(0..64, HASHES[0]);
}

#[test]
fn the_second_quarter_of_the_worlds_holds() {
    sweep(64..128, HASHES[1]);
}

#[test]
fn the_third_quarter_of_the_worlds_holds() {
    sweep(128..192, HASHES[2]);
}

#[test]
fn the_last_quarter_of_the_worlds_holds() {
    sweep(192..256, HASHES[3]);
}

/// What worlds must have met over links whose workers only acknowledge connections.
const MET_ACKNOWLEDGED: [&str; 10] = [
    "claims",
    "closes its channel",
    "dies with its worker",
    "has had its service",
    "is stopped",
    "lies",
    "orders",
    "refuses a batch",
    "is rejected: too many wait",
    "is closed by its worker",
];

/// And over links whose workers accept for themselves.
const MET_NOTIFIED: [&str; 7] = [
    "accepts",
    "dies with its worker",
    "gets signal",
    "is stopped",
    "leaves",
    "orders",
    "is closed by its worker",
];

#[test]
fn workers_that_only_acknowledge_lose_nothing() {
    let reports = sweep_over(LinkKind::Acknowledged, 0..256);
    let counts = met(&reports, &MET_ACKNOWLEDGED);
    for never in ["gives back", "misses index"] {
        assert_eq!(counts.get(never), None, "nobody was asked for that");
    }
}

#[test]
fn workers_that_accept_for_themselves_are_supervised_like_any() {
    let reports = sweep_over(LinkKind::Notified, 0..256);
    let counts = met(&reports, &MET_NOTIFIED);
    for never in ["is sent", "claims", "gives back", "sweeps up"] {
        assert_eq!(counts.get(never), None, "nobody was asked for that");
    }
}

#[test]
fn programs_that_serve_nothing_and_say_nothing_are_supervised_like_any() {
    let reports = sweep_over(LinkKind::Bare, 0..256);
    met(&reports, &["dies", "gets signal", "is stopped", "leaves", "orders", "does not die"]);
}

#[test]
fn what_seeds_have_found_stays_found() {
    for (seed, what) in FOUND {
        let report = run(seed, PLAIN);
        assert_eq!(report.verdict, None, "{what} is back:\n{report}");
    }
}

#[test]
fn a_seed_is_one_run_for_ever() {
    for seed in 0..16 {
        let (first, second) = (run(seed, PLAIN), run(seed, PLAIN));
        assert_eq!((first.hash, first.turns), (second.hash, second.turns), "seed {seed}");
    }
    assert_ne!(run(1, PLAIN).hash, run(2, PLAIN).hash);
}

#[test]
fn a_restored_engine_goes_on_as_if_nothing_had_been() {
    for seed in 100..116 {
        let (restored, untouched) = (run(seed, PLAIN), run(seed, SimOptions::default()));
        assert_eq!(restored.hash, untouched.hash, "seed {seed}: the snapshot forgot something");
    }
}

#[test]
fn a_trace_tells_the_whole_run() {
    let short = run(3, PLAIN);
    let whole = run(3, SimOptions { trace: true, ..PLAIN });
    assert_eq!(short.hash, whole.hash);
    assert!(short.trace.len() <= 40 && 40 < whole.trace.len());
    assert!(whole.trace.ends_with(&short.trace));
}

#[test]
fn the_checker_finds_planted_bugs() {
    let plants = [
        (Sabotage::RecallTooLate, "was dropped by the master"),
        (Sabotage::RecallClaimed, "is begun by processes"),
        (Sabotage::ClaimRecalled, "is begun by processes"),
        (Sabotage::SwallowReadable, "is not served"),
        (Sabotage::SwallowDeath, "nobody said that it ended"),
        (Sabotage::LoseClosed, "are believed with workers"),
        (Sabotage::LeakClose, "of connections and reckons with"),
        (Sabotage::LeakSource, "is open at the end"),
        (Sabotage::RepeatWord, "is honest, and called a liar"),
        (Sabotage::LoseOfferEntry, "descriptors, and room for"),
        (Sabotage::LetSleep, "sleeps over an offer"),
        (Sabotage::AnswerLate, "answers"),
        (Sabotage::ShareDoorbell, "rang and was not heard"),
    ];
    for (sabotage, finding) in plants {
        let found = |seed: &u64| {
            let report = run(*seed, SimOptions { sabotage: Some(sabotage), ..PLAIN });
            report.verdict.is_some_and(|verdict| verdict.contains(finding))
        };
        let seed = (0..64).find(found);
        assert!(seed.is_some(), "{sabotage:?} is not found as \"{finding}\" by any of 64 seeds");
    }
}

#[test]
fn a_failure_says_how_to_see_it_again() {
    let failed = (0..64)
        .map(|seed| run(seed, SimOptions { sabotage: Some(Sabotage::LeakClose), ..PLAIN }))
        .find(|report| report.verdict.is_some())
        .expect("a leak is found");
    let text = failed.to_string();
    let command = format!("dispatchd sim --seed {} --trace", failed.seed);
    for part in [command.as_str(), "FAILED after", "Setup", "Faults"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

/// The rarest of all: an accept that leaks a connection where it is forgotten, a process that
/// outlives its master, and programs that are found late or not at all.
#[test]
fn some_world_meets_the_rarest() {
    for what in [
        "accepts after the cancel",
        "does not die",
        "is left behind",
        "executes its program late",
        "has no program",
        "lets itself be started anew",
        "finds a reset on",
    ] {
        let meets = |seed: &u64| run(*seed, PLAIN).counts.contains_key(what);
        assert!((0..512).any(|seed| meets(&seed)), "no world met \"{what}\"");
    }
}

/// All of these are good.
fn sweep_over(link: LinkKind, seeds: Range<u64>) -> Vec<SimReport> {
    let reports: Vec<SimReport> =
        seeds.map(|seed| run(seed, SimOptions { link, ..PLAIN })).collect();
    for report in &reports {
        assert_eq!(report.verdict, None, "\n{report}");
    }
    reports
}

/// How often each thing happened in them, and each of these did.
fn met<'a>(reports: &[SimReport], wanted: &[&str]) -> BTreeMap<&'a str, u64> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (what, times) in reports.iter().flat_map(|report| &report.counts) {
        *counts.entry(what).or_default() += times;
    }
    for what in wanted {
        assert!(counts.contains_key(what), "no world met \"{what}\": {counts:?}");
    }
    counts
}

fn sweep(seeds: Range<u64>, hash: u64) {
    let reports = sweep_over(LinkKind::Native, seeds);
    met(&reports, &MET);
    let found = reports.iter().fold(0, |sum: u64, report| sum.rotate_left(1) ^ report.hash);
    assert_eq!(found, hash, "not the runs that they were: {found:#x}");
}

/// As many as a master can have, nearly: what grows with the square of them would not come to an
/// end here.
#[test]
fn a_hundred_thousand_connections_are_parked_and_served_again() {
    let report = run_crowd(1, 100_000, PLAIN);
    assert_eq!(report.verdict, None, "\n{report}");
    assert_eq!(report.counts[PARKED], 100_000);
    assert_eq!(report.counts["gives back"], 300_000);
}
