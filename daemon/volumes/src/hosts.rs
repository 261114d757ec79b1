//! The hosts file of a pod (behaviour.md 8.9 to 8.11).

/// An address, and what else it is called.
pub type Alias<'a> = (&'a str, &'a [String]);

/// The hosts file of a pod in a network of its own.
pub fn hosts_file(pod_ips: &[String], hostname: &str, domain: Option<&str>, aliases: &[Alias<'_>]) -> String {
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
    text.push_str(&entries(aliases));
    text
}

/// The hosts file of a pod in the node's network: the node's own, marked.
pub fn node_hosts_file(node_hosts: &str, aliases: &[Alias<'_>]) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}{}", entries(aliases))
}

fn entries(aliases: &[Alias<'_>]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |(ip, names): &Alias<'_>| format!("{ip}\t{}\n", names.join("\t"));
    format!("\n# Entries added by HostAliases.\n{}", aliases.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_the_pod_has_a_line() {
        let text = hosts_file(&["10.88.0.20".into(), "fd00::20".into()], "web", None, &[]);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("fe00::2\tip6-allrouters\n10.88.0.20\tweb\nfd00::20\tweb\n"));
        let text = hosts_file(&["10.88.0.20".into()], "web", Some("sub.ns.svc.cluster.local"), &[]);
        assert!(text.ends_with("10.88.0.20\tweb.sub.ns.svc.cluster.local\tweb\n"));
    }

    /// Figures of kubelet-fixtures sharepid.etc-hosts.
    #[test]
    fn row_8_11_aliases_stand_at_the_end_in_both_networks() {
        let names = [["foo.local".to_owned(), "bar.local".to_owned()].to_vec(), vec!["baz.local".to_owned()]];
        let aliases: [Alias<'_>; 2] = [("10.1.2.3", &names[0]), ("10.1.2.4", &names[1])];
        let end = "\n# Entries added by HostAliases.\n10.1.2.3\tfoo.local\tbar.local\n10.1.2.4\tbaz.local\n";
        let domain = Some("sub.fx.svc.cluster.local");
        let text = hosts_file(&["10.88.0.25".into()], "hname", domain, &aliases);
        assert!(text.ends_with(&format!("10.88.0.25\thname.sub.fx.svc.cluster.local\thname\n{end}")));
        let text = node_hosts_file("127.0.0.1 node\n", &aliases);
        assert_eq!(text, format!("# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n{end}"));
    }
}
