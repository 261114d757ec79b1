use super::*;

#[test]
fn an_address_is_completed_and_anything_else_refused() {
    for (given, expected) in [
        ("192.0.2.1", "192.0.2.1:6443"),
        ("192.0.2.1:443", "192.0.2.1:443"),
        ("https://api.example:7443/", "api.example:7443"),
        ("2001:db8::1", "[2001:db8::1]:6443"),
        ("[2001:db8::1]", "[2001:db8::1]:6443"),
        ("[2001:db8::1]:1", "[2001:db8::1]:1"),
    ] {
        assert_eq!(address(given).as_deref(), Ok(expected), "{given}");
    }
    for wrong in ["", "http://a", "a b", "a/b", "u@a:1", "a:", "a:99999", "a:b", ":6443"] {
        assert!(address(wrong).is_err(), "{wrong:?}: {:?}", address(wrong));
    }
}

fn parse(line: &str) -> Result<ArgMatches, clap::Error> {
    join_command().try_get_matches_from(line.split(' '))
}

#[test]
fn the_line_that_kubeadm_prints_is_understood() {
    let hash = "a".repeat(64);
    let line = format!(
        "join 192.0.2.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:{hash} "
    );
    let matches = parse(line.trim()).unwrap();
    assert_eq!(one::<Token>(&matches, "token").id, "abcdef");
    assert_eq!(matches.get_many::<Pin>("discovery-token-ca-cert-hash").unwrap().len(), 1);
    assert_eq!(one::<Duration>(&matches, "timeout"), Duration::from_secs(300));
}

#[test]
fn a_mistake_is_told_and_the_secret_is_not() {
    let said = |line: &str| parse(line).unwrap_err().to_string();
    let missing = said("join 192.0.2.1 --token abcdef.0123456789abcdef");
    assert!(missing.contains("--discovery-token-ca-cert-hash"), "{missing}");
    let both = "join 192.0.2.1 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:0 \
                --discovery-token-unsafe-skip-ca-verification";
    assert!(said(both).contains("has the form sha256:"), "{}", said(both));
    let malformed = said("join 192.0.2.1 --token abcdef --discovery-token-unsafe-skip-ca-verification");
    assert!(malformed.contains("a token has the form"), "{malformed}");
    assert!(said("join").contains("ADDRESS"));
    assert!(leave_command().try_get_matches_from(["leave", "--timeout", "soon"]).is_err());
}
