use std::sync::{Arc, Mutex};

use http::{Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::super::tests::{AGENT, LONG, SHORT, Server, Then};
use super::*;

/// How a server answers.
#[derive(Clone, Debug)]
enum Answer {
    /// A message behind its prefix, and `grpc-status: 0`.
    Message(Vec<u8>),
    /// A message, and these trailers.
    Trailers(Vec<u8>, HeaderMap),
    /// Nothing but trailers.
    Status(u32, &'static str),
    /// No gRPC at all.
    Http(u16),
    Hang,
    /// The stream is reset.
    Reset,
}

struct Asked {
    path: String,
    agent: String,
    body: Vec<u8>,
}

async fn listen(answer: Answer) -> (u16, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<Asked>>>::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, seen) = (answer.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await?;
                while let Some(request) = connection.accept().await {
                    let (request, respond) = request?;
                    tokio::spawn(one(request, respond, answer.clone(), Arc::clone(&seen)));
                }
                Ok::<_, h2::Error>(())
            });
        }
    });
    (port, asked)
}

async fn one(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: Answer,
    seen: Arc<Mutex<Vec<Asked>>>,
) -> Result<(), h2::Error> {
    let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut question = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        question.extend_from_slice(&chunk);
    }
    seen.lock().unwrap().push(Asked { path, agent, body: question });
    let head = || Response::builder().header("content-type", "application/grpc");
    let fine = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    match answer {
        Answer::Message(message) => said(&mut respond, head().body(()).unwrap(), message, fine),
        Answer::Trailers(message, trailers) => {
            said(&mut respond, head().body(()).unwrap(), message, trailers)
        }
        Answer::Status(code, message) => {
            let head = head().header("grpc-status", code).header("grpc-message", message);
            respond.send_response(head.body(()).unwrap(), true).map(drop)
        }
        Answer::Http(status) => {
            let head = Response::builder().status(StatusCode::from_u16(status).unwrap());
            respond.send_response(head.body(()).unwrap(), true).map(drop)
        }
        Answer::Hang => std::future::pending().await,
        Answer::Reset => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        }
    }
}

fn said(
    respond: &mut h2::server::SendResponse<Bytes>,
    head: Response<()>,
    message: Vec<u8>,
    trailers: HeaderMap,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message.into(), false)?;
    stream.send_trailers(trailers)
}

fn health(status: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 2, 8, status]
}

async fn outcome(answer: Answer) -> Outcome {
    let (port, _) = listen(answer).await;
    check("127.0.0.1", port, "", LONG, AGENT).await
}

fn failure(told: &str) -> Outcome {
    Outcome::Failure(told.to_owned())
}

#[tokio::test]
async fn row_19_12_only_serving_passes() {
    let unhealthy = |told: &str| failure(&format!("service unhealthy (responded with \"{told}\")"));
    let cases = [
        (1, Outcome::Success),
        (0, unhealthy("UNKNOWN")),
        (2, unhealthy("NOT_SERVING")),
        (3, unhealthy("SERVICE_UNKNOWN")),
        (77, unhealthy("77")),
    ];
    for (status, expected) in cases {
        assert_eq!(outcome(Answer::Message(health(status))).await, expected, "{status}");
    }
    // A message of no bytes: every field has its default.
    assert_eq!(outcome(Answer::Message(vec![0, 0, 0, 0, 0])).await, unhealthy("UNKNOWN"));
}

#[tokio::test]
async fn row_19_12_the_service_is_asked_for_by_a_kubelets_name() {
    let (port, asked) = listen(Answer::Message(health(1))).await;
    for service in ["", "a.b.C"] {
        assert_eq!(check("127.0.0.1", port, service, LONG, AGENT).await, Outcome::Success);
    }
    let asked = asked.lock().unwrap();
    let bodies: Vec<&[u8]> = asked.iter().map(|a| a.body.as_slice()).collect();
    assert_eq!(bodies, [&[0, 0, 0, 0, 0][..], b"\0\0\0\0\x07\x0a\x05a.b.C"]);
    assert!(asked.iter().all(|a| a.path == "/grpc.health.v1.Health/Check" && a.agent == AGENT));
}

