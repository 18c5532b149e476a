//! What the command line and the master say to each other on the control socket: one JSON line
//! each way. The two may be of different versions, since a master goes on after an update: what
//! one does not know, the other does without.

use serde::{Deserialize, Serialize};

/// What a client may ask.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// How are you? [`ControlReply::Status`].
    Status,
}

/// What the master answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum ControlReply {
    /// The whole picture.
    Status(Box<Status>),
    /// The request made no sense.
    Error {
        /// Why.
        message: String,
    },
}

/// The state of a master and its workers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Status {
    /// `--name`.
    pub name: String,
    /// Version of the master.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// `uring` or `epoll`.
    pub backend: String,
    /// Why that one.
    pub backend_reason: String,
    /// The policy, as `--policy` takes it.
    pub policy: String,
    /// What is dispatched, as `--dispatch` takes it; `connection` where the policy leaves no
    /// choice.
    pub dispatch: String,
    /// Whether requests are dispatched each for itself at the moment.
    pub spreads_requests: bool,
    /// Short requests before long ones.
    pub classes: ClassesStatus,
    /// Bound addresses.
    pub listeners: Vec<String>,
    /// The rollout that serves.
    pub generation: u32,
    /// The word of a [`super::words::Phase`].
    pub phase: String,
    /// The last reload, if there was one.
    pub reload: Option<Reload>,
    /// Workers that are ready.
    pub have: u16,
    /// Workers that are wanted.
    pub want: u16,
    /// Connections in the master.
    pub hold: Hold,
    /// What has happened so far.
    pub totals: Totals,
    /// Every worker process.
    pub workers: Vec<WorkerStatus>,
}

/// Connections in the master.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Hold {
    /// Waiting for a worker.
    pub held: u32,
    /// Waiting for the client's first byte.
    pub watched: u32,
    /// On their way to a worker.
    pub offered: u32,
    /// Answered, and waiting for their next request.
    pub parked: u32,
    /// `--hold`. Under `--overload hold` nothing is accepted while held and watched together reach
    /// it; under `reject` whoever asks beyond it is refused.
    pub limit: u32,
}

/// What is known of short and long requests.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ClassesStatus {
    /// What makes requests alike, as `--classes` takes it.
    pub by: String,
    /// Routes whose time is known.
    pub routes: u32,
    /// Those of them that are long.
    pub long_routes: u32,
    /// Long requests that wait for a worker; the rest of [`Hold::held`] is short.
    pub held_long: u32,
    /// Workers that are kept free of long requests.
    pub reserved: u32,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Totals {
    /// Connections accepted by the master.
    pub arrived: u64,
    /// Connections that have ended after a worker had begun with them, or between two requests.
    pub closed: u64,
    /// Connections whose clients left without having said anything, or before anybody began with
    /// what they had.
    pub hung_up: u64,
    /// Connections turned away: no more might wait.
    pub rejected: u64,
    /// Connections that the master has closed: silent for too long, or waiting at its end.
    pub expired: u64,
    /// Those of the closed ones that died with their worker.
    pub lost: u64,
    /// Connections saved from dead workers.
    pub recovered: u64,
    /// Offers taken back from stalled workers.
    pub recalled: u64,
    /// Times that a worker gave a connection back between two requests.
    pub given_back: u64,
    /// Processes that could not be killed, and were left behind.
    pub left_behind: u64,
    /// Log lines dropped because nobody read them.
    pub log_lines_dropped: u64,
    /// Connections that workers have taken; one that comes back for its next request counts again.
    /// This and the rest are of all workers that there ever were.
    pub accepted: u64,
    /// Requests answered.
    pub requests: u64,
    /// Times that the master woke a worker for what it wrote.
    pub wakes: u64,
    /// Times that a worker woke the master.
    pub rings: u64,
}

/// A reload: the replacement of all workers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Reload {
    /// What the new workers belong to.
    pub generation: u32,
    /// The word of a [`super::words::ReloadOutcome`].
    pub outcome: String,
    /// Seconds since it was so: since it began, while it runs.
    pub ago_s: u64,
    /// Why it was given up.
    pub why: Option<String>,
}

/// One worker process. What it has done so far includes what others did in its slot before it;
/// while one is being replaced by another, that stands with the older one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Its slot.
    pub worker: u16,
    /// Its process.
    pub pid: u32,
    /// Where in its life: the word of a [`super::words::Standing`].
    pub state: String,
    /// The CPU it is bound to.
    pub cpu: Option<u16>,
    /// Its rollout.
    pub generation: u32,
    /// Connections open.
    pub connections: u32,
    /// Requests begun and not answered, and offers on their way.
    pub in_flight: u32,
    /// Connections taken so far; one that comes back for its next request counts again.
    pub accepted: u64,
    /// Requests answered so far.
    pub requests: u64,
    /// Times that the master woke it for what it wrote; a connection that is sent wakes by itself.
    pub wakes: u64,
    /// Times that it woke the master.
    pub rings: u64,
    /// How often its slot was filled again.
    pub restarts: u32,
    /// How the slot's last worker ended.
    pub last_exit: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_of_another_version_is_understood() {
        let line = r#"{"reply":"status","name":"a","totals":{"arrived":3},"moons":[2]}"#;
        let ControlReply::Status(status) = serde_json::from_str(line).unwrap() else {
            panic!("{line}")
        };
        assert_eq!((status.name.as_str(), status.totals.arrived, status.have), ("a", 3, 0));
    }

    #[test]
    fn requests_read_back_and_strangers_are_refused() {
        let line = serde_json::to_string(&ControlRequest::Status).unwrap();
        assert_eq!(line, r#"{"ask":"status"}"#);
        assert_eq!(serde_json::from_str::<ControlRequest>(&line).unwrap(), ControlRequest::Status);
        serde_json::from_str::<ControlRequest>(r#"{"ask":"reboot"}"#).unwrap_err();
        serde_json::from_str::<ControlRequest>("status").unwrap_err();
    }
}
