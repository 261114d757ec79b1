use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;

use super::*;

/// A directory with a file outside of it.
struct World {
    dir: tempfile::TempDir,
    tree: Tree,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        fs::create_dir_all(root.join("pods/a")).unwrap();
        fs::create_dir(root.join("containers")).unwrap();
        fs::write(root.join("pods/a/0.log"), "inside").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::create_dir(dir.path().join("log-not")).unwrap();
        fs::write(dir.path().join("log-not/secret"), "outside").unwrap();
        Self { tree: Tree::new(&root), dir }
    }

    fn link(&self, at: &str, to: impl AsRef<Path>) {
        symlink(to, self.dir.path().join("log").join(at)).unwrap();
    }

    fn read(&self, path: &str) -> io::Result<String> {
        match self.tree.open(Path::new(path))? {
            Node::File(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(text)
            }
            Node::Directory(_) => Ok("directory".to_owned()),
        }
    }
}

#[test]
fn what_is_inside_is_opened_by_name_and_by_link() {
    let world = World::new();
    let root = world.dir.path().join("log");
    world.link("relative", "pods/a/0.log");
    world.link("containers/up", "../pods/a/0.log");
    world.link("containers/absolute", root.join("pods/a/0.log"));
    world.link("containers/twice", root.join("containers/absolute"));
    for path in [
        "pods/a/0.log",
        "/pods/a/0.log",
        "pods/./b/../a/0.log",
        "../../pods/a/0.log",
        "relative",
        "containers/up",
        "containers/absolute",
        "containers/twice",
    ] {
        assert_eq!(world.read(path).unwrap(), "inside", "{path}");
    }
    for path in ["", ".", "/", "..", "pods"] {
        assert_eq!(world.read(path).unwrap(), "directory", "{path}");
    }
    assert_eq!(world.read("none").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn nothing_outside_is_reached_whatever_the_links_are() {
    let world = World::new();
    let (dir, root) = (world.dir.path(), world.dir.path().join("log"));
    world.link("up", "../secret");
    world.link("absolute", dir.join("secret"));
    world.link("beside", dir.join("log-not/secret"));
    world.link("sly", root.join("../secret"));
    world.link("out", "..");
    world.link("whole", dir);
    world.link("proc", "/proc/self/root");
    world.link("chain", root.join("up"));
    world.link("one", root.join("two"));
    world.link("two", root.join("one"));
    for path in ["up", "absolute", "beside", "out", "out/secret", "whole/secret", "proc", "chain"] {
        let error = world.read(path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{path}: {error}");
    }
    // In the link's target too `..` goes no higher than the directory.
    assert_eq!(world.read("sly").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(world.read("one").unwrap_err().raw_os_error(), Some(Errno::ELOOP as i32));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let world = World::new();
    let pipe = world.dir.path().join("log/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.dir.path().join("log/socket")).unwrap();
    assert_eq!(world.read("pipe").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(world.read("socket").is_err());
}

#[test]
fn no_path_leads_out() {
    let world = World::new();
    bolero::check!().for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        if let Ok(found) = world.read(&text) {
            assert!(found == "inside" || found == "directory", "{text}: {found}");
        }
    });
}
