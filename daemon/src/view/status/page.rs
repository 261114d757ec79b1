//! The page, from what was asked. Pure.

use jiff::Timestamp;
use podspec::human_duration;

use super::Shown;
use crate::overview::{ApiServer, Certificate, Daemon, Own, Runtime};
use crate::view::amount::{UNKNOWN, bytes, millicores, number, percent, quantity, since, when};
use crate::view::summary::{Disk, Stall};
use crate::view::table::{Table, printable};

/// The resources that every node has, in this order; further ones come after them.
const RESOURCES: [&str; 4] = ["cpu", "memory", "pods", "ephemeral-storage"];

/// All sections, with an empty line between them.
pub(super) fn page(shown: &Shown) -> String {
    let sections = [
        about(shown),
        conditions(shown),
        resources(shown),
        disks(shown),
        pressure(shown),
        certificates(shown),
        said(shown),
    ];
    let sections: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    sections.join("\n")
}

fn about(shown: &Shown) -> String {
    let overview = &shown.overview;
    let now = overview.now;
    let mut table = Table::plain().gap(3);
    let mut line = |name: &str, text: String| table.row(vec![name.to_owned(), text]);
    line("Node", node(&overview.node));
    line("Machine", machine(&overview.node));
    line("Addresses", or_none(&overview.node.addresses.join(", ")));
    line("Daemon", daemon(&overview.daemon, now));
    line("Configured", configured(&overview.daemon));
    line(
        "Health",
        overview.daemon.ill.clone().map_or_else(|| "ok".to_owned(), |ill| format!("NOT WELL: {ill}")),
    );
    line("Runtime", runtime(&overview.runtime, now));
    line(
        "API server",
        overview.api_server.as_ref().map_or_else(
            || "none: this node runs its static pods alone".to_owned(),
            |server| api_server(server, now),
        ),
    );
    table.text()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { text.to_owned() }
}

fn node(own: &Own) -> String {
    let parts = [("uid", &own.uid), ("provider", &own.provider_id)];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if parts.is_empty() { own.name.clone() } else { format!("{} ({})", own.name, parts.join(", ")) }
}

fn machine(own: &Own) -> String {
    format!("{}, Linux {}, {}, id {}", own.os_image, own.kernel_version, own.architecture, own.machine_id)
}

fn daemon(daemon: &Daemon, now: Timestamp) -> String {
    format!("nodelet {}, process {}, up {}", daemon.version, daemon.process, since(daemon.started, now))
}

fn configured(daemon: &Daemon) -> String {
    let given = [daemon.config.as_str(), daemon.config_dir.as_str()];
    let given: Vec<&str> = given.into_iter().filter(|path| !path.is_empty()).collect();
    let from = if given.is_empty() { "by its flags alone".to_owned() } else { given.join(" and ") };
    format!("{from}; state in {}", daemon.root_dir.display())
}

fn runtime(runtime: &Runtime, now: Timestamp) -> String {
    let name = match runtime.name.as_str() {
        "" => "unknown".to_owned(),
        name => format!("{name} {}", runtime.version),
    };
    let ready = match (&runtime.not_ready, &runtime.network_not_ready) {
        (Some(why), _) => format!("NOT READY: {why}"),
        (None, Some(why)) => format!("ready, NETWORK NOT READY: {why}"),
        (None, None) => "ready, network ready".to_owned(),
    };
    let answered = runtime.answered.map(|at| format!(", answered {}", when(at, now))).unwrap_or_default();
    format!("{name} at {}: {ready}{answered}", runtime.endpoint)
}

fn api_server(server: &ApiServer, now: Timestamp) -> String {
    let address = if server.address.is_empty() { "not known yet" } else { &server.address };
    let answered = server.answered.map(|at| format!("last answer {}", when(at, now)));
    let failed = server.failed.map(|at| format!("last error {}: {}", when(at, now), server.failure));
    let state = match (server.reachable_since, server.failed) {
        (Some(at), _) => format!("reachable for {}", since(at, now)),
        (None, Some(_)) => "NOT REACHABLE".to_owned(),
        (None, None) => "not called yet".to_owned(),
    };
    let parts: Vec<String> = [Some(state), answered, failed].into_iter().flatten().collect();
    format!("{address}: {}", parts.join(", "))
}

fn conditions(shown: &Shown) -> String {
    let mut table = Table::new(&["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"]);
    for condition in &shown.overview.conditions {
        table.row(vec![
            condition.kind.clone(),
            condition.status.clone(),
            condition.since.map_or_else(|| UNKNOWN.to_owned(), |at| since(at, shown.overview.now)),
            condition.reason.clone(),
            condition.message.clone(),
        ]);
    }
    table.text()
}

fn resources(shown: &Shown) -> String {
    let known = &shown.overview.resources;
    let mut table = Table::new(&["RESOURCE", "CAPACITY", "ALLOCATABLE", "REQUESTED", "USED"]);
    let others = known.keys().map(String::as_str).filter(|name| !RESOURCES.contains(name));
    for name in RESOURCES.into_iter().chain(others) {
        let Some(amounts) = known.get(name) else { continue };
        // Huge pages that nobody has set aside are nobody's concern.
        if name.starts_with("hugepages-") && number(&amounts.capacity) == 0.0 {
            continue;
        }
        let allocatable = number(&amounts.allocatable);
        let share = percent(number(&amounts.requested), allocatable);
        table.row(vec![
            name.to_owned(),
            quantity(name, &amounts.capacity),
            quantity(name, &amounts.allocatable),
            format!("{} ({share})", quantity(name, &amounts.requested)),
            used(shown, name, number(&amounts.capacity)).unwrap_or_else(|| UNKNOWN.to_owned()),
        ]);
    }
    table.text()
}

