//! What a scrape of `/metrics/cadvisor` costs, for `cargo xtask bench stats`: a hierarchy of files as Linux 6.12 has them, read and
//! written as for a real scrape. The kernel's own work on its files is not in it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cgroups::{Driver, Layout, Sampler, Systemd, Tree};
use k8s_openapi::api::core::v1::Pod;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::json;

use super::cadvisor::Scrape;
use super::figures::{ContainerUsage, NodeUsage, PodUsage, SandboxUsage};
use super::rate::Rates;
use super::tree::Reader;
use crate::node::info::Machine;

/// Processor time of one scrape, and what it gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// To read the files.
    pub read: Duration,
    /// To write the page.
    pub write: Duration,
    /// Of the page.
    pub bytes: usize,
}

/// The mean of so many scrapes with so many pods of one container each, whose files are made below `directory`.
///
/// # Errors
/// The files cannot be made.
pub fn scrapes(directory: &Path, pods: usize, scrapes: u32) -> io::Result<Measured> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("cgroup.controllers"), "cpuset cpu io memory pids\n")?;
    let layout = Layout::new(Driver::Cgroupfs, "").map_err(io::Error::other)?;
    for path in ["kubepods", "kubepods/burstable", "kubepods/besteffort"] {
        make(&directory.join(path))?;
    }
    let (mut known, mut specs) = (Vec::new(), HashMap::new());
    for number in 0..pods {
        let uid = format!("00000000-0000-4000-8000-{number:012}");
        let id = |kind: &str| format!("{kind}{number:062}");
        let path = directory.join("kubepods/besteffort").join(format!("pod{uid}"));
        make(&path)?;
        make(&path.join(id("aa")))?;
        make(&path.join(id("bb")))?;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": uid}, "spec": {"hostNetwork": true, "containers": [{"name": "c"}]}
        }))?;
        specs.insert(uid.clone(), pod);
        known.push(PodUsage {
            uid,
            namespace: "default".into(),
            name: format!("pod-with-a-usual-name-{number}"),
            sandbox: Some(SandboxUsage { id: id("aa"), ..SandboxUsage::default() }),
            containers: vec![ContainerUsage {
                name: "container".into(),
                id: id("bb"),
                image: "registry.example.com/some/image:1.2.3".into(),
                ..ContainerUsage::default()
            }],
            ..PodUsage::default()
        });
    }
    let tree = Tree::of(directory, layout, Systemd::new()).map_err(io::Error::other)?;
    let specs: HashMap<&str, &Pod> = specs.iter().map(|(uid, pod)| (uid.as_str(), pod)).collect();
    let (mut rates, machine) = (Rates::default(), Arc::new(Machine::default()));
    let mut all = Measured::default();
    for _ in 0..scrapes {
        let begin = processor()?;
        let mut pods = known.clone();
        rates.begin();
        let mut reader =
            Reader { tree: &tree, proc: Path::new("/proc"), rates: &mut rates, sampler: Sampler::default() };
        reader.pods(&mut pods, &specs);
        let node = NodeUsage { tiers: reader.tiers(), ..NodeUsage::default() };
        rates.end();
        let read = processor()?;
        let scrape = Scrape::new(Arc::new(node), Arc::new(pods), Arc::clone(&machine));
        all.bytes = scrape.map(|chunk| chunk.len()).sum();
        let written = processor()?;
        all.read += read.saturating_sub(begin);
        all.write += written.saturating_sub(read);
    }
    let mean = |sum: Duration| sum / scrapes.max(1);
    Ok(Measured { read: mean(all.read), write: mean(all.write), bytes: all.bytes })
}

/// Processor time of this process so far.
fn processor() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

fn make(cgroup: &Path) -> io::Result<()> {
    fs::create_dir_all(cgroup)?;
    let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=12345\n";
    // As long as the kernel's, with what is passed over around what is wanted.
    let filler = |from: u32, to: u32| {
        (from..to).map(|n| format!("workingset_figure_{n} 1234567\n")).collect::<String>()
    };
    let memory = format!(
        "anon 3456789\nfile 2345678\nkernel 345678\nkernel_stack 16384\n{}file_mapped 123456\n{}inactive_file 234567\n\
         active_file 345678\n{}pgfault 12345\npgmajfault 12\n{}",
        filler(0, 4),
        filler(4, 12),
        filler(12, 30),
        filler(30, 50)
    );
    for (file, content) in [
        ("cgroup.procs", "1234\n1235\n"),
        (
            "cpu.stat",
            "usage_usec 123456789\nuser_usec 100000000\nsystem_usec 23456789\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
             nr_periods 12345\nnr_throttled 123\nthrottled_usec 456789\nnr_bursts 0\nburst_usec 0\n",
        ),
        ("cpu.max", "50000 100000\n"),
        ("cpu.weight", "39\n"),
        ("cpu.pressure", pressure),
        ("memory.current", "12345678\n"),
        ("memory.stat", &memory),
        ("memory.max", "67108864\n"),
        ("memory.peak", "23456789\n"),
        ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\nsock_throttled 0\n"),
        ("memory.pressure", pressure),
        ("memory.swap.current", "0\n"),
        ("memory.swap.max", "0\n"),
        ("pids.current", "12\n"),
        ("pids.max", "max\n"),
        ("io.stat", "254:0 rbytes=1234567 wbytes=2345678 rios=123 wios=234 dbytes=0 dios=0\n"),
        ("io.pressure", pressure),
    ] {
        fs::write(cgroup.join(file), content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_three_pods_has_all_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let measured = scrapes(dir.path(), 3, 1).unwrap();
        assert!(measured.bytes > 3 * 10_000, "{measured:?}");
    }
}
