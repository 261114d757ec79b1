use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::fake::{FakeApi, api};

const REPOSITORY: &str = "a.cloud.test/one";

struct Counting {
    dir: tempfile::TempDir,
    plugins: Plugins,
}

impl Counting {
    /// A plugin for `*.cloud.test` that counts its runs and names itself after the last one.
    fn new(cache_key_type: &str, cache_duration: &str) -> Self {
        Self::with_tokens(cache_key_type, cache_duration, "", "", None)
    }

    /// One that gets tokens as `attributes` say, and answers with `password`, which the shell may expand.
    fn with_tokens(
        cache_key_type: &str,
        cache_duration: &str,
        attributes: &str,
        password: &str,
        client: Option<kube::Client>,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runs = dir.path().join("runs");
        let script = format!(
            "cat > {1}\ntoken=$(sed 's/.*serviceAccountToken\":\"\\([^\"]*\\)\".*/\\1/' {1})\necho >> {0}\nprintf '{{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"cacheKeyType\":\"{cache_key_type}\",{cache_duration}\"auth\":{{\"*.cloud.test\":{{\"username\":\"run-%d\",\"password\":\"%s\"}}}}}}' $(wc -l < {0}) \"{password}\"\n",
            runs.display(),
            dir.path().join("request").display()
        );
        let file = dir.path().join("script");
        fs::write(&file, script).expect("written");
        // The kernel would refuse to run a file that a child of another test still has open for writing.
        symlink("/bin/sh", dir.path().join("plugin")).expect("linked");
        let config = dir.path().join("config.yaml");
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {{name: plugin, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ['*.cloud.test'], defaultCacheDuration: 10m, {attributes} args: ['{}']}}\n",
            file.display()
        );
        fs::write(&config, text).expect("written");
        let plugins = Plugins::read(Some(&config), Some(dir.path()), true, Accounts::new(client));
        let plugins = plugins.expect("read");
        Self { dir, plugins }
    }

    async fn user(&self, repository: &str) -> Option<String> {
        self.user_for(&Pod::default(), repository).await.map(|(user, _)| user)
    }

    async fn user_for(&self, pod: &Pod, repository: &str) -> Option<(String, Source)> {
        let found = self.plugins.keyring(pod, repository).await.lookup(repository);
        found.into_iter().next().map(|c| (c.credential.username, c.source))
    }

    /// What the plugin was told last.
    fn request(&self) -> Value {
        let said = fs::read(self.dir.path().join("request")).expect("it has run");
        serde_json::from_slice(&said).expect("a request")
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.dir.path().join("runs")).map_or(0, |runs| runs.lines().count())
    }
}

#[tokio::test]
async fn a_response_is_used_again_for_what_it_is_good_for() {
    for (kind, runs) in [("Image", 3), ("Registry", 2), ("Global", 1)] {
        let counting = Counting::new(kind, "");
        for repository in ["a.cloud.test/one", "a.cloud.test/one", "a.cloud.test/two", "b.cloud.test/one"] {
            assert!(counting.user(repository).await.is_some(), "{kind}");
        }
        assert_eq!(counting.runs(), runs, "{kind}");
    }
}

#[tokio::test]
async fn a_response_is_not_used_longer_than_the_plugin_said() {
    let counting = Counting::new("Image", "\"cacheDuration\":\"0s\",");
    assert_eq!(counting.user("a.cloud.test/one").await.as_deref(), Some("run-1"));
    assert_eq!(counting.user("a.cloud.test/one").await.as_deref(), Some("run-2"));
    // Without a word of the plugin, for as long as the configuration says.
    let counting = Counting::new("Image", "");
    assert_eq!(counting.user("a.cloud.test/one").await.as_deref(), Some("run-1"));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(601)).await;
    tokio::time::resume();
    assert_eq!(counting.user("a.cloud.test/one").await.as_deref(), Some("run-2"));
}

