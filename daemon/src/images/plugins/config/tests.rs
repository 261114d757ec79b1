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
    read(&path, bin.path())
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
        ("args:", "tokenAttributes: {}\n  args:", "providers[0].tokenAttributes: not carried out yet"),
        ("providers:\n", "providers: []\nx:\n", "x: unknown field"),
    ] {
        assert!(FILE.contains(from), "{from}");
        let error = read_text(&FILE.replacen(from, to, 1)).expect_err(says).to_string();
        assert!(error.contains(says), "{error} does not say {says}");
    }
    let none = read_text("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n");
    assert!(none.expect_err("no plugin").to_string().ends_with("providers: at least one is needed"));
}

#[test]
fn the_files_of_a_directory_add_up_in_the_order_of_their_names() {
    let bin = bin_dir(&["cloud", "other"]);
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("20.yaml"), FILE).expect("written");
    fs::write(dir.path().join("10.yml"), FILE.replace("name: cloud", "name: other")).expect("written");
    fs::write(dir.path().join("README.md"), "not one of them").expect("written");
    let found = read(dir.path(), bin.path()).expect("read");
    let names: Vec<&str> = found.iter().map(|(_, p)| p.name.as_str()).collect();
    assert_eq!(names, ["other", "cloud"]);
    fs::write(dir.path().join("30.json"), FILE).expect("written");
    let error = read(dir.path(), bin.path()).expect_err("twice").to_string();
    assert!(error.contains("30.json") && error.contains("\"cloud\" is there twice"), "{error}");
}

#[test]
fn no_text_makes_the_parser_panic() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        let _ = parse(text, Path::new("f"));
        let _ = parse(&FILE.replace("12h", text), Path::new("f"));
    });
}
