use std::collections::BTreeMap;

use cri_client::Timeouts;
use cri_client::fake::{Effect, FakeRuntime, Rule, Script, Server};
use serde_json::{Value, json};

use super::*;
use crate::events::Rates;
use crate::kubeconfig::fake::{FakeApi, api};

const IMAGE: &str = "quay.test/app:1";
const FORBIDDEN: &str = "pull access denied";

struct Setup {
    runtime: FakeRuntime,
    images: Images,
    events: FakeApi,
    root: tempfile::TempDir,
    _server: Server,
    _sender: tokio::task::JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

/// A node whose runtime has everything but [`IMAGE`], and whose API server has these secrets: names with the users in them.
fn setup(policy: &str, secrets: &[(&str, &[&str])]) -> Setup {
    setup_with(policy, secrets, tempfile::tempdir().expect("a directory"), false)
}

/// With `plugin` there are a plugin's configuration and its program in the root directory.
fn setup_with(policy: &str, secrets: &[(&str, &[&str])], root: tempfile::TempDir, plugin: bool) -> Setup {
    let runtime = FakeRuntime::new();
    runtime.set_script(Script { absent_images: vec![IMAGE.into()], ..Script::default() });
    let server = runtime.serve(&root.path().join("cri.sock")).expect("serves");
    let client = Client::new(root.path().join("cri.sock"), None, Timeouts::default());
    let config = Config { image_pull_credentials_verification_policy: policy.into(), ..Config::default() };
    let settings = Settings {
        root_dir: root.path().into(),
        plugin_config: plugin.then(|| root.path().join("plugins.yaml")),
        plugin_dir: plugin.then(|| root.path().into()),
    };
    let (event_client, events) = api();
    let (recorder, sender) = Recorder::new(Some(event_client), "node1", Rates::default());
    let (stop, stopped) = watch::channel(false);
    let sender = tokio::spawn(sender.run(stopped));
    let (secret_client, server_side) = api();
    tokio::spawn(serve_secrets(
        server_side,
        secrets.iter().map(|(name, users)| secret(name, users)).collect(),
    ));
    let images = Images::new(&settings, &config, client, Some(secret_client), recorder).expect("usable");
    Setup { runtime, images, events, root, _server: server, _sender: sender, _stop: stop }
}

fn secret(name: &str, users: &[&str]) -> (String, Value) {
    use base64::Engine as _;
    let auths: BTreeMap<String, Value> = users
        .iter()
        .enumerate()
        .map(|(index, user)| {
            let registry = ["quay.test/app", "quay.test", "*.test"][index];
            (registry.to_owned(), json!({"username": user, "password": format!("of-{user}")}))
        })
        .collect();
    let document = json!({"auths": auths}).to_string();
    let data = base64::engine::general_purpose::STANDARD.encode(document);
    let object = json!({
        "metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}")},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": data},
    });
    (name.to_owned(), object)
}

async fn serve_secrets(mut api: FakeApi, secrets: BTreeMap<String, Value>) {
    loop {
        let call = api.next().await;
        let name = call.path.rsplit('/').next().unwrap_or_default().to_owned();
        if name == "token" && !call.path.contains("tokenless") {
            let status = json!({"token": "t-o-k-e-n", "expirationTimestamp": "2999-01-01T00:00:00Z"});
            call.ok(&json!({"metadata": {}, "spec": {"expirationSeconds": 3600}, "status": status}));
            continue;
        }
        if call.path.contains("/serviceaccounts/") && name != "token" {
            call.ok(&json!({"metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}")}}));
            continue;
        }
        match secrets.get(&name) {
            Some(secret) => call.ok(secret),
            None => call.fail(404, "NotFound"),
        }
    }
}

fn pod(secrets: &[&str]) -> Pod {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "team", "uid": "u"},
        "spec": {"containers": [], "imagePullSecrets": secrets},
    }))
    .expect("a pod")
}

impl Setup {
    async fn pull(&self, secrets: &[&str]) -> Result<Pulled, ImageError> {
        self.images.pull(&pod(secrets), IMAGE, v1::PodSandboxConfig::default()).await
    }

