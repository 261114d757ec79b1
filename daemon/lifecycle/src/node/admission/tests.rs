use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::{facts, facts_with, pod};
use super::super::{Node, NodeEffect, NodeInput, PullLimits};
use super::*;
use crate::input::ResizeVerdict;
use crate::now::Now;

const CRITICAL: i32 = 2_000_000_000;

/// A node and what it has said, in short: `+a` admitted, `-a Reason` refused, `!a` put out as the processor is short, `?` node read
/// again.
struct Told {
    node: Node,
    seconds: u64,
}

impl Told {
    fn new(facts: Arc<Facts>) -> Self {
        Self { node: Node::new(PullLimits::default(), Vec::new(), facts), seconds: 0 }
    }

    fn tell(&mut self, inputs: Vec<NodeInput>) -> Vec<String> {
        let now = Now { boot: Duration::from_secs(self.seconds), wall: jiff::Timestamp::UNIX_EPOCH };
        let effects = self.node.step_all(inputs, now);
        effects
            .into_iter()
            .map(|effect| match effect {
                NodeEffect::Admitted { uid } => format!("+{uid}"),
                NodeEffect::Refused { uid, reason, .. } => format!("-{uid} {reason}"),
                NodeEffect::End { uid, reason, message, signal, .. } => {
                    assert_eq!(
                        (reason.as_str(), message.as_str()),
                        ("Preempting", "Preempted in order to admit critical pod")
                    );
                    let signal = signal.unwrap_or_default();
                    if signal == "cpu" { format!("!{uid}") } else { format!("!{uid} for {signal}") }
                }
                NodeEffect::Resized { uid, verdict } => match verdict {
                    ResizeVerdict::Allowed => format!("{uid} resized"),
                    ResizeVerdict::Deferred { message } | ResizeVerdict::Infeasible { message } => {
                        format!("{uid} not resized: {message}")
                    }
                },
                NodeEffect::Event { uid, event } => format!("{uid}: {}", event.reason),
                NodeEffect::RereadNode => "?".to_owned(),
                NodeEffect::ShutdownOver => "down".to_owned(),
                NodeEffect::Slot { uid, .. } => format!("{uid} slot"),
            })
            .collect()
    }

    fn ask(&mut self, pod: &Arc<ApiPod>) -> Vec<String> {
        self.tell(vec![admit(pod, false)])
    }

    fn end(&mut self, uid: &str) -> Vec<String> {
        self.tell(vec![NodeInput::Ended { uid: uid.to_owned() }])
    }
}

fn admit(pod: &Arc<ApiPod>, adopt: bool) -> NodeInput {
    NodeInput::Admit { uid: uid(pod), pod: Arc::clone(pod), adopt }
}

fn uid(pod: &ApiPod) -> String {
    pod.metadata.uid.clone().expect("a uid")
}

/// A pod that is called what its UID is; `more` is laid over its spec.
fn named(uid: &str, cpu: &str, more: Value) -> Arc<ApiPod> {
    let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    let mut object = pod(json!({"metadata": {"name": uid, "uid": uid}, "spec": more}));
    object.spec.as_mut().expect("a spec").containers =
        serde_json::from_value(containers).expect("containers");
    Arc::new(object)
}

fn plain(uid: &str, cpu: &str) -> Arc<ApiPod> {
    named(uid, cpu, json!({}))
}

fn critical(uid: &str, cpu: &str) -> Arc<ApiPod> {
    named(uid, cpu, json!({"priority": CRITICAL}))
}

fn created_at(pod: &Arc<ApiPod>, second: i64) -> Arc<ApiPod> {
    let mut pod = ApiPod::clone(pod);
    let time = jiff::Timestamp::from_second(second).expect("a time");
    pod.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    Arc::new(pod)
}

fn started(pod: &Arc<ApiPod>, phase: &str) -> Arc<ApiPod> {
    let mut pod = ApiPod::clone(pod);
    let status = json!({"phase": phase, "startTime": "2026-01-01T00:00:00Z"});
    pod.status = serde_json::from_value(status).expect("a status");
    Arc::new(pod)
}

#[test]
fn what_a_pod_has_is_free_again_when_it_has_ended() {
    let mut node = Told::new(Arc::new(facts()));
    assert_eq!(node.ask(&plain("a", "3")), ["+a"]);
    assert_eq!(node.ask(&plain("b", "2")), ["-b OutOfcpu"]);
    assert_eq!(node.end("b"), [""; 0]);
    assert_eq!(node.end("a"), [""; 0]);
    assert_eq!(node.ask(&plain("c", "4")), ["+c"]);
}

