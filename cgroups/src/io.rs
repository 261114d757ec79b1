//! The controller `io`: what was read from and written to each disk.

/// Disks of one cgroup that are taken in; a node has a few.
const MAX_DEVICES: usize = 256;

/// One line of `io.stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Of the device's number.
    pub major: u32,
    /// Of the device's number.
    pub minor: u32,
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub written_bytes: u64,
    /// Operations.
    pub reads: u64,
    /// Operations.
    pub writes: u64,
}

/// Reads `io.stat`; lines of devices that have done nothing are left out by the kernel or have no figures.
pub fn io_stat(bytes: &[u8]) -> Vec<DeviceIo> {
    let lines = bytes.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter_map(device).take(MAX_DEVICES).collect()
}

fn device(line: &str) -> Option<DeviceIo> {
    let mut parts = line.split_ascii_whitespace();
    let (major, minor) = parts.next()?.split_once(':')?;
    let mut device =
        DeviceIo { major: major.parse().ok()?, minor: minor.parse().ok()?, ..DeviceIo::default() };
    let mut any = false;
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let figure = match key {
            "rbytes" => &mut device.read_bytes,
            "wbytes" => &mut device.written_bytes,
            "rios" => &mut device.reads,
            "wios" => &mut device.writes,
            _ => continue,
        };
        *figure = value.parse().ok()?;
        any = true;
    }
    any.then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_has_its_line() {
        let read = io_stat(
            b"254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0\n8:16 rbytes=1 wbytes=x\n98:0 wbytes=5\n",
        );
        let first =
            DeviceIo { major: 254, minor: 0, read_bytes: 4096, written_bytes: 8192, reads: 1, writes: 2 };
        let last = DeviceIo { major: 98, written_bytes: 5, ..DeviceIo::default() };
        assert_eq!(read, [first, last]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        bolero::check!().for_each(|bytes: &[u8]| assert!(io_stat(bytes).len() <= MAX_DEVICES));
    }
}
