//! The pod and the container that a command line names.

use clap::Arg;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::ViewError;
use super::socket::Socket;

/// Which container a pod's author means where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// The namespace of a pod that is named alone.
const DEFAULT_NAMESPACE: &str = "default";

/// A container of a pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

pub(super) fn pod() -> Arg {
    Arg::new("pod")
        .value_name("NAMESPACE/POD")
        .required(true)
        .help("The pod; without a namespace it is default")
}

pub(super) fn container() -> Arg {
    Arg::new("container")
        .short('c')
        .long("container")
        .value_name("NAME")
        .help("The container, instead of the pod's first or default one")
}

/// `NAMESPACE/POD` or `POD`, in two parts.
pub(super) fn split(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or((DEFAULT_NAMESPACE, text))
}

impl Target {
    /// What is meant, as the daemon knows the pod.
    ///
    /// # Errors
    /// There is no such pod, or nobody answers.
    pub(super) async fn find(
        socket: &Socket,
        pod: &str,
        container: Option<&String>,
    ) -> Result<Self, ViewError> {
        let pods: Value = socket.json("/pods").await?;
        Self::among(&pods, pod, container).map_err(ViewError::Plain)
    }

    fn among(pods: &Value, named: &str, container: Option<&String>) -> Result<Self, String> {
        let (namespace, name) = split(named);
        let text = |pod: &Value, pointer: &str| {
            pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let items = pods["items"].as_array().map_or(&[][..], Vec::as_slice);
        let of_name = |pod: &&Value| text(pod, "/metadata/name") == name;
        let in_namespace = |pod: &&Value| text(pod, "/metadata/namespace") == namespace;
        let Some(pod) = items.iter().find(|pod| of_name(pod) && in_namespace(pod)) else {
            let elsewhere: Vec<String> = items
                .iter()
                .filter(of_name)
                .map(|pod| format!("{}/{name}", text(pod, "/metadata/namespace")))
                .collect();
            let hint = match elsewhere.as_slice() {
                [] => "nodelet pods lists all".to_owned(),
                found => format!("there is {}", found.join(" and ")),
            };
            return Err(format!("this node has no pod {namespace}/{name}; {hint}"));
        };
        let names: Vec<String> = ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
            .map(|container| text(container, "/name"))
            .collect();
        let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().map(str::to_owned);
        let annotated = annotated.filter(|name| names.contains(name));
        let chosen = match container {
            Some(name) if names.contains(name) => Some(name.clone()),
            Some(name) => {
                let all = names.join(", ");
                return Err(format!(
                    "pod {namespace}/{} has no container {name}; it has {all}",
                    text(pod, "/metadata/name")
                ));
            }
            None => annotated.or_else(|| names.first().cloned()),
        };
        let container = chosen.ok_or_else(|| format!("pod {namespace}/{name} has no containers"))?;
        Ok(Self { namespace: namespace.to_owned(), pod: name.to_owned(), container })
    }

    /// `/NAMESPACE/POD/CONTAINER`, for a path.
    pub(super) fn path(&self) -> String {
        let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("/{}/{}/{}", part(&self.namespace), part(&self.pod), part(&self.container))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_found_by_its_name_and_a_container_by_what_its_author_says() {
        let pods = json!({ "items": [
            { "metadata": { "namespace": "default", "name": "web" }, "spec": { "containers": [{ "name": "a" }, { "name": "b" }], "initContainers": [{ "name": "i" }] } },
            { "metadata": { "namespace": "kube-system", "name": "dns", "annotations": { DEFAULT_CONTAINER: "y" } }, "spec": { "containers": [{ "name": "x" }, { "name": "y" }] } },
        ] });
        let found = |named: &str, container: Option<&str>| {
            Target::among(&pods, named, container.map(str::to_owned).as_ref()).map(|target| target.path())
        };
        assert_eq!(found("web", None).unwrap(), "/default/web/a");
        assert_eq!(found("default/web", Some("i")).unwrap(), "/default/web/i");
        assert_eq!(found("kube-system/dns", None).unwrap(), "/kube%2Dsystem/dns/y");
        assert_eq!(
            found("dns", None).unwrap_err(),
            "this node has no pod default/dns; there is kube-system/dns"
        );
        assert_eq!(found("x/y", None).unwrap_err(), "this node has no pod x/y; nodelet pods lists all");
        assert_eq!(
            found("web", Some("z")).unwrap_err(),
            "pod default/web has no container z; it has a, b, i"
        );
    }
}
