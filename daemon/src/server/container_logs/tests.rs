//! Which log is read, and what is refused.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};
use streams::logs::{LogOptions, Select};

use super::choose::container_id;
use super::query::{QueryError, Wanted, parse_at};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn status(container: Value) -> PodStatus {
    serde_json::from_value(json!({ "containerStatuses": [container] })).unwrap()
}

fn container(state: Value, last_state: Value, id: &str) -> Value {
    json!({ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "containerID": id, "state": state, "lastState": last_state })
}

fn terminated(id: &str) -> Value {
    json!({ "terminated": { "exitCode": 1, "containerID": id } })
}

#[track_caller]
fn chosen(state: Value, last_state: Value, id: &str, previous: bool, expected: Result<&str, &str>) {
    let found = container_id("p", &status(container(state, last_state, id)), "c", previous);
    assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
}

#[test]
fn the_running_container_is_read_and_its_predecessor_when_asked_for() {
    let running = || json!({ "running": {} });
    chosen(running(), terminated("containerd://old"), "containerd://new", false, Ok("new"));
    chosen(running(), terminated("containerd://old"), "containerd://new", true, Ok("old"));
    chosen(
        running(),
        json!({}),
        "containerd://new",
        true,
        Err("previous terminated container \"c\" in pod \"p\" not found"),
    );
}

#[test]
fn a_container_in_back_off_shows_its_last_run() {
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    chosen(waiting, terminated("containerd://old"), "containerd://old", false, Ok("old"));
    chosen(terminated("containerd://now"), json!({}), "containerd://now", false, Ok("now"));
}

#[test]
fn a_container_that_never_ran_says_what_it_waits_for() {
    let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
    let prefix = "container \"c\" in pod \"p\" is waiting to start: ";
    for (reason, text) in [
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("ContainerCreating", "ContainerCreating"),
    ] {
        chosen(waiting(reason), json!({}), "", false, Err(&format!("{prefix}{text}")));
    }
    chosen(
        json!({}),
        json!({}),
        "",
        false,
        Err("container \"c\" in pod \"p\" is waiting to start - no logs yet"),
    );
    let other = container_id("p", &PodStatus::default(), "c", false);
    assert_eq!(other, Err("container \"c\" in pod \"p\" is not available".to_owned()));
}

#[test]
fn a_query_is_read_as_the_kubelet_reads_it() {
    let wanted =
        parse_at("follow=true&previous=1&timestamps=false&tailLines=5&limitBytes=9&sinceSeconds=60&x=y", NOW);
    let options = LogOptions {
        follow: true,
        tail: Some(5),
        since: Some(Timestamp::constant(1_799_999_940, 0)),
        timestamps: false,
        limit_bytes: Some(9),
        select: Select::All,
    };
    assert_eq!(wanted, Ok(Wanted { previous: true, options }));
    assert_eq!(parse_at("tail=all&follow=", NOW), Ok(Wanted::default()));
    let since = parse_at("sinceTime=2026-11-23T10%3A00%3A00Z", NOW).unwrap().options.since;
    assert_eq!(since, Some("2026-11-23T10:00:00Z".parse().unwrap()));
    let all_of_time = parse_at("sinceSeconds=9223372036854775807", NOW).unwrap();
    assert_eq!(all_of_time, Wanted::default());
}

#[test]
fn a_wrong_query_is_refused_by_its_name() {
    for (query, status) in [
        ("follow=yes", 400),
        ("tailLines=x", 400),
        ("sinceTime=yesterday", 400),
        ("tailLines=-1", 422),
        ("limitBytes=0", 422),
        ("sinceSeconds=0", 422),
        ("sinceSeconds=1&sinceTime=2026-11-23T10:00:00Z", 422),
        ("stream=Neither", 422),
        ("stream=Stdout&tailLines=1", 422),
    ] {
        let error: QueryError = parse_at(query, NOW).unwrap_err();
        assert_eq!(error.status().as_u16(), status, "{query}");
        let name = query.split('=').next().unwrap();
        assert!(error.to_string().contains(name) || query.starts_with("stream=Stdout"), "{query}: {error}");
    }
}
