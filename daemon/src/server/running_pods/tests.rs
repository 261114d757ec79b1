use super::*;

fn sandbox(id: &str, name: &str, state: PodSandboxState) -> v1::PodSandbox {
    let metadata = v1::PodSandboxMetadata {
        name: name.to_owned(),
        namespace: "ns".to_owned(),
        uid: format!("uid-of-{name}"),
        attempt: 0,
    };
    v1::PodSandbox {
        id: id.to_owned(),
        metadata: Some(metadata),
        state: state as i32,
        ..v1::PodSandbox::default()
    }
}

fn container(sandbox: &str, name: &str, state: ContainerState) -> v1::Container {
    v1::Container {
        pod_sandbox_id: sandbox.to_owned(),
        metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: format!("sha256:{name}"), ..v1::ImageSpec::default() }),
        state: state as i32,
        ..v1::Container::default()
    }
}

#[test]
fn only_what_runs_is_shown_and_of_it_what_the_runtime_knows() {
    use ContainerState::{ContainerExited, ContainerRunning};
    use PodSandboxState::{SandboxNotready, SandboxReady};
    let sandboxes = [
        sandbox("1", "web", SandboxReady),
        sandbox("2", "ended", SandboxNotready),
        sandbox("3", "bare", SandboxReady),
        // Its network is gone and its container runs on.
        sandbox("4", "odd", SandboxNotready),
    ];
    let containers = [
        container("1", "b", ContainerRunning),
        container("1", "a", ContainerRunning),
        container("1", "init", ContainerExited),
        container("2", "c", ContainerExited),
        container("4", "d", ContainerRunning),
        container("nobody's", "e", ContainerRunning),
    ];
    let shown: Vec<(String, Vec<String>)> = running(&sandboxes, &containers)
        .into_iter()
        .map(|pod| {
            let containers = pod.spec.unwrap().containers.into_iter().map(|c| c.name).collect();
            (pod.metadata.name.unwrap(), containers)
        })
        .collect();
    let expected: [(&str, &[&str]); 3] = [("bare", &[]), ("odd", &["d"]), ("web", &["a", "b"])];
    let expected = expected
        .map(|(name, names)| (name.to_owned(), names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()));
    assert_eq!(shown, expected);
    let json = serde_json::to_value(running(&sandboxes[..1], &containers[..1])).unwrap();
    let one = serde_json::json!([{
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "web", "namespace": "ns", "uid": "uid-of-web" },
        "spec": { "containers": [{ "name": "b", "image": "sha256:b" }] },
        "status": {},
    }]);
    assert_eq!(json, one);
}
