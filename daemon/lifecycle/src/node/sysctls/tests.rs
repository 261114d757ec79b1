use serde_json::json;

use super::super::testing::{facts_with, pod};
use super::*;

struct Case {
    name: &'static str,
    kernel: &'static str,
    allowed: &'static [&'static str],
    shared: &'static [&'static str],
}

const USUAL: Case = Case { name: "", kernel: "6.12.9-amd64", allowed: &[], shared: &[] };

fn refused(case: &Case) -> Option<String> {
    let facts = facts_with(|f| {
        f.kernel_version = case.kernel.to_owned();
        f.allowed_unsafe_sysctls = case.allowed.iter().map(|s| (*s).to_owned()).collect();
    });
    let shares = |field: &str| case.shared.contains(&field);
    let pod = pod(json!({"spec": {
        "hostNetwork": shares("hostNetwork"), "hostIPC": shares("hostIPC"),
        "securityContext": {"sysctls": [{"name": case.name, "value": "1"}]}}}));
    check(&pod, &facts).map(|refusal| {
        assert_eq!(refusal.reason, "SysctlForbidden");
        refusal.message
    })
}

#[test]
fn row_2_2_safe_parameters_are_allowed_from_their_kernel_on() {
    for (name, since) in SAFE {
        assert_eq!(refused(&Case { name, ..USUAL }), None, "{name}");
        let older = format!("forbidden sysctl: {name:?} not allowlisted");
        let expected = (*since > (2, 6)).then_some(older);
        assert_eq!(refused(&Case { name, kernel: "2.6.32", ..USUAL }), expected, "{name}");
    }
    assert_eq!(refused(&Case { name: "net.ipv4.tcp_rmem", kernel: "4.15.0", ..USUAL }), None);
    assert!(refused(&Case { name: "net.ipv4.tcp_rmem", kernel: "4.9.1", ..USUAL }).is_some());
}

#[test]
fn row_2_2_unsafe_parameters_need_the_configuration() {
    let forbidden = |name: &str| Some(format!("forbidden sysctl: {name:?} not allowlisted"));
    assert_eq!(refused(&Case { name: "kernel.msgmax", ..USUAL }), forbidden("kernel.msgmax"));
    assert_eq!(refused(&Case { name: "kernel.msgmax", allowed: &["kernel.msg*"], ..USUAL }), None);
    assert_eq!(refused(&Case { name: "kernel.sem", allowed: &["kernel.sem"], ..USUAL }), None);
    assert_eq!(
        refused(&Case { name: "vm.swappiness", allowed: &["vm.*", "vm.swappiness"], ..USUAL }),
        forbidden("vm.swappiness")
    );
    let other = Case { name: "kernel.shmmax", allowed: &["kernel.msg*", "kernel.shm"], ..USUAL };
    assert_eq!(refused(&other), forbidden("kernel.shmmax"));
}

#[test]
fn row_2_2_both_spellings_mean_the_same() {
    assert_eq!(refused(&Case { name: "net/ipv4/tcp_syncookies", ..USUAL }), None);
    let dots =
        Case { name: "net/ipv4/conf/eth0.1/arp_ignore", allowed: &["net.ipv4.conf.eth0/1.*"], ..USUAL };
    assert_eq!(refused(&dots), None);
    let message = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
    assert_eq!(refused(&Case { name: "kernel/msgmax", ..USUAL }).as_deref(), Some(message));
}

#[test]
fn row_2_2_what_is_shared_with_the_node_is_not_changed() {
    let net = Case { name: "net.ipv4.tcp_syncookies", shared: &["hostNetwork"], ..USUAL };
    let message = "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled";
    assert_eq!(refused(&net).as_deref(), Some(message));
    let ipc = Case { name: "kernel.shm_rmid_forced", shared: &["hostIPC"], ..USUAL };
    let message = "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled";
    assert_eq!(refused(&ipc).as_deref(), Some(message));
    let allowed = Case {
        name: "kernel.msgmax",
        allowed: &["kernel.msg*"],
        shared: &["hostIPC", "hostNetwork"],
        ..USUAL
    };
    assert!(refused(&allowed).is_some_and(|message| message.ends_with("host ipc enabled")));
    assert_eq!(refused(&Case { shared: &["hostIPC"], ..net }), None);
}
