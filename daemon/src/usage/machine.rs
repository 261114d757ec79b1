//! The node as a whole, from `/proc` (behaviour.md 44.2).

use std::path::Path;

use jiff::Timestamp;

use super::bounded::read;
use super::figures::{Cpu, Fs, Group, Io, Memory, Processes, Swap};
use super::group::psi;
use super::rate::Rates;

/// `/proc/stat` counts in this unit on every machine that Linux 4.5 or newer and containers run on.
const NANOS_PER_TICK: u64 = 10_000_000;
const NODE: &str = "/";
/// What the node's processor time is remembered under: no cgroup's path, for the root's has a counter of its own.
const NODE_RATE: &str = "";

/// When the node booted.
pub(super) fn start_time(proc: &Path) -> Option<Timestamp> {
    let text = read(&proc.join("stat")).ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

/// What runs on the node, all together.
pub(super) fn group(proc: &Path, rates: &mut Rates) -> Group {
    let pressure = |name: &str| {
        let bytes = read(&proc.join("pressure").join(name)).ok()?;
        cgroups::pressure(bytes.as_bytes()).map(psi)
    };
    let time = Timestamp::now();
    let cpu = read(&proc.join("stat")).ok().and_then(|text| ticks(&text));
    let cpu = cpu.map(|(user, system)| Cpu {
        time,
        usage_core_nanos: Some(user + system),
        usage_nano_cores: rates.nano_cores(NODE_RATE, time, user + system),
        user_nanos: Some(user),
        system_nanos: Some(system),
        throttling: None,
        psi: pressure("cpu"),
    });
    let (memory, swap) = read(&proc.join("meminfo")).map_or((None, None), |info| {
        let faults = read(&proc.join("vmstat")).unwrap_or_default();
        (memory(&info, &faults, time), swap(&info, time))
    });
    let memory = memory.map(|memory| Memory { psi: pressure("memory"), ..memory });
    let io = pressure("io").map(|psi| Io { time, devices: None, psi: Some(psi) });
    Group { cpu, memory, swap, io, processes: None, shares: None, cgroup: Some(NODE.to_owned()) }
}

/// Nanoseconds outside and inside the kernel since boot, of all processors. Guests are counted in the first already.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|part| part.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    let nanos = |ticks: u64| ticks.saturating_mul(NANOS_PER_TICK);
    Some((nanos(user.saturating_add(nice)), nanos(system.saturating_add(irq).saturating_add(softirq))))
}

/// Usage is what is not free; the working set is that without file pages that nobody used lately, so that what is available is what
/// the signal `memory.available` means (behaviour.md 29.8).
fn memory(info: &str, vmstat: &str, time: Timestamp) -> Option<Memory> {
    let value = |name: &str| kilobytes(info, name);
    let total = value("MemTotal")?;
    let usage = total.saturating_sub(value("MemFree")?);
    let inactive_file = value("Inactive(file)");
    let working_set = inactive_file.map(|inactive| usage.saturating_sub(inactive));
    let event = |name: &str| {
        let line = vmstat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok())
    };
    Some(Memory {
        available: working_set.map(|used| total.saturating_sub(used)),
        usage: Some(usage),
        working_set,
        rss: value("AnonPages"),
        page_faults: event("pgfault"),
        major_page_faults: event("pgmajfault"),
        cache: value("Active(file)").zip(inactive_file).map(|(active, inactive)| active + inactive),
        active_file: value("Active(file)"),
        inactive_file,
        mapped_file: value("Mapped"),
        oom_kills: event("oom_kill"),
        limit: Some(total),
        ..Memory::at(time)
    })
}

fn swap(info: &str, time: Timestamp) -> Option<Swap> {
    let (total, free) = (kilobytes(info, "SwapTotal")?, kilobytes(info, "SwapFree")?);
    Some(Swap { time, usage: Some(total.saturating_sub(free)), available: Some(free), limit: Some(total) })
}

/// A line of `/proc/meminfo`, in bytes.
fn kilobytes(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Tasks that there are, and that the kernel allows.
pub(super) fn tasks(proc: &Path) -> Option<Processes> {
    let load = read(&proc.join("loadavg")).ok()?;
    let tasks = load.split_ascii_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    let limit = |name: &str| read(&proc.join("sys/kernel").join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = [limit("pid_max"), limit("threads-max")].into_iter().flatten().min();
    Some(Processes { time: Timestamp::now(), tasks: Some(tasks), processes: None, limit })
}

/// The file system that holds `path`.
pub(super) fn file_system(path: &Path) -> nix::Result<Fs> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let block = stat.fragment_size();
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    // A file system that makes inodes as needed shows none.
    let inodes = (stat.files() > 0).then_some((stat.files(), stat.files_free()));
    Ok(Fs {
        time: Timestamp::now(),
        available: Some(bytes(stat.blocks_available())),
        capacity: Some(bytes(stat.blocks())),
        used: Some(bytes(stat.blocks().saturating_sub(stat.blocks_free()))),
        inodes_free: inodes.map(|(_, free)| free),
        inodes: inodes.map(|(all, _)| all),
        inodes_used: inodes.map(|(all, free)| all.saturating_sub(free)),
        is_partial: false,
    })
}

/// What the file system that holds `path` is on, as its mount names it; none where no mount is found.
pub(super) fn device(proc: &Path, path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let table = read(&proc.join("self/mountinfo")).ok()?;
    let mounts = table.lines().filter_map(mount);
    // Of several at one place the last covers the others.
    let (_, source) = mounts
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| Path::new(place).components().count())?;
    Some(source)
}

