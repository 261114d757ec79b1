use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::fake::{FakeApi, api};

const PATH: &str = "/api/v1/namespaces/team/secrets/";

fn pod(secrets: &[&str]) -> Pod {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "team"},
        "spec": {"containers": [], "imagePullSecrets": secrets},
    }))
    .expect("a pod")
}

/// A secret whose user is `user` at quay.test; the texts are base64 of the documents that `parse_*` tests show.
fn secret(name: &str, kind: &str, key: &str, document: &Value) -> Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(document.to_string());
    json!({"metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}")}, "type": kind, "data": {key: data}})
}

fn users(found: &PodSecrets) -> Vec<(String, Option<String>)> {
    let candidates = found.keyring.lookup("quay.test/app");
    let uid = |source| match source {
        Source::Secret(secret) => Some(secret.uid),
        Source::Node | Source::Account(_) => None,
    };
    candidates.into_iter().map(|c| (c.credential.username, uid(c.source))).collect()
}

async fn answer(api: &mut FakeApi, name: &str, object: Value) {
    let call = api.next().await;
    call.is(&Method::GET, &format!("{PATH}{name}"));
    call.ok(&object);
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_secrets_are_read_and_others_hold_nothing() {
    let (client, mut api) = api();
    let secrets = Secrets::new(Some(client));
    let pod = pod(&["new", "", "old", "opaque"]);
    let read = secrets.of(&pod);
    let serve = async {
        for _ in 0..3 {
            let call = api.next().await;
            let name = call.path.strip_prefix(PATH).expect("a secret").to_owned();
            let entry = json!({"quay.test": {"username": name, "password": "p"}});
            let auths = json!({"auths": entry});
            call.ok(&match name.as_str() {
                "new" => secret("new", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", &auths),
                "old" => secret("old", "kubernetes.io/dockercfg", ".dockercfg", &entry),
                _ => secret("opaque", "Opaque", ".dockerconfigjson", &auths),
            });
        }
    };
    let (found, ()) = futures::join!(read, serve);
    assert_eq!(
        users(&found),
        [("new".to_owned(), Some("uid-new".to_owned())), ("old".to_owned(), Some("uid-old".to_owned()))]
    );
    assert!(found.failed.is_empty());
    assert!(!format!("{found:?}").contains("\"p\""), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_once_by_all_who_start_together_and_anew_a_little_later() {
    let (client, mut api) = api();
    let secrets = Secrets::new(Some(client));
    let pod = pod(&["s"]);
    let of = |user: &str| {
        let auths = json!({"auths": {"quay.test": {"username": user}}});
        secret("s", "kubernetes.io/dockerconfigjson", ".dockerconfigjson", &auths)
    };
    let (first, second, ()) =
        futures::join!(secrets.of(&pod), secrets.of(&pod), answer(&mut api, "s", of("one")));
    assert_eq!(users(&first), users(&second));
    tokio::time::advance(FRESH / 2).await;
    assert_eq!(users(&secrets.of(&pod).await), users(&first));
    assert!(api.is_idle());
    tokio::time::advance(FRESH).await;
    let (later, ()) = futures::join!(secrets.of(&pod), answer(&mut api, "s", of("two")));
    assert_eq!(users(&later)[0].0, "two");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_by_name_and_the_rest_counts() {
    let (client, mut api) = api();
    let secrets = Secrets::new(Some(client));
    let pod = pod(&["absent", "damaged", "../configmaps/x", "slow", "good"]);
    let serve = async {
        let mut held = Vec::new();
        for _ in 0..4 {
            let call = api.next().await;
            match call.path.strip_prefix(PATH).expect("a secret") {
                "absent" => call.fail(404, "NotFound"),
                "slow" => held.push(call),
                "damaged" => {
                    let document = json!({"auths": {"quay.test": {"auth": "hush!"}}});
                    call.ok(&secret(
                        "damaged",
                        "kubernetes.io/dockerconfigjson",
                        ".dockerconfigjson",
                        &document,
                    ));
                }
                _ => {
                    let document = json!({"auths": {"quay.test": {"username": "good"}}});
                    call.ok(&secret(
                        "good",
                        "kubernetes.io/dockerconfigjson",
                        ".dockerconfigjson",
                        &document,
                    ));
                }
            }
        }
        held
    };
    let (found, _held) = futures::join!(secrets.of(&pod), serve);
    assert_eq!(found.failed, ["absent", "damaged", "../configmaps/x", "slow"]);
    assert_eq!(users(&found)[0].0, "good");
}

#[tokio::test]
async fn without_an_api_server_there_are_no_secrets() {
    let found = Secrets::new(None).of(&pod(&["s"])).await;
    assert_eq!(found.failed, ["s"]);
    assert!(Secrets::new(None).of(&pod(&[])).await.failed.is_empty());
}