fn used(shown: &Shown, resource: &str, capacity: f64) -> Option<String> {
    let usage = shown.usage.as_ref();
    match resource {
        "cpu" => {
            let used = usage?.cpu.usage_nano_cores?;
            Some(format!("{} ({})", millicores(used), percent(used as f64 / 1e9, capacity)))
        }
        "memory" => {
            let used = usage?.memory.working_set_bytes?;
            Some(format!("{} ({})", bytes(used), percent(used as f64, capacity)))
        }
        "pods" => {
            let pods = &shown.overview.pods;
            Some(format!("{} here, {} running", pods.total, pods.running))
        }
        "ephemeral-storage" => {
            let disk = usage?.fs.as_ref()?;
            let used = disk.capacity_bytes?.checked_sub(disk.available_bytes?)?;
            Some(format!("{} ({})", bytes(used), percent(used as f64, capacity)))
        }
        _ => None,
    }
}

fn disks(shown: &Shown) -> String {
    let Some(usage) = &shown.usage else { return String::new() };
    let of_runtime = usage.runtime.clone().unwrap_or_default();
    let disks = [
        ("node", usage.fs.as_ref()),
        ("images", of_runtime.image_fs.as_ref()),
        ("containers", of_runtime.container_fs.as_ref()),
    ];
    let mut table = Table::new(&["FILE SYSTEM", "SIZE", "AVAILABLE", "INODES", "FREE"]);
    let mut is_empty = true;
    for (name, disk) in disks.into_iter().filter_map(|(name, disk)| Some((name, disk?))) {
        is_empty = false;
        table.row(disk_row(name, disk));
    }
    if let Some((most, now)) = usage.rlimit.as_ref().and_then(|r| Some((r.maxpid?, r.curproc?))) {
        let share = percent(now as f64, most as f64);
        return (if is_empty { String::new() } else { table.text() + "\n" })
            + &format!("Processes   {now} of {most} ({share})\n");
    }
    if is_empty { String::new() } else { table.text() }
}

fn disk_row(name: &str, disk: &Disk) -> Vec<String> {
    let amount = |of: Option<u64>, text: fn(u64) -> String| of.map_or_else(|| UNKNOWN.to_owned(), text);
    let share = |part: Option<u64>, whole: Option<u64>| match (part, whole) {
        (Some(part), Some(whole)) => format!(" ({})", percent(part as f64, whole as f64)),
        _ => String::new(),
    };
    let count: fn(u64) -> String = |count| count.to_string();
    vec![
        name.to_owned(),
        amount(disk.capacity_bytes, bytes),
        amount(disk.available_bytes, bytes) + &share(disk.available_bytes, disk.capacity_bytes),
        amount(disk.inodes, count),
        amount(disk.inodes_free, count) + &share(disk.inodes_free, disk.inodes),
    ]
}

fn pressure(shown: &Shown) -> String {
    if shown.pressure.is_empty() {
        return String::new();
    }
    let header = ["PRESSURE", "SOME 10S", "1M", "5M", "ALL 10S", "1M", "5M"];
    let mut table = Table::new(&header).right(&[1, 2, 3, 4, 5, 6]);
    let shares = |stall: &Stall| [stall.avg10, stall.avg60, stall.avg300].map(|share| format!("{share:.1}%"));
    for (name, psi) in &shown.pressure {
        let cells = [(*name).to_owned()].into_iter().chain(shares(&psi.some)).chain(shares(&psi.full));
        table.row(cells.collect());
    }
    table.text()
}

fn certificates(shown: &Shown) -> String {
    let certificates = &shown.overview.certificates;
    if certificates.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["CERTIFICATE", "ENDS", "FILE"]);
    for Certificate { name, path, until, problem } in certificates {
        let ends = match (until, problem) {
            (Some(until), _) => {
                let left = until.as_second() - shown.overview.now.as_second();
                let date = until.strftime("%Y-%m-%d %H:%M UTC");
                if left > 0 {
                    format!("{date}, in {}", human_duration(left))
                } else {
                    format!("{date}, ENDED {} ago", human_duration(-left))
                }
            }
            (None, Some(problem)) => problem.clone(),
            (None, None) => UNKNOWN.to_owned(),
        };
        table.row(vec![name.clone(), ends, path.display().to_string()]);
    }
    table.text()
}

fn said(shown: &Shown) -> String {
    if shown.overview.said.is_empty() {
        return "No warning and no error has been logged since the start.\n".to_owned();
    }
    let mut page = "Last warnings and errors:\n".to_owned();
    let mut table = Table::plain();
    for said in shown.overview.said.iter().rev() {
        let kind = if said.is_error { "error" } else { "warning" };
        let times = if said.times > 1 { format!(" ({} times)", said.times) } else { String::new() };
        let line = printable(&said.line) + &times;
        table.row(vec![format!("  {} ago", since(said.at, shown.overview.now)), kind.to_owned(), line]);
    }
    page += &table.text();
    page
}

#[cfg(test)]
mod tests;
