use std::fs;

use super::*;
use crate::images::credential::AccountName;

const V1: &str = "credentialprovider.kubelet.k8s.io/v1";

/// A plugin that runs this shell script. The shell reads it: the kernel would refuse to run a file that a child of another
/// test still has open for writing.
fn plugin(dir: &tempfile::TempDir, script: &str) -> Plugin {
    let file = dir.path().join("plugin");
    fs::write(&file, script).expect("written");
    Plugin {
        name: "plugin".into(),
        program: "/bin/sh".into(),
        api_version: V1.into(),
        arguments: vec![file.display().to_string(), "first".into()],
        environment: vec![("REGION".into(), "north".into())],
    }
}

fn answering(auth: &str) -> String {
    format!(
        r#"printf '{{"kind":"CredentialProviderResponse","apiVersion":"{V1}","cacheKeyType":"Registry","cacheDuration":"5m","auth":{auth}}}'"#
    )
}

async fn error(script: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    plugin(&dir, script).run("quay.test/app", None).await.expect_err(script).to_string()
}

#[tokio::test]
async fn a_plugin_gets_the_image_and_its_settings_and_gives_credentials() {
    let dir = tempfile::tempdir().expect("a directory");
    let seen = dir.path().join("seen");
    let script = format!(
        "(echo \"$1 $REGION\"; cat) > {}\n{}",
        seen.display(),
        answering(r#"{"quay.test":{"username":"user","password":"pass"}}"#)
    );
    let got = plugin(&dir, &script).run("quay.test/app", None).await.expect("a response");
    let request =
        format!(r#"{{"kind":"CredentialProviderRequest","apiVersion":"{V1}","image":"quay.test/app"}}"#);
    assert_eq!(fs::read_to_string(seen).expect("written"), format!("first north\n{request}\n"));
    assert_eq!(
        (got.cache_key_type, got.cache_duration),
        (CacheKeyType::Registry, Some(Duration::from_secs(300)))
    );
    assert_eq!(got.credentials["quay.test"].username, "user");
    assert_eq!(got.credentials["quay.test"].password.reveal(), "pass");
    assert!(!format!("{got:?}").contains("pass\""), "{got:?}");
}

const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJhdWQiOlsicmVnaXN0cnkiXX0.c2lnbmF0dXJl-_x";

fn identity(annotations: &[(&str, &str)]) -> Identity {
    let name = AccountName { namespace: "team".into(), name: "builder".into(), uid: "1".into() };
    let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Identity { account: Account { name, annotations }, token: Hidden::new(TOKEN) }
}

#[tokio::test]
async fn a_plugin_gets_the_token_and_the_annotations_of_an_account() {
    let dir = tempfile::tempdir().expect("a directory");
    let seen = dir.path().join("seen");
    let script = format!("cat > {}\n{}", seen.display(), answering("{}"));
    for (annotations, more) in [
        (
            &[("example.com/role", "read"), ("a", "b")][..],
            r#","serviceAccountAnnotations":{"a":"b","example.com/role":"read"}"#,
        ),
        (&[], ""),
    ] {
        let identity = identity(annotations);
        plugin(&dir, &script).run("quay.test/app", Some(&identity)).await.expect("a response");
        let request = format!(
            r#"{{"kind":"CredentialProviderRequest","apiVersion":"{V1}","image":"quay.test/app","serviceAccountToken":"{TOKEN}"{more}}}"#
        );
        assert_eq!(fs::read_to_string(&seen).expect("written"), format!("{request}\n"));
        assert!(!format!("{identity:?}").contains("eyJ"), "{identity:?}");
    }
}

#[tokio::test]
async fn a_complaint_that_quotes_the_token_is_shown_without_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let all = format!("echo 'denied: \"{TOKEN}\", again {TOKEN}' >&2; exit 1");
    let error = plugin(&dir, &all).run("quay.test/app", Some(&identity(&[]))).await.expect_err("it failed");
    assert_eq!(error.to_string(), "exit status: 1: denied: \\\"(hidden)\\\", again (hidden)");
    // Where it is cut, too.
    let cut = format!("head -c 1000 /dev/zero | tr '\\0' x >&2; echo ' {TOKEN}' >&2; exit 1");
    let error = plugin(&dir, &cut).run("quay.test/app", Some(&identity(&[]))).await.expect_err("it failed");
    let error = error.to_string();
    assert!(error.ends_with("xx (hidden)"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_fails_is_quoted_but_not_its_answer() {
    let says = error("echo 'no\taccess' >&2; echo hush; exit 3").await;
    assert_eq!(says, "exit status: 3: no\\taccess");
    let says = error("echo '{\"hush\": hush'").await;
    assert_eq!(says, "its response is no CredentialProviderResponse (line 1, column 10)");
    let says = error("true").await;
    assert!(says.starts_with("its response is no CredentialProviderResponse"), "{says}");
    let says = error(r#"echo '{"kind":"CredentialProviderResponse","apiVersion":"v2"}'"#).await;
    assert!(says.contains("apiVersion \"v2\""), "{says}");
    let says = error(&answering("{}").replace("Registry", "Pod")).await;
    assert!(says.contains("cacheKeyType \"Pod\""), "{says}");
    let says = error("exec head -c 2000000 /dev/zero").await;
    assert_eq!(says, "it said more than 1048576 bytes");
}

#[tokio::test]
async fn a_plugin_that_hangs_is_ended_with_all_that_it_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let pids = dir.path().join("pids");
    let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let plugin = plugin(&dir, &script);
    let mut run = Box::pin(plugin.run("quay.test/app", None));
    let pid = loop {
        if let Ok(text) = fs::read_to_string(&pids) {
            break text.trim().parse::<i32>().expect("a number");
        }
        // The plugin is left alone while it starts.
        let _ = tokio::time::timeout(Duration::from_millis(5), &mut run).await;
    };
    drop(run);
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A process that was killed stays a zombie until somebody has waited for it.
    while !stat().is_empty() && !stat().contains(") Z ") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn no_answer_makes_the_parser_panic() {
    bolero::check!().for_each(|said: &[u8]| {
        let _ = response(said, V1);
    });
}
