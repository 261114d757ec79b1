use super::super::records::{PullServiceAccount, PulledRecord};
use super::*;

const REPOSITORY: &str = "quay.test/team/app";

fn secret(uid: &str, name: &str, hash: &str) -> PullSecret {
    PullSecret { uid: uid.into(), namespace: "ns".into(), name: name.into(), credential_hash: hash.into() }
}

fn account(uid: &str, name: &str) -> PullServiceAccount {
    PullServiceAccount { uid: uid.into(), namespace: "ns".into(), name: name.into() }
}

fn pulled(repository: &str, with: PullCredentials) -> Known {
    let mut record = PulledRecord::new("sha256:1");
    record.credential_mapping.insert(repository.into(), with);
    Known::Pulled(record)
}

#[test]
fn each_policy_decides_as_the_kubelets() {
    let everybody = PullCredentials { node_pods_accessible: true, ..PullCredentials::default() };
    let with_secret =
        PullCredentials { kubernetes_secrets: vec![secret("1", "s", "h")], ..PullCredentials::default() };
    let kubernetes_service_accounts = vec![account("1", "builder")];
    let with_account = PullCredentials { kubernetes_service_accounts, ..PullCredentials::default() };
    let cases = [
        ("nothing", Known::Nothing),
        ("intent", Known::Begun),
        ("damaged", Known::Damaged),
        ("no credentials", Known::Pulled(PulledRecord::new("sha256:1"))),
        ("other repository", pulled("quay.test/team/other", everybody.clone())),
        ("everybody", pulled(REPOSITORY, everybody)),
        ("secret", pulled(REPOSITORY, with_secret)),
        ("account", pulled(REPOSITORY, with_account)),
        ("empty entry", pulled(REPOSITORY, PullCredentials::default())),
    ];
    let allowlist = |entry: &str| [entry.to_owned()];
    // Yes, No (to be pulled), or With the secret; in the order of the cases.
    for (policy, allowlist, decisions) in [
        ("NeverVerify", allowlist(""), "YYYYYYYYY"),
        ("NeverVerifyPreloadedImages", allowlist(""), "YNNNNYWWN"),
        ("NeverVerifyAllowlistedImages", allowlist("quay.test/team/app"), "YYYYYYYYY"),
        ("NeverVerifyAllowlistedImages", allowlist("quay.test/team/*"), "YYYYYYYYY"),
        ("NeverVerifyAllowlistedImages", allowlist("quay.test/*"), "YYYYYYYYY"),
        ("NeverVerifyAllowlistedImages", allowlist("quay.test/te/*"), "NNNNNYWWN"),
        ("NeverVerifyAllowlistedImages", allowlist("quay.test/team/ap"), "NNNNNYWWN"),
        ("AlwaysVerify", allowlist(""), "NNNNNYWWN"),
    ] {
        let rule = Policy::new(policy, &allowlist).expect("a policy");
        for ((case, known), decision) in cases.iter().zip(decisions.chars()) {
            let got = match rule.verdict(REPOSITORY, known) {
                Verdict::Usable => 'Y',
                Verdict::ToBePulled => 'N',
                Verdict::With(_) => 'W',
            };
            assert_eq!(got, decision, "{policy} {allowlist:?}: {case}");
        }
    }
}

#[test]
fn a_secret_counts_as_the_same_object_or_as_the_same_content() {
    let kubernetes_secrets = vec![secret("1", "s", "h1"), secret("2", "t", "")];
    let known = PullCredentials { kubernetes_secrets, ..PullCredentials::default() };
    for (of_pod, counts) in [
        (secret("1", "s", "h1"), true),
        (secret("1", "s", "changed"), true),
        (secret("9", "copy", "h1"), true),
        (secret("9", "s", "other"), false),
        (secret("9", "x", ""), false),
        (secret("2", "t", ""), true),
    ] {
        let of_pod = PulledWith::Secret(of_pod);
        assert_eq!(presented(&known, std::slice::from_ref(&of_pod)).is_some(), counts, "{of_pod:?}");
    }
    assert_eq!(presented(&known, &[]), None);
    let two = [secret("9", "x", "y"), secret("2", "t", "z")].map(PulledWith::Secret);
    assert_eq!(presented(&known, &two), Some(&two[1]));
}

#[test]
fn a_service_account_counts_as_the_very_same_object_only() {
    let known = PullCredentials {
        kubernetes_secrets: vec![secret("7", "s", "h")],
        kubernetes_service_accounts: vec![account("1", "builder"), account("2", "runner")],
        ..PullCredentials::default()
    };
    for (of_pod, counts) in [
        (account("2", "runner"), true),
        (account("2", "builder"), false),
        // Deleted and made again.
        (account("3", "builder"), false),
        (PullServiceAccount { namespace: "other".into(), ..account("1", "builder") }, false),
    ] {
        let of_pod = PulledWith::Account(of_pod);
        assert_eq!(presented(&known, std::slice::from_ref(&of_pod)).is_some(), counts, "{of_pod:?}");
    }
    let both = [PulledWith::Account(account("9", "x")), PulledWith::Secret(secret("8", "copy", "h"))];
    assert_eq!(presented(&known, &both), Some(&both[1]), "one of them is enough");
    assert_eq!(presented(&PullCredentials::default(), &both), None);
}

#[test]
fn entries_of_the_allowlist_are_full_names_or_end_with_a_star() {
    for good in ["quay.test/app", "docker.io/library/busybox", "quay.test:5000/*", "quay.test/a/b/*"] {
        assert_eq!(check_pattern(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("", "names no registry"),
        ("/*", "names no registry"),
        (" quay.test/app", "has blanks around it"),
        ("*.test/app", "has a * elsewhere"),
        ("quay.test/app*", "has a * elsewhere"),
        ("busybox", "is not the full name"),
        ("quay.test/app:1", "is not the full name"),
        ("quay.test//app", "is no name of an image"),
    ] {
        let error = check_pattern(bad).expect_err(bad).to_string();
        assert!(error.contains(why), "{error}");
    }
}
