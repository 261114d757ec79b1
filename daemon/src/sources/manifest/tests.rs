use serde_json::json;

use super::*;
use crate::sources::{CONFIG_SEEN, CONFIG_SOURCE, is_static};

const WEB: &str = include_str!("static-web.yaml");

fn read_with(text: &str, refuse_references: bool) -> Result<Manifest, ManifestError> {
    read(
        text,
        Path::new("/etc/kubernetes/manifests/web.yaml"),
        Context { node_name: "Node1", refuse_references, source: Source::File },
    )
}

fn problem(text: &str) -> String {
    read_with(text, true).unwrap_err().to_string().replace("/etc/kubernetes/manifests/", "")
}

#[test]
fn a_manifest_gets_what_the_api_server_and_the_kubelet_would_fill_in() {
    let manifest = read_with(WEB, true).unwrap();
    assert_eq!(manifest.unknown_fields, Vec::<String>::new());
    let pod = &manifest.pod;
    assert!(is_static(pod));
    assert_eq!(pod.metadata.name.as_deref(), Some("static-web-node1"));
    assert_eq!(pod.metadata.namespace.as_deref(), Some("kube-system"));
    let annotations = pod.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[CONFIG_SOURCE], "file");
    assert_eq!(Some(&annotations[CONFIG_HASH]), pod.metadata.uid.as_ref());
    assert!(annotations.contains_key(CONFIG_SEEN) && annotations.contains_key("example.com/note"));
    assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some("Pending"));
    // As the recorded kubelet's mirror has it, without what the API server's admission added (priority).
    assert_eq!(
        serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap(),
        json!({
            "containers": [{
                "command": ["sleep", "3600"], "image": "registry.k8s.io/e2e-test-images/busybox:1.37.0-1", "imagePullPolicy": "IfNotPresent",
                "livenessProbe": {"exec": {"command": ["true"]}, "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
                "name": "web", "resources": {"requests": {"cpu": "100m"}}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "volumeMounts": [{"mountPath": "/host-etc", "name": "etc", "readOnly": true}],
            }],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "hostNetwork": true, "nodeName": "Node1",
            "priorityClassName": "system-node-critical", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "tolerations": [{"effect": "NoExecute", "operator": "Exists"}],
            "volumes": [{"hostPath": {"path": "/etc/ssl", "type": "DirectoryOrCreate"}, "name": "etc"}],
        })
    );
}

#[test]
fn the_uid_is_stable_and_depends_on_content_and_file() {
    let uid = |text: &str, path: &str| {
        let context = Context { node_name: "node1", refuse_references: true, source: Source::File };
        read(text, Path::new(path), context).unwrap().pod.metadata.uid.unwrap()
    };
    let first = uid(WEB, "/a.yaml");
    assert_eq!(first.len(), 32);
    assert_eq!(first, uid(&format!("# a comment\n{WEB}"), "/a.yaml"));
    assert_ne!(first, uid(WEB, "/b.yaml"));
    assert_ne!(first, uid(&WEB.replace("3600", "3601"), "/a.yaml"));
    assert_eq!(
        uid(&WEB.replace("  name: static-web\n", "  name: static-web\n  uid: given\n"), "/a.yaml"),
        "given"
    );
}

#[test]
fn errors_name_file_line_and_field() {
    assert!(problem("kind: Pod\n").starts_with("web.yaml: apiVersion: must be v1"));
    assert!(
        problem(&WEB.replace("kind: Pod", "kind: Deployment")).starts_with("web.yaml:2: kind: must be Pod")
    );
    assert!(
        problem(&WEB.replace("hostNetwork: true", "hostNetwork: 5"))
            .starts_with("web.yaml:9: spec.hostNetwork: invalid type")
    );
    assert!(
        problem(&WEB.replace("- name: web", "- name: Web!"))
            .starts_with("web.yaml:12: spec.containers[0].name: \"Web!\"")
    );
    assert!(
        problem(&WEB.replace("[{name: etc, mountPath", "[{name: other, mountPath"))
            .contains("no volume is named \"other\"")
    );
    assert!(problem(&WEB.replace("{cpu: 100m}", "{cpu: some}")).contains("is no quantity"));
    assert!(problem("a: [").starts_with("web.yaml:"));
}

#[test]
fn a_field_that_no_pod_has_is_told_and_the_pod_still_runs() {
    let manifest =
        read_with(&WEB.replace("  hostNetwork: true", "  hostNetwork: true\n  hostNetwrok: true"), true)
            .unwrap();
    assert_eq!(
        manifest.unknown_fields,
        ["/etc/kubernetes/manifests/web.yaml:10: spec.hostNetwrok: is no field of a pod"]
    );
}

#[test]
fn references_to_api_objects_are_refused_unless_the_gate_is_off() {
    for (with, field) in [
        ("  serviceAccountName: x", "spec.serviceAccountName"),
        ("  imagePullSecrets: [{name: x}]", "spec.imagePullSecrets"),
        (
            "  initContainers: [{name: i, image: x, envFrom: [{secretRef: {name: x}}]}]",
            "spec.initContainers[0].envFrom[0].secretRef",
        ),
    ] {
        let text = WEB.replace("  hostNetwork: true", &format!("  hostNetwork: true\n{with}"));
        assert!(
            problem(&text).contains(&format!("{field}: a static pod may not refer")),
            "{}",
            problem(&text)
        );
        assert!(read_with(&text, false).is_ok());
    }
    for source in [
        "secret: {secretName: x}",
        "configMap: {name: x}",
        "projected: {sources: [{serviceAccountToken: {path: t}}]}",
    ] {
        let text = WEB.replace("hostPath: {path: /etc/ssl, type: DirectoryOrCreate}", source);
        assert!(problem(&text).contains("spec.volumes[0]."), "{}", problem(&text));
    }
}

#[test]
fn any_text_gives_a_pod_or_an_error_and_never_a_panic() {
    bolero::check!().with_type::<String>().for_each(|text| {
        let _ = read_with(text, true);
        let _ = read_with(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {text}}}\nspec: {{containers: [{{name: a, image: {text}}}]}}\n"), true);
    });
}
