//! What facts mean. Pure: each check is a function from facts to a finding.

use std::fmt::Write as _;

use super::facts::{Disk, Facts, Owner, Port, Space};
use super::{Finding, Verdict};
use crate::node::pressure::threshold_bytes;
use crate::overview::Certificate;
use crate::view::amount::{bytes, percent, when};

/// Parts of volumes are opened with openat2.
const OLDEST_KERNEL: (u32, u32) = (5, 6);
/// The first one in which tmpfs can be mounted with mapped ids.
const KERNEL_FOR_USER_NAMESPACES: (u32, u32) = (6, 3);
/// Without these no pod is limited.
const NEEDED_CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// Without these some settings have no effect.
const WANTED_CONTROLLERS: [&str; 3] = ["cpuset", "hugetlb", "io"];
/// Below these, pods that watch files run into the limits together.
const INOTIFY_INSTANCES: u64 = 512;
const INOTIFY_WATCHES: u64 = 65_536;
/// A node of a hundred pods has some thousand threads.
const THREADS: u64 = 65_536;
/// A certificate with less left deserves a look. In days.
const CERTIFICATE_DAYS: i64 = 7;
const DAY_SECONDS: i64 = 24 * 3600;

pub(super) const MAX_INSTANCES: &str = "fs/inotify/max_user_instances";
pub(super) const MAX_WATCHES: &str = "fs/inotify/max_user_watches";
pub(super) const PID_MAX: &str = "kernel/pid_max";
pub(super) const USER_NAMESPACES: &str = "user/max_user_namespaces";
pub(super) const BRIDGE: &str = "net/bridge/bridge-nf-call-iptables";
pub(super) const FORWARD: &str = "net/ipv4/ip_forward";
/// All that is read.
pub(super) const SYSCTLS: [&str; 6] = [MAX_INSTANCES, MAX_WATCHES, PID_MAX, USER_NAMESPACES, BRIDGE, FORWARD];

/// All findings, in the order in which they are read best: what others depend on first.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![
        root(facts),
        configuration(facts),
        kernel(facts),
        cgroups(facts),
        pressure(facts),
        overlay(facts),
        user_namespaces(facts),
        seccomp(facts),
        inotify(facts),
        threads(facts),
        forwarding(facts),
        bridge(facts),
        swap(facts),
        clock(facts),
        time_zone(facts),
        host_name(facts),
        root_dir(facts),
    ];
    found.extend(facts.disks.iter().map(|disk| space(facts, disk)));
    found.extend(facts.ports.iter().map(|port| self::port(facts, port)));
    found.extend([runtime(facts), cgroup_driver(facts), network(facts)]);
    found.extend(facts.certificates.iter().map(|certificate| self::certificate(facts, certificate)));
    found.extend(api_server(facts));
    found
}

fn finding(
    check: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { check, verdict, found: found.into(), advice: advice.into() }
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    finding(check, Verdict::Ok, found, "")
}

fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    finding(check, Verdict::Warn, found, advice)
}

fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    finding(check, Verdict::Fail, found, advice)
}

/// What sets a value of /proc/sys now and after the next boot.
fn set(path: &str, value: u64) -> String {
    let name = path.replace('/', ".");
    format!("sysctl -w {name}={value}, and put the line {name} = {value} into a file of /etc/sysctl.d")
}

fn root(facts: &Facts) -> Finding {
    let runs = facts.daemon.map_or_else(
        || "the daemon does not run".to_owned(),
        |process| format!("the daemon runs as process {process}"),
    );
    if facts.is_root {
        ok("daemon", runs)
    } else {
        warn("daemon", "this is not root: some of what follows could not be looked at", "run it as root")
    }
}

fn configuration(facts: &Facts) -> Finding {
    let known = &facts.configuration;
    if let Some(error) = &known.error {
        return fail("configuration", error.clone(), "mend what it names; the daemon does not start with it");
    }
    if known.warnings.is_empty() {
        return ok("configuration", known.from.clone());
    }
    warn(
        "configuration",
        known.warnings.join("; "),
        "the daemon starts all the same; see whether that was meant",
    )
}

