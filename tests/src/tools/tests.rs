use super::*;

#[test]
fn the_version_is_found_in_what_each_program_says() {
    let find = |text| Version::find(text).map(|version| version.to_string());
    assert_eq!(
        find("containerd github.com/containerd/containerd/v2 2.1.9+unknown ").as_deref(),
        Some("2.1.9")
    );
    assert_eq!(
        find("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\nspec: 1.0.2-dev").as_deref(),
        Some("1.1.5")
    );
    assert_eq!(find("Client Version: v1.36.4\nKustomize Version: v5.8.1").as_deref(), Some("1.36.4"));
    assert_eq!(find("BusyBox v1.35.0 (Debian 1:1.35.0-4) multi-call binary.").as_deref(), Some("1.35.0"));
    assert_eq!(find("command not found"), None);
}

#[test]
fn the_epoch_of_a_package_is_not_its_version() {
    let version = Version::of_package("1:1.35.0-4+deb12u1+b1").expect("version");
    assert_eq!(version.to_string(), "1.35.0");
    assert!(Version::of_package("2.1.9+ds1-5") > Version::of_package("1.6.20~ds1-1+deb12u3"));
}

#[tokio::test]
async fn an_old_program_is_refused_by_its_version_and_not_by_its_presence() {
    let wanted = Wanted { minimum: Version::new(999, 0), ..RUNC };
    let why = ask(&wanted, Path::new("/bin/ls")).await.expect_err("too old");
    assert!(why.starts_with("version ") && why.ends_with(" is older than 999.0.0"), "{why}");
    let why = ask(&CONTAINERD, Path::new("/bin/ls")).await.expect_err("alone");
    assert_eq!(why, "ctr does not lie beside it");
}

#[tokio::test]
async fn a_program_that_cannot_run_here_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().expect("directory");
    let why = ask(&RUNC, &dir.path().join("runc")).await.expect_err("absent");
    assert!(why.contains("No such file"), "{why}");
}
