//! Which of a process's functions run, by breakpoints that go when they are met.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::time::Instant;

/// `int3`.
const BREAKPOINT: u8 = 0xcc;
const PAUSE: Duration = Duration::from_micros(200);

/// Watches a process for `time`; gives those of the addresses in its program at which something ran. The process is ended, as the
/// breakpoints that nobody has met are still in it.
pub(super) fn ran(process: i32, addresses: BTreeSet<u64>, time: Duration) -> anyhow::Result<BTreeSet<u64>> {
    if !cfg!(target_arch = "x86_64") {
        bail!("only on x86_64: breakpoints are other instructions elsewhere");
    }
    let process = Pid::from_raw(process);
    let met = watch(process, addresses, time);
    kill(process, Signal::SIGKILL)?;
    met
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever traces is the thread that has begun with it, which has nothing else to do"
)]
fn watch(process: Pid, addresses: BTreeSet<u64>, time: Duration) -> anyhow::Result<BTreeSet<u64>> {
    let threads = stop(process)?;
    let base = base(process)?;
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem"))?;
    let mut replaced = BTreeMap::new();
    for address in addresses {
        let mut byte = [0];
        memory.read_exact_at(&mut byte, base + address)?;
        memory.write_all_at(&[BREAKPOINT], base + address)?;
        replaced.insert(base + address, byte);
    }
    for thread in threads {
        ptrace::cont(thread, None)?;
    }
    let end = Instant::now() + time;
    let mut met = BTreeSet::new();
    while Instant::now() < end {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => std::thread::sleep(PAUSE),
            WaitStatus::Stopped(thread, Signal::SIGTRAP) => {
                if let Some(address) = step_back(thread, &memory, &replaced)? {
                    met.insert(address - base);
                    ptrace::cont(thread, None)?;
                } else {
                    ptrace::cont(thread, Signal::SIGTRAP)?;
                }
            }
            WaitStatus::Stopped(thread, signal) => ptrace::cont(thread, signal)?,
            WaitStatus::PtraceEvent(thread, ..) => ptrace::cont(thread, None)?,
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) if thread == process => {
                bail!("the daemon has ended")
            }
            _ => {}
        }
    }
    Ok(met)
}

/// Stops all threads of a process.
fn stop(process: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut threads = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let name = task?.file_name();
        let thread =
            Pid::from_raw(name.to_str().and_then(|name| name.parse().ok()).context("a thread's number")?);
        ptrace::seize(thread, Options::PTRACE_O_TRACECLONE).context("a process cannot be traced")?;
        ptrace::interrupt(thread)?;
        waitpid(thread, Some(WaitPidFlag::__WALL))?;
        threads.push(thread);
    }
    Ok(threads)
}

/// Where the program's address 0 is in the process.
fn base(process: Pid) -> anyhow::Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
    let first = maps.split('-').next().unwrap_or_default();
    u64::from_str_radix(first, 16).context("the process has no memory")
}

/// Has a thread that met a breakpoint go on as if there was none. Another thread may have removed it meanwhile.
#[cfg(target_arch = "x86_64")]
fn step_back(thread: Pid, memory: &File, replaced: &BTreeMap<u64, [u8; 1]>) -> anyhow::Result<Option<u64>> {
    let mut registers = ptrace::getregs(thread)?;
    let address = registers.rip - 1;
    let Some(byte) = replaced.get(&address) else { return Ok(None) };
    memory.write_all_at(byte, address)?;
    registers.rip = address;
    ptrace::setregs(thread, registers)?;
    Ok(Some(address))
}

#[cfg(not(target_arch = "x86_64"))]
fn step_back(_: Pid, _: &File, _: &BTreeMap<u64, [u8; 1]>) -> anyhow::Result<Option<u64>> {
    Ok(None)
}