/// Where a mount is and what is mounted there, from a line of `mountinfo`.
fn mount(line: &str) -> Option<(String, String)> {
    let (own, system) = line.split_once(" - ")?;
    Some((unescaped(own.split(' ').nth(4)?), unescaped(system.split(' ').nth(1)?)))
}

/// The kernel writes these as octal numbers.
fn unescaped(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The cgroup of a process in the unified hierarchy.
pub(super) fn cgroup_of(proc: &Path, process: &str) -> Option<String> {
    let text = read(&proc.join(process).join("cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn recorded() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for parent in ["pressure", "sys/kernel", "self"] {
            fs::create_dir_all(dir.path().join(parent)).unwrap();
        }
        for (file, content) in [
            (
                "stat",
                "cpu  100 5 50 9000 7 1 2 3 0 0\ncpu0 100 5 50 9000 7 1 2 3 0 0\nintr 9\nbtime 1700000000\n",
            ),
            (
                "meminfo",
                "MemTotal:       1000 kB\nMemFree:         400 kB\nInactive(file):  100 kB\nActive(file):     50 kB\nAnonPages:       300 kB\nSwapTotal:        80 kB\nSwapFree:         60 kB\n",
            ),
            ("vmstat", "pgfault 77\npgmajfault 7\noom_kill 2\n"),
            ("loadavg", "0.00 0.01 0.05 1/123 4567\n"),
            ("sys/kernel/pid_max", "4194304\n"),
            ("sys/kernel/threads-max", "1000\n"),
            ("pressure/cpu", "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n"),
            ("self/cgroup", "1:name=systemd:/x\n0::/system.slice/nodelet.service\n"),
        ] {
            fs::write(dir.path().join(file), content).unwrap();
        }
        dir
    }

    #[test]
    fn the_node_is_read_from_proc() {
        let dir = recorded();
        let mut rates = Rates::default();
        let group = group(dir.path(), &mut rates);
        let cpu = group.cpu.unwrap();
        assert_eq!((cpu.user_nanos, cpu.system_nanos), (Some(1_050_000_000), Some(530_000_000)));
        assert_eq!((cpu.usage_core_nanos, cpu.usage_nano_cores), (Some(1_580_000_000), None));
        assert_eq!(cpu.psi.unwrap().some.total_micros, 5);
        let memory = group.memory.unwrap();
        let kilo = |bytes: Option<u64>| bytes.map(|bytes| bytes / 1024);
        assert_eq!(
            (kilo(memory.usage), kilo(memory.working_set), kilo(memory.available)),
            (Some(600), Some(500), Some(500))
        );
        assert_eq!(
            (kilo(memory.rss), memory.page_faults, memory.major_page_faults),
            (Some(300), Some(77), Some(7))
        );
        let swap = group.swap.unwrap();
        assert_eq!((kilo(swap.usage), kilo(swap.available)), (Some(20), Some(60)));
        assert_eq!(start_time(dir.path()).unwrap().as_second(), 1_700_000_000);
        let tasks = tasks(dir.path()).unwrap();
        assert_eq!((tasks.tasks, tasks.limit), (Some(123), Some(1000)));
        assert_eq!(cgroup_of(dir.path(), "self").as_deref(), Some("/system.slice/nodelet.service"));
    }

    #[test]
    fn the_nodes_processor_time_is_no_reading_of_the_root_cgroups() {
        let (dir, mut rates) = (recorded(), Rates::default());
        rates.nano_cores("/", Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1), 1);
        let before = Timestamp::now() - jiff::SignedDuration::from_secs(10);
        rates.nano_cores("/", before, 1_000_000_000);
        assert_eq!(group(dir.path(), &mut rates).cpu.unwrap().usage_nano_cores, None);
    }

    #[test]
    fn the_device_of_a_directory_is_the_source_of_the_mount_that_holds_it() {
        let (dir, proc) = (tempfile::tempdir().unwrap(), recorded());
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a b/deeper")).unwrap();
        fs::create_dir_all(root.join("a")).unwrap();
        let escaped = root.to_str().unwrap().replace(' ', "\\040");
        let table = format!(
            "20 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw\n\
             21 20 0:5 / {escaped}/a\\040b rw - tmpfs covered rw\n\
             22 21 254:2 / {escaped}/a\\040b rw - xfs /dev/mapper/a\\040disk rw\n\
             nonsense\n"
        );
        fs::write(proc.path().join("self/mountinfo"), table).unwrap();
        let device = |path: &Path| device(proc.path(), path);
        assert_eq!(device(&root.join("a b/deeper")).as_deref(), Some("/dev/mapper/a disk"));
        assert_eq!(device(&root.join("a")).as_deref(), Some("/dev/vda1"));
        assert_eq!(device(&root.join("none")), None);
    }

    #[test]
    fn what_the_kernel_does_not_say_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let group = group(dir.path(), &mut Rates::default());
        assert_eq!((group.cpu, group.memory, group.swap, group.io), (None, None, None, None));
        assert_eq!((start_time(dir.path()), tasks(dir.path())), (None, None));
        assert!(file_system(&dir.path().join("none")).is_err());
        assert!(file_system(dir.path()).unwrap().capacity.is_some());
    }
}
