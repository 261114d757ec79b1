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
    let message = read(&path).await.unwrap_err().to_string();
    assert!(message.contains(&format!("{}/pki/ca.crt", dir.path().display())), "{message}");
    let message = read(Path::new("/nonexistent/kubelet.conf")).await.unwrap_err().to_string();
    assert!(message.starts_with("kubeconfig /nonexistent/kubelet.conf: "), "{message}");
}

#[tokio::test]
async fn a_certificate_authority_in_a_file_is_enough_with_a_token() {
    let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pki")).unwrap();
    std::fs::write(dir.path().join("pki/ca.crt"), authority.cert.pem()).unwrap();
    let path = dir.path().join("k.conf");
    std::fs::write(&path, GOOD).unwrap();
    let access = read(&path).await.unwrap();
    assert_eq!(access.server(), "https://192.0.2.1:6443/");
    assert!(access.identity.is_none());
    assert_eq!(access.files, [dir.path().join("pki/ca.crt")]);
    access.client().unwrap();
}

#[tokio::test]
async fn neither_tokens_nor_keys_stand_in_an_error_or_a_debug_line() {
    let secret = "abcdef.0123456789abcdef";
    let text = GOOD.replace("{token: t}", &format!("{{token: {secret}, client-key-data: {secret}}}"));
    let text = text.replace("    certificate-authority: pki/ca.crt\n", "");
    let error = parse(&text, Path::new("/k.conf")).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    let text = text.replace(&format!(", client-key-data: {secret}"), "");
    let access = parse(&text, Path::new("/k.conf")).await.unwrap();
    assert!(!format!("{access:?}").contains(secret));
}

#[tokio::test]
async fn a_kubelets_kubeconfig_has_its_names_and_points_to_the_certificate_file() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("bootstrap.conf");
    std::fs::write(&from, GOOD).unwrap();
    let text = with_certificate(&from, Path::new("/pki/kubelet-client-current.pem")).unwrap();
    let file = check(&text, Path::new("/kubelet.conf")).unwrap();
    assert_eq!(file.current_context.as_deref(), Some("default-context"));
    assert_eq!(
        (file.clusters[0].name.as_str(), file.auth_infos[0].name.as_str()),
        ("default-cluster", "default-auth")
    );
    let user = file.auth_infos[0].auth_info.clone().unwrap();
    assert_eq!(user.client_certificate.as_deref(), Some("/pki/kubelet-client-current.pem"));
    assert_eq!(user.client_key, user.client_certificate);
    assert!(user.token.is_none(), "the bootstrap token goes no further");
    let cluster = file.clusters[0].cluster.clone().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://192.0.2.1:6443"));
    assert_eq!(cluster.certificate_authority, Some(dir.path().join("pki/ca.crt").display().to_string()));
}

#[test]
fn the_user_agent_names_kubelet_and_nodelet() {
    let agent = user_agent();
    let text = agent.to_str().unwrap();
    assert!(text.starts_with("kubelet/v1.36.2 (linux/") && text.contains(") nodelet/"), "{text}");
}
