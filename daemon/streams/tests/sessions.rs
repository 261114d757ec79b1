//! A thousand sessions that are opened and broken: what is left of them. Alone in its process, whose descriptors and tasks are counted.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use streams::SessionEnd;
use streams::fake::{Runtime, Session};
use streams::remote_command::{self, Options, Protocol};
use streams::upgrade::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const SESSIONS: usize = 1000;
/// Sessions that wait at once for the end of their input.
const ENDING: usize = 100;
const LIMIT: Duration = Duration::from_secs(120);
const OPTIONS: Options = Options { stdin: true, stdout: true, stderr: false, tty: false };

fn descriptors() -> usize {
    procfs::process::Process::myself().unwrap().fd_count().unwrap()
}

/// One session, from its begin to its end.
async fn session(runtime: &Runtime, listener: &TcpListener) -> (TcpStream, JoinHandle<SessionEnd>) {
    let (protocol, _) = Protocol::choose(&["v5.channel.k8s.io".to_owned()]).unwrap();
    let url = runtime.url("/exec/token");
    let connected = remote_command::connect(&url, protocol).await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let served = tokio::spawn(async move {
        remote_command::serve(accepted.unwrap().0, connected, protocol, OPTIONS, Duration::ZERO).await
    });
    (client.unwrap(), served)
}

/// The runtime of a session whose client is gone sees the end of the input, which it waits for, and closes.
async fn input_ends(mut taken: Session<Connection>, served: JoinHandle<SessionEnd>) -> SessionEnd {
    taken.next().await.unwrap().expect("the end of the input");
    drop(taken);
    served.await.unwrap()
}

#[tokio::test]
async fn a_thousand_broken_sessions_leave_no_task_and_no_descriptor() {
    let mut runtime = Runtime::start().await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = (descriptors(), tasks());
    let all = async {
        let mut ending = JoinSet::new();
        for index in 0..SESSIONS {
            if ending.len() == ENDING {
                assert_eq!(ending.join_next().await.unwrap().unwrap(), SessionEnd::Client);
            }
            let (mut client, served) = session(&runtime, &listener).await;
            let (_, mut taken) = runtime.next().await.unwrap();
            let mut greeting = [0; 3];
            client.read_exact(&mut greeting).await.unwrap();
            assert_eq!(greeting, [0x82, 1, 1]);
            let end = match index % 5 {
                // The client, before the streams are there.
                0 => {
                    drop(client);
                    taken.accept(3).await.unwrap();
                    ending.spawn(input_ends(taken, served));
                    continue;
                }
                // The client, in the middle of a frame.
                1 => {
                    taken.accept(3).await.unwrap();
                    client.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 1]).await.unwrap();
                    drop(client);
                    ending.spawn(input_ends(taken, served));
                    continue;
                }
                // The runtime.
                2 => {
                    drop(taken);
                    client.read_to_end(&mut Vec::new()).await.unwrap();
                    drop(client);
                    served.await.unwrap()
                }
                // The client, with no frame at all.
                3 => {
                    taken.accept(3).await.unwrap();
                    client.write_all(&[0xff; 64]).await.unwrap();
                    client.read_to_end(&mut Vec::new()).await.unwrap();
                    drop((client, taken));
                    served.await.unwrap()
                }
                // The daemon.
                _ => {
                    served.abort();
                    assert!(served.await.unwrap_err().is_cancelled());
                    continue;
                }
            };
            let good = match index % 5 {
                2 => matches!(end, SessionEnd::Runtime(_)),
                _ => matches!(end, SessionEnd::Malformed(_)),
            };
            assert!(good, "session {index}: {end:?}");
        }
        for end in ending.join_all().await {
            assert_eq!(end, SessionEnd::Client);
        }
    };
    timeout(LIMIT, all).await.unwrap();
    // The tasks of the fake's connections end when they are next looked at.
    let gone = async {
        while (descriptors(), tasks()) != before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = timeout(LIMIT, gone).await;
    assert!(outcome.is_ok(), "descriptors and tasks: {:?}, before {before:?}", (descriptors(), tasks()));
}
