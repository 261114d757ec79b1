use super::*;

/// Of a node that has just begun.
pub(crate) fn origins() -> Origins {
    let resources = Resources {
        capacity: BTreeMap::from([("cpu".to_owned(), Quantity::from_units(4))]),
        allocatable: BTreeMap::from([("cpu".to_owned(), Quantity::from_milli(3500))]),
    };
    Origins::new(Known {
        own: own("n1", "", &Machine::default()),
        daemon: daemon(None, None, Path::new("/nowhere")),
        endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
        machine: Arc::default(),
        resources,
        node: None,
        host_ips: watch::channel(vec!["10.0.0.1".to_owned()]).1,
        facts: watch::channel(Arc::default()).1,
        runtime: watch::channel(RuntimeState::default()).1,
        health: watch::channel(Ok(())).1,
        pods: Shown::default(),
        reach: None,
        kubeconfig: None,
        serving_certificate: Some(PathBuf::from("/nowhere/kubelet.crt")),
    })
}

#[tokio::test]
async fn a_node_without_an_api_server_tells_what_it_has_and_what_is_wrong() {
    let overview = origins().now().await;
    assert_eq!((overview.node.name.as_str(), overview.node.uid.as_str()), ("n1", ""));
    assert_eq!(overview.api_server, None);
    let cpu = &overview.resources["cpu"];
    assert_eq!((&*cpu.capacity, &*cpu.allocatable, &*cpu.requested), ("4", "3500m", "0"));
    let ready = overview.conditions.last().unwrap();
    assert_eq!((&*ready.kind, &*ready.status), ("Ready", "False"));
    assert!(ready.message.contains("the container runtime has not answered yet"), "{}", ready.message);
    let [certificate] = overview.certificates.as_slice() else { panic!("one: {overview:?}") };
    assert_eq!((&*certificate.name, certificate.until), ("serving", None));
    assert!(certificate.problem.is_some());
    let sent = serde_json::to_string(&overview).unwrap();
    assert_eq!(serde_json::from_str::<Overview>(&sent).unwrap(), overview, "what is sent is what arrives");
}

#[tokio::test(start_paused = true)]
async fn a_condition_tells_since_when_it_is_as_it_is() {
    let origins = origins();
    let since = |conditions: Vec<NodeCondition>| conditions.last().unwrap().last_transition_time.clone();
    let first = since(origins.conditions());
    assert!(first.is_some());
    assert_eq!(since(origins.conditions()), first);
}
