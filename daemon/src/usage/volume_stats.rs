//! `kubelet_volume_stats_*`: the file systems of the claims that pods use (behaviour.md 44.7).

use std::collections::BTreeMap;

use super::figures::{Fs, PodUsage, VolumeKind};
use super::series::{Kind, Number, Text, labels};

type Figure = fn(&Fs) -> Option<u64>;

const FAMILIES: [(&str, &str, Figure); 6] = [
    ("kubelet_volume_stats_available_bytes", "[ALPHA] Bytes of the volume that are free.", |fs| fs.available),
    ("kubelet_volume_stats_capacity_bytes", "[ALPHA] Bytes of the volume in all.", |fs| fs.capacity),
    ("kubelet_volume_stats_inodes", "[ALPHA] Inodes of the volume in all.", |fs| fs.inodes),
    ("kubelet_volume_stats_inodes_free", "[ALPHA] Inodes of the volume that are free.", |fs| fs.inodes_free),
    ("kubelet_volume_stats_inodes_used", "[ALPHA] Inodes of the volume in use.", |fs| fs.inodes_used),
    ("kubelet_volume_stats_used_bytes", "[ALPHA] Bytes of the volume in use.", |fs| fs.used),
];

/// The series; a claim that several pods use has them once.
pub(crate) fn text(pods: &[PodUsage]) -> String {
    let mut claims: BTreeMap<(&str, &str), &Fs> = BTreeMap::new();
    for pod in pods {
        for volume in &pod.volumes {
            if let VolumeKind::Claim(claim) = &volume.kind {
                claims.insert((&pod.namespace, claim), &volume.fs);
            }
        }
    }
    let mut text = Text::default();
    for (name, help, figure) in FAMILIES {
        let mut samples = claims.iter().filter_map(|(claim, fs)| Some((claim, figure(fs)?))).peekable();
        if samples.peek().is_some() {
            text.family(name, Kind::Gauge, help);
        }
        for ((namespace, claim), value) in samples {
            let labels = labels(&[("namespace", namespace), ("persistentvolumeclaim", claim)]);
            text.sample(name, &labels, "", Number::Whole(value), None);
        }
    }
    text.take()
}

#[cfg(test)]
mod tests {
    use super::super::figures::VolumeUsage;
    use super::*;

    #[test]
    fn only_claims_have_volume_stats_and_each_once() {
        let volume = |kind| VolumeUsage {
            name: "v".into(),
            kind,
            fs: Fs { capacity: Some(10), used: Some(3), ..Fs::default() },
        };
        let pod = |name: &str| PodUsage {
            namespace: "ns".into(),
            name: name.into(),
            volumes: vec![volume(VolumeKind::Local), volume(VolumeKind::Claim("data".into()))],
            ..PodUsage::default()
        };
        let text = text(&[pod("a"), pod("b")]);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = "namespace=\"ns\",persistentvolumeclaim=\"data\"";
        let wanted = [
            format!("kubelet_volume_stats_capacity_bytes{{{labels}}} 10"),
            format!("kubelet_volume_stats_used_bytes{{{labels}}} 3"),
        ];
        assert_eq!(samples, wanted);
    }
}
