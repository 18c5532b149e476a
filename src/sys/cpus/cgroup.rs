//! The limits of the control group, which bind more tightly than the CPU mask in most containers.
//! Both hierarchies are read, since hosts mix them; the tightest limit on the way up counts, for a
//! group never gets more than its parents have.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// How much CPU this process's groups may use together, in thousandths of one CPU and at least 1;
/// none when nothing limits it.
pub fn cpu_quota_milli() -> Option<u32> {
    tightest(&Here::read()?, "cpu", |directory| quota_of(directory, &read_file))
}

/// How many processes this process's group may have; none when nothing limits it.
pub fn pids_max() -> Option<u32> {
    tightest(&Here::read()?, "pids", |directory| {
        read_file(&directory.join("pids.max")).and_then(|text| text.trim().parse().ok())
    })
}

/// Where this process stands: `/proc/self/cgroup` and `/proc/self/mountinfo`.
struct Here {
    groups: String,
    mounts: String,
}

impl Here {
    fn read() -> Option<Self> {
        Some(Self {
            groups: read_file(Path::new("/proc/self/cgroup"))?,
            mounts: read_file(Path::new("/proc/self/mountinfo"))?,
        })
    }
}

/// A mounted hierarchy: which part of it is visible, and where.
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

/// The smallest limit of `controller`, in both hierarchies, from this group up to the mount.
fn tightest(here: &Here, controller: &str, limit: impl Fn(&Path) -> Option<u32>) -> Option<u32> {
    let groups = here.groups.lines().filter_map(|line| group_of(line, controller));
    groups
        .filter_map(|(unified, path)| Some((mount_of(&here.mounts, unified, controller)?, path)))
        .flat_map(|(mount, path)| directories(&mount, path))
        .filter_map(|directory| limit(&directory))
        .min()
}

/// The group named by one line of `/proc/self/cgroup`, `ID:CONTROLLERS:PATH`, and whether it is in
/// the unified hierarchy; none for other controllers.
fn group_of<'a>(line: &'a str, controller: &str) -> Option<(bool, &'a Path)> {
    let (id, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let unified = id == "0" && controllers.is_empty();
    let ours = unified || controllers.split(',').any(|name| name == controller);
    ours.then_some((unified, Path::new(path)))
}

/// The mount of a hierarchy, from lines such as
/// `31 23 0:28 /root /mount/point rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct`.
fn mount_of(mounts: &str, unified: bool, controller: &str) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut kind = after.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        let found = match name {
            "cgroup2" => unified,
            "cgroup" => !unified && options.split(',').any(|option| option == controller),
            _ => false,
        };
        found.then(|| Mount { root: unescape(root), point: unescape(point) })
    })
}

/// The directories of a group and of its visible parents, the group's own first.
fn directories(mount: &Mount, path: &Path) -> Vec<PathBuf> {
    // In a container without a namespace of its own, the path is the host's while the mount shows
    // a part only. A path that leaves the mount (`/..`) tells nothing more than the mount itself.
    let inside = path.strip_prefix(&mount.root).unwrap_or_else(|_| Path::new(""));
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    let inside = if inside.components().all(plain) { inside } else { Path::new("") };
    inside.ancestors().map(|part| mount.point.join(part)).collect()
}

/// The quota that one directory sets, in thousandths of a CPU.
fn quota_of(directory: &Path, read: &impl Fn(&Path) -> Option<String>) -> Option<u32> {
    if let Some(text) = read(&directory.join("cpu.max")) {
        let mut words = text.split_ascii_whitespace();
        return milli(words.next()?, words.next()?);
    }
    let quota = read(&directory.join("cpu.cfs_quota_us"))?;
    let period = read(&directory.join("cpu.cfs_period_us"))?;
    milli(quota.trim(), period.trim())
}

/// `max` and `-1` mean no limit, and do not parse.
fn milli(quota: &str, period: &str) -> Option<u32> {
    let quota: u64 = quota.parse().ok()?;
    let period: u64 = period.parse().ok().filter(|period| *period > 0)?;
    let milli = quota.saturating_mul(1_000) / period;
    Some(u32::try_from(milli).unwrap_or(u32::MAX).max(1))
}

/// Blanks in paths are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