#[tokio::test]
async fn row_19_12_every_status_of_a_call_is_a_failure() {
    for (code, name) in CODES.iter().enumerate() {
        let code = u32::try_from(code).unwrap();
        let expected = match *name {
            "OK" => "error: health rpc probe failed: rpc error: code = Internal desc = received no message".to_owned(),
            "Unimplemented" => {
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): no way".to_owned()
            }
            "DeadlineExceeded" => "timeout: health rpc did not complete within 20s".to_owned(),
            name => format!("error: health rpc probe failed: rpc error: code = {name} desc = no way"),
        };
        assert_eq!(outcome(Answer::Status(code, "no%20way")).await, Outcome::Failure(expected), "{name}");
    }
    let odd = "error: health rpc probe failed: rpc error: code = Code(99) desc = odd";
    assert_eq!(outcome(Answer::Status(99, "odd")).await, failure(odd));
    let late = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("7"))]);
    let told = "error: health rpc probe failed: rpc error: code = PermissionDenied desc = ";
    assert_eq!(outcome(Answer::Trailers(health(1), late)).await, failure(told));
}

#[tokio::test]
async fn answers_that_are_no_grpc_are_failures() {
    let rpc = |code: &str, told: &str| {
        failure(&format!("error: health rpc probe failed: rpc error: code = {code} desc = {told}"))
    };
    let http = |status: &str| format!("unexpected HTTP status code received from server: {status}");
    let unimplemented =
        "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)";
    let not_found = failure(&format!("{unimplemented}: {}", http("404 (Not Found)")));
    let none = "server closed the stream without sending trailers";
    let compressed = "received a compressed message that nobody has asked for";
    let large = format!("grpc: received message larger than max ({MAX_BODY} bytes)");
    let cases = [
        (Answer::Http(404), not_found),
        (Answer::Http(500), rpc("Unknown", &http("500 (Internal Server Error)"))),
        (Answer::Http(503), rpc("Unavailable", &http("503 (Service Unavailable)"))),
        (Answer::Trailers(health(1), HeaderMap::new()), rpc("Internal", none)),
        (Answer::Message(Vec::new()), rpc("Internal", "received no message")),
        (Answer::Message(vec![0; 3]), rpc("Internal", "received a broken message")),
        (Answer::Message(vec![1, 0, 0, 0, 0]), rpc("Internal", compressed)),
        (Answer::Message(vec![0; MAX_BODY + 1]), rpc("ResourceExhausted", &large)),
    ];
    for (answer, expected) in cases {
        assert_eq!(outcome(answer.clone()).await, expected, "{answer:?}");
    }
    let Outcome::Failure(told) = outcome(Answer::Reset).await else { panic!("a failure") };
    assert!(told.contains("code = Unavailable"), "{told}");
}

#[tokio::test]
async fn servers_that_hang_or_speak_otherwise_fail() {
    let (port, _) = listen(Answer::Hang).await;
    let late = check("127.0.0.1", port, "", SHORT, AGENT).await;
    assert_eq!(late, failure("timeout: health rpc did not complete within 0s"));
    // HTTP/1.1, or whoever says nothing at all.
    let old = Server::listen(|_, _| "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(), Then::Close).await;
    let Outcome::Failure(told) = check("127.0.0.1", old.port, "", LONG, AGENT).await else {
        panic!("a failure")
    };
    assert!(told.starts_with("error: health rpc probe failed: rpc error: code = Unavailable"), "{told}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        drop((stream, listener));
    });
    let Outcome::Failure(told) = check("127.0.0.1", port, "", LONG, AGENT).await else { panic!("a failure") };
    assert!(told.starts_with("error: health rpc probe failed: rpc error: code = Unavailable"), "{told}");
    let told = format!(
        "error: failed to connect service at \"127.0.0.1:{port}\": dial tcp 127.0.0.1:{port}: connect: connection refused"
    );
    assert_eq!(check("127.0.0.1", port, "", LONG, AGENT).await, Outcome::Failure(told));
}
