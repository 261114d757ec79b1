//! `nodelet pods`: the pods of this node, whoever has sent them.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use jiff::Timestamp;
use podspec::{PodSummary, human_duration};
use serde_json::Value;

use super::table::Table;
use super::{Form, ViewError, form, output, print, print_value, root_dir, socket};

pub(super) fn command() -> Command {
    Command::new("nodelet pods")
        .about("Lists the pods of this node: those of the API server, and static ones")
        .arg(
            Arg::new("namespace")
                .short('n')
                .long("namespace")
                .value_name("NAME")
                .help("Only those of this namespace"),
        )
        .arg(output(&["json", "yaml"]))
        .arg(root_dir())
}

pub(super) async fn run(matches: ArgMatches) -> Result<ExitCode, ViewError> {
    let mut list: Value = socket(&matches).json("/pods").await?;
    let namespace = matches.get_one::<String>("namespace").map(String::as_str);
    arrange(&mut list, namespace);
    match form(&matches) {
        Form::Text => match items(&list) {
            [] => eprintln!("This node has no pods."),
            pods => print(&page(pods, Timestamp::now()))?,
        },
        form => print_value(&list, form)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text<'a>(pod: &'a Value, pointer: &str) -> &'a str {
    pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Those of one namespace, or all, by namespace and name.
fn arrange(list: &mut Value, namespace: Option<&str>) {
    let Some(pods) = list["items"].as_array_mut() else { return };
    pods.retain(|pod| namespace.is_none_or(|wanted| text(pod, "/metadata/namespace") == wanted));
    pods.sort_by(|a, b| name(a).cmp(&name(b)));
}

fn name(pod: &Value) -> (&str, &str, &str) {
    (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"), text(pod, "/metadata/uid"))
}

fn page(pods: &[Value], now: Timestamp) -> String {
    let mut table =
        Table::new(&["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "SOURCE"]);
    for pod in pods {
        let summary = PodSummary::of(pod);
        let or_none = |text: &str| if text.is_empty() { "<none>" } else { text }.to_owned();
        table.row(vec![
            text(pod, "/metadata/namespace").to_owned(),
            text(pod, "/metadata/name").to_owned(),
            format!("{}/{}", summary.ready, summary.total),
            or_none(&summary.reason),
            summary.restarts.told(now),
            age(pod, now),
            or_none(text(pod, "/status/podIP")),
            or_none(text(pod, "/spec/nodeName")),
            source(pod).to_owned(),
        ]);
    }
    table.text()
}

/// Since it was made; a static pod is made when its manifest is read, and shows since when it runs here.
fn age(pod: &Value, now: Timestamp) -> String {
    let made = ["/metadata/creationTimestamp", "/status/startTime"]
        .iter()
        .find_map(|pointer| text(pod, pointer).parse::<Timestamp>().ok());
    made.map_or_else(|| "<unknown>".to_owned(), |made| human_duration(now.as_second() - made.as_second()))
}

/// Who has sent it: `api`, `file` or `http`.
fn source(pod: &Value) -> &str {
    match pod["metadata"]["annotations"]["kubernetes.io/config.source"].as_str() {
        None | Some("") => "api",
        Some(source) => source,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_of_every_source_stand_in_one_table() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let mut list = json!({ "items": [
            {
                "metadata": { "namespace": "kube-system", "name": "dns", "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "nodeName": "n1", "containers": [{ "name": "a" }] },
                "status": { "phase": "Running", "podIP": "10.0.0.2", "containerStatuses": [{
                    "name": "a", "ready": false, "restartCount": 3,
                    "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                    "lastState": { "terminated": { "exitCode": 1, "finishedAt": "2026-01-01T00:59:30Z" } },
                }] },
            },
            {
                "metadata": { "namespace": "default", "name": "web-n1", "annotations": { "kubernetes.io/config.source": "file" } },
                "spec": { "nodeName": "n1", "containers": [{ "name": "c" }] },
                "status": { "phase": "Running", "startTime": "2026-01-01T00:57:00Z", "podIP": "10.0.0.3", "containerStatuses": [
                    { "name": "c", "ready": true, "restartCount": 0, "state": { "running": {} } },
                ] },
            },
            { "metadata": { "namespace": "default", "name": "new" }, "spec": {}, "status": {} },
        ] });
        arrange(&mut list, None);
        let expected = "\
NAMESPACE     NAME     READY   STATUS             RESTARTS      AGE         IP         NODE     SOURCE
default       new      0/0     <none>             0             <unknown>   <none>     <none>   api
default       web-n1   1/1     Running            0             3m          10.0.0.3   n1       file
kube-system   dns      0/1     CrashLoopBackOff   3 (30s ago)   60m         10.0.0.2   n1       api
";
        assert_eq!(page(items(&list), now), expected);
        arrange(&mut list, Some("kube-system"));
        assert_eq!(items(&list).len(), 1);
    }
}
