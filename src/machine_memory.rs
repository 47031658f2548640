//! The memory that this process may use: the machine's, or that of the control groups that the process is in.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where control groups are mounted: version 2 alone, version 2 beside version 1, and version 1's `memory`. A container
/// sees its own group there, so a path that is not found below is looked for at the root, too.
const MOUNTS: [(&str, &str, Version); 3] = [
    ("/sys/fs/cgroup", "memory.max", Version::Two),
    ("/sys/fs/cgroup/unified", "memory.max", Version::Two),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", Version::One),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The memory in bytes that this process may use: the least of the machine's and the limits of its control group and of
/// those around it. `None` if the system does not say.
pub(crate) fn total() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| limit(&read(&path)?));
    limits.chain(of_machine()).min()
}

/// The files that may limit a process whose `/proc/self/cgroup` has this content: that of its own group first.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let files = MOUNTS.iter().flat_map(|(mount, file, version)| {
        let group = group_of(groups, *version).unwrap_or("/");
        // A group outside of what the container sees has `..` in its path.
        let group: PathBuf =
            Path::new(group).components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let files: Vec<_> = group.ancestors().map(|group| Path::new(mount).join(group).join(file)).collect();
        files
    });
    files.collect()
}

/// The path of the process's group in a hierarchy, in lines `NUMBER:CONTROLLERS:PATH`: version 2 has number 0 and no
/// controllers.
fn group_of(groups: &str, version: Version) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_wanted = match version {
            Version::One => controllers.split(',').any(|name| name == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        is_wanted.then_some(path)
    })
}

/// The bytes in a limit's file. `max` is no limit, and nor is 0, with which no process could run.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// The machine's, from the system call, because a service of systemd may not see `/proc/meminfo` (`ProcSubset=pid`).
#[cfg(target_os = "linux")]
fn of_machine() -> Option<u64> {
    let machine = rustix::system::sysinfo();
    machine.totalram.checked_mul(machine.mem_unit.into()).filter(|bytes| *bytes > 0)
}

/// Other systems do not say.
#[cfg(not(target_os = "linux"))]
fn of_machine() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_of_bytes() {
        for (text, expected) in [
            ("536870912\n", Some(536_870_912)),
            // Version 1 without a limit: the largest multiple of a page, which is more than any machine has.
            ("9223372036854771712\n", Some(9_223_372_036_854_771_712)),
            ("18446744073709551615", Some(u64::MAX)),
            ("max\n", None),
            ("", None),
            ("\n", None),
            ("0\n", None),
            ("-1\n", None),
            ("512M\n", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(limit(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_group_and_those_around_it_limit() {
        let files = |groups: &str| -> Vec<String> {
            limit_files(groups).iter().map(|path| path.to_str().unwrap().replace("/sys/fs/cgroup", "")).collect()
        };
        let roots = ["/memory.max", "/unified/memory.max", "/memory/memory.limit_in_bytes"];
        for groups in ["", "0::/\n", "x\n1:\n::\n", "0::/../..\n"] {
            assert_eq!(files(groups), roots, "{groups:?}");
        }
        let nested = files("0::/system.slice/pounce.service\n");
        assert_eq!(nested[..3], ["/system.slice/pounce.service/memory.max", "/system.slice/memory.max", "/memory.max"]);
        let first = files("12:pids:/a\n4:cpu,memory:/docker/1:2\n0::/b\n");
        let expected = [
            "/b/memory.max",
            "/memory.max",
            "/unified/b/memory.max",
            "/unified/memory.max",
            "/memory/docker/1:2/memory.limit_in_bytes",
            "/memory/docker/memory.limit_in_bytes",
            "/memory/memory.limit_in_bytes",
        ];
        assert_eq!(first, expected);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory() {
        assert!(of_machine().is_some_and(|bytes| bytes > 16 << 20));
        assert!(total() <= of_machine());
    }
}
