use super::*;

fn mirror(files: &[(&str, &str)]) -> Result<Mirror, SourcesError> {
    let dir = tempfile::tempdir().expect("directory");
    std::fs::create_dir(dir.path().join("sources.list.d")).expect("directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("file");
    }
    Mirror::of_machine(dir.path(), "bookworm")
}

#[test]
fn the_mirror_is_read_from_the_newer_format() {
    let text = "# generated\nTypes: deb deb-src\n# http://old.invalid\nURIs: http://mirror.invalid/debian\n\
                Suites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n\n\
                Types: deb\nURIs: http://mirror.invalid/debian-security\nSuites: bookworm-security\nComponents: main\n";
    let mirror = mirror(&[("sources.list.d/debian.sources", text)]).expect("mirror");
    assert_eq!(mirror.suite(), "bookworm");
    assert_eq!(
        mirror.sources(),
        "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: sid bookworm\nComponents: main\n\
         Signed-By: \n -----BEGIN\n .\n abc\n"
    );
}

#[test]
fn the_mirror_is_read_from_lines_with_their_options() {
    let text = "deb-src http://wrong.invalid/debian bookworm main\n#deb http://wrong.invalid/debian bookworm main\n\
                deb cdrom:[Debian]/ bookworm main\n\
                deb [arch=amd64,arm64 signed-by=/keys/a.gpg] http://mirror.invalid/debian/ bookworm main contrib # own\n";
    let mirror = mirror(&[("sources.list", text)]).expect("mirror");
    let sources = mirror.sources();
    assert!(sources.contains("URIs: http://mirror.invalid/debian/\n"), "{sources}");
    assert!(sources.contains("Architectures: amd64 arm64\nSigned-By: /keys/a.gpg\n"), "{sources}");
}

#[test]
fn somebody_elses_packages_for_the_same_release_are_not_taken_for_the_mirror() {
    let others = "deb http://vendor.invalid/apt bookworm main\ndeb http://vendor.invalid/x nodistro main\n";
    let own = "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: bookworm\nComponents: main\n";
    let mirror =
        mirror(&[("sources.list.d/a.list", others), ("sources.list.d/debian.sources", own)]).expect("mirror");
    assert!(mirror.sources().contains("URIs: http://mirror.invalid/debian\n"));
}

#[test]
fn a_machine_without_a_debian_mirror_is_told_so() {
    let off =
        "Enabled: no\nTypes: deb\nURIs: http://mirror.invalid/debian\nSuites: bookworm\nComponents: main\n";
    let error = mirror(&[("sources.list.d/debian.sources", off)]).expect_err("refused");
    assert!(error.to_string().contains("no entry for Debian's bookworm"), "{error}");
}

#[test]
fn a_machine_of_the_newest_suite_asks_for_it_once() {
    let text = "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: sid\nComponents: main\n";
    assert!(
        mirror(&[("sources.list.d/debian.sources", text)])
            .expect("mirror")
            .sources()
            .contains("Suites: sid\n")
    );
}
