//! Which log is read, and what is refused.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};
use streams::logs::{LogOptions, Select};

use super::choose::run;
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
    let found = run("p", &status(container(state, last_state, id)), "c", previous);
    assert_eq!(found.as_ref().map(|run| run.id()).map_err(String::as_str), expected);
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
    let other = run("p", &PodStatus::default(), "c", false);
    assert_eq!(other, Err("container \"c\" in pod \"p\" is not available".to_owned()));
}

#[test]
fn the_number_of_a_run_follows_from_the_status() {
    let count = |state: Value, last: Value, id: &str, restarts: i32, previous: bool| {
        let mut container = container(state, last, id);
        container["restartCount"] = json!(restarts);
        run("p", &status(container), "c", previous).unwrap().restart_count
    };
    let (running, waiting) =
        (|| json!({ "running": {} }), json!({ "waiting": { "reason": "CrashLoopBackOff" } }));
    assert_eq!(count(running(), terminated("a://old"), "a://new", 3, false), Some(3));
    assert_eq!(count(running(), terminated("a://old"), "a://new", 3, true), Some(2));
    assert_eq!(count(waiting, terminated("a://old"), "a://old", 3, false), Some(3));
    assert_eq!(count(running(), terminated("a://old"), "a://new", 0, true), None);
}

#[test]
fn a_query_is_read_as_the_kubelet_reads_it() {
    let wanted = parse_at(
        "follow=true&previous=1&timestamps=False&tailLines=5&limitBytes=9&sinceSeconds=60&x=y&tailLines=6",
        false,
        NOW,
    );
    let options = LogOptions {
        follow: true,
        tail: Some(5),
        since: Some(Timestamp::constant(1_799_999_940, 0)),
        timestamps: false,
        limit_bytes: Some(9),
        select: Select::All,
    };
    assert_eq!(wanted, Ok(Wanted { previous: true, options }));
    let all_of_time = parse_at("sinceSeconds=9223372036854775807", false, NOW).unwrap();
    assert_eq!(all_of_time, Wanted::default());
    let options = |query: &str| parse_at(query, true, NOW).unwrap().options;
    for (query, expected) in [
        ("tail=all&tailLines=3", LogOptions::default()),
        ("tail=4&tailLines=3", LogOptions { tail: Some(4), ..LogOptions::default() }),
        ("tail=&tailLines=3", LogOptions { tail: Some(3), ..LogOptions::default() }),
        ("follow=0&timestamps=FALSE", LogOptions::default()),
        ("follow&timestamps=no", LogOptions { follow: true, timestamps: true, ..LogOptions::default() }),
        ("stream=Stderr", LogOptions { select: Select::Stderr, ..LogOptions::default() }),
        ("stream=All&tailLines=1", LogOptions { tail: Some(1), ..LogOptions::default() }),
        ("sinceTime=", LogOptions::default()),
        // What Go does not decode is not there.
        ("follow=1;2&limitBytes=%4&tailLines=%zz", LogOptions::default()),
    ] {
        assert_eq!(options(query), expected, "{query}");
    }
    let since = options("sinceTime=2026-11-23T10%3A00%3A00%2B01:00").since;
    assert_eq!(since, Some("2026-11-23T09:00:00Z".parse().unwrap()));
}

#[test]
fn a_wrong_query_is_refused_in_the_kubelets_words() {
    let undecodable = "{\"message\": \"Unable to decode query.\"}";
    let invalid = "{\"message\": \"Invalid request.\"}";
    for (query, may_select, status, text) in [
        ("tailLines=x", false, 400, undecodable),
        ("tailLines=all", false, 400, undecodable),
        ("tailLines=", false, 400, undecodable),
        ("tail=x", false, 400, undecodable),
        ("limitBytes=9223372036854775808", false, 400, undecodable),
        ("sinceTime=yesterday", false, 400, undecodable),
        ("sinceTime=2026-02-30T10:00:00Z", false, 400, undecodable),
        ("tailLines=-1&limitBytes=x", false, 400, undecodable),
        ("tailLines=-1", false, 422, invalid),
        ("limitBytes=0", false, 422, invalid),
        ("sinceSeconds=0", false, 422, invalid),
        ("sinceSeconds=1&sinceTime=2026-11-23T10:00:00Z", false, 422, invalid),
        ("stream=All", false, 422, invalid),
        ("stream=Neither", true, 422, invalid),
        ("stream=", true, 422, invalid),
        ("stream=Stdout&tailLines=1", true, 422, invalid),
    ] {
        let error: QueryError = parse_at(query, may_select, NOW).unwrap_err();
        assert_eq!((error.status().as_u16(), error.to_string().as_str()), (status, text), "{query}");
    }
}

#[test]
fn any_query_is_read_or_refused() {
    bolero::check!().with_type::<(String, bool)>().for_each(|(query, may_select)| {
        if let Ok(wanted) = parse_at(query, *may_select, NOW) {
            assert!(wanted.options.limit_bytes != Some(0));
            assert!(*may_select || wanted.options.select == Select::All);
        }
    });
}
