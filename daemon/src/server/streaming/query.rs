//! The queries of streaming requests, as a kubelet reads them.

use streams::port_forward::PORTS;
use streams::remote_command::Options;

/// Streams and command. With `tty` it is known whether there is a terminal; without, the query says so.
///
/// # Errors
/// No stream is asked for; in a kubelet's words.
pub(super) fn remote_command(query: &str, tty: Option<bool>) -> Result<(Options, Vec<String>), &'static str> {
    let (mut options, mut command) = (Options::default(), Vec::new());
    // The first value of each counts.
    let (mut stdin, mut stdout, mut stderr, mut asks_tty) = (None, None, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_set = value == "1";
        match name.as_ref() {
            "input" => _ = stdin.get_or_insert(is_set),
            "output" => _ = stdout.get_or_insert(is_set),
            "error" => _ = stderr.get_or_insert(is_set),
            "tty" => _ = asks_tty.get_or_insert(is_set),
            "command" => command.push(value.into_owned()),
            _ => {}
        }
    }
    options.stdin = stdin.unwrap_or_default();
    options.stdout = stdout.unwrap_or_default();
    options.tty = tty.unwrap_or_else(|| asks_tty.unwrap_or_default());
    // A terminal mixes both; whoever asks for the second all the same does not get it.
    options.stderr = stderr.unwrap_or_default() && !options.tty && !asks_tty.unwrap_or_default();
    if !(options.stdin || options.stdout || options.stderr) {
        return Err("you must specify at least 1 of stdin, stdout, stderr");
    }
    Ok((options, command))
}

/// Ports to forward, of a client that speaks in channels.
///
/// # Errors
/// There is none, or not only ports; in a kubelet's words.
pub(super) fn ports(query: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for (_, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "port") {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        for port in value.split(',') {
            match port.parse() {
                Ok(0) => return Err(format!("port {value:?} must be > 0")),
                Ok(port) => ports.push(port),
                Err(error) => return Err(format!("unable to parse {value:?} as a port: {error}")),
            }
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".to_owned()),
        1..=PORTS => Ok(ports),
        _ => Err(format!("more than {PORTS} ports in one request")),
    }
}

/// The command of `/run`, whose words are set apart by single blanks.
pub(super) fn run(query: &str) -> Vec<String> {
    let command = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "cmd");
    command.map(|(_, command)| command).unwrap_or_default().split(' ').map(str::to_owned).collect()
}