#[tokio::test]
async fn those_who_ask_together_for_one_image_run_the_plugin_once_and_other_images_not_at_all() {
    let counting = Counting::new("Image", "");
    let asks = (0..5).map(|_| counting.user("a.cloud.test/one"));
    let users = futures::future::join_all(asks).await;
    assert_eq!(users, vec![Some("run-1".to_owned()); 5]);
    assert_eq!(counting.user("elsewhere.test/one").await, None);
    assert_eq!(counting.runs(), 1);
}

#[tokio::test]
async fn a_plugin_that_fails_gives_nothing_and_is_asked_again() {
    let counting = Counting::new("Nonsense", "");
    assert_eq!(counting.user("a.cloud.test/one").await, None);
    assert_eq!(counting.user("a.cloud.test/one").await, None);
    assert_eq!(counting.runs(), 2);
}

#[test]
fn half_a_configuration_is_refused_and_none_is_none() {
    let read = |config, bin_dir| Plugins::read(config, bin_dir, true, Accounts::new(None));
    assert!(read(None, None).expect("none").providers.is_empty());
    assert!(matches!(read(Some(Path::new("/x")), None), Err(PluginConfigError::Half)));
    assert!(matches!(read(None, Some(Path::new("/x"))), Err(PluginConfigError::Half)));
}

const ATTRIBUTES: &str = "tokenAttributes: {serviceAccountTokenAudience: registry.test, cacheType: ServiceAccount, \
     requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [role], \
     optionalServiceAccountAnnotationKeys: [region]},";

fn pod(name: &str, account: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}")},
        "spec": {"containers": [], "serviceAccountName": account},
    }))
    .expect("a pod")
}

fn account(name: &str) -> Source {
    Source::Account(AccountName { namespace: "team".into(), name: name.into(), uid: format!("uid-{name}") })
}

/// An API server whose accounts are all there but `absent`, all but `plain` with annotations, and whose tokens name account and pod;
/// how many it has made.
fn tokens(mut api: FakeApi) -> Arc<AtomicUsize> {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    tokio::spawn(async move {
        loop {
            let call = api.next().await;
            let path =
                call.path.strip_prefix("/api/v1/namespaces/team/serviceaccounts/").expect("an account");
            let path = path.to_owned();
            match path.strip_suffix("/token") {
                _ if path.starts_with("absent") => call.fail(404, "NotFound"),
                Some("tokenless") => call.fail(404, "NotFound"),
                Some(name) => {
                    assert_eq!(call.method, Method::POST);
                    assert_eq!(call.body["spec"]["audiences"], json!(["registry.test"]));
                    let pod = call.body["spec"]["boundObjectRef"]["name"].as_str().unwrap_or_default();
                    let token = format!("token-of-{name}-for-{pod}");
                    count.fetch_add(1, Ordering::Relaxed);
                    let status = json!({"token": token, "expirationTimestamp": "2999-01-01T00:00:00Z"});
                    call.ok(&json!({"metadata": {}, "spec": {}, "status": status}));
                }
                None => {
                    let all = json!({"role": "read", "region": "north", "hidden": "x"});
                    let annotations = if path == "plain" { json!({}) } else { all };
                    let meta = json!({"name": path, "namespace": "team", "uid": format!("uid-{path}"), "annotations": annotations});
                    call.ok(&json!({"metadata": meta}));
                }
            }
        }
    });
    made
}

