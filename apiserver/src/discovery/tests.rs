//! Discovery tells what kubectl needs.

use http_body_util::BodyExt as _;
use serde_json::Value;

use super::serve;
use crate::request::Query;

async fn get(path: &str, accept: Option<&str>) -> Value {
    let response = serve(path, &Query::default(), accept).unwrap();
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn resources_are_listed_with_their_names_and_verbs() {
    let list = get("/api/v1", None).await;
    let pods = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods").unwrap();
    assert_eq!(
        (&pods["kind"], &pods["namespaced"], &pods["shortNames"][0]),
        (&"Pod".into(), &true.into(), &"po".into())
    );
    let has = |name: &str| list["resources"].as_array().unwrap().iter().any(|r| r["name"] == name);
    assert!(has("pods/log") && has("pods/status") && has("pods/binding") && has("pods/eviction"));
    for (name, kind, verbs) in [
        ("pods/exec", "PodExecOptions", &["create", "get"][..]),
        ("pods/attach", "PodAttachOptions", &["create", "get"]),
        ("pods/portforward", "PodPortForwardOptions", &["create", "get"]),
        ("pods/proxy", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
        ("services/proxy", "ServiceProxyOptions", &["create", "delete", "get", "patch", "update"]),
        ("nodes/proxy", "NodeProxyOptions", &["create", "delete", "get", "patch", "update"]),
    ] {
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap();
        assert_eq!((&found["kind"], &found["verbs"]), (&kind.into(), &serde_json::json!(verbs)), "{name}");
    }
    let groups = get("/apis", None).await;
    assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == "coordination.k8s.io"));
    assert!(serve("/apis/none.example", &Query::default(), None).is_err());
}

#[tokio::test]
async fn who_asks_for_it_gets_all_in_one_answer() {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let core = get("/api", Some(accept)).await;
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
    let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
    assert!(
        resources
            .iter()
            .any(|r| r["resource"] == "pods" && r["verbs"].as_array().unwrap().contains(&"watch".into()))
    );
}

#[tokio::test]
async fn openapi_describes_the_pod() {
    let document = get("/openapi/v3/api/v1", None).await;
    let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert!(pod["properties"]["spec"].is_object());
    assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
}
