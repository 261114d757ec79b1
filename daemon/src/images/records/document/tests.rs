use super::*;

const WITH_SECRET: &str = concat!(
    r#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","#,
    r#""imageRef":"testimageref","credentialMapping":{"docker.io/testing/test":{"kubernetesSecrets":[{"uid":"testsecretuid","#,
    r#""namespace":"default","name":"pull-secret","credentialHash":"testsecrethash"}]}}}"#,
    "\n"
);

fn secret(namespace: &str, name: &str, hash: &str) -> PulledWith {
    PulledWith::Secret(PullSecret {
        uid: format!("uid-{name}"),
        namespace: namespace.into(),
        name: name.into(),
        credential_hash: hash.into(),
    })
}

#[test]
fn records_are_written_as_a_kubelet_writes_them() {
    let record = PulledRecord::from_json(WITH_SECRET.as_bytes()).expect("read");
    assert_eq!(String::from_utf8(record.to_json()).expect("text"), WITH_SECRET);
    let everybody = concat!(
        r#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","#,
        r#""imageRef":"testimage-anonpull","credentialMapping":{"docker.io/testing/test":{"nodePodsAccessible":true}}}"#,
        "\n"
    );
    let record = PulledRecord::from_json(everybody.as_bytes()).expect("read");
    assert_eq!(String::from_utf8(record.to_json()).expect("text"), everybody);
    let mut record = PulledRecord::new("id");
    record.last_updated_time = Time("2024-10-21T14:26:40.987+02:00".parse().expect("a time"));
    let none = r#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","imageRef":"id"}"#;
    assert_eq!(String::from_utf8(record.to_json()).expect("text"), format!("{none}\n"));
    let intent = r#"{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"repo.repo/test/test:v1"}"#;
    let written = PullIntent::new("repo.repo/test/test:v1").to_json();
    assert_eq!(String::from_utf8(written).expect("text"), format!("{intent}\n"));
}

#[test]
fn records_of_the_version_before_are_read_and_other_documents_are_not() {
    let old = WITH_SECRET.replace("v1beta1", "v1alpha1");
    assert!(PulledRecord::from_json(old.as_bytes()).is_ok());
    for wrong in
        ["", "{}", "null", &WITH_SECRET.replace("v1beta1", "v9"), &WITH_SECRET.replace("Pulled", "Pushed")]
    {
        assert!(PulledRecord::from_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(PullIntent::from_json(WITH_SECRET.as_bytes()).is_err());
}

#[test]
fn what_pulls_show_adds_up() {
    let repository = "quay.test/app";
    let mut record = PulledRecord::new("id");
    assert!(!record.learn(repository, &PulledWith::Unknown), "nothing was shown");
    assert!(record.learn(repository, &secret("b", "s", "h1")), "a first secret");
    assert!(!record.learn(repository, &secret("b", "s", "h1")), "the same secret");
    assert!(record.learn(repository, &secret("a", "s", "h2")), "a second secret");
    assert!(record.learn(repository, &secret("b", "s", "h3")), "another content");
    let secrets = &record.credential_mapping[repository].kubernetes_secrets;
    let shown: Vec<_> = secrets.iter().map(|s| (s.namespace.as_str(), s.credential_hash.as_str())).collect();
    assert_eq!(shown, [("a", "h2"), ("b", "h3")], "sorted, one for each object");
    assert!(record.learn("quay.test/other", &PulledWith::NodeAccess), "another repository");
    assert!(!record.credential_mapping[repository].node_pods_accessible);
    assert!(record.learn(repository, &PulledWith::NodeAccess), "access for all");
    assert!(record.credential_mapping[repository].node_pods_accessible);
    assert!(record.credential_mapping[repository].kubernetes_secrets.is_empty());
    assert!(!record.learn(repository, &secret("c", "s", "h")), "all may already");
    assert!(!record.learn(repository, &PulledWith::NodeAccess), "all may already");
}

#[test]
fn a_service_account_is_written_as_a_kubelet_writes_it_and_known_once() {
    let account = |uid: &str, name: &str| {
        PulledWith::Account(PullServiceAccount {
            uid: uid.into(),
            namespace: "team".into(),
            name: name.into(),
        })
    };
    let repository = "docker.io/testing/test";
    let mut record = PulledRecord::new("id");
    assert!(record.learn(repository, &account("2", "runner")));
    assert!(record.learn(repository, &account("1", "builder")));
    assert!(!record.learn(repository, &account("1", "builder")), "the same account");
    record.last_updated_time = Time("2024-10-21T12:26:40Z".parse().expect("a time"));
    let json = concat!(
        r#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","#,
        r#""imageRef":"id","credentialMapping":{"docker.io/testing/test":{"kubernetesServiceAccounts":["#,
        r#"{"uid":"1","namespace":"team","name":"builder"},{"uid":"2","namespace":"team","name":"runner"}]}}}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(record.to_json()).expect("text"), json);
    assert_eq!(PulledRecord::from_json(json.as_bytes()).expect("read"), record);
    for index in 0..2 * MAX_SECRETS {
        record.learn(repository, &account(&index.to_string(), "many"));
    }
    assert_eq!(record.credential_mapping[repository].kubernetes_service_accounts.len(), MAX_SECRETS);
    assert!(record.learn(repository, &PulledWith::NodeAccess));
    assert!(record.credential_mapping[repository].kubernetes_service_accounts.is_empty());
    assert!(!record.learn(repository, &account("9", "late")), "all may already");
}

#[test]
fn the_list_of_secrets_is_bounded() {
    let mut record = PulledRecord::new("id");
    for index in 0..MAX_SECRETS {
        assert!(record.learn("r", &secret("n", &format!("s{index}"), "h")), "one more");
    }
    assert!(!record.learn("r", &secret("n", "too-many", "h")), "full");
    assert!(record.learn("r", &secret("n", "s7", "changed")), "one that is there");
}

#[test]
fn no_bytes_make_the_readers_panic() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = PulledRecord::from_json(bytes);
        let _ = PullIntent::from_json(bytes);
    });
}
