use super::*;

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn the_node_has_what_the_kernel_calls_available() {
    let text = "MemTotal:        1000000 kB\nMemFree:          100000 kB\nMemAvailable:     400000 kB\n";
    let dir = directory(&[("meminfo", text), ("short", "MemTotal: 5 kB\n")]);
    let left = node(&dir.path().join("meminfo")).unwrap();
    assert_eq!(left, Left { available: 400_000 << 10, capacity: 1_000_000 << 10 });
    let error = node(&dir.path().join("short")).unwrap_err();
    assert!(error.to_string().ends_with("short has no MemAvailable"), "{error}");
    assert!(node(Path::new("/proc/meminfo")).unwrap().capacity > 0);
}

#[test]
fn file_pages_of_a_cgroup_do_not_count_as_used() {
    let stat = "anon 500\nfile 400\ninactive_file 100\nactive_file 250\nactive_file_x 9\n";
    let dir = directory(&[("memory.max", "1000\n"), ("memory.current", "900\n"), ("memory.stat", stat)]);
    assert_eq!(cgroup(dir.path()).unwrap(), Some(Left { available: 450, capacity: 1000 }));
    let dir = directory(&[("memory.max", "max\n")]);
    assert_eq!(cgroup(dir.path()).unwrap(), None);
    let dir = directory(&[("memory.max", "10\n"), ("memory.current", "x\n")]);
    assert!(cgroup(dir.path()).unwrap_err().to_string().ends_with("memory.current has no number"));
}

#[test]
fn no_bytes_make_the_parsers_panic() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        let _ = (reclaimable(text), kibibytes(text, "MemTotal:"));
    });
}
