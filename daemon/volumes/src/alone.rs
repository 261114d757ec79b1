//! A test in a mount namespace of its own: what it mounts is seen by nobody else and ends with it.

use std::process::Command;

const ALONE: &str = "NODELET_TEST_ALONE";

/// Runs `body`, the whole of the test `name`, in another process with mounts of its own.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let program = std::env::current_exe().expect("this program has a path");
    let ran = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("unshare can be run");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(text.contains("1 passed"), "there is no test of this name: {text}");
}
