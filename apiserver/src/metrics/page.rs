//! A node's `/metrics/resource`, read.
//!
//! A node is believed no further than a bound: any text is read, what is not understood is left out.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Samples of one page that are taken in.
const SAMPLES_LIMIT: usize = 100_000;
/// The longest name of anything.
const NAME_LIMIT: usize = 253;

/// What was in use at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reading {
    /// Seconds of processor time so far, and when that was.
    pub(super) cpu: Option<(f64, Timestamp)>,
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// When it has started, in seconds since 1970; of containers.
    pub(super) started: Option<f64>,
}

/// A container: namespace, pod and its own name.
pub(super) type ContainerName = (String, String, String);

/// One page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Page {
    pub(super) node: Reading,
    pub(super) containers: BTreeMap<ContainerName, Reading>,
}

/// Reads a page.
pub(super) fn read(text: &str) -> Page {
    let mut page = Page::default();
    for line in text.lines().filter(|line| !line.starts_with('#')).take(SAMPLES_LIMIT) {
        let Some(sample) = sample(line) else { continue };
        let reading = match sample.name {
            "node_cpu_usage_seconds_total" | "node_memory_working_set_bytes" => &mut page.node,
            "container_cpu_usage_seconds_total"
            | "container_memory_working_set_bytes"
            | "container_start_time_seconds" => {
                let Some(name) = container(sample.labels) else { continue };
                page.containers.entry(name).or_default()
            }
            _ => continue,
        };
        match sample.name {
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => {
                reading.cpu = sample.time.map(|time| (sample.value, time));
            }
            "container_start_time_seconds" => reading.started = Some(sample.value),
            // It is never negative, and exact up to 2^53.
            _ => reading.memory = Some(sample.value as u64),
        }
    }
    page
}

struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
    time: Option<Timestamp>,
}

/// `name{labels} value milliseconds`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, figures) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest),
    };
    let mut figures = figures.split_ascii_whitespace();
    let value: f64 = figures.next()?.parse().ok()?;
    let time = figures.next().and_then(|time| Timestamp::from_millisecond(time.parse().ok()?).ok());
    (value.is_finite() && value >= 0.0).then_some(Sample { name, labels, value, time })
}

/// Names of containers, pods and namespaces need no escapes; labels that have some are nobody's.
fn container(labels: &str) -> Option<ContainerName> {
    let value = |name: &str| {
        let found =
            labels.split(',').find_map(|label| label.trim().strip_prefix(name)?.strip_prefix("=\""))?;
        let value = found.strip_suffix('"')?;
        let is_name = !value.is_empty()
            && value.len() <= NAME_LIMIT
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        is_name.then(|| value.to_owned())
    };
    Some((value("namespace")?, value("pod")?, value("container")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP node_cpu_usage_seconds_total x
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 12.5 1700000000500
node_memory_working_set_bytes 1.5e+09 1700000000500
container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p-1\"} 3 1700000000000
container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"p-1\"} 4096 1700000000000
container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"p-1\"} 1.6999e+09
pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"p-1\"} 4 1700000000000
container_cpu_usage_seconds_total{container=\"d\",namespace=\"ns\"} 3 1700000000000
container_cpu_usage_seconds_total{container=\"e\",namespace=\"ns\",pod=\"p-1\"} NaN 1700000000000
resource_scrape_error 0
";

    #[test]
    fn a_kubelets_page_is_read() {
        let page = read(PAGE);
        let time = |millis| Timestamp::from_millisecond(millis).unwrap();
        assert_eq!(page.node.cpu, Some((12.5, time(1_700_000_000_500))));
        assert_eq!(page.node.memory, Some(1_500_000_000));
        let reading = Reading {
            cpu: Some((3.0, time(1_700_000_000_000))),
            memory: Some(4096),
            started: Some(1_699_900_000.0),
        };
        let wanted = BTreeMap::from([(("ns".to_owned(), "p-1".to_owned(), "c".to_owned()), reading)]);
        assert_eq!(page.containers, wanted);
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let page = read(&String::from_utf8_lossy(bytes));
            assert!(page.containers.len() <= SAMPLES_LIMIT);
        });
    }
}
