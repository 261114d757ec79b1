use super::*;
use crate::kubeconfig::fake::{Call, FakeApi, api};

const NODE: &str = "/api/v1/nodes/n1";

fn pod(name: &str, owner: Option<&str>) -> Value {
    let owners: Vec<Value> =
        owner.into_iter().map(|kind| json!({ "kind": kind, "controller": true })).collect();
    json!({
        "metadata": { "namespace": "default", "name": name, "uid": format!("uid-{name}"), "ownerReferences": owners },
        "status": { "phase": "Running" },
    })
}

fn list(pods: &[Value]) -> Value {
    json!({ "items": pods })
}

fn names(list: &Value) -> Vec<String> {
    in_the_way(list).iter().map(|pod| format!("{} {}", pod.name, pod.is_managed)).collect()
}

#[test]
fn static_pods_and_those_of_daemon_sets_stay() {
    let mut mirror = pod("mirror", Some("Node"));
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    let mut done = pod("done", None);
    done["status"]["phase"] = "Succeeded".into();
    let all =
        [mirror, pod("daemon", Some("DaemonSet")), pod("web", Some("ReplicaSet")), pod("bare", None), done];
    assert_eq!(names(&list(&all)), ["bare false", "done true", "web true"]);
    assert!(in_the_way(&json!({ "items": 1 })).is_empty() && in_the_way(&json!(null)).is_empty());
}

#[test]
fn any_list_has_pods_in_the_way_or_none() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(list) = serde_json::from_slice(bytes) {
            let _ = in_the_way(&list);
        }
    });
}

/// Answers what comes before the evictions.
async fn until_cordoned(server: &mut FakeApi, pods: &[Value]) {
    server.next().await.ok(&json!({}));
    let call = server.next().await;
    assert_eq!(call.query.get("fieldSelector").map(String::as_str), Some("spec.nodeName%3Dn1"));
    call.ok(&list(pods));
    let call = server.next().await;
    call.is(&Method::PATCH, NODE);
    assert_eq!(call.body, json!({ "spec": { "unschedulable": true } }));
    call.ok(&json!({}));
}

fn start(
    client: kube::Client,
    force: bool,
) -> tokio::task::JoinHandle<(Result<bool, DrainError>, Vec<String>)> {
    tokio::spawn(async move {
        let mut lines = Vec::new();
        let outcome =
            drain(&client, "n1", Duration::from_secs(30), force, &mut |line| lines.push(line.to_owned()))
                .await;
        (outcome, lines)
    })
}

fn is_eviction(call: &Call, name: &str) {
    call.is(&Method::POST, &format!("/api/v1/namespaces/default/pods/{name}/eviction"));
    assert_eq!(call.body["deleteOptions"]["preconditions"]["uid"], format!("uid-{name}"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_its_budget_holds_up_is_asked_for_until_it_may_go() {
    let (client, mut server) = api();
    let draining = start(client, false);
    let web = pod("web", Some("ReplicaSet"));
    until_cordoned(&mut server, std::slice::from_ref(&web)).await;
    let mut refusals = 0;
    loop {
        let call = server.next().await;
        if call.method == Method::GET {
            call.ok(&list(std::slice::from_ref(&web)));
            continue;
        }
        is_eviction(&call, "web");
        if refusals == 2 {
            call.ok(&json!({}));
            break;
        }
        refusals += 1;
        call.fail(429, "TooManyRequests");
    }
    // It ends, and nothing more is asked of it.
    let mut ending = web.clone();
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    for pods in [vec![ending.clone()], vec![ending], vec![pod("daemon", Some("DaemonSet"))]] {
        let call = server.next().await;
        call.is(&Method::GET, "/api/v1/pods");
        call.ok(&list(&pods));
    }
    let (outcome, lines) = draining.await.unwrap();
    assert_eq!(outcome, Ok(true));
    let held: Vec<_> = lines.iter().filter(|line| line.contains("default/web: TooManyRequests")).collect();
    assert_eq!(held.len(), 1, "told once: {lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_budget_never_lets_go_is_named_when_the_time_is_up() {
    let (client, mut server) = api();
    let draining = start(client.clone(), false);
    let web = pod("web", Some("ReplicaSet"));
    until_cordoned(&mut server, std::slice::from_ref(&web)).await;
    let serving = async {
        loop {
            let call = server.next().await;
            if call.method == Method::GET {
                call.ok(&list(std::slice::from_ref(&web)));
            } else {
                call.fail(429, "the budget");
            }
        }
    };
    let (outcome, _) = tokio::select! {
        outcome = draining => outcome.unwrap(),
        () = serving => unreachable!(),
    };
    let error = outcome.unwrap_err().to_string();
    assert_eq!(error, "after 30s there are pods still: default/web (the budget)");
}

#[tokio::test(start_paused = true)]
async fn pods_that_nobody_would_make_again_go_only_by_force_and_the_node_is_not_touched_before() {
    let (client, mut server) = api();
    let draining = start(client.clone(), false);
    server.next().await.ok(&json!({}));
    server.next().await.ok(&list(&[pod("bare", None)]));
    let (outcome, _) = draining.await.unwrap();
    assert!(outcome.unwrap_err().to_string().contains("default/bare; --force"));
    assert!(server.is_idle(), "it is not marked");

    let draining = start(client.clone(), true);
    until_cordoned(&mut server, &[pod("bare", None)]).await;
    server.next().await.ok(&list(&[pod("bare", None)]));
    let call = server.next().await;
    is_eviction(&call, "bare");
    // Gone already.
    call.fail(404, "NotFound");
    server.next().await.ok(&list(&[]));
    assert_eq!(draining.await.unwrap().0, Ok(true));

    let draining = start(client.clone(), false);
    server.next().await.fail(404, "NotFound");
    assert_eq!(draining.await.unwrap().0, Ok(false), "there is no such node");
    let draining = start(client, false);
    server.next().await.fail(403, "Forbidden");
    assert!(matches!(draining.await.unwrap().0, Err(DrainError::Forbidden(_))));
}
