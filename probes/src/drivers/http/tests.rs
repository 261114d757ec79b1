use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;

use super::super::tests::{AGENT, LONG, SHORT, Server, Then, serve};
use super::*;

fn http(port: u16, path: &str) -> Http {
    Http {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port,
        path: path.to_owned(),
        headers: Vec::new(),
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn asked(request: &Http) -> Outcome {
    get(request, LONG, AGENT).await
}

/// What came of one answer.
async fn after(said: &str, then: Then) -> (Outcome, u16) {
    let said = said.to_owned();
    let server = Server::listen(move |_, _| said.clone(), then).await;
    (asked(&http(server.port, "/")).await, server.port)
}

#[tokio::test]
async fn row_19_10_the_status_decides() {
    let warning = Outcome::Warning("Probe terminated redirects, Response body: text".to_owned());
    let failure = |code| Outcome::Failure(format!("HTTP probe failed with statuscode: {code}"));
    let cases = [
        (200, Outcome::Success),
        (201, Outcome::Success),
        (299, Outcome::Success),
        (300, warning.clone()),
        // Redirects that lead nowhere.
        (302, warning.clone()),
        (399, warning),
        (400, failure(400)),
        (404, failure(404)),
        (500, failure(500)),
        (999, failure(999)),
    ];
    for (status, outcome) in cases {
        let said = answer(&format!("{status} Some"), "text");
        assert_eq!(after(&said, Then::Hold).await.0, outcome, "{status}");
    }
    // Without a body, as this status is.
    let none = Outcome::Warning("Probe terminated redirects, Response body: ".to_owned());
    assert_eq!(after("HTTP/1.1 304 Not Modified\r\n\r\n", Then::Hold).await.0, none);
}

#[tokio::test]
async fn row_19_10_a_request_has_a_kubelets_headers() {
    let server = Server::listen(|_, _| answer("200 OK", ""), Then::Hold).await;
    assert_eq!(asked(&http(server.port, "healthz?a=b")).await, Outcome::Success);
    let lower = server.requests()[0].to_ascii_lowercase();
    let mut lines: Vec<&str> = lower.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "get /healthz?a=b http/1.1");
    lines.sort_unstable();
    let host = format!("host: 127.0.0.1:{}", server.port);
    assert_eq!(lines, ["accept: */*", "connection: close", &host, "user-agent: kube-probe/1.36"]);
}

#[tokio::test]
async fn row_19_10_the_pods_headers_replace_them_and_empty_ones_leave_them_out() {
    let server = Server::listen(|_, _| answer("200 OK", ""), Then::Hold).await;
    let with = |headers: &[(&str, &str)]| Http {
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..http(server.port, "/")
    };
    let cases: [&[(&str, &str)]; 4] = [
        &[
            ("Host", "example.com"),
            ("user-agent", "me"),
            ("Accept", "text/plain"),
            ("X-A", "1"),
            ("X-A", "2"),
        ],
        &[("User-Agent", ""), ("Accept", "")],
        &[("Host", "")],
        &[("Connection", "keep-alive")],
    ];
    for headers in cases {
        assert_eq!(asked(&with(headers)).await, Outcome::Success);
    }
    let requests = server.requests();
    let values = |at: usize, name: &str| -> Vec<String> {
        let lines = requests[at].lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).collect()
    };
    let own = format!("127.0.0.1:{}", server.port);
    assert_eq!(values(0, "host"), ["example.com"]);
    assert_eq!(
        (values(0, "user-agent"), values(0, "accept")),
        (vec!["me".into()], vec!["text/plain".into()])
    );
    assert_eq!(values(0, "x-a"), ["1", "2"]);
    assert!(values(1, "user-agent").is_empty() && values(1, "accept").is_empty());
    for request in [1, 2] {
        assert_eq!(values(request, "host"), [own.as_str()]);
    }
    assert_eq!(values(3, "connection"), ["close"]);
    let url = format!("Get \"http://{own}/\": net/http: invalid header field");
    for (name, value, what) in [("a b", "c", "name \"a b\""), ("A", "b\r\nC: d", "value for \"A\"")] {
        let told = Outcome::Failure(format!("{url} {what}"));
        assert_eq!(asked(&with(&[(name, value)])).await, told);
    }
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn row_19_10_redirects_are_followed_on_the_host_and_end_with_a_warning_elsewhere() {
    let to =
        |place: &str| format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 4\r\n\r\nhere");
    let server = Server::listen(
        move |request, port| match request.split(' ').nth(1).unwrap_or_default() {
            "/relative" => to("ok?x"),
            "/absolute" => to(&format!("http://127.0.0.1:{port}/ok")),
            "/other" => to("http://example.invalid/"),
            "/other-name" => to(&format!("http://localhost:{port}/ok")),
            "/ftp" => to("ftp://127.0.0.1/"),
            "/broken" => "HTTP/1.1 307 X\r\nLocation: /ok\r\nContent-Length: 9\r\n\r\ncut".to_owned(),
            "/ok" | "/ok?x" => answer("200 OK", ""),
            "/bad" => answer("500 Bad", ""),
            "/to-bad" => to("/bad"),
            "/loop" => to("/loop"),
            other => panic!("{other}"),
        },
        Then::Close,
    )
    .await;
    let port = server.port;
    let warning = Outcome::Warning("Probe terminated redirects, Response body: here".to_owned());
    let url =
        |path: &str, why: &str| Outcome::Failure(format!("Get \"http://127.0.0.1:{port}{path}\": {why}"));
    let cases = [
        ("/relative", Outcome::Success, 2),
        ("/absolute", Outcome::Success, 2),
        ("/other", warning.clone(), 1),
        ("/other-name", warning, 1),
        ("/ftp", url("/ftp", "unsupported protocol scheme \"ftp\""), 1),
        ("/broken", Outcome::Success, 2),
        ("/to-bad", Outcome::Failure("HTTP probe failed with statuscode: 500".to_owned()), 2),
        ("/loop", url("/loop", "stopped after 10 redirects"), 10),
    ];
    for (path, outcome, requests) in cases {
        server.requests.lock().unwrap().clear();
        assert_eq!(asked(&http(port, path)).await, outcome, "{path}");
        assert_eq!(server.requests().len(), requests, "{path}");
    }
    // Who is asked for by a name of the pod's stays so until the server names one itself.
    for (path, last) in [("/relative", "named".to_owned()), ("/absolute", format!("127.0.0.1:{port}"))] {
        server.requests.lock().unwrap().clear();
        let named = Http { headers: vec![("Host".to_owned(), "named".to_owned())], ..http(port, path) };
        assert_eq!(asked(&named).await, Outcome::Success);
        let host = format!("host: {last}\r\n");
        assert!(server.requests()[1].to_ascii_lowercase().contains(&host), "{path}");
    }
}

#[tokio::test]
async fn of_a_huge_body_only_the_beginning_is_read() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n".to_owned();
    let said = format!("{head}{}", "x".repeat(64 * 1024));
    assert_eq!(after(&said, Then::Again).await.0, Outcome::Success);
    let said = format!("HTTP/1.1 300 Many\r\n\r\n{}", "y".repeat(64 * 1024));
    let Outcome::Warning(told) = after(&said, Then::Again).await.0 else { panic!("a warning") };
    assert_eq!(told.len(), "Probe terminated redirects, Response body: ".len() + MAX_BODY);
}

