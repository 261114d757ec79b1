//! The client against a runtime that misbehaves on demand.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::HashMap;
use std::time::Duration;

use cri_client::fake::{Effect, EventEffect, FakeRuntime, Rule, Script, Server};
use cri_client::{Cause, Client, Code, Event, Timeouts, v1};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(10);

struct Bed {
    dir: TempDir,
    runtime: FakeRuntime,
    server: Option<Server>,
    client: Client,
}

impl Bed {
    fn new() -> Self {
        Self::with(Timeouts::default())
    }

    fn with(timeouts: Timeouts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new();
        let client = Client::new(dir.path().join("cri.sock"), None, timeouts);
        let mut bed = Self { dir, runtime, server: None, client };
        bed.start();
        bed
    }

    fn start(&mut self) {
        self.server = Some(self.runtime.serve(&self.dir.path().join("cri.sock")).unwrap());
    }

    fn die(&mut self) {
        self.server = None;
    }

    async fn sandbox(&self, name: &str) -> String {
        self.client.run_pod_sandbox(sandbox(name), String::new()).await.unwrap()
    }

    async fn container(&self, sandbox_id: &str, command: &str) -> String {
        let id =
            self.client.create_container(sandbox_id, container("c", command), sandbox("p")).await.unwrap();
        self.client.start_container(&id).await.unwrap();
        id
    }

    async fn state(&self, id: &str) -> (i32, i32) {
        let status = self.client.container_status(id).await.unwrap();
        (status.state, status.exit_code)
    }
}

fn sandbox(name: &str) -> v1::PodSandboxConfig {
    let metadata = v1::PodSandboxMetadata {
        name: name.into(),
        uid: format!("uid-{name}"),
        namespace: "ns".into(),
        attempt: 0,
    };
    v1::PodSandboxConfig { metadata: Some(metadata), ..Default::default() }
}

fn container(name: &str, command: &str) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: "img".into(), ..Default::default() }),
        command: command.split(' ').map(str::to_owned).collect(),
        labels: HashMap::from([("io.kubernetes.pod.uid".to_owned(), "u".to_owned())]),
        ..Default::default()
    }
}

const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;
const EXITED: i32 = v1::ContainerState::ContainerExited as i32;

