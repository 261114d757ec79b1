//! The hosts file of a pod (behaviour.md 8.9, 8.10).

/// The hosts file of a pod in a network of its own.
pub fn hosts_file(pod_ips: &[String], hostname: &str, domain: Option<&str>) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in pod_ips {
        match domain {
            Some(domain) => text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
            None => text.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    text
}

/// The hosts file of a pod in the node's network: the node's own, marked.
pub fn node_hosts_file(node_hosts: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_the_pod_has_a_line() {
        let text = hosts_file(&["10.88.0.20".into(), "fd00::20".into()], "web", None);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("fe00::2\tip6-allrouters\n10.88.0.20\tweb\nfd00::20\tweb\n"));
        let text = hosts_file(&["10.88.0.20".into()], "web", Some("sub.ns.svc.cluster.local"));
        assert!(text.ends_with("10.88.0.20\tweb.sub.ns.svc.cluster.local\tweb\n"));
    }
}
