use http::StatusCode;
use serde_json::json;

use super::super::jws::tests::sign;
use super::*;
use crate::kubeconfig::link::tests::{Authority, Server};

pub(in crate::membership) const TOKEN: &str = "abcdef.0123456789abcdef";

fn token() -> Token {
    TOKEN.parse().unwrap()
}

pub(in crate::membership) fn pin(authority: &Authority) -> Pin {
    Pin::of(&CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap()
}

pub(in crate::membership) fn wanted(url: &str, pins: &[Pin]) -> Wanted {
    Wanted {
        address: url.trim_start_matches("https://").to_owned(),
        token: token(),
        pins: pins.to_vec(),
        patience: Duration::ZERO,
    }
}

fn content(authority: &str, server: &str) -> String {
    let ca = STANDARD.encode(authority);
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n"
    )
}

/// A config map with this content, signed with `token`.
fn signed(content: &str, token: &Token) -> Value {
    let header = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, token.id);
    let signature = sign(token, &header, content);
    json!({ "data": { "kubeconfig": content, format!("jws-kubeconfig-{}", token.id): signature } })
}

pub(in crate::membership) fn cluster_info(authority: &Authority, url: &str) -> Value {
    signed(&content(&authority.pem, url), &token())
}

#[test]
fn what_is_signed_with_the_token_and_has_the_hash_is_the_cluster() {
    let authority = Authority::new();
    let map = cluster_info(&authority, "https://192.0.2.1:6443/");
    for pins in [vec![], vec![pin(&authority)], vec![pin(&Authority::new()), pin(&authority)]] {
        let cluster = genuine(&wanted("https://192.0.2.1:6443", &pins), &map).unwrap();
        assert_eq!(
            cluster,
            Cluster { server: "https://192.0.2.1:6443".to_owned(), authorities: authority.pem.clone() }
        );
    }
}

#[test]
fn everything_else_is_refused_with_what_is_wrong() {
    let (authority, other) = (Authority::new(), Authority::new());
    let url = "https://192.0.2.1:6443";
    let asked = wanted(url, &[pin(&authority)]);
    let said = |map: &Value| genuine(&asked, map).unwrap_err().to_string();
    let unknown = signed(&content(&authority.pem, url), &"zzzzzz.0123456789abcdef".parse().unwrap());
    assert!(said(&unknown).starts_with("the cluster does not know the token abcdef"), "{}", said(&unknown));
    let mistyped = signed(&content(&authority.pem, url), &"abcdef.0123456789abcdee".parse().unwrap());
    assert!(said(&mistyped).contains("its second part is mistyped"));
    let mut changed = cluster_info(&authority, url);
    changed["data"]["kubeconfig"] = content(&other.pem, url).into();
    assert!(said(&changed).contains("was not signed with this token"));
    let foreign = said(&cluster_info(&other, url));
    assert!(foreign.contains(&pin(&other).to_string()) && foreign.contains("none of those"), "{foreign}");
    assert!(said(&json!({})).contains("has no kubeconfig"));
    for (content, words) in [
        ("", "names no cluster"),
        ("clusters: [", "kubeconfig"),
        (&content(&authority.pem, "http://192.0.2.1"), "is no https:// address"),
        (&content("", url), "names 0 authorities"),
        (&content("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", url), "its authority"),
    ] {
        let error = said(&signed(content, &token()));
        assert!(error.contains("cluster-info cannot be used") && error.contains(words), "{error}");
    }
}

#[test]
fn any_content_that_is_signed_is_a_cluster_or_an_error() {
    let asked = wanted("https://192.0.2.1:6443", &[]);
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let _ = genuine(&asked, &signed(&text, &token()));
        let _ = genuine(&asked, &signed(&content(&text, "https://a"), &token()));
    });
}

#[tokio::test]
async fn the_cluster_is_read_again_once_its_server_has_proved_itself() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let map = cluster_info(&authority, &server.url);
    let asked = wanted(&server.url, &[pin(&authority)]);
    let finding = tokio::spawn(async move { discover(&asked).await });
    for _ in 0..2 {
        let visit = server.next().await;
        assert_eq!((visit.path.as_str(), visit.caller.as_str()), (PATH, ""), "nothing is shown to it");
        visit.ok(&map);
    }
    assert_eq!(finding.await.unwrap().unwrap().server, server.url);
}

#[tokio::test]
async fn somebody_who_passes_on_what_is_genuine_is_found_out() {
    let (real, false_one) = (Authority::new(), Authority::new());
    let mut server = Server::start(&false_one).await;
    let map = cluster_info(&real, &server.url);
    let asked = wanted(&server.url, &[pin(&real)]);
    let finding = tokio::spawn(async move { discover(&asked).await });
    server.next().await.ok(&map);
    let error = finding.await.unwrap().unwrap_err();
    assert!(matches!(error, DiscoveryError::Away { .. }), "{error}");
    assert!(error.to_string().contains("is of another authority"), "{error}");
}

#[tokio::test]
async fn who_lets_nobody_read_or_is_away_is_told_apart() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let asked = wanted(&server.url, &[]);
    let finding = tokio::spawn(async move { discover(&asked).await });
    server.next().await.reply(StatusCode::FORBIDDEN, &json!({ "message": "no \u{7}" }));
    let error = finding.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("does not let anybody read") && error.contains("403: no"), "{error}");
    let address = server.url.clone();
    drop(server);
    let error = discover(&wanted(&address, &[])).await.unwrap_err();
    assert!(error.to_string().contains("is not reached"), "{error}");
}
