//! Servers that answer what a test says.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

pub(crate) const SERVING: u8 = 1;
pub(crate) const NOT_SERVING: u8 = 2;

/// Speaks `grpc.health.v1`.
pub(crate) struct Health {
    pub(crate) port: u16,
    pub(crate) status: Arc<AtomicU8>,
    /// Which services were asked for, each once.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Health {
    pub(crate) async fn listen(ip: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, asked) = (Arc::new(AtomicU8::new(NOT_SERVING)), Arc::<Mutex<Vec<String>>>::default());
        let (health, services) = (Arc::clone(&status), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away is of no interest.
                tokio::spawn(answer(stream, Arc::clone(&health), Arc::clone(&services)));
            }
        });
        Self { port, status, asked }
    }
}

async fn answer(
    stream: TcpStream,
    health: Arc<AtomicU8>,
    services: Arc<Mutex<Vec<String>>>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let (health, services) = (Arc::clone(&health), Arc::clone(&services));
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut question = Vec::new();
            while let Some(Ok(chunk)) = body.data().await {
                question.extend_from_slice(&chunk);
            }
            // Prefix, field 1, length, name.
            let service = String::from_utf8_lossy(question.get(7..).unwrap_or_default()).into_owned();
            {
                let mut services = services.lock().unwrap();
                if !services.contains(&service) {
                    services.push(service);
                }
            }
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(head, false)?;
            let message = [0, 0, 0, 0, 2, 8, health.load(Ordering::SeqCst)];
            stream.send_data(Bytes::copy_from_slice(&message), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)
        });
    }
    Ok(())
}

/// Answers every request with one status.
pub(crate) struct Web {
    pub(crate) port: u16,
    pub(crate) status: Arc<AtomicU16>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Web {
    pub(crate) async fn listen(ip: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, requests) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (code, count) = (Arc::clone(&status), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (code, count) = (Arc::clone(&code), Arc::clone(&count));
                let service = service_fn(move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                    let mut answer = Response::new(Empty::<Bytes>::new());
                    *answer.status_mut() = StatusCode::from_u16(code.load(Ordering::SeqCst)).unwrap();
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { port, status, requests }
    }
}
