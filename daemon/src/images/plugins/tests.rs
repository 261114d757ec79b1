use std::fs;
use std::os::unix::fs::symlink;

use super::*;

struct Counting {
    dir: tempfile::TempDir,
    plugins: Plugins,
}

impl Counting {
    /// A plugin for `*.cloud.test` that counts its runs and names itself after the last one.
    fn new(cache_key_type: &str, cache_duration: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let runs = dir.path().join("runs");
        let script = format!(
            "echo >> {0}\nprintf '{{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"cacheKeyType\":\"{cache_key_type}\",{cache_duration}\"auth\":{{\"*.cloud.test\":{{\"username\":\"run-%d\"}}}}}}' $(wc -l < {0})\n",
            runs.display()
        );
        let file = dir.path().join("script");
        fs::write(&file, script).expect("written");
        // The kernel would refuse to run a file that a child of another test still has open for writing.
        symlink("/bin/sh", dir.path().join("plugin")).expect("linked");
        let config = dir.path().join("config.yaml");
        let text = format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {{name: plugin, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ['*.cloud.test'], defaultCacheDuration: 10m, args: ['{}']}}\n",
            file.display()
        );
        fs::write(&config, text).expect("written");
        let plugins = Plugins::read(Some(&config), Some(dir.path())).expect("read");
        Self { dir, plugins }
    }

    async fn user(&self, repository: &str) -> Option<String> {
        let found = self.plugins.keyring(repository).await.lookup(repository);
        found.into_iter().next().map(|c| c.credential.username)
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
    assert!(Plugins::read(None, None).expect("none").providers.is_empty());
    assert!(matches!(Plugins::read(Some(Path::new("/x")), None), Err(PluginConfigError::Half)));
    assert!(matches!(Plugins::read(None, Some(Path::new("/x"))), Err(PluginConfigError::Half)));
}