#[test]
fn a_pod_that_runs_is_not_judged_but_counts() {
    let mut node = Told::new(facts_with(|f| f.shutting_down = true));
    assert_eq!(node.tell(vec![admit(&plain("a", "40"), true)]), ["+a"]);
    let mut node = Told::new(Arc::new(facts()));
    node.tell(vec![admit(&plain("a", "3"), true)]);
    assert_eq!(node.ask(&plain("b", "2")), ["-b OutOfcpu"]);
}

#[test]
fn of_pods_that_ask_together_the_oldest_is_judged_first() {
    let mut node = Told::new(Arc::new(facts()));
    let young = created_at(&plain("young", "3"), 20);
    let old = created_at(&plain("old", "3"), 10);
    assert_eq!(node.tell(vec![admit(&young, false), admit(&old, false)]), ["+old", "-young OutOfcpu"]);
    // What runs counts first, whoever was heard first.
    let mut node = Told::new(Arc::new(facts()));
    let inputs = vec![admit(&old, false), admit(&young, true)];
    assert_eq!(node.tell(inputs), ["+young", "-old OutOfcpu"]);
    // Who has gone meanwhile gets no answer and keeps nothing.
    let mut node = Told::new(Arc::new(facts()));
    assert_eq!(node.tell(vec![admit(&old, false), NodeInput::Ended { uid: "old".into() }]), [""; 0]);
    assert_eq!(node.ask(&young), ["+young"]);
}

fn expect(pod: &Arc<ApiPod>, known: bool) -> NodeInput {
    NodeInput::Expect { uid: uid(pod), pod: Arc::clone(pod), known }
}

#[test]
fn a_pod_that_an_earlier_daemon_let_in_counts_before_it_has_asked() {
    let mut node = Told::new(Arc::new(facts()));
    let runs = started(&plain("runs", "3"), "Running");
    let over = started(&plain("over", "3"), "Succeeded");
    node.tell(vec![expect(&runs, false), expect(&over, true), expect(&plain("new", "3"), false)]);
    assert_eq!(node.ask(&plain("new", "3")), ["-new OutOfcpu"]);
    // Its own entry does not speak against it.
    assert_eq!(node.ask(&runs), ["+runs"]);
    assert_eq!(node.ask(&plain("next", "1")), ["+next"]);
}

#[test]
fn the_next_of_a_name_is_judged_when_its_turn_comes() {
    let mut node = Told::new(Arc::new(facts()));
    let called = |uid: &str, cpu: &str| {
        let mut pod = ApiPod::clone(&plain(uid, cpu));
        pod.metadata.name = Some("web".to_owned());
        Arc::new(pod)
    };
    assert_eq!(node.ask(&called("a", "1")), ["+a"]);
    assert_eq!(node.ask(&called("b", "5")), [""; 0]);
    assert_eq!(node.ask(&called("c", "1")), [""; 0]);
    // The name of one that is refused goes on at once.
    assert_eq!(node.end("a"), ["-b OutOfcpu", "+c"]);
}

#[test]
fn row_2_4_the_node_is_read_again_once_before_its_labels_refuse_a_pod() {
    let mut node = Told::new(Arc::new(facts()));
    let selective = |uid: &str| named(uid, "1", json!({"nodeSelector": {"disk": "ssd"}}));
    assert_eq!(node.ask(&selective("a")), ["?"]);
    // One that asks meanwhile is not judged by an answer that is under way.
    assert_eq!(node.ask(&selective("b")), [""; 0]);
    let labelled = facts_with(|f| drop(f.labels.insert("disk".to_owned(), "hdd".to_owned())));
    let read = |facts: &Arc<Facts>| vec![NodeInput::Facts(Arc::clone(facts)), NodeInput::NodeRead];
    assert_eq!(node.tell(read(&labelled)), ["-a NodeAffinity", "?"]);
    let labelled = facts_with(|f| drop(f.labels.insert("disk".to_owned(), "ssd".to_owned())));
    assert_eq!(node.tell(read(&labelled)), ["+b"]);
    // Where the node cannot be read the labels that are known decide.
    let mut node = Told::new(Arc::new(facts()));
    assert_eq!(node.ask(&selective("a")), ["?"]);
    assert_eq!(node.tell(vec![NodeInput::NodeRead]), ["-a NodeAffinity"]);
}

