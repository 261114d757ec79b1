use super::*;

const GOOD: &str = "apiVersion: v1
kind: Config
current-context: c
contexts:
- name: c
  context: {cluster: k, user: u}
clusters:
- name: k
  cluster:
    server: https://192.0.2.1:6443
    certificate-authority: pki/ca.crt
users:
- name: u
  user: {token: t}
";

fn problem(text: &str) -> String {
    check(text, Path::new("/k.conf")).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_field() {
    assert!(check(GOOD, Path::new("/k.conf")).is_ok());
    assert_eq!(
        problem(&GOOD.replace("https://192.0.2.1:6443", "http://192.0.2.1")),
        "/k.conf:10: clusters[0].cluster.server: \"http://192.0.2.1\" is no https:// address"
    );
    assert_eq!(
        problem(&GOOD.replace("current-context: c", "current-context: d")),
        "/k.conf:3: current-context: no context is named \"d\""
    );
    assert_eq!(problem(&GOOD.replace("- name: u", "- name: v")), "/k.conf:12: users: no user is named \"u\"");
    assert_eq!(
        problem(&GOOD.replace("cluster: k", "cluster: x")),
        "/k.conf:7: clusters: no cluster is named \"x\""
    );
    assert!(problem("current-context: {a\n").contains("/k.conf:"));
    assert!(problem(&GOOD.replace("{token: t}", "{exec: {command: x}}")).contains("not carried out"));
}

#[tokio::test]
async fn files_are_looked_for_below_the_kubeconfigs_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.conf");
    std::fs::write(&path, GOOD).unwrap();
    let message = load(&path, false, Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(message.contains(&format!("{}/pki/ca.crt", dir.path().display())), "{message}");
}

#[tokio::test]
async fn a_kubeconfig_that_only_a_bootstrap_would_make_says_so() {
    let missing = Path::new("/nonexistent/kubelet.conf");
    let message = load(missing, true, Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(message.contains("--bootstrap-kubeconfig is not carried out yet"), "{message}");
    let message = load(missing, false, Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(message.starts_with("kubeconfig /nonexistent/kubelet.conf: "), "{message}");
}

#[tokio::test]
async fn a_certificate_authority_in_the_file_gives_both_clients() {
    let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pki")).unwrap();
    std::fs::write(dir.path().join("pki/ca.crt"), authority.cert.pem()).unwrap();
    let path = dir.path().join("k.conf");
    std::fs::write(&path, GOOD).unwrap();
    let clients = load(&path, false, Duration::from_secs(4)).await.unwrap();
    assert_eq!(clients.server, "https://192.0.2.1:6443/");
    assert_eq!(clients.node_timeout, Duration::from_secs(4));
}

#[test]
fn the_user_agent_names_kubelet_and_nodelet() {
    let agent = user_agent();
    let text = agent.to_str().unwrap();
    assert!(text.starts_with("kubelet/v1.36.2 (linux/") && text.contains(") nodelet/"), "{text}");
}
