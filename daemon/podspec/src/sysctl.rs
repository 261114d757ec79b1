//! The two spellings of a kernel parameter (behaviour.md 2.2).

/// `net/ipv4/conf/eth0.1/x` as `net.ipv4.conf.eth0/1.x`: the first separator tells which spelling it is.
pub fn dotted_sysctl(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => {
            let swap = |c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}