/// Major and minor of `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(facts: &Facts) -> Finding {
    let release = &facts.kernel;
    let Some(version) = version(release) else {
        return warn(
            "kernel",
            format!("the version {release:?} cannot be understood"),
            "Linux 6.3 or newer is best",
        );
    };
    let (major, minor) = OLDEST_KERNEL;
    if version < OLDEST_KERNEL {
        let why = format!("{release}: too old to mount parts of volumes safely");
        return fail("kernel", why, format!("install Linux {major}.{minor} or newer"));
    }
    if version < KERNEL_FOR_USER_NAMESPACES {
        let (major, minor) = KERNEL_FOR_USER_NAMESPACES;
        let why =
            format!("{release}: pods with a user namespace of their own (hostUsers: false) may not start");
        return warn("kernel", why, format!("they need Linux {major}.{minor}"));
    }
    ok("kernel", release.clone())
}

fn cgroups(facts: &Facts) -> Finding {
    let config = &facts.configuration.config;
    match &facts.cgroups.is_unified {
        Some(Ok(())) => {}
        Some(Err(found)) if !config.fail_cgroup_v1 && !config.cgroups_per_qos => {
            let advice = "boot with systemd.unified_cgroup_hierarchy=1 to have pods limited as a whole";
            return warn("cgroups", format!("{found}; the configuration does without version 2"), advice);
        }
        Some(Err(found)) => {
            let advice = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line, or set failCgroupV1: false, \
                          cgroupsPerQOS: false and enforceNodeAllocatable: []";
            return fail("cgroups", format!("no version 2 at /sys/fs/cgroup: {found}"), advice);
        }
        None => return warn("cgroups", "not looked at", ""),
    }
    let missing = |wanted: &[&str]| {
        let missing =
            wanted.iter().filter(|name| !facts.cgroups.controllers.iter().any(|known| known == *name));
        missing.copied().collect::<Vec<_>>().join(", ")
    };
    let (needed, wanted) = (missing(&NEEDED_CONTROLLERS), missing(&WANTED_CONTROLLERS));
    if !needed.is_empty() {
        let advice =
            format!("enable {needed} in the kernel; cgroup_disable= on its command line turns them off");
        return fail("cgroups", format!("version 2, without the controllers {needed}"), advice);
    }
    if !wanted.is_empty() {
        let advice = "what they limit is not limited; the kernel is built without them, or does not give them to this cgroup";
        return warn("cgroups", format!("version 2, without the controllers {wanted}"), advice);
    }
    ok("cgroups", format!("version 2 with {}", facts.cgroups.controllers.join(", ")))
}

fn pressure(facts: &Facts) -> Finding {
    if facts.pressure {
        return ok("pressure", "the kernel measures it");
    }
    let advice = "boot with psi=1 on the kernel's command line; without it pressure shows in no figure and triggers nothing";
    warn("pressure", "the kernel does not measure it (no /proc/pressure)", advice)
}

fn overlay(facts: &Facts) -> Finding {
    if facts.overlay {
        return ok("overlayfs", "in the kernel");
    }
    let advice = "modprobe overlay, and put the line overlay into a file of /etc/modules-load.d; a runtime with another snapshotter does \
                  without it";
    warn("overlayfs", "not in the kernel now", advice)
}

fn user_namespaces(facts: &Facts) -> Finding {
    match facts.sysctl(USER_NAMESPACES) {
        Some(most @ 1..) => ok("user namespaces", format!("up to {most}")),
        Some(0) => warn(
            "user namespaces",
            "switched off: pods with hostUsers: false do not start",
            set(USER_NAMESPACES, 65_536),
        ),
        None => warn("user namespaces", "the kernel has none", "pods with hostUsers: false do not start"),
    }
}

fn seccomp(facts: &Facts) -> Finding {
    if facts.seccomp {
        return ok("seccomp", "in the kernel");
    }
    let advice = "use a kernel with CONFIG_SECCOMP_FILTER";
    if facts.configuration.config.seccomp_default {
        return fail("seccomp", "not in the kernel, and seccompDefault asks for it", advice);
    }
    warn("seccomp", "not in the kernel: pods with a seccomp profile do not start", advice)
}

