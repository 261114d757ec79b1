//! What a cgroup uses at one moment, read from its files.
//!
//! Hundreds of cgroups with a dozen files each are read for one answer: each directory is opened once, and all files go through one
//! buffer.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use nix::unistd::read;

use crate::accounting::{self, CpuStat, MemoryEvents, MemoryStat};
use crate::cpu::CpuMax;
use crate::hierarchy::{CgroupFiles, FileError};
use crate::io::{DeviceIo, io_stat};
use crate::memory::Limit;
use crate::pressure::{Pressure, pressure};

/// No file that is read whole is longer; what is, is cut.
const BUFFER: usize = 16 << 10;
/// Cgroups in one that are looked at.
const MAX_CHILDREN: usize = 4096;

/// How much of a cgroup is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Processor time and memory: three files.
    Basic,
    /// Swap, processes, disks, pressure, limits and events too.
    Whole,
}

/// What a cgroup uses. None where there is no such file: an older kernel, a controller that is off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// `cpu.stat`.
    pub cpu: Option<CpuStat>,
    /// `cpu.max`.
    pub cpu_max: Option<CpuMax>,
    /// `cpu.weight`.
    pub cpu_weight: Option<u64>,
    /// `cpu.pressure`.
    pub cpu_pressure: Option<Pressure>,
    /// `memory.current`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `memory.stat`.
    pub memory: Option<MemoryStat>,
    /// `memory.max`.
    pub memory_max: Option<Limit>,
    /// `memory.peak`, in bytes; from Linux 5.19 on.
    pub memory_peak_bytes: Option<u64>,
    /// `memory.events`.
    pub memory_events: Option<MemoryEvents>,
    /// `memory.pressure`.
    pub memory_pressure: Option<Pressure>,
    /// `memory.swap.current`, in bytes.
    pub swap_bytes: Option<u64>,
    /// `memory.swap.max`.
    pub swap_max: Option<Limit>,
    /// `pids.current`: tasks.
    pub tasks: Option<u64>,
    /// `pids.max`.
    pub tasks_max: Option<Limit>,
    /// Processes in the cgroup itself, by `cgroup.procs`.
    pub processes: Option<u64>,
    /// `io.stat`.
    pub io: Option<Vec<DeviceIo>>,
    /// `io.pressure`.
    pub io_pressure: Option<Pressure>,
}

/// One cgroup's directory, open.
#[derive(Debug)]
pub struct CgroupDir {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// Reads samples; has the buffer.
#[derive(Debug)]
pub struct Sampler {
    buffer: Vec<u8>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER] }
    }
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

