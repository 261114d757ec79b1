use http::Method;
use serde_json::Value;

use super::*;
use crate::kubeconfig::fake::{Call, FakeApi, api};

const SECRET: &str = "eyJhbGciOiJSUzI1NiJ9.very.secret";

fn pod(more: Value) -> Pod {
    let mut spec = json!({"containers": []});
    spec.as_object_mut().expect("a spec").extend(more.as_object().expect("fields").clone());
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "team", "uid": "pod-uid"}, "spec": spec}),
    )
    .expect("a pod")
}

fn builder() -> AccountName {
    AccountName { namespace: "team".into(), name: "builder".into(), uid: "account-uid".into() }
}

fn answer(call: Call, token: &str, seconds: i64) {
    let expires = Timestamp::now() + SignedDuration::from_secs(seconds);
    call.ok(&json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "spec": {"audiences": ["a"], "expirationSeconds": 3600},
        "status": {"token": token, "expirationTimestamp": expires.to_string()},
    }));
}

async fn asked(api: &mut FakeApi) -> Call {
    let call = api.next().await;
    call.is(&Method::POST, "/api/v1/namespaces/team/serviceaccounts/builder/token");
    call
}

/// Asks for a token and answers with what `serve` says, if the API server is asked.
async fn token(
    accounts: &Accounts,
    api: &mut FakeApi,
    audience: &str,
    serve: impl FnOnce(Call),
) -> (Result<String, AccountError>, bool) {
    let (account, pod) = (builder(), pod(json!({})));
    let mut got = Box::pin(accounts.token(&account, &pod, audience));
    tokio::select! {
        biased;
        got = &mut got => (got.map(|t| t.reveal().to_owned()), false),
        call = asked(api) => {
            serve(call);
            (got.await.map(|t| t.reveal().to_owned()), true)
        }
    }
}

#[test]
fn a_pod_has_the_account_of_its_spec_and_a_static_pod_has_none() {
    assert_eq!(account_of(&pod(json!({"serviceAccountName": "builder"}))), Some("builder"));
    assert_eq!(account_of(&pod(json!({"serviceAccountName": ""}))), None);
    assert_eq!(account_of(&pod(json!({}))), None);
    let mut fixed = pod(json!({"serviceAccountName": "builder"}));
    fixed.metadata.annotations = Some([("kubernetes.io/config.source".into(), "file".into())].into());
    assert_eq!(account_of(&fixed), None);
}

#[tokio::test]
async fn a_token_is_bound_to_the_pod_and_asked_for_once() {
    let (client, mut api) = api();
    let accounts = Accounts::new(Some(client));
    let mut body = Value::Null;
    let first = token(&accounts, &mut api, "registry.test", |call| {
        body = call.body.clone();
        answer(call, SECRET, 3600);
    });
    assert!(matches!(first.await, (Ok(text), true) if text == SECRET));
    assert_eq!(
        body,
        json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"uid": "account-uid"},
            "spec": {
                "audiences": ["registry.test"],
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-uid"},
            },
        })
    );
    let again = token(&accounts, &mut api, "registry.test", |_| panic!("it is kept"));
    assert!(matches!(again.await, (Ok(text), false) if text == SECRET));
    let other = token(&accounts, &mut api, "other.test", |call| answer(call, "another", 3600));
    assert!(matches!(other.await, (Ok(text), true) if text == "another"), "another audience, another token");
    assert!(!format!("{accounts:?} {:?}", accounts.tokens).contains("secret"));
}

