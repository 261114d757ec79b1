//! `nodelet exec`: a command in a container, over the same WebSocket as from `kubectl exec` through an API server.
//!
//! ```text
//!  standard input, size of the terminal ──Encoder──> daemon ──> runtime
//!  standard output and error, exit code <──Session── daemon <── runtime
//! ```

mod outgoing;
mod session;

use std::io;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use form_urlencoded::Serializer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, split};
use tokio::sync::mpsc;

use self::outgoing::Outgoing;
use self::session::{End, Session, Told, closes, input, resize};
use super::socket::AskError;
use super::target::{self, Target};
use super::terminal::{self, Endings, Raw};
use super::{ViewError, root_dir, socket};

const PROTOCOL: &str = "v5.channel.k8s.io";
/// Bytes that are read at once.
const READ_BYTES: usize = 32 * 1024;

pub(super) fn command() -> Command {
    let switch = |name: &'static str, short: char, help: &'static str| {
        Arg::new(name).long(name).short(short).action(ArgAction::SetTrue).help(help)
    };
    Command::new("nodelet exec")
        .about("Runs a command in a container of this node and ends with its exit code")
        .arg(target::pod())
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .required(true)
                .num_args(1..)
                .last(true)
                .help("The command and its arguments, after --"),
        )
        .arg(target::container())
        .arg(switch("stdin", 'i', "Pass standard input on to it"))
        .arg(switch("tty", 't', "Give it a terminal"))
        .arg(root_dir())
}

pub(super) async fn run(matches: ArgMatches) -> Result<ExitCode, ViewError> {
    let socket = socket(&matches);
    let named = matches.get_one::<String>("pod").map(String::as_str).unwrap_or_default();
    let (stdin, mut tty) = (matches.get_flag("stdin"), matches.get_flag("tty"));
    if tty && !terminal::stdin_is_terminal() {
        eprintln!("nodelet exec: standard input is no terminal; the command gets none");
        tty = false;
    }
    let target = Target::find(&socket, named, matches.get_one("container")).await?;
    let words: Vec<&String> = matches.get_many("command").into_iter().flatten().collect();
    let path = format!("/exec{}?{}", target.path(), query(&words, stdin, tty));
    let connection = socket.websocket(&path, PROTOCOL).await?;
    // Before the terminal's mode: what ends this from now on puts it back.
    let endings = Endings::new().map_err(ViewError::Terminal)?;
    let raw = (tty && stdin).then(Raw::enter).transpose().map_err(ViewError::Terminal)?;
    let typed = stdin.then(terminal::input);
    let shown = Streams { output: &mut io::stdout(), errors: &mut io::stderr() };
    let ended = converse(connection, typed, tty, endings, shown).await;
    drop(raw);
    ended
}

fn query(command: &[&String], stdin: bool, tty: bool) -> String {
    let mut query = Serializer::new(String::new());
    for word in command {
        query.append_pair("command", word);
    }
    for (name, is_wanted) in [("input", stdin), ("output", true), ("error", !tty), ("tty", tty)] {
        if is_wanted {
            query.append_pair(name, "1");
        }
    }
    query.finish()
}

/// Where what the command writes goes.
struct Streams<'a, O, E> {
    output: &'a mut O,
    errors: &'a mut E,
}