#[tokio::test]
async fn a_pod_is_run_shown_stopped_and_removed() {
    let bed = Bed::new();
    assert_eq!(bed.client.version().await.unwrap().runtime_name, "fake");
    let pod = bed.sandbox("p").await;
    let status = bed.client.pod_sandbox_status(&pod).await.unwrap();
    assert!(status.network.unwrap().ip.starts_with("10.244."));
    let id = bed.container(&pod, "sleep 1000").await;
    assert_eq!(bed.state(&id).await, (RUNNING, 0));
    let labels = HashMap::from([("io.kubernetes.pod.uid".to_owned(), "u".to_owned())]);
    assert_eq!(bed.client.list_containers(labels).await.unwrap().len(), 1);
    let others = HashMap::from([("io.kubernetes.pod.uid".to_owned(), "v".to_owned())]);
    assert!(bed.client.list_containers(others).await.unwrap().is_empty());
    bed.client.stop_container(&id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(bed.state(&id).await, (EXITED, 143));
    bed.client.stop_pod_sandbox(&pod).await.unwrap();
    bed.client.remove_container(&id).await.unwrap();
    bed.client.remove_pod_sandbox(&pod).await.unwrap();
    assert_eq!(bed.runtime.counts(), (0, 0));
    assert!(bed.runtime.violations().is_empty());
}

#[tokio::test]
async fn what_is_gone_is_stopped_and_removed_and_what_is_unknown_is_said_to_be() {
    let bed = Bed::new();
    bed.client.stop_container("none", Duration::from_secs(1)).await.unwrap();
    bed.client.remove_pod_sandbox("none").await.unwrap();
    let error = bed.client.container_status("none").await.unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().starts_with("ContainerStatus none: not found"),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_says_that_its_outcome_is_unknown() {
    let bed = Bed::with(Timeouts { request: Duration::from_millis(200) });
    bed.runtime.add_rule(Rule::next("ListContainers", 1, Effect::Hang));
    let error = bed.client.list_containers(HashMap::new()).await.unwrap_err();
    assert_eq!(error.cause, Cause::Deadline { after: Duration::from_millis(200) });
    assert!(error.outcome_is_unknown());
    // One call that hangs delays no other.
    bed.client.list_containers(HashMap::new()).await.unwrap();
}

#[tokio::test]
async fn a_refusal_comes_with_the_runtimes_code_and_words() {
    let bed = Bed::new();
    let effect = Effect::Fail { code: Code::ResourceExhausted as i32, message: "no room".into() };
    bed.runtime.add_rule(Rule::next("RunPodSandbox", 1, effect));
    let error = bed.client.run_pod_sandbox(sandbox("p"), String::new()).await.unwrap_err();
    assert_eq!(error.cause, Cause::Failed { code: Code::ResourceExhausted, message: "no room".into() });
    assert_eq!(error.to_string(), "RunPodSandbox ns/p: rpc error: code = ResourceExhausted desc = no room");
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_holds_its_name_and_is_found() {
    let bed = Bed::new();
    let lost = Effect::LoseAnswer { code: Code::Unavailable as i32, message: "gone".into() };
    bed.runtime.add_rule(Rule::next("RunPodSandbox", 1, lost));
    let error = bed.client.run_pod_sandbox(sandbox("p"), String::new()).await.unwrap_err();
    assert!(error.outcome_is_unknown());
    let error = bed.client.run_pod_sandbox(sandbox("p"), String::new()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::NameReserved(_)), "{error}");
    assert_eq!(bed.client.list_pod_sandboxes(HashMap::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_runtime_that_dies_and_comes_back_is_found_again() {
    let mut bed = Bed::new();
    let pod = bed.sandbox("p").await;
    bed.die();
    let error = bed.client.list_containers(HashMap::new()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Unavailable(_)), "{error}");
    bed.start();
    bed.client.pod_sandbox_status(&pod).await.unwrap();
    bed.die();
    bed.runtime.forget();
    bed.start();
    // The first call after a death may be the one that notices it.
    drop(bed.client.version().await);
    assert!(bed.client.pod_sandbox_status(&pod).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_answer_beyond_the_message_limit_is_refused_and_the_next_is_read() {
    let bed = Bed::new();
    for i in 0..17 {
        let mut config = sandbox(&format!("p{i}"));
        config.annotations.insert("large".into(), "x".repeat(1024 * 1024));
        bed.client.run_pod_sandbox(config, String::new()).await.unwrap();
    }
    let error = bed.client.list_pod_sandboxes(HashMap::new()).await.unwrap_err();
    assert!(error.to_string().contains("message length too large"), "{error}");
    bed.client.version().await.unwrap();
}

#[tokio::test]
async fn events_are_told_over_a_death_of_the_runtime_and_say_that_some_may_be_lost() {
    let mut bed = Bed::new();
    let mut events = bed.client.events();
    let mut next = async || tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap();
    assert!(matches!(next().await, Event::Connected));
    let pod = bed.sandbox("p").await;
    let Event::Container(event) = next().await else { panic!("an event of the sandbox") };
    assert_eq!(
        (event.container_id.as_str(), event.pod_sandbox_status.unwrap().id),
        (pod.as_str(), pod.clone())
    );
    assert!(matches!(next().await, Event::Container(_)));
    bed.die();
    assert!(matches!(next().await, Event::Lost { .. }));
    bed.start();
    while !matches!(next().await, Event::Connected) {}
    // Doubled and lost events reach the reader as they come: it must not count on them.
    bed.runtime
        .set_script(Script { events: vec![EventEffect::Lose, EventEffect::Double], ..Script::default() });
    bed.container(&pod, "sleep 1000").await;
    for _ in 0..2 {
        let Event::Container(event) = next().await else { panic!("an event of the container") };
        assert_eq!(event.container_event_type, v1::ContainerEventType::ContainerStartedEvent as i32);
    }
}

#[tokio::test]
async fn a_runtime_without_events_is_told_from_one_that_is_away() {
    let bed = Bed::new();
    bed.runtime.set_script(Script { no_events: true, ..Script::default() });
    let mut events = bed.client.events();
    let event = tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Unsupported), "{event:?}");
}

#[tokio::test]
async fn the_fake_ends_containers_as_their_commands_do_and_notices_doubles() {
    let bed = Bed::new();
    let pod = bed.sandbox("p").await;
    let id = bed.container(&pod, "sh -c exit 3").await;
    tokio::time::timeout(SOON, async { while bed.state(&id).await != (EXITED, 3) {} }).await.unwrap();
    let other = bed.sandbox("q").await;
    bed.container(&other, "sleep 1000").await;
    let third = bed.sandbox("r").await;
    bed.container(&third, "sleep 1000").await;
    // Both say that they belong to the pod "u".
    assert_eq!(bed.runtime.violations().len(), 1);
    assert!(bed.runtime.exit("q", "c", 9));
    assert!(!bed.runtime.exit("q", "c", 9));
}
