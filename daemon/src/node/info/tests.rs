use super::*;

fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
        ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
        ("proc/sys/kernel/random/boot_id", "3c25ee13-c747\n"),
        ("proc/sys/kernel/osrelease", "6.18.44\n"),
        (
            "proc/meminfo",
            "MemTotal:       24684084 kB\nMemFree:        1000 kB\nInactive(file): 24 kB\nSwapTotal:      4 kB\n",
        ),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3\n"),
        ("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn facts_are_read_where_linux_has_them() {
    let root = machine();
    let found = Machine::read_below(root.path()).unwrap();
    assert_eq!(
        found,
        Machine {
            machine_id: "3d1219c7c4c5404aaa1f6d2a48adfda4".into(),
            system_uuid: "3d1219c7c4c5404aaa1f6d2a48adfda4".into(),
            boot_id: "3c25ee13-c747".into(),
            kernel_version: "6.18.44".into(),
            os_image: "Debian GNU/Linux 12 (bookworm)".into(),
            cpus: 2,
            memory_bytes: 24_684_084 * 1024,
            swap_bytes: 4096,
            huge_pages: [(2 << 20, 6 << 20), (1 << 30, 0)].into(),
        }
    );
    assert_eq!(read_memory(&root.path().join("proc/meminfo")).unwrap().available_bytes, 1024 * 1024);
    fs::create_dir_all(root.path().join("sys/class/dmi/id")).unwrap();
    fs::write(root.path().join("sys/class/dmi/id/product_uuid"), "EC2-UUID\n").unwrap();
    assert_eq!(Machine::read_below(root.path()).unwrap().system_uuid, "EC2-UUID");
}

#[test]
fn a_file_that_is_not_understood_is_named() {
    let root = machine();
    fs::write(root.path().join("proc/meminfo"), "nothing\n").unwrap();
    assert!(
        Machine::read_below(root.path()).unwrap_err().to_string().ends_with("proc/meminfo: has no MemTotal")
    );
    fs::remove_file(root.path().join("sys/devices/system/cpu/online")).unwrap();
    assert!(Machine::read_below(root.path()).unwrap_err().to_string().contains("cpu/online: "));
}

#[test]
fn this_machine_can_be_read() {
    let machine = Machine::read().unwrap();
    assert!(machine.cpus > 0 && machine.memory_bytes > 0 && !machine.boot_id.is_empty());
}
