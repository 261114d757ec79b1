//! A token says what upstream's says, and is good as long as what it names is there.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// Objects by `resource/name`.
struct Objects(Vec<(&'static str, Value)>);

impl Cluster for Objects {
    fn get(&self, kind: &Kind, _namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = format!("{}/{name}", kind.plural);
        self.0.iter().find(|(at, _)| *at == key).map(|(_, object)| Arc::new(object.clone()))
    }

    fn list(&self, _kind: &Kind) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn service_range(&self) -> (Ipv4Addr, u8) {
        ([10, 96, 0, 0].into(), 16)
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn reference(name: &str, uid: &str) -> Reference {
    Reference { name: name.to_owned(), uid: uid.to_owned() }
}

fn of(uid: &str) -> Value {
    json!({ "metadata": { "uid": uid } })
}

fn claims(bound: Bound) -> Claims {
    let account = json!({ "metadata": { "name": "a", "namespace": "x", "uid": "account-uid" } });
    Claims::new(&account, bound, "https://cluster", vec!["https://cluster".to_owned()], (600, None), now())
}

fn of_pod() -> Claims {
    claims(Bound::Pod(reference("p", "pod-uid"), Some(reference("n", "node-uid"))))
}

fn cluster() -> Objects {
    Objects(vec![("serviceaccounts/a", of("account-uid")), ("pods/p", of("pod-uid"))])
}

#[test]
fn the_claims_are_upstreams() {
    let mut claims = of_pod();
    claims.warn_after = Some(after(60));
    let second = now().as_second();
    let expected = json!({
        "aud": ["https://cluster"], "exp": second + 600, "iat": second, "nbf": second,
        "iss": "https://cluster", "jti": claims.id, "sub": "system:serviceaccount:x:a",
        "kubernetes.io": {
            "namespace": "x",
            "node": { "name": "n", "uid": "node-uid" },
            "pod": { "name": "p", "uid": "pod-uid" },
            "serviceaccount": { "name": "a", "uid": "account-uid" },
            "warnafter": second + 60,
        },
    });
    assert_eq!(claims.written(), expected);
    for bound in [Bound::Nothing, Bound::Secret(reference("s", "1")), Bound::Node(reference("n", "2"))] {
        let claims = self::claims(bound);
        assert_eq!(Claims::read(&claims.written()), Some(claims));
    }
    assert_eq!(Claims::read(&expected), Some(claims));
    for (field, other) in [("sub", json!("system:serviceaccount:x:b")), ("exp", json!("soon"))] {
        let mut wrong = expected.clone();
        wrong[field] = other;
        assert_eq!(Claims::read(&wrong), None, "{field}");
    }
}

#[test]
fn who_shows_a_pods_token_is_the_account_on_that_pod() {
    let claims = of_pod();
    let user = claims.user(&cluster(), now()).unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:x:a", "account-uid"));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"]);
    let extra = |what: &str| user.extra[&format!("authentication.kubernetes.io/{what}")].clone();
    assert_eq!(extra("pod-name"), ["p"]);
    assert_eq!(extra("pod-uid"), ["pod-uid"]);
    assert_eq!(extra("node-name"), ["n"]);
    assert_eq!(extra("node-uid"), ["node-uid"]);
    assert_eq!(extra("credential-id"), [format!("JTI={}", claims.id)]);
}

#[test]
fn a_token_ends_with_its_time_its_account_and_its_pod() {
    let said = |objects: Objects, at: Timestamp| of_pod().user(&objects, at).map(drop);
    let with = |account: Value, pod: Value| Objects(vec![("serviceaccounts/a", account), ("pods/p", pod)]);
    assert_eq!(said(cluster(), after(660)), Ok(()));
    assert_eq!(said(cluster(), after(661)), Err("service account token has expired".to_owned()));
    assert_eq!(said(cluster(), after(-61)), Err("service account token is not valid yet".to_owned()));
    let invalidated = Err("service account token has been invalidated".to_owned());
    assert_eq!(said(Objects(vec![("serviceaccounts/a", of("account-uid"))]), now()), invalidated);
    assert_eq!(said(Objects(vec![("pods/p", of("pod-uid"))]), now()), invalidated);
    let again = said(with(of("account-uid"), of("other")), now()).unwrap_err();
    assert_eq!(again, "pod UID (other) does not match claim (pod-uid)");
    assert!(
        said(with(of("other"), of("pod-uid")), now()).unwrap_err().starts_with("serviceaccount UID (other)")
    );
    // Marked, it may still speak for a minute: it has to end in order.
    let leaving = |at: &str| json!({ "metadata": { "uid": "pod-uid", "deletionTimestamp": at } });
    assert_eq!(said(with(of("account-uid"), leaving("2025-12-31T23:59:01Z")), now()), Ok(()));
    assert_eq!(said(with(of("account-uid"), leaving("2025-12-31T23:58:59Z")), now()), invalidated);
}

#[test]
fn a_token_is_for_its_audiences() {
    let claims = of_pod();
    let wanted =
        |list: &[&str]| claims.audiences_among(&list.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    assert_eq!(wanted(&["other", "https://cluster"]), Ok(vec!["https://cluster".to_owned()]));
    let refused = wanted(&["vault"]).unwrap_err();
    assert_eq!(
        refused,
        "token audiences [\"https://cluster\"] is invalid for the target audiences [\"vault\"]"
    );
}