#[tokio::test]
async fn the_tokens_of_a_pod_that_is_over_are_forgotten_and_those_of_others_are_not() {
    let (client, mut api) = api();
    let accounts = Accounts::new(Some(client));
    token(&accounts, &mut api, "a", |call| answer(call, "first", 3600)).await.0.expect("a token");
    accounts.forget("another-uid");
    let (kept, asked) = token(&accounts, &mut api, "a", |_| panic!("it is kept")).await;
    assert_eq!((kept.expect("the first"), asked), ("first".to_owned(), false));
    accounts.forget("pod-uid");
    assert!(accounts.tokens.lock().unwrap().is_empty());
    let (new, asked) = token(&accounts, &mut api, "a", |call| answer(call, "second", 3600)).await;
    assert_eq!((new.expect("another one"), asked), ("second".to_owned(), true));
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_and_used_on_where_that_fails() {
    let (client, mut api) = api();
    let accounts = Accounts::new(Some(client));
    // 700 seconds of 3600 are left.
    let (first, _) = token(&accounts, &mut api, "a", |call| answer(call, "old", 700)).await;
    assert_eq!(first.expect("a token"), "old");
    let (kept, asked) = token(&accounts, &mut api, "a", |call| call.fail(500, "InternalError")).await;
    assert_eq!((kept.expect("the old one"), asked), ("old".to_owned(), true));
    let (new, _) = token(&accounts, &mut api, "a", |call| answer(call, "new", 3600)).await;
    assert_eq!(new.expect("a token"), "new");
    let (kept, asked) = token(&accounts, &mut api, "a", |_| panic!("it is fresh")).await;
    assert_eq!((kept.expect("the new one"), asked), ("new".to_owned(), false));
}

#[tokio::test]
async fn without_a_token_the_error_says_why_and_nothing_secret() {
    let (client, mut api) = api();
    let accounts = Accounts::new(Some(client));
    for (code, says) in [
        (
            404,
            "asking for a token of service account team/builder: the API server serves no tokens, or has lost",
        ),
        (403, "asking for a token of service account team/builder: "),
    ] {
        let (got, _) = token(&accounts, &mut api, "a", |call| call.fail(code, "Why")).await;
        let error = chain(&got.expect_err("no token"));
        assert!(error.starts_with(says), "{error}");
    }
    for wrong in [
        json!({"status": SECRET}),
        json!({"status": {"token": "", "expirationTimestamp": "2030-01-01T00:00:00Z"}}),
        json!({"status": {"token": {"text": SECRET}}}),
        json!({"status": {"token": "x", "expirationTimestamp": SECRET}}),
    ] {
        let (got, _) = token(&accounts, &mut api, "a", |call| call.ok(&wrong)).await;
        let error = got.expect_err("no token");
        assert!(chain(&error).contains("is no TokenRequest with a token"), "{error}");
        assert!(!format!("{} {error:?}", chain(&error)).contains("secret"), "{error:?}");
    }
    let alone = Accounts::new(None);
    let error = alone.token(&builder(), &pod(json!({})), "a").await.expect_err("no token");
    assert_eq!(error.to_string(), "there is no API server");
    let strange = AccountName { name: "../secrets/x".into(), ..builder() };
    let error = accounts.token(&strange, &pod(json!({})), "a").await.expect_err("no token");
    assert_eq!(error.to_string(), "\"../secrets/x\" is no name of a service account");
}

#[test]
fn a_token_is_due_after_four_fifths_of_its_life_or_a_day_or_where_the_clock_was_set_back() {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let at = |seconds: i64| begin + SignedDuration::from_secs(seconds);
    let lasting = |seconds: i64| Token {
        text: Hidden::new("t"),
        expires: at(seconds),
        lifetime: SignedDuration::from_secs(seconds),
    };
    for (lasts, now, jitter, due) in [
        (3600, 0, 0, false),
        (3600, 2879, 0, false),
        (3600, 2881, 0, true),
        (3600, 2875, 9, true),
        (3600, -1, 0, true),
        (30 * 86_400, 86_399, 0, false),
        (30 * 86_400, 86_401, 0, true),
        (30 * 86_400, 86_395, 9, true),
    ] {
        let jitter = SignedDuration::from_secs(jitter);
        assert_eq!(lasting(lasts).is_due(at(now), jitter), due, "{lasts} {now} {jitter:?}");
    }
}

#[tokio::test]
async fn an_account_is_read_with_the_annotations_that_are_asked_for() {
    let (client, mut api) = api();
    let accounts = Accounts::new(Some(client));
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    let (required, optional) = (keys(&["role"]), keys(&["region", "absent"]));
    let read = accounts.account("team", "builder", &required, &optional);
    let serve = async {
        let call = api.next().await;
        call.is(&Method::GET, "/api/v1/namespaces/team/serviceaccounts/builder");
        call.ok(&json!({
            "metadata": {
                "name": "builder", "namespace": "team", "uid": "account-uid",
                "annotations": {"role": "read", "region": "north", "other": "x"},
            },
        }));
    };
    let (account, ()) = tokio::join!(read, serve);
    let account = account.expect("an account");
    assert_eq!(account.name, builder());
    let annotations = [("region", "north"), ("role", "read")];
    assert!(account.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(annotations));
    // Read a moment ago.
    let error = accounts.account("team", "builder", &keys(&["absent"]), &[]).await.expect_err("not there");
    assert_eq!(error.to_string(), "service account team/builder has no annotation absent");
    assert!(api.is_idle());
}

#[test]
fn no_answer_of_an_api_server_makes_the_daemon_panic() {
    bolero::check!().with_type::<(String, i64)>().for_each(|(text, seconds): &(String, i64)| {
        let now = Timestamp::UNIX_EPOCH;
        let _ = super::token(text, now);
        let whole = json!({
            "spec": {"expirationSeconds": seconds},
            "status": {"token": text, "expirationTimestamp": "2030-01-01T00:00:00Z"},
        });
        if let Ok(token) = super::token(&whole.to_string(), now) {
            let _ = token.is_due(now, SignedDuration::from_secs(9));
            let _ = token.is_due(Timestamp::MAX, SignedDuration::from_secs(9));
        }
    });
}