    async fn usable(&self, secrets: &[&str]) -> bool {
        match self.images.inspect(&pod(secrets), IMAGE).await {
            Ok(found) => found.is_some(),
            Err(ImageError::NotAllowed(_)) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn pulls(&self) -> usize {
        self.runtime.calls().iter().filter(|call| call.call == "PullImage").count()
    }

    fn intents(&self) -> usize {
        std::fs::read_dir(self.root.path().join("image_manager/pulling")).expect("listed").count()
    }
}

#[tokio::test]
async fn an_image_that_a_secret_brought_is_not_there_for_pods_without_it() {
    let setup =
        setup("NeverVerifyPreloadedImages", &[("s", &["user"]), ("copy", &["user"]), ("other", &["else"])]);
    assert!(!setup.usable(&["s"]).await, "it was not pulled yet");
    let pulled = setup.pull(&["s"]).await.expect("pulled");
    assert_eq!((pulled.id.as_str(), pulled.size_bytes), ("sha256:quay.test/app:1", 1024));
    assert!(setup.usable(&["s"]).await);
    assert!(!setup.usable(&[]).await);
    assert!(!setup.usable(&["other"]).await);
    assert!(!setup.usable(&["absent"]).await);
    assert!(setup.usable(&["other", "copy"]).await, "a secret with the same content");
    // What was there before is everybody's under this policy.
    let preloaded = setup.images.inspect(&pod(&[]), "quay.test/preloaded:1").await.expect("inspected");
    assert_eq!(preloaded.as_deref(), Some("sha256:quay.test/preloaded:1"));
    // A pull that anybody could make opens it to all.
    setup.pull(&[]).await.expect("pulled");
    assert!(setup.usable(&[]).await);
}

/// A node with a plugin that wants tokens of accounts.
fn setup_with_plugin() -> Setup {
    let root = tempfile::tempdir().expect("a directory");
    let response = r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{"quay.test":{"username":"cloud","password":"of-cloud"}}}"#;
    std::fs::write(root.path().join("script"), format!("cat > /dev/null; echo '{response}'\n"))
        .expect("written");
    std::os::unix::fs::symlink("/bin/sh", root.path().join("cloud")).expect("linked");
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1",
        "kind": "CredentialProviderConfig",
        "providers": [{
            "name": "cloud",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "matchImages": ["quay.test"],
            "defaultCacheDuration": "0s",
            "args": [root.path().join("script")],
            "tokenAttributes": {
                "serviceAccountTokenAudience": "quay.test",
                "cacheType": "ServiceAccount",
                "requireServiceAccount": true,
            },
        }],
    });
    std::fs::write(root.path().join("plugins.yaml"), config.to_string()).expect("written");
    setup_with("NeverVerifyPreloadedImages", &[("s", &["user"])], root, true)
}

fn pod_of(account: &str, secrets: &[&str]) -> Pod {
    let mut pod = pod(secrets);
    let spec = pod.spec.as_mut().expect("a spec");
    spec.service_account_name = Some(account.to_owned());
    pod
}

