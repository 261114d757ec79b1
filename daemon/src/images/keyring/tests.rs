use super::super::credential::{Credential, Hidden};
use super::*;

fn config(entries: &[(&str, &str)]) -> DockerConfig {
    let credential = |user: &str| Credential {
        username: user.into(),
        password: Hidden::new("p"),
        ..Credential::default()
    };
    entries.iter().map(|(registry, user)| ((*registry).to_owned(), credential(user))).collect()
}

fn users(keyring: &Keyring, repository: &str) -> Vec<String> {
    keyring.lookup(repository).into_iter().map(|c| c.credential.username).collect()
}

#[test]
fn an_entry_fits_by_host_port_and_beginning_of_the_path() {
    for (pattern, repository, fits) in [
        ("quay.test", "quay.test/a/b", true),
        ("quay.test/a", "quay.test/a/b", true),
        // The beginning of the text, as in a kubelet: not whole parts of the path.
        ("quay.test/a", "quay.test/ab", true),
        ("quay.test/a/b/c", "quay.test/a/b", false),
        ("quay.test", "quay.test:5000/a", false),
        ("quay.test:5000", "quay.test:5000/a", true),
        ("quay.test:5000", "quay.test/a", false),
        ("*.test", "quay.test/a", true),
        ("*.test", "a.quay.test/a", false),
        ("*.*.test", "a.quay.test/a", true),
        ("reg*.eu-*.test", "registry.eu-west.test/a", true),
        ("reg*y*.test", "registry.test/a", true),
        ("reg*z.test", "registry.test/a", false),
        ("*.test:5000/a", "quay.test:5000/a/b", true),
        ("*", "localhost/a", true),
        ("*", "quay.test/a", false),
        ("[::1]:5000", "[::1]:5000/a", true),
        ("127.0.0.1:5000", "127.0.0.1:5000/a", true),
    ] {
        assert_eq!(matches(pattern, repository), fits, "{pattern} and {repository}");
    }
}

#[test]
fn schemes_and_interface_versions_do_not_count() {
    for (registry, expected) in [
        ("https://index.docker.io/v1/", "index.docker.io"),
        ("http://quay.test/v2/", "quay.test"),
        ("https://quay.test/v2/team", "quay.test/team"),
        ("quay.test/", "quay.test"),
        ("quay.test/v1", "quay.test/v1"),
        ("https://user@quay.test:443/a?b#c", "quay.test:443/a"),
    ] {
        assert_eq!(key(registry), expected, "{registry}");
    }
}

#[test]
fn all_that_fit_are_tried_the_most_specific_first_and_secrets_in_the_order_of_the_pod() {
    let mut keyring = Keyring::default();
    keyring.add(
        config(&[("quay.test", "host-1"), ("quay.test/team", "team-1"), ("other.test", "other")]),
        &Source::Node,
    );
    keyring.add(config(&[("https://quay.test", "host-2"), ("quay.test/team/app", "app-2")]), &Source::Node);
    assert_eq!(users(&keyring, "quay.test/team/app"), ["app-2", "team-1", "host-1", "host-2"]);
    assert_eq!(users(&keyring, "quay.test/else"), ["host-1", "host-2"]);
    assert_eq!(users(&keyring, "third.test/else"), Vec::<String>::new());
}

#[test]
fn dockers_own_registry_is_known_by_each_of_its_names() {
    for registry in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://docker.io"] {
        let mut keyring = Keyring::default();
        keyring.add(config(&[(registry, "user")]), &Source::Node);
        assert_eq!(users(&keyring, "docker.io/library/busybox"), ["user"], "{registry}");
        assert_eq!(users(&keyring, "quay.test/busybox"), Vec::<String>::new(), "{registry}");
    }
    // What names it in full goes before, and alone.
    let mut keyring = Keyring::default();
    keyring
        .add(config(&[("https://index.docker.io/v1/", "index"), ("docker.io/team", "team")]), &Source::Node);
    assert_eq!(users(&keyring, "docker.io/team/app"), ["team"]);
    assert_eq!(users(&keyring, "docker.io/library/app"), ["index"]);
}

#[test]
fn no_entry_and_no_repository_make_the_matching_panic() {
    bolero::check!().with_type::<(String, String)>().for_each(|(pattern, repository): &(String, String)| {
        let _ = matches(&key(pattern), repository);
        assert!(label_matches("*", pattern));
    });
}
