use super::*;

fn pair(username: &str, password: &str) -> Credential {
    Credential { username: username.into(), password: Hidden::new(password), ..Credential::default() }
}

#[test]
fn each_way_to_write_a_credential_is_read() {
    let text = r#"{"auths": {
        "a.test": {"auth": "dXNlcjpwYTpzcw=="},
        "b.test": {"auth": "dXNlcjpwYTpzcw"},
        "c.test": {"username": "user", "password": "pass", "email": "user@c.test"},
        "d.test": {"Username": "user", "PASSWORD": "pass"},
        "e.test": {"username": "other", "password": "other", "auth": "dXNlcjpwYTpzcw==\n"},
        "f.test": {"identitytoken": "token"},
        "g.test": {"registrytoken": "token"},
        "h.test": {},
        "i.test": null
    }, "credsStore": "desktop", "HttpHeaders": {"a": "b"}}"#;
    let config = parse_config_json(text.as_bytes()).expect("read");
    for registry in ["a.test", "b.test", "e.test"] {
        assert_eq!(config[registry], pair("user", "pa:ss"), "{registry}");
    }
    assert_eq!(config["c.test"], Credential { email: "user@c.test".into(), ..pair("user", "pass") });
    assert_eq!(config["d.test"], pair("user", "pass"));
    assert_eq!(config["f.test"].identity_token.reveal(), "token");
    assert_eq!(config["g.test"].registry_token.reveal(), "token");
    assert_eq!(config["h.test"], Credential::default());
    assert!(!config.contains_key("i.test"));
}

#[test]
fn the_older_form_has_registries_at_its_top() {
    let config = parse_dockercfg(br#"{"https://index.docker.io/v1/": {"auth": "dTpw"}}"#).expect("read");
    assert_eq!(config["https://index.docker.io/v1/"], pair("u", "p"));
    assert_eq!(parse_dockercfg(b"null"), Ok(DockerConfig::new()));
    assert_eq!(parse_config_json(b"{}"), Ok(DockerConfig::new()));
    assert_eq!(parse_config_json(br#"{"auths": null}"#), Ok(DockerConfig::new()));
}

#[test]
fn an_error_says_where_and_repeats_no_secret() {
    for (text, says) in [
        (r#"{"auths": {"a.test": {"password": "hush"}"#, "no JSON at line 1, column 41"),
        (r#""hush""#, "the document: expected an object"),
        (r#"{"auths": "hush"}"#, "auths: expected an object"),
        (r#"{"auths": {"a.test": "hush"}}"#, r#"auths["a.test"]: expected an object"#),
        (
            r#"{"auths": {"a.test": {"password": ["hush"]}}}"#,
            r#"auths["a.test"].password: expected a string"#,
        ),
        (r#"{"auths": {"a.test": {"auth": "hush!"}}}"#, r#"auths["a.test"].auth: is no base64"#),
        (
            r#"{"auths": {"a.test": {"auth": "aHVzaA=="}}}"#,
            r#"auths["a.test"].auth: does not hold username:password"#,
        ),
        (r#"{"auths": {"a.test": {"auth": "/zr/"}}}"#, r#"auths["a.test"].auth: does not hold text"#),
    ] {
        let error = parse_config_json(text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), says);
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
    let large = vec![b' '; MAX_BYTES + 1];
    assert_eq!(parse_dockercfg(&large), Err(DockerConfigError::TooLarge));
}

#[test]
fn no_bytes_make_the_parsers_panic() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = parse_config_json(bytes);
        let _ = parse_dockercfg(bytes);
        // The value of a field, whatever it is.
        let auth = String::from_utf8_lossy(bytes);
        let text = serde_json::json!({"auths": {"a.test": {"auth": auth}}}).to_string();
        if let Ok(config) = parse_config_json(text.as_bytes()) {
            let _ = config["a.test"].hash();
        }
    });
}
