use super::super::token_attributes::CacheType;
use super::*;

const FILE: &str = r#"
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: cloud
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.cloud.test", "registry.test:5000/team"]
  defaultCacheDuration: 12h
  args: [get, --quietly]
  env: [{name: REGION, value: north}]
"#;

fn bin_dir(programs: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for program in programs {
        let path = dir.path().join(program);
        fs::write(&path, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made a program");
    }
    dir
}

fn read_text(text: &str) -> Result<Vec<(PathBuf, Provider)>, PluginConfigError> {
    let bin = bin_dir(&["cloud"]);
    let path = bin.path().join("config.yaml");
    fs::write(&path, text).expect("written");
    read(&path, bin.path(), true)
}

#[test]
fn a_file_names_plugins_and_what_each_serves() {
    let found = read_text(FILE).expect("read");
    let [(program, provider)] = found.as_slice() else { panic!("{found:?}") };
    assert!(program.ends_with("cloud"));
    assert_eq!(provider.match_images, ["*.cloud.test", "registry.test:5000/team"]);
    assert_eq!(provider.default_cache_duration, Duration::from_secs(12 * 3600));
    assert_eq!(provider.args, ["get", "--quietly"]);
    assert_eq!(provider.env, [("REGION".to_owned(), "north".to_owned())]);
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    for (from, to, says) in [
        ("kind: CredentialProviderConfig", "kind: Pod", "kind: \"Pod\" instead of"),
        ("apiVersion: kubelet.config.k8s.io/v1\n", "apiVersion: v1\n", "apiVersion: \"v1\" is not known"),
        ("name: cloud", "name: ../cloud", "providers[0].name: \"../cloud\" cannot be"),
        ("name: cloud", "name: absent", "absent is no program that can be run"),
        ("credentialprovider.kubelet.k8s.io/v1", "v1", "providers[0].apiVersion: \"v1\" is not known"),
        ("  defaultCacheDuration: 12h\n", "", "providers[0].defaultCacheDuration: is not set"),
        ("12h", "-1s", "providers[0].defaultCacheDuration: -1s is less than nothing"),
        ("12h", "long", "providers[0].defaultCacheDuration: "),
        ("args:", "arguments:", "providers[0].arguments: unknown field"),
        (r#"["*.cloud.test", "registry.test:5000/team"]"#, "[]", "providers[0].matchImages: at least one"),
        (
            "args:",
            "tokenAttributes: {}\n  args:",
            "providers[0].tokenAttributes.serviceAccountTokenAudience: is not set",
        ),
        ("providers:\n", "providers: []\nx:\n", "x: unknown field"),
    ] {
        assert!(FILE.contains(from), "{from}");
        let error = read_text(&FILE.replacen(from, to, 1)).expect_err(says).to_string();
        assert!(error.contains(says), "{error} does not say {says}");
    }
    let none = read_text("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n");
    assert!(none.expect_err("no plugin").to_string().ends_with("providers: at least one is needed"));
}

const TOKENS: &str = r#"  tokenAttributes:
    serviceAccountTokenAudience: registry.test
    cacheType: ServiceAccount
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: [example.com/role, Team]
    optionalServiceAccountAnnotationKeys: [example.com/region]
"#;

#[test]
fn a_plugin_may_ask_for_tokens_and_annotations() {
    let found = read_text(&format!("{FILE}{TOKENS}")).expect("read");
    let tokens = found[0].1.tokens.as_ref().expect("tokens");
    assert_eq!((tokens.audience.as_str(), tokens.require_account), ("registry.test", true));
    assert_eq!(tokens.cache_type, CacheType::ServiceAccount);
    assert_eq!(tokens.required_annotations, ["example.com/role", "Team"]);
    assert_eq!(tokens.optional_annotations, ["example.com/region"]);
    let found = read_text(&format!("{FILE}{}", TOKENS.replace("ServiceAccount\n", "Token\n"))).expect("read");
    assert_eq!(found[0].1.tokens.as_ref().map(|t| t.cache_type), Some(CacheType::Token));
}

#[test]
fn what_is_wrong_with_token_attributes_is_told_with_its_field() {
    let all = format!("{FILE}{TOKENS}");
    let long = "x".repeat(64);
    let field = "requiredServiceAccountAnnotationKeys";
    for (from, to, says) in [
        (
            "serviceAccountTokenAudience: registry.test",
            "serviceAccountTokenAudience: ''",
            ".serviceAccountTokenAudience: is not set",
        ),
        ("    cacheType: ServiceAccount\n", "", ".cacheType: is not set"),
        ("cacheType: ServiceAccount", "cacheType: Pod", ".cacheType: \"Pod\" is not known"),
        ("    requireServiceAccount: true\n", "", ".requireServiceAccount: is not set"),
        (
            "requireServiceAccount: true",
            "requireServiceAccount: false",
            &format!(".{field}: requireServiceAccount cannot be false"),
        ),
        ("Team", "example.com/role", &format!(".{field}: \"example.com/role\" is there twice")),
        ("Team", "a/b/c", &format!(".{field}: \"a/b/c\" cannot be the key")),
        ("Team", "-team", &format!(".{field}: \"-team\" cannot be the key")),
        ("Team", "''", &format!(".{field}: \"\" cannot be the key")),
        ("Team", "/team", &format!(".{field}: \"/team\" cannot be the key")),
        ("Team", &long, &format!(".{field}: \"{long}\" cannot be the key")),
        (
            "example.com/region",
            "exam_ple.com/region",
            ".optionalServiceAccountAnnotationKeys: \"exam_ple.com/region\" cannot be the key",
        ),
        ("example.com/region", "Team", ": annotation \"Team\" cannot be both"),
        (
            "credentialprovider.kubelet.k8s.io/v1",
            "credentialprovider.kubelet.k8s.io/v1beta1",
            ": the plugin has apiVersion",
        ),
        ("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", ": the file has apiVersion"),
        ("cacheType:", "cache: x\n    cacheType:", ".cache: unknown field"),
    ] {
        assert!(all.contains(from), "{from}");
        let error = read_text(&all.replacen(from, to, 1)).expect_err(says).to_string();
        let says = format!("providers[0].tokenAttributes{says}");
        assert!(error.contains(&says), "{error} does not say {says}");
    }
    let bin = bin_dir(&["cloud"]);
    let path = bin.path().join("config.yaml");
    fs::write(&path, all).expect("written");
    let error = read(&path, bin.path(), false).expect_err("the gate is off").to_string();
    assert!(
        error.contains("needs the feature gate KubeletServiceAccountTokenForCredentialProviders"),
        "{error}"
    );
}

#[test]
fn the_files_of_a_directory_add_up_in_the_order_of_their_names() {
    let bin = bin_dir(&["cloud", "other"]);
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("20.yaml"), FILE).expect("written");
    fs::write(dir.path().join("10.yml"), FILE.replace("name: cloud", "name: other")).expect("written");
    fs::write(dir.path().join("README.md"), "not one of them").expect("written");
    let found = read(dir.path(), bin.path(), true).expect("read");
    let names: Vec<&str> = found.iter().map(|(_, p)| p.name.as_str()).collect();
    assert_eq!(names, ["other", "cloud"]);
    fs::write(dir.path().join("30.json"), FILE).expect("written");
    let error = read(dir.path(), bin.path(), true).expect_err("twice").to_string();
    assert!(error.contains("30.json") && error.contains("\"cloud\" is there twice"), "{error}");
}

#[test]
fn no_text_makes_the_parser_panic() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        let _ = parse(text, Path::new("f"), true);
        let _ = parse(&FILE.replace("12h", text), Path::new("f"), true);
        let _ = parse(
            &format!("{FILE}  tokenAttributes: {{requiredServiceAccountAnnotationKeys: [{text}]}}\n"),
            Path::new("f"),
            true,
        );
    });
}