#[tokio::test]
async fn a_plugin_gets_a_token_of_the_pods_account_and_its_answer_is_for_that_account() {
    let (client, server) = api();
    let made = tokens(server);
    let counting = Counting::with_tokens("Registry", "", ATTRIBUTES, "", Some(client));
    let user = counting.user_for(&pod("a", "builder"), REPOSITORY).await;
    assert_eq!(user, Some(("run-1".to_owned(), account("builder"))));
    let request = counting.request();
    assert_eq!(request["serviceAccountToken"], "token-of-builder-for-a");
    assert_eq!(request["serviceAccountAnnotations"], json!({"role": "read", "region": "north"}));
    // Another pod of the account may have it, on the same registry; another account may not.
    let user = counting.user_for(&pod("b", "builder"), "a.cloud.test/two").await;
    assert_eq!(user, Some(("run-1".to_owned(), account("builder"))));
    let user = counting.user_for(&pod("c", "runner"), REPOSITORY).await;
    assert_eq!(user, Some(("run-2".to_owned(), account("runner"))));
    assert_eq!(counting.request()["serviceAccountToken"], "token-of-runner-for-c");
    assert_eq!(made.load(Ordering::Relaxed), 3, "one for each pod");
}

#[tokio::test]
async fn an_answer_for_one_token_is_for_one_pod() {
    let (client, server) = api();
    tokens(server);
    let attributes = ATTRIBUTES.replace("cacheType: ServiceAccount", "cacheType: Token");
    let counting = Counting::with_tokens("Global", "", &attributes, "$token", Some(client));
    for (name, user) in [("a", "run-1"), ("a", "run-1"), ("b", "run-2"), ("a", "run-1")] {
        let got = counting.user_for(&pod(name, "builder"), REPOSITORY).await;
        assert_eq!(got, Some((user.to_owned(), account("builder"))), "{name}");
    }
}

#[tokio::test]
async fn a_token_that_comes_back_as_password_is_not_given_to_other_pods() {
    let (client, server) = api();
    tokens(server);
    let counting = Counting::with_tokens("Global", "", ATTRIBUTES, "$token", Some(client));
    for runs in 1..3 {
        assert_eq!(counting.user_for(&pod("a", "builder"), REPOSITORY).await, None);
        assert_eq!(counting.runs(), runs, "it is not kept either");
    }
}

#[tokio::test]
async fn pods_without_an_account_or_its_annotations_or_a_token_get_nothing_of_the_plugin() {
    let (client, server) = api();
    let made = tokens(server);
    let counting = Counting::with_tokens("Image", "", ATTRIBUTES, "", Some(client));
    for name in ["", "plain", "absent", "tokenless"] {
        assert_eq!(counting.user_for(&pod("a", name), REPOSITORY).await, None, "{name:?}");
    }
    assert_eq!((counting.runs(), made.load(Ordering::Relaxed)), (0, 0));
    let alone = Counting::with_tokens("Image", "", ATTRIBUTES, "", None);
    assert_eq!(alone.user_for(&pod("a", "builder"), REPOSITORY).await, None, "there is no API server");
}

#[tokio::test]
async fn a_plugin_that_does_not_require_an_account_runs_without_one_for_the_node() {
    let (client, server) = api();
    tokens(server);
    let attributes = "tokenAttributes: {serviceAccountTokenAudience: registry.test, cacheType: ServiceAccount, requireServiceAccount: false},";
    let counting = Counting::with_tokens("Global", "", attributes, "", Some(client));
    let user = counting.user_for(&pod("a", ""), REPOSITORY).await;
    assert_eq!(user, Some(("run-1".to_owned(), Source::Node)));
    let request = counting.request();
    assert!(
        request.get("serviceAccountToken").is_none() && request.get("serviceAccountAnnotations").is_none()
    );
    // What is for the node is not for an account, and the other way round.
    let user = counting.user_for(&pod("b", "builder"), REPOSITORY).await;
    assert_eq!(user, Some(("run-2".to_owned(), account("builder"))));
    assert!(counting.request().get("serviceAccountAnnotations").is_none(), "none were asked for");
    let mut fixed = pod("c", "builder");
    fixed.metadata.annotations = Some([("kubernetes.io/config.source".into(), "file".into())].into());
    assert_eq!(counting.user_for(&fixed, REPOSITORY).await, Some(("run-1".to_owned(), Source::Node)));
}
