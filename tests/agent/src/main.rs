//! The agent in a node of the VM tests: runs what the machine of the tests asks for. `harness::vm` is its other half.
//!
//! A thread for each connection. It has no more rights than it takes: whoever reaches the port is root in the node, and only the
//! machine of the tests does.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use vm_agent::{CHUNK, Kind, PORT, Request};

const MAX_CONNECTIONS: usize = 256;
/// A machine that asks for nothing does not hold a connection for ever.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// More than the largest pipe holds, in chunks.
const LAST_CHUNKS: usize = 17;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HOME: &str = "/root";

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("accepting a connection: {error}");
                continue;
            }
        };
        let connections = Arc::clone(&connections);
        if connections.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        std::thread::spawn(move || {
            if let Err(error) = serve(&stream) {
                eprintln!("serving a connection: {error}");
            }
            connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    let Some((Kind::Request, content)) = vm_agent::read(&mut stream)? else { return Ok(()) };
    stream.set_read_timeout(None)?;
    let done = match serde_json::from_slice(&content)? {
        Request::Run { argv } => run(stream, &argv),
        Request::Connect { path } => connect(stream, &path),
    };
    done.or_else(|error| vm_agent::write(&mut stream, Kind::Refused, error.to_string().as_bytes()))
}

/// Passes everything on in both directions until both sides have ended.
fn connect(mut stream: &TcpStream, path: &str) -> io::Result<()> {
    let socket = UnixStream::connect(path)?;
    vm_agent::write(&mut stream, Kind::Connected, &[])?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // An end or a break of one side is told to the other.
            let _ = io::copy(&mut &*stream, &mut &socket);
            let _ = socket.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &socket, &mut &*stream);
        let _ = stream.shutdown(Shutdown::Write);
    });
    Ok(())
}

/// A command that runs, and what has to be passed on to it.
struct Running {
    group: Pid,
    ended: Receiver<io::Result<ExitStatus>>,
    /// Readable once the command has ended.
    bell: UnixStream,
    input: Option<ChildStdin>,
    /// Not yet taken by the command.
    pending: Vec<u8>,
}

