//! One test for each row of behaviour.md 2 that speaks of a check.

use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};

use super::super::facts::Pressure;
use super::super::testing::{asking_for, facts, facts_with, pod};
use super::*;

fn claims(pods: &[ApiPod]) -> Vec<Claim> {
    pods.iter().zip(0..).map(|(pod, number)| Claim::of(pod, number)).collect()
}

/// Reason and message, or nothing where the pod fits.
fn refusal(pod: &ApiPod, others: &[ApiPod], facts: &Facts) -> Option<(String, String)> {
    let of = |Refusal { reason, message }: Refusal| Some((reason, message));
    match judge(pod, claims(others).iter(), facts) {
        Finding::Fits => None,
        Finding::Refused(refusal) | Finding::WrongLabels(refusal) => of(refusal),
        Finding::Short(shortages) => of(shortages.first().expect("a shortage").refusal()),
    }
}

fn refused_with(pod: &ApiPod, facts: &Facts, reason: &str, message: &str) {
    let expected = Some((reason.to_owned(), message.to_owned()));
    assert_eq!(refusal(pod, &[], facts), expected);
}

fn reason(pod: &ApiPod, facts: &Facts) -> Option<String> {
    refusal(pod, &[], facts).map(|(reason, _)| reason)
}

const CRITICAL: i32 = 2_000_000_000;

fn requests_cpu(cpu: &str) -> Value {
    json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}])
}

#[test]
fn row_2_1_under_pressure_only_critical_pods_are_let_in_and_those_that_memory_was_promised_to() {
    let memory = facts_with(|f| f.pressures = [Pressure::Memory].into());
    let disk = facts_with(|f| f.pressures = [Pressure::Memory, Pressure::Disk].into());
    let best_effort = pod(json!({}));
    let burstable = asking_for(json!({"memory": "1Mi"}));
    let tolerant = pod(json!({"spec": {"tolerations": [
        {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}]}}));
    let critical = pod(json!({"spec": {"priority": CRITICAL}}));
    refused_with(&best_effort, &memory, "Evicted", "The node had condition: [MemoryPressure]. ");
    for fits in [&burstable, &tolerant, &critical] {
        assert_eq!(reason(fits, &memory), None);
    }
    let message = "The node had condition: [MemoryPressure DiskPressure]. ";
    refused_with(&burstable, &disk, "Evicted", message);
    refused_with(&tolerant, &disk, "Evicted", message);
    assert_eq!(reason(&critical, &disk), None);
}

#[test]
fn row_2_3_what_is_not_free_is_named_with_what_there_is() {
    let taken = [asking_for(json!({"cpu": "1500m", "memory": "1Gi"})), asking_for(json!({"cpu": "1"}))];
    for (request, reason, message) in [
        (
            json!({"cpu": "1600m"}),
            "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 1600, used: 2500, capacity: 4000",
        ),
        (
            json!({"memory": "7169Mi"}),
            "OutOfmemory",
            "Node didn't have enough resource: memory, requested: 7517241344, used: 1073741824, capacity: 8589934592",
        ),
        (
            json!({"ephemeral-storage": "11Gi"}),
            "OutOfephemeral-storage",
            "Node didn't have enough resource: ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240",
        ),
        (
            json!({"hugepages-2Mi": "2Mi"}),
            "OutOfhugepages-2Mi",
            "Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
        ),
    ] {
        let expected = Some((reason.to_owned(), message.to_owned()));
        assert_eq!(refusal(&asking_for(request.clone()), &taken, &facts()), expected, "{request}");
    }
    assert_eq!(refusal(&asking_for(json!({"cpu": "1500m", "memory": "7Gi"})), &taken, &facts()), None);
}

#[test]
fn row_2_3_the_number_of_pods_comes_first() {
    let others: Vec<ApiPod> = (0..10).map(|_| pod(json!({}))).collect();
    let message = "Node didn't have enough resource: pods, requested: 1, used: 10, capacity: 10";
    let expected = Some(("OutOfpods".to_owned(), message.to_owned()));
    assert_eq!(refusal(&asking_for(json!({"cpu": "100"})), &others, &facts()), expected);
    assert_eq!(refusal(&pod(json!({})), &others[1..], &facts()), None);
}

