use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::events::Rates;
use crate::kubeconfig::Seats;
use crate::kubeconfig::fake::{self, FakeApi, Watch};

pub(in crate::node) fn settings() -> Settings {
    let config = Config::default();
    let machine = Machine { cpus: 2, memory_bytes: 8 << 30, boot_id: "boot".into(), ..Machine::default() };
    Settings {
        node_name: "node1".into(),
        node_ips: Vec::new(),
        node_labels: Vec::new(),
        external_cloud_provider: false,
        resources: super::super::capacity::resources(&machine, 1 << 40, &config, false).unwrap(),
        config: Arc::new(config),
        machine,
        root_dir: "/".into(),
        call_timeout: Duration::from_secs(10),
    }
}

fn ready() -> RuntimeState {
    RuntimeState {
        name: "containerd".into(),
        version: "2.1.0".into(),
        ready: Ok(()),
        network: Ok(()),
        last_ok: Some(Instant::now()),
        ..RuntimeState::default()
    }
}

fn condition(body: &Value, kind: &str) -> Option<String> {
    let conditions = body["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    condition["status"].as_str().map(str::to_owned)
}

struct Setup {
    general: FakeApi,
    node: FakeApi,
    runtime: watch::Sender<RuntimeState>,
    view: NodeReceiver,
    down: watch::Sender<bool>,
    events: FakeApi,
    _stop: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

fn setup() -> Setup {
    let (general, general_api) = fake::api();
    let (node, node_api) = fake::api();
    let seats = Seats::new({
        let general = general.clone();
        move |_| general.clone()
    });
    let clients = Clients {
        general,
        node,
        seats,
        node_timeout: Duration::from_secs(10),
        reach: crate::kubeconfig::Reach::default(),
    };
    let (events, events_api) = fake::api();
    let (recorder, sender) = Recorder::new(Some(events), "node1", Rates::default());
    let (runtime, states) = watch::channel(RuntimeState::default());
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(sender.run(stopped.clone()));
    let mut settings = settings();
    // The address is the name itself, so that no test looks anything up.
    settings.node_name = "192.0.2.7".into();
    let down = watch::Sender::new(false);
    let agent = NodeAgent::new(settings, states, None, recorder).until_shutdown(down.subscribe());
    let view = agent.start(&clients, stopped, &mut tasks);
    Setup {
        general: general_api,
        node: node_api,
        runtime,
        view,
        down,
        events: events_api,
        _stop: stop,
        _tasks: tasks,
    }
}

/// As the server merges: conditions by their type.
fn merge(status: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        if name != "conditions" {
            status[name] = value.clone();
            continue;
        }
        for condition in value.as_array().unwrap() {
            let known = status["conditions"].as_array_mut().unwrap();
            known.retain(|known| known["type"] != condition["type"]);
            known.push(condition.clone());
        }
    }
}

/// The server's object, with what a patch has put into it.
fn object(version: u64, status: &Value) -> Value {
    let labels: serde_json::Map<_, _> = registration::platform_labels()
        .chain([("a".to_owned(), "b".to_owned())])
        .map(|(name, value)| (name, value.into()))
        .collect();
    let metadata =
        json!({"name": "192.0.2.7", "uid": "u", "resourceVersion": version.to_string(), "labels": labels});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status})
}

impl Setup {
    /// The next call on the node's connection that is not about the lease.
    async fn status_call(&mut self) -> fake::Call {
        loop {
            let call = self.node.next().await;
            if !call.path.contains("/leases") {
                return call;
            }
            call.ok(&json!({"metadata": {"name": "192.0.2.7", "resourceVersion": "1"}}));
        }
    }

    /// The reasons of the next events, with `!` before those of warnings; `again` where one is only counted up.
    async fn told(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            let call = self.events.next().await;
            let warning = if call.body["type"] == "Warning" { "!" } else { "" };
            told.push(format!("{warning}{}", call.body["reason"].as_str().unwrap_or("again")));
            let made = call.body.clone();
            call.ok(&made);
        }
        told
    }

    async fn watched(&mut self, status: &Value) -> Watch {
        self.general.next().await.list("10", json!([object(10, status)]));
        self.general.next().await.watch()
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_registers_becomes_ready_at_once_and_then_writes_rarely() {
    let mut setup = setup();
    let call = setup.status_call().await;
    call.is(&Method::POST, "/api/v1/nodes");
    assert_eq!(condition(&call.body, "Ready").as_deref(), Some("False"));
    let mut status = call.body["status"].clone();
    call.ok(&object(9, &status));
    let _watch = setup.watched(&status).await;

    setup.runtime.send_replace(ready());
    let began = Instant::now();
    let call = setup.status_call().await;
    assert!(began.elapsed() < Duration::from_secs(1), "readiness does not wait for the next round");
    call.is(&Method::PATCH, "/api/v1/nodes/192.0.2.7/status");
    assert_eq!(condition(&call.body, "Ready").as_deref(), Some("True"));
    merge(&mut status, &call.body["status"]);
    call.ok(&object(11, &status));

    let began = Instant::now();
    let keeps_ready = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            setup.runtime.send_modify(|state| state.last_ok = Some(Instant::now()));
        }
    };
    let next = async {
        loop {
            let call = setup.node.next().await;
            if !call.path.contains("/leases") {
                return call;
            }
            call.ok(&json!({"metadata": {"name": "192.0.2.7", "resourceVersion": "1"}}));
        }
    };
    let call = tokio::select! { call = next => call, () = keeps_ready => unreachable!() };
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(150) && waited < Duration::from_secs(470), "{waited:?}");
    let only_heartbeats = call.body["status"].as_object().unwrap().keys().all(|name| name == "conditions");
    assert!(only_heartbeats, "{}", call.body);
}

