//! The pod that shows that a cluster works: two containers that talk over localhost.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{LogParams, PostParams};
use serde_json::json;

use super::{Cluster, ClusterError};
use crate::images;
use crate::wait::{self, Look};

/// Its name, in namespace `default`.
pub const NAME: &str = "hello";
const ANSWER: &str = "hello from the other container";
const LIMIT: Duration = Duration::from_secs(120);

impl Cluster {
    /// Runs the pod `hello`, unless it is there already, and waits until one of its containers has answered the other.
    ///
    /// # Errors
    /// It cannot be made, or does not get that far.
    pub async fn run_sample(&self) -> Result<(), ClusterError> {
        let pods: Api<Pod> = Api::default_namespaced(self.client().clone());
        let doing = |source| ClusterError::Api { doing: "running the pod hello", source: Box::new(source) };
        match pods.create(&PostParams::default(), &pod()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(doing(error)),
        }
        let look = || async {
            let phase = match pods.get(NAME).await {
                Ok(pod) => state(&pod),
                Err(error) => return Look::NotYet(error.to_string()),
            };
            if !phase.1 {
                return Look::NotYet(phase.0);
            }
            // An earlier run's answer proves nothing.
            let since = self.begun.elapsed().as_secs() + 1;
            let parameters = LogParams {
                container: Some("client".to_owned()),
                since_seconds: i64::try_from(since).ok(),
                ..LogParams::default()
            };
            match pods.logs(NAME, &parameters).await {
                Ok(log) if log.contains(ANSWER) => Look::There(()),
                Ok(log) => Look::NotYet(format!("{}; the client's log is {log:?}", phase.0)),
                Err(error) => Look::NotYet(format!("{}; its log: {error}", phase.0)),
            }
        };
        Ok(wait::until("the containers of pod hello to talk to each other", LIMIT, look).await?)
    }
}

/// The pod's state in words, and whether it runs.
fn state(pod: &Pod) -> (String, bool) {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "no phase".to_owned());
    let conditions = status.conditions.unwrap_or_default();
    let waiting = status.container_statuses.unwrap_or_default().into_iter().filter_map(|container| {
        let why = container.state?.waiting?;
        Some(format!("{}: {} {}", container.name, why.reason?, why.message.unwrap_or_default()))
    });
    let why = conditions.into_iter().filter(|c| c.status == "False").filter_map(|c| c.message).chain(waiting);
    let is_running = phase == "Running";
    (std::iter::once(phase).chain(why).collect::<Vec<_>>().join(", "), is_running)
}

fn pod() -> Pod {
    let serve = format!(
        "mkdir -p /www && echo '{ANSWER}' > /www/index.html && exec httpd -f -v -p 127.0.0.1:8080 -h /www"
    );
    let ask = "while :; do wget -q -O - http://127.0.0.1:8080/ && sleep 10 || sleep 1; done";
    let container = |name: &str, script: &str| json!({ "name": name, "image": images::BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script] });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": NAME, "labels": { "app": NAME } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [container("server", &serve), container("client", ask)],
        },
    });
    serde_json::from_value(pod).expect("it is written above")
}