fn inotify(facts: &Facts) -> Finding {
    let limits = [(MAX_INSTANCES, INOTIFY_INSTANCES, "instances"), (MAX_WATCHES, INOTIFY_WATCHES, "watches")];
    let mut found = Vec::new();
    let mut advice = Vec::new();
    for (path, least, name) in limits {
        let Some(value) = facts.sysctl(path) else { continue };
        found.push(format!("{value} {name}"));
        if value < least {
            advice.push(set(path, least));
        }
    }
    match (found.as_slice(), advice.as_slice()) {
        ([], _) => warn("inotify", "the limits cannot be read", ""),
        (found, []) => ok("inotify", format!("{} for each user", found.join(", "))),
        (found, advice) => {
            let found = format!("{} for each user; all pods that run as root share them", found.join(", "));
            warn("inotify", found, advice.join("; "))
        }
    }
}

fn threads(facts: &Facts) -> Finding {
    let Some(most) = facts.sysctl(PID_MAX) else {
        return warn("processes", "kernel.pid_max cannot be read", "");
    };
    let now = facts.threads.map(|now| format!("{now} of ")).unwrap_or_default();
    let found = format!("{now}{most} process ids in use");
    if facts.threads.is_some_and(|now| now as f64 > most as f64 * 0.9) {
        return fail(
            "processes",
            found,
            "end what makes so many processes, or raise the limit: ".to_owned()
                + &set(PID_MAX, most.saturating_mul(4)),
        );
    }
    if most < THREADS {
        return warn("processes", found, set(PID_MAX, THREADS));
    }
    ok("processes", found)
}

fn forwarding(facts: &Facts) -> Finding {
    match facts.sysctl(FORWARD) {
        Some(1..) => ok("forwarding", "IPv4 is forwarded"),
        _ => {
            warn("forwarding", "IPv4 is not forwarded: pods reach nothing but this machine", set(FORWARD, 1))
        }
    }
}

fn bridge(facts: &Facts) -> Finding {
    match facts.sysctl(BRIDGE) {
        Some(1..) => ok("bridges", "iptables sees what goes over bridges"),
        Some(0) => warn(
            "bridges",
            "iptables does not see what goes over bridges: services may not answer pods of this node",
            set(BRIDGE, 1),
        ),
        None => warn(
            "bridges",
            "br_netfilter is not loaded: where the pods' network is a bridge, services may not answer pods of this node",
            "modprobe br_netfilter, and put the line br_netfilter into a file of /etc/modules-load.d",
        ),
    }
}

fn swap(facts: &Facts) -> Finding {
    let active = facts.swap.join(", ");
    if active.is_empty() {
        return ok("swap", "off");
    }
    if facts.configuration.config.fail_swap_on {
        let advice = "swapoff -a and take it out of /etc/fstab, or set failSwapOn: false";
        return fail("swap", format!("on ({active}), and the daemon does not start with it"), advice);
    }
    let behavior = match facts.configuration.config.memory_swap.swap_behavior.as_str() {
        "" => "NoSwap",
        behavior => behavior,
    };
    ok("swap", format!("on ({active}); pods have it by {behavior}"))
}

fn clock(facts: &Facts) -> Finding {
    let service = facts.clock.service.as_deref();
    let by = service.map(|name| format!(", {name} runs")).unwrap_or_default();
    match (facts.clock.is_synchronized, service) {
        (Some(true), _) => ok("clock", format!("synchronized{by}")),
        (None, Some(name)) => ok("clock", format!("{name} runs; whether it has succeeded is not known")),
        (Some(false), Some(name)) => {
            let advice = format!(
                "see the log of {name}: certificates and tokens of other machines may look too old or too new"
            );
            warn("clock", format!("not synchronized, though {name} runs"), advice)
        }
        (is_known, None) => {
            let found =
                if is_known.is_some() { "not synchronized" } else { "nobody is seen to keep it right" };
            warn(
                "clock",
                found,
                "install systemd-timesyncd or chrony; a virtual machine may have its clock from the host",
            )
        }
    }
}

fn time_zone(facts: &Facts) -> Finding {
    if facts.host.has_time_zone {
        return ok("time zone", "/etc/localtime is there");
    }
    let advice = "timedatectl set-timezone UTC; cron jobs of this machine and logs of others are easier to compare with it";
    warn("time zone", "no /etc/localtime: UTC is taken", advice)
}

