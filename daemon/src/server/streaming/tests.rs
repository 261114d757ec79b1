//! What is read out of requests.

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use streams::port_forward::PORTS;
use streams::remote_command::Options;

use super::{query, target};
use crate::server::container;

#[test]
fn streams_and_command_are_read_as_a_kubelet_reads_them() {
    let (options, command) =
        query::remote_command("command=sh&command=-c&command=a%20b&input=1&output=1&x=y", None).unwrap();
    assert_eq!(options, Options { stdin: true, stdout: true, stderr: false, tty: false });
    assert_eq!(command, ["sh", "-c", "a b"]);
    for none in ["", "command=ls", "input=true&output=0", "tty=1", "tty=1&error=1", "output=0&output=1"] {
        let why = query::remote_command(none, None).unwrap_err();
        assert_eq!(why, "you must specify at least 1 of stdin, stdout, stderr", "{none}");
    }
}

#[test]
fn a_terminal_has_no_stream_of_errors() {
    let all = "input=1&output=1&error=1&tty=1";
    assert!(!query::remote_command(all, None).unwrap().0.stderr);
    let options = query::remote_command("output=1&error=1", Some(true)).unwrap().0;
    assert_eq!(options, Options { stdout: true, tty: true, ..Options::default() });
    assert!(
        !query::remote_command("output=1&tty=1", Some(false)).unwrap().0.tty,
        "attach takes it from the container"
    );
}

#[test]
fn ports_are_read_and_wrong_ones_refused_by_name() {
    assert_eq!(query::ports("port=80&port=1,65535&x=1"), Ok(vec![80, 1, 65_535]));
    for (wrong, why) in [
        ("", "query parameter \"port\" is required"),
        ("port=", "query parameter \"port\" cannot be empty"),
        ("port=0", "port \"0\" must be > 0"),
        ("port=80,http", "unable to parse \"80,http\" as a port"),
        ("port=65536", "unable to parse \"65536\" as a port"),
    ] {
        assert!(query::ports(wrong).unwrap_err().starts_with(why), "{wrong}");
    }
    let many = (1..=33).map(|port| format!("port={port}")).collect::<Vec<_>>().join("&");
    assert_eq!(query::ports(&many).unwrap_err(), "more than 32 ports in one request");
}

#[test]
fn a_command_to_run_is_cut_at_each_blank() {
    assert_eq!(query::run("cmd=ls%20-l++/"), ["ls", "-l", "", "/"]);
    assert_eq!(query::run(""), [""]);
}

#[test]
fn any_query_is_read_or_refused() {
    bolero::check!().with_type::<(String, Option<bool>)>().for_each(|(query, tty)| {
        if let Ok((options, _)) = query::remote_command(query, *tty) {
            assert!(options.stdin || options.stdout || options.stderr);
            assert!(!(options.tty && options.stderr));
        }
        if let Ok(ports) = query::ports(query) {
            assert!((1..=PORTS).contains(&ports.len()) && !ports.contains(&0));
        }
        assert!(!query::run(query).is_empty());
    });
}

#[test]
fn only_a_container_that_runs_has_an_id_and_each_kind_has_its_terminal() {
    let status = |name: &str, id: &str, state| json!({ "name": name, "containerID": id, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state });
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "ns" },
        "spec": {
            "containers": [{ "name": "a", "tty": true }, { "name": "b" }],
            "initContainers": [{ "name": "i" }],
            "ephemeralContainers": [{ "name": "e", "tty": true }],
        },
        "status": {
            "containerStatuses": [
                status("a", "containerd://1", json!({ "running": {} })),
                status("b", "containerd://2", json!({ "terminated": { "exitCode": 0 } })),
            ],
            "ephemeralContainerStatuses": [status("e", "containerd://3", json!({ "running": {} }))],
        },
    }))
    .unwrap();
    let ids = ["a", "b", "i", "e", "x"].map(|name| container::running(&pod, name));
    assert_eq!(ids, [Some("1".to_owned()), None, None, Some("3".to_owned()), None]);
    let ttys = ["a", "b", "i", "e", "x"].map(|name| container::has_tty(&pod, name));
    assert_eq!(ttys, [Some(true), Some(false), Some(false), Some(true), None]);
    assert_eq!(target::full_name(&pod), "p_ns");
    assert_eq!(target::not_found("c"), "container not found (\"c\")");
}

#[test]
fn more_sessions_than_a_node_has_are_refused() {
    let sessions = super::Sessions::default();
    let admitted: Vec<_> = (0..super::SESSIONS).map(|_| sessions.admit(None).ok().unwrap()).collect();
    assert_eq!(sessions.admit(None).err().unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    drop(admitted);
    assert!(sessions.admit(None).is_ok());
}
