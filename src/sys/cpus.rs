//! What this process may use of the machine: the CPUs of its inherited mask, the share that its
//! control group grants, how strong each CPU is and which ones are two threads of one core. The
//! host's CPU count is never asked for: in a container it is somebody else's.

mod cgroup;

use std::fs;
use std::str::FromStr;

use crate::units::Cpu;

pub use cgroup::{cpu_quota_milli, pids_max};

/// The CPUs that this thread may run on, ascending; empty where the kernel does not say (a
/// sandbox, or more than 1,024 CPUs).
pub fn inherited_mask() -> Vec<Cpu> {
    core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|core| u16::try_from(core.id).ok().map(Cpu))
        .collect()
}

/// How strong each CPU is, on one scale for all of them: `cpu_capacity` where the kernel knows it
/// (big.LITTLE), else the greatest frequency in kHz. Empty unless every CPU has the same measure.
pub fn capacities(cpus: &[Cpu]) -> Vec<(Cpu, u32)> {
    measure(cpus, "cpu_capacity")
        .or_else(|| measure(cpus, "cpufreq/cpuinfo_max_freq"))
        .unwrap_or_default()
}

/// The groups of CPUs that are threads of one core, each group ascending and named once. A CPU
/// whose topology is unknown is in no group.
pub fn siblings(cpus: &[Cpu]) -> Vec<Vec<Cpu>> {
    let mut groups: Vec<Vec<Cpu>> = Vec::new();
    for cpu in cpus {
        let group = read_of(*cpu, "topology/thread_siblings_list")
            .and_then(|text| parse_list(&text))
            .unwrap_or_default();
        if !group.is_empty() && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// A list as the kernel writes it, `0-3,8`; none when it is not one.
fn parse_list(text: &str) -> Option<Vec<Cpu>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (u16::from_str(first).ok()?, u16::from_str(last).ok()?);
        cpus.extend((first..=last).map(Cpu));
    }
    Some(cpus)
}

fn measure(cpus: &[Cpu], file: &str) -> Option<Vec<(Cpu, u32)>> {
    cpus.iter()
        .map(|cpu| {
            let value = read_of(*cpu, file)?.trim().parse().ok()?;
            Some((*cpu, value))
        })
        .collect()
}

fn read_of(cpu: Cpu, file: &str) -> Option<String> {
    fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/{file}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_on_some_cpu() {
        let mask = inherited_mask();
        assert!(!mask.is_empty());
        assert!(mask.is_sorted());
        for group in siblings(&mask) {
            assert!(group.iter().any(|cpu| mask.contains(cpu)), "{group:?}");
        }
    }

    #[test]
    fn the_kernels_lists_are_read() {
        let cases: [(&str, Option<&[u16]>); 6] = [
            ("0\n", Some(&[0])),
            ("0-2,8\n", Some(&[0, 1, 2, 8])),
            ("", Some(&[])),
            ("0-", None),
            ("x", None),
            ("70000", None),
        ];
        for (text, numbers) in cases {
            let expected = numbers.map(|n| n.iter().copied().map(Cpu).collect());
            assert_eq!(parse_list(text), expected, "{text:?}");
        }
    }
}