#[tokio::test]
async fn slow_servers_fail_wherever_they_stop() {
    for said in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow"] {
        let server = Server::listen(move |_, _| said.to_owned(), Then::Hold).await;
        let outcome = get(&http(server.port, "/x"), SHORT, AGENT).await;
        let url = format!("http://127.0.0.1:{}/x", server.port);
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        assert_eq!(outcome, Outcome::Failure(format!("Get \"{url}\": {why}")), "{said:?}");
    }
}

#[tokio::test]
async fn servers_that_close_early_fail_or_have_no_result() {
    let (outcome, port) = after("", Then::Close).await;
    assert_eq!(outcome, Outcome::Failure(format!("Get \"http://127.0.0.1:{port}/\": EOF")));
    let cut = after("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", Then::Close).await.0;
    let Outcome::Error { state: "failure", .. } = cut else { panic!("no result: {cut:?}") };
    // Without a length the end of the connection is the end of the body.
    assert_eq!(after("HTTP/1.0 200 OK\r\n\r\nall", Then::Close).await.0, Outcome::Success);
    let (outcome, port) = after("SSH-2.0-OpenSSH_9.9\r\n", Then::Close).await;
    let begin = format!("Get \"http://127.0.0.1:{port}/\": net/http: HTTP/1.x transport connection broken");
    let Outcome::Failure(told) = outcome else { panic!("a failure") };
    assert!(told.starts_with(&begin), "{told}");
}

#[tokio::test]
async fn nobody_there_is_told_in_a_kubelets_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let address = format!("127.0.0.1:{port}");
    let told = format!("Get \"http://{address}/a\": dial tcp {address}: connect: connection refused");
    assert_eq!(asked(&http(port, "a")).await, Outcome::Failure(told));
}

#[tokio::test]
async fn row_19_10_over_tls_any_certificate_will_do_but_tls_it_must_be() {
    let key = rcgen::KeyPair::generate().unwrap();
    // Of another name, and of times long past.
    let mut names = rcgen::CertificateParams::new(["other.example".to_owned()]).unwrap();
    names.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = names.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let seen = Arc::<Mutex<Vec<String>>>::default();
                    serve(stream, seen, |_| answer("200 OK", "fine"), Then::Close).await;
                }
            });
        }
    });
    let over_tls = |port| Http { scheme: Scheme::Https, ..http(port, "/") };
    for _ in 0..2 {
        assert_eq!(asked(&over_tls(port)).await, Outcome::Success);
    }
    // A server of plain HTTP answers at once what is no TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(answer("400 Bad Request", "").as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let why = "http: server gave HTTP response to HTTPS client";
    let told = format!("Get \"https://127.0.0.1:{port}/\": {why}");
    assert_eq!(asked(&over_tls(port)).await, Outcome::Failure(told));
}