fn host_name(facts: &Facts) -> Finding {
    let name = match &facts.host.node_name {
        Some(Ok(name)) => name,
        Some(Err(why)) => {
            return fail("host name", why.clone(), "hostnamectl set-hostname NAME, or --hostname-override");
        }
        None => return warn("host name", "not looked at", ""),
    };
    match &facts.host.addresses {
        Some(Ok(addresses)) if !addresses.is_empty() => {
            ok("host name", format!("{name}, which is {}", addresses.join(", ")))
        }
        Some(Err(why)) => {
            let advice = format!("put the line ADDRESS {name} into /etc/hosts, or give the daemon --node-ip");
            warn("host name", format!("{name} does not resolve: {why}"), advice)
        }
        _ => warn("host name", format!("{name} resolves to nothing"), "give the daemon --node-ip"),
    }
}

fn root_dir(facts: &Facts) -> Finding {
    let path = facts.root_dir.path.display();
    let found = match &facts.root_dir.found {
        None => return ok("root directory", format!("{path} will be made")),
        Some(Err(why)) => return fail("root directory", why.clone(), "choose another with --root-dir"),
        Some(Ok(found)) => found,
    };
    if !found.is_directory {
        return fail("root directory", format!("{path} is no directory"), "move it away");
    }
    if found.read_only {
        return fail(
            "root directory",
            format!("{path} is mounted read-only"),
            format!("mount -o remount,rw the file system of {path}"),
        );
    }
    if found.owner != 0 {
        return fail(
            "root directory",
            format!("{path} belongs to user {}", found.owner),
            format!("chown root {path}"),
        );
    }
    if found.mode & 0o022 != 0 {
        let advice = format!("chmod go-w {path}: whoever can write there can become root");
        return fail(
            "root directory",
            format!("{path} can be written by others (mode {:o})", found.mode & 0o7777),
            advice,
        );
    }
    if found.no_exec {
        let advice = "programs in volumes do not run; mount it without noexec";
        return warn("root directory", format!("{path} is mounted with noexec"), advice);
    }
    ok("root directory", format!("{path}, mode {:o}", found.mode & 0o7777))
}

fn space(facts: &Facts, disk: &Disk) -> Finding {
    let check = match disk.name {
        "imagefs" => "disk of images",
        "logs" => "disk of logs",
        _ => "disk of the node",
    };
    let path = disk.path.display();
    let Space { available, capacity, inodes_free, inodes } = match &disk.space {
        Ok(space) => *space,
        Err(why) => return warn(check, why.clone(), ""),
    };
    let mut found = format!(
        "{path}: {} of {} left ({})",
        bytes(available),
        bytes(capacity),
        percent(available as f64, capacity as f64)
    );
    if inodes > 0 {
        // Writing to a string does not fail.
        let _ = write!(found, ", {} of the inodes", percent(inodes_free as f64, inodes as f64));
    }
    // Logs lie on a disk that has no threshold of its own.
    let signal = if disk.name == "imagefs" { "imagefs" } else { "nodefs" };
    let thresholds = &facts.configuration.config.eviction_hard;
    let least = |suffix: &str, capacity: u64| {
        let threshold = thresholds.get(&format!("{signal}.{suffix}"));
        threshold.map_or(0, |threshold| threshold_bytes(threshold, capacity))
    };
    let (space, files) = (least("available", capacity), least("inodesFree", inodes));
    let free = "remove what is not needed, or give it a larger disk";
    if available < space || (inodes > 0 && inodes_free < files) {
        return fail(check, format!("{found}, less than evictionHard allows: pods are evicted"), free);
    }
    if available < space.saturating_mul(2) || (inodes > 0 && inodes_free < files.saturating_mul(2)) {
        return warn(check, format!("{found}, near to where evictionHard has pods evicted"), free);
    }
    ok(check, found)
}

fn port(facts: &Facts, port: &Port) -> Finding {
    let Port { number, setting, .. } = port;
    let Some(Owner { process, name }) = &port.taken else {
        return match facts.daemon {
            Some(_) => warn(
                "port",
                format!("the daemon runs, and nobody listens on {number}"),
                "see the daemon's log",
            ),
            None => ok("port", format!("{number} is free")),
        };
    };
    if process.is_some() && *process == facts.daemon {
        return ok("port", format!("{number} is the daemon's"));
    }
    let who = match process {
        Some(process) => format!("process {process} ({name})"),
        None => "somebody".to_owned(),
    };
    fail(
        "port",
        format!("{who} listens on {number}"),
        format!("end it, or set {setting} of the configuration; only one agent can run on a node"),
    )
}

