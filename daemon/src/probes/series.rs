//! What the probes have shown so far, as `/metrics/probes` has it (behaviour.md 19.16).
//!
//! One entry for each probe of a pod, over all runs of the container, until the pod is gone. Written by hand and not kept in a
//! registry: a node may have thousands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use probes::Purpose;

/// Upper bounds of the buckets in seconds, as they are written: a kubelet's.
const BUCKETS: [(f64, &str); 11] = [
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (5.0, "5"),
    (10.0, "10"),
];

const TOTAL: &str = "prober_probe_total";
const DURATION: &str = "prober_probe_duration_seconds";

/// Of one probe. Only those that pass are timed, as a kubelet does.
#[derive(Clone, Debug, Default)]
struct Counts {
    successful: u64,
    failed: u64,
    seconds: f64,
    /// Successful ones that took no longer than each bound, and longer than the one before.
    buckets: [u64; BUCKETS.len()],
}

#[derive(Debug)]
struct OfPod {
    namespace: String,
    name: String,
    probes: Vec<(String, Purpose, Counts)>,
}

/// Shared by the prober, which counts, and the server, which reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(Arc<Mutex<BTreeMap<String, OfPod>>>);

impl Series {
    fn with<T>(&self, use_pods: impl FnOnce(&mut BTreeMap<String, OfPod>) -> T) -> T {
        use_pods(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pod `uid`, before anything of it is counted.
    pub(super) fn begin(&self, uid: &str, namespace: &str, name: &str) {
        self.with(|pods| {
            if !pods.contains_key(uid) {
                let pod = OfPod { namespace: namespace.into(), name: name.into(), probes: Vec::new() };
                pods.insert(uid.to_owned(), pod);
            }
        });
    }

    /// A probe of the pod `uid` has passed or failed.
    pub(super) fn count(&self, uid: &str, container: &str, purpose: Purpose, success: bool, took: Duration) {
        self.with(|pods| {
            let Some(pod) = pods.get_mut(uid) else { return };
            let known = pod.probes.iter().position(|(c, p, _)| c == container && *p == purpose);
            let at = known.unwrap_or_else(|| {
                pod.probes.push((container.to_owned(), purpose, Counts::default()));
                pod.probes.len() - 1
            });
            let Some((_, _, counts)) = pod.probes.get_mut(at) else { return };
            if !success {
                counts.failed += 1;
                return;
            }
            let seconds = took.as_secs_f64();
            counts.successful += 1;
            counts.seconds += seconds;
            let bucket = BUCKETS.iter().position(|(bound, _)| seconds <= *bound);
            if let Some(count) = bucket.and_then(|at| counts.buckets.get_mut(at)) {
                *count += 1;
            }
        });
    }

    /// The pod is gone.
    pub(super) fn end(&self, uid: &str) {
        self.with(|pods| pods.remove(uid));
    }

    /// In the form of `/metrics`.
    pub(super) fn text(&self) -> String {
        self.with(|pods| {
            let mut out = String::new();
            // Writing to a string does not fail.
            let _ = write(pods, &mut out);
            out
        })
    }
}

fn write(pods: &BTreeMap<String, OfPod>, out: &mut String) -> std::fmt::Result {
    let all = || pods.iter().flat_map(|(uid, pod)| pod.probes.iter().map(move |probe| (uid, pod, probe)));
    // Two pods of one name, of which one is on its way out, share what has no UID.
    let mut timed: BTreeMap<(&str, &str, &str, Purpose), Counts> = BTreeMap::new();
    for (_, pod, (container, purpose, counts)) in all().filter(|(_, _, (_, _, c))| c.successful > 0) {
        let sum = timed.entry((&pod.namespace, &pod.name, container, *purpose)).or_default();
        sum.successful += counts.successful;
        sum.seconds += counts.seconds;
        for (sum, count) in sum.buckets.iter_mut().zip(counts.buckets) {
            *sum += count;
        }
    }
    if !timed.is_empty() {
        writeln!(out, "# HELP {DURATION} [ALPHA] How long probes took that passed, in seconds.")?;
        writeln!(out, "# TYPE {DURATION} histogram")?;
    }
    for ((namespace, pod, container, purpose), counts) in &timed {
        let probe = purpose.name();
        let labels = format!(
            "container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\",probe_type=\"{probe}\""
        );
        let mut sum = 0;
        for ((_, bound), count) in BUCKETS.iter().zip(counts.buckets) {
            sum += count;
            writeln!(out, "{DURATION}_bucket{{{labels},le=\"{bound}\"}} {sum}")?;
        }
        writeln!(out, "{DURATION}_bucket{{{labels},le=\"+Inf\"}} {}", counts.successful)?;
        writeln!(out, "{DURATION}_sum{{{labels}}} {}", counts.seconds)?;
        writeln!(out, "{DURATION}_count{{{labels}}} {}", counts.successful)?;
    }
    if all().next().is_some() {
        writeln!(out, "# HELP {TOTAL} [BETA] Probes of a container by their purpose and result.")?;
        writeln!(out, "# TYPE {TOTAL} counter")?;
    }
    for (uid, pod, (container, purpose, counts)) in all() {
        let (namespace, name, probe) = (&pod.namespace, &pod.name, purpose.name());
        for (result, count) in [("successful", counts.successful), ("failed", counts.failed)] {
            if count > 0 {
                writeln!(
                    out,
                    "{TOTAL}{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{name}\",pod_uid=\"{uid}\",\
                     probe_type=\"{probe}\",result=\"{result}\"}} {count}"
                )?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_19_16_results_and_times_have_a_kubelets_names_until_the_pod_is_gone() {
        let series = Series::default();
        assert_eq!(series.text(), "");
        series.begin("u1", "ns", "p");
        series.begin("u2", "ns", "p");
        for (uid, success, millis) in
            [("u1", true, 3), ("u1", true, 300), ("u1", false, 9), ("u2", true, 20_000)]
        {
            series.count(uid, "c", Purpose::Readiness, success, Duration::from_millis(millis));
        }
        series.count("u3", "c", Purpose::Readiness, true, Duration::ZERO);
        let text = series.text();
        let total = |uid, result| {
            format!(
                "\nprober_probe_total{{container=\"c\",namespace=\"ns\",pod=\"p\",pod_uid=\"{uid}\",\
                 probe_type=\"Readiness\",result=\"{result}\"}} "
            )
        };
        for (uid, result, count) in [("u1", "successful", 2), ("u1", "failed", 1), ("u2", "successful", 1)] {
            assert!(text.contains(&format!("{}{count}\n", total(uid, result))), "{text}");
        }
        assert!(!text.contains("u3"), "a pod that nobody has begun");
        let labels = "container=\"c\",namespace=\"ns\",pod=\"p\",probe_type=\"Readiness\"";
        for (bound, count) in [("0.005", 1), ("0.25", 1), ("0.5", 2), ("10", 2), ("+Inf", 3)] {
            let line = format!("prober_probe_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains(&format!("prober_probe_duration_seconds_count{{{labels}}} 3\n")), "{text}");
        series.end("u1");
        series.end("u2");
        assert_eq!(series.text(), "");
    }
}