#[test]
fn a_new_pod_of_the_api_waits_until_the_node_has_been_seen_and_others_do_not() {
    let mut node = Told::new(facts_with(|f| f.seen = false));
    assert_eq!(node.ask(&plain("new", "1")), [""; 0]);
    // After a reboot without an API server: nothing is known of the node but its name, and of the pod but its spec.
    node.tell(vec![expect(&plain("new", "1"), false), expect(&plain("known", "1"), true)]);
    assert_eq!(node.ask(&plain("known", "1")), ["+known"]);
    let mut fixed = ApiPod::clone(&plain("fixed", "1"));
    fixed.metadata.annotations = Some([("kubernetes.io/config.source".into(), "file".into())].into());
    assert_eq!(node.ask(&Arc::new(fixed)), ["+fixed"]);
    let seen = facts_with(|f| {
        f.taints = vec![Taint { key: "k".into(), effect: "NoExecute".into(), ..Taint::default() }];
    });
    assert_eq!(node.tell(vec![NodeInput::Facts(seen)]), ["-new TaintToleration"]);
}

#[test]
fn row_3_4_a_critical_pod_waits_for_those_that_are_put_out_for_it() {
    let mut node = Told::new(Arc::new(facts()));
    for (uid, cpu) in [("a", "1"), ("b", "1"), ("c", "2")] {
        assert_eq!(node.ask(&plain(uid, cpu)), [format!("+{uid}")]);
    }
    assert_eq!(node.ask(&critical("k", "3")), ["b: Preempting", "!b", "c: Preempting", "!c"]);
    // A pod that fits in when they have ended waits; one that does not is refused at once.
    assert_eq!(node.ask(&plain("later", "500m")), ["-later OutOfcpu"]);
    assert_eq!(node.end("c"), [""; 0]);
    assert_eq!(node.end("b"), ["+k"]);
    assert_eq!(node.ask(&plain("d", "1")), ["-d OutOfcpu"]);
    assert_eq!(node.end("a"), [""; 0]);
    assert_eq!(node.ask(&plain("e", "1")), ["+e"]);
}

#[test]
fn who_fits_in_beside_a_critical_pod_waits_with_it() {
    let mut node = Told::new(Arc::new(facts()));
    node.ask(&plain("large", "4"));
    assert_eq!(node.ask(&critical("k", "1")), ["large: Preempting", "!large"]);
    assert_eq!(node.ask(&plain("beside", "3")), [""; 0]);
    assert_eq!(node.ask(&plain("more", "4")), ["-more OutOfcpu"]);
    assert_eq!(node.end("large"), ["+k", "+beside"]);
    // The same when the critical pod goes away before it has begun.
    let mut node = Told::new(Arc::new(facts()));
    node.ask(&plain("large", "4"));
    node.ask(&critical("k", "1"));
    node.ask(&plain("beside", "3"));
    assert_eq!(node.end("k"), [""; 0]);
    assert_eq!(node.end("large"), ["+beside"]);
}

#[test]
fn row_3_1_without_enough_to_put_out_a_critical_pod_is_refused_and_nobody_goes() {
    let mut node = Told::new(Arc::new(facts()));
    node.ask(&critical("other", "3"));
    node.ask(&plain("small", "500m"));
    assert_eq!(node.ask(&critical("k", "3")), ["-k UnexpectedAdmissionError"]);
    assert_eq!(node.ask(&plain("b", "500m")), ["+b"]);
}

#[test]
fn row_4_11_a_pod_that_does_not_end_is_waited_for_half_as_long_again_as_its_grace_lasts() {
    for (grace, patience) in [(2, 10), (30, 45)] {
        let mut node = Told::new(Arc::new(facts()));
        let stubborn = named("s", "4", json!({"terminationGracePeriodSeconds": grace}));
        node.ask(&stubborn);
        node.seconds = 100;
        assert_eq!(node.ask(&critical("k", "1")), ["s: Preempting", "!s"]);
        assert_eq!(node.node.next_wake(), Some(Duration::from_secs(100 + patience)));
        node.seconds += patience - 1;
        assert_eq!(node.tell(vec![NodeInput::Tick]), [""; 0]);
        node.seconds += 1;
        assert_eq!(node.tell(vec![NodeInput::Tick]), ["s: ExceededGracePeriod", "+k"]);
        assert_eq!(node.node.next_wake(), None);
        assert_eq!(node.end("s"), [""; 0]);
        assert_eq!(node.ask(&plain("next", "3")), ["+next"]);
    }
}