#[tokio::test(start_paused = true)]
async fn what_the_node_controller_wrote_over_is_put_right_at_once() {
    let mut setup = setup();
    setup.runtime.send_replace(ready());
    let call = setup.status_call().await;
    let status = call.body["status"].clone();
    call.fail(409, "AlreadyExists");
    let call = setup.status_call().await;
    call.is(&Method::GET, "/api/v1/nodes/192.0.2.7");
    call.ok(&object(9, &json!({})));
    // Labels and annotation are brought up to date before the status.
    let call = setup.status_call().await;
    call.is(&Method::PATCH, "/api/v1/nodes/192.0.2.7");
    call.ok(&object(10, &json!({})));
    let mut lapsed = status.clone();
    for condition in lapsed["conditions"].as_array_mut().unwrap() {
        condition["status"] = json!("Unknown");
    }
    let watch = setup.watched(&status).await;
    let call = setup.status_call().await;
    call.ok(&object(11, &status));
    watch.send("MODIFIED", object(20, &lapsed)).await;
    let began = Instant::now();
    let call = setup.status_call().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(condition(&call.body, "Ready").as_deref(), Some("True"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_down_is_not_ready_at_once() {
    let mut setup = setup();
    setup.runtime.send_replace(ready());
    let call = setup.status_call().await;
    let status = call.body["status"].clone();
    call.ok(&object(9, &status));
    let _watch = setup.watched(&status).await;
    // Only one who is ready can become unready.
    let mut known = status;
    if condition(&json!({"status": known}), "Ready").as_deref() != Some("True") {
        let call = setup.status_call().await;
        merge(&mut known, &call.body["status"]);
        call.ok(&object(10, &known));
    }
    setup.down.send_replace(true);
    let began = Instant::now();
    let call = setup.status_call().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(condition(&call.body, "Ready").as_deref(), Some("False"));
    assert!(call.body.to_string().contains("node is shutting down"), "{}", call.body);
}

#[tokio::test(start_paused = true)]
async fn labels_that_tell_what_the_machine_is_are_put_back() {
    let mut setup = setup();
    setup.runtime.send_replace(ready());
    let call = setup.status_call().await;
    let status = call.body["status"].clone();
    call.ok(&object(9, &status));
    let watch = setup.watched(&status).await;
    sleep(Duration::from_secs(1)).await;
    let mut bare = object(20, &status);
    bare["metadata"]["labels"] = json!({"a": "b", "kubernetes.io/os": "plan9"});
    watch.send("MODIFIED", bare).await;
    let mut call = setup.status_call().await;
    while call.path.ends_with("/status") {
        call.ok(&object(19, &status));
        call = setup.status_call().await;
    }
    call.is(&Method::PATCH, "/api/v1/nodes/192.0.2.7");
    let labels = &call.body["metadata"]["labels"];
    assert_eq!(labels["kubernetes.io/os"], "linux");
    assert_eq!(labels.as_object().map(serde_json::Map::len), Some(4), "{labels}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_daemon_takes_readiness_from_nobody() {
    let mut setup = setup();
    let call = setup.status_call().await;
    // Of a runtime that has not answered yet.
    assert_eq!(condition(&call.body, "Ready").as_deref(), Some("False"));
    call.fail(409, "AlreadyExists");
    let call = setup.status_call().await;
    let mut status = json!({});
    call.ok(&object(9, &status));
    let call = setup.status_call().await;
    call.is(&Method::PATCH, "/api/v1/nodes/192.0.2.7");
    status["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    call.ok(&object(10, &status));
    let _watch = setup.watched(&status).await;
    sleep(Duration::from_secs(3)).await;
    setup.runtime.send_replace(ready());
    let call = setup.status_call().await;
    call.is(&Method::PATCH, "/api/v1/nodes/192.0.2.7/status");
    assert_eq!(condition(&call.body, "Ready").as_deref(), Some("True"));
}

#[tokio::test(start_paused = true)]
async fn row_32_1_registration_is_tried_again_after_a_tenth_of_a_second_and_seven_seconds_at_most() {
    let mut setup = setup();
    let mut waits = Vec::new();
    let mut last = Instant::now();
    for _ in 0..9 {
        let call = setup.status_call().await;
        call.is(&Method::POST, "/api/v1/nodes");
        call.fail(500, "InternalError");
        waits.push(last.elapsed().as_millis() / 100);
        last = Instant::now();
    }
    assert_eq!(waits[1..], [1, 2, 4, 8, 16, 32, 64, 70]);
}

#[tokio::test(start_paused = true)]
async fn row_32_8_a_reboot_is_told_once_and_what_another_agent_counted_is_set_to_none() {
    let mut setup = setup();
    setup.runtime.send_replace(ready());
    let call = setup.status_call().await;
    let mut status = call.body["status"].clone();
    call.fail(409, "AlreadyExists");
    let call = setup.status_call().await;
    status["nodeInfo"]["bootID"] = json!("another");
    status["capacity"]["example.com/dongle"] = json!("4");
    for condition in status["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "Ready" {
            condition["status"] = json!("True");
        }
    }
    call.ok(&object(9, &status));
    let call = setup.status_call().await;
    call.is(&Method::PATCH, "/api/v1/nodes/192.0.2.7");
    call.ok(&object(10, &status));
    let _watch = setup.watched(&status).await;
    let call = setup.status_call().await;
    assert_eq!(call.body["status"]["nodeInfo"]["bootID"], "boot");
    assert_eq!(call.body["status"]["capacity"]["example.com/dongle"], "0");
    merge(&mut status, &call.body["status"]);
    // Somebody counts anew.
    status["capacity"]["example.com/dongle"] = json!("5");
    call.ok(&object(11, &status));
    setup.down.send_replace(true);
    let call = setup.status_call().await;
    assert!(call.body["status"].get("capacity").is_none(), "{}", call.body);
    assert_eq!(
        setup.told(6).await,
        [
            "Starting",
            "!Rebooted",
            "NodeHasSufficientMemory",
            "NodeHasNoDiskPressure",
            "NodeHasSufficientPID",
            "NodeNotReady",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn row_42_4_a_shutdown_that_is_cancelled_makes_the_node_ready_again_at_once() {
    let mut setup = setup();
    setup.runtime.send_replace(ready());
    let call = setup.status_call().await;
    let mut status = call.body["status"].clone();
    call.ok(&object(9, &status));
    let _watch = setup.watched(&status).await;
    for (down, ready) in [(true, "False"), (false, "True")] {
        setup.down.send_replace(down);
        let began = Instant::now();
        let mut call = setup.status_call().await;
        while condition(&call.body, "Ready").is_none() {
            call.ok(&object(10, &status));
            call = setup.status_call().await;
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(condition(&call.body, "Ready").as_deref(), Some(ready));
        merge(&mut status, &call.body["status"]);
        call.ok(&object(11, &status));
    }
    assert_eq!(setup.told(6).await[4..], ["NodeNotReady", "NodeReady"]);
}

#[tokio::test(start_paused = true)]
async fn row_32_18_cordon_and_uncordon_are_told_also_of_a_node_that_was_cordoned_before() {
    let mut setup = setup();
    let mut cordoned = object(10, &json!({}));
    cordoned["spec"] = json!({"unschedulable": true});
    setup.general.next().await.list("10", json!([cordoned]));
    let watch = setup.general.next().await.watch();
    assert_eq!(setup.told(2).await, ["Starting", "NodeNotSchedulable"]);
    watch.send("MODIFIED", object(11, &json!({}))).await;
    assert_eq!(setup.told(1).await, ["NodeSchedulable"]);
    // What changes nothing of it is no news.
    watch.send("MODIFIED", object(12, &json!({"images": []}))).await;
    watch.send("MODIFIED", cordoned).await;
    assert_eq!(setup.told(1).await, ["again"]);
}

#[tokio::test(start_paused = true)]
async fn others_see_the_own_node_and_its_deletion() {
    let mut setup = setup();
    assert!(setup.view.borrow().is_none());
    let watch = setup.watched(&json!({})).await;
    let view = setup.view.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert_eq!((view.uid.as_str(), view.labels["a"].as_str(), view.unschedulable), ("u", "b", false));
    let mut cordoned = object(11, &json!({}));
    cordoned["spec"] = json!({"unschedulable": true, "podCIDRs": ["10.88.0.0/16"]});
    watch.send("MODIFIED", cordoned.clone()).await;
    setup
        .view
        .wait_for(|view| {
            view.as_ref().is_some_and(|view| view.unschedulable && view.pod_cidrs == ["10.88.0.0/16"])
        })
        .await
        .unwrap();
    watch.send("DELETED", cordoned).await;
    setup.view.wait_for(Option::is_none).await.unwrap();
}
