use http::Method;
use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::super::identity::tests::{certificate, usual};
use super::super::store::CLIENT;
use super::*;
use crate::kubeconfig::fake::{Call, FakeApi, api};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

struct World {
    root: tempfile::TempDir,
    api: FakeApi,
    asking: tokio::task::JoinHandle<Result<Identity, AskError>>,
}

impl World {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(root: tempfile::TempDir) -> Self {
        let (client, api) = api();
        let store = Store::new(root.path(), CLIENT);
        let asking = tokio::spawn(async move {
            ask(client, &store, &Wanted::client("n1"), "the token in /etc/b.conf").await
        });
        Self { root, api, asking }
    }

    fn store(&self) -> Store {
        Store::new(self.root.path(), CLIENT)
    }

    async fn posted(&mut self) -> (Call, Value) {
        let call = self.api.next().await;
        call.is(&Method::POST, REQUESTS);
        let body = call.body.clone();
        (call, body)
    }

    async fn looked_at(&mut self, body: &Value) -> Call {
        let call = self.api.next().await;
        call.is(&Method::GET, &format!("{REQUESTS}/{}", body["metadata"]["name"].as_str().unwrap()));
        call
    }

    /// The request as it is once it was signed for the key that waits.
    fn issued(&self, body: &Value) -> Value {
        use base64::Engine as _;
        let pem = certificate(&self.store().key().unwrap(), "system:node:n1", &[], usual());
        let pem = base64::engine::general_purpose::STANDARD.encode(pem);
        with(body, json!({ "conditions": [{ "type": "Approved", "status": "True" }], "certificate": pem }))
    }

    async fn error(self) -> String {
        chain(&self.asking.await.unwrap().unwrap_err())
    }
}

fn with(body: &Value, status: Value) -> Value {
    let mut object = body.clone();
    object["status"] = status;
    object
}

#[tokio::test(start_paused = true)]
async fn a_request_is_posted_waited_for_and_its_certificate_put_into_use() {
    let mut world = World::new();
    let (call, body) = world.posted().await;
    call.ok(&body);
    world.looked_at(&body).await.ok(&body);
    let approved = with(&body, json!({ "conditions": [{ "type": "Approved", "status": "True" }] }));
    world.looked_at(&body).await.ok(&approved);
    let issued = world.issued(&body);
    world.looked_at(&body).await.ok(&issued);
    let identity = world.asking.await.unwrap().unwrap();
    assert_eq!(identity.common_name, "system:node:n1");
    let stored = Store::new(world.root.path(), CLIENT).load().unwrap().unwrap();
    assert_eq!(stored.chain_pem(), identity.chain_pem());
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_same_request_is_found_again() {
    let mut world = World::new();
    let (_, first) = world.posted().await;
    world.asking.abort();
    let mut world = World::at(world.root);
    let (call, second) = world.posted().await;
    assert_eq!(second["metadata"]["name"], first["metadata"]["name"]);
    call.fail(409, "AlreadyExists");
    let issued = world.issued(&second);
    world.looked_at(&second).await.ok(&issued);
    world.asking.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_or_expired_token_is_told_with_the_file_that_it_stands_in() {
    let mut world = World::new();
    world.posted().await.0.fail(401, "Unauthorized");
    let error = world.error().await;
    assert_eq!(
        error,
        "the API server does not accept the token in /etc/b.conf: it is wrong, or has expired or been withdrawn"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_without_the_right_to_ask_is_told_as_such() {
    let mut world = World::new();
    world.posted().await.0.fail(403, "Forbidden");
    assert!(world.error().await.contains("does not let the token in /etc/b.conf ask for a certificate"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_during_the_wait_is_told_too() {
    let mut world = World::new();
    let (call, body) = world.posted().await;
    call.ok(&body);
    world.looked_at(&body).await.fail(401, "Unauthorized");
    assert!(world.error().await.contains("has expired"));
}

#[tokio::test(start_paused = true)]
async fn a_denied_request_keeps_its_key_and_a_failed_one_does_not() {
    for (kind, keeps) in [("Denied", true), ("Failed", false)] {
        let mut world = World::new();
        let (call, body) = world.posted().await;
        let key = world.store().key().unwrap().serialize_pem();
        let conditions = json!([{ "type": kind, "status": "True", "reason": "Policy", "message": "no" }]);
        call.ok(&with(&body, json!({ "conditions": conditions })));
        let error = chain(&(&mut world.asking).await.unwrap().unwrap_err());
        assert!(error.contains("Policy: no") && error.contains("node-csr-"), "{error}");
        assert_eq!(world.store().key().unwrap().serialize_pem() == key, keeps, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_approves_is_given_up_after_an_hour_and_one_that_was_cleared_away_is_posted_again()
 {
    let mut world = World::new();
    let begun = tokio::time::Instant::now();
    let (call, body) = world.posted().await;
    call.ok(&body);
    world.looked_at(&body).await.fail(404, "NotFound");
    let (call, again) = world.posted().await;
    assert_eq!(again["metadata"]["name"], body["metadata"]["name"]);
    call.ok(&body);
    let name = body["metadata"]["name"].as_str().unwrap().to_owned();
    loop {
        tokio::select! {
            // The end first: with it the fake server has no client any more.
            biased;
            outcome = &mut world.asking => {
                let error = chain(&outcome.unwrap().unwrap_err());
                assert!(error.contains("was not approved in 60 minutes"), "{error}");
                break;
            }
            call = world.api.next() => { call.is(&Method::GET, &format!("{REQUESTS}/{name}")); call.ok(&body); }
        }
    }
    let waited = begun.elapsed().as_secs();
    assert!((3600..3620).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_for_another_key_is_not_used() {
    let mut world = World::new();
    let (call, body) = world.posted().await;
    let other = World::new();
    let _ = other.store().key().unwrap();
    call.ok(&other.issued(&body));
    let error = world.error().await;
    assert!(error.contains("cannot be used: certificate and key"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_left_after_ten_seconds() {
    let mut world = World::new();
    let begun = tokio::time::Instant::now();
    let (call, _) = world.posted().await;
    assert!(chain(&(&mut world.asking).await.unwrap().unwrap_err()).contains("did not answer"));
    assert_eq!(begun.elapsed().as_secs(), 10);
    drop(call);
}

#[test]
fn a_wrong_clock_and_another_authority_are_told_in_plain_words() {
    let now = Timestamp::UNIX_EPOCH + 1.hour();
    for text in [
        "client error: invalid peer certificate: NotValidYet",
        "invalid peer certificate: certificate expired: ...",
    ] {
        let told = connection(text, now);
        assert!(
            told.contains("not valid at 1970-01-01T01:00:00Z, which is what this machine's clock shows"),
            "{told}"
        );
    }
    for text in ["invalid peer certificate: UnknownIssuer", "invalid peer certificate: BadSignature"] {
        assert!(connection(text, now).contains("another authority"), "{text}");
    }
    assert_eq!(connection("connection refused", now), "connection refused");
}
