//! What runs where, and how to use it.

use std::fmt::Write as _;

use harness::Cluster;
use harness::cluster::SAMPLE;
use harness::machine;
use harness::progress::Step;

/// The text for the user; its last line is for a shell.
pub(crate) fn text(cluster: &Cluster, steps: &[Step], how_to_stop: &str) -> String {
    let mut text = format!("\nCluster in {}\n", cluster.layout().dir().display());
    let mut row = |name: &str, what: &str, more: &str| {
        // A string takes whatever is written to it.
        let line = format!("  {name:14} {what:56} {more}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    let log = |component: &harness::supervise::Component| {
        let pid = component.pid().map_or_else(|| "not running".to_owned(), |pid| format!("pid {pid}"));
        format!("{pid}, log {}", component.log().display())
    };
    row("apiserver", &cluster.server(), &log(cluster.apiserver()));
    row("scheduler", "", &log(cluster.scheduler()));
    for node in cluster.nodes() {
        let socket = format!("unix://{}", node.runtime().socket().display());
        row(node.containerd().name(), &socket, &log(node.containerd()));
        let what = format!("{}, https://{}:10250", node.name(), node.ip());
        row(node.nodelet().name(), &what, &log(node.nodelet()));
        row("", &format!("http://127.0.0.1:{}/healthz", node.healthz_port()), "");
        row("", &format!("static pods: {}", node.manifests().display()), "");
    }
    row("pod", SAMPLE, "two containers that talk over localhost");

    let _ = writeln!(text, "Steps");
    for step in steps {
        let _ = writeln!(text, "  {:52} {:7.1} s", step.name, step.took.as_secs_f64());
    }
    let _ = writeln!(text, "{}", machine::cgroup_note());
    let _ = writeln!(text, "kubectl: {}", cluster.tools().kubectl.path.display());
    let _ = writeln!(text, "To stop: {how_to_stop}");
    let _ = writeln!(text, "export KUBECONFIG={}", cluster.kubeconfig().display());
    text
}
