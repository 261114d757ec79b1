use cri_client::Timeouts;
use cri_client::fake::{Effect, FakeRuntime, Rule, Server};

use super::*;

/// A runtime with pods `a` and `b` of one running container each.
pub(in crate::membership) struct World {
    pub(in crate::membership) runtime: FakeRuntime,
    pub(in crate::membership) cri: Client,
    _server: Server,
    _dir: tempfile::TempDir,
}

impl World {
    pub(in crate::membership) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("cri.sock");
        let runtime = FakeRuntime::new();
        let server = runtime.serve(&socket).unwrap();
        let cri = Client::new(socket, None, Timeouts::default());
        for name in ["a", "b"] {
            let sandbox = v1::PodSandboxConfig {
                metadata: Some(v1::PodSandboxMetadata {
                    name: name.to_owned(),
                    uid: format!("uid-{name}"),
                    namespace: "default".to_owned(),
                    attempt: 0,
                }),
                labels: HashMap::from([(UID.to_owned(), format!("uid-{name}"))]),
                ..v1::PodSandboxConfig::default()
            };
            let id = cri.run_pod_sandbox(sandbox.clone(), String::new()).await.unwrap();
            let container = v1::ContainerConfig {
                metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
                image: Some(v1::ImageSpec { image: "image".to_owned(), ..v1::ImageSpec::default() }),
                labels: sandbox.labels.clone(),
                annotations: HashMap::from([(GRACE.to_owned(), "7".to_owned())]),
                ..v1::ContainerConfig::default()
            };
            let container = cri.create_container(&id, container, sandbox).await.unwrap();
            cri.start_container(&container).await.unwrap();
        }
        Self { runtime, cri, _server: server, _dir: dir }
    }
}

#[tokio::test]
async fn every_pod_is_stopped_and_removed() {
    let world = World::new().await;
    assert_eq!(remove_pods(&world.cri, Duration::from_secs(5)).await, Ok(2));
    assert_eq!(world.runtime.counts(), (0, 0));
    let calls: Vec<String> = world.runtime.calls().into_iter().map(|call| call.call).collect();
    assert_eq!(calls.iter().filter(|call| *call == "StopContainer").count(), 2);
    assert_eq!(remove_pods(&world.cri, Duration::from_secs(5)).await, Ok(0), "and once more");
}

#[tokio::test]
async fn one_that_cannot_be_stopped_holds_up_no_other_and_is_named() {
    let world = World::new().await;
    world.runtime.add_rule(Rule {
        call: "StopPodSandbox".to_owned(),
        subject: "default/a".to_owned(),
        times: None,
        effect: Effect::refused("no"),
    });
    let left = remove_pods(&world.cri, Duration::from_secs(5)).await.unwrap_err();
    assert!(left.len() == 1 && left[0].starts_with("default/a: "), "{left:?}");
    assert_eq!(world.runtime.counts(), (1, 1));
}