#[test]
fn row_2_3_extended_resources_are_the_nodes_only_where_it_knows_them_and_no_claim_brings_them() {
    let wants_gpu = asking_for(json!({"example.com/gpu": "2"}));
    assert_eq!(reason(&wants_gpu, &facts()), None);
    let with_gpu = facts_with(|f| {
        f.allocatable.insert("example.com/gpu".to_owned(), podspec::Quantity::from_units(1));
    });
    assert_eq!(reason(&wants_gpu, &with_gpu).as_deref(), Some("OutOfexample.com/gpu"));
    let mut claimed = wants_gpu;
    claimed.status = serde_json::from_value(json!({"phase": "Pending", "extendedResourceClaimStatus": {
        "resourceClaimName": "gpus",
        "requestMappings": [{"containerName": "c", "resourceName": "example.com/gpu", "requestName": "r"}]}}))
    .expect("a status");
    assert_eq!(reason(&claimed, &with_gpu), None);
}

#[test]
fn row_2_4_a_selector_that_does_not_match_may_be_the_fault_of_old_labels() {
    let selective = pod(json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    let refusal = Predicate::NodeAffinity.refusal();
    assert_eq!(
        refusal.message,
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    );
    assert_eq!(judge(&selective, [].iter(), &facts()), Finding::WrongLabels(refusal.clone()));
    let labelled = facts_with(|f| drop(f.labels.insert("disk".to_owned(), "ssd".to_owned())));
    assert_eq!(judge(&selective, [].iter(), &labelled), Finding::Fits);
    // With another reason beside it the node need not be read again.
    let elsewhere = pod(json!({"spec": {"nodeSelector": {"disk": "ssd"}, "nodeName": "n2"}}));
    assert_eq!(judge(&elsewhere, [].iter(), &facts()), Finding::Refused(refusal));
}

#[test]
fn row_2_5_a_pod_of_another_node_is_refused() {
    assert_eq!(reason(&pod(json!({"spec": {"nodeName": "n1"}})), &facts()), None);
    let message = "Predicate NodeName failed: node(s) didn't match the requested node name";
    refused_with(&pod(json!({"spec": {"nodeName": "n2"}})), &facts(), "NodeName", message);
}

#[test]
fn row_2_6_a_port_of_the_node_is_had_once() {
    let with = |port: Value| pod(json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}}));
    let web = with(json!({"containerPort": 80, "hostPort": 8080}));
    let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    let expected = Some(("NodePorts".to_owned(), message.to_owned()));
    assert_eq!(refusal(&web, std::slice::from_ref(&web), &facts()), expected);
    let local = with(json!({"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}));
    assert_eq!(refusal(&local, std::slice::from_ref(&web), &facts()), expected);
    let udp = with(json!({"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}));
    assert_eq!(refusal(&udp, &[web], &facts()), None);
}

#[test]
fn row_2_7_a_taint_that_ends_pods_keeps_them_out_unless_they_are_static() {
    let tainted = |effect: &str| {
        facts_with(|f| {
            f.taints = vec![Taint { key: "k".into(), effect: effect.into(), ..Taint::default() }];
        })
    };
    let message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
    refused_with(&pod(json!({})), &tainted("NoExecute"), "TaintToleration", message);
    assert_eq!(reason(&pod(json!({})), &tainted("NoSchedule")), None);
    let tolerant = pod(json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}));
    assert_eq!(reason(&tolerant, &tainted("NoExecute")), None);
    let fixed = pod(json!({"metadata": {"annotations": {"kubernetes.io/config.source": "file"}}}));
    assert_eq!(reason(&fixed, &tainted("NoExecute")), None);
}

#[test]
fn rows_2_8_and_2_9_a_pod_for_another_system_is_refused() {
    let labelled = |os: &str| pod(json!({"metadata": {"labels": {"kubernetes.io/os": os}}}));
    assert_eq!(reason(&labelled("linux"), &facts()), None);
    refused_with(
        &labelled("windows"),
        &facts(),
        "PodOSSelectorNodeLabelDoesNotMatch",
        "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    );
    assert_eq!(reason(&pod(json!({"spec": {"os": {"name": "linux"}}})), &facts()), None);
    refused_with(
        &pod(json!({"spec": {"os": {"name": "windows"}}})),
        &facts(),
        "PodOSNotSupported",
        "Failed to admit pod as the OS field doesn't match node OS",
    );
}

#[test]
fn row_2_10_strict_groups_need_a_runtime_that_keeps_to_them() {
    let with = |policy: &str| pod(json!({"spec": {"securityContext": {"supplementalGroupsPolicy": policy}}}));
    assert_eq!(reason(&with("Merge"), &facts()), None);
    refused_with(
        &with("Strict"),
        &facts(),
        "SupplementalGroupsPolicyNotSupported",
        "SupplementalGroupsPolicy=Strict is not supported in this node",
    );
    let able = facts_with(|f| f.supplemental_groups_policy = true);
    assert_eq!(reason(&with("Strict"), &able), None);
}

#[test]
fn row_2_12_a_profile_that_nobody_enforces_is_refused_while_the_pod_is_new() {
    let without = facts_with(|f| f.apparmor = false);
    let message = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
    let of_pod = |kind: &str| pod(json!({"spec": {"securityContext": {"appArmorProfile": {"type": kind}}}}));
    refused_with(&of_pod("RuntimeDefault"), &without, "AppArmor", message);
    assert_eq!(reason(&of_pod("Unconfined"), &without), None);
    assert_eq!(reason(&of_pod("RuntimeDefault"), &facts()), None);
    let annotated = |profile: &str| {
        let key = "container.apparmor.security.beta.kubernetes.io/c";
        pod(json!({"metadata": {"annotations": {key: profile}}}))
    };
    refused_with(&annotated("localhost/web"), &without, "AppArmor", message);
    assert_eq!(reason(&annotated("unconfined"), &without), None);
    let message = "Cannot enforce AppArmor: invalid empty AppArmor profile name";
    refused_with(&annotated("localhost/"), &facts(), "AppArmor", message);
    assert_eq!(reason(&annotated("localhost/web"), &facts()), None);
    let mut known = of_pod("RuntimeDefault");
    known.status.as_mut().expect("a status").phase = Some("Running".to_owned());
    assert_eq!(reason(&known, &without), None);
}

#[test]
fn row_2_14_resources_of_the_whole_pod_need_their_gate() {
    let whole = pod(json!({"spec": {"resources": {"requests": {"cpu": "1"}}}}));
    assert_eq!(reason(&whole, &facts()), None);
    let off = facts_with(|f| f.pod_level_resources = false);
    refused_with(&whole, &off, "PodLevelResourcesNotSupported", "PodLevelResources feature gate is disabled");
    assert_eq!(reason(&pod(json!({"spec": {"resources": {}}})), &off), None);
}

#[test]
fn row_2_15_what_a_pod_needs_must_be_declared() {
    let restarts = pod(json!({"spec": {"containers": [{"name": "c", "restartPolicyRules": [
        {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [3]}}]}]}}));
    refused_with(
        &restarts,
        &facts(),
        "PodFeatureUnsupported",
        "Pod requires node features that are not available: RestartAllContainersOnContainerExits",
    );
    let able = facts_with(|f| {
        f.declared_features = Some(["RestartAllContainersOnContainerExits".to_owned()].into());
    });
    assert_eq!(reason(&restarts, &able), None);
    assert_eq!(reason(&restarts, &facts_with(|f| f.declared_features = None)), None);
}

#[test]
fn row_2_16_a_node_that_goes_down_takes_nothing_more() {
    let down = facts_with(|f| f.shutting_down = true);
    let message = "Pod was rejected as the node is shutting down.";
    refused_with(&pod(json!({"spec": {"priority": CRITICAL}})), &down, "NodeShutdown", message);
}

#[test]
fn the_first_check_that_fails_gives_the_reason() {
    let everything_wrong = json!({
        "metadata": {"labels": {"kubernetes.io/os": "windows"}},
        "spec": {
            "nodeName": "n2",
            "nodeSelector": {"disk": "ssd"},
            "os": {"name": "windows"},
            "hostNetwork": true,
            "securityContext": {
                "sysctls": [{"name": "kernel.msgmax", "value": "1"}],
                "supplementalGroupsPolicy": "Strict",
                "appArmorProfile": {"type": "RuntimeDefault"}},
            "resources": {"requests": {"cpu": "100"}},
            "containers": requests_cpu("100")}});
    let mut pod = pod(everything_wrong);
    let mut facts = facts();
    facts.pressures = [Pressure::Disk].into();
    facts.taints = vec![Taint { key: "k".into(), effect: "NoExecute".into(), ..Taint::default() }];
    facts.apparmor = false;
    facts.pod_level_resources = false;
    facts.shutting_down = true;
    let mut next = |expected: &str, mend: &mut dyn FnMut(&mut ApiPod, &mut Facts)| {
        assert_eq!(reason(&pod, &facts).as_deref(), Some(expected));
        mend(&mut pod, &mut facts);
    };
    fn spec(pod: &mut ApiPod) -> &mut k8s_openapi::api::core::v1::PodSpec {
        pod.spec.as_mut().expect("a spec")
    }
    fn security(pod: &mut ApiPod) -> &mut k8s_openapi::api::core::v1::PodSecurityContext {
        spec(pod).security_context.as_mut().expect("a context")
    }
    next("Evicted", &mut |_, f| f.pressures.clear());
    next("SysctlForbidden", &mut |p, _| security(p).sysctls = None);
    next("PodOSSelectorNodeLabelDoesNotMatch", &mut |p, _| p.metadata.labels = None);
    next("PodOSNotSupported", &mut |p, _| spec(p).os = None);
    next("SupplementalGroupsPolicyNotSupported", &mut |p, _| security(p).supplemental_groups_policy = None);
    next("OutOfcpu", &mut |p, _| {
        spec(p).resources.as_mut().expect("resources").requests =
            Some([("cpu".into(), quantity("1"))].into());
    });
    next("NodeAffinity", &mut |p, _| spec(p).node_selector = None);
    next("NodeName", &mut |p, _| spec(p).node_name = None);
    next("TaintToleration", &mut |_, f| f.taints.clear());
    next("AppArmor", &mut |p, _| security(p).app_armor_profile = None);
    next("PodLevelResourcesNotSupported", &mut |_, f| f.pod_level_resources = true);
    next("NodeShutdown", &mut |_, f| f.shutting_down = false);
    assert_eq!(reason(&pod, &facts), None);
}

fn quantity(text: &str) -> k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.to_owned())
}

#[test]
fn row_3_1_of_a_critical_pod_room_is_no_reason_while_there_is_another_one() {
    let wants = |priority: i32| {
        pod(json!({"spec": {
            "priority": priority, "nodeName": "n2", "containers": requests_cpu("5")}}))
    };
    assert_eq!(reason(&wants(0), &facts()).as_deref(), Some("OutOfcpu"));
    assert_eq!(reason(&wants(CRITICAL), &facts()).as_deref(), Some("NodeName"));
    let mut fits = wants(CRITICAL);
    fits.spec.as_mut().expect("a spec").node_name = None;
    assert!(matches!(judge(&fits, [].iter(), &facts()), Finding::Short(_)));
    // Nobody is put out for a pod that is then refused for another reason.
    let down = facts_with(|f| f.shutting_down = true);
    assert_eq!(reason(&fits, &down).as_deref(), Some("NodeShutdown"));
}

#[test]
fn labels_and_taints_that_are_only_guessed_decide_about_static_pods_alone() {
    let unseen = facts_with(|f| {
        f.seen = false;
        f.taints = vec![Taint { key: "k".into(), effect: "NoExecute".into(), ..Taint::default() }];
    });
    let selective = json!({"spec": {"nodeSelector": {"disk": "ssd"}}});
    assert_eq!(reason(&pod(selective.clone()), &unseen), None);
    let mut fixed = pod(selective);
    fixed.metadata.annotations = Some([("kubernetes.io/config.source".into(), "file".into())].into());
    assert_eq!(reason(&fixed, &unseen).as_deref(), Some("NodeAffinity"));
}
