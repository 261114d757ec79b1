use std::path::Path;

use super::*;

/// What kubeadm keeps in the cluster: most of it is not set.
const CLUSTER: &str = "
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous: { enabled: false }
  webhook: { cacheTTL: 0s, enabled: true }
  x509: { clientCAFile: /etc/kubernetes/pki/ca.crt }
authorization:
  mode: Webhook
  webhook: { cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s }
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: \"\"
crashLoopBackOff: {}
fileCheckFrequency: 0s
kind: KubeletConfiguration
memorySwap: {}
rotateCertificates: true
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
syncFrequency: 0s
";

fn own() -> Own {
    Own {
        node_name: Some("node7".to_owned()),
        node_ip: Some("192.0.2.2".to_owned()),
        node_labels: Some("zone=a,tier=edge".to_owned()),
        taints: Some("dedicated=edge:NoSchedule".to_owned()),
        runtime: None,
    }
}

#[test]
fn flags_are_those_that_kubeadm_writes() {
    let place = Place::new(Path::new("/"), Some(Service::Kubelet));
    let words = words(&place, &own()).unwrap();
    assert_eq!(
        environment(Service::Kubelet, &words),
        "KUBELET_KUBEADM_ARGS=\"--hostname-override=node7 --register-with-taints=dedicated=edge:NoSchedule \
         --node-labels=zone=a,tier=edge --node-ip=192.0.2.2\"\n"
    );
    let place = Place::new(Path::new("/"), Some(Service::Nodelet));
    let words = self::words(&place, &Own::default()).unwrap();
    assert!(environment(Service::Nodelet, &words).ends_with(
        "NODELET_CLUSTER_ARGS=\"--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
         --kubeconfig=/etc/kubernetes/kubelet.conf\"\n"
    ));
    for value in ["a b", "a\"b", "a\nb", "$HOME", "a\\b"] {
        let own = Own { node_labels: Some(value.to_owned()), ..Own::default() };
        assert!(self::words(&place, &own).is_err(), "{value:?}");
    }
}

#[test]
fn what_the_cluster_leaves_open_stays_as_the_machine_has_it() {
    let place = Place::new(Path::new("/"), Some(Service::Nodelet));
    let text = configuration(&place, Some(CLUSTER), &own()).unwrap();
    for word in ["10.96.0.10", "clientCAFile: /etc/kubernetes/pki/ca.crt", "rotateCertificates: true"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for word in ["shutdownGracePeriod", "0s", "containerRuntimeEndpoint", "crashLoopBackOff"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let place = Place::new(Path::new("/"), Some(Service::Kubelet));
    let text = configuration(&place, Some(CLUSTER), &own()).unwrap();
    for word in
        ["shutdownGracePeriod: 0s", "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(instance(&own()), "containerRuntimeEndpoint: \"unix:///run/containerd/containerd.sock\"\n");
    assert!(configuration(&place, Some("- a"), &own()).is_err());
    assert!(configuration(&place, Some("authentication: 1"), &own()).is_err());
}

#[test]
fn the_daemon_starts_with_what_is_written_in_either_package() {
    for service in [Service::Nodelet, Service::Kubelet] {
        for cluster in [Some(CLUSTER), None] {
            let root = tempfile::tempdir().unwrap();
            let place = Place::new(root.path(), Some(service));
            std::fs::create_dir_all(root.path().join("etc/nodelet")).unwrap();
            let packaged = include_str!("../../../package/config.yaml");
            std::fs::write(root.path().join("etc/nodelet/config.yaml"), packaged).unwrap();
            let text = configuration(&place, cluster, &own()).unwrap();
            super::super::place::write(&place.configuration(), 0o644, &text).unwrap();
            let words = words(&place, &own()).unwrap();
            check(&place, &words).unwrap();
            let flags = place.configuration_words().into_iter().chain(words);
            let flags =
                Flags::parse(std::iter::once("nodelet".to_owned()).chain(flags).map(OsString::from)).unwrap();
            let config = flags.load_config().unwrap().config;
            assert_eq!(config.authentication.x509.client_ca_file, place.authority().display().to_string());
            assert_eq!(flags.hostname_override.as_deref(), Some("node7"));
            let wrong = text.replace("rotateCertificates", "rotateCertificate");
            super::super::place::write(&place.configuration(), 0o644, &wrong).unwrap();
            let error = check(&place, &[]).unwrap_err().to_string();
            assert!(error.contains("rotateCertificate"), "{error}");
        }
    }
}

#[test]
fn any_text_of_a_cluster_is_a_configuration_or_an_error() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        for service in [Service::Nodelet, Service::Kubelet] {
            let _ = configuration(&Place::new(Path::new("/"), Some(service)), Some(&text), &Own::default());
        }
    });
}
