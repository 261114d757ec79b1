//! A thousand sessions that are opened and broken: what is left of them. Alone in its process, whose descriptors and tasks are counted.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use futures::StreamExt as _;
use streams::SessionEnd;
use streams::fake::Runtime;
use streams::remote_command::{self, Options, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;

const SESSIONS: usize = 1000;
const LIMIT: Duration = Duration::from_secs(120);
const OPTIONS: Options = Options { stdin: true, stdout: true, stderr: false, tty: false };

fn descriptors() -> usize {
    procfs::process::Process::myself().unwrap().fd_count().unwrap()
}

/// One session, from its begin to its end.
async fn session(
    runtime: &Runtime,
    listener: &TcpListener,
) -> (TcpStream, tokio::task::JoinHandle<SessionEnd>) {
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

#[tokio::test]
async fn a_thousand_broken_sessions_leave_no_task_and_no_descriptor() {
    let mut runtime = Runtime::start().await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = (descriptors(), tasks());
    let all = async {
        let mut indices = futures::stream::iter(0..SESSIONS);
        while let Some(index) = indices.next().await {
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
                    taken.next().await.unwrap().expect("the end of the input");
                    drop(taken);
                    served.await.unwrap()
                }
                // The client, in the middle of a frame.
                1 => {
                    taken.accept(3).await.unwrap();
                    client.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 1]).await.unwrap();
                    drop(client);
                    taken.next().await.unwrap().expect("the end of the input");
                    drop(taken);
                    served.await.unwrap()
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
                0 | 1 => end == SessionEnd::Client,
                2 => matches!(end, SessionEnd::Runtime(_)),
                _ => matches!(end, SessionEnd::Malformed(_)),
            };
            assert!(good, "session {index}: {end:?}");
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