#[test]
fn row_27_5_a_resize_waits_for_room_and_less_is_granted_before_more() {
    let mut node = Told::new(Arc::new(facts()));
    for uid in ["a", "b", "c"] {
        node.ask(&plain(uid, "1"));
    }
    let resize = |pod: Arc<ApiPod>| NodeInput::AskResize { uid: uid(&pod), pod };
    let short = "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000";
    assert_eq!(node.tell(vec![resize(plain("a", "3"))]), [format!("a not resized: {short}")]);
    // What another gives back is granted before what the first wants more.
    assert_eq!(node.tell(vec![resize(plain("b", "500m"))]).first().map(String::as_str), Some("b resized"));
    assert_eq!(node.end("c"), ["a resized"]);
    assert_eq!(node.ask(&plain("d", "1")), ["-d OutOfcpu"]);
    assert_eq!(node.ask(&plain("e", "500m")), ["+e"]);
}

/// What may happen to the pods of a node.
#[derive(Clone, Debug)]
enum Happening {
    Asks { pod: usize, cpu: u32, priority: i32 },
    Ends { pod: usize },
}

fn happening() -> impl Strategy<Value = Happening> {
    let priority = prop_oneof![3 => Just(0), 1 => Just(CRITICAL), 1 => Just(CRITICAL + 1)];
    prop_oneof![
        3 => (0_usize..12, 0_u32..3000, priority)
            .prop_map(|(pod, cpu, priority)| Happening::Asks { pod, cpu, priority }),
        2 => (0_usize..12).prop_map(|pod| Happening::Ends { pod }),
    ]
}

/// What the pods have been told.
#[derive(Default)]
struct Pods {
    /// Millis and priority of each that has come and not ended.
    here: BTreeMap<String, (u32, i32)>,
    waiting: BTreeSet<String>,
    running: BTreeSet<String>,
}

impl Pods {
    fn take(&mut self, told: Vec<String>) {
        for word in told {
            let uid = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
            if let Some(rest) = word.strip_prefix('+') {
                assert!(self.waiting.remove(&uid(rest)), "{word}: an answer to nobody");
                self.running.insert(uid(rest));
            } else if let Some(rest) = word.strip_prefix('-') {
                assert!(self.waiting.remove(&uid(rest)), "{word}: an answer to nobody");
                self.here.remove(&uid(rest));
            } else if let Some(rest) = word.strip_prefix('!') {
                let (_, priority) = self.here[&uid(rest)];
                let for_somebody =
                    |asks: &String| self.here[asks].1 >= CRITICAL && self.here[asks].1 > priority;
                assert!(self.running.contains(&uid(rest)), "{word}: it does not run");
                assert!(self.waiting.iter().any(for_somebody), "{word}: for nobody above it");
            }
        }
        let used: u32 = self.running.iter().map(|uid| self.here[uid].0).sum();
        assert!(used <= 4000, "{used} millis of 4000 are given away to {:?}", self.running);
    }
}

proptest! {
    #[test]
    fn a_node_never_gives_away_more_than_it_has_and_everybody_gets_one_answer(
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut node = Told::new(Arc::new(facts()));
        let mut pods = Pods::default();
        for happening in happenings {
            match happening {
                Happening::Asks { pod, cpu, priority } => {
                    let uid = format!("p{pod}");
                    if pods.here.contains_key(&uid) {
                        continue;
                    }
                    pods.here.insert(uid.clone(), (cpu, priority));
                    pods.waiting.insert(uid.clone());
                    let pod = named(&uid, &format!("{cpu}m"), json!({"priority": priority}));
                    let told = node.ask(&pod);
                    pods.take(told);
                }
                Happening::Ends { pod } => {
                    let uid = format!("p{pod}");
                    pods.here.remove(&uid);
                    pods.waiting.remove(&uid);
                    pods.running.remove(&uid);
                    let told = node.end(&uid);
                    pods.take(told);
                }
            }
        }
        while let Some(uid) = pods.running.pop_first() {
            pods.here.remove(&uid);
            let told = node.end(&uid);
            pods.take(told);
        }
        prop_assert!(pods.waiting.is_empty(), "{:?} have no answer", pods.waiting);
        prop_assert_eq!(node.node.next_wake(), None);
    }
}