impl CgroupDir {
    fn open(at: &OwnedFd, below: &str, path: PathBuf) -> Result<Option<Self>, FileError> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        // An empty path is none for the kernel.
        let name = if below.is_empty() { "." } else { below };
        match openat2(at, name, how) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(errno) if is_gone(errno) => Ok(None),
            Err(errno) => Err(FileError { operation: "opening", path, source: errno.into() }),
        }
    }

    /// The cgroup `name` in this one; none where it is gone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn child(&self, name: &str) -> Result<Option<Self>, FileError> {
        Self::open(&self.fd, name, self.path.join(name))
    }

    /// The names of the cgroups in this one; some of them where there are more than 4,096.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn children(&self) -> Result<Vec<String>, FileError> {
        let failed = |source: io::Error| FileError { operation: "reading", path: self.path.clone(), source };
        let fd = self.fd.try_clone().map_err(failed)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(fd).map_err(|errno| failed(errno.into()))?.iter() {
            let entry = match entry {
                Ok(entry) => entry,
                // It goes away meanwhile.
                Err(errno) if is_gone(errno) => break,
                Err(errno) => return Err(failed(errno.into())),
            };
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_directory = entry.file_type() == Some(nix::dir::Type::Directory);
            if is_directory && name != "." && name != ".." && names.len() < MAX_CHILDREN {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

impl CgroupFiles {
    /// Opens a cgroup by its path below the mount; none where it is not there.
    ///
    /// # Errors
    /// It cannot be opened, or the path leads out of the hierarchy.
    pub fn open_cgroup(&self, cgroup: &str) -> Result<Option<CgroupDir>, FileError> {
        CgroupDir::open(self.root(), cgroup.trim_matches('/'), self.full_path(cgroup))
    }
}

fn open(cgroup: &CgroupDir, name: &str) -> Option<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    openat(&cgroup.fd, name, flags, Mode::empty()).ok()
}

impl Sampler {
    /// What a file has in it; none where it is not there or cannot be read: a figure less.
    fn file<'a>(&'a mut self, cgroup: &CgroupDir, name: &str) -> Option<&'a [u8]> {
        let fd = open(cgroup, name)?;
        let mut length = 0;
        loop {
            let got = read(&fd, self.buffer.get_mut(length..)?).ok()?;
            length += got;
            // The kernel gives these files whole; a line that is complete is the last.
            if got == 0 || length == self.buffer.len() || self.buffer[length - 1] == b'\n' {
                return self.buffer.get(..length);
            }
        }
    }

    /// How many lines a file has that the kernel gives piece by piece: a page a read of `cgroup.procs`. None as for [`Self::file`].
    fn lines(&mut self, cgroup: &CgroupDir, name: &str) -> Option<u64> {
        let fd = open(cgroup, name)?;
        let mut lines = 0;
        loop {
            let got = read(&fd, &mut self.buffer).ok()?;
            if got == 0 {
                return Some(lines);
            }
            lines += accounting::lines(self.buffer.get(..got)?);
        }
    }

    /// The first process in the cgroup itself; 0 (of another namespace) is none.
    pub fn process(&mut self, cgroup: &CgroupDir) -> Option<u32> {
        let bytes = self.file(cgroup, "cgroup.procs")?;
        let line = bytes.split(|b| *b == b'\n').next()?;
        std::str::from_utf8(line).ok()?.parse().ok().filter(|pid| *pid != 0)
    }

    /// What the cgroup uses now.
    pub fn sample(&mut self, cgroup: &CgroupDir, part: Part) -> Sample {
        let mut sample = Sample {
            cpu: self.file(cgroup, "cpu.stat").map(accounting::cpu_stat),
            memory_bytes: self.file(cgroup, "memory.current").and_then(accounting::number),
            memory: self.file(cgroup, "memory.stat").map(accounting::memory_stat),
            ..Sample::default()
        };
        if part == Part::Basic {
            return sample;
        }
        sample.cpu_max = self.file(cgroup, "cpu.max").and_then(accounting::cpu_max);
        sample.cpu_weight = self.file(cgroup, "cpu.weight").and_then(accounting::number);
        sample.cpu_pressure = self.file(cgroup, "cpu.pressure").and_then(pressure);
        sample.memory_max = self.file(cgroup, "memory.max").and_then(accounting::limit);
        sample.memory_peak_bytes = self.file(cgroup, "memory.peak").and_then(accounting::number);
        sample.memory_events = self.file(cgroup, "memory.events").map(accounting::memory_events);
        sample.memory_pressure = self.file(cgroup, "memory.pressure").and_then(pressure);
        sample.swap_bytes = self.file(cgroup, "memory.swap.current").and_then(accounting::number);
        sample.swap_max = self.file(cgroup, "memory.swap.max").and_then(accounting::limit);
        sample.tasks = self.file(cgroup, "pids.current").and_then(accounting::number);
        sample.tasks_max = self.file(cgroup, "pids.max").and_then(accounting::limit);
        sample.processes = self.lines(cgroup, "cgroup.procs");
        sample.io = self.file(cgroup, "io.stat").map(io_stat);
        sample.io_pressure = self.file(cgroup, "io.pressure").and_then(pressure);
        sample
    }
}

#[cfg(test)]
mod tests;