fn runtime(facts: &Facts) -> Finding {
    let endpoint = &facts.runtime.endpoint;
    let answer = match &facts.runtime.answer {
        Some(Ok(answer)) => answer,
        Some(Err(why)) => {
            let advice = "start it (systemctl start containerd), or set containerRuntimeEndpoint; containerd has to have its CRI plugin enabled";
            return fail("runtime", format!("{endpoint}: {why}"), advice);
        }
        None => {
            return fail(
                "runtime",
                format!("{endpoint:?} is no socket"),
                "set containerRuntimeEndpoint: unix:///run/containerd/containerd.sock",
            );
        }
    };
    let found = format!("{} {} at {endpoint}", answer.name, answer.version);
    if let Some(why) = &answer.not_ready {
        return fail("runtime", format!("{found}: {why}"), format!("see the log of {}", answer.name));
    }
    let major = version(answer.version.trim_start_matches('v')).map(|(major, _)| major);
    if answer.name == "containerd" && major.is_some_and(|major| major < 2) {
        return warn("runtime", found, "nodelet is tested with containerd 2: install that");
    }
    ok("runtime", found)
}

fn cgroup_driver(facts: &Facts) -> Finding {
    let wanted = &facts.configuration.config.cgroup_driver;
    let told = match &facts.runtime.answer {
        Some(Ok(answer)) => answer.cgroup_driver.as_ref(),
        _ => return warn("cgroup driver", "the runtime cannot be asked for it", ""),
    };
    match told {
        Some(told) if told == wanted => ok("cgroup driver", format!("{told}, as the runtime's")),
        Some(told) => {
            ok("cgroup driver", format!("{told}: the runtime's counts, not {wanted} of the configuration"))
        }
        None => {
            let advice = "see that the runtime is configured for the same one (SystemdCgroup of containerd): with two of them pods end up unlimited";
            warn(
                "cgroup driver",
                format!("{wanted} of the configuration; the runtime does not tell its own"),
                advice,
            )
        }
    }
}

fn network(facts: &Facts) -> Finding {
    let Some(Ok(answer)) = &facts.runtime.answer else {
        return warn("pod network", "the runtime cannot be asked for it", "");
    };
    let Some(why) = &answer.network_not_ready else { return ok("pod network", "ready") };
    let advice = match facts.runtime.network_configurations {
        Some(0) | None => {
            "install a network plugin: there is no configuration in /etc/cni/net.d. Most are installed as a DaemonSet, which needs the \
                           API server; pods of the host's network run meanwhile"
        }
        Some(_) => {
            "there is a configuration in /etc/cni/net.d: see the runtime's log for what it does not like, and whether its programs are in /opt/cni/bin"
        }
    };
    fail("pod network", why.clone(), advice)
}

fn certificate(facts: &Facts, certificate: &Certificate) -> Finding {
    let check = if certificate.name == "client" { "client certificate" } else { "serving certificate" };
    let path = certificate.path.display();
    let Some(until) = certificate.until else {
        let why = certificate.problem.clone().unwrap_or_default();
        // The daemon makes its own at its start, and asks for one with a token.
        return match facts.daemon {
            None if !certificate.path.exists() => ok(check, format!("{path} is not there yet")),
            _ => warn(check, format!("{path}: {why}"), "see the daemon's log"),
        };
    };
    let left = until.as_second() - facts.now.as_second();
    let found = format!("{path} ends {}", when(until, facts.now));
    if left <= 0 {
        let found = format!("{path} ended {}", when(until, facts.now));
        let advice = "where the clock is right: nodelet join again, or a kubeconfig with another certificate";
        return match certificate.name.as_str() {
            "client" => fail(check, found, advice),
            _ => fail(
                check,
                found,
                "the daemon makes its own anew when it starts; another one is yours to renew",
            ),
        };
    }
    if left < CERTIFICATE_DAYS * DAY_SECONDS && !facts.configuration.config.rotate_certificates {
        return warn(check, found, "renew it, or set rotateCertificates: true");
    }
    ok(check, found)
}

fn api_server(facts: &Facts) -> Option<Finding> {
    let (address, reached) = facts.api_server.as_ref()?;
    Some(match reached {
        Ok(()) => ok("API server", format!("{address} answers")),
        Err(why) => warn(
            "API server",
            format!("{address}: {why}"),
            "pods go on without it; see whether it runs, and whether a firewall is between",
        ),
    })
}

#[cfg(test)]
mod tests;
