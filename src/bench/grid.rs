//! What is compared with what: groups of cells that differ only in the policy and see the very same
//! traces, so that a difference between them is the policy's.

use super::mix::{Mix, MixError, Service};
use super::result::{Cell, Medium};
use super::trace::{Arrivals, Connections, TraceSpec};

/// Policies under the same load.
#[derive(Clone, Debug, PartialEq)]
pub struct GridGroup {
    /// How many workers.
    pub workers: u32,
    /// Their speeds where they differ, else empty: 1 serves a second's work in a second.
    pub speeds: Vec<f64>,
    /// What is asked; every class tells its service time.
    pub mix: Mix,
    /// How service time is spent.
    pub medium: Medium,
    /// Share of the workers' whole capacity that is asked for.
    pub load: f64,
    /// How requests share connections.
    pub sharing: ConnectionSharing,
    /// Who is compared, as `--policy` takes them; what follows behind slashes, `--dispatch` and
    /// `--classes` take.
    pub policies: Vec<String>,
}

/// How requests share connections, in terms that fit every load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionSharing {
    /// A connection for each.
    Close,
    /// Visits of 50 requests with pauses of 50 mean service times: scheduling.md, section 2.2.
    KeepAlive,
}

/// Axes of a grid; every combination of theirs is a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Axes {
    /// Numbers of workers.
    pub workers: Vec<u32>,
    /// Names of mixes.
    pub mixes: Vec<String>,
    /// How service time is spent.
    pub medium: Medium,
    /// The short class's service time, or the mean, in milliseconds.
    pub unit_ms: f64,
    /// Loads.
    pub loads: Vec<f64>,
    /// Ways to share connections.
    pub sharings: Vec<ConnectionSharing>,
    /// Speeds of the workers, repeated as often as needed; empty when all are alike.
    pub speeds: Vec<f64>,
    /// Policies.
    pub policies: Vec<String>,
}

impl Axes {
    /// Every combination, policies apart.
    ///
    /// # Errors
    /// A mix that does not exist.
    pub fn groups(&self) -> Result<Vec<GridGroup>, MixError> {
        let service = match self.medium {
            Medium::Spin => Service::Spin,
            Medium::Sleep | Medium::Simulated | Medium::Server => Service::Sleep,
        };
        let mut groups = Vec::new();
        for sharing in &self.sharings {
            for name in &self.mixes {
                for load in &self.loads {
                    for workers in &self.workers {
                        groups.push(GridGroup {
                            workers: *workers,
                            speeds: self.speeds_of(*workers),
                            mix: Mix::named(name, service, self.unit_ms)?,
                            medium: self.medium,
                            load: *load,
                            sharing: *sharing,
                            policies: self.policies.clone(),
                        });
                    }
                }
            }
        }
        Ok(groups)
    }

    fn speeds_of(&self, workers: u32) -> Vec<f64> {
        let cycle = self.speeds.iter().copied().cycle();
        if self.speeds.is_empty() { Vec::new() } else { cycle.take(workers as usize).collect() }
    }
}

impl GridGroup {
    /// The spec of one round's trace.
    pub fn spec(&self, seed: u64, requests: u64) -> TraceSpec {
        TraceSpec {
            seed,
            mix: self.mix.clone(),
            arrivals: Arrivals::Poisson,
            connections: self.connections(),
            rate: self.load * self.all_speeds().iter().sum::<f64>() / self.mean_ms() * 1e3,
            requests,
            ramp_s: 0.0,
        }
    }

    /// One speed per worker.
    pub fn all_speeds(&self) -> Vec<f64> {
        if self.speeds.is_empty() { vec![1.0; self.workers as usize] } else { self.speeds.clone() }
    }

    /// Weights that are true to the speeds: 1 for the slowest.
    pub fn true_weights(&self) -> Vec<u32> {
        let speeds = self.all_speeds();
        let slowest = speeds.iter().copied().fold(f64::INFINITY, f64::min);
        speeds.iter().map(|speed| weight_of(speed / slowest)).collect()
    }