fn run(mut stream: &TcpStream, argv: &[String]) -> io::Result<()> {
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no program"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([("PATH", PATH), ("HOME", HOME), ("LANG", "C.UTF-8"), ("TERM", "xterm")])
        .current_dir(HOME)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let group = Pid::from_raw(child.id().cast_signed());
    let (mut output, mut errors) = (child.stdout.take(), child.stderr.take());
    let input = child.stdin.take();
    // A command that does not read must not keep its own output from being passed on.
    for pipe in
        [output.as_ref().map(AsFd::as_fd), errors.as_ref().map(AsFd::as_fd), input.as_ref().map(AsFd::as_fd)]
    {
        pipe.map_or(Ok(()), do_not_wait)?;
    }
    let (bell, ended) = watch(child)?;
    let mut running = Running { group, ended, bell, input, pending: Vec::new() };
    let outcome = pass_on(stream, &mut running, &mut output, &mut errors);
    if outcome.is_err() {
        // Nobody waits for it any more. It may have ended meanwhile.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let status = running.ended.recv().map_err(io::Error::other)??;
    outcome?;
    vm_agent::write(&mut stream, Kind::End, status.into_raw().to_string().as_bytes())
}

/// Waits for the end of a command in a thread of its own.
fn watch(mut child: Child) -> io::Result<(UnixStream, Receiver<io::Result<ExitStatus>>)> {
    let (bell, ringer) = UnixStream::pair()?;
    let (sender, ended) = sync_channel(1);
    std::thread::spawn(move || {
        let _ = sender.send(child.wait());
        drop(ringer);
    });
    Ok((bell, ended))
}

/// Until the command has ended and all that it wrote is passed on. What others of its group write later is lost.
fn pass_on(
    mut stream: &TcpStream,
    running: &mut Running,
    output: &mut Option<std::process::ChildStdout>,
    errors: &mut Option<std::process::ChildStderr>,
) -> io::Result<()> {
    loop {
        let ready =
            ready(stream, running, output.as_ref().map(AsFd::as_fd), errors.as_ref().map(AsFd::as_fd))?;
        if let Some(pipe) = output.as_mut().filter(|_| ready.output)
            && copy(pipe, stream, Kind::Output)? == Copied::End
        {
            *output = None;
        }
        if let Some(pipe) = errors.as_mut().filter(|_| ready.errors)
            && copy(pipe, stream, Kind::ErrorOutput)? == Copied::End
        {
            *errors = None;
        }
        if ready.input {
            feed(running);
        }
        if ready.machine {
            let frame = vm_agent::read(&mut stream)?;
            let (kind, content) =
                frame.ok_or_else(|| io::Error::other("the machine does not wait any more"))?;
            match kind {
                Kind::Input => {
                    running.pending = content;
                    feed(running);
                }
                Kind::EndOfInput => running.input = None,
                Kind::Signal => signal(running.group, &content)?,
                _ => return Err(io::Error::other(format!("{kind:?} is not for an agent"))),
            }
        }
        if ready.end {
            // All that it wrote itself is in the pipes by now, and a pipe does not hold more than this.
            let all = |pipe: &mut dyn io::Read, kind| -> io::Result<()> {
                for _ in 0..LAST_CHUNKS {
                    if copy(pipe, stream, kind)? != Copied::Some {
                        break;
                    }
                }
                Ok(())
            };
            output.as_mut().map_or(Ok(()), |pipe| all(pipe, Kind::Output))?;
            return errors.as_mut().map_or(Ok(()), |pipe| all(pipe, Kind::ErrorOutput));
        }
    }
}

#[derive(Default)]
struct Ready {
    output: bool,
    errors: bool,
    input: bool,
    machine: bool,
    end: bool,
}

/// Waits until something can be done. Nothing is taken from the machine while the command has not taken what came before.
fn ready(
    stream: &TcpStream,
    running: &Running,
    output: Option<BorrowedFd<'_>>,
    errors: Option<BorrowedFd<'_>>,
) -> io::Result<Ready> {
    let blocked = running.input.as_ref().filter(|_| !running.pending.is_empty());
    let of_machine = if blocked.is_some() { PollFlags::empty() } else { PollFlags::POLLIN };
    let sources = [
        Some((running.bell.as_fd(), PollFlags::POLLIN)),
        Some((stream.as_fd(), of_machine)),
        output.map(|fd| (fd, PollFlags::POLLIN)),
        errors.map(|fd| (fd, PollFlags::POLLIN)),
        blocked.map(|input| (input.as_fd(), PollFlags::POLLOUT)),
    ];
    let mut polled: Vec<_> = sources.iter().flatten().map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
    while let Err(errno) = poll(&mut polled, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(errno.into());
        }
    }
    let mut answers = polled.iter().map(|fd| fd.any().unwrap_or(true));
    let [end, machine, output, errors, input] =
        sources.map(|source| source.is_some() && answers.next().unwrap_or(false));
    Ok(Ready { output, errors, input, machine, end })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Some,
    Nothing,
    End,
}

/// Passes on a chunk of what a pipe holds now.
fn copy(pipe: &mut dyn io::Read, mut stream: &TcpStream, kind: Kind) -> io::Result<Copied> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(Copied::End),
            Ok(length) => {
                vm_agent::write(&mut stream, kind, &buffer[..length])?;
                return Ok(Copied::Some);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Copied::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Gives the command as much of its input as it takes.
fn feed(running: &mut Running) {
    let Some(input) = &mut running.input else {
        running.pending.clear();
        return;
    };
    while !running.pending.is_empty() {
        match input.write(&running.pending) {
            Ok(taken) => drop(running.pending.drain(..taken)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It does not read any more.
            Err(_) => {
                running.pending.clear();
                running.input = None;
                return;
            }
        }
    }
}

fn signal(group: Pid, content: &[u8]) -> io::Result<()> {
    let number = std::str::from_utf8(content).ok().and_then(|text| text.parse::<i32>().ok());
    let signal = number.and_then(|number| Signal::try_from(number).ok());
    let signal = signal.ok_or_else(|| io::Error::other("not a signal"))?;
    // It may have ended meanwhile.
    let _ = killpg(group, signal);
    Ok(())
}

fn do_not_wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}
