use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::PROGRAM;

struct Program {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn program() -> Program {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pause");
    fs::write(&path, PROGRAM).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    Program { _dir: dir, path }
}

/// A running program, ended with the test whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program and waits until it waits for signals.
fn start(program: &Program) -> Running {
    let child =
        Command::new(&program.path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let mut running = Running(child);
    let mut line = String::new();
    let stderr = running.0.stderr.as_mut().expect("piped");
    BufReader::new(stderr).read_line(&mut line).expect("read");
    assert_eq!(line, "Warning: pause should be the first process\n");
    let call = if cfg!(target_arch = "aarch64") { "137 " } else { "128 " };
    let waits = eventually(|| {
        let path = format!("/proc/{}/syscall", running.0.id());
        fs::read_to_string(path).is_ok_and(|text| text.starts_with(call))
    });
    assert!(waits, "the program does not come to wait");
    running
}

/// Looks until it is so, or not within five seconds.
fn eventually(mut so: impl FnMut() -> bool) -> bool {
    let began = fs::read_to_string("/proc/uptime").expect("the time since boot");
    let seconds = |text: &str| text.split('.').next().and_then(|s| s.parse::<u64>().ok()).expect("a number");
    let end = seconds(&began) + 5;
    loop {
        if so() {
            return true;
        }
        if seconds(&fs::read_to_string("/proc/uptime").expect("the time since boot")) > end {
            return false;
        }
        std::thread::yield_now();
    }
}

fn kill(signal: &str, pid: u32) {
    let status =
        Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn the_program_is_at_most_32_kibibytes() {
    assert!(PROGRAM.len() <= 32 * 1024, "{} bytes", PROGRAM.len());
}

#[test]
fn it_needs_no_interpreter_and_no_library() {
    // Program header type 3 is PT_INTERP, 2 is PT_DYNAMIC.
    let word =
        |at: usize, n: usize| PROGRAM[at..at + n].iter().rev().fold(0_usize, |v, b| v << 8 | usize::from(*b));
    let (table, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    let kinds: Vec<usize> = (0..count).map(|i| word(table + i * size, 4)).collect();
    assert!(kinds.contains(&1), "nothing is loaded");
    assert!(!kinds.contains(&3) && !kinds.contains(&2), "{kinds:?}");
}

#[test]
fn it_prints_its_version() {
    let output = Command::new(&program().path).arg("-v").output().expect("ran");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("pause ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn it_ends_well_when_it_is_told_to() {
    let program = program();
    for signal in ["TERM", "INT"] {
        let mut running = start(&program);
        kill(signal, running.0.id());
        assert_eq!(running.0.wait().expect("ended").code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn it_reaps_what_is_left_to_it() {
    let program = program();
    // As the first process of a namespace it is the parent of every orphan; that needs the right to make one.
    let script = "(sleep 0.05 & exec sleep 0.01) & exec \"$0\"";
    let unshare = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script])
        .arg(&program.path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(unshare) = unshare else {
        eprintln!("skipped: no unshare here");
        return;
    };
    let mut unshare = Running(unshare);
    let children = |pid: u32| -> Vec<u32> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
    };
    let is_pause =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|n| n.trim() == "pause");
    let mut pause = None;
    eventually(|| {
        pause = children(unshare.0.id()).into_iter().find(is_pause);
        pause.is_some() || unshare.0.try_wait().is_ok_and(|s| s.is_some())
    });
    let Some(pause) = pause else {
        eprintln!("skipped: no process namespace can be made here");
        return;
    };
    assert!(eventually(|| children(pause).is_empty()), "left: {:?}", children(pause));
    kill("TERM", pause);
    assert_eq!(unshare.0.wait().expect("ended").code(), Some(0));
}