    /// What tables call the way in which requests share connections.
    pub const fn sharing_name(&self) -> &'static str {
        match self.sharing {
            ConnectionSharing::Close => "close",
            ConnectionSharing::KeepAlive => "keep-alive",
        }
    }

    /// What the flags take of one that is compared: `--policy`, `--dispatch` and `--classes`.
    pub fn flags_of(policy: &str) -> (&str, Option<&str>, Option<&str>) {
        let mut words = policy.splitn(3, '/');
        (words.next().unwrap_or_default(), words.next(), words.next())
    }

    /// The cell of one policy, without rounds yet.
    pub fn cell(&self, policy: &str) -> Cell {
        Cell {
            subject: policy.to_owned(),
            workers: self.workers,
            speeds: self.speeds.clone(),
            mix: self.mix.name.clone(),
            medium: self.medium,
            load: Some(self.load),
            connections: self.sharing_name().to_owned(),
            stall: None,
            rounds: Vec::new(),
        }
    }

    /// A name for files: `bim100-sleep-close-0.8-k4`.
    pub fn slug(&self) -> String {
        let medium = match self.medium {
            Medium::Sleep => "sleep",
            Medium::Spin => "spin",
            Medium::Simulated => "simulated",
            Medium::Server => "server",
        };
        let uneven = if self.speeds.is_empty() { "" } else { "-uneven" };
        let (mix, sharing, load) = (&self.mix.name, self.sharing_name(), self.load);
        format!("{mix}-{medium}-{sharing}-{load}-k{}{uneven}", self.workers)
    }

    fn connections(&self) -> Connections {
        match self.sharing {
            ConnectionSharing::Close => Connections::PerRequest,
            ConnectionSharing::KeepAlive => {
                Connections::KeepAlive { requests: 50.0, think_ms: 50.0 * self.mean_ms() }
            }
        }
    }

    fn mean_ms(&self) -> f64 {
        self.mix.mean_ms().expect("the mixes of a grid tell their service times")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that does not fit saturates, which is what is meant"
)]
fn weight_of(ratio: f64) -> u32 {
    ratio.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Axes {
        Axes {
            workers: vec![2, 4],
            mixes: vec!["bim10".into(), "bim100".into()],
            medium: Medium::Sleep,
            unit_ms: 1.0,
            loads: vec![0.8],
            sharings: vec![ConnectionSharing::Close, ConnectionSharing::KeepAlive],
            speeds: Vec::new(),
            policies: vec!["rr".into(), "jbsq".into()],
        }
    }

    #[test]
    fn every_combination_is_there_once_with_a_name_of_its_own() {
        let groups = axes().groups().unwrap();
        let mut slugs: Vec<String> = groups.iter().map(GridGroup::slug).collect();
        assert_eq!(slugs[0], "bim10-sleep-close-0.8-k2");
        slugs.sort();
        slugs.dedup();
        assert_eq!((groups.len(), slugs.len()), (8, 8));
        let unknown = Axes { mixes: vec!["bim7".into()], ..axes() };
        assert!(unknown.groups().unwrap_err().to_string().contains("bim7"));
    }

    #[test]
    fn the_rate_is_the_load_of_what_the_workers_can_do() {
        let groups = axes().groups().unwrap();
        // 0.8 of two workers at 1.9 ms, and of four.
        assert!((groups[0].spec(1, 10).rate - 842.1).abs() < 0.1);
        assert!((groups[1].spec(1, 10).rate - 1_684.2).abs() < 0.1);
        let uneven = Axes { speeds: vec![1.0, 0.5], ..axes() }.groups().unwrap();
        assert!((uneven[1].spec(1, 10).rate - 1_263.2).abs() < 0.1);
        assert_eq!(uneven[1].true_weights(), [2, 1, 2, 1]);
        assert_eq!(groups[1].true_weights(), [1; 4]);
    }
}
