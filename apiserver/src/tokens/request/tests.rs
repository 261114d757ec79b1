//! What is asked for, and what the token then says.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::status::ApiError;

/// A pod of the account `a` on the node `n`, one on a node that has gone, a secret, a node.
struct Objects;

impl Cluster for Objects {
    fn get(&self, kind: &Kind, _namespace: &str, name: &str) -> Option<Arc<Value>> {
        let object =
            |uid: &str, spec: Value| json!({ "metadata": { "name": name, "uid": uid }, "spec": spec });
        let found = match (kind.plural, name) {
            ("pods", "p") => object("1", json!({ "serviceAccountName": "a", "nodeName": "n" })),
            ("pods", "left") => object("2", json!({ "serviceAccountName": "a", "nodeName": "gone" })),
            ("secrets", "s") => object("3", json!({})),
            ("nodes", "n") => object("4", json!({})),
            _ => return None,
        };
        Some(Arc::new(found))
    }

    fn list(&self, _kind: &Kind) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn service_range(&self) -> (Ipv4Addr, u8) {
        ([10, 96, 0, 0].into(), 16)
    }
}

fn settings() -> Settings {
    let audiences = vec!["https://cluster".to_owned(), "more".to_owned()];
    Settings { issuer: "https://cluster".to_owned(), audiences, extend: true, longest: None }
}

fn request(account: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": account, "namespace": "x" }, "spec": spec })
}

fn bind(account: &str, reference: Value) -> Result<Bound, ApiError> {
    bound(&request(account, json!({ "boundObjectRef": reference })), "x", &Objects)
}

fn reference(name: &str, uid: &str) -> Reference {
    Reference { name: name.to_owned(), uid: uid.to_owned() }
}

#[test]
fn a_token_is_bound_to_what_is_there_and_of_the_same_account() {
    let pod = |name: &str| json!({ "apiVersion": "v1", "kind": "Pod", "name": name });
    let on_node = Bound::Pod(reference("p", "1"), Some(reference("n", "4")));
    assert_eq!(bind("a", pod("p")), Ok(on_node));
    let on_none = Bound::Pod(reference("left", "2"), Some(reference("gone", "")));
    assert_eq!(bind("a", pod("left")), Ok(on_none));
    let refused = bind("b", pod("p")).unwrap_err();
    assert_eq!(refused.code, 400);
    assert!(refused.message.contains("running with different serviceaccount name"), "{refused}");
    assert_eq!(bind("a", pod("none")).unwrap_err().code, 404);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "3" });
    assert_eq!(bind("a", secret), Ok(Bound::Secret(reference("s", "3"))));
    let node = json!({ "apiVersion": "v1", "kind": "Node", "name": "n" });
    assert_eq!(bind("a", node), Ok(Bound::Node(reference("n", "4"))));
    let other = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "other" });
    let conflict = bind("a", other).unwrap_err();
    assert_eq!(conflict.code, 409);
    assert!(
        conflict.message.starts_with("Operation cannot be fulfilled on Pod \"p\": the UID in the bound"),
        "{conflict}"
    );
    let odd = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" });
    assert_eq!(bind("a", odd).unwrap_err().code, 400);
    assert_eq!(bind("a", Value::Null), Ok(Bound::Nothing));
}

#[test]
fn a_lifetime_is_at_least_ten_minutes_and_at_most_what_the_server_gives() {
    for (seconds, words) in [(599, "less than 10 minutes"), (LONGEST + 1, "larger than 2^32 seconds")] {
        let refused = check(seconds).unwrap_err();
        assert_eq!(refused.code, 422);
        assert!(refused.message.contains(words), "{refused}");
    }
    assert!(check(SHORTEST).is_ok() && check(LONGEST).is_ok());
    let mut asked = request("a", json!({ "expirationSeconds": 7200 }));
    assert_eq!(shorten(&mut asked, &settings()), None);
    let warning = shorten(&mut asked, &Settings { longest: Some(3600), ..settings() });
    assert_eq!(warning.as_deref(), Some("requested expiration of 7200 seconds shortened to 3600 seconds"));
    assert_eq!(asked["spec"]["expirationSeconds"], 3600);
}

#[test]
fn only_the_usual_token_of_a_pod_is_accepted_for_a_year() {
    let account = json!({ "metadata": { "name": "a", "namespace": "x", "uid": "u" } });
    let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
    let pod = || Bound::Pod(reference("p", "1"), None);
    let lasts = |seconds: i64, audience: &str, bound: Bound, settings: &Settings| {
        let request = request("a", json!({ "expirationSeconds": seconds, "audiences": [audience] }));
        let claims = claims(&request, &account, bound, settings, now);
        let warned = claims.warn_after.map(|at| at.as_second() - claims.issued.as_second());
        (claims.expires.as_second() - claims.issued.as_second(), warned)
    };
    let usual = settings();
    assert_eq!(lasts(3607, "https://cluster", pod(), &usual), (EXTENDED, Some(3607)));
    assert_eq!(lasts(3607, "more", pod(), &usual), (EXTENDED, Some(3607)));
    assert_eq!(lasts(3607, "vault", pod(), &usual), (3607, None));
    assert_eq!(lasts(3600, "more", pod(), &usual), (3600, None));
    assert_eq!(lasts(3607, "more", Bound::Nothing, &usual), (3607, None));
    assert_eq!(lasts(3607, "more", pod(), &Settings { extend: false, ..usual }), (3607, None));
}