#[tokio::test]
async fn an_image_that_an_account_brought_is_not_there_for_pods_of_others() {
    let setup = setup_with_plugin();
    setup.images.pull(&pod_of("builder", &[]), IMAGE, v1::PodSandboxConfig::default()).await.expect("pulled");
    let usable = async |pod: Pod| match setup.images.inspect(&pod, IMAGE).await {
        Ok(found) => found.is_some(),
        Err(ImageError::NotAllowed(_)) => false,
        Err(error) => panic!("{error:?}"),
    };
    assert!(usable(pod_of("builder", &[])).await);
    assert!(!usable(pod_of("runner", &[])).await, "another account");
    assert!(!usable(pod_of("", &["s"])).await, "no account, and a secret that nobody has tried");
    assert!(!usable(pod_of("tokenless", &[])).await, "no token");
    let records = std::fs::read_dir(setup.root.path().join("image_manager/pulled")).expect("listed");
    let [record] = &records
        .map(|r| std::fs::read_to_string(r.expect("an entry").path()).expect("read"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one image, one record")
    };
    let account =
        r#""kubernetesServiceAccounts":[{"uid":"uid-builder","namespace":"team","name":"builder"}]"#;
    assert!(record.contains(account) && !record.contains("nodePodsAccessible"), "{record}");
    assert!(!record.contains("t-o-k-e-n"), "{record}");
    // Another account that may pull it, too.
    setup.images.pull(&pod_of("runner", &[]), IMAGE, v1::PodSandboxConfig::default()).await.expect("pulled");
    for account in ["builder", "runner"] {
        assert!(usable(pod_of(account, &[])).await, "{account}");
    }
}

#[tokio::test]
async fn without_a_token_a_pull_goes_on_with_what_else_there_is() {
    let setup = setup_with_plugin();
    let pull = async |pod: Pod| setup.images.pull(&pod, IMAGE, v1::PodSandboxConfig::default()).await;
    pull(pod_of("tokenless", &["s"])).await.expect("pulled with the secret");
    assert_eq!(setup.pulls(), 1);
    // Nothing is left but to try as anybody: the registry says what it thinks of that.
    setup.runtime.add_rule(Rule::next("PullImage", 1, Effect::refused(FORBIDDEN)));
    let error = pull(pod_of("tokenless", &[])).await.expect_err("refused");
    let ImageError::Pull(errors) = error else { panic!("{error:?}") };
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(error.to_string().contains(FORBIDDEN), "{error}");
    assert!(!setup.usable(&[]).await, "it is the secret's alone");
}

#[tokio::test]
async fn the_policy_decides_about_images_that_were_there_before() {
    let always = setup("AlwaysVerify", &[]);
    let image = "quay.test/preloaded:1";
    let error = always.images.inspect(&pod(&[]), image).await.expect_err("not allowed");
    assert_eq!(
        error.to_string(),
        "Container image \"quay.test/preloaded:1\" is not present with pull policy of Never"
    );
    let never = setup("NeverVerify", &[("s", &["user"])]);
    never.pull(&["s"]).await.expect("pulled");
    assert!(never.usable(&[]).await);
}

#[tokio::test]
async fn credentials_are_tried_in_turn_and_their_complaints_are_collected() {
    let setup = setup("NeverVerifyPreloadedImages", &[("s", &["one", "two", "three"])]);
    setup.runtime.add_rule(Rule::next("PullImage", 2, Effect::refused(FORBIDDEN)));
    setup.pull(&["s"]).await.expect("pulled with the third");
    assert_eq!(setup.pulls(), 3);
    setup.runtime.add_rule(Rule::next("PullImage", 3, Effect::refused(FORBIDDEN)));
    let error = setup.pull(&["s"]).await.expect_err("refused");
    let ImageError::Pull(errors) = error else { panic!("{error:?}") };
    assert_eq!(errors.len(), 3);
    assert!(!format!("{errors:?}").contains("of-"), "no password in an error");
    assert_eq!(setup.intents(), 0);
    // Without a credential it is tried once, as anybody.
    setup.pull(&[]).await.expect("pulled");
    assert_eq!(setup.pulls(), 7);
}

#[tokio::test]
async fn a_runtime_that_went_away_is_not_asked_again_and_what_it_did_is_not_taken_for_preloaded() {
    let setup = setup("NeverVerifyPreloadedImages", &[("s", &["one", "two"])]);
    let lost = Effect::LoseAnswer { code: 14, message: "gone".into() };
    setup.runtime.add_rule(Rule::next("PullImage", 1, lost));
    let error = setup.pull(&["s"]).await.expect_err("no answer");
    assert!(matches!(&error, ImageError::Pull(errors) if errors[0].outcome_is_unknown()), "{error:?}");
    assert_eq!(setup.pulls(), 1);
    // The image came all the same.
    assert!(!setup.usable(&["s"]).await);
    assert_eq!(setup.intents(), 1);
    // The next daemon knows it too, also under another name of the image.
    let (_stop, stopped) = watch::channel(false);
    setup.images.clone().settle(stopped).await;
    assert_eq!(setup.intents(), 0);
    assert!(!setup.usable(&["s"]).await);
    setup.pull(&["s"]).await.expect("pulled");
    assert!(setup.usable(&["s"]).await);
}

#[tokio::test]
async fn a_pull_that_is_given_up_is_remembered() {
    let setup = setup("NeverVerifyPreloadedImages", &[]);
    setup.runtime.add_rule(Rule::next("PullImage", 1, Effect::Hang));
    let mut pull = Box::pin(setup.pull(&[]));
    while setup.pulls() == 0 {
        let _ = tokio::time::timeout(Duration::from_millis(5), &mut pull).await;
    }
    drop(pull);
    assert_eq!(setup.intents(), 1);
    setup.pull(&[]).await.expect("pulled");
    assert_eq!(setup.intents(), 0);
}

#[tokio::test]
async fn a_missing_secret_is_told_and_stops_no_pull() {
    let mut setup = setup("NeverVerifyPreloadedImages", &[("s", &["user"])]);
    setup.pull(&["absent", "s", "gone"]).await.expect("pulled");
    let event = setup.events.next().await.body;
    assert_eq!(event["reason"], "FailedToRetrieveImagePullSecret");
    assert_eq!(event["type"], "Warning");
    let text = "Unable to retrieve some image pull secrets (absent, gone); attempting to pull the image may not succeed.";
    assert_eq!(event["message"], text);
}

#[tokio::test]
async fn what_is_no_image_name_is_told_before_anything_is_asked() {
    let setup = setup("NeverVerifyPreloadedImages", &[]);
    let error = setup.images.inspect(&pod(&[]), "UPPER").await.expect_err("no name");
    assert!(matches!(error, ImageError::Name(_)));
    assert_eq!(setup.runtime.calls(), []);
}
