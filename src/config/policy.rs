//! The names of the policies. They are few and short, and people come with the names that other
//! balancers use, so a wrong one is answered with the one that was probably meant.

use crate::config::words;
use crate::config::wrong::Wrong;
use crate::engine::dispatcher::policy::{Depth, Policy};
use crate::limits::JBSQ_DEPTH_MAX;

/// The policies that have one name and nothing to set.
const NAMES: [(&str, Policy); 6] = [
    ("rr", Policy::RoundRobin),
    ("wrr", Policy::Weighted),
    ("least", Policy::Least),
    ("jbsq", Policy::Jbsq(Depth::Auto)),
    ("shared", Policy::Shared),
    ("reuseport", Policy::Reuseport),
];

/// What the same thing is called elsewhere, without dashes and underscores.
const ELSEWHERE: [(&str, &str); 18] = [
    ("roundrobin", "rr"),
    ("robin", "rr"),
    ("weighted", "wrr"),
    ("weightedroundrobin", "wrr"),
    ("swrr", "wrr"),
    ("leastconn", "least"),
    ("leastconns", "least"),
    ("leastconnection", "least"),
    ("leastconnections", "least"),
    ("leastrequest", "least"),
    ("leastloaded", "least"),
    ("lc", "least"),
    ("jsq", "jbsq"),
    ("jiq", "jbsq"),
    ("idle", "jbsq"),
    ("none", "shared"),
    ("kernel", "shared"),
    ("soreuseport", "reuseport"),
];

/// Reads `--policy`.
///
/// # Errors
/// The names, and the likely one.
pub fn parse(given: &str) -> Result<Policy, Wrong> {
    if let Some((_, policy)) = NAMES.iter().find(|(name, _)| *name == given) {
        return Ok(*policy);
    }
    if let Some(depth) = given.strip_prefix("jbsq:") {
        let depth = words::number(depth, 1, JBSQ_DEPTH_MAX).map(Depth::Fixed);
        return depth.map(Policy::Jbsq).ok_or_else(|| {
            Wrong::new(allowed()).or(format!(
                "N is a number from 1 to {JBSQ_DEPTH_MAX}; 1 and 2 are worth trying, jbsq alone \
                 chooses"
            ))
        });
    }
    Err(Wrong { allowed: allowed(), cure: meant(given) })
}

/// Reads `NODE_CLUSTER_SCHED_POLICY`, which programs written for Node's cluster come with.
///
/// # Errors
/// The two words that it knows.
pub fn parse_node(given: &str) -> Result<Policy, Wrong> {
    match given {
        "rr" => Ok(Policy::RoundRobin),
        "none" => Ok(Policy::Shared),
        _ => Err(Wrong::new("rr or none").or("unset it and use --policy or DISPATCHD_POLICY")),
    }
}

/// The policy's name, as `--policy` takes it.
pub fn name(policy: Policy) -> String {
    let short = match policy {
        Policy::Jbsq(Depth::Fixed(depth)) => return format!("jbsq:{depth}"),
        Policy::Jbsq(Depth::Auto) => "jbsq",
        Policy::RoundRobin => "rr",
        Policy::Weighted => "wrr",
        Policy::Least => "least",
        Policy::Shared => "shared",
        Policy::Reuseport => "reuseport",
    };
    short.to_owned()
}

fn allowed() -> String {
    format!("rr, wrr, least, jbsq, jbsq:N (N from 1 to {JBSQ_DEPTH_MAX}), shared, reuseport")
}

fn meant(given: &str) -> Option<String> {
    let plain: String = given.chars().filter(|c| !['-', '_', ' '].contains(c)).collect();
    let plain = plain.to_ascii_lowercase();
    if plain.starts_with("wrr:") || plain.starts_with("least:") {
        return Some("weights are given by --weight".to_owned());
    }
    let known = ELSEWHERE.iter().find(|(other, _)| *other == plain).map(|(_, name)| *name);
    let name = known.or_else(|| words::nearest(&plain, NAMES.iter().map(|(name, _)| *name)))?;
    Some(format!("did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_a_name_that_is_read_again() {
        let fixed = [1, 2, JBSQ_DEPTH_MAX].map(|depth| Policy::Jbsq(Depth::Fixed(depth)));
        for policy in NAMES.into_iter().map(|(_, policy)| policy).chain(fixed) {
            assert_eq!(parse(&name(policy)), Ok(policy));
        }
    }

    #[test]
    fn near_misses_are_answered() {
        let cases = [
            ("roundrobin", Some("rr")),
            ("Round-Robin", Some("rr")),
            ("RR", Some("rr")),
            ("least_conn", Some("least")),
            ("least-connections", Some("least")),
            ("jsbq", Some("jbsq")),
            ("weighted", Some("wrr")),
            ("reuse-port", Some("reuseport")),
            ("share", Some("shared")),
            ("none", Some("shared")),
            ("quantum", None),
            ("", None),
        ];
        for (given, name) in cases {
            let cure = name.map(|name| format!("did you mean {name}?"));
            assert_eq!(parse(given), Err(Wrong { allowed: allowed(), cure }), "{given:?}");
        }
        let cure = "weights are given by --weight";
        assert_eq!(parse("wrr:3,1"), Err(Wrong::new(allowed()).or(cure)));
    }

    #[test]
    fn depths_have_bounds() {
        for given in ["jbsq:0", "jbsq:65", "jbsq:", "jbsq:-1", "jbsq:+1", "jbsq:x"] {
            let text = parse(given).unwrap_err().given_as("--policy", given).to_string();
            assert_eq!(
                text,
                format!(
                    "--policy '{given}' is not valid; allowed: rr, wrr, least, jbsq, jbsq:N (N \
                     from 1 to 64), shared, reuseport; N is a number from 1 to 64; 1 and 2 are \
                     worth trying, jbsq alone chooses"
                )
            );
        }
    }

    #[test]
    fn nodes_variable_is_honoured() {
        assert_eq!(parse_node("rr"), Ok(Policy::RoundRobin));
        assert_eq!(parse_node("none"), Ok(Policy::Shared));
        assert_eq!(parse_node("RR").unwrap_err().allowed, "rr or none");
    }
}