fn read_file(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    const V1: &str = "\
        25 30 0:22 / /sys rw - sysfs sysfs rw\n\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /cg/cpu rw,relatime - cgroup cgroup rw,cpuacct,cpu\n\
        33 31 0:31 / /cg/set rw,relatime - cgroup cgroup rw,cpuset\n";
    const DOCKER_V1: &str =
        "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n";
    const BOTH: &str = "\
        32 31 0:29 / /cg/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /cg/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn quota(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u32> {
        let here = Here { groups: groups.to_owned(), mounts: mounts.to_owned() };
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        tightest(&here, "cpu", |directory| quota_of(directory, &read))
    }

    /// What it is, `/proc/self/cgroup`, the mounts, the files, the quota.
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], Option<u32>);

    #[test]
    fn the_unified_hierarchy_is_read() {
        let cases: [Case<'_>; 7] = [
            ("no file, as in the root group", "0::/\n", V2, &[], None),
            ("no limit", "0::/a\n", V2, &[("/sys/fs/cgroup/a/cpu.max", "max 100000\n")], None),
            ("half", "0::/a\n", V2, &[("/sys/fs/cgroup/a/cpu.max", "50000 100000\n")], Some(500)),
            (
                "the parent is tighter, the child has none",
                "0::/a/b/c\n",
                V2,
                &[
                    ("/sys/fs/cgroup/a/cpu.max", "400000 100000\n"),
                    ("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n"),
                    ("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"),
                ],
                Some(1_500),
            ),
            ("namespace", "0::/\n", V2, &[("/sys/fs/cgroup/cpu.max", "20000 10000")], Some(2_000)),
            ("outside", "0::/../x\n", V2, &[("/sys/fs/cgroup/cpu.max", "1000 1000")], Some(1_000)),
            ("never nothing", "0::/a\n", V2, &[("/sys/fs/cgroup/a/cpu.max", "1 100000")], Some(1)),
        ];
        for (what, groups, mounts, files, expected) in cases {
            assert_eq!(quota(groups, mounts, files), expected, "{what}");
        }
    }

    #[test]
    fn the_old_hierarchy_is_read() {
        let of = |group: &'static str| move |file: &str| format!("/cg/cpu{group}/cpu.cfs_{file}");
        let (own, top) = (of("/a/b"), of(""));
        let none = [(own("quota_us"), "-1\n"), (own("period_us"), "100000\n")];
        let some = [(own("quota_us"), "250000\n"), (own("period_us"), "100000\n")];
        let parent = [(top("quota_us"), "75000\n"), (top("period_us"), "50000\n")];
        let files = |sets: &[&[(String, &'static str)]]| -> Option<u32> {
            let all: Vec<(String, &str)> = sets.concat();
            let all: Vec<(&str, &str)> = all.iter().map(|(n, t)| (n.as_str(), *t)).collect();
            quota("5:cpuset:/x\n3:cpu,cpuacct:/a/b\n", V1, &all)
        };
        assert_eq!(files(&[&none]), None, "-1 is no limit");
        assert_eq!(files(&[&some]), Some(2_500));
        assert_eq!(files(&[&some, &parent]), Some(1_500), "the parent is tighter");
        assert_eq!(files(&[&none, &parent]), Some(1_500));
    }

    #[test]
    fn a_containers_mount_shows_a_part_of_the_hosts_path() {
        let files = [
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(quota("2:cpu,cpuacct:/docker/abc\n", DOCKER_V1, &files), Some(3_000));
    }

    #[test]
    fn mixed_hierarchies_give_the_tighter_limit() {
        let files = [
            ("/cg/cpu/a/cpu.cfs_quota_us", "300000"),
            ("/cg/cpu/a/cpu.cfs_period_us", "100000"),
            ("/cg/unified/b/cpu.max", "200000 100000"),
        ];
        assert_eq!(quota("1:cpu:/a\n0::/b\n", BOTH, &files), Some(2_000));
    }

    #[test]
    fn nonsense_is_no_limit() {
        for text in ["", "x", "1", "1 0", "max", "-1 100000", "99999999999999999999 1"] {
            let files = [("/sys/fs/cgroup/a/cpu.max", text)];
            assert_eq!(quota("0::/a\n", V2, &files), None, "{text:?}");
        }
        assert_eq!(quota("0::/a", "1 2 3 - \n - cgroup2\nrubbish", &[]), None);
        assert_eq!(quota("rubbish\n::\n", V2, &[]), None);
    }

    #[test]
    fn blanks_in_mount_points_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(r"/a\04"), Path::new(r"/a\04"));
        assert_eq!(unescape(r"/a\999"), Path::new(r"/a\999"));
    }
}
