use http::Method;
use lifecycle::Input;
use serde_json::{Value, json};

use super::super::mailbox::Letter;
use super::*;
use crate::events::{Rates, Recorder};
use crate::kubeconfig::fake::{self, FakeApi};
use crate::sources::mirror::Mirrors;

struct Setup {
    asks: mpsc::Sender<Ask>,
    facts: watch::Sender<Arc<Facts>>,
    /// Counts how often the node could have gone down.
    down: watch::Receiver<u64>,
    metrics: Metrics,
}

fn setup(reader: Option<Reader>) -> Setup {
    let allocatable = [("pods".to_owned(), podspec::Quantity::from_units(1))].into();
    let (facts, known) =
        watch::channel(Arc::new(Facts { seen: true, name: "n1".into(), allocatable, ..Facts::default() }));
    let (recorder, _sender) = Recorder::new(None, "n1", Rates::default());
    let metrics = Metrics::new().expect("good names");
    let publisher = Publisher::new(None, recorder, Mirrors::new(), metrics.clone());
    let (asks, asked) = mpsc::channel(16);
    let second = std::time::Duration::from_secs(1);
    let groups = vec![ShutdownGroup { priority: 0, period: second * 20 }];
    let over = watch::Sender::new(0);
    let down = over.subscribe();
    let side = NodeSide { facts: known, groups, over, reader };
    tokio::spawn(run(asked, PullLimits::default(), side, publisher, metrics.clone()));
    Setup { asks, facts, down, metrics }
}

fn reader() -> (Reader, FakeApi) {
    let (client, api) = fake::api();
    (Reader { client, node_name: "n1".into(), limit: std::time::Duration::from_secs(1) }, api)
}

fn object(labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": labels}})
}

fn pod(name: &str, more: Value) -> Arc<ApiPod> {
    let mut spec = json!({"containers": [{"name": "c"}]});
    spec.as_object_mut().expect("a spec").extend(more.as_object().expect("fields").clone());
    let pod = json!({"metadata": {"namespace": "ns", "name": name, "uid": name}, "spec": spec});
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

fn selective(name: &str) -> Arc<ApiPod> {
    pod(name, json!({"nodeSelector": {"disk": "ssd"}}))
}

impl Setup {
    /// Asks for `pod`; its mailbox gets the answer.
    async fn ask(&self, pod: &Arc<ApiPod>) -> Mailbox {
        let mailbox = Mailbox::default();
        let question = Question::Admit { pod: Arc::clone(pod), adopt: false };
        let uid = pod.metadata.uid.as_deref().expect("a uid");
        self.asks.send(question.from(uid, &mailbox)).await.expect("a task that runs");
        mailbox
    }
}

/// What the node machine has said to a pod, in a word.
async fn answer(mailbox: &Mailbox) -> String {
    match mailbox.next().await {
        Letter::Input(Input::Admitted) => "admitted".to_owned(),
        Letter::Input(Input::Refused { reason, .. } | Input::Kill { reason, .. }) => reason,
        other => panic!("{other:?} is no answer"),
    }
}

#[tokio::test(start_paused = true)]
async fn labels_are_read_from_the_api_before_they_refuse_a_pod() {
    let (reader, mut api) = reader();
    let node = setup(Some(reader));
    let mailbox = node.ask(&selective("a")).await;
    let call = api.next().await;
    call.is(&Method::GET, "/api/v1/nodes/n1");
    call.ok(&object(&json!({"disk": "ssd"})));
    assert_eq!(answer(&mailbox).await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_delays_an_answer_by_its_limit_only() {
    let (reader, mut api) = reader();
    let node = setup(Some(reader));
    let mailbox = node.ask(&selective("a")).await;
    let unanswered = api.next().await;
    // Others are answered meanwhile.
    assert_eq!(answer(&node.ask(&pod("b", json!({}))).await).await, "admitted");
    assert_eq!(answer(&mailbox).await, "OutOfpods");
    drop(unanswered);
    let alone = setup(None);
    assert_eq!(answer(&alone.ask(&selective("a")).await).await, "NodeAffinity");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_becomes_another_answers_otherwise() {
    let node = setup(None);
    node.facts.send_modify(|facts| Arc::make_mut(facts).shutting_down = true);
    tokio::task::yield_now().await;
    assert_eq!(answer(&node.ask(&pod("a", json!({}))).await).await, "NodeShutdown");
    let text = node.metrics.text().expect("written");
    assert!(text.contains("kubelet_admission_rejections_total{reason=\"NodeShutdown\"} 1\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn who_is_put_out_is_told_and_who_takes_its_place_waits_for_its_end() {
    let node = setup(None);
    let victim = node.ask(&pod("a", json!({}))).await;
    assert_eq!(answer(&victim).await, "admitted");
    let critical = node.ask(&pod("k", json!({"priority": 2_000_000_000}))).await;
    assert_eq!(answer(&victim).await, "Preempting");
    let ended = Question::Ended.from("a", &victim);
    node.asks.send(ended).await.expect("a task that runs");
    assert_eq!(answer(&critical).await, "admitted");
    let text = node.metrics.text().expect("written");
    assert!(text.contains("kubelet_preemptions{preemption_signal=\"pods\"} 1\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_down_ends_its_pods_and_goes_when_they_have_settled() {
    let mut node = setup(None);
    let mailbox = node.ask(&pod("a", json!({}))).await;
    assert_eq!(answer(&mailbox).await, "admitted");
    node.asks.send(Ask::Gathered).await.expect("a task that runs");
    node.facts.send_modify(|facts| Arc::make_mut(facts).shutting_down = true);
    let Letter::Input(Input::Kill { reason, grace, .. }) = mailbox.next().await else { panic!("a kill") };
    assert_eq!((reason.as_str(), grace), ("Terminated", Some(std::time::Duration::from_secs(20))));
    for question in [Question::Ended, Question::Settled] {
        assert!(!node.down.has_changed().expect("a task that runs"));
        node.asks.send(question.from("a", &mailbox)).await.expect("a task that runs");
        tokio::task::yield_now().await;
    }
    node.down.changed().await.expect("a task that runs");
}
