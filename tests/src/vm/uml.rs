//! User Mode Linux: a kernel that is a process of this machine, and needs nothing of the processor.
//!
//! What it takes, each found out the hard way:
//!
//! * It is pinned to one processor before it starts; pods take 1.3 to 1.8 times as long else.
//! * Its memory is a file that it maps executable. It gets a tmpfs of its own for that, in a mount namespace that ends with it:
//!   a /dev/shm may be small or forbid execution.
//! * Interfaces are raw sockets on one end of a veth; taps panic where the kernel has more than one processor.
//! * Mount options that are not ext4's own stop the boot.

use std::path::Path;
use std::process::Stdio;

use crate::cache::CacheError;
use crate::command::command;

use super::starter::{Disk, Interface, Machine, Spec, StartError, Starter};

/// Beyond the machine's memory: UML's own.
const OVERHEAD_MIB: u32 = 64;
/// `$1` is the size of the tmpfs in MiB.
const LAUNCH: &str = r#"mount -t tmpfs -o "mode=0700,size=$1m" nodelet-vm /dev/shm && shift && exec "$@""#;

/// Starts machines with User Mode Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserModeLinux;

impl Starter for UserModeLinux {
    fn start(&self, spec: &Spec) -> Result<Machine, StartError> {
        let console = spec.dir.join("console.log");
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&console);
        let output = open.map_err(CacheError::file("opening", &console))?;
        let errors = output.try_clone().map_err(CacheError::file("opening", &console))?;
        // Each of these becomes the next, so that the process started here is the kernel at last.
        let mut start = match spec.pinned {
            Some(processor) => {
                let mut pinned = command(Path::new("taskset"));
                pinned.args(["--cpu-list", &processor.to_string(), "nsenter"]);
                pinned
            }
            None => command(Path::new("nsenter")),
        };
        start
            .arg(format!("--net=/proc/{}/ns/net", spec.network))
            .args(["unshare", "--mount", "--propagation", "private", "sh", "-c", LAUNCH, "sh"])
            .arg((spec.memory_mib + OVERHEAD_MIB).to_string())
            .arg(&spec.kernel)
            .args(arguments(spec))
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root"), ("TMPDIR", "/dev/shm")])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        let child =
            start.spawn().map_err(|source| StartError::Process { name: spec.name.clone(), source })?;
        Machine::new(&spec.name, child, console)
    }
}

/// The kernel's command line.
fn arguments(spec: &Spec) -> Vec<String> {
    let mut words = vec![
        format!("umid={}", spec.name),
        format!("uml_dir={}/uml", spec.dir.display()),
        format!("mem={}M", spec.memory_mib),
        format!("ncpus={}", spec.processors),
        "seccomp=on".to_owned(),
        "root=/dev/ubda".to_owned(),
        "rw".to_owned(),
        "con=null".to_owned(),
        "con0=null,fd:1".to_owned(),
        "ssl=null".to_owned(),
        "console=tty0".to_owned(),
        "quiet".to_owned(),
        "loglevel=4".to_owned(),
        // A panic ends the process; its reason stands on the console.
        "panic=-1".to_owned(),
        "random.trust_cpu=on".to_owned(),
        "net.ifnames=0".to_owned(),
        "init=/sbin/init".to_owned(),
    ];
    for (number, disk) in spec.disks.iter().enumerate() {
        words.push(match disk {
            Disk::CopyOnWrite { image, changes } => {
                format!("ubd{number}={},{}", changes.display(), image.display())
            }
            Disk::Plain(path) => format!("ubd{number}={}", path.display()),
        });
    }
    for (number, Interface { device, mac }) in spec.interfaces.iter().enumerate() {
        words.push(format!("vec{number}:transport=raw,ifname={device},mac={mac},depth=64"));
    }
    words.extend(spec.arguments.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn disks_and_interfaces_keep_their_order_on_the_kernels_command_line() {
        let interface =
            |device: &str| Interface { device: device.to_owned(), mac: "02:00:00:00:00:01".to_owned() };
        let spec = Spec {
            name: "n1".to_owned(),
            kernel: PathBuf::from("/k"),
            disks: vec![
                Disk::CopyOnWrite { image: PathBuf::from("/i"), changes: PathBuf::from("/c") },
                Disk::Plain(PathBuf::from("/s")),
            ],
            interfaces: vec![interface("e1"), interface("a1")],
            network: 1,
            memory_mib: 512,
            processors: 1,
            pinned: None,
            arguments: vec!["systemd.hostname=n1".to_owned()],
            dir: PathBuf::from("/d"),
        };
        let words = arguments(&spec);
        for word in ["ubd0=/c,/i", "ubd1=/s", "mem=512M", "uml_dir=/d/uml", "systemd.hostname=n1"] {
            assert!(words.iter().any(|w| w == word), "{word} in {words:?}");
        }
        let vectors: Vec<_> = words.iter().filter(|word| word.starts_with("vec")).collect();
        assert!(vectors[0].contains("ifname=e1") && vectors[1].starts_with("vec1:transport=raw,ifname=a1"));
    }
}
