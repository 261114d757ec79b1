//! What the drivers share, and a server that says what a test wants said, byte by byte.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

pub(super) const AGENT: &str = "kube-probe/1.36";
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// For what never comes.
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// For what comes, however busy the machine is.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// What a server does once it has said what it had to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Then {
    Close,
    Hold,
    /// Says it again, for ever.
    Again,
}

pub(super) struct Server {
    pub(super) port: u16,
    /// Each request up to its empty line.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` is told the request and the server's port.
    pub(super) async fn listen(
        answer: impl Fn(&str, u16) -> String + Send + Sync + 'static,
        then: Then,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(serve(stream, seen, move |request: &str| answer(request, port), then));
            }
        });
        Self { port, requests }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// One connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    seen: Arc<Mutex<Vec<String>>>,
    answer: impl Fn(&str) -> String,
    then: Then,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    seen.lock().unwrap().push(request.clone());
    let answer = answer(&request);
    while stream.write_all(answer.as_bytes()).await.is_ok() {
        match then {
            Then::Again => {}
            Then::Hold => std::future::pending().await,
            Then::Close => {
                // For TLS: without it the other side sees a connection that was cut.
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

/// Answers each command with the next of these.
struct Commands(Mutex<Vec<Result<Ran, ExecError>>>);

impl Exec for Commands {
    async fn exec(&self, container: &str, command: &[String], timeout: Duration) -> Result<Ran, ExecError> {
        assert_eq!((container, command, timeout), ("id", &["check".to_owned(), "it".to_owned()][..], SECOND));
        self.0.lock().unwrap().remove(0)
    }
}

async fn exec(answers: Vec<Result<Ran, ExecError>>) -> (Outcome, usize) {
    let commands = Commands(Mutex::new(answers));
    let handler = Handler::Exec { command: vec!["check".to_owned(), "it".to_owned()] };
    let outcome = probe(&handler, "id", SECOND, AGENT, &commands).await;
    let left = commands.0.lock().unwrap().len();
    (outcome, left)
}

fn ran(exit_code: i32, output: &str) -> Result<Ran, ExecError> {
    Ok(Ran { exit_code, output: output.as_bytes().to_vec() })
}

#[tokio::test]
async fn row_19_9_a_commands_exit_code_decides_and_its_output_is_told_up_to_ten_kibibytes() {
    assert_eq!(exec(vec![ran(0, "fine")]).await.0, Outcome::Success);
    assert_eq!(exec(vec![ran(3, "not fine\n")]).await.0, Outcome::Failure("not fine\n".to_owned()));
    let long = "x".repeat(MAX_BODY + 1);
    assert_eq!(exec(vec![ran(1, &long)]).await.0, Outcome::Failure("x".repeat(MAX_BODY)));
    let late = exec(vec![Err(ExecError::TimedOut), ran(0, "")]).await;
    let told = "command timed out: \"check it\" timed out after 1s".to_owned();
    assert_eq!(late, (Outcome::Failure(told), 1), "a timeout is a failure, and not tried again");
}

#[tokio::test]
async fn row_19_7_an_attempt_without_a_result_is_made_three_times_in_all() {
    let broken = || Err(ExecError::Failed("no runtime".to_owned()));
    assert_eq!(exec(vec![broken(), broken(), ran(0, ""), ran(1, "")]).await, (Outcome::Success, 1));
    let told = Outcome::Error { state: "unknown", message: "no runtime".to_owned() };
    assert_eq!(exec(vec![broken(), broken(), broken(), ran(0, "")]).await, (told, 1));
}

#[tokio::test]
async fn row_19_11_whoever_can_be_connected_to_passes() {
    let commands = Commands(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler = |host: &str| Handler::Tcp { host: host.to_owned(), port };
    for host in ["127.0.0.1", "localhost"] {
        let outcome = probe(&handler(host), "id", LONG, AGENT, &commands).await;
        assert_eq!(outcome, Outcome::Success, "{host}");
    }
    drop(listener);
    let outcome = probe(&handler("127.0.0.1"), "id", LONG, AGENT, &commands).await;
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(outcome, Outcome::Failure(refused));
    let outcome = probe(&handler("no.such.host.invalid"), "id", LONG, AGENT, &commands).await;
    assert_eq!(outcome, Outcome::Failure("dial tcp: lookup no.such.host.invalid: no such host".to_owned()));
}

#[test]
fn a_timeout_is_told_as_go_tells_it() {
    for (given, told) in [(1, "1s"), (59, "59s"), (60, "1m0s"), (90, "1m30s"), (7200, "2h0m0s")] {
        assert_eq!(seconds(Duration::from_secs(given)), told);
    }
}
