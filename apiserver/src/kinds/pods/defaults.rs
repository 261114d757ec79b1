//! What a pod gets where its author said nothing.

use std::str::FromStr as _;

use podspec::Quantity;
use serde_json::{Map, Value, json};

use crate::kinds::values::{child, child_of, default, default_text, objects_mut};

/// How long a pod may take to end, in seconds.
pub(super) const GRACE_SECONDS: i64 = 30;
/// The mode of files in volumes: 0644.
const FILE_MODE: i64 = 0o644;
/// How long a projected service account token lasts, in seconds.
const TOKEN_SECONDS: i64 = 3600;

type Fields = Map<String, Value>;

pub(super) fn apply(pod: &mut Value) {
    let spec = child(pod, "spec");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", GRACE_SECONDS);
    // What old clients wrote for "at once".
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|grace| grace < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    default(spec, "enableServiceLinks", true);
    default(spec, "securityContext", json!({}));
    // The account's older name is kept in step.
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|f| spec.get(*f).and_then(Value::as_str))
        .find(|a| !a.is_empty())
        .map(str::to_owned);
    if let Some(account) = account {
        spec.insert("serviceAccountName".to_owned(), account.clone().into());
        spec.insert("serviceAccount".to_owned(), account.into());
    }
    objects_mut(spec, "volumes").for_each(volume);
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        objects_mut(spec, list).for_each(|c| container(c, host_network, list == "ephemeralContainers"));
    }
    pod_resources(spec);
}

fn container(container: &mut Fields, host_network: bool, ephemeral: bool) {
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    if !image.is_empty() {
        let policy = pull_policy(image);
        default_text(container, "imagePullPolicy", policy);
    }
    for port in objects_mut(container, "ports") {
        default_text(port, "protocol", "TCP");
        if host_network && port.get("hostPort").and_then(Value::as_i64).unwrap_or(0) == 0 {
            let own = port.get("containerPort").cloned().unwrap_or_default();
            port.insert("hostPort".to_owned(), own);
        }
    }
    for env in objects_mut(container, "env") {
        if let Some(Value::Object(source)) = env.get_mut("valueFrom") {
            field_sources(source);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(Value::Object(fields)) = container.get_mut(probe) {
            self::probe(fields);
        }
    }
    if let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") {
        for hook in lifecycle.values_mut().filter_map(Value::as_object_mut) {
            http_get(hook);
        }
    }
    default(container, "resources", json!({}));
    if !ephemeral && let Some(Value::Object(resources)) = container.get_mut("resources") {
        requests_from_limits(resources);
    }
}

/// `Always` for a tag that moves, `latest`; `IfNotPresent` for others and for digests.
fn pull_policy(image: &str) -> &'static str {
    match podspec::normalized_image(image) {
        Ok(name) if name.ends_with(":latest") => "Always",
        _ => "IfNotPresent",
    }
}

/// References to fields and resources of the pod, in variables and in files.
fn field_sources(source: &mut Fields) {
    if let Some(Value::Object(field)) = source.get_mut("fieldRef") {
        default_text(field, "apiVersion", "v1");
    }
    if let Some(Value::Object(resource)) = source.get_mut("resourceFieldRef") {
        default(resource, "divisor", "0");
    }
}

fn probe(probe: &mut Fields) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
            probe.insert(field.to_owned(), value.into());
        }
    }
    http_get(probe);
    if let Some(Value::Object(grpc)) = probe.get_mut("grpc") {
        default(grpc, "service", "");
    }
}

fn http_get(handler: &mut Fields) {
    if let Some(Value::Object(get)) = handler.get_mut("httpGet") {
        default_text(get, "path", "/");
        default_text(get, "scheme", "HTTP");
    }
}

/// A limit without a request is the request too.
fn requests_from_limits(resources: &mut Fields) {
    let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let requests = child_of(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// The same for the pod as a whole; the sum of the containers' requests comes before the limit.
fn pod_resources(spec: &mut Fields) {
    let Some(resources) = spec.get("resources").and_then(Value::as_object) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let sums: Vec<(String, Option<String>)> =
        limits.keys().map(|name| (name.clone(), containers_request(spec, name))).collect();
    let Some(Value::Object(resources)) = spec.get_mut("resources") else { return };
    let requests = child_of(resources, "requests");
    for (name, sum) in sums {
        let fallback = limits.get(&name).cloned().unwrap_or_default();
        requests.entry(name).or_insert_with(|| sum.map_or(fallback, Value::from));
    }
}

/// What the containers request together; `None` where none does.
fn containers_request(spec: &Fields, name: &str) -> Option<String> {
    let containers = spec.get("containers").and_then(Value::as_array)?;
    let requests = containers.iter().filter_map(|c| c.pointer("/resources/requests")?.get(name)?.as_str());
    let sum = requests.filter_map(|q| Quantity::from_str(q).ok()).reduce(|sum, q| sum.plus(&q))?;
    Some(sum.to_string())
}

fn volume(volume: &mut Fields) {
    if volume.keys().all(|k| k == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(Value::Object(source)) = volume.get_mut(kind) {
            default(source, "defaultMode", FILE_MODE);
            objects_mut(source, "items").for_each(field_sources);
        }
    }
    if let Some(Value::Object(path)) = volume.get_mut("hostPath") {
        default(path, "type", "");
    }
    if let Some(Value::Object(projected)) = volume.get_mut("projected") {
        for source in objects_mut(projected, "sources") {
            if let Some(Value::Object(token)) = source.get_mut("serviceAccountToken") {
                default(token, "expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(Value::Object(api)) = source.get_mut("downwardAPI") {
                objects_mut(api, "items").for_each(field_sources);
            }
        }
    }
    if let Some(Value::Object(image)) = volume.get_mut("image") {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or("");
        let policy = pull_policy(reference);
        default_text(image, "pullPolicy", policy);
    }
    if let Some(template) = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate")) {
        default_text(child(template, "spec"), "volumeMode", "Filesystem");
    }
}
