use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::*;
use crate::cause::chain;

fn annotations(all: &[(&str, &str)]) -> HashMap<String, String> {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_hook_that_a_kubelet_wrote_is_read() {
    // As a kubelet 1.36 has written it.
    let written = annotations(&[
        ("io.kubernetes.container.hash", "d7e0a3c"),
        ("io.kubernetes.container.preStopHandler", r#"{"exec":{"command":["sh","-c","sleep 1"]}}"#),
        ("io.kubernetes.pod.terminationGracePeriod", "30"),
    ]);
    assert!(has_pre_stop(&written));
    let (container, errors) = container("c", &written);
    assert!(errors.is_empty(), "{errors:?}");
    let hook = container.lifecycle.and_then(|l| l.pre_stop).expect("a hook");
    assert_eq!(hook.exec.and_then(|e| e.command), Some(["sh", "-c", "sleep 1"].map(str::to_owned).to_vec()));
    assert_eq!(container.name, "c");
}

#[test]
fn a_hook_may_name_one_of_the_ports() {
    let written = annotations(&[
        (PRE_STOP, r#"{"httpGet":{"path":"/bye","port":"web","scheme":"HTTP"}}"#),
        (PORTS, r#"[{"name":"web","containerPort":8080,"protocol":"TCP"}]"#),
    ]);
    let (container, errors) = container("c", &written);
    assert!(errors.is_empty(), "{errors:?}");
    let get = container.lifecycle.and_then(|l| l.pre_stop).and_then(|h| h.http_get).expect("a hook");
    assert_eq!(get.port, IntOrString::String("web".to_owned()));
    assert_eq!(container.ports.expect("ports")[0].container_port, 8080);
}

#[test]
fn what_cannot_be_read_is_told_by_its_name_and_costs_the_hook() {
    for text in ["{", "[]", r#"{"exec":{"command":"sh"}}"#, "null and void"] {
        let written = annotations(&[(PRE_STOP, text), (PORTS, r#"[{"containerPort":1}]"#)]);
        assert!(has_pre_stop(&written), "nobody looks into it before it is needed");
        let (container, errors) = container("c", &written);
        assert!(container.lifecycle.is_none(), "{text}");
        assert!(container.ports.is_some(), "the other annotation is good");
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(
            chain(error).starts_with("annotation io.kubernetes.container.preStopHandler cannot be read: ")
        );
    }
    let long = annotations(&[(PRE_STOP, &" ".repeat(MAX_BYTES + 1))]);
    let (_, errors) = container("c", &long);
    assert_eq!(
        errors[0].to_string(),
        "annotation io.kubernetes.container.preStopHandler is 1048577 bytes long, 1048576 at most are read"
    );
    assert!(!has_pre_stop(&annotations(&[(PRE_STOP, "")])) && !has_pre_stop(&HashMap::new()));
}

#[test]
fn no_annotation_makes_the_daemon_panic() {
    bolero::check!().with_type::<(String, String)>().for_each(|(hook, ports): &(String, String)| {
        let _ = container("c", &annotations(&[(PRE_STOP, hook), (PORTS, ports)]));
        let hook = format!(r#"{{"exec":{{"command":["{hook}"]}},"sleep":{{"seconds":{ports}}}}}"#);
        let _ = container("c", &annotations(&[(PRE_STOP, &hook), (PORTS, &format!("[{ports}]"))]));
    });
}