/// Passes everything on until the command has ended. It is read while something waits to be written: the command may take no more
/// input before somebody takes its output.
async fn converse(
    connection: impl AsyncRead + AsyncWrite,
    mut typed: Option<mpsc::Receiver<Vec<u8>>>,
    tty: bool,
    mut endings: Endings,
    shown: Streams<'_, impl io::Write, impl io::Write>,
) -> Result<ExitCode, ViewError> {
    let broken = |source: io::Error| ViewError::Plain(format!("the connection to nodelet: {source}"));
    let (mut reading, mut writing) = split(connection);
    let mut resized = terminal::resized().map_err(ViewError::Terminal)?;
    let mut outgoing = Outgoing::default();
    if tty && let Some(size) = terminal::size(io::stdin()) {
        outgoing.push(resize(size));
    }
    let mut session = Session::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let next_input = async {
            match &mut typed {
                Some(typed) => typed.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Cancel-safe: what was not read is still there.
            count = reading.read(&mut buffer) => {
                let count = count.map_err(broken)?;
                for told in session.take(&mut buffer[..count]).map_err(ViewError::Plain)? {
                    match told {
                        Told::Output(part) => put(shown.output, &part)?,
                        Told::Errors(part) => put(shown.errors, &part)?,
                        Told::Answer(frame) => {
                            // A daemon that asks on and reads no answers gets these and no more.
                            if !outgoing.is_full() {
                                outgoing.push(frame);
                            }
                        }
                    }
                }
                if let Some(end) = session.end() {
                    return ended(end);
                }
                if count == 0 {
                    return Err(ViewError::Plain("nodelet has ended the connection before the command had ended".to_owned()));
                }
            }
            // Cancel-safe: see there.
            sent = outgoing.send(&mut writing) => sent.map_err(broken)?,
            // Cancel-safe: a piece that is not taken stays in the queue.
            piece = next_input, if outgoing.is_empty() => match piece {
                Some(piece) => outgoing.push(input(&piece)),
                None => {
                    typed = None;
                    outgoing.push(closes());
                }
            },
            // Cancel-safe: only that there was a change is told.
            _ = resized.recv(), if tty && !outgoing.is_full() => {
                if let Some(size) = terminal::size(io::stdin()) {
                    outgoing.push(resize(size));
                }
            }
            // Cancel-safe: see there.
            code = endings.next() => return Ok(code),
        }
    }
}

fn put(out: &mut impl io::Write, part: &[u8]) -> Result<(), ViewError> {
    out.write_all(part).and_then(|()| out.flush()).map_err(ViewError::Output)
}

fn ended(end: End) -> Result<ExitCode, ViewError> {
    match end {
        End::Exited(code) => Ok(ExitCode::from(code)),
        End::Failed(why) => {
            Err(AskError::Refused { status: http::StatusCode::INTERNAL_SERVER_ERROR, why }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use streams::websocket::{Opcode, head};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A server's message on a channel.
    fn sent(channel: u8, bytes: &[u8]) -> Vec<u8> {
        let payload = [&[channel], bytes].concat();
        let mut room = [0; 14];
        let length = head(&mut room, Opcode::Binary, payload.len(), None);
        [&room[room.len() - length..], &payload].concat()
    }

    #[tokio::test]
    async fn output_is_taken_while_the_command_takes_no_input_yet() {
        const PART: usize = 64 * 1024;
        let (client, mut daemon) = tokio::io::duplex(1024);
        let (sender, typed) = mpsc::channel(1);
        let typing = async {
            sender.send(vec![b'i'; PART]).await.unwrap();
            drop(sender);
        };
        let answering = async {
            // The first byte of input has come; the rest waits until the output is taken.
            let mut first = [0];
            daemon.read_exact(&mut first).await.unwrap();
            daemon.write_all(&sent(1, &vec![b'o'; PART])).await.unwrap();
            let mut rest = vec![0; input(&vec![b'i'; PART]).len() - 1 + closes().len()];
            daemon.read_exact(&mut rest).await.unwrap();
            daemon.write_all(&sent(3, br#"{"status":"Success"}"#)).await.unwrap();
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let shown = Streams { output: &mut output, errors: &mut errors };
        let talk = converse(client, Some(typed), false, Endings::new().unwrap(), shown);
        let all = async { tokio::join!(talk, typing, answering).0 };
        let ended = tokio::time::timeout(Duration::from_secs(60), all).await.expect("a deadlock");
        assert_eq!(ended.unwrap(), ExitCode::SUCCESS);
        assert_eq!((output.len(), errors.len()), (PART, 0));
    }

    #[test]
    fn the_command_and_its_streams_are_what_port_10250_is_asked_for() {
        let asked = |line: &[&str]| {
            let matches = command().try_get_matches_from(line).map_err(|error| error.to_string())?;
            let words: Vec<&String> = matches.get_many("command").into_iter().flatten().collect();
            Ok::<_, String>(query(&words, matches.get_flag("stdin"), matches.get_flag("tty")))
        };
        assert_eq!(
            asked(&["exec", "ns/p", "--", "sh", "-c", "a b&c"]).unwrap(),
            "command=sh&command=-c&command=a+b%26c&output=1&error=1"
        );
        assert_eq!(asked(&["exec", "-it", "p", "--", "sh"]).unwrap(), "command=sh&input=1&output=1&tty=1");
        assert!(asked(&["exec", "ns/p"]).is_err(), "without a command");
        assert!(asked(&["exec", "--", "sh"]).is_err(), "without a pod");
    }
}
