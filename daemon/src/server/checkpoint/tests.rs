use serde_json::json;

use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "ns" },
        "spec": { "containers": [{ "name": "c" }, { "name": "over" }] },
        "status": { "containerStatuses": [
            {
                "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": "containerd://abc", "state": { "running": {} },
            },
            {
                "name": "over", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "containerID": "containerd://def", "state": { "terminated": { "exitCode": 0 } },
            },
        ] },
    }))
    .unwrap()
}

#[test]
fn only_what_runs_can_be_written_down() {
    assert_eq!(container::running(&pod(), "c").as_deref(), Some("abc"));
    assert_eq!(container::running(&pod(), "over"), None);
    assert_eq!(container::running(&pod(), "none"), None);
    assert_eq!(container::running(&Pod::default(), "c"), None);
}

#[test]
fn a_file_is_named_after_pod_container_and_time() {
    let path = file(Path::new("/root/checkpoints"), &pod(), "c", Timestamp::constant(1_700_000_000, 5));
    assert_eq!(path, "/root/checkpoints/checkpoint-web_ns-c-2023-11-14T22:13:20Z.tar");
}

#[test]
fn the_last_time_limit_counts() {
    assert_eq!(limit(""), Ok(None));
    assert_eq!(limit("timeout=0"), Ok(None));
    assert_eq!(limit("timeout=7&timeout=9&x=y"), Ok(Some(9)));
    assert_eq!(limit("timeout=-1"), Ok(Some(-1)));
    for wrong in ["timeout=", "timeout=5s", "timeout=99999999999999999999"] {
        assert_eq!(limit(wrong), Err("cannot parse value of timeout parameter"), "{wrong}");
    }
}
