use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_package_that_is_there_decides_where_files_lie() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path(), None);
    assert_eq!(place.service, Service::Nodelet);
    assert!(place.configuration().ends_with("etc/nodelet/config.d/50-cluster.conf"));
    fs::create_dir_all(root.path().join("usr/bin")).unwrap();
    // The real one.
    fs::write(root.path().join("usr/bin/kubelet"), "").unwrap();
    assert_eq!(Place::new(root.path(), None).service, Service::Nodelet);
    fs::remove_file(root.path().join("usr/bin/kubelet")).unwrap();
    symlink("nodelet", root.path().join("usr/bin/kubelet")).unwrap();
    let place = Place::new(root.path(), None);
    assert_eq!(place.service, Service::Kubelet);
    assert!(place.flags().ends_with("var/lib/kubelet/kubeadm-flags.env"));
    assert_eq!(Place::new(root.path(), Some(Service::Nodelet)).service, Service::Nodelet);
}

#[test]
fn files_of_a_node_are_written_and_found_again_and_others_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path(), Some(Service::Kubelet));
    assert!(place.secrets().is_empty() && place.settings().is_empty());
    for (path, bits) in
        [(place.bootstrap(), 0o600), (place.authority(), 0o644), (place.configuration(), 0o644)]
    {
        write(&path, bits, "content").unwrap();
        write(&path, bits, "other").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("other", bits));
    }
    fs::create_dir_all(place.cert_dir()).unwrap();
    for name in ["kubelet-client-2026-01-01-00-00-00.pem", "kubelet-server.key.tmp", "kubelet.key"] {
        fs::write(place.cert_dir().join(name), "").unwrap();
    }
    symlink("nowhere", place.cert_dir().join("kubelet-client-current.pem")).unwrap();
    let names = |paths: Vec<PathBuf>| -> Vec<String> {
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        names(place.secrets()),
        [
            "bootstrap-kubelet.conf",
            "ca.crt",
            "kubelet-client-2026-01-01-00-00-00.pem",
            "kubelet-client-current.pem",
            "kubelet-server.key.tmp"
        ]
    );
    assert_eq!(names(place.settings()), ["config.yaml"]);
    // A control plane's own.
    fs::write(place.authority().with_extension("key"), "").unwrap();
    assert!(!place.secrets().contains(&place.authority()));
    assert!(remove(&place.bootstrap()).unwrap() && !remove(&place.bootstrap()).unwrap());
}
